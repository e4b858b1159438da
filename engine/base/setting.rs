//! How a message names a setting without knowing what its readers call it.
//!
//! Below the faces a message says ``setting `max-row` ``, or ``setting `device = cpu` `` where a
//! value belongs to the advice. A face says what that is to its readers: the command line a flag, a
//! server a field.

/// `message` with every ``setting `name` `` and ``setting `name = value` `` in it replaced by what
/// `say` calls it. All else stays as it is.
pub fn name_settings(message: &str, say: impl Fn(&str, Option<&str>) -> String) -> String {
    const MARK: &str = "setting `";
    let mut said = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find(MARK) {
        let inside = &rest[at + MARK.len()..];
        let Some(end) = inside.find('`') else { break };
        let (name, value) = match inside[..end].split_once(" = ") {
            Some((name, value)) => (name, Some(value)),
            None => (&inside[..end], None),
        };
        said.push_str(&rest[..at]);
        let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        match !name.is_empty() && name.bytes().all(is_part) {
            true => said.push_str(&say(name, value)),
            false => said.push_str(&rest[at..at + MARK.len() + end + 1]),
        }
        rest = &inside[end + 1..];
    }
    said + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_renamed_and_nothing_else_is() {
        let loud = |name: &str, value: Option<&str>| match value {
            Some(value) => format!("{}={value}", name.to_uppercase()),
            None => name.to_uppercase(),
        };
        for (message, said) in [
            ("raise setting `max-row`", "raise MAX-ROW"),
            ("setting `keep`, setting `device = cpu`; go on", "KEEP, DEVICE=cpu; go on"),
            ("setting `beta1` and setting `1 2`", "BETA1 and setting `1 2`"),
            ("no list `items`", "no list `items`"),
            ("setting `Not one`, setting `batch`", "setting `Not one`, BATCH"),
            ("setting `open", "setting `open"),
            ("", ""),
        ] {
            assert_eq!(name_settings(message, loud), said);
        }
    }
}

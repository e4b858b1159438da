//! A Rust source as the judges of the floors read it: code, texts between quotes, names.

/// The first names of the path or `{…}` group that begins at `at`.
pub fn heads(code: &str, at: usize) -> Vec<(usize, &str)> {
    if !code[at..].starts_with('{') {
        let length = code[at..].find(|c: char| !is_word(c)).unwrap_or(code.len() - at);
        return if length == 0 { Vec::new() } else { vec![(at, &code[at..at + length])] };
    }
    let (mut found, mut open, mut expecting) = (Vec::new(), 0usize, false);
    for (i, c) in code[at..].char_indices() {
        match c {
            '{' => {
                open += 1;
                expecting = open == 1;
            }
            '}' => {
                open -= 1;
                if open == 0 {
                    break;
                }
            }
            ',' => expecting = open == 1,
            c if is_word(c) && expecting => {
                found.extend(heads(code, at + i));
                expecting = false;
            }
            _ => {}
        }
    }
    found
}

/// Every part of every identifier, lower case: `BeamState` and `beam_state` both say `beam` and
/// `state`.
pub fn words(code: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    let mut last_lower = false;
    for (at, c) in code.char_indices() {
        if !c.is_alphanumeric() {
            open = false;
            last_lower = false;
            continue;
        }
        if !open || (last_lower && c.is_uppercase()) {
            found.push((at, String::new()));
            open = true;
        }
        found.last_mut().unwrap().1.extend(c.to_lowercase());
        last_lower = c.is_lowercase();
    }
    found
}

/// A source text without its comments, which became spaces: places and lines stay.
pub struct Source {
    pub code: String,
    /// What stands between quotes, with its place.
    pub texts: Vec<(usize, String)>,
}

impl Source {
    pub fn read(source: &str) -> Source {
        let (mut code, mut texts) = (String::with_capacity(source.len()), Vec::new());
        let blank = |text: &str| -> String {
            text.chars()
                .map(|c| if c == '\n' { "\n".into() } else { " ".repeat(c.len_utf8()) })
                .collect()
        };
        while let Some(c) = source[code.len()..].chars().next() {
            let (at, rest) = (code.len(), &source[code.len()..]);
            let hashes = rest.bytes().skip(1).take_while(|&b| b == b'#').count();
            if rest.starts_with("//") {
                code += &blank(&rest[..rest.find('\n').unwrap_or(rest.len())]);
            } else if rest.starts_with("/*") {
                code += &blank(&rest[..rest.find("*/").map_or(rest.len(), |end| end + 2)]);
            } else if c == 'r' && starts_word(source, at) && rest[1 + hashes..].starts_with('"') {
                let close = format!("\"{}", "#".repeat(hashes));
                let from = 2 + hashes;
                let to = from + rest[from..].find(&close).expect("a raw string ends");
                texts.push((at + from, rest[from..to].to_owned()));
                code += &rest[..to + close.len()];
            } else if c == '"' {
                let mut escaped = false;
                let ends = |c: char| {
                    let end = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    end
                };
                let to = 1 + rest[1..].find(ends).expect("a string ends");
                texts.push((at + 1, rest[1..to].to_owned()));
                code += &rest[..=to];
            } else if c == '\'' {
                code += &rest[..character(rest)];
            } else {
                code.push(c);
            }
        }
        Source { code, texts }
    }
}

/// Bytes of what begins with a quote: a character, or the quote alone where it is a lifetime's.
pub fn character(rest: &str) -> usize {
    let mut inside = rest[1..].char_indices();
    match inside.next() {
        Some((_, '\\')) => 2 + rest[3..].find('\'').expect("a character ends") + 2,
        Some((_, c)) if rest[1 + c.len_utf8()..].starts_with('\'') => 2 + c.len_utf8(),
        _ => 1,
    }
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

pub fn starts_word(code: &str, at: usize) -> bool {
    !code[..at].ends_with(is_word)
}

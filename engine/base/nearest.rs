//! The name that was meant by one that nobody has: said only where it is near.
//!
//! Near is what a slip of the fingers makes of a name, a name in other letters or with other marks
//! between its words, or a good part of it. Numbers do not slip: `2-7` is another template than
//! `2-1`, and is meant for neither.

use std::borrow::Cow;

/// Of so many names all are listed, where none is near.
const FEW: usize = 12;

/// The one of `known` that is meant by `word`, where one is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().filter_map(|name| Some((far(word, name)?, name)));
    // The first of those that are as near.
    near.min_by_key(|(far, _)| *far).map(|(_, name)| name)
}

/// What to do about a name that nobody has: take the near one, or one of the few there are,
/// otherwise `advice`.
pub fn meant<'a>(word: &str, known: &[&'a str], advice: &'a str) -> Cow<'a, str> {
    match nearest(word, known.iter().copied()) {
        Some(name) => format!("nearest is {name}").into(),
        None if (1..=FEW).contains(&known.len()) => format!("there is {}", known.join(", ")).into(),
        None => advice.into(),
    }
}

/// The same where a sentence has listed the names already.
pub fn choose<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Cow<'static, str> {
    nearest(word, known).map_or("choose one".into(), |name| format!("nearest is {name}").into())
}

/// How far a name is from a word, where it is near.
fn far(word: &str, name: &str) -> Option<usize> {
    let (a, b) = (plain(word), plain(name));
    let digits = |text: &[char]| -> String { text.iter().filter(|c| c.is_numeric()).collect() };
    if a.is_empty() || b.is_empty() || digits(&a) != digits(&b) {
        return None;
    }
    // A slip in three letters, two in six, three in nine and more.
    let slips = slips(&a, &b);
    // Another letter in a word of three makes another word: gpu is not cpu.
    let other = a.len() == 3 && b.len() == 3 && sorted(&a) != sorted(&b);
    if slips <= (a.len().min(b.len()) / 3).min(3) && !other {
        return Some(slips);
    }
    is_part(word, name).then_some(a.len().max(b.len()))
}

/// The letters and digits of a name, small ones.
fn plain(name: &str) -> Vec<char> {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn sorted(letters: &[char]) -> Vec<char> {
    let mut letters = letters.to_vec();
    letters.sort_unstable();
    letters
}

/// Whether one is some whole words of the other, and half of it or more.
fn is_part(a: &str, b: &str) -> bool {
    let words = |name: &str| -> Vec<Vec<char>> {
        name.split(|c: char| !c.is_alphanumeric()).map(plain).filter(|w| !w.is_empty()).collect()
    };
    let (a, b) = (words(a), words(b));
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let letters = |words: &[Vec<char>]| words.iter().map(Vec::len).sum::<usize>();
    long.windows(short.len().max(1)).any(|part| part == short)
        && 2 * letters(&short) >= letters(&long)
}

/// Least number of letters put in, taken out or changed, and of neighbours that change places,
/// that makes one word the other.
fn slips(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            next[j] = changed.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                next[j] = next[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        let of = |a: &str, b: &str| slips(&plain(a), &plain(b));
        assert_eq!(of("rank", "rank"), 0);
        assert_eq!(of("rnak", "rank"), 1);
        assert_eq!(of("", "abc"), 3);
        assert_eq!(of("kitten", "sitting"), 3);
    }

    #[test]
    fn what_is_near_is_found_and_what_is_far_is_not() {
        let known = [
            "rank",
            "alpha",
            "learning-rate",
            "batch",
            "batch-rows",
            "epochs",
            "length-penalty",
            "user_id",
            "hr@10",
            "hr@5",
            "ndcg@10",
            "2-1",
            "2-3",
            "next",
            "beta1",
            "beta2",
            "top",
        ];
        let near = |word: &str| nearest(word, known);
        for (word, name) in [
            ("rnak", "rank"),
            ("RANK", "rank"),
            ("ranks", "rank"),
            ("learning_rate", "learning-rate"),
            ("learningrate", "learning-rate"),
            ("laerning-rat", "learning-rate"),
            ("learning", "learning-rate"),
            ("batch-size", "batch"),
            ("batchrows", "batch-rows"),
            ("epoch", "epochs"),
            ("penalty", "length-penalty"),
            ("User ID", "user_id"),
            ("hr10", "hr@10"),
            ("ndgc@10", "ndcg@10"),
            ("23", "2-3"),
            ("nxt", "next"),
            ("user", "user_id"),
            ("alhpa", "alpha"),
        ] {
            assert_eq!(near(word), Some(name), "{word}");
        }
        for word in [
            "",
            "x",
            "-",
            "zebra",
            "2-7",
            "2",
            "hr@11",
            "beta3",
            "rate",
            "recall",
            "tap dance",
            "b",
            "to",
            "tap",
            "temperature",
            "0",
            "é",
        ] {
            assert_eq!(near(word), None, "{word}");
        }
    }

    #[test]
    fn names_that_were_listed_are_not_listed_again() {
        assert_eq!(choose("titel", ["title", "name"]), "nearest is title");
        assert_eq!(choose("zebra", ["title", "name"]), "choose one");
    }

    #[test]
    fn what_is_far_is_answered_with_the_few_there_are() {
        assert_eq!(meant("titel", &["title", "name"], "see"), "nearest is title");
        assert_eq!(meant("zebra", &["title", "name"], "see"), "there is title, name");
        assert_eq!(meant("zebra", &[], "see"), "see");
        assert_eq!(meant("zebra", &["title"; 13], "see"), "see");
    }
}

//! What a source held that is not in the result, or not as it stood: a line of the summary each,
//! with a count and the first example.

use std::fmt::Display;

/// Something that is counted, with the first time that it was seen.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    count: u64,
    first: String,
}

impl Tally {
    /// Counts one; `first` words the example if it is the first.
    pub fn add<T: Display>(&mut self, first: impl FnOnce() -> T) {
        if self.count == 0 {
            self.first = first().to_string();
        }
        self.count += 1;
    }

    /// Counts several at once.
    pub fn add_many<T: Display>(&mut self, count: usize, first: impl FnOnce() -> T) {
        if count > 0 {
            self.add(first);
            self.count += count as u64 - 1;
        }
    }

    /// How often.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// `what: 3 (first: …)`, nothing where it never was.
    pub fn line(&self, what: impl Display) -> Option<String> {
        (self.count > 0).then(|| format!("{what}: {} (first: {})", self.count, self.first))
    }
}

//! Leave-one-out: which of a user's events are learnt from, and which are asked for.

use crate::base::named::named;

/// Users with fewer events have no held-out ones: they are training only.
pub const FEWEST: usize = 3;

named! {
    /// Which of a user's events is asked for: leave-one-out. All before it are shown. Of records,
    /// which part is asked for.
    pub enum Split: "split" {
        /// The last event is asked for.
        Test = "test",
        /// The last but one is.
        Validation = "validation",
    }
}

named! {
    /// Which events of a user are learnt from.
    pub enum Parts: "parts" {
        /// All that no split asks for.
        Train = "train",
        /// Those and what validation asks for: a last fit, by settings that were chosen before.
        TrainAndValidation = "train+validation",
    }
}

impl From<Split> for Parts {
    /// What may be known of everybody where a split is asked for.
    fn from(split: Split) -> Parts {
        match split {
            Split::Validation => Parts::Train,
            Split::Test => Parts::TrainAndValidation,
        }
    }
}

impl Parts {
    /// The events of a user that are learnt from; all of one who is too short to be split.
    pub fn of(self, events: &[u32]) -> &[u32] {
        let asked = match self {
            Parts::Train => Split::Validation,
            Parts::TrainAndValidation => Split::Test,
        };
        &events[..asked.shown(events.len()).unwrap_or(events.len())]
    }
}

impl Split {
    /// Number of events shown of `events`: the place of the one that is asked for. None where there
    /// are fewer than [`FEWEST`].
    pub fn shown(self, events: usize) -> Option<usize> {
        let behind = match self {
            Split::Test => 1,
            Split::Validation => 2,
        };
        (events >= FEWEST).then(|| events - behind)
    }

    /// The events that training may see: all but the last two, or all of a user too short to be
    /// split.
    pub fn training(events: &[u32]) -> &[u32] {
        Parts::Train.of(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leave_one_out() {
        assert_eq!(Split::Test.shown(5), Some(4));
        assert_eq!(Split::Validation.shown(5), Some(3));
        assert_eq!(Split::Test.shown(2), None);
        assert_eq!(Split::Validation.shown(0), None);
        assert_eq!(Split::training(&[1, 2, 3]), [1]);
        assert_eq!(Split::training(&[1, 2]), [1, 2]);
        assert_eq!(Parts::TrainAndValidation.of(&[1, 2, 3]), [1, 2]);
        assert_eq!(Parts::TrainAndValidation.of(&[1, 2]), [1, 2]);
    }
}

//! A device without memory: it counts what would be held and remembers the fullest moment.

use std::cell::RefCell;
use std::rc::Rc;

/// What memory is for; a plan has a row for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Base tensors that are not trained, and the tables of rotary positions.
    Frozen,
    /// What is trained, f32.
    Trained,
    /// Of what is trained, f32.
    Gradients,
    /// AdamW's two, f32.
    Moments,
    /// Token ids, positions, bounds, names for dropout.
    Inputs,
    /// What layers leave for their backward.
    Saved,
    /// Everything that lives inside a pass only.
    Work,
    /// One chunk of logits.
    Logits,
    /// Keys and values of prompts.
    Prompt,
    /// Keys and values of produced tokens.
    Tail,
}

impl Part {
    /// All ten, in the order of a plan's rows.
    pub const ALL: [Part; 10] = [
        Part::Frozen,
        Part::Trained,
        Part::Gradients,
        Part::Moments,
        Part::Inputs,
        Part::Saved,
        Part::Work,
        Part::Logits,
        Part::Prompt,
        Part::Tail,
    ];

    /// The words for it in a plan.
    pub const fn name(self) -> &'static str {
        match self {
            Part::Frozen => "frozen weights",
            Part::Trained => "trained values",
            Part::Gradients => "gradients",
            Part::Moments => "moments",
            Part::Inputs => "inputs",
            Part::Saved => "saved activations",
            Part::Work => "working buffers",
            Part::Logits => "logits chunk",
            Part::Prompt => "cache of prompts",
            Part::Tail => "cache of produced",
        }
    }
}

/// Bytes held by each part, in the order of [`Part::ALL`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage([u64; Part::ALL.len()]);

impl Usage {
    /// Bytes that `part` holds.
    pub fn of(&self, part: Part) -> u64 {
        self.0[part as usize]
    }

    /// Bytes of all parts.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// The fullest moment of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// What was held.
    pub usage: Usage,
    /// What was being done.
    pub moment: &'static str,
}

/// Counts blocks; clones count together.
#[derive(Clone, Default)]
pub struct Tally(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    now: Usage,
    peak: Peak,
    moment: &'static str,
}

impl Tally {
    /// A new block, counted until it is dropped.
    pub fn hold(&self, part: Part, bytes: usize) -> Block {
        let mut state = self.0.borrow_mut();
        state.now.0[part as usize] += bytes as u64;
        if state.now.total() > state.peak.usage.total() {
            state.peak = Peak { usage: state.now.clone(), moment: state.moment };
        }
        Block { tally: self.clone(), part, bytes }
    }

    /// Names what is done from here on.
    pub fn at(&self, moment: &'static str) {
        self.0.borrow_mut().moment = moment;
    }

    pub fn now(&self) -> Usage {
        self.0.borrow().now.clone()
    }

    /// The peak since the last call, and starts a new one.
    pub fn take_peak(&self) -> Peak {
        let mut state = self.0.borrow_mut();
        let fresh = Peak { usage: state.now.clone(), moment: state.moment };
        std::mem::replace(&mut state.peak, fresh)
    }
}

/// A buffer that would be there.
pub struct Block {
    tally: Tally,
    part: Part,
    bytes: usize,
}

impl Block {
    /// Counts under another part from here on.
    pub fn becomes(&mut self, part: Part) {
        let mut state = self.tally.0.borrow_mut();
        state.now.0[self.part as usize] -= self.bytes as u64;
        state.now.0[part as usize] += self.bytes as u64;
        self.part = part;
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.tally.0.borrow_mut().now.0[self.part as usize] -= self.bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_what_was_held_together() {
        let tally = Tally::default();
        let frozen = tally.hold(Part::Frozen, 10);
        tally.at("first");
        let mut work = tally.hold(Part::Work, 5);
        work.becomes(Part::Saved);
        drop(tally.hold(Part::Work, 7));
        drop(work);
        tally.at("second");
        let later = tally.hold(Part::Work, 11);
        let peak = tally.take_peak();
        assert_eq!((peak.usage.total(), peak.moment), (22, "first"));
        assert_eq!([Part::Frozen, Part::Saved, Part::Work].map(|p| peak.usage.of(p)), [10, 5, 7]);
        assert_eq!(tally.take_peak().usage.total(), 21);
        drop((frozen, later));
        assert_eq!(tally.now(), Usage::default());
    }
}

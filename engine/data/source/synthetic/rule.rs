//! What comes next, as far as a history tells.

use super::shelves::{Goods, Shelves};

/// What the rule says of the next purchase; what it leaves open is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The next kind of the series: known from the last purchase.
    pub kind: Option<usize>,
    /// The maker of what was last bought for the same person: a round ago.
    pub maker: Option<usize>,
    /// The size of what was first bought for the same person: years ago.
    pub size: Option<usize>,
}

impl Rule {
    /// What comes after `history`, of a customer who buys for so many `people` in turn.
    pub fn of(history: &[Goods], people: usize, shelves: &Shelves) -> Rule {
        let n = history.len();
        let turns = n.checked_sub(people);
        Rule {
            kind: history.last().map(|last| (last.kind + 1) % shelves.kinds),
            maker: turns.map(|turn| history[turn].maker),
            size: turns.map(|_| history[n % people].size),
        }
    }

    /// Whether a purchase is as the rule says.
    pub fn holds(&self, goods: Goods) -> bool {
        self.kind.is_none_or(|kind| kind == goods.kind)
            && self.maker.is_none_or(|maker| maker == goods.maker)
            && self.size.is_none_or(|size| size == goods.size)
    }
}

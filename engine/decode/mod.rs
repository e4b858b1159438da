//! Floor 3: the loop that recommends. Prompts, caches, beams, items.

mod finite;
mod generate;
mod recommend;
mod score;
mod search;

pub use finite::{Found, NotFinite};
pub use generate::{greedy, greedy_each, Answer, Blanks, Limits};
pub use recommend::{recommend, recommend_each, Cost};
pub use score::{score_all, score_each};
pub use search::{Finished, Rules, Search, Wanted};

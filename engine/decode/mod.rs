//! Floor 3: the loop that recommends. Prompts, caches, beams, items.

mod generate;
mod recommend;
mod score;
mod search;

pub use generate::{greedy, Answer, Blanks, Limits};
pub use recommend::{recommend, recommend_each, Cost};
pub use score::score_all;
pub use search::{Finished, Rules, Search, Wanted};

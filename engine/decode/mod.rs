//! Floor 3: the loop that recommends. Prompts, caches, beams, items.

mod generate;
mod recommend;
mod search;

pub use generate::{greedy, Answer, Limits};
pub use recommend::{recommend, Cost, Prompt};
pub use search::{Finished, Rules, Search, Wanted};

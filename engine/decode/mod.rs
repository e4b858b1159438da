//! Floor 3: the loop that recommends. Prompts, caches, beams, items.

mod beam;
mod exact;
mod finite;
mod generate;
mod grammar;
mod ground;
mod read;
mod recommend;
mod score;
mod scoring;
mod search;
mod writing;

pub use beam::{Beam, BeamSearch};
pub use finite::{Found, NotFinite};
pub use generate::{greedy, greedy_each, write_each, Blanks, Request};
pub use grammar::{Grammar, Place};
pub use ground::{nearest_each, Grounding, Near};
pub use read::{embeddings, first_token_each, FirstTokens};
pub use recommend::{recommend, recommend_each, Cost};
pub use score::{score_all, score_each};
pub use scoring::Scoring;
pub use search::{Finished, Rules, Search, Wanted};
pub use writing::{Answer, Limits, Writing};

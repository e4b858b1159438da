//! Floor 0: what a number is and where randomness comes from. Knows nothing else of ours.

mod contain;
mod dtype;
mod fault;
mod hash;
pub mod host;
mod input;
pub mod map;
pub mod named;
mod nearest;
pub mod outputs;
mod range;
mod rng;
mod setting;
mod shape;
pub mod text;

pub use contain::{contained, is_contained};
pub use dtype::Dtype;
pub use fault::Fault;
pub use hash::{hashes, hashes_and_looks, Look};
pub use input::{if_there, missing, open_file, open_stream, read_file, unreadable};
pub use map::Map;
pub use nearest::{choose, meant, nearest};
pub use outputs::{write_atomically, write_whole, Held, Outputs, Standing, Written};
pub use range::{Number, Range};
pub use rng::{Philox, Stream};
pub use setting::name_settings;
pub use shape::Shape;

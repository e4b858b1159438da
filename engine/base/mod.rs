//! Floor 0: what a number is and where randomness comes from. Knows nothing else of ours.

mod atomic;
mod contain;
mod dtype;
mod fault;
mod hash;
pub mod host;
pub mod named;
mod range;
mod rng;
mod setting;
mod shape;
pub mod text;

pub use atomic::write_atomically;
pub use contain::{contained, is_contained};
pub use dtype::Dtype;
pub use fault::Fault;
pub use hash::hashes;
pub use range::{Number, Range};
pub use rng::{Philox, Stream};
pub use setting::name_settings;
pub use shape::Shape;

//! Floor 0: what a number is and where randomness comes from. Knows nothing else of ours.

mod dtype;
mod rng;
mod shape;

pub use dtype::Dtype;
pub use rng::{Philox, Stream};
pub use shape::Shape;

//! Floor 3: the loop that learns. Knows steps, losses and checkpoints; validation is a closure it
//! is given.

pub mod adamw;
pub mod checkpoint;
mod decisions;
mod scale;
pub mod schedule;
mod trainer;

pub use adamw::{Hyper, Optimizer};
pub use checkpoint::State;
pub use scale::LossScale;
pub use schedule::Schedule;
pub use trainer::{train, End, Hooks, Report, Settings};

//! The numbers of the CPU: against the original code, against the ops in f64, against themselves
//! in another order.

mod absurd;
mod decode;
mod golden;
#[path = "../support/golden_sets.rs"]
mod golden_sets;
mod gradients;
mod invariance;
mod laws;
#[path = "../support/oracle.rs"]
mod oracle;
mod writing;

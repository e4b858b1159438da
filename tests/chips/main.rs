//! The ops and the whole model on every device there is: the CPU, the emulator of the CUDA kernels,
//! the stand-in for their driver, a GPU. One module is one subject; `cargo test --test chips plan`
//! runs one.

mod audit;
mod cards;
mod conformance;
mod driver;
mod emulator;
#[path = "../support/golden_sets.rs"]
mod golden_sets;
#[path = "../support/oracle.rs"]
mod oracle;
mod plan;
mod profile;
#[path = "../support/shop.rs"]
mod shop;
mod whole_model;
mod work;

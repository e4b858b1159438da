//! What needs no device: data and where they come from, the `.bin`, metrics, bad input.

mod apart;
mod bad_input;
mod data;
mod dataset;
mod dependencies;
mod evaluation;
#[path = "../support/families.rs"]
mod families;
mod metrics;
mod reports;
#[path = "../support/shop.rs"]
mod shop;
#[path = "../support/signed.rs"]
mod signed;
mod sources;
mod synthetic;
mod tasks;

//! Floor 2: GLM on a device. Knows layers, positions, adapters; not what a token means.

pub mod config;

pub use config::{Config, Family, LinearName, Positions, Rates, Residual, Role, TensorSpec};

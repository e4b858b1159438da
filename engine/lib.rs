//! GLM models as recommenders.

pub mod base;
pub mod cli;
pub mod data;
pub mod decode;
pub mod device;
pub mod eval;
pub mod model;
pub mod train;

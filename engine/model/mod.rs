//! Floor 2: GLM on a device. Knows layers, positions, adapters; not what a token means.
//!
//! [`config`] says what a model is and [`Checkpoint`] hands out what is stored; [`Model`] holds
//! both as typed layers, and its passes answer ([`Model::hidden`], [`KvCache`]) and learn
//! ([`Model::loss_and_gradients`]). [`plan`] counts the memory that a run will take.

mod adapter;
pub mod config;
mod contents;
mod lora;
mod merge;
#[allow(clippy::module_inception)] // the file is named for the type whose contract it is
mod model;
mod parameters;
mod pass;
mod peft;
pub mod plan;
mod relatives;
mod save;
mod start;
mod tune;
mod weights;

pub use adapter::{adapter_config, Adapter};
pub use config::{Config, Family, LinearName, Positions, Rates, Residual};
pub use contents::Contents;
pub use lora::{peft_prefix, LoraConfig};
pub use model::{Model, HEAD};
pub use parameters::{Flat, Layout, Role, Slot, SlotRole, TensorSpec};
pub use pass::among::Likely;
pub use pass::cache::{Extension, KvCache};
pub use pass::choose::{Among, Choices, Question};
pub use pass::layer::Keep;
pub use pass::rows::Noise;
pub use save::{encode, write_safetensors, Entry};
pub use tune::Tune;
pub use weights::{Checkpoint, Stored};

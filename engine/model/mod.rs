//! Floor 2: GLM on a device. Knows layers, positions, adapters; not what a token means.

mod adapter;
mod cache;
pub mod config;
mod glm;
mod head;
mod layer;
mod linear;
mod lora;
mod parameters;
pub mod plan;
mod rotary;
mod rows;
mod save;
mod synthetic;
mod weights;

pub use adapter::{adapter_config, Adapter};
pub use cache::{Extension, KvCache};
pub use config::{Config, Family, LinearName, Positions, Rates, Residual, Role, TensorSpec};
pub use glm::{Model, Tune, HEAD};
pub use layer::Keep;
pub use lora::{peft_prefix, Lora, LoraConfig, LoraModule};
pub use parameters::{Flat, Layout, Slot, SlotRole};
pub use rows::Noise;
pub use save::{encode, write_safetensors, Entry};
pub use weights::{Checkpoint, Stored};

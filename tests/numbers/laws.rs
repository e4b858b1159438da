//! Laws that hold between ways of doing the same: packed and one by one, accumulated and at once,
//! trained and decoded, cached and teacher-forced; for both families.

mod decoding;
mod training;

use engine::base::Dtype;
use engine::device::Device;
use engine::model::{Checkpoint, Config, Model, Tune};
use std::path::Path;

/// A golden model: `glm-tiny/a`, `chatglm-tiny/a` …
fn model(name: &str, tune: &Tune) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let config = Config::read(&folder.join("config.json")).unwrap();
    let device = Device::open("cpu", 2).unwrap();
    Model::load(&device, config, Checkpoint::open(&folder).unwrap(), Dtype::F32, tune, 0).unwrap()
}

const MODELS: [&str; 2] = ["glm-tiny/a", "chatglm-tiny/a"];

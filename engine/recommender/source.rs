//! From folders and files to a model that is ready: device, weights, adapter, and the data set
//! that must fit them.

use super::weights::find_weights;
use crate::base::named::named;
use crate::base::{Dtype, Fault};
use crate::data::{Dataset, Vocab};
use crate::device::{gpus, Device, Gelu, Place};
use crate::model::{Adapter, Checkpoint, Config, Model, Tune};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

named! {
    /// How weights and activations are stored.
    pub enum Storage: "dtype" {
        /// 32-bit floats.
        F32 = "f32",
        /// IEEE half precision.
        F16 = "f16",
        /// The upper half of an f32.
        Bf16 = "bf16",
    }
}

impl Storage {
    /// How activations are stored where nobody says: bf16 on a GPU and its emulator, f32 on the CPU
    /// and for full fine-tuning, whose weights are the masters.
    pub fn of(place: Place, tune: &Tune) -> Storage {
        match place.has_tensor_cores() && *tune != Tune::Full {
            true => Storage::Bf16,
            false => Storage::F32,
        }
    }

    /// The same for the floors below.
    pub fn dtype(self) -> Dtype {
        match self {
            Storage::F32 => Dtype::F32,
            Storage::F16 => Dtype::F16,
            Storage::Bf16 => Dtype::Bf16,
        }
    }

    /// What `torch_dtype` of a config calls it.
    pub fn torch(self) -> &'static str {
        match self {
            Storage::F32 => "float32",
            Storage::F16 => "float16",
            Storage::Bf16 => "bfloat16",
        }
    }
}

named! {
    /// Which curve is called GELU, where the config's own word is not to decide.
    pub enum Curve: "gelu" {
        /// The form with tanh, with which the GLM weights were trained.
        Tanh = "tanh",
        /// The form with erf.
        Erf = "erf",
    }
}

/// Which model, on what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Source {
    /// A checkpoint folder, or its name in `$ENGINE_WEIGHTS` or `weights`.
    pub weights: PathBuf,
    /// A PEFT folder or a run folder.
    pub adapter: Option<PathBuf>,
    /// The form of GELU; `None` = the config's.
    pub gelu: Option<Curve>,
    /// Storage of weights and activations; `None` = [`Storage::of`] the device.
    pub dtype: Option<Storage>,
    /// Decides everything that is random.
    pub seed: u64,
    /// Where to compute; `None` = [`best_place`].
    #[serde(skip)]
    pub device: Option<Place>,
    /// Worker threads of the CPU device; 0 = one a core.
    #[serde(skip)]
    pub threads: usize,
}

impl Source {
    /// Where it computes.
    pub fn place(&self) -> Place {
        self.device.unwrap_or_else(best_place)
    }

    /// How weights and activations are stored: as asked, or as usual for the device.
    pub fn storage(&self, tune: &Tune) -> Storage {
        self.dtype.unwrap_or_else(|| Storage::of(self.place(), tune))
    }

    /// Opens the device, then loads the model and its adapter. The second value is the number of
    /// linears that the adapter adapts. Refuses what does not fit together.
    pub fn load(&self, tune: &Tune) -> Result<(Model, usize)> {
        let device = Device::at(self.place(), self.threads)?;
        let folder = find_weights(&self.weights)?;
        let mut config = Config::read(&folder.join("config.json"))?;
        if let Some(curve) = self.gelu {
            config.gelu = if curve == Curve::Erf { Gelu::Erf } else { Gelu::Tanh };
        }
        let (checkpoint, dtype) = (Checkpoint::open(&folder)?, self.storage(tune).dtype());
        let mut model = Model::load(&device, config, checkpoint, dtype, tune, self.seed)?;
        let mut adapted = 0;
        if let Some(adapter) = &self.adapter {
            adapted = model.load_adapter(Adapter::open(adapter)?)?;
        }
        Ok((model, adapted))
    }

    /// Refuses a data set whose tokens `model` does not have, or that was made with another
    /// tokenizer than the one beside the weights, where one is.
    pub fn check(&self, model: &Model, dataset: &Dataset) -> Result<()> {
        let (have, need) = (model.config.vocabulary, dataset.vocab().size());
        if need > have {
            return Err(Fault::Model.error(format!(
                "data: {}: expected a tokenizer of at most {have} ids for this model, got {need}; \
                 prepare it with the model's own tokenizer",
                dataset.name()
            )));
        }
        same_tokenizer(&find_weights(&self.weights)?, dataset)
    }
}

fn same_tokenizer(weights: &Path, dataset: &Dataset) -> Result<()> {
    let path = weights.join("tokenizer.json");
    match std::fs::read(&path) {
        Ok(json) if json == dataset.vocab().json() => Ok(()),
        Ok(_) => dataset.expect_vocab(&Vocab::open(&path)?),
        Err(_) => Ok(()),
    }
}

/// The best device that this binary and this machine have: the first GPU that the kernels run on,
/// otherwise the CPU.
pub fn best_place() -> Place {
    static BEST: OnceLock<Place> = OnceLock::new();
    *BEST.get_or_init(|| {
        let gpus = if kernels::IMAGES.is_empty() { Vec::new() } else { gpus().unwrap_or_default() };
        let best = gpus.into_iter().find(|gpu| gpu.usable).and_then(|gpu| gpu.name.parse().ok());
        best.unwrap_or(Place::Cpu)
    })
}

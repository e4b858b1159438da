//! From folders and files to a model that is ready: device, weights, adapter, and the data set
//! that must fit them.

pub use super::learnt::Curve;
use super::learnt::Learnt;
use super::weights::{find_adapter, find_weights, is_read};
use crate::base::named::named;
use crate::base::{read_file, Dtype, Fault, Outputs};
use crate::data::rules::Frame;
use crate::data::{Dataset, Vocab};
use crate::device::{gpus, Device, Gelu, Place};
use crate::model::{Adapter, Checkpoint, Config, Contents, Family, Model, Tune};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::fmt;
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

/// Which model, on what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Source {
    /// A checkpoint folder, or its name in `$ENGINE_WEIGHTS` or `weights`.
    pub weights: PathBuf,
    /// A PEFT folder or a run folder.
    pub adapter: Option<PathBuf>,
    /// The form of GELU; `None` = that of the run that trained it, otherwise the config's.
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

/// A model that is ready.
pub struct Loaded {
    /// The model.
    pub model: Model,
    /// Linears that the adapter adapts; 0 without one.
    pub adapted: usize,
    /// What it was made of.
    pub origin: Origin,
}

/// What a model was made of.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What the weights are.
    pub weights: Contents,
    /// What the adapter is, where there is one.
    pub adapter: Option<Contents>,
    /// That the adapter was trained on other weights, where it remembers.
    pub other_base: Option<OtherBase>,
}

/// An adapter that stands on other weights than it was trained on. That is no fault, since weights
/// are merged and converted, but its answers are not those that were judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherBase {
    /// The adapter's folder.
    pub adapter: PathBuf,
    /// The hash of the weights that it was trained on ([`Contents::hash`]).
    pub trained_on: String,
    /// The hash of those under it.
    pub found: String,
}

impl OtherBase {
    /// Whether another base than the one it remembers is under an adapter.
    pub fn under(folder: &Path, adapter: &Adapter, weights: &Contents) -> Option<OtherBase> {
        let (trained_on, found) = (adapter.base()?.to_owned(), weights.hash());
        let adapter = folder.to_owned();
        (trained_on != found).then_some(OtherBase { adapter, trained_on, found })
    }

    /// The same of weights that nobody has opened.
    pub fn in_folder(
        folder: &Path,
        adapter: &Adapter,
        weights: &Path,
    ) -> Result<Option<OtherBase>> {
        if adapter.base().is_none() {
            return Ok(None);
        }
        let config = Config::read(&weights.join("config.json"))?.contents();
        let weights = Contents::of(config, &Checkpoint::open(weights)?, 0)?;
        Ok(OtherBase::under(folder, adapter, &weights))
    }
}

impl fmt::Display for OtherBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OtherBase { adapter, trained_on, found } = self;
        write!(
            f,
            "adapter: {}: expected the base it was trained on ({trained_on}), got another \
             ({found}); its answers are not those that it learnt",
            adapter.display()
        )
    }
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

    /// Tells of the files that are read of it.
    pub fn tell(&self, outputs: &mut Outputs) {
        let weights = find_weights(&self.weights).unwrap_or_else(|_| self.weights.clone());
        outputs.reads_in("setting `weights`", &weights, is_read);
        if let Some(adapter) = &self.adapter {
            outputs.reads_in("setting `adapter`", adapter, is_read);
        }
    }

    /// The folders that a model is made of, the adapter's first: both may be runs.
    pub fn folders(&self) -> Result<Vec<PathBuf>> {
        Ok(self.adapter.iter().cloned().chain([find_weights(&self.weights)?]).collect())
    }

    /// What the adapter learnt by, or else the weights, and the folder that says so.
    pub fn learnt(&self) -> Result<Option<(PathBuf, Learnt)>> {
        for folder in self.folders()? {
            if let Some(learnt) = Learnt::beside(&folder)? {
                return Ok(Some((folder, learnt)));
            }
        }
        Ok(None)
    }

    /// What the weights are stored as.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        Checkpoint::open(&find_weights(&self.weights)?)
    }

    /// Opens the device, then loads the model and its adapter. Refuses what does not fit together.
    pub fn load(&self, tune: &Tune) -> Result<Loaded> {
        let device = Device::at(self.place(), self.threads)?;
        let folder = find_weights(&self.weights)?;
        self.adapter.as_deref().map(find_adapter).transpose()?;
        let mut config = Config::read(&folder.join("config.json"))?;
        let learnt = self.learnt()?.and_then(|(_, learnt)| learnt.gelu);
        if let Some(curve) = self.gelu.or(learnt) {
            config.gelu = if curve == Curve::Erf { Gelu::Erf } else { Gelu::Tanh };
        }
        let (checkpoint, dtype) = (Checkpoint::open(&folder)?, self.storage(tune).dtype());
        let weights = Contents::of(config.contents(), &checkpoint, self.threads)?;
        let model = Model::load(&device, config, checkpoint, dtype, tune, self.seed)?;
        let origin = Origin { weights, adapter: None, other_base: None };
        let mut loaded = Loaded { model, adapted: 0, origin };
        if let Some(folder) = &self.adapter {
            let adapter = Adapter::open(folder)?;
            let origin = &mut loaded.origin;
            origin.other_base = OtherBase::under(folder, &adapter, &origin.weights);
            origin.adapter = Some(adapter.contents(self.threads)?);
            loaded.adapted = loaded.model.load_adapter(adapter)?;
        }
        Ok(loaded)
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

/// What stands round a text for models of this family, where nobody says (R20).
pub fn frame_of(config: &Config) -> Frame {
    match config.family {
        Family::Glm => Frame::Glm,
        Family::ChatGlm => Frame::ChatGlm,
    }
}

fn same_tokenizer(weights: &Path, dataset: &Dataset) -> Result<()> {
    let path = weights.join("tokenizer.json");
    match read_file(&path) {
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

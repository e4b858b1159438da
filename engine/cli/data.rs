//! What `train` and `decode` share: a data set under the rules of rows, and a loaded model.

use super::paths::find_weights;
use super::Global;
use crate::base::{Dtype, Fault};
use crate::data::intra::Ids;
use crate::data::sample::{PartAEos, SampleOptions};
use crate::data::task::Tasks;
use crate::data::template::{Template, Templates};
use crate::data::{Dataset, EncIntra, Intra, IntraMode, SampleBuilder, Vocab};
use crate::device::Gelu;
use crate::model::{Adapter, Checkpoint, Config, Model, Tune};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// How rows are made; the same for training and decoding, so that what was learnt is what is asked.
#[derive(Clone, Debug, clap::Args, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RowFlags {
    /// Ids of the prompt templates; training draws among them, decoding asks with the first
    #[arg(long, value_delimiter = ',', default_value = "2-3", value_name = "ID")]
    pub template: Vec<String>,
    /// Templates of your own beside the built-in ones
    #[arg(long, value_name = "FILE.toml")]
    pub templates: Option<PathBuf>,
    /// Behaviours shown at most, drawn over the age windows of 10/30/60 %; 0 = all that fit
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub behaviours: usize,
    /// Rows of a sample at most; the oldest history goes first
    #[arg(long, default_value_t = 1024, value_name = "N")]
    pub max_row: usize,
    /// Part B's intra ids: by the entity automaton, or 1, 2, 3 … as GLM
    #[arg(long, default_value = "entity", value_parser = ["entity", "glm"])]
    pub intra: String,
    /// Entity tokens of part A: numbered from one, from zero, or all 0
    #[arg(long, default_value = "one", value_parser = ["one", "zero", "off"])]
    pub enc_intra: String,
    /// Look for an entity inside a failed match, or begin anew behind it
    #[arg(long, default_value = "rescan", value_parser = ["rescan", "simple"])]
    pub trie_match: String,
    /// Id with which later units of a span begin
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=2))]
    pub restart: u32,
    /// Separate tokens in part B: each 1, or a run counted as one unit
    #[arg(long, default_value = "restart", value_parser = ["restart", "grow"])]
    pub plain_run: String,
}

impl RowFlags {
    /// Rows and prompts of `dataset` for a model with position tables of `max_positions` + 1 rows.
    pub fn tasks<'a>(
        &self,
        dataset: &'a Dataset,
        max_positions: usize,
        purpose: Purpose,
        seed: u64,
    ) -> Result<Tasks<'a>> {
        let glm = self.intra == "glm";
        let mode = IntraMode {
            ids: if glm { Ids::Glm } else { Ids::Entity },
            rescan: self.trie_match == "rescan",
            restart: self.restart,
            plain_grow: self.plain_run == "grow",
        };
        let enc_intra = match self.enc_intra.as_str() {
            _ if glm => EncIntra::Off,
            "off" => EncIntra::Off,
            "zero" => EncIntra::Zero,
            _ => EncIntra::One,
        };
        let options = SampleOptions {
            part_a_eos: PartAEos::Always,
            enc_intra,
            max_row: self.max_row.min(max_positions),
            last_position: max_positions as u32,
        };
        let intra = Intra::new(dataset.pool(), mode);
        let builder = SampleBuilder::new(dataset.vocab().special(), intra, options);
        let mut known = Templates::builtin();
        if let Some(path) = &self.templates {
            known.extend(Templates::load(path)?)?;
        }
        let chosen: Vec<&Template> =
            self.template.iter().map(|id| known.get(id)).collect::<Result<_>>()?;
        if let (Purpose::Training, Some(held)) = (purpose, chosen.iter().find(|t| !t.seen)) {
            return Err(Fault::Usage.error(format!(
                "--template: {}: expected a training template, got one held out for zero-shot \
                evaluation; choose another",
                held.id
            )));
        }
        Tasks::new(dataset, builder, &chosen, self.behaviours, seed)
    }
}

/// What prompts are for: held-out templates are never trained on (R39).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Training,
    Decoding,
}

/// Opens device and model, activations stored as `dtype`.
pub fn load_model(
    global: &Global,
    weights: &Path,
    adapter: Option<&Path>,
    tune: &Tune,
    gelu: Option<&str>,
    dtype: Dtype,
    seed: u64,
) -> Result<Model> {
    let device = global.open_device()?;
    let folder = find_weights(weights)?;
    let mut config = Config::read(&folder.join("config.json"))?;
    if let Some(form) = gelu {
        config.gelu = if form == "erf" { Gelu::Erf } else { Gelu::Tanh };
    }
    let mut model = Model::load(&device, config, Checkpoint::open(&folder)?, dtype, tune, seed)?;
    if let Some(adapter) = adapter {
        let modules = model.load_adapter(Adapter::open(adapter)?)?;
        global.note(&format!("adapter: {}: {modules} linears adapted", adapter.display()));
    }
    Ok(model)
}

/// Refuses a data set whose tokens the model does not have.
pub fn check_fit(model: &Model, dataset: &Dataset) -> Result<()> {
    let (have, need) = (model.config.vocabulary, dataset.vocab().size());
    if need > have {
        return Err(Fault::Model.error(format!(
            "data: {}: expected a tokenizer of at most {have} ids for this model, got {need}; \
            prepare it with the model's own tokenizer",
            dataset.name()
        )));
    }
    Ok(())
}

/// Refuses a data set made with another tokenizer than the one that lies beside the weights, where
/// one does.
pub fn check_tokenizer(weights: &Path, dataset: &Dataset) -> Result<()> {
    let path = find_weights(weights)?.join("tokenizer.json");
    match std::fs::read(&path) {
        Ok(json) if json == dataset.vocab().json() => Ok(()),
        Ok(_) => dataset.expect_vocab(&Vocab::open(&path)?),
        Err(_) => Ok(()),
    }
}

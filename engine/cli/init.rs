//! `engine init`: a randomly initialised checkpoint folder.

use super::flags::Overwriting;
use super::progress::Progress;
use super::settings::of_flags;
use super::word::word;
use super::{say, Global};
use crate::recommender::create::{create, Creation, Embeddings};
use crate::recommender::Storage;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A randomly initialised checkpoint folder from a config.
///
/// Example: engine init --model weights/glm-10b/config.json --tokenizer tokenizer.json --out
/// glm-new
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Init {
    /// The config.json that says what model it is
    #[arg(long, value_name = "CONFIG.json")]
    pub model: PathBuf,
    /// A tokenizer.json to put beside the weights
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Set vocab_size to the number of the tokenizer's ids, rounded up to --vocab-multiple
    #[arg(long, requires = "tokenizer")]
    #[serde(default)]
    pub vocab_from_tokenizer: bool,
    /// What --vocab-from-tokenizer rounds up to
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub vocab_multiple: u32,
    /// How the weights are stored
    #[arg(long, default_value_t, value_parser = word::<Storage>())]
    #[serde(default)]
    pub dtype: Storage,
    /// How the embeddings of words begin: drawn as everything else, or near where words belong
    /// together in the titles and histories of --data
    #[arg(long, default_value_t, value_parser = word::<Embeddings>())]
    #[serde(default)]
    pub embeddings: Embeddings,
    /// The prepared .bin from which --embeddings from-data begin
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// The checkpoint folder to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    #[serde(skip)]
    pub overwriting: Overwriting,
    /// Decides every weight
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// Makes the folder and says what is in it.
pub fn run(args: &Init, global: &Global) -> Result<()> {
    let creation = Creation { threads: global.threads, ..of_flags(args) };
    let mut progress: Option<Progress> = None;
    let parameters = create(&creation, global.outputs(args.overwriting), &mut |tensor| {
        let bar = progress.get_or_insert_with(|| {
            Progress::new("init", tensor.total as u64, "weights", global.quiet)
        });
        bar.message(tensor.name.to_owned());
        bar.advance(tensor.count as u64);
        Ok(())
    })?;
    if let Some(bar) = progress {
        bar.finish();
    }
    let (out, dtype) = (args.out.display(), args.dtype.torch());
    say::result(&format!("{out}: {parameters} parameters, {dtype}\n"));
    Ok(())
}

//! What every step of a ladder stands on: the data and the bases, made where they are not there.

use super::how::How;
use super::ladder::{Base, Data, Ladder};
use super::seed_folder;
use super::train::{train, Training};
use crate::base::outputs::make_folder;
use crate::base::{write_whole, Outputs};
use crate::data::Dataset;
use crate::recommender::create::{create, Creation, Embeddings};
use crate::recommender::learning::Learning;
use crate::recommender::prepare::{prepare, Preparing};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// What is there before the first step.
pub struct Ground {
    /// The `.bin`.
    pub data: PathBuf,
    /// By seed, a checkpoint folder.
    pub bases: Vec<PathBuf>,
}

/// Makes what is not there yet. `None` once somebody asks to stop.
pub fn lay(ladder: &Ladder, how: &How) -> Result<Option<Ground>> {
    let place = how.out.join("data");
    let data = made(&ladder.data, &place.join("shop.bin"), None)?;
    let mut bases = Vec::new();
    match &ladder.base {
        Base::Weights(folder) => bases.resize(ladder.seeds.len(), folder.clone()),
        Base::Made(creation, taught) => {
            let tokenizer = place.join("base-tokenizer.json");
            folder(&place)?;
            write_whole(&tokenizer, Dataset::open(&data)?.vocab().json())?;
            let on = taught.as_deref().map(|(data, learning)| {
                let path = made(data, &place.join("base.bin"), Some(&tokenizer))?;
                anyhow::Ok((path, learning))
            });
            let on = on.transpose()?;
            // Embeddings that begin from data do so from what the base is taught, or what the steps
            // are.
            let own = on.as_ref().map_or(&data, |(data, _)| data);
            let from = (creation.embeddings == Embeddings::FromData).then(|| own.clone());
            let creation = Creation { data: from, ..(**creation).clone() };
            for &seed in &ladder.seeds {
                let on = on.as_ref().map(|(data, learning)| (&**data, *learning));
                match base(&creation, on, &tokenizer, seed, how)? {
                    Some(made) => bases.push(made),
                    None => return Ok(None),
                }
            }
        }
    }
    Ok(Some(Ground { data, bases }))
}

/// The `.bin` of a data set, which is made at `path` where it is made at all, by `tokenizer` where
/// one is given. A file that is there is whole.
fn made(data: &Data, path: &Path, tokenizer: Option<&Path>) -> Result<PathBuf> {
    let preparing = match data {
        Data::Prepared(path) => return Ok(path.clone()),
        Data::Made(_) if path.is_file() => return Ok(path.to_owned()),
        Data::Made(preparing) => preparing,
    };
    path.parent().map_or(Ok(()), folder)?;
    let mut preparing = Preparing { out: path.to_owned(), ..(**preparing).clone() };
    if let Some(tokenizer) = tokenizer {
        (preparing.tokenizer, preparing.train_tokenizer) = (Some(tokenizer.to_owned()), None);
    }
    // A tokenizer may be there of a preparation that was cut off.
    prepare(&preparing, Outputs::new(true))?;
    Ok(path.to_owned())
}

/// The model that the steps of a seed begin with.
fn base(
    creation: &Creation,
    taught: Option<(&Path, &Learning)>,
    tokenizer: &Path,
    seed: u64,
    how: &How,
) -> Result<Option<PathBuf>> {
    let place = how.out.join("base").join(seed_folder(seed));
    let weights = place.join("weights");
    // Each file comes whole, but one after another.
    let is_there = |name: &&str| weights.join(name).is_file();
    if !["config.json", "tokenizer.json", "model.safetensors"].iter().all(is_there) {
        how.watch.says(&format!("base, seed {seed}: made"));
        let creation = Creation {
            tokenizer: Some(tokenizer.to_owned()),
            vocab_from_tokenizer: true,
            out: weights.clone(),
            seed,
            threads: how.threads,
            ..creation.clone()
        };
        create(&creation, Outputs::new(true), &mut |_| Ok(()))?;
    }
    let Some((data, learning)) = taught else { return Ok(Some(weights)) };
    let training = Training { name: "base", learning, weights: &weights, data, seed };
    let whole = train(&training, &place, how, how.threads)?;
    Ok(whole.then(|| place.join("run")))
}

fn folder(path: &Path) -> Result<()> {
    make_folder(path).map(drop).with_context(|| path.display().to_string())
}

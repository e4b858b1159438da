//! What baselines said, kept from one report to the next: they are fitted once for each data set.
//!
//! A file in the folder that `ENGINE_CACHE` names, otherwise `engine` in the user's folder for what
//! can be made again. It is nobody's work: one that cannot be read or written is made again, and
//! one that took no time is not kept.

use crate::base::outputs::make_folder;
use crate::base::{hashes, write_whole};
use crate::data::Dataset;
use crate::eval::baseline::{Beside, Wishes};
use crate::eval::truth::{Split, Truth};
use flate2::{read::GzDecoder, write::GzEncoder, Compression};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

/// To be raised when a fit changes: what older engines kept is then not believed.
const FORMAT: u32 = 2;

/// What takes less is done again.
const WORTH: Duration = Duration::from_secs(2);

/// Where what is known of a data set is kept.
pub struct Kept {
    path: Option<PathBuf>,
    key: String,
}

#[derive(Serialize, Deserialize)]
struct File<T> {
    key: String,
    beside: T,
}

impl Kept {
    /// For a data set, wishes and a split.
    pub fn of(dataset: &Dataset, wishes: Wishes, split: Split) -> Kept {
        let hash = format!("{:016x}", hashes(&[dataset.map()], 0)[0]);
        let key = json!([FORMAT, hash, wishes, split]).to_string();
        let name = format!("baselines-{:016x}.json.gz", hashes(&[key.as_bytes()], 1)[0]);
        Kept { path: folder().map(|folder| folder.join(name)), key }
    }

    /// What was said, where it is kept whole.
    pub fn read(&self, truth: &Truth<'_>, split: Split) -> Option<Beside> {
        let (packed, mut text) = (std::fs::read(self.path.as_ref()?).ok()?, Vec::new());
        GzDecoder::new(&*packed).read_to_end(&mut text).ok()?;
        let file: File<Beside> = serde_json::from_slice(&text).ok()?;
        let same = file.key == self.key && file.beside.is_complete(truth, split);
        same.then_some(file.beside)
    }

    /// Keeps what took `time` to find.
    pub fn write(&self, beside: &Beside, time: Duration) {
        let Some(path) = self.path.as_ref().filter(|_| time >= WORTH) else { return };
        let file = File { key: self.key.clone(), beside };
        let write = || -> anyhow::Result<()> {
            make_folder(path.parent().expect("a file in a folder"))?;
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(&serde_json::to_vec(&file)?)?;
            write_whole(path, packed.finish()?)
        };
        // Whoever asks next finds it out again.
        let _ = write();
    }
}

fn folder() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
    match named("ENGINE_CACHE") {
        Some(folder) => (!folder.as_os_str().is_empty()).then_some(folder),
        None => {
            let home = || Some(named("HOME").filter(|home| home.is_absolute())?.join(".cache"));
            let folder = named("XDG_CACHE_HOME").filter(|folder| folder.is_absolute());
            Some(folder.or_else(home)?.join("engine"))
        }
    }
}

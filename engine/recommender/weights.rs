//! Where weights lie: a path, or a name in one of the folders that hold them.

use super::learnt::{RULES, TEMPLATES};
use crate::base::{Fault, Written};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// The folders in which a name is looked up, in this order: `$ENGINE_WEIGHTS`, where it is set, and
/// `weights`.
pub fn weights_folders() -> Vec<PathBuf> {
    let own = std::env::var_os("ENGINE_WEIGHTS").filter(|folder| !folder.is_empty());
    own.map(PathBuf::from).into_iter().chain([PathBuf::from("weights")]).collect()
}

/// What is written in a checkpoint folder. The weights are last: a folder that has them has all. No
/// index is ever written; one of sharded weights that stood there before would hide the new ones.
pub const WRITTEN: Written = Written {
    files: &[
        "config.json",
        "init.toml",
        "tokenizer.json",
        TEMPLATES,
        RULES,
        "model.safetensors",
        "model.safetensors.index.json",
    ],
    folders: &[],
};

/// Whether a file of this name in a checkpoint or adapter folder is read.
pub fn is_read(name: &str) -> bool {
    let named = ["config.json", "tokenizer.json", "adapter_config.json", RULES, TEMPLATES];
    named.contains(&name) || name.ends_with(".safetensors") || name.ends_with(".index.json")
}

/// The checkpoint folder that a setting names: a path, or a name in one of [`weights_folders`].
pub fn find_weights(name: &Path) -> Result<PathBuf> {
    find_among(name, &weights_folders())
}

fn find_among(name: &Path, folders: &[PathBuf]) -> Result<PathBuf> {
    if name.is_dir() {
        return Ok(name.to_owned());
    }
    let shown = name.display();
    if name.is_file() {
        return Err(Fault::Usage.error(format!(
            "setting `weights`: {shown}: expected a folder with config.json and *.safetensors, got \
            a file; \
            name its folder"
        )));
    }
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_dir());
    found.ok_or_else(|| {
        let searched: Vec<String> =
            folders.iter().map(|folder| folder.join(name).display().to_string()).collect();
        Fault::Usage.error(format!(
            "setting `weights`: {shown}: expected a folder, or a name to be found as {}, got \
            neither; \
            `engine doctor` lists what is there",
            searched.join(" or ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_wins_over_names_and_the_first_folder_over_the_second() {
        let root = tempfile::tempdir().unwrap();
        let folders: Vec<PathBuf> = ["a", "b"].iter().map(|name| root.path().join(name)).collect();
        for path in ["a/both", "b/both", "b/second"] {
            std::fs::create_dir_all(root.path().join(path)).unwrap();
        }
        let find = |name: &Path| find_among(name, &folders);
        assert_eq!(find(Path::new("both")).unwrap(), folders[0].join("both"));
        assert_eq!(find(Path::new("second")).unwrap(), folders[1].join("second"));
        assert_eq!(find(&folders[1]).unwrap(), folders[1]);
        let error = find(Path::new("third")).unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::Usage));
        assert!(error.to_string().contains("third"), "{error}");
    }
}

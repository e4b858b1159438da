//! Where weights lie: a path, or a name in one of the folders that hold them.

use super::learnt::{RULES, TEMPLATES};
use super::prior::PRIOR;
use crate::base::{meant, unreadable, Fault, Written};
use anyhow::Result;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What makes a folder an adapter.
const ADAPTER_CONFIG: &str = "adapter_config.json";

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
    let named = ["config.json", "tokenizer.json", ADAPTER_CONFIG, RULES, TEMPLATES, PRIOR];
    named.contains(&name) || name.ends_with(".safetensors") || name.ends_with(".index.json")
}

/// The checkpoint folder that a setting names: a path, or a name in one of [`weights_folders`].
/// Refuses an adapter, and says which base it is for.
pub fn find_weights(name: &Path) -> Result<PathBuf> {
    let found = find_among(name, &weights_folders())?;
    let has = |file: &str| found.join(file).is_file();
    if has("config.json") || has("model.safetensors") {
        return Ok(found);
    }
    let shown = name.display();
    let refuse = |got: String| {
        let expected = "expected a folder with config.json and *.safetensors";
        Err(Fault::Model.error(format!("setting `weights`: {shown}: {expected}, got {got}")))
    };
    match has(ADAPTER_CONFIG) {
        true => match base_of(&found) {
            Some(base) => refuse(format!(
                "an adapter, whose base is {base}; ask for setting `weights = {base}` and setting \
                `adapter = {shown}`, or make one folder of both with `merge` to train that further"
            )),
            None => refuse(format!(
                "an adapter, which does not name its base; ask for the base by setting `weights` \
                and for this by setting `adapter = {shown}`"
            )),
        },
        false if has(RULES) => refuse(
            "a run that was stopped before it had a model; go on with it by setting `resume`"
                .to_owned(),
        ),
        false => Ok(found),
    }
}

/// The base that an adapter was trained on, by the name that its trainer gave it.
fn base_of(adapter: &Path) -> Option<String> {
    let json = std::fs::read(adapter.join(ADAPTER_CONFIG)).ok()?;
    let config: Value = serde_json::from_slice(&json).ok()?;
    let base = config.get("base_model_name_or_path")?.as_str()?;
    (!base.is_empty()).then(|| base.to_owned())
}

/// The folder of an adapter that a setting names. Refuses whole weights.
pub fn find_adapter(name: &Path) -> Result<PathBuf> {
    let expected = "a PEFT folder or a run folder";
    let found = name
        .metadata()
        .map_err(|e| unreadable(Fault::Model, "setting `adapter`", name, expected, &e))?;
    let shown = name.display();
    if !found.is_dir() {
        return Err(Fault::Usage.error(format!(
            "setting `adapter`: {shown}: expected {expected}, got a file; name its folder"
        )));
    }
    let has = |file: &str| name.join(file).is_file();
    if has(ADAPTER_CONFIG) {
        return Ok(name.to_owned());
    }
    let (got, advice) = if has("config.json") {
        ("whole weights", format!("ask for them by setting `weights = {shown}` alone"))
    } else if has(RULES) {
        let advice = "go on with it by setting `resume`";
        ("a run that was stopped before it had a model", advice.to_owned())
    } else {
        ("a folder without adapter_config.json", "check the path".to_owned())
    };
    Err(Fault::Model
        .error(format!("setting `adapter`: {shown}: expected {expected}, got {got}; {advice}")))
}

fn find_among(name: &Path, folders: &[PathBuf]) -> Result<PathBuf> {
    if name.is_dir() {
        return Ok(name.to_owned());
    }
    let shown = name.display();
    if name.is_file() {
        return Err(Fault::Usage.error(format!(
            "setting `weights`: {shown}: expected a folder with config.json and *.safetensors, got \
            a file; name its folder"
        )));
    }
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_dir());
    found.ok_or_else(|| {
        let searched: Vec<String> =
            folders.iter().map(|folder| folder.join(name).display().to_string()).collect();
        let there = names_in(folders);
        let there: Vec<&str> = there.iter().map(String::as_str).collect();
        let advice = meant(&shown.to_string(), &there, "`engine doctor` lists what is there");
        Fault::Usage.error(format!(
            "setting `weights`: {shown}: expected a folder, or a name to be found as {}, got \
            nothing: these paths do not exist; {advice}",
            searched.join(" or ")
        ))
    })
}

/// The folders of weights in `folders`, by name.
fn names_in(folders: &[PathBuf]) -> Vec<String> {
    let entries = folders.iter().flat_map(std::fs::read_dir).flatten().flatten();
    let named = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> =
        named.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names.dedup();
    names
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

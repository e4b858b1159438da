//! `golden/positions.json`: names of tokens become numbers, in order of appearance.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

pub struct Names(BTreeMap<String, u32>);

impl Names {
    pub fn new() -> Names {
        Names(BTreeMap::new())
    }

    pub fn token(&mut self, name: &str) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(name.to_owned()).or_insert(next)
    }

    pub fn tokens(&mut self, list: &Value) -> Vec<u32> {
        list.as_array().unwrap().iter().map(|name| self.token(name.as_str().unwrap())).collect()
    }
}

pub fn positions() -> Value {
    let folder = std::env::var("ENGINE_GOLDEN").unwrap_or_else(|_| "tests/golden".into());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("positions.json");
    serde_json::from_slice(
        &std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
    )
    .unwrap()
}

pub fn numbers(list: &Value) -> Vec<u32> {
    list.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as u32).collect()
}

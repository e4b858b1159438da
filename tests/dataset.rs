//! Raw files become a `.bin`, and what comes out is what went in.

use engine::cli::prepare::{self, Prepare};
use engine::data::Dataset;
use std::path::PathBuf;

fn shared() -> PathBuf {
    std::env::var_os("ENGINE_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from)
}

#[test]
fn toys_and_beauty_have_the_counts_of_table_1() {
    for (name, users, items, interactions) in
        [("toys", 19_412, 11_924, 167_597), ("beauty", 22_363, 12_101, 198_502)]
    {
        let source = shared().join("data").join(name);
        if !source.exists() {
            eprintln!("skipped: no {}", source.display());
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join(format!("{name}.bin"));
        let args = Prepare { source, train_tokenizer: Some(8000), out: out.clone(), ..Prepare::default() };
        prepare::run(&args).unwrap();
        let begin = std::time::Instant::now();
        let data = Dataset::open(&out).unwrap();
        eprintln!("open: {:?}, {} bytes", begin.elapsed(), std::fs::metadata(&out).unwrap().len());
        let begin = std::time::Instant::now();
        data.verify().unwrap();
        eprintln!("verify: {:?}", begin.elapsed());
        let found = data.statistics();
        assert_eq!((found.users, found.items, found.interactions), (users, items, interactions));
        assert_eq!(data.name(), name);
    }
}

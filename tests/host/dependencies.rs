//! What the project depends on keeps to the policy of `deny.toml` and to its own `rust-version`.

use serde_json::Value;
use std::process::Command;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn licences_sources_and_rust_versions_of_dependencies() {
    let root = env!("CARGO_MANIFEST_DIR");
    let flags = ["metadata", "--format-version", "1", "--locked", "--offline"];
    let output = Command::new(env!("CARGO"))
        .args(flags)
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {words}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let policy = std::fs::read_to_string(format!("{root}/deny.toml")).expect("deny.toml is there");
    let policy: toml::Table = policy.parse().expect("deny.toml is TOML");
    let allowed: Vec<&str> = policy["licenses"]["allow"]
        .as_array()
        .expect("licenses.allow is a list")
        .iter()
        .filter_map(|licence| licence.as_str())
        .collect();

    // Cargo lists what a platform leaves out as well; what it resolves is what is built.
    let nodes = metadata["resolve"]["nodes"].as_array().expect("nodes");
    let resolved: Vec<&Value> = nodes.iter().map(|node| &node["id"]).collect();
    let packages = metadata["packages"].as_array().expect("packages");
    let mut complaints = Vec::new();
    for package in packages.iter().filter(|package| resolved.contains(&&package["id"])) {
        let name = format!("{} {}", package["name"], package["version"]);
        let licence = package["license"].as_str().unwrap_or("none");
        if !is_allowed(licence, &allowed) {
            complaints.push(format!("{name}: expected a licence of deny.toml, got {licence}"));
        }
        if package["source"].as_str().is_some_and(|source| source != REGISTRY) {
            complaints.push(format!("{name}: expected crates.io, got {}", package["source"]));
        }
        let needs = package["rust_version"].as_str().unwrap_or("1.0");
        let ours = env!("CARGO_PKG_RUST_VERSION");
        if version(needs) > version(ours) {
            complaints.push(format!("{name}: expected at most Rust {ours}, got {needs}"));
        }
    }
    assert!(complaints.is_empty(), "dependencies:\n{}", complaints.join("\n"));
}

/// Whether an SPDX expression can be met: one alternative of each part that must be.
fn is_allowed(licence: &str, allowed: &[&str]) -> bool {
    licence.split(" AND ").all(|part| {
        let part = part.trim_matches(['(', ')']).replace('/', " OR ");
        part.split(" OR ").any(|one| allowed.contains(&one.trim()))
    })
}

fn version(text: &str) -> Vec<u32> {
    text.split('.').take(2).map(|part| part.parse().expect("a number")).collect()
}

#[test]
fn licences_are_read_as_spdx_does() {
    let allowed = ["MIT", "Unicode-3.0"];
    for licence in ["MIT", "Apache-2.0 OR MIT", "Apache-2.0/MIT", "(MIT OR X) AND Unicode-3.0"] {
        assert!(is_allowed(licence, &allowed), "{licence}");
    }
    for licence in ["GPL-3.0", "MIT AND GPL-3.0", "none"] {
        assert!(!is_allowed(licence, &allowed), "{licence}");
    }
    assert!(version("1.100") > version("1.89") && version("1.89.0") == version("1.89"));
}

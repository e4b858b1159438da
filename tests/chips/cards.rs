//! The card above each kernel of `kernels/*.cu`: what it takes of a processor, what it is bound by,
//! and the share of that rate which is predicted when the GPU is full. All of it is read from
//! `kernels/audit.tsv`, `kernels/profile.tsv` and `kernels/interface.cuh`, and predicted by
//! `kernels::predicted`; nothing runs.
//!
//! A card that is not what the tables say fails: `ENGINE_CARDS_WRITE=1` writes all of them.

use crate::{audit, profile};
use kernels::interface;
use kernels::predicted::{Gpu, GPUS, UNITS};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The GPU that cards are of.
const GPU: &Gpu = &GPUS[0];
/// What the second and the third line of a card begin with.
const BOUND: &str = "// bound by ";
const PREDICTED: &str = "// predicted on an ";
/// Units beside the busiest that a card names: so many at most, of such a share of its time. Waits
/// are named from half of that on.
const OTHERS: usize = 4;
const LEAST: f64 = 0.1;

/// What a line `KERNEL(threads, name, …` says.
#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    threads: &'a str,
    name: &'a str,
}

fn entry(line: &str) -> Option<Entry<'_>> {
    let mut words = line.strip_prefix("KERNEL(")?.split(',').map(str::trim);
    Some(Entry { threads: words.next()?, name: words.next()? })
}

/// The words of a name that tell forms of one kernel apart: element types, alignment, dropout.
fn is_form(word: &str) -> bool {
    ["f32", "f16", "bf16", "wide", "one", "any", "drop"].contains(&word)
}

/// A name without the words of its form. `any` is one only beside a kernel that is aligned:
/// elsewhere it is a kernel of its own.
fn kernel_of(name: &str, names: &BTreeSet<&str>) -> String {
    let without = |name: &str, any: bool| {
        let kept = name.split('_').filter(|word| !is_form(word) || (any && *word == "any"));
        kept.collect::<Vec<_>>().join("_")
    };
    let aligned = |other: &&str| {
        !other.split('_').any(|word| word == "any") && without(other, true) == without(name, false)
    };
    without(name, !names.iter().any(aligned))
}

/// The kernels of a source in order, each with its entry points.
fn kernels_in(text: &str) -> Vec<(String, Vec<Entry<'_>>)> {
    let entries: Vec<Entry> = text.lines().filter_map(entry).collect();
    let names = entries.iter().map(|entry| entry.name).collect();
    let mut kernels: Vec<(String, Vec<Entry>)> = Vec::new();
    for entry in entries {
        let name = kernel_of(entry.name, &names);
        match kernels.iter_mut().find(|(other, _)| *other == name) {
            Some((_, entries)) => entries.push(entry),
            None => kernels.push((name, vec![entry])),
        }
    }
    kernels
}

/// The entry point whose counts stand for its kernel's: without dropout, aligned, bf16.
fn representative<'a>(entries: &[Entry<'a>]) -> Entry<'a> {
    let rank = |entry: &&Entry| {
        let count = |form: &str| entry.name.split('_').filter(|word| *word == form).count();
        (Reverse(count("drop")), Reverse(count("any")), count("wide"), count("bf16"), count("f32"))
    };
    // The first of equals.
    *entries.iter().rev().max_by_key(rank).expect("a kernel has an entry point")
}

/// The tables that cards are made of.
struct Tables {
    registers: audit::Table,
    counts: profile::Table,
    /// Rows and columns of y, depth, rows and columns of a warp, stages.
    tiles: BTreeMap<String, [usize; 6]>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")
}

impl Tables {
    fn read() -> Tables {
        let text = |name: &str| fs::read_to_string(folder().join(name)).unwrap();
        let tile = |line: &str| {
            let (name, numbers) = line.strip_prefix("using ")?.split_once(" = Tile<")?;
            let numbers = numbers.strip_suffix(">;")?.split(", ").map(|n| n.parse().ok());
            Some((name.to_owned(), numbers.collect::<Option<Vec<_>>>()?.try_into().ok()?))
        };
        Tables {
            registers: audit::read_table(&text("audit.tsv")).1,
            counts: profile::read_table(&text("profile.tsv")).1,
            tiles: text("interface.cuh").lines().filter_map(tile).collect(),
        }
    }

    /// The tile of an entry point on tensor cores.
    fn tile(&self, entry: Entry) -> Option<[usize; 6]> {
        self.tiles.get(entry.threads.strip_suffix("::THREADS")?).copied()
    }

    /// The three lines of a kernel.
    fn card(&self, kernel: &str, entries: &[Entry]) -> Result<[String; 3], String> {
        let chosen = representative(entries);
        let row = self.counts.get(chosen.name).ok_or_else(|| {
            format!("{}: kernels/profile.tsv has no row: ENGINE_PROFILE_WRITE=1", chosen.name)
        })?;
        let (counts, shared, touched) = profile::said(row);
        let of = |entry: &Entry| {
            let needs = self.registers.get(&(entry.name.to_owned(), GPU.target.to_owned()));
            needs.map(|needs| needs.registers).ok_or_else(|| {
                format!("{}: kernels/audit.tsv has no row: ENGINE_AUDIT_WRITE=1", entry.name)
            })
        };
        let all = entries.iter().map(of).collect::<Result<Vec<u32>, String>>()?;
        let registers = all.into_iter().max().expect("a kernel has an entry point");
        let signature = kernels::ENTRIES.iter().find(|entry| entry.name == chosen.name);
        let threads =
            signature.ok_or_else(|| format!("{}: not in this build", chosen.name))?.threads;
        let resident = GPU.resident(threads, registers, shared);

        let tile = self.tile(chosen);
        let mut parts = vec![format!("{threads} threads"), format!("{registers} registers")];
        parts.extend((shared > 0).then(|| bytes(shared)));
        parts.push(format!("{resident} block{} a processor", if resident == 1 { "" } else { "s" }));
        let shape = match tile {
            Some([m, n, k, _, _, stages]) => Some(format!("{m} x {n} x {k}, {stages} stages")),
            None => walked(kernel),
        };
        let shape = shape.map_or(String::new(), |shape| format!("{shape}; "));
        let takes = format!("// {kernel}: {shape}{}", parts.join(", "));

        // Blocks on tensor cores share what they read: what of it crosses DRAM is the launch's
        // affair. All others touch what nobody else does.
        let blocks = counts.blocks as f64;
        let shares = counts.mma > 0;
        let own = if shares { 0.0 } else { touched as f64 / blocks };
        let full = GPU.full(&counts, resident, shared, own);
        let bound = full.bound();
        let share = |unit: &str| full.unit(unit) / full.unit(bound);
        let mut others: Vec<&str> =
            UNITS.into_iter().filter(|unit| *unit != bound && share(unit) >= LEAST).collect();
        others.sort_by(|a, b| share(b).total_cmp(&share(a)));
        others.truncate(OTHERS);
        let others: Vec<String> =
            others.into_iter().map(|unit| format!("{unit} {}", percent(share(unit)))).collect();
        let mut limits = format!("{BOUND}{bound}");
        if !others.is_empty() {
            limits += &format!(" ({})", others.join(", "));
        }
        if let Some([m, n, ..]) = tile {
            // A product is of 16 x 8 x 16.
            let k = counts.mma / counts.blocks * 16 * 8 * 16 / (m * n) as u64;
            limits += &format!(" at a k of {k}");
        }

        let reaches = percent(GPU.reaches(&full));
        let mut predicted = format!("{PREDICTED}{}: {reaches} of {} rate", GPU.name, whose(bound));
        // Behind DRAM others wait as well, and it is not the longer for it.
        let waits = full.waits / full.seconds;
        if waits >= LEAST / 2.0 && full.seconds > full.unit("dram") {
            predicted += &format!(", waits {}", percent(waits));
        }
        // Were nothing of it in L2.
        let sectors = counts.sectors.iter().sum::<u64>() as f64;
        let alone = GPU.full(&counts, resident, shared, 32.0 * sectors / blocks).unit("dram");
        if shares && alone > full.seconds {
            predicted += &format!(", if {} stays in L2", percent(1.0 - full.seconds / alone));
        }
        Ok([takes, limits, predicted])
    }

    /// A source with the cards that it has to have.
    fn with_cards(&self, text: &str) -> Result<String, String> {
        let plain = without_cards(text);
        let mut cards = BTreeMap::new();
        for (kernel, entries) in kernels_in(&plain) {
            cards.insert(entries[0].name, self.card(&kernel, &entries)?);
        }
        let mut lines: Vec<&str> = Vec::new();
        for line in plain.lines() {
            if let Some(card) = entry(line).and_then(|entry| cards.get(entry.name)) {
                if lines.last().is_some_and(|last| !last.is_empty()) {
                    lines.push("");
                }
                lines.extend(card.iter().map(String::as_str));
            }
            lines.push(line);
        }
        Ok(lines.join("\n") + "\n")
    }

    /// What is wrong with the cards of a source.
    fn faults(&self, file: &str, text: &str) -> Vec<String> {
        let expected = match self.with_cards(text) {
            Ok(expected) => expected,
            Err(words) => return vec![format!("{file}: {words}")],
        };
        if expected == text {
            return Vec::new();
        }
        let (expected, found) = (cards_in(&expected), cards_in(text));
        let above = |cards: &[(String, Option<String>)], entry: &str| {
            let of = |(card, below): &(String, Option<String>)| {
                (below.as_deref() == Some(entry)).then(|| card.clone())
            };
            cards.iter().find_map(of)
        };
        let mut faults = Vec::new();
        for (card, below) in &expected {
            let name = below.as_deref().expect("a card that is written stands above a kernel");
            match above(&found, name) {
                Some(other) if other == *card => {}
                Some(other) => faults
                    .push(format!("{file}: {name}: expected the card\n{card}\n  got\n{other}")),
                None => faults.push(format!("{file}: {name}: no card stands above it")),
            }
        }
        for (card, below) in &found {
            let place = below.as_deref().unwrap_or("no kernel");
            if below.as_deref().is_none_or(|name| above(&expected, name).is_none()) {
                faults.push(format!("{file}: a card stands above {place}:\n{card}"));
            }
        }
        if faults.is_empty() {
            faults.push(format!("{file}: cards are not where they are written"));
        }
        faults
    }
}

/// Rows that a block owns and walks over, of y and of k, for what is no [`interface::Tile`].
fn walked(kernel: &str) -> Option<String> {
    use interface::*;
    let size = [64, 128].into_iter().find(|n| kernel.ends_with(&format!("_{n}")));
    let begins = |words: &[&str]| words.iter().any(|word| kernel.starts_with(word));
    let (rows, columns) = match size {
        Some(n) if begins(&["attention_keys_", "attention_queries_"]) => {
            (backward_own(n), BACKWARD_WALK)
        }
        Some(n) if begins(&["attention_"]) => (ATTENTION_QUERIES, attention_keys(n)),
        Some(n) if begins(&["cache_prompt_"]) => (CACHE_TOGETHER, cache_keys(n)),
        None if begins(&["attention_"]) && kernel.ends_with("_any") => {
            (ATTENTION_SIMT_OWN, ATTENTION_SIMT_WALK)
        }
        None if begins(&["simt_"]) => {
            return Some(format!("{SIMT_SIDE} x {SIMT_SIDE} x {SIMT_DEPTH}"));
        }
        _ => return None,
    };
    Some(format!("{rows} x {columns}"))
}

/// A source without cards, whole or in pieces.
fn without_cards(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let of_card = |i: usize| {
        let begins_one =
            lines[i].starts_with("// ") && lines.get(i + 1).is_some_and(|x| x.starts_with(BOUND));
        begins_one || lines[i].starts_with(BOUND) || lines[i].starts_with(PREDICTED)
    };
    let kept = (0..lines.len()).filter(|&i| !of_card(i)).map(|i| format!("{}\n", lines[i]));
    kept.collect()
}

/// The cards of a source, each with the entry point under it.
fn cards_in(text: &str) -> Vec<(String, Option<String>)> {
    let lines: Vec<&str> = text.lines().collect();
    let bound = (1..lines.len()).filter(|&i| lines[i].starts_with(BOUND));
    let card = |i: usize| {
        let below = lines.get(i + 2).copied().and_then(entry).map(|entry| entry.name.to_owned());
        (lines[i - 1..lines.len().min(i + 2)].join("\n"), below)
    };
    bound.map(card).collect()
}

/// 0.876 is "88 %".
fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// In KB where it is whole ones.
fn bytes(n: usize) -> String {
    match n % 1024 {
        0 => format!("{} KB", n >> 10),
        _ if n > 999 => format!("{},{:03} bytes", n / 1000, n % 1000),
        _ => format!("{n} bytes"),
    }
}

/// Whose rate it is.
fn whose(unit: &str) -> &str {
    match unit {
        "tensor" => "the tensor cores'",
        "shared" => "shared memory's",
        "lsu" => "the load units'",
        "l2" => "L2's",
        "dram" => "DRAM's",
        "issue" => "the schedulers'",
        "exp" => "the exponent units'",
        other => other,
    }
}

/// The sources of the kernels and their headers, by name.
fn sources() -> Vec<(String, String)> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|end| end == "cu" || end == "cuh"))
        .collect();
    paths.sort();
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    paths.iter().map(named).collect()
}

#[test]
fn cards_say_what_the_tables_do() {
    let tables = Tables::read();
    if std::env::var("ENGINE_CARDS_WRITE").is_ok_and(|x| x == "1") {
        for (file, text) in sources() {
            match tables.with_cards(&text) {
                Ok(cards) if cards != text => {
                    fs::write(folder().join(&file), cards).unwrap();
                    println!("wrote the cards of kernels/{file}");
                }
                _ => {}
            }
        }
    }
    let faults: Vec<String> = sources()
        .iter()
        .flat_map(|(file, text)| tables.faults(&format!("kernels/{file}"), text))
        .collect();
    assert!(
        faults.is_empty(),
        "{}\nCards are written by ENGINE_CARDS_WRITE=1 cargo test --release --test chips cards, \
        after audit.tsv and profile.tsv are; commit the sources",
        faults.join("\n")
    );
}

#[test]
fn a_kernel_is_all_its_forms() {
    let text = "KERNEL(64, blur_f32, P, a<float>)\nKERNEL(64, blur_bf16_wide, P, a<bf16>)\n\
        KERNEL(64, blur_bf16_wide_drop, P, a<bf16>)\nKERNEL(64, two_any, P, b)\n\
        KERNEL(64, two, P, b)\nKERNEL(Few::THREADS, three_any_f16, P, c)\n\
        KERNEL(64, three_few_f16, P, d)\nKERNEL(64, cast_f32_bf16, P, e)\n\
        KERNEL(64, cast_bf16_bf16, P, e)\n";
    let found: Vec<(String, &str, usize)> = kernels_in(text)
        .into_iter()
        .map(|(kernel, entries)| (kernel, representative(&entries).name, entries.len()))
        .collect();
    let expected = [
        ("blur", "blur_bf16_wide", 3),
        ("two", "two", 2),
        ("three_any", "three_any_f16", 1),
        ("three_few", "three_few_f16", 1),
        ("cast", "cast_bf16_bf16", 2),
    ];
    assert_eq!(found, expected.map(|(kernel, entry, n)| (kernel.to_owned(), entry, n)));
    assert_eq!(
        [bytes(147_456), bytes(66_816), bytes(128)],
        ["144 KB", "66,816 bytes", "128 bytes"]
    );
}

#[test]
fn a_card_that_is_wrong_missing_or_astray_is_found() {
    let tables = Tables::read();
    let (_, text) = sources().into_iter().find(|(file, _)| file == "matmul_tn.cu").unwrap();
    let right = tables.with_cards(&text).unwrap();
    assert_eq!(tables.faults("x.cu", &right), [""; 0]);
    assert_eq!(tables.with_cards(&right), Ok(right.clone()), "what is written stays");
    let kernels = kernels_in(&text).len();
    let none = tables.faults("x.cu", &without_cards(&right));
    assert_eq!(none.len(), kernels);
    assert!(none[0].ends_with("gemm_tn_large_bf16: no card stands above it"), "{none:?}");
    let other = tables.faults("x.cu", &right.replacen(" registers", "0 registers", 1));
    assert!(other.len() == 1 && other[0].contains("gemm_tn_large_bf16: expected the card"));
    let card = &cards_in(&right)[0].0;
    let astray = tables.faults("x.cu", &format!("{right}\n{card}\n"));
    assert!(astray.len() == 1 && astray[0].contains("a card stands above no kernel"), "{astray:?}");
    let piece = tables.faults("x.cu", &format!("{right}{PREDICTED}A100\n"));
    assert_eq!(piece, ["x.cu: cards are not where they are written"]);
    let new = tables.faults("x.cu", "KERNEL(64, no_such, P, body)\n");
    assert!(new[0].contains("no_such: kernels/profile.tsv has no row"), "{new:?}");
}

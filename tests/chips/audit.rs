//! What the compiler made of the CUDA kernels: ptxas' report of every entry point, held against
//! `kernels/audit.tsv`, or `audit-13.tsv` where CUDA 13 made them; and which drivers take it.
//!
//! A spill fails. A difference from the table fails until someone has looked at it:
//! `ENGINE_AUDIT_WRITE=1` writes the table anew. `ENGINE_REQUIRE_NVCC=1` refuses a build without
//! kernels, which is otherwise one visible skip.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What one entry point needs on one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub registers: u32,
    /// Bytes of static shared memory.
    shared: u32,
    /// Bytes of local memory a thread.
    stack: u32,
    /// Bytes stored and loaded because registers did not suffice.
    spills: u32,
}

/// By entry and target.
pub type Table = BTreeMap<(String, String), Needs>;

const HEAD: &str = "entry\ttarget\tregisters\tshared\tstack\tspills";

/// The number before `word`.
fn before(line: &str, word: &str) -> Option<u32> {
    line.split(word)
        .next()
        .filter(|head| head.len() < line.len())?
        .split_whitespace()
        .last()?
        .parse()
        .ok()
}

/// Reads ptxas' words: a line names entry and target, those after it say what it needs.
fn read_report(report: &str) -> Table {
    let mut table = Table::new();
    let mut key = None;
    for line in report.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let mut quoted = rest.split('\'');
            let name = quoted.next().expect("split gives one").to_owned();
            let target = quoted.nth(1).expect("ptxas names the target").to_owned();
            table.insert((name.clone(), target.clone()), Needs::default());
            key = Some((name, target));
            continue;
        }
        let Some(needs) = key.as_ref().and_then(|key| table.get_mut(key)) else { continue };
        if let Some(stack) = before(line, " bytes stack frame") {
            needs.stack = stack;
            let spill = |word| before(line, word).expect("ptxas says stores and loads in one line");
            needs.spills = spill(" bytes spill stores") + spill(" bytes spill loads");
        }
        if let Some(registers) = before(line, " registers") {
            needs.registers = registers;
            needs.shared = before(line, " bytes smem").unwrap_or(0);
        }
    }
    table
}

fn write_table(table: &Table) -> String {
    let mut text = format!("# made by {}\n{HEAD}\n", kernels::COMPILER);
    for ((entry, target), n) in table {
        writeln!(
            text,
            "{entry}\t{target}\t{}\t{}\t{}\t{}",
            n.registers, n.shared, n.stack, n.spills
        )
        .unwrap();
    }
    text
}

/// The compiler that made the table, and the table.
pub fn read_table(text: &str) -> (String, Table) {
    let mut lines = text.lines();
    let compiler = lines
        .next()
        .and_then(|line| line.strip_prefix("# made by "))
        .unwrap_or("nobody")
        .to_owned();
    assert_eq!(lines.next(), Some(HEAD), "kernels/audit.tsv: its second line");
    let table = lines.map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        assert_eq!(fields.len(), 6, "kernels/audit.tsv: {line}");
        let number = |i: usize| {
            fields[i].parse().unwrap_or_else(|e| panic!("kernels/audit.tsv: {line}: {e}"))
        };
        let needs =
            Needs { registers: number(2), shared: number(3), stack: number(4), spills: number(5) };
        ((fields[0].to_owned(), fields[1].to_owned()), needs)
    });
    (compiler, table.collect())
}

/// What of `found` is wrong by itself or differs from what was `accepted`.
fn faults(found: &Table, accepted: &Table) -> Vec<String> {
    let mut faults = Vec::new();
    for ((entry, target), needs) in found {
        if needs.spills > 0 {
            faults
                .push(format!("{entry} {target}: expected no spills, got {} bytes", needs.spills));
        }
    }
    for key @ (entry, target) in found.keys().chain(accepted.keys()).collect::<BTreeSet<_>>() {
        match (accepted.get(key), found.get(key)) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => {
                faults.push(format!("{entry} {target}: expected {a:?}, got {b:?}"))
            }
            (None, found) => faults.push(format!("{entry} {target}: new: {found:?}")),
            (Some(_), None) => {
                faults.push(format!("{entry} {target}: is in the table, not among the kernels"))
            }
        }
    }
    faults
}

#[test]
fn kernels_need_what_was_accepted() {
    if kernels::IMAGES.is_empty() {
        let required = std::env::var("ENGINE_REQUIRE_NVCC").is_ok_and(|x| x == "1");
        assert!(
            !required,
            "ENGINE_REQUIRE_NVCC=1: expected CUDA kernels in this build, got none: no compiler of \
            CUDA was found"
        );
        println!(
            "skipped: the audit of the CUDA kernels: no images; tools/get-nvcc brings a compiler"
        );
        return;
    }
    let mut found = Table::new();
    kernels::REPORTS.iter().for_each(|(_, report)| found.extend(read_report(report)));
    let reported: BTreeSet<&str> = found.keys().map(|(entry, _)| entry.as_str()).collect();
    let named: BTreeSet<&str> = kernels::ENTRIES.iter().map(|entry| entry.name).collect();
    assert_eq!(
        reported, named,
        "ptxas compiled other entry points than the table of entries names"
    );
    assert_eq!(found.len(), 2 * named.len(), "expected sm_80 and sm_90a of each");

    let table = match kernels::COMPILER.starts_with("CUDA 13") {
        true => "kernels/audit-13.tsv",
        false => "kernels/audit.tsv",
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(table);
    if std::env::var("ENGINE_AUDIT_WRITE").is_ok_and(|x| x == "1") {
        std::fs::write(&path, write_table(&found)).unwrap();
        println!("wrote {} rows to {table}", found.len());
    }
    let (compiler, mut accepted) = read_table(&std::fs::read_to_string(&path).unwrap());
    if compiler != kernels::COMPILER {
        println!(
            "skipped: registers: {table} is of {compiler}, the kernels of {}",
            kernels::COMPILER
        );
        accepted = found.clone();
    }
    let faults = faults(&found, &accepted);
    assert!(
        faults.is_empty(),
        "{}\nLook at each; to accept them: ENGINE_AUDIT_WRITE=1 cargo test --release --test chips \
        audit, and commit {table}",
        faults.join("\n")
    );
}

#[test]
fn a_planted_spill_and_a_difference_are_found() {
    let report = |registers: u32, spills: u32| {
        format!(
            "ptxas info    : 0 bytes gmem\nptxas info    : Compiling entry function 'scale_f32' \
            for 'sm_80'\n\
             ptxas info    : Function properties for scale_f32\n    \
             8 bytes stack frame, {spills} bytes spill stores, 4 bytes spill loads\n\
             ptxas info    : Used {registers} registers, used 1 barriers, 1024 bytes smem, 400 \
             bytes cmem[0]\n"
        )
    };
    let found = read_report(&report(40, 12));
    let key = ("scale_f32".to_owned(), "sm_80".to_owned());
    assert_eq!(found[&key], Needs { registers: 40, shared: 1024, stack: 8, spills: 16 });
    assert_eq!(read_table(&write_table(&found)), (kernels::COMPILER.to_owned(), found.clone()));
    assert_eq!(faults(&found, &found), ["scale_f32 sm_80: expected no spills, got 16 bytes"]);
    let more = read_report(&report(41, 12));
    assert!(
        faults(&more, &found)[1].contains("registers: 40")
            && faults(&more, &found)[1].contains("registers: 41")
    );
    assert!(faults(&found, &Table::new())[1].contains("new: "));
    assert!(faults(&Table::new(), &found)[0].contains("not among the kernels"));
}

/// Drivers from 525 on, of CUDA 12.0, take PTX 8.0 and machine code whose ELF file has version 7 of
/// NVIDIA's ABI; those of CUDA 13 take 9.0 and 8 as well.
#[test]
fn every_driver_from_525_on_takes_the_images() {
    if kernels::IMAGES.is_empty() {
        println!("skipped: what drivers take: no images; tools/get-nvcc brings a compiler");
        return;
    }
    let targets: Vec<&str> = kernels::IMAGES.iter().map(|image| image.target).collect();
    assert_eq!(targets, ["sm_80", "sm_90a", "PTX"]);
    let (mut oldest, mut names) = (BTreeSet::new(), BTreeSet::new());
    for image in kernels::IMAGES {
        for (family, bytes) in image.unpack() {
            let place = format!("{family} for {}", image.target);
            assert_eq!(bytes.as_ptr() as usize % 8, 0, "{place}");
            if image.is_ptx() {
                let text = std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap()).unwrap();
                let of = |word: &str| {
                    let line = text.lines().find_map(|line| line.strip_prefix(word)).unwrap();
                    line.trim().to_owned()
                };
                assert_eq!(of(".target"), "sm_80", "{place}");
                let version = of(".version");
                let (major, minor) = version.split_once('.').unwrap();
                let [major, minor] = [major, minor].map(|word| word.parse::<u8>().unwrap());
                // PTX 8.0 came with CUDA 12.0, 9.0 with 13.0; a later CUDA of the same major number
                // has a PTX whose own minor one is no greater than its.
                assert!((major + 4, minor) <= kernels::NEEDS, "{place}: {version}");
                oldest.insert(major + 4);
                let entry =
                    |line: &str| Some(line.split_once(".entry ")?.1.split('(').next()?.to_owned());
                names.extend(text.lines().filter_map(entry));
            } else {
                assert_eq!(&bytes[..4], b"\x7fELF", "{place}");
                // EI_OSABI and EI_ABIVERSION.
                oldest.insert(match (bytes[7], bytes[8]) {
                    (51, 7) => 12,
                    (65, 8) => 13,
                    other => panic!("{place}: ABI {other:?}: which drivers take it?"),
                });
            }
        }
    }
    assert_eq!(oldest, BTreeSet::from([kernels::NEEDS.0]), "{}", kernels::COMPILER);
    let release = kernels::COMPILER.starts_with("CUDA 12.0,");
    assert!(!release || kernels::oldest_driver() == Some(525), "{:?}", kernels::NEEDS);
    let named = kernels::ENTRIES.iter().map(|entry| entry.name.to_owned()).collect();
    assert_eq!(names, named, "entry points of the PTX");
}

/// An instruction of a disassembly: where it stands, its name, and where it branches to.
struct Instruction {
    address: u64,
    name: String,
    target: Option<u64>,
}

/// The functions of `cuobjdump -sass`.
fn disassembly(text: &str) -> BTreeMap<String, Vec<Instruction>> {
    let mut functions: BTreeMap<String, Vec<Instruction>> = BTreeMap::new();
    let mut function = String::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("Function : ") {
            function = name.to_owned();
        } else if let Some((address, rest)) =
            line.strip_prefix("/*").and_then(|l| l.split_once("*/"))
        {
            let Ok(address) = u64::from_str_radix(address, 16) else { continue };
            let Some(words) = rest.split(';').next().filter(|_| rest.contains(';')) else {
                continue;
            };
            let mut words = words.split_whitespace().skip_while(|word| word.starts_with('@'));
            let Some(name) = words.next() else { continue };
            let target = words
                .last()
                .filter(|_| name.starts_with("BRA"))
                .and_then(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
            functions.entry(function.clone()).or_default().push(Instruction {
                address,
                name: name.to_owned(),
                target,
            });
        }
    }
    functions
}

/// The share of each kind of instruction in the loop that multiplies most: the shortest one,
/// between a branch and what it goes back to, with the most HMMA.
fn hottest_loop(code: &[Instruction]) -> Option<String> {
    let inside = |from: u64, to: u64| code.iter().filter(move |i| (from..=to).contains(&i.address));
    let products = |from, to| inside(from, to).filter(|i| i.name.starts_with("HMMA")).count();
    let (from, to) = code
        .iter()
        .filter_map(|i| Some((i.target.filter(|&target| target <= i.address)?, i.address)))
        .max_by_key(|&(from, to)| (products(from, to), std::cmp::Reverse(to - from)))?;
    let all = inside(from, to).count();
    (products(from, to) > 0).then(|| {
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for instruction in inside(from, to) {
            *kinds
                .entry(instruction.name.split('.').next().expect("split gives one"))
                .or_default() += 1;
        }
        let mut kinds: Vec<(&str, usize)> = kinds.into_iter().collect();
        kinds.sort_by_key(|&(name, n)| (std::cmp::Reverse(n), name));
        let shown = kinds
            .iter()
            .take(8)
            .map(|(name, n)| format!("{name} {n}"))
            .collect::<Vec<_>>()
            .join(", ");
        format!(
            "{all} instructions, {:.0} % HMMA: {shown}",
            100.0 * products(from, to) as f64 / all as f64
        )
    })
}

fn cuobjdump() -> Option<PathBuf> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let mut places = vec![
        target.join("nvcc/bin/cuobjdump"),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nvcc/bin/cuobjdump"),
    ];
    places.extend(
        std::env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin/cuobjdump")),
    );
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(std::env::split_paths(&path).map(|p| p.join("cuobjdump")));
    places.into_iter().find(|p| p.is_file())
}

/// Prints the mix of the loops that multiply on tensor cores (`--nocapture`); only what can be read
/// is asserted.
#[test]
fn main_loops_are_printed() {
    let Some(cuobjdump) = cuobjdump().filter(|_| !kernels::IMAGES.is_empty()) else {
        println!(
            "skipped: the mix of instructions: no kernels or no cuobjdump; tools/get-nvcc \
            --disassembler installs it"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let image = kernels::Image::for_capability(8, 0).expect("machine code for an A100");
    for (family, code) in image.unpack() {
        let file = folder.path().join(format!("{family}.cubin"));
        std::fs::write(&file, &*code).unwrap();
        // Beside nvdisasm, which it calls.
        let bin = cuobjdump.parent().unwrap().display().to_string();
        let path = format!("{bin}:{}", std::env::var("PATH").unwrap_or_default());
        let output =
            Command::new(&cuobjdump).arg("-sass").arg(&file).env("PATH", path).output().unwrap();
        assert!(output.status.success(), "{family}: {}", String::from_utf8_lossy(&output.stderr));
        let functions = disassembly(&String::from_utf8_lossy(&output.stdout));
        for entry in kernels::ENTRIES.iter().filter(|entry| entry.family == family) {
            let entry = entry.name;
            let code =
                functions.get(entry).unwrap_or_else(|| panic!("{entry}: not in the disassembly"));
            assert!(code.iter().any(|i| i.name == "EXIT"), "{entry}: was not understood");
            if let Some(mix) = hottest_loop(code) {
                println!("{entry}: {mix}");
            }
        }
    }
}

#[test]
fn the_hottest_of_two_loops_is_found() {
    let text = "\tFunction : product\n\
        /*0000*/ MOV R1, c[0x0][0x28] ; /* 0x0 */\n\
        /*0010*/ HMMA.16816.F32 R4, R8, R12, R4 ; /* 0x0 */\n\
        /*0020*/ LDSM.16.M88.4 R8, [R20] ; /* 0x0 */\n\
        /*0030*/ HMMA.16816.F32 R4, R8, R12, R4 ; /* 0x0 */\n\
        /*0040*/ @P0 BRA 0x10 ; /* 0x0 */\n\
        /*0050*/ IADD3 R2, R2, 0x1, RZ ; /* 0x0 */\n\
        /*0060*/ @!P1 BRA 0x0 ; /* 0x0 */\n\
        /*0070*/ EXIT ; /* 0x0 */\n\
        /*0080*/ BRA 0x80;\n";
    let functions = disassembly(text);
    let mix = hottest_loop(&functions["product"]).unwrap();
    assert_eq!(mix, "4 instructions, 50 % HMMA: HMMA 2, BRA 1, LDSM 1");
}

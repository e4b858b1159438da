//! Every op on every device of this binary against the ops in f64, over dtypes and awkward shapes.
//!
//! A case is a function of a device; the `CASES` of each room name the op it is for, and a test
//! holds the names against the methods of the traits, so an op without a case does not pass.

mod addresses;
mod attention;
mod cache;
mod cases;
mod fused;
mod judge;
mod logits;
mod matmul;
mod sparse;

use engine::device::Device;

/// Op and case.
type Case = (&'static str, fn(&Device));

/// Devices to test, with the names they were opened by: the CPU, the emulator under several orders
/// of threads, and a GPU where one is. `ENGINE_DEVICES` (comma-separated) names others;
/// `ENGINE_REQUIRE_CUDA=1` refuses to do without a GPU.
fn devices() -> Vec<(String, Device)> {
    let chosen = std::env::var("ENGINE_DEVICES").ok();
    let names = match &chosen {
        Some(names) => names.as_str(),
        None if kernels::EMULATED => "cpu,emu:1,emu:2,emu:3",
        None => {
            println!("skipped: the emulator: this build has none, a C++ compiler is missing");
            "cpu"
        }
    };
    let open =
        |name: &str, threads| Device::open(name, threads).map(|device| (name.to_owned(), device));
    let mut devices: Vec<(String, Device)> =
        names.split(',').map(|name| open(name, 2).unwrap()).collect();
    if names.contains("cpu") {
        devices.push(open("cpu", 1).unwrap());
    }
    if chosen.is_none() {
        match open("cuda:0", 0) {
            Ok(gpu) => devices.push(gpu),
            Err(why) if std::env::var("ENGINE_REQUIRE_CUDA").is_ok_and(|x| x == "1") => {
                panic!("ENGINE_REQUIRE_CUDA=1: expected a GPU to test: {why:#}")
            }
            Err(why) => println!("skipped: a GPU: {why:#}"),
        }
    }
    devices
}

/// `ENGINE_OPS` (comma-separated) narrows the run to some ops while one works on them.
fn run(cases: &[Case]) {
    let chosen = std::env::var("ENGINE_OPS").ok();
    for (name, device) in devices() {
        judge::begin(&name);
        for (op, case) in cases {
            if chosen.as_ref().is_none_or(|ops| ops.split(',').any(|o| o == *op)) {
                println!("{name} {op}");
                case(&device);
            }
        }
    }
}

#[test]
fn simple_ops() {
    run(cases::CASES);
}

#[test]
fn ops_on_logits() {
    run(logits::CASES);
}

#[test]
fn products_of_few_columns() {
    run(sparse::CASES);
}

#[test]
fn rows_at_any_address() {
    run(addresses::CASES);
}

#[test]
fn products() {
    run(matmul::CASES);
}

#[test]
fn fused_products() {
    run(fused::CASES);
}

#[test]
fn attention_ops() {
    run(attention::CASES);
}

#[test]
fn cached_attention() {
    run(cache::CASES);
}

/// The methods of all that a backend must be: memory, and every family of ops.
fn traits() -> Vec<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/device");
    let families = std::fs::read_dir(root.join("ops")).unwrap();
    let families =
        families.map(|file| file.unwrap().path()).filter(|path| !path.ends_with("mod.rs"));
    let methods = |path: std::path::PathBuf| {
        let source = std::fs::read_to_string(&path).unwrap();
        let mut traits = source.split("\npub").filter(|item| item.contains("trait "));
        let body = traits.next().and_then(|item| item.split_once("\n}\n"));
        let (body, _) = body.unwrap_or_else(|| panic!("{}: no trait is there", path.display()));
        assert!(traits.next().is_none(), "{}: two traits are there", path.display());
        body.to_owned()
    };
    families.chain([root.join("backend.rs")]).map(methods).collect()
}

#[test]
fn every_op_has_a_case() {
    let traits = traits();
    // `fn name(&self` on one line or, where rustfmt broke it, on two.
    let ops: Vec<&str> = traits
        .iter()
        .flat_map(|methods| methods.split("fn "))
        .filter_map(|rest| {
            let (name, arguments) = rest.split_once('(')?;
            // A method ends with its type, or has a body of its own.
            let head = rest.split([';', '{']).next()?;
            let name = name.split_once('<').map_or(name, |(name, _)| name);
            let can_fail = head.contains("-> Result<");
            (can_fail && arguments.trim_start().starts_with("&self")).then_some(name)
        })
        .filter(|name| {
            // Memory, and what is asked of a device and not of its numbers.
            !["alloc", "upload", "download", "synchronize", "available", "ceilings"].contains(name)
        })
        .collect();
    assert!(ops.len() >= 20, "the traits were not understood: {ops:?}");
    let cases: Vec<&str> = [
        cases::CASES,
        logits::CASES,
        sparse::CASES,
        matmul::CASES,
        fused::CASES,
        attention::CASES,
        cache::CASES,
    ]
    .concat()
    .iter()
    .map(|c| c.0)
    .collect();
    for op in &ops {
        assert!(cases.contains(op), "op {op} has no case in tests/chips/conformance");
    }
    for case in &cases {
        assert!(ops.contains(case), "case {case} names no op of a trait");
    }
}

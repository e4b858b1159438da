//! What the released binary is: self-contained, small, quick to start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::Instant;

const BINARY: &str = env!("CARGO_BIN_EXE_engine");

/// The libraries that belong to glibc, the one of gcc that Rust unwinds with, and what the kernel
/// itself maps.
const ALLOWED: [&str; 8] = [
    "libc.so",
    "libm.so",
    "libpthread.so",
    "libdl.so",
    "librt.so",
    "libgcc_s.so",
    "ld-linux",
    "linux-vdso.so",
];

#[test]
fn it_needs_glibc_and_libgcc_only() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: libraries of the binary: ldd is a tool of Linux");
        return;
    }
    let ldd = Command::new("ldd").arg(BINARY).output().expect("ldd (part of glibc) runs");
    let listing = String::from_utf8_lossy(&ldd.stdout);
    assert!(
        ldd.status.success(),
        "ldd {BINARY}: {}{listing}",
        String::from_utf8_lossy(&ldd.stderr)
    );
    let strangers: Vec<&str> = listing.lines().filter(|line| !is_allowed(line)).collect();
    assert!(strangers.is_empty(), "{BINARY} needs more than glibc: {strangers:?}");
}

fn is_allowed(line: &str) -> bool {
    let Some(library) = line.split_whitespace().next() else { return true };
    let name = library.rsplit('/').next().unwrap_or(library);
    library == "statically" || ALLOWED.iter().any(|allowed| name.starts_with(allowed))
}

#[test]
fn a_strange_library_is_noticed() {
    assert!(is_allowed("\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x0000)"));
    assert!(is_allowed("\t/lib64/ld-linux-x86-64.so.2 (0x0000)"));
    assert!(!is_allowed("\tlibmkl_rt.so.2 => not found"));
    assert!(!is_allowed("\tlibstdc++.so.6 => /lib/x86_64-linux-gnu/libstdc++.so.6 (0x0000)"));
    assert!(!is_allowed("\tlibcuda.so.1 => /lib/x86_64-linux-gnu/libcuda.so.1 (0x0000)"));
}

#[test]
fn it_is_at_most_20_megabytes() {
    if cfg!(debug_assertions) {
        eprintln!("skipped: size of the binary: this is a debug build");
        return;
    }
    let bytes = fs::metadata(BINARY).unwrap().len() as f64 / 1e6;
    println!("binary: {bytes:.2} MB");
    // 2 MB of it is the emulator, which tests switch on.
    assert!(bytes - 2.0 <= 20.0, "{BINARY}: expected at most 20 MB, got {bytes:.2} MB");
}

#[test]
fn it_holds_each_image_of_the_kernels_once() {
    let binary = fs::read(BINARY).unwrap();
    for image in kernels::IMAGES {
        let begins = &image.packed[..64];
        let found = binary.windows(begins.len()).filter(|bytes| *bytes == begins).count();
        assert_eq!(found, 1, "{}: {} bytes", image.target, image.packed.len());
    }
}

#[test]
fn it_starts_within_20_milliseconds() {
    if cfg!(debug_assertions) {
        eprintln!("skipped: start-up time: this is a debug build");
        return;
    }
    let start = || {
        let begun = Instant::now();
        let output = Command::new(BINARY).arg("--version").output().unwrap();
        let seconds = begun.elapsed().as_secs_f64();
        assert!(output.status.success(), "--version: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(env!("CARGO_PKG_VERSION")), "--version: got {said:?}");
        seconds * 1e3
    };
    start(); // the first one reads the file from disk
    let median = |runs: usize| {
        let mut times: Vec<f64> = (0..runs).map(|_| start()).collect();
        times.sort_by(f64::total_cmp);
        times[runs / 2]
    };
    // Other tests share the cores: a loaded machine gets two more tries, a slow binary fails all
    // three.
    let mut tries = Vec::new();
    while tries.len() < 3 {
        tries.push(median(20));
        if tries[tries.len() - 1] <= 20.0 {
            break;
        }
    }
    println!("start-up: median of 20: {tries:.2?} ms");
    assert!(tries[tries.len() - 1] <= 20.0, "start-up: expected at most 20 ms, got {tries:.2?} ms");
}

/// Where vector code is.
const VECTOR: [&str; 4] = [
    "engine::device::cpu::vector::vector::",
    "engine::device::cpu::attention::tile::tile",
    "engine::device::cpu::dropout::Row::side_by_side",
    "engine::device::cpu::panel::transposed",
];

/// What it may call besides: memory, the logarithm, the matrix product, what grows or panics.
const CALLED: [&str; 16] = [
    "engine::device::cpu::threads::Scatter<T>::",
    "engine::device::cpu::attention::cache::Paths::",
    "gemm",
    "logf",
    "memset",
    "memcpy",
    "memmove",
    "alloc::",
    "__rustc::",
    "core::panicking::",
    "core::slice::",
    "core::cell::",
    "core::ptr::drop_in_place",
    "std::thread::local::",
    "std::sys::thread_local::",
    "_Unwind_Resume",
];

/// A loop of the CPU rooms that is not inlined into vector code is compiled for whatever the crate
/// is compiled for: right, and ten times as slow. It shows as a function that vector code calls,
/// or, where it has a fused multiply-add, as a call of libm's.
#[test]
fn the_loops_of_the_cpu_are_vector_code() {
    if cfg!(debug_assertions) || cfg!(not(target_arch = "x86_64")) {
        eprintln!("skipped: vector code: this is a debug build, or not for x86-64");
        return;
    }
    // The program has no names any more. This test has, and with its door all that is behind it.
    std::hint::black_box(engine::cli::main as fn() -> std::process::ExitCode);
    let itself = std::env::current_exe().unwrap();
    let dump = Command::new("objdump")
        .args(["-R", "-d", "-C", "--no-show-raw-insn"])
        .arg(&itself)
        .output();
    let Ok(dump) = dump else {
        eprintln!("skipped: vector code: objdump (of binutils) is not there");
        return;
    };
    assert!(dump.status.success(), "objdump: {}", String::from_utf8_lossy(&dump.stderr));
    let dump = String::from_utf8_lossy(&dump.stdout);
    let (parts, fused, strangers) = read(&dump);
    println!("vector code: {parts} functions");
    assert!(parts >= 20, "expected vector code by name, got {parts} functions");
    assert!(fused.is_empty(), "{fused:?} call libm's fma: expected vector code");
    assert!(
        strangers.is_empty(),
        "vector code calls {strangers:?}: expected them inlined (`#[inline(always)]`) or with a \
        target_feature of their own; see engine/device/cpu/vector.rs"
    );
}

/// Of a disassembly with its relocations: how many functions are vector code; those of any code
/// that call libm's fma; what vector code calls beyond [`CALLED`].
fn read(dump: &str) -> (usize, BTreeSet<&str>, BTreeSet<&str>) {
    let hexadecimal = |word: &str| u64::from_str_radix(word, 16).ok();
    let (mut parts, mut fused, mut strangers) = (0, BTreeSet::new(), BTreeSet::new());
    let mut functions = BTreeMap::new();
    // A call through a table names the place in it; the table holds addresses of functions.
    let mut table = BTreeMap::new();
    for line in dump.lines() {
        let mut words = line.split_whitespace();
        let Some(address) = words.next().and_then(hexadecimal) else { continue };
        if let (Some("R_X86_64_RELATIVE"), Some(target)) = (words.next(), words.next()) {
            table.extend(
                target.strip_prefix("*ABS*+0x").and_then(hexadecimal).map(|t| (address, t)),
            );
        } else if let Some(name) = function(line) {
            functions.insert(address, name);
        }
    }
    let (mut here, mut vector) = ("", false);
    for line in dump.lines() {
        if let Some(name) = function(line) {
            (here, vector) = (name, VECTOR.iter().any(|part| name.starts_with(part)));
            parts += usize::from(vector);
            continue;
        }
        // `  address:\tcall   target <name>`, through a table `call   *place  # target <name>`; a
        // name with an offset is inside of a function.
        let Some((_, instruction)) = line.split_once(":\t") else { continue };
        if !(instruction.starts_with("call") || instruction.starts_with('j')) {
            continue;
        }
        let Some((before, name)) = instruction.split_once(" <") else { continue };
        let address = before.split_whitespace().next_back().and_then(hexadecimal);
        let through = address.and_then(|place| table.get(&place)).and_then(|t| functions.get(t));
        let name = through.copied().unwrap_or(name.trim_end_matches('>'));
        let target = name.split_once('@').map_or(name, |(name, _)| name);
        if ["fma", "fmaf"].contains(&target) {
            fused.insert(here);
        }
        let known = VECTOR.iter().chain(&CALLED).any(|known| target.starts_with(known));
        if vector && !known && !target.contains("+0x") {
            strangers.insert(target);
        }
    }
    (parts, fused, strangers)
}

/// The name in `address <name>:`, which begins a function.
fn function(line: &str) -> Option<&str> {
    line.split_once('<')?.1.strip_suffix(">:")
}

#[test]
fn a_loop_outside_of_vector_code_is_noticed() {
    let dump = "\
0000000000002010 R_X86_64_RELATIVE  *ABS*+0x0000000000001080
0000000000001000 <engine::device::cpu::vector::vector::inside>:
    1000:\tvfmadd231ps (%r8),%ymm4,%ymm2
    1005:\tje     1000 <engine::device::cpu::vector::vector::inside>
    1007:\tja     1050 <core::iter::Map<I,F>::fold+0x10>
    1009:\tcall   *0x10(%rip)        # 2000 <memcpy@GLIBC_2.14>
    100f:\tcall   1040 <core::iter::Map<I,F>::fold>
    1014:\tcall   *0x20(%rip)        # 2010 <_DYNAMIC+0x170>
0000000000001040 <core::iter::Map<I,F>::fold>:
    1040:\tcall   *0x20(%rip)        # 2008 <fmaf@GLIBC_2.27>
0000000000001080 <core::iter::Zip<I,F>::fold>:
    1080:\tret
";
    let (fold, zip) = ("core::iter::Map<I,F>::fold", "core::iter::Zip<I,F>::fold");
    assert_eq!(read(dump), (1, BTreeSet::from([fold]), BTreeSet::from([fold, zip])));
}

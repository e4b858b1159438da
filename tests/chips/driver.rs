//! The driver seam of the CUDA backend, executed without a GPU: the real binary opens a
//! `libcuda.so.1` that stands in for the driver (`kernels/host/driver.cpp`) and is a stricter
//! judge. What a program does wrong is a line "stand-in: …" on standard error.
//!
//! `ENGINE_REQUIRE_NVCC=1` refuses a build without kernels, which is otherwise one visible skip a
//! test.

use crate::shop;
use safetensors::tensor::TensorView;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{c_int, c_void, CString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The folder of the stand-in. None, said once a test, where this build has none or no kernels to
/// give to it.
fn stand_in(test: &str) -> Option<&'static str> {
    let found = kernels::STAND_IN.filter(|_| !kernels::IMAGES.is_empty());
    if found.is_none() {
        let required = std::env::var("ENGINE_REQUIRE_NVCC").is_ok_and(|x| x == "1");
        assert!(
            !required,
            "ENGINE_REQUIRE_NVCC=1: expected CUDA kernels and their emulator in this build"
        );
        println!(
            "skipped: {test}: this build has no kernels (tools/get-nvcc) or no emulator (a C++ \
            compiler)"
        );
    }
    found
}

/// How a run ended.
struct End {
    code: i32,
    out: String,
    error: String,
}

/// The binary with a driver from `library`; `pretend` are the stand-in's settings, without their
/// prefix.
fn engine(library: &str, folder: &Path, pretend: &[(&str, &str)], args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(folder).args(["--threads", "1", "--quiet"]).args(args);
    command.env("LD_LIBRARY_PATH", library).env_remove("ENGINE_WEIGHTS");
    for (name, value) in pretend {
        command.env(format!("ENGINE_STAND_IN_{name}"), value);
    }
    command
}

fn run(library: &str, folder: &Path, pretend: &[(&str, &str)], args: &[&str]) -> End {
    let output = engine(library, folder, pretend, args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    End {
        code: output.status.code().unwrap_or(-1),
        out: text(&output.stdout),
        error: text(&output.stderr),
    }
}

/// Expects success and not a word, so nothing misused and nothing left behind.
#[track_caller]
fn done(library: &str, folder: &Path, pretend: &[(&str, &str)], args: &[&str]) -> String {
    let end = run(library, folder, pretend, args);
    assert_eq!((end.code, end.error.as_str()), (0, ""), "{pretend:?} {args:?}");
    end.out
}

/// Expects exit code 5 and one sentence with all of `words`, so nothing misused and nothing left
/// behind.
#[track_caller]
fn refused(library: &str, folder: &Path, pretend: &[(&str, &str)], args: &[&str], words: &[&str]) {
    let End { code, error, .. } = run(library, folder, pretend, args);
    assert_eq!(code, 5, "{pretend:?} {args:?}: {error}");
    assert!(
        error.starts_with("engine: ") && error.lines().count() == 1,
        "{pretend:?} {args:?}: {error}"
    );
    for word in words {
        assert!(error.contains(word), "{pretend:?} {args:?}: expected {word:?} in {error}");
    }
}

/// A shop of 20 items and 12 users, a model of two small layers from nothing, and rows for
/// `forward`; made once, on the CPU.
fn shop() -> &'static Path {
    static SHOP: OnceLock<PathBuf> = OnceLock::new();
    SHOP.get_or_init(|| {
        let folder = Box::leak(Box::new(tempfile::tempdir().unwrap())).path();
        shop::numbered(folder, 20, 12, 5, |i| {
            let (colour, thing) =
                (["Red", "Blue", "Tiny", "Grand"][i % 4], ["Kite", "Robot", "Drum"][i % 3]);
            format!("{{\"id\": {}, \"title\": \"{colour} {thing} {}\"}}", i + 1, i / 12)
        });
        let le = |values: &[i64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let ids: Vec<i64> = (0..20).map(|i| i * 37 % 300).collect();
        let data = [
            ("input_ids", vec![20], le(&ids)),
            ("positions", vec![2, 20], le(&(0..40).map(|i| i % 20).collect::<Vec<i64>>())),
            ("starts", vec![3], le(&[0, 12, 20])),
            ("context", vec![2], le(&[8, 5])),
            ("labels", vec![20], le(&ids)),
        ];
        let views = data.iter().map(|(n, s, d)| {
            (n.to_string(), TensorView::new(safetensors::Dtype::I64, s.clone(), d).unwrap())
        });
        fs::write(folder.join("rows.safetensors"), safetensors::serialize(views, None).unwrap())
            .unwrap();
        for verb in [
            "prepare source --train-tokenizer 330 --out shop.bin",
            "init --model config.json --tokenizer tokenizer.json --out w",
        ] {
            let words: Vec<&str> = verb.split(' ').collect();
            let end = run("", folder, &[], &words);
            assert_eq!(end.code, 0, "{verb}: {}", end.error);
        }
        folder.to_path_buf()
    })
}

/// Words of a command; `{shop}` is the shop's folder.
fn words(device: &str, text: &str) -> Vec<String> {
    let text =
        format!("--device {device} {}", text.replace("{shop}", &shop().display().to_string()));
    text.split_whitespace().map(str::to_owned).collect()
}

const FORWARD: &str = "forward --weights {shop}/w --inputs {shop}/rows.safetensors";
const TRAIN: &str =
    "train --weights {shop}/w --data {shop}/shop.bin --rank 2 --lora-dropout 0.1 --epochs 2 \
    --batch 4 \
    --batch-rows 160 --validate-every 0 --checkpoint-every 1";
const DECODE: &str = "decode --weights {shop}/w --data {shop}/shop.bin --beams 3";

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Files that tell of times, or of the device that computed.
const NAMES_ITS_DEVICE: [&str; 4] = ["metrics.jsonl", "config.toml", "state.json", "identity.json"];

/// Files of a folder, by name, without what depends on the clock or names the device.
fn remains(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        assert!(!name.ends_with("partial"), "{name} was left behind");
        if entry.path().is_dir() {
            all.extend(
                remains(&entry.path())
                    .into_iter()
                    .map(|(file, bytes)| (format!("{name}/{file}"), bytes)),
            );
        } else if !NAMES_ITS_DEVICE.contains(&name.as_str()) {
            all.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    all
}

#[track_caller]
fn same(a: &Path, b: &Path) {
    let (a, b) = (remains(a), remains(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in &a {
        assert!(*bytes == b[name], "{name} differs");
    }
}

/// How often each function of the driver was called.
fn calls(file: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(file).unwrap();
    let line = |line: &str| {
        let (name, count) = line.split_once(' ').unwrap();
        (name.to_owned(), count.parse().unwrap())
    };
    text.lines().map(line).collect()
}

/// Lines of a decode without what depends on the clock.
fn answers(file: &Path) -> Vec<Value> {
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().shift_remove("seconds").unwrap();
        line
    };
    fs::read_to_string(file).unwrap().lines().map(line).collect()
}

#[test]
fn doctor_lists_the_gpu_and_says_why_one_is_not_used() {
    let Some(library) = stand_in("doctor") else { return };
    let doctor = |pretend: &[(&str, &str)]| done(library, shop(), pretend, &["doctor"]);
    let text = doctor(&[("CAPABILITY", "9.0"), ("MEMORY", "85899345920")]);
    assert!(text.contains("cuda:0 Stand-in, compute capability 9.0, 80.0 GiB\n"), "{text}");
    assert!(text.contains("device used   cuda:0 unless"), "{text}");
    let text = doctor(&[("CAPABILITY", "7.5"), ("DEVICES", "2")]);
    assert!(text.contains("cuda:1 Stand-in, compute capability 7.5, 80.0 GiB; not used"), "{text}");
    assert!(text.contains("device used   cpu unless"), "{text}");
    let text = doctor(&[("CAPABILITY", "12.0")]);
    assert!(text.contains("12.0, 80.0 GiB; the driver compiles the kernels at the"), "{text}");
    assert!(text.contains("device used   cuda:0 unless"), "{text}");
    // The first drivers of the CUDA before.
    let version = 1000 * (u32::from(kernels::NEEDS.0) - 1) + 80;
    let text = doctor(&[("VERSION", &version.to_string())]);
    assert!(text.contains("80.0 GiB; not used: expected a driver of CUDA"), "{text}");
    assert!(text.contains("device used   cpu unless"), "{text}");
    assert!(text.contains(&format!("made by {}, for drivers from", kernels::COMPILER)), "{text}");
    assert!(doctor(&[("DEVICES", "0")]).contains("CUDA_ERROR_NO_DEVICE"));
    assert!(doctor(&[("INIT_FAILS", "803")]).contains("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"));
}

#[test]
fn training_stopped_and_resumed_is_the_emulators_bit_for_bit() {
    let Some(library) = stand_in("training") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (emulated, driven) = (folder.path().join("emu"), folder.path().join("gpu"));
    let train = |device: &str| words(device, &format!("{TRAIN} --dtype f32"));
    let mut whole = train("emu");
    whole.extend(["--out".into(), emulated.display().to_string()]);
    done(library, folder.path(), &[], &borrowed(&whole));

    let mut parts = train("cuda:0");
    parts.extend(["--out".into(), driven.display().to_string()]);
    let mut child = engine(library, folder.path(), &[], &borrowed(&parts));
    let child = child.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (begun, checkpoints) = (Instant::now(), driven.join("checkpoints"));
    while !fs::read_dir(&checkpoints).is_ok_and(|mut all| {
        all.any(|e| e.is_ok_and(|e| e.file_name().to_string_lossy().starts_with("step-")))
    }) {
        assert!(begun.elapsed() < Duration::from_secs(60), "no checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    // SAFETY: a child of ours that nobody has waited for yet.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(143), "{error}");
    assert!(!error.contains("stand-in"), "{error}");

    parts.push("--resume".into());
    let file = folder.path().join("calls");
    done(library, folder.path(), &[("CALLS", &file.display().to_string())], &borrowed(&parts));
    same(&emulated, &driven);
    assert!(calls(&file)["cuLaunchKernel"] > 100, "the stand-in did the work");
    let decode = |device: &str, run: &Path| {
        let out = run.with_extension("jsonl");
        let text =
            format!("{DECODE} --dtype f32 --adapter {} --out {}", run.display(), out.display());
        done(library, folder.path(), &[], &borrowed(&words(device, &text)));
        answers(&out)
    };
    let lists = decode("cuda:0", &driven);
    assert_eq!(lists.len(), 12);
    assert_eq!(lists, decode("emu", &emulated));
}

#[test]
fn every_generation_gives_the_emulators_gradients() {
    let Some(library) = stand_in("forward") else { return };
    let folder = tempfile::tempdir().unwrap();
    let forward = |device: &str, capability: &str, dtype: &str| {
        let mut text = format!("{FORWARD} --force --outputs y.safetensors --dtype {dtype}");
        if dtype == "f32" {
            text += " --gradients";
        }
        done(
            library,
            folder.path(),
            &[("CAPABILITY", capability)],
            &borrowed(&words(device, &text)),
        );
        fs::read(folder.path().join("y.safetensors")).unwrap()
    };
    for dtype in ["f32", "bf16", "f16"] {
        let expected = forward("emu", "8.0", dtype);
        // Machine code of their own, of an earlier minor number, PTX.
        for capability in
            ["8.0", "9.0", "8.9", "12.0"].iter().take(if dtype == "f32" { 4 } else { 1 })
        {
            assert!(forward("cuda:0", capability, dtype) == expected, "{dtype} on {capability}");
        }
    }
}

#[test]
fn sixteen_bit_models_train_and_decode() {
    let Some(library) = stand_in("16 bits") else { return };
    let folder = tempfile::tempdir().unwrap();
    for dtype in ["bf16", "f16"] {
        let train = format!("{TRAIN} --epochs 1 --dtype {dtype} --out {dtype}").replacen(
            "--epochs 2 ",
            "",
            1,
        );
        done(library, folder.path(), &[], &borrowed(&words("cuda:0", &train)));
        let decode = format!("{DECODE} --dtype {dtype} --adapter {dtype} --out {dtype}.jsonl");
        done(library, folder.path(), &[], &borrowed(&words("cuda:0", &decode)));
        let answers = fs::read_to_string(folder.path().join(format!("{dtype}.jsonl"))).unwrap();
        assert_eq!(answers.lines().count(), 12);
    }
}

#[test]
fn what_a_machine_lacks_is_said_with_what_to_do() {
    let Some(library) = stand_in("refusals") else { return };
    let folder = tempfile::tempdir().unwrap();
    let asked = |device: &str, out: &str| words(device, &format!("{DECODE} --out {out}"));
    let gpu = asked("cuda:0", "p.jsonl");
    let cases = [
        (("DEVICES", "0"), vec!["cuda:0", "CUDA_ERROR_NO_DEVICE", "nvidia-smi", "--device cpu"]),
        (("CAPABILITY", "7.5"), vec!["cuda:0", "8.0", "Stand-in with 7.5", "--device cpu"]),
        (
            ("DRIVER_TOO_OLD", "1"),
            vec!["cuda:0", "update the driver", kernels::COMPILER, "--device cpu"],
        ),
        (("VERSION", "11080"), vec!["cuda:0", "got one of CUDA 11.8", kernels::COMPILER]),
        // A kernel of another build, which takes something else than its table says.
        (("PARAMETERS", "blend_f32 28"), vec!["blend_f32", "expected 32 bytes", "(0, 28)"]),
        (
            ("INIT_FAILS", "803"),
            vec!["cuda:0", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "same version"],
        ),
        (
            ("MEMORY", "20000"),
            vec!["bytes", "free", "--batch-rows", "--keep", "CUDA_ERROR_OUT_OF_MEMORY"],
        ),
    ];
    for (pretend, words) in cases {
        refused(library, folder.path(), &[pretend], &borrowed(&gpu), &words);
    }
    refused(
        library,
        folder.path(),
        &[],
        &borrowed(&asked("cuda:1", "p.jsonl")),
        &["cuda:1", "below 1", "doctor"],
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was begun");

    // Enough for the weights, not for what is done with them.
    let little = [("MEMORY", "300000")];
    let train = words("cuda:0", &format!("{TRAIN} --dtype f32 --out run"));
    refused(library, folder.path(), &little, &borrowed(&train), &["bytes", "free", "--keep"]);
    let decode = words("cuda:0", &format!("{DECODE} --dtype f32 --out p.jsonl"));
    refused(library, folder.path(), &little, &borrowed(&decode), &["bytes", "free"]);
    let left = remains(folder.path());
    assert!(
        !left.keys().any(|name| name.contains("adapter") || name.contains("checkpoints")),
        "{left:?}"
    );
    assert!(
        left["p.jsonl"].split_inclusive(|&b| b == b'\n').all(|line| line.ends_with(b"\n")),
        "whole lines"
    );

    // A driver from before CUDA 12.4 cannot tell what a kernel takes: that it is there is enough.
    // Only images of an older CUDA meet such a driver.
    if kernels::NEEDS < (12, 4) {
        let older = [("VERSION", "12020"), ("PARAMETERS", "blend_f32 28")];
        let decode = words("cuda:0", &format!("{DECODE} --dtype f32 --out older.jsonl"));
        done(library, folder.path(), &older, &borrowed(&decode));
    }

    // SAFETY: asks the dynamic linker for a driver, which stays open.
    if !unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW) }.is_null() {
        println!("skipped: a machine without libcuda: this one has one");
        return;
    }
    let gpu = asked("cuda:0", "other.jsonl");
    refused("", folder.path(), &[], &borrowed(&gpu), &["cuda:0", "libcuda.so.1", "doctor"]);
}

/// A first start that waits for the driver's compiler says so before it waits, in each verb that
/// opens the device, and once.
#[test]
fn a_first_start_says_what_it_waits_for() {
    let Some(library) = stand_in("first start") else { return };
    let folder = tempfile::tempdir().unwrap();
    let verbs = [
        format!("{FORWARD} --outputs y.safetensors"),
        format!("{TRAIN} --dtype f32 --out run"),
        format!("{DECODE} --dtype f32 --adapter run --out p.jsonl"),
        "merge --weights {shop}/w --adapter run --out merged".to_owned(),
    ];
    for (capability, said) in [("12.0", 1), ("8.0", 0)] {
        for verb in &verbs {
            let words = words("cuda:0", &format!("{verb} --force"));
            let pretend = [("CAPABILITY", capability)];
            let mut loud = engine(library, folder.path(), &pretend, &borrowed(&words));
            let arguments: Vec<_> = loud.get_args().map(|a| a.to_owned()).collect();
            loud = Command::new(env!("CARGO_BIN_EXE_engine"));
            loud.current_dir(folder.path()).env("LD_LIBRARY_PATH", library);
            loud.env("ENGINE_STAND_IN_CAPABILITY", capability);
            let output = loud.args(arguments.iter().filter(|a| *a != "--quiet")).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{verb}: {error}");
            let remark = "cuda:0: the driver compiles the kernels at the first start";
            assert_eq!(error.matches(remark).count(), said, "{capability} {verb}: {error}");
        }
    }
}

/// A kernel that fails is found in the words: among the last launches, with its grid and its sizes,
/// or, where each launch is waited for, by its name.
#[test]
fn a_kernel_that_fails_is_named() {
    let Some(library) = stand_in("failing kernels") else { return };
    let folder = tempfile::tempdir().unwrap();
    let train = words("cuda:0", &format!("{TRAIN} --dtype f32 --out run --force"));
    let broken = |entry: &str| format!("{entry} 2 700");
    let end = |breaks: &str, sync: Option<&str>, memory: &str| {
        let pretend = [("BREAKS", breaks), ("MEMORY", memory)];
        let mut command = engine(library, folder.path(), &pretend, &borrowed(&train));
        sync.iter().for_each(|value| {
            command.env("ENGINE_SYNC", value);
        });
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(error.lines().count(), 1, "{error}");
        (output.status.code(), error)
    };
    let roomy = "80000000000";
    for entry in ["layernorm_f32_wide", "adamw_f32_wide", "simt_nt"] {
        let (code, error) = end(&broken(entry), None, roomy);
        assert_eq!(code, Some(5), "{error}");
        for word in
            ["a kernel failed", "CUDA_ERROR_ILLEGAL_ADDRESS", "newest first", "ENGINE_SYNC=1"]
        {
            assert!(error.contains(word), "{entry}: expected {word:?} in {error}");
        }
        let listed = error.matches(" × ").count();
        assert!((1..=16).contains(&listed), "{entry}: {listed} launches in {error}");
        let (code, error) = end(&broken(entry), Some("1"), roomy);
        assert_eq!(code, Some(5), "{error}");
        assert!(error.starts_with(&format!("engine: cuda: kernel {entry} [")), "{error}");
        assert!(error.contains(" failed: CUDA_ERROR_ILLEGAL_ADDRESS"), "{error}");
    }
    // The kernel that failed, and not the memory that could not be had for it.
    let (code, error) = end(&broken("layernorm_f32_wide"), None, "300000");
    assert_eq!(code, Some(5), "{error}");
    assert!(error.contains("a kernel failed") && !error.contains("cannot be had"), "{error}");
    // Memory alone: what was running for it.
    let (code, error) = end("none 1 0", None, "300000");
    assert_eq!(code, Some(5), "{error}");
    assert!(error.contains("cannot be had") && error.contains("newest first: "), "{error}");
    let (code, error) = end("none 1 0", Some("yes"), roomy);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("ENGINE_SYNC: expected 1"), "{error}");
}

/// Where memory is short, users are answered in smaller groups, the pool gives back what lies in
/// pieces, and the answers are the same.
#[test]
fn a_nearly_full_gpu_gives_the_same_answers() {
    let Some(library) = stand_in("a full device") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls");
    let decode = |memory: &str| {
        let out = folder.path().join(format!("{memory}.jsonl"));
        let words = words("cuda:0", &format!("{DECODE} --dtype f32 --out {}", out.display()));
        let pretend = [("MEMORY", memory), ("CALLS", &file.display().to_string())];
        done(library, folder.path(), &pretend, &borrowed(&words));
        (answers(&out), calls(&file))
    };
    let (expected, roomy) = decode("1000000000");
    let (answers, full) = decode("400000");
    assert_eq!(answers, expected);
    assert!(
        full["cuMemPoolTrimTo"] > 0 && !roomy.contains_key("cuMemPoolTrimTo"),
        "{full:?} {roomy:?}"
    );
    assert!(full["cuLaunchKernel"] > roomy["cuLaunchKernel"], "{full:?} {roomy:?}");
}

/// Whichever call of the driver fails, first, last or in between: one sentence, and everything made
/// before is given back.
#[test]
fn every_call_may_fail() {
    let Some(library) = stand_in("failing calls") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls").display().to_string();
    let forward = words(
        "cuda:0",
        &format!("{FORWARD} --force --outputs y.safetensors --gradients --dtype f32"),
    );
    let forward = borrowed(&forward);
    done(library, folder.path(), &[("CALLS", &file)], &forward);
    // What gives something back cannot fail without leaving it behind.
    let gives_back = ["Destroy", "Free", "Release", "Unload"];
    let calls = calls(Path::new(&file));
    let mut failed = 0;
    for (name, count) in
        calls.iter().filter(|(name, _)| !gives_back.iter().any(|word| name.contains(word)))
    {
        // Nor can entering the context, which giving back begins with, once something is there.
        let last = if name == "cuCtxSetCurrent" { 1 } else { *count };
        for number in BTreeSet::from([1, last.div_ceil(2), last]) {
            fs::remove_file(folder.path().join("y.safetensors")).ok();
            let fails = format!("{name} {number} 999");
            let End { code, error, .. } =
                run(library, folder.path(), &[("FAILS", &fails)], &forward);
            let whole = folder.path().join("y.safetensors").exists();
            match code {
                5 => assert!(
                    error.starts_with("engine: ") && error.lines().count() == 1,
                    "{fails}: {error}"
                ),
                // Memory is asked for twice, and what fails while all is given back loses nothing.
                _ => assert_eq!((code, error.as_str(), whole), (0, "", true), "{fails}"),
            }
            failed += usize::from(code == 5);
        }
    }
    assert!(calls.len() > 20 && failed > 30, "{failed} failures of {calls:?}");
}

/// The stand-in opened by a test itself, to do wrong with it.
struct Library(*mut c_void);

type Handle = *mut c_void;

impl Library {
    fn open(folder: &str) -> Library {
        let path = CString::new(format!("{folder}/libcuda.so.1")).unwrap();
        // SAFETY: a path that ends in zero; the library stays open.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!library.is_null());
        Library(library)
    }

    /// Calls `name` with up to five words; the ABI passes integers and pointers alike and ignores
    /// those a function does not have.
    fn call(&self, name: &str, arguments: &[usize]) -> c_int {
        let symbol = CString::new(name).unwrap();
        // SAFETY: a symbol of a library that is open.
        let function = unsafe { libc::dlsym(self.0, symbol.as_ptr()) };
        assert!(!function.is_null(), "{name}");
        let mut a = [0; 5];
        a[..arguments.len()].copy_from_slice(arguments);
        // SAFETY: a driver's function takes at most five words here, each an integer or a pointer
        // to memory of the caller that lives.
        unsafe {
            let function: extern "C" fn(usize, usize, usize, usize, usize) -> c_int =
                std::mem::transmute(function);
            function(a[0], a[1], a[2], a[3], a[4])
        }
    }

    /// What `name` makes: written to its first argument.
    fn make(&self, name: &str, rest: &[usize]) -> usize {
        let mut made: Handle = std::ptr::null_mut();
        let mut arguments = vec![(&raw mut made) as usize];
        arguments.extend(rest);
        assert_eq!(self.call(name, &arguments), 0, "{name}");
        made as usize
    }
}

const INVALID_VALUE: c_int = 1;
const INVALID_HANDLE: c_int = 400;
const LAUNCH_FAILED: c_int = 719;

/// One misuse, alone in its process.
fn misuse(name: &str, cuda: &Library) {
    let stream = cuda.make("cuStreamCreate", &[1]);
    let buffer = cuda.make("cuMemAllocAsync", &[64, stream]);
    let pinned = cuda.make("cuMemHostAlloc", &[64, 0]);
    let host = pinned as *mut u8;
    // SAFETY: 64 bytes of pinned memory that lives, here and below.
    unsafe { host.write_bytes(7, 64) };
    assert_eq!(cuda.call("cuMemcpyHtoDAsync_v2", &[buffer, pinned, 64, stream]), 0);
    let mut end = cuda.call("cuStreamSynchronize", &[stream]);
    match name {
        "a slot is used again too early" => {
            assert_eq!(cuda.call("cuMemcpyHtoDAsync_v2", &[buffer, pinned, 64, stream]), 0);
            // SAFETY: as above.
            unsafe { host.write(8) };
            assert_eq!(cuda.call("cuStreamSynchronize", &[stream]), LAUNCH_FAILED);
            return;
        }
        "a copy is read before it is there" => {
            assert_eq!(cuda.call("cuMemcpyDtoHAsync_v2", &[pinned, buffer, 64, stream]), 0);
            // SAFETY: as above.
            assert_eq!(unsafe { host.read_volatile() }, 0xff, "not yet there");
            assert_eq!(cuda.call("cuStreamSynchronize", &[stream]), 0);
            // SAFETY: as above.
            assert_eq!(unsafe { host.read_volatile() }, 7);
        }
        "a buffer is freed twice" => {
            assert_eq!(cuda.call("cuMemFreeAsync", &[buffer, stream]), 0);
            assert_eq!(cuda.call("cuMemFreeAsync", &[buffer, stream]), INVALID_VALUE);
            assert_eq!(cuda.call("cuMemsetD8Async", &[buffer, 0, 64, stream]), INVALID_VALUE);
            return;
        }
        "a copy passes the end" => {
            assert_eq!(cuda.call("cuMemsetD8Async", &[buffer + 32, 0, 33, stream]), INVALID_VALUE);
        }
        "pageable memory is copied" => {
            let own = [0u8; 64];
            let words = [buffer, own.as_ptr() as usize, 64, stream];
            assert_eq!(cuda.call("cuMemcpyHtoDAsync_v2", &words), INVALID_VALUE);
        }
        "a stream is used after it was destroyed" => {
            assert_eq!(cuda.call("cuMemFreeAsync", &[buffer, stream]), 0);
            assert_eq!(cuda.call("cuStreamDestroy_v2", &[stream]), 0);
            assert_eq!(cuda.call("cuStreamSynchronize", &[stream]), INVALID_HANDLE);
            return;
        }
        "things are left behind" => {
            cuda.make("cuEventCreate", &[2]);
            assert_eq!(cuda.call("cuDevicePrimaryCtxRelease_v2", &[0]), 999);
            return;
        }
        "nothing" => {}
        _ => panic!("{name}: no such misuse"),
    }
    end += cuda.call("cuMemFreeAsync", &[buffer, stream]) + cuda.call("cuMemFreeHost", &[pinned]);
    end += cuda.call("cuStreamDestroy_v2", &[stream])
        + cuda.call("cuDevicePrimaryCtxRelease_v2", &[0]);
    assert_eq!(end, 0, "{name}");
}

#[test]
fn planted_misuses_are_found() {
    let Some(folder) = stand_in("planted misuses") else { return };
    if let Ok(name) = std::env::var("ENGINE_PLANTED") {
        let cuda = Library::open(folder);
        assert_eq!(cuda.call("cuInit", &[0]), 0);
        let context = cuda.make("cuDevicePrimaryCtxRetain", &[0]);
        assert_eq!(cuda.call("cuCtxSetCurrent", &[context]), 0);
        return misuse(&name, &cuda);
    }
    for (name, words) in [
        ("nothing", &[] as &[&str]),
        ("a copy is read before it is there", &[]),
        (
            "a slot is used again too early",
            &["pinned memory was written while it was being copied"],
        ),
        ("a buffer is freed twice", &["cuMemFreeAsync: 0x", "is no buffer, or was freed before"]),
        ("a copy passes the end", &["cuMemsetD8Async: destination: 33 bytes at 0x"]),
        ("pageable memory is copied", &["are not in one piece of pinned memory"]),
        (
            "a stream is used after it was destroyed",
            &["is no stream of the current context", "still retained"],
        ),
        (
            "things are left behind",
            &[
                "left behind: 1 buffers",
                "64 bytes in",
                "1 pieces of pinned",
                "1 events",
                "1 streams",
            ],
        ),
    ] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "driver::planted_misuses_are_found", "--nocapture"])
            .env("ENGINE_PLANTED", name);
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {error}");
        assert_eq!(error.contains("stand-in: "), !words.is_empty(), "{name}: {error}");
        for word in words {
            assert!(error.contains(word), "{name}: expected {word:?} in {error}");
        }
    }
}

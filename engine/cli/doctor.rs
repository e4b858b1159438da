//! `engine doctor`: what there is to compute with, and what to do about what is missing.

use super::say::flags;
use super::{say, Global};
use crate::base::host;
use crate::recommender::weights::weights_folders;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// What this machine and this binary can compute with, and what to do about what is missing.
///
/// Example: engine doctor
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Doctor {}

/// Prints one line a matter; nothing that is missing is an error.
pub fn run(_: &Doctor, global: &Global) -> Result<()> {
    let mut lines: Vec<(&str, String)> = vec![
        ("engine", format!("{} for {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH)),
        ("processor", processor()),
        ("instructions", instructions()),
        ("threads", threads(global.threads)),
        ("memory", memory()),
        ("device cpu", "ready".to_owned()),
        ("kernels", kernels_in_binary()),
        ("driver", driver_line()),
        ("device used", format!("{} unless --device says otherwise", global.place()?)),
    ];
    let gpus = match crate::device::gpus() {
        Ok(found) if found.is_empty() => {
            vec!["none: the driver shows no device; see CUDA_VISIBLE_DEVICES".to_owned()]
        }
        Ok(found) => found.into_iter().map(|gpu| gpu.words).collect(),
        Err(why) => vec![flags(&format!("none: {why:#}"))],
    };
    lines.extend(
        gpus.into_iter().enumerate().map(|(i, gpu)| (if i == 0 { "gpus" } else { "" }, gpu)),
    );
    for (i, folder) in weights_folders().iter().enumerate() {
        lines.push((if i == 0 { "weights" } else { "" }, weights_in(folder)));
    }
    if weights_folders().len() == 1 {
        let words =
            "$ENGINE_WEIGHTS is not set: set it to a folder of checkpoint folders to name them \
            from anywhere";
        lines.push(("", words.to_owned()));
    }
    let mut text = String::new();
    for (name, value) in lines {
        writeln!(text, "{name:<13} {value}")?;
    }
    say::result(&text);
    Ok(())
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let values = text.lines().filter_map(|line| line.split_once(':'));
        values
            .filter(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim())
            .collect::<Vec<_>>()
    };
    let model = field("model name").first().map_or("unknown model", |name| *name).to_owned();
    // A core is a pair of socket and core number; hyper-threads share it.
    let mut cores: Vec<_> = field("physical id").into_iter().zip(field("core id")).collect();
    cores.sort_unstable();
    cores.dedup();
    match (cores.len(), field("processor").len()) {
        (0, 0) => model,
        (0, threads) => format!("{model}, {threads} hardware threads"),
        (cores, threads) => format!("{model}, {cores} cores, {threads} hardware threads"),
    }
}

/// What the CPU rooms use or may use: without the first three there is no `--device cpu`.
fn instructions() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let all = [
            ("avx2", std::is_x86_feature_detected!("avx2")),
            ("fma", std::is_x86_feature_detected!("fma")),
            ("f16c", std::is_x86_feature_detected!("f16c")),
            ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ];
        let there: Vec<&str> =
            all.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
        match all[3].1 {
            true => there.join(" "),
            false => format!("{}; no avx512f: matrix products run in AVX2", there.join(" ")),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    "not x86-64: portable code only".to_owned()
}

fn threads(asked: usize) -> String {
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    match asked {
        0 => format!("{usable}, as many as this process may use"),
        n if n > usable => {
            format!(
                "{n} by --threads, but this process may use {usable}: more only wait for each \
                other"
            )
        }
        n => format!("{n} by --threads, of {usable} that this process may use"),
    }
}

fn memory() -> String {
    let Some(memory) = host::memory() else {
        return "unknown: /proc/meminfo cannot be read".to_owned();
    };
    let words = format!("{}, {} free", gib(memory.total), gib(memory.available));
    match memory.group {
        Some((limit, _)) => format!("{words}; this process's group may use {}", gib(limit)),
        None => words,
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}

fn kernels_in_binary() -> String {
    let mut words = match kernels::IMAGES {
        [] => "none in this binary: it computes on the CPU only, --device cuda:N is refused; run \
            tools/get-nvcc and build again"
            .to_owned(),
        images => {
            let names: Vec<String> = images
                .iter()
                .map(|image| format!("{} {} KiB", image.target, image.packed.len() / 1024))
                .collect();
            let (major, minor) = kernels::NEEDS;
            let drivers = match kernels::oldest_driver() {
                Some(oldest) => format!("drivers from {oldest} on (CUDA {major}.{minor})"),
                None => format!("drivers of CUDA {major}.{minor} and later"),
            };
            format!("{}, made by {}, for {drivers}", names.join(", "), kernels::COMPILER)
        }
    };
    if kernels::EMULATED {
        words += "; emulator: --device emu";
    }
    words
}

fn driver_line() -> String {
    let Some(library) = driver() else {
        return "no libcuda.so.1 found: for a GPU install the NVIDIA driver (in a container: start \
            it with GPUs), or name its folder in LD_LIBRARY_PATH".to_owned();
    };
    let version = fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let version =
        version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    match version {
        Some(version) => format!("{}, version {version}", library.display()),
        None => format!(
            "{}, but its kernel module is not loaded: no GPU will answer",
            library.display()
        ),
    }
}

/// Where the dynamic linker finds the NVIDIA driver's library, if it is there. Nothing is loaded.
fn driver() -> Option<PathBuf> {
    const NAME: &str = "libcuda.so.1";
    let own = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let usual = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/lib64",
        "/lib",
    ];
    let folders = std::env::split_paths(&own).chain(usual.map(PathBuf::from));
    let found = folders.map(|folder| folder.join(NAME)).find(|path| path.exists());
    found.or_else(|| in_linker_cache(&fs::read("/etc/ld.so.cache").ok()?, NAME))
}

/// The path of a library in the linker's cache, which holds names and paths as strings that end in
/// zero.
fn in_linker_cache(cache: &[u8], name: &str) -> Option<PathBuf> {
    let ending = format!("/{name}");
    let mut strings =
        cache.split(|&byte| byte == 0).filter_map(|bytes| std::str::from_utf8(bytes).ok());
    strings.find(|text| text.starts_with('/') && text.ends_with(&ending)).map(PathBuf::from)
}

/// The checkpoint folders in a folder.
fn weights_in(folder: &Path) -> String {
    let shown = folder.display();
    let Ok(entries) = fs::read_dir(folder) else {
        return format!(
            "{shown}: no such folder: put checkpoint folders there, or give --weights a path"
        );
    };
    let (mut whole, mut configs) = (Vec::new(), Vec::new());
    for entry in entries.flatten() {
        let path = entry.path();
        if !path.join("config.json").is_file() {
            continue;
        }
        let weights = ["model.safetensors", "model.safetensors.index.json"];
        let kind =
            if weights.iter().any(|w| path.join(w).is_file()) { &mut whole } else { &mut configs };
        kind.push(entry.file_name().to_string_lossy().into_owned());
    }
    whole.sort_unstable();
    configs.sort_unstable();
    let mut words = match whole.as_slice() {
        [] => format!(
            "{shown}: no checkpoint: `engine init` makes a random one, a published one is copied \
            there"
        ),
        names => format!("{shown}: {}", names.join(", ")),
    };
    if !configs.is_empty() {
        write!(words, "; configs without weights: {}", configs.join(", "))
            .expect("a String takes all");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linkers_cache_is_searched_for_whole_names() {
        let cache = b"glibc-ld.so.cache1.1\xff\x01\0libcuda.so.1\0/opt/x/libcuda.so.1.2\0\
            /opt/y/libcuda.so.1\0/z\0";
        assert_eq!(in_linker_cache(cache, "libcuda.so.1"), Some("/opt/y/libcuda.so.1".into()));
        assert_eq!(in_linker_cache(cache, "libcuda.so.2"), None);
    }

    #[test]
    fn checkpoints_and_bare_configs_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "b/config.json",
            "b/model.safetensors",
            "a/config.json",
            "a/model.safetensors",
            "c/config.json",
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert!(weights_in(root.path()).ends_with(": a, b; configs without weights: c"));
        assert!(weights_in(&root.path().join("none")).contains("no such folder"));
    }
}

//! nvcc: one fatbin a family, embedded. g++, with the feature `emulated`: the same sources for the host.
//!
//! Both are cached under the target folder by the hash of everything that goes in, so that check, build and test do not each
//! pay for them. Nothing is asked of a GPU, nothing is downloaded. Without nvcc the build goes on and says so.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is compiled for: A100, H100/H200, and PTX for whatever comes later.
const TARGETS: [&str; 3] = [
    "-gencode=arch=compute_80,code=sm_80",
    "-gencode=arch=compute_90a,code=sm_90a",
    "-gencode=arch=compute_80,code=compute_80",
];

fn main() {
    println!("cargo:rerun-if-changed=.");
    for name in ["NVCC", "CUDA_HOME", "CXX"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let cache = cache_folder(&out);
    fs::create_dir_all(&cache).expect("the target folder can be written");
    let families = families(&folder);
    let entries: Vec<(String, String)> =
        families.iter().flat_map(|family| entries(&folder, family)).collect();

    let mut table = String::from(
        "/// Entry points and the family each is in.\npub const ENTRIES: &[(&str, &str)] = &[\n",
    );
    for (entry, family) in &entries {
        writeln!(table, "    ({entry:?}, {family:?}),").expect("a string takes it");
    }
    table.push_str("];\n\n/// The images embedded in this build, by family; empty where no nvcc was found.\npub const IMAGES: &[(&str, &[u8])] = &[\n");
    let nvcc = find_nvcc(&folder, &out);
    let compiler = nvcc.as_deref().map_or_else(|| "no nvcc".to_owned(), version);
    match &nvcc {
        Some(nvcc) => {
            for (family, image) in images(nvcc, &folder, &families, &cache) {
                writeln!(table, "    ({family:?}, include_bytes!({image:?})),").expect("a string takes it");
            }
        }
        None => println!(
            "cargo:warning=no nvcc found (NVCC, CUDA_HOME/bin, PATH, target/nvcc): this build has no CUDA kernels; tools/get-nvcc installs one, see kernels/README.md"
        ),
    }
    table.push_str("];\n\n");
    writeln!(table, "/// What compiled the images.\npub const COMPILER: &str = {compiler:?};\n")
        .expect("a string takes it");

    let emulated =
        env::var_os("CARGO_FEATURE_EMULATED").is_some() && emulate(&folder, &families, &cache, &out);
    writeln!(table, "/// Whether the host emulator of the kernels is part of this build.\npub const EMULATED: bool = {emulated};")
        .expect("a string takes it");
    table.push_str("\n#[cfg(feature = \"emulated\")]\nmod bodies {\n");
    if emulated {
        table.push_str("    extern \"C\" {\n");
        for (entry, _) in &entries {
            writeln!(table, "        pub fn engine_emulated_{entry}(arguments: *mut *mut std::ffi::c_void);")
                .expect("a string takes it");
        }
        table.push_str("    }\n");
    }
    table.push_str("    pub const ALL: &[(&str, super::Body)] = &[\n");
    for (entry, _) in entries.iter().filter(|_| emulated) {
        writeln!(table, "        ({entry:?}, engine_emulated_{entry}),").expect("a string takes it");
    }
    table.push_str("    ];\n}\n");
    fs::write(out.join("built.rs"), table).expect("OUT_DIR can be written");
}

/// `target/kernels-cache`: OUT_DIR is `target/[triple/]profile/build/kernels-hash/out`.
fn cache_folder(out: &Path) -> PathBuf {
    let profile = out.ancestors().nth(3).expect("OUT_DIR lies in a target folder");
    profile.parent().unwrap_or(profile).join("kernels-cache")
}

/// The stems of the `.cu` files, in order.
fn families(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("the crate's folder can be read")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".cu").map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// The entry points of a family: lines that begin with `KERNEL(threads, name,`.
fn entries(folder: &Path, family: &str) -> Vec<(String, String)> {
    let source = fs::read_to_string(folder.join(format!("{family}.cu"))).expect("a source can be read");
    // The preprocessor of the host compiler would have to be asked to expand macros that make entries; none do.
    source
        .lines()
        .filter_map(|line| line.strip_prefix("KERNEL("))
        .map(|rest| {
            let name = rest
                .split(',')
                .nth(1)
                .unwrap_or_else(|| panic!("{family}.cu: KERNEL({rest}: expected a name"));
            (name.trim().to_owned(), family.to_owned())
        })
        .collect()
}

/// `$NVCC`, `$CUDA_HOME/bin`, `PATH`, then what `tools/get-nvcc` put under the target folder.
fn find_nvcc(folder: &Path, out: &Path) -> Option<PathBuf> {
    let mut places: Vec<PathBuf> = Vec::new();
    places.extend(env::var_os("NVCC").map(PathBuf::from));
    places.extend(env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin/nvcc")));
    places.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()).map(|p| p.join("nvcc")));
    let target = cache_folder(out);
    let target = target.parent().expect("the cache lies in the target folder");
    for root in [target.to_owned(), folder.join("../target")] {
        places.push(root.join("nvcc/bin/nvcc"));
    }
    places.into_iter().find(|p| p.is_file())
}

/// "CUDA 13.0", as nvcc says it.
fn version(nvcc: &Path) -> String {
    let said = Command::new(nvcc).arg("--version").output().map(|o| o.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    let release = said.split("release ").nth(1).and_then(|rest| rest.split(',').next());
    release.map_or_else(|| "an unknown nvcc".to_owned(), |release| format!("CUDA {release}"))
}

/// A hash over what a compilation reads and how it is asked.
fn fingerprint(folder: &Path, words: &[String]) -> String {
    let mut hasher = DefaultHasher::new();
    words.hash(&mut hasher);
    let mut files: Vec<PathBuf> = [folder.to_owned(), folder.join("host")]
        .iter()
        .filter_map(|f| fs::read_dir(f).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "cuh" || e == "h"))
        .collect();
    files.sort();
    for file in files {
        fs::read(&file).expect("a header can be read").hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// Compiles every family that is not in the cache. A source that does not compile ends the build with nvcc's words.
fn images(nvcc: &Path, folder: &Path, families: &[String], cache: &Path) -> Vec<(String, PathBuf)> {
    let version = Command::new(nvcc).arg("--version").output().map(|o| o.stdout).unwrap_or_default();
    families
        .iter()
        .map(|family| {
            let source = folder.join(format!("{family}.cu"));
            let text = fs::read_to_string(&source).expect("a source can be read");
            let words = [String::from_utf8_lossy(&version).into_owned(), TARGETS.concat(), text];
            let image = cache.join(format!("{family}-{}.fatbin", fingerprint(folder, &words)));
            if !image.is_file() {
                let part = image.with_extension(format!("part-{}", std::process::id()));
                // ptxas' report of registers and spills, which tests/audit.rs reads, is kept beside the image.
                let output = Command::new(nvcc)
                    .args(["-fatbin", "-std=c++17", "-O3", "--resource-usage", "-Xfatbin=-compress-all"])
                    .args(TARGETS)
                    .arg("-o")
                    .args([&part, &source])
                    .output()
                    .unwrap_or_else(|e| panic!("{}: {e}", nvcc.display()));
                let words = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{}:\n{words}", source.display());
                fs::write(image.with_extension("report"), words.as_bytes())
                    .expect("the cache can be written");
                fs::rename(&part, &image).expect("the cache can be written");
            }
            (family.clone(), image)
        })
        .collect()
}

/// Compiles emulator and kernels for the host and links them. False, with a warning, where there is no C++ compiler.
fn emulate(folder: &Path, families: &[String], cache: &Path, out: &Path) -> bool {
    let compiler = env::var("CXX").unwrap_or_else(|_| "g++".into());
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64")
        || Command::new(&compiler).arg("--version").output().is_err()
    {
        println!("cargo:warning=no g++ on x86-64: this build has no emulator, its tests are skipped");
        return false;
    }
    let flags = [
        "-std=c++17",
        "-O2",
        "-g1",
        "-mavx2",
        "-mfma",
        "-mf16c",
        "-fPIC",
        "-Wall",
        "-Wno-unknown-pragmas",
        "-Wno-unused-function",
    ];
    let mut sources: Vec<(PathBuf, bool)> = vec![(folder.join("host/emulator.cpp"), false)];
    sources.extend(families.iter().map(|family| (folder.join(format!("{family}.cu")), true)));
    sources.extend(
        fs::read_dir(folder.join("host"))
            .expect("the crate's folder can be read")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|p| p.extension().is_some_and(|e| e == "cu"))
            .map(|p| (p, true)),
    );
    let mut objects: Vec<PathBuf> = Vec::new();
    let mut running = Vec::new();
    for (source, kernel) in &sources {
        let text = fs::read_to_string(source).expect("a source can be read");
        let stem = source.file_stem().expect("a source has a name").to_string_lossy().into_owned();
        let object = cache
            .join(format!("{stem}-{}.o", fingerprint(folder, &[compiler.clone(), flags.concat(), text])));
        if !object.is_file() {
            let part = object.with_extension(format!("part-{}", std::process::id()));
            let mut command = Command::new(&compiler);
            command.args(flags).arg("-c").arg("-o").arg(&part);
            if *kernel {
                command.arg("-include").arg(folder.join("host/emulator.h")).args(["-x", "c++"]);
            }
            let child = command.arg(source).spawn().unwrap_or_else(|e| panic!("{compiler}: {e}"));
            running.push((child, part, object.clone(), source.clone()));
        }
        objects.push(object);
    }
    for (mut child, part, object, source) in running {
        let status = child.wait().expect("a compiler ends");
        assert!(status.success(), "{}: {compiler} failed, see above", source.display());
        fs::rename(&part, &object).expect("the cache can be written");
    }
    let library = out.join("libengine_emulated.a");
    let _ = fs::remove_file(&library);
    let status =
        Command::new("ar").arg("crs").arg(&library).args(&objects).status().expect("ar comes with g++");
    assert!(status.success(), "ar failed");
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=engine_emulated");
    println!("cargo:rustc-link-lib=stdc++");
    true
}

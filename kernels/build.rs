//! CUDA's compiler: images of all families, embedded (`compile.rs`). g++, with the feature
//! `emulated`: the same sources for the host.
//!
//! Both are cached under the target folder by the hash of everything that goes in, so that check,
//! build and test do not each pay for them. Nothing is asked of a GPU, nothing is downloaded.
//! Without a compiler the build goes on and says so.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

#[path = "compile.rs"]
mod compile;
#[path = "host.rs"]
mod host;
#[path = "interface.rs"]
mod interface;

use compile::{Compiler, Images, Packed};
use host::{cxx, emulate, profiled, stand_in};

fn main() {
    println!("cargo:rerun-if-changed=.");
    for name in ["NVCC", "CUDA_HOME", "CXX"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let cache = cache_folder(&out);
    fs::create_dir_all(&cache).expect("the target folder can be written");
    let families = families_of(&folder);
    let entries: Vec<Entry> =
        families.iter().flat_map(|family| entries_of(&folder, family)).collect();
    let text =
        fs::read_to_string(folder.join("interface.cuh")).expect("the crate's folder can be read");
    fs::write(out.join("interface.rs"), interface::in_rust(&text)).expect("OUT_DIR can be written");

    let mut table = String::from(
        "/// Every entry point, in the order of families.\n\
        pub const ENTRIES: &[Signature] = &[\n",
    );
    for Entry { name, family, threads, parameters } in &entries {
        let threads = match threads.strip_suffix("::THREADS") {
            Some(tile) => format!("interface::{}.threads() as u32", tile.to_uppercase()),
            None if threads.parse::<u32>().is_ok() => threads.clone(),
            None => format!("interface::{threads} as u32"),
        };
        writeln!(
            table,
            "    Signature {{ name: {name:?}, family: {family:?}, threads: {threads}, \
            parameters: {parameters:?}, bytes: size_of::<interface::{parameters}>(), \
            sizes: <interface::{parameters} as interface::Parameters>::SIZES }},"
        )
        .expect("a string takes it");
    }
    table.push_str(
        "];\n\n/// Every family by name, in the order of the images' parts.\n\
        pub const FAMILIES: &[&str] = &[\n",
    );
    for family in &families {
        writeln!(table, "    {family:?},").expect("a string takes it");
    }
    // A static: of a constant each crate that names it has a copy in the program.
    table.push_str(
        "];\n\n/// The images embedded in this build, PTX last; empty where no compiler was \
        found.\npub static IMAGES: &[Image] = &[\n",
    );
    let target = cache.parent().expect("the cache lies in the target folder").to_owned();
    let compiler = Compiler::find(&[target, folder.join("../target")]);
    let images = compiler.as_ref().map_or_else(Images::default, |compiler| {
        compiler.images(&folder, &families, &cache, |words| fingerprint(&[&folder], words))
    });
    for Packed { target, bytes, file } in &images.packed {
        writeln!(
            table,
            "    Image {{ target: {target:?}, bytes: &{bytes:?}, packed: include_bytes!({file:?}) \
            }},"
        )
        .expect("a string takes it");
    }
    if compiler.is_none() {
        println!(
            "cargo:warning=no compiler of CUDA found (NVCC, CUDA_HOME/bin, target/cuda12, PATH): \
            this build has no CUDA kernels; tools/get-nvcc installs one, see kernels/README.md"
        );
    }
    table.push_str("];\n\n");
    let mut reports = String::new();
    for (family, files) in &images.reports {
        for file in files {
            writeln!(reports, "    ({family:?}, include_str!({file:?})),")
                .expect("a string takes it");
        }
    }
    write!(
        table,
        "/// What ptxas says of each family's entry points: registers, shared memory, \
        spills.\npub const REPORTS: &[(&str, &str)] = &[\n{reports}];\n\n"
    )
    .expect("a string takes it");
    let needs = compiler.as_ref().map_or((0, 0), |compiler| compiler.needs);
    writeln!(
        table,
        "/// The CUDA, (major, minor), of the oldest driver that takes the images.\n\
        pub const NEEDS: (u8, u8) = {needs:?};\n"
    )
    .expect("a string takes it");
    let compiler = compiler.map_or_else(|| "no compiler".to_owned(), |compiler| compiler.name);
    writeln!(table, "/// What compiled the images.\npub const COMPILER: &str = {compiler:?};\n")
        .expect("a string takes it");

    let (objects, release) = match env::var_os("CARGO_FEATURE_EMULATED") {
        Some(_) => emulate(&folder, &families, &cache, &out),
        None => None,
    }
    .unzip();
    let emulated = objects.is_some();
    let library = release
        .filter(|_| env::var_os("CARGO_FEATURE_PROFILED").is_some())
        .map(|release| (profiled(&folder, &families, &cache, &release), release));
    let (library, release) = library.unzip();
    writeln!(
        table,
        "/// The library of the profiler (`host/profile.cpp`); only with the feature \
        `profiled`.\npub const PROFILER: Option<&str> = {library:?};\n\n\
        /// What compiled it: another release of g++ may see other accesses.\n\
        pub const PROFILER_COMPILER: Option<&str> = {:?};\n",
        release.map(|release| format!("{} {release}", cxx()))
    )
    .expect("a string takes it");
    let stand_in =
        objects.map(|objects| stand_in(&folder, &entries, &images.parts, &objects, &cache));
    writeln!(
        table,
        "/// The folder of a `libcuda.so.1` that stands in for the driver in tests \
        (`host/driver.cpp`); only beside the emulator.\npub const STAND_IN: Option<&str> = \
        {stand_in:?};\n"
    )
    .expect("a string takes it");
    writeln!(
        table,
        "/// Whether the host emulator of the kernels is part of this build.\npub \
        const EMULATED: bool = {emulated};"
    )
    .expect("a string takes it");
    // What stands in host/*.cu is for tests of the emulator: it can be launched there and is in no
    // image.
    let planted = families_of(&folder.join("host"));
    let bodies: Vec<String> = entries
        .iter()
        .map(|entry| entry.name.clone())
        .chain(planted.iter().flat_map(|family| planted_in(&folder.join("host"), family)))
        .collect();
    table.push_str("\n#[cfg(feature = \"emulated\")]\nmod bodies {\n");
    if emulated {
        table.push_str("    extern \"C\" {\n");
        for entry in &bodies {
            writeln!(
                table,
                "        pub fn engine_emulated_{entry}(arguments: *mut *mut std::ffi::c_void);"
            )
            .expect("a string takes it");
        }
        table.push_str("    }\n");
    }
    table.push_str("    pub const ALL: &[(&str, super::Body)] = &[\n");
    for entry in bodies.iter().filter(|_| emulated) {
        writeln!(table, "        ({entry:?}, engine_emulated_{entry}),")
            .expect("a string takes it");
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
fn families_of(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("the crate's folder can be read")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".cu").map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// What a line `KERNEL(threads, name, Parameters, …` says.
struct Entry {
    name: String,
    family: String,
    /// A number, a constant of interface.cuh or the THREADS of a tile there.
    threads: String,
    /// The struct of interface.cuh, without its element type.
    parameters: String,
}

/// The first words between commas of every line of a source that begins with `word`.
fn lines_of(folder: &Path, family: &str, word: &str) -> Vec<Vec<String>> {
    let source =
        fs::read_to_string(folder.join(format!("{family}.cu"))).expect("a source can be read");
    // The preprocessor of the host compiler would have to be asked to expand macros that make
    // entries; none do.
    source
        .lines()
        .filter_map(|line| line.strip_prefix(word))
        .map(|rest| rest.split(',').map(|part| part.trim().to_owned()).collect())
        .collect()
}

/// The entry points of a family.
fn entries_of(folder: &Path, family: &str) -> Vec<Entry> {
    let entry = |parts: Vec<String>| match &parts[..] {
        [threads, name, parameters, ..] => Entry {
            name: name.clone(),
            family: family.to_owned(),
            threads: threads.clone(),
            parameters: parameters.split('<').next().expect("split gives one").to_owned(),
        },
        _ => panic!("{family}.cu: KERNEL({}: expected threads, name, Parameters", parts.join(", ")),
    };
    lines_of(folder, family, "KERNEL(").into_iter().map(entry).collect()
}

/// The kernels of a source for tests of the emulator.
fn planted_in(folder: &Path, family: &str) -> Vec<String> {
    lines_of(folder, family, "PLANTED(").into_iter().map(|parts| parts[1].clone()).collect()
}

/// A hash over the headers that a compilation may read and how it is asked.
fn fingerprint(folders: &[&Path], words: &[String]) -> String {
    let mut hasher = DefaultHasher::new();
    words.hash(&mut hasher);
    let mut files: Vec<PathBuf> = folders
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

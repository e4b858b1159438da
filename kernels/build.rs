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
use std::process::Command;

#[path = "compile.rs"]
mod compile;
#[path = "interface.rs"]
mod interface;

use compile::{Compiler, Images, Packed};

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
    table.push_str(
        "];\n\n/// The images embedded in this build, PTX last; empty where no compiler was \
        found.\npub const IMAGES: &[Image] = &[\n",
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

    let objects = match env::var_os("CARGO_FEATURE_EMULATED") {
        Some(_) => emulate(&folder, &families, &cache, &out),
        None => None,
    };
    let emulated = objects.is_some();
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

/// What C++ is compiled by.
fn cxx() -> String {
    env::var("CXX").unwrap_or_else(|_| "g++".into())
}

/// Compiles emulator and kernels for the host and links them: the objects. None, with a warning,
/// where there is no C++ compiler.
fn emulate(folder: &Path, families: &[String], cache: &Path, out: &Path) -> Option<Vec<PathBuf>> {
    let compiler = cxx();
    let release =
        Command::new(&compiler).arg("-dumpversion").output().map(|o| o.stdout).unwrap_or_default();
    let release = String::from_utf8_lossy(&release).trim().to_owned();
    let major = release.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64")
        || major.is_none_or(|major| major < 12)
    {
        let found = if major.is_some() { release } else { "none".to_owned() };
        println!(
            "cargo:warning=expected g++ 12 or later (CXX) on x86-64, got {found}: this build \
            has no emulator of the CUDA kernels, its tests are skipped"
        );
        return None;
    }
    let flags = [
        "-std=c++17",
        "-O2",
        "-g1",
        "-mavx2",
        "-mfma",
        "-mf16c",
        "-fPIC",
        "-ftls-model=initial-exec",
        "-Wall",
        "-Wno-unknown-pragmas",
        "-Wno-unused-function",
    ];
    // What C++ leaves undefined and a GPU refuses or answers otherwise ends the kernel with a
    // sentence.
    let strict = [
        "-fstack-clash-protection",
        "-ftrivial-auto-var-init=pattern",
        "-fsanitize=alignment,bounds,shift-exponent,integer-divide-by-zero,float-cast-overflow",
        "-fno-sanitize-recover=all",
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
        let words = [compiler.clone(), release.clone(), flags.concat(), strict.concat(), text];
        let object = cache
            .join(format!("{stem}-{}.o", fingerprint(&[folder, &folder.join("host")], &words)));
        if !object.is_file() {
            let part = object.with_extension(format!("part-{}", std::process::id()));
            let mut command = Command::new(&compiler);
            command.args(flags).arg("-c").arg("-o").arg(&part);
            if *kernel {
                command
                    .args(strict)
                    .arg("-include")
                    .arg(folder.join("host/emulator.h"))
                    .args(["-x", "c++"]);
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
    let status = Command::new("ar")
        .arg("crs")
        .arg(&library)
        .args(&objects)
        .status()
        .expect("ar comes with g++");
    assert!(status.success(), "ar failed");
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=engine_emulated");
    // The C++ library goes into the binary where it is there as an archive: what is built needs
    // glibc and libgcc alone.
    let archive = Command::new(&compiler)
        .arg("-print-file-name=libstdc++.a")
        .output()
        .map(|o| o.stdout)
        .unwrap_or_default();
    let archive = PathBuf::from(String::from_utf8_lossy(&archive).trim());
    match archive.parent().filter(|_| archive.is_file()) {
        Some(folder) => {
            println!("cargo:rustc-link-search=native={}", folder.display());
            println!("cargo:rustc-link-lib=static=stdc++");
        }
        None => println!("cargo:rustc-link-lib=stdc++"),
    }
    Some(objects)
}

/// Links `libcuda.so.1` for tests: the driver's functions on host memory, kernels run by the
/// emulator. Returns its folder.
fn stand_in(
    folder: &Path,
    entries: &[Entry],
    images: &[(String, &str, PathBuf)],
    objects: &[PathBuf],
    cache: &Path,
) -> String {
    let mut table = String::from("extern \"C\" {\n");
    for Entry { name, .. } in entries {
        writeln!(table, "void engine_emulated_{name}(void **);").expect("a string takes it");
    }
    table.push_str("}\nconstexpr Entry ENTRIES[] = {\n");
    for Entry { name, family, .. } in entries {
        writeln!(table, "    {{{name:?}, {family:?}, engine_emulated_{name}}},")
            .expect("a string takes it");
    }
    table.push_str("    {nullptr, nullptr, nullptr},\n};\nconstexpr Image IMAGES[] = {\n");
    for (family, target, image) in images {
        let bytes = fs::read(image).expect("an image was just built");
        // FNV-1a.
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &b| {
            (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        writeln!(table, "    {{{family:?}, {target:?}, {}, {hash:#x}}},", bytes.len())
            .expect("a string takes it");
    }
    table.push_str("    {nullptr, nullptr, 0, 0},\n};\n");
    let source = folder.join("host/driver.cpp");
    let text = fs::read_to_string(&source).expect("a source can be read");
    let flags = [
        "-std=c++17",
        "-O2",
        "-g1",
        "-fPIC",
        "-shared",
        "-Wall",
        "-static-libstdc++",
        "-static-libgcc",
    ];
    let names: Vec<String> = objects.iter().map(|object| object.display().to_string()).collect();
    let words = [cxx(), flags.concat(), table.clone(), text, names.concat()];
    let place = cache.join(format!("stand-in-{}", fingerprint(&[&folder.join("host")], &words)));
    let library = place.join("libcuda.so.1");
    if library.is_file() {
        return place.display().to_string();
    }
    let part = cache.join(format!("stand-in-part-{}", std::process::id()));
    let _ = fs::remove_dir_all(&part);
    fs::create_dir_all(&part).expect("the cache can be written");
    fs::write(part.join("driver_table.inc"), table).expect("the cache can be written");
    // Only the driver's functions are seen from outside: what opens it has an emulator of its own.
    fs::write(part.join("exports"), "{ global: cu*; local: *; };\n")
        .expect("the cache can be written");
    let mut command = Command::new(cxx());
    command.args(flags).arg("-I").arg(&part).arg("-o").arg(part.join("libcuda.so.1"));
    command.arg(format!("-Wl,--version-script={}", part.join("exports").display()));
    let status = command.arg("-Wl,-soname,libcuda.so.1").arg(&source).args(objects).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{}: {} failed, see above",
        source.display(),
        cxx()
    );
    // The first name that is looked for.
    std::os::unix::fs::symlink("libcuda.so.1", part.join("libcuda.so"))
        .expect("the cache can be written");
    if fs::rename(&part, &place).is_err() {
        // Another build was faster.
        let _ = fs::remove_dir_all(&part);
        assert!(library.is_file(), "{}: cannot be made", place.display());
    }
    place.display().to_string()
}

//! What g++ makes of the kernels, a part of `build.rs`: the emulator, the library of its profiler,
//! and the stand-in for the driver.

use super::{families_of, fingerprint, Entry};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What C++ is compiled by.
pub fn cxx() -> String {
    env::var("CXX").unwrap_or_else(|_| "g++".into())
}

/// Compiles emulator and kernels for the host and links them: the objects, and the release of the
/// compiler. None, with a warning, where there is no C++ compiler.
pub fn emulate(
    folder: &Path,
    families: &[String],
    cache: &Path,
    out: &Path,
) -> Option<(Vec<PathBuf>, String)> {
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
    // What C++ leaves undefined and a GPU refuses or answers otherwise ends the kernel with a
    // sentence.
    let strict = [
        "-O2",
        "-fstack-clash-protection",
        "-ftrivial-auto-var-init=pattern",
        "-fsanitize=alignment,bounds,shift-exponent,integer-divide-by-zero,float-cast-overflow",
        "-fno-sanitize-recover=all",
    ];
    let objects = host_objects(folder, families, cache, &release, &[], &strict);
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
    Some((objects, release))
}

/// Compiles the emulator's own sources and all kernels for the host: the objects. `all` and, of the
/// kernels alone, `kernels` are flags beside those that every build has.
fn host_objects(
    folder: &Path,
    families: &[String],
    cache: &Path,
    release: &str,
    all: &[&str],
    kernels: &[&str],
) -> Vec<PathBuf> {
    let compiler = cxx();
    let host = folder.join("host");
    let flags = [
        &[
            "-std=c++17",
            "-g1",
            "-mavx2",
            "-mfma",
            "-mf16c",
            "-fPIC",
            "-ftls-model=initial-exec",
            "-Wall",
            "-Wno-unknown-pragmas",
            "-Wno-unused-function",
        ],
        all,
    ]
    .concat();
    let mut sources: Vec<(PathBuf, bool)> = vec![(host.join("emulator.cpp"), false)];
    if !all.is_empty() {
        sources.push((host.join("profile.cpp"), false));
    }
    sources.extend(families.iter().map(|family| (folder.join(format!("{family}.cu")), true)));
    sources
        .extend(families_of(&host).iter().map(|family| (host.join(format!("{family}.cu")), true)));
    let mut objects: Vec<PathBuf> = Vec::new();
    let mut running = Vec::new();
    for (source, kernel) in &sources {
        let text = fs::read_to_string(source).expect("a source can be read");
        let stem = source.file_stem().expect("a source has a name").to_string_lossy().into_owned();
        let own = if *kernel { kernels } else { &["-O2"] };
        let words = [compiler.clone(), release.to_owned(), flags.concat(), own.concat(), text];
        let object = cache.join(format!("{stem}-{}.o", fingerprint(&[folder, &host], &words)));
        if !object.is_file() {
            let part = object.with_extension(format!("part-{}", std::process::id()));
            let mut command = Command::new(&compiler);
            command.args(&flags).args(own).arg("-c").arg("-o").arg(&part);
            if *kernel {
                command.arg("-include").arg(host.join("emulator.h")).args(["-x", "c++"]);
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
    objects
}

/// Links the library of the profiler: emulator and kernels once more, every access reported. Its
/// path.
pub fn profiled(folder: &Path, families: &[String], cache: &Path, release: &str) -> PathBuf {
    // Little is optimised, so that a line of the source stays one place of the code.
    let kernels = [
        "-O1",
        "-fno-tree-vectorize",
        "-Wno-maybe-uninitialized",
        "-fsanitize=thread",
        "--param=tsan-instrument-func-entry-exit=0",
    ];
    let objects =
        host_objects(folder, families, cache, release, &["-DEMULATOR_PROFILED"], &kernels);
    let mut flags: Vec<String> = ["-shared", "-static-libstdc++", "-static-libgcc"]
        .iter()
        .map(|&flag| flag.to_owned())
        .collect();
    // What a GPU has a unit of its own for.
    for function in ["exp2f", "expf", "tanhf", "erff", "logf"] {
        flags.push(format!("-Wl,--wrap={function}"));
    }
    // Whatever opens it has an emulator of its own, with the same names.
    let exports = "{ global: engine_emulated_*; engine_profile_launch; local: *; };\n";
    let names: Vec<String> = objects.iter().map(|object| object.display().to_string()).collect();
    let words = [cxx(), flags.concat(), exports.to_owned(), names.concat()];
    let library = cache.join(format!("libengine_profiled-{}.so", fingerprint(&[], &words)));
    if !library.is_file() {
        let part = library.with_extension(format!("part-{}", std::process::id()));
        let script = part.with_extension("exports");
        fs::write(&script, exports).expect("the cache can be written");
        let status = Command::new(cxx())
            .args(&flags)
            .arg(format!("-Wl,--version-script={}", script.display()))
            .arg("-o")
            .arg(&part)
            .args(&objects)
            .status();
        let _ = fs::remove_file(&script);
        assert!(
            status.is_ok_and(|status| status.success()),
            "the library of the profiler: {} failed, see above",
            cxx()
        );
        fs::rename(&part, &library).expect("the cache can be written");
    }
    library
}

/// Links `libcuda.so.1` for tests: the driver's functions on host memory, kernels run by the
/// emulator. Returns its folder.
pub fn stand_in(
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

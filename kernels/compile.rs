//! What a GPU runs: PTX of every source, machine code of that PTX for the GPUs in [`CHIPS`], and
//! each kind packed in one piece, since the families repeat much of each other.
//!
//! A driver takes no PTX and no machine code that a newer CUDA made. So the front end is the
//! run-time compiler of CUDA 12.0 where `tools/get-nvcc` brought it, whose PTX 8.0 every driver
//! from 525 on takes, or whichever nvcc is named.

use libloading::Library;
use std::ffi::{c_char, c_int, c_void, CString};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// GPUs that machine code is made for: A100, and H100 with H200. All others compile the PTX.
const CHIPS: [&str; 2] = ["sm_80", "sm_90a"];
/// What the PTX is made for: the oldest GPU.
const BASE: &str = "compute_80";

/// What makes PTX of a source.
enum Front {
    Nvcc(PathBuf),
    /// NVRTC's library, and the headers of CUDA.
    Nvrtc(PathBuf, Vec<PathBuf>),
}

/// A compiler of CUDA: a front end, and what makes machine code.
pub struct Compiler {
    front: Front,
    ptxas: PathBuf,
    /// "CUDA 12.0, ptxas 12.9".
    pub name: String,
    /// The CUDA of the oldest driver that takes all that it makes: its PTX asks for its front end's
    /// own; machine code alone would do with the first of the same major number.
    pub needs: (u8, u8),
}

/// The images of all families for one kind of GPU, side by side and packed.
pub struct Packed {
    /// "sm_80", or "PTX" for all that have no machine code of their own.
    pub target: &'static str,
    /// Bytes of each family, in their order; PTX ends with a zero.
    pub bytes: Vec<usize>,
    pub file: PathBuf,
}

/// What came of the sources.
#[derive(Default)]
pub struct Images {
    pub packed: Vec<Packed>,
    /// Unpacked, with family and target.
    pub parts: Vec<(String, &'static str, PathBuf)>,
    /// ptxas' words of each family, of all chips.
    pub reports: Vec<(String, Vec<PathBuf>)>,
}

impl Compiler {
    /// That of `$NVCC`, of `$CUDA_HOME/bin`, what `tools/get-nvcc` put under one of `targets`, or
    /// the nvcc in `PATH`.
    pub fn find(targets: &[PathBuf]) -> Option<Compiler> {
        let named = ["NVCC", "CUDA_HOME"].map(std::env::var_os);
        let [nvcc, home] = named.map(|name| name.map(PathBuf::from));
        let named = nvcc.into_iter().chain(home.map(|home| home.join("bin/nvcc")));
        if let Some(nvcc) = named.into_iter().find(|path| path.is_file()) {
            return Compiler::nvcc(nvcc);
        }
        let of_wheels = targets.iter().find_map(|target| Compiler::nvrtc(&target.join("cuda12")));
        of_wheels.or_else(|| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let places = std::env::split_paths(&path).map(|folder| folder.join("nvcc"));
            places.into_iter().find(|path| path.is_file()).and_then(Compiler::nvcc)
        })
    }

    fn nvcc(nvcc: PathBuf) -> Option<Compiler> {
        let ptxas = fs::canonicalize(&nvcc).ok()?.with_file_name("ptxas");
        let release = release(&nvcc);
        let (name, needs) = (format!("CUDA {release}"), version(&release)?);
        Some(Compiler { front: Front::Nvcc(nvcc), ptxas, name, needs })
    }

    fn nvrtc(folder: &Path) -> Option<Compiler> {
        let folder = folder.join("nvidia");
        let ptxas = folder.join("cuda_nvcc/bin/ptxas");
        let library = folder.join("cuda_nvrtc/lib/libnvrtc.so.12");
        if !ptxas.is_file() || !library.is_file() {
            return None;
        }
        let headers = ["cuda_runtime", "cuda_cccl"];
        let headers = headers.map(|part| folder.join(part).join("include")).to_vec();
        let own = Nvrtc::open(&library).version();
        let (name, needs) = (format!("CUDA {own}, ptxas {}", release(&ptxas)), version(&own)?);
        Some(Compiler { front: Front::Nvrtc(library, headers), ptxas, name, needs })
    }

    /// Compiles what is not in the cache. A source that does not compile ends the build with the
    /// compiler's words. `hash` is one of its words and of what the sources include; this file is
    /// among the words, since how compilers are asked stands in it.
    pub fn images(
        &self,
        folder: &Path,
        families: &[String],
        cache: &Path,
        hash: impl Fn(&[String]) -> String,
    ) -> Images {
        let stem = |family: &String| {
            let text = must_read(&folder.join(format!("{family}.cu")));
            let asked = include_str!("compile.rs").to_owned();
            let words = [self.name.clone(), asked, code(&String::from_utf8_lossy(&text))];
            cache.join(format!("{family}-{}", hash(&words)))
        };
        let stems: Vec<PathBuf> = families.iter().map(stem).collect();
        let todo: Vec<(&String, &PathBuf)> = families.iter().zip(&stems).collect();
        side_by_side(&todo, |(family, stem)| self.compile(folder, family, stem));

        let mut images = Images::default();
        for (family, stem) in families.iter().zip(&stems) {
            let reports = CHIPS.map(|chip| with(stem, chip, "report"));
            images.reports.push((family.clone(), reports.to_vec()));
        }
        let kinds = CHIPS.map(|chip| (chip, format!("{chip}.cubin")));
        for (target, ending) in kinds.into_iter().chain([("PTX", "ptx".to_owned())]) {
            let part = |stem: &PathBuf| stem.with_extension(&ending);
            let all: Vec<PathBuf> = stems.iter().map(part).collect();
            let contents: Vec<Vec<u8>> = all.iter().map(|part| must_read(part)).collect();
            let names = all.iter().map(|part| part.display().to_string());
            let key = hash(&names.collect::<Vec<_>>());
            images.packed.push(Packed {
                target,
                bytes: contents.iter().map(Vec::len).collect(),
                file: cache.join(format!("{target}-{key}.br")),
            });
            let parts = families.iter().cloned().zip(all);
            images.parts.extend(parts.map(|(family, part)| (family, target, part)));
        }
        side_by_side(&images.packed.iter().collect::<Vec<_>>(), |packed| {
            let of_target = images.parts.iter().filter(|(_, target, _)| *target == packed.target);
            let contents: Vec<Vec<u8>> = of_target.map(|(.., part)| must_read(part)).collect();
            pack(&packed.file, &contents.concat());
        });
        images
    }

    /// PTX, then machine code and what ptxas says of it, for each of [`CHIPS`].
    fn compile(&self, folder: &Path, family: &str, stem: &Path) {
        let ptx = stem.with_extension("ptx");
        if !ptx.is_file() {
            let source = folder.join(format!("{family}.cu"));
            let mut text = match &self.front {
                Front::Nvcc(nvcc) => nvcc_ptx(nvcc, &source, &ptx),
                Front::Nvrtc(library, headers) => {
                    Nvrtc::open(library).ptx(&source, folder, headers)
                }
            };
            if text.last() != Some(&0) {
                text.push(0);
            }
            write(&ptx, &text);
        }
        for chip in CHIPS {
            let (code, report) = (with(stem, chip, "cubin"), with(stem, chip, "report"));
            if code.is_file() && report.is_file() {
                continue;
            }
            let text = part_of(&code, "ptx");
            let unended = must_read(&ptx);
            write(&text, unended.strip_suffix(&[0]).unwrap_or(&unended));
            let part = part_of(&code, "cubin");
            let mut ptxas = Command::new(&self.ptxas);
            ptxas.args(["-v", "-O3", &format!("-arch={chip}"), "-o"]).args([&part, &text]);
            let words = run(&mut ptxas, &format!("{family}.cu for {chip}"));
            write(&report, words.as_bytes());
            fs::rename(&part, &code).expect("the cache can be written");
            let _ = fs::remove_file(text);
        }
    }
}

/// NVRTC, as CUDA 12 has it.
struct Nvrtc(Library);

impl Nvrtc {
    fn open(library: &Path) -> Nvrtc {
        // SAFETY: NVIDIA's library, which does nothing when it is opened.
        let open = |path: &Path| unsafe { Library::new(path) };
        // It looks for its builtins by name alone: they are there already when it does.
        let folder = fs::read_dir(library.parent().expect("a file lies in a folder"));
        let files = folder.expect("the wheels can be read").filter_map(|entry| entry.ok());
        for file in files.filter(|file| file.file_name().to_string_lossy().contains("builtins")) {
            let builtins = open(&file.path()).unwrap_or_else(|e| panic!("NVRTC's builtins: {e}"));
            std::mem::forget(builtins);
        }
        Nvrtc(open(library).unwrap_or_else(|e| panic!("{}: {e}", library.display())))
    }

    fn version(&self) -> String {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: as nvrtc.h declares it.
        let code = unsafe {
            let ask =
                self.of::<unsafe extern "C" fn(&mut c_int, &mut c_int) -> c_int>("nvrtcVersion");
            ask(&mut major, &mut minor)
        };
        assert_eq!(code, 0, "nvrtcVersion");
        format!("{major}.{minor}")
    }

    /// A function of the library.
    unsafe fn of<F: Copy>(&self, name: &str) -> F {
        // SAFETY: the caller knows its type.
        *unsafe { self.0.get::<F>(name.as_bytes()) }.unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// PTX of a source.
    fn ptx(&self, source: &Path, own: &Path, headers: &[PathBuf]) -> Vec<u8> {
        type Program = *mut c_void;
        type Words = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
        type Size = unsafe extern "C" fn(Program, &mut usize) -> c_int;
        type Create = unsafe extern "C" fn(
            &mut Program,
            *const c_char,
            *const c_char,
            c_int,
            *const *const c_char,
            *const *const c_char,
        ) -> c_int;
        type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
        let c = |text: String| CString::new(text).expect("no zero byte");
        let text = fs::read_to_string(source).expect("a source can be read");
        let text = c(format!("{INTEGERS}\n#line 1\n{text}"));
        let name = c(source.file_name().expect("a file has a name").to_string_lossy().into());
        let standard = STANDARD.map(|name| c(name.to_owned()));
        let standard = standard.each_ref().map(|name| name.as_ptr());
        let nothing = [c"".as_ptr(); STANDARD.len()];
        let folders = [own].into_iter().chain(headers.iter().map(PathBuf::as_path));
        let flags = [format!("--gpu-architecture={BASE}"), "--std=c++17".to_owned()];
        let includes = folders.map(|folder| format!("--include-path={}", folder.display()));
        let flags: Vec<CString> = flags.into_iter().chain(includes).map(c).collect();
        let flags: Vec<*const c_char> = flags.iter().map(|flag| flag.as_ptr()).collect();
        let mut program: Program = std::ptr::null_mut();
        // SAFETY: every function as nvrtc.h declares it; all strings outlive the calls and end in
        // zero, and what is written to has the bytes that were asked for just before.
        unsafe {
            let words = |program: Program, size: &str, get: &str| {
                let mut bytes = 0;
                assert_eq!(self.of::<Size>(size)(program, &mut bytes), 0, "{size}");
                let mut text = vec![0u8; bytes];
                assert_eq!(self.of::<Words>(get)(program, text.as_mut_ptr().cast()), 0, "{get}");
                text
            };
            let count = STANDARD.len() as c_int;
            let create = self.of::<Create>("nvrtcCreateProgram");
            let (texts, names) = (nothing.as_ptr(), standard.as_ptr());
            let code = create(&mut program, text.as_ptr(), name.as_ptr(), count, texts, names);
            assert_eq!(code, 0, "nvrtcCreateProgram: {}", source.display());
            let compile = self.of::<Compile>("nvrtcCompileProgram");
            if compile(program, flags.len() as c_int, flags.as_ptr()) != 0 {
                let log = words(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog");
                panic!("{}:\n{}", source.display(), String::from_utf8_lossy(&log));
            }
            words(program, "nvrtcGetPTXSize", "nvrtcGetPTX")
        }
    }
}

/// Headers of the host, which the run-time compiler has not; of those the kernels want names alone,
/// which CUDA's own cover but for [`INTEGERS`].
const STANDARD: [&str; 3] = ["stdint.h", "string.h", "math.h"];
const INTEGERS: &str = "\
    typedef signed char int8_t; typedef unsigned char uint8_t; \
    typedef signed short int16_t; typedef unsigned short uint16_t; \
    typedef signed int int32_t; typedef unsigned int uint32_t; \
    typedef signed long long int64_t; typedef unsigned long long uint64_t; \
    typedef uint64_t uintptr_t;";

/// A source without lines that are empty or a comment: a card that is written changes no image.
fn code(text: &str) -> String {
    let says = |line: &&str| !line.is_empty() && !line.starts_with("//");
    text.lines().filter(says).collect::<Vec<_>>().join("\n")
}

fn nvcc_ptx(nvcc: &Path, source: &Path, ptx: &Path) -> Vec<u8> {
    let part = part_of(ptx, "nvcc");
    let mut command = Command::new(nvcc);
    command.args(["-ptx", "-std=c++17", "-O3", &format!("-arch={BASE}"), "-o"]);
    run(command.args([&part, &source.to_owned()]), &source.display().to_string());
    let text = must_read(&part);
    let _ = fs::remove_file(part);
    text
}

/// "12.9", as a compiler says it of itself.
fn release(compiler: &Path) -> String {
    let said = Command::new(compiler).arg("--version").output().map(|o| o.stdout);
    let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
    let release = said.split("release ").nth(1).and_then(|rest| rest.split(',').next());
    release.unwrap_or("of an unknown version").to_owned()
}

/// (12, 9) of "12.9".
fn version(release: &str) -> Option<(u8, u8)> {
    let (major, minor) = release.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Packs `bytes`. Brotli's window spans what the families repeat, and its other half is in the
/// program anyway.
fn pack(file: &Path, bytes: &[u8]) {
    if file.is_file() {
        return;
    }
    let mut packed = Vec::new();
    let mut writer = brotli::CompressorWriter::new(&mut packed, 1 << 16, 11, 24);
    writer.write_all(bytes).expect("memory takes it");
    drop(writer);
    write(file, &packed);
}

fn run(command: &mut Command, what: &str) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{what}:\n{words}");
    words
}

/// `family-hash.chip.ending`.
fn with(stem: &Path, chip: &str, ending: &str) -> PathBuf {
    stem.with_extension(format!("{chip}.{ending}"))
}

/// A place of this build's own, from which a whole file is moved to `file`.
fn part_of(file: &Path, word: &str) -> PathBuf {
    let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
    file.with_file_name(format!("part-{}-{word}-{name}", std::process::id()))
}

fn must_read(file: &Path) -> Vec<u8> {
    fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn write(file: &Path, bytes: &[u8]) {
    let part = part_of(file, "new");
    fs::write(&part, bytes).expect("the cache can be written");
    fs::rename(&part, file).expect("the cache can be written");
}

/// Calls `work` with each, on as many threads as there are processors.
fn side_by_side<T: Copy + Sync>(all: &[T], work: impl Fn(T) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(all.len()) {
            scope.spawn(|| loop {
                let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(&one) = all.get(at) else { break };
                work(one);
            });
        }
    });
}

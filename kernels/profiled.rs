//! Launches counted as a profiler of a GPU would, on the host: see `host/profile.h` for what a
//! request, a wavefront and a sector are.
//!
//! [`launch`] counts one. [`record`] counts all that an emulated device launches meanwhile on the
//! same thread, so that grids, shared memory and parameters are those of the device's own wrappers.

use crate::emulated::Grid;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

/// Sums over the blocks that ran; requests and instructions are of warps. As in `host/profile.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub blocks: u64,
    pub warps: u64,
    /// Products of 16 × 8 × 16.
    pub mma: u64,
    pub ldmatrix: u64,
    /// Sixteen bytes a lane, cp.async.
    pub copies: u64,
    /// exp2 and exp.
    pub exponentials: u64,
    /// tanh, erf and log.
    pub specials: u64,
    pub shuffles: u64,
    pub barriers: u64,
    pub shared_loads: u64,
    pub shared_stores: u64,
    pub loads: u64,
    pub stores: u64,
    /// Of shared memory, by ldmatrix, copies, loads, stores.
    pub wavefronts: [u64; 4],
    pub wavefronts_ideal: [u64; 4],
    /// Of 32 bytes of global memory, by copies, loads, stores.
    pub sectors: [u64; 3],
    pub sectors_ideal: [u64; 3],
    /// Of 128 bytes of global memory.
    pub lines: u64,
    /// Runs of loads from global memory that a thread waits for, at most.
    pub rounds: u64,
}

/// How a place in the code moves memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Ldmatrix,
    CopyTo,
    CopyFrom,
    Load,
    Store,
}

/// A place in the code and what its requests came to.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// In the library: what `addr2line` is asked.
    pub at: u64,
    pub way: Way,
    /// Of a lane.
    pub bytes: u64,
    /// Shared memory, of which wavefronts are counted; else global memory and sectors.
    pub shared: bool,
    pub requests: u64,
    pub moved: u64,
    pub ideal: u64,
}

impl Place {
    /// What was moved for each that had to be.
    pub fn ratio(&self) -> f64 {
        self.moved as f64 / self.ideal.max(1) as f64
    }
}

/// What of a buffer of the device was touched.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    pub address: u64,
    pub bytes: u64,
    /// Sectors of 32 bytes, each once, and the addresses from the first to the end of the last.
    pub read: u64,
    pub read_from: u64,
    pub read_to: u64,
    pub written: u64,
    pub written_from: u64,
    pub written_to: u64,
}

/// What one launch came to.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    pub counts: Counts,
    pub places: Vec<Place>,
    pub touched: Vec<Touched>,
}

/// A launch that was recorded.
#[derive(Clone, Debug)]
pub struct Launch {
    pub entry: &'static str,
    pub grid: Grid,
    pub profile: Arc<Profile>,
}

/// As `Place` in `host/profile.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawPlace {
    at: u64,
    way: u64,
    bytes: u64,
    shared: u64,
    requests: u64,
    moved: u64,
    ideal: u64,
}

/// As `Profile` in `host/profile.cpp`.
#[repr(C)]
struct Raw {
    buffers: *const [u64; 2],
    buffers_count: u64,
    sample: u64,
    counts: Counts,
    touched: *mut Touched,
    places: *mut RawPlace,
    places_room: u64,
    places_count: u64,
}

type Body = unsafe extern "C" fn(*mut *mut c_void);
type Run = unsafe extern "C" fn(
    *const std::ffi::c_char,
    Body,
    *const u32,
    *const u32,
    usize,
    *mut *mut c_void,
    u64,
    *mut std::ffi::c_char,
    usize,
    *mut Raw,
) -> i32;

/// The function of the library that runs and counts, and the entry point of that name there.
#[cfg(feature = "profiled")]
fn find(entry: &str) -> Result<(Run, Body), String> {
    use std::sync::OnceLock;
    static LIBRARY: OnceLock<Result<libloading::Library, String>> = OnceLock::new();
    let path = crate::PROFILER.ok_or("this build has no profiler: a C++ compiler is missing")?;
    // SAFETY: a library of this build; what runs when it is opened is g++'s own.
    let open = || unsafe { libloading::Library::new(path) }.map_err(|e| format!("{path}: {e}"));
    let library = LIBRARY.get_or_init(open).as_ref().map_err(Clone::clone)?;
    let none = |e| format!("{entry}: expected an entry point of kernels/*.cu, got {e}");
    // SAFETY: both functions are of these types in host/profile.cpp and entry.cuh; the library is
    // never closed.
    unsafe {
        let run = library.get::<Run>(b"engine_profile_launch").map_err(none)?;
        let name = format!("engine_emulated_{entry}");
        Ok((*run, *library.get::<Body>(name.as_bytes()).map_err(none)?))
    }
}

#[cfg(not(feature = "profiled"))]
fn find(entry: &str) -> Result<(Run, Body), String> {
    Err(format!("{entry}: this build has no profiler; build with the feature `profiled`"))
}

/// Runs `sample` blocks of a launch, evenly spread, 0 for all, and counts. `buffers`: address and
/// bytes of all that is global memory.
///
/// # Safety
///
/// As for [`crate::emulated::Kernel::launch`].
pub unsafe fn launch(
    entry: &str,
    grid: Grid,
    arguments: &mut [*mut c_void],
    buffers: &[[u64; 2]],
    sample: u64,
    seed: u64,
) -> Result<Profile, String> {
    let (run, body) = find(entry)?;
    let name = std::ffi::CString::new(entry).expect("names have no zero byte");
    let mut buffers = buffers.to_vec();
    buffers.sort_unstable();
    let mut touched = vec![Touched::default(); buffers.len()];
    let mut places = vec![RawPlace::default(); 1 << 12];
    let mut raw = Raw {
        buffers: buffers.as_ptr(),
        buffers_count: buffers.len() as u64,
        sample,
        counts: Counts::default(),
        touched: touched.as_mut_ptr(),
        places: places.as_mut_ptr(),
        places_room: places.len() as u64,
        places_count: 0,
    };
    let block = [grid.threads, 1, 1];
    let mut words = [0u8; 1024];
    // SAFETY: the arguments are the caller's promise; all else outlives the call.
    let failed = unsafe {
        run(
            name.as_ptr(),
            body,
            grid.blocks.as_ptr(),
            block.as_ptr(),
            grid.shared,
            arguments.as_mut_ptr(),
            seed,
            words.as_mut_ptr().cast(),
            words.len(),
            &mut raw,
        )
    };
    if failed != 0 {
        return Err(crate::said(&words));
    }
    let way = |way| match way {
        0 => Way::Ldmatrix,
        1 => Way::CopyTo,
        2 => Way::CopyFrom,
        3 => Way::Load,
        _ => Way::Store,
    };
    let place = |raw: &RawPlace| Place {
        at: raw.at,
        way: way(raw.way),
        bytes: raw.bytes,
        shared: raw.shared != 0,
        requests: raw.requests,
        moved: raw.moved,
        ideal: raw.ideal,
    };
    let places = places[..raw.places_count as usize].iter().map(place).collect();
    touched.retain(|t| t.read + t.written > 0);
    Ok(Profile { counts: raw.counts, places, touched })
}

/// What is recorded on this thread.
struct Recording {
    sample: u64,
    launches: Vec<Launch>,
    /// By entry, grid and parameters but for where buffers are.
    known: HashMap<(usize, [u32; 3], Vec<u8>), Arc<Profile>>,
}

thread_local! {
    static RECORDING: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

/// Whether [`record`] is at work on this thread.
pub fn recording() -> bool {
    RECORDING.with_borrow(Option::is_some)
}

/// Does `work` and returns what emulated devices launched meanwhile on this thread, in order.
/// `sample`: how many blocks of each launch run, evenly spread, and launches that differ in
/// addresses alone are counted once; 0: all of everything. What a sampled launch writes is
/// incomplete.
pub fn record<T>(sample: u64, work: impl FnOnce() -> T) -> (T, Vec<Launch>) {
    let recording = Recording { sample, launches: Vec::new(), known: HashMap::new() };
    let before = RECORDING.replace(Some(recording));
    let result = work();
    let recording = RECORDING.replace(before).expect("nobody else takes it");
    (result, recording.launches)
}

/// [`launch`] of number `entry` of [`crate::ENTRIES`] for the recording of this thread.
///
/// # Safety
///
/// As for [`launch`]; `parameters` are of the struct that the entry point takes.
pub unsafe fn launch_recorded(
    entry: usize,
    grid: Grid,
    parameters: &[u8],
    buffers: &[[u64; 2]],
    seed: u64,
) -> Result<(), String> {
    let name = crate::ENTRIES[entry].name;
    let sample = RECORDING.with_borrow(|r| r.as_ref().map_or(0, |r| r.sample));
    let key = (entry, grid.blocks, without_addresses(parameters, buffers));
    let known = RECORDING.with_borrow(|r| r.as_ref()?.known.get(&key).cloned());
    let profile = match known.filter(|_| sample > 0) {
        Some(profile) => profile,
        None => {
            let arguments = &mut [parameters.as_ptr().cast_mut().cast()];
            // SAFETY: the caller's promise.
            Arc::new(unsafe { launch(name, grid, arguments, buffers, sample, seed) }?)
        }
    };
    RECORDING.with_borrow_mut(|r| {
        if let Some(r) = r {
            r.known.insert(key, profile.clone());
            r.launches.push(Launch { entry: name, grid, profile });
        }
    });
    Ok(())
}

/// Parameters with what is left of each address beyond whole lines.
fn without_addresses(parameters: &[u8], buffers: &[[u64; 2]]) -> Vec<u8> {
    let mut words = parameters.to_vec();
    for word in words.chunks_exact_mut(8) {
        let value = u64::from_ne_bytes((&*word).try_into().expect("eight bytes"));
        if buffers.iter().any(|&[at, bytes]| (at..at + bytes).contains(&value)) {
            word.copy_from_slice(&(1 + value % 128).to_ne_bytes());
        }
    }
    words
}

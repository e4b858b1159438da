//! The driver of the emulator: device memory is host memory in which every buffer ends against a
//! page that nobody may touch, and begins poisoned; a launch runs the kernel on the host under the
//! order of threads that the seed decides.
//!
//! A hollow one has the size of a GPU, and memory that is there when it is touched: for launches
//! that are counted (`kernels::profiled`) and not computed.

use super::driver::{Driver, Grid, Properties};
use crate::base::{host, Fault};
use anyhow::{anyhow, ensure, Result};
use kernels::emulated::Kernel;
use kernels::profiled;
use memmap2::{MmapMut, MmapOptions};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

const PAGE: usize = 4096;
/// What a device guarantees at least for the accesses that kernels make.
const ALIGNMENT: usize = 16;
/// All bits one: a NaN as f32, f16 and bf16, and an index that no table has.
const POISON: u8 = 0xff;

pub struct Emulated {
    properties: Properties,
    /// Decides the order of threads and blocks, another one for each launch: see
    /// `kernels/host/emulator.h`.
    seed: u64,
    launches: AtomicU64,
    /// By number of the entry point.
    kernels: Vec<Kernel>,
    /// Memory begins as zeros that take no room, and nothing large is written to it but by kernels.
    hollow: bool,
    buffers: Mutex<BTreeMap<u64, Buffer>>,
}

/// A page that nobody may touch, room of whole pages, a page that nobody may touch. What is asked
/// for stands at the end of the room, to 16 bytes; the rest of the room is poison that stays.
struct Buffer {
    map: MmapMut,
    bytes: usize,
}

impl Buffer {
    fn room(&self) -> &[u8] {
        &self.map[PAGE..self.map.len() - PAGE]
    }

    /// How far outside of the buffer something was written, if so: bytes before its beginning are
    /// negative.
    fn trespass(&self) -> Option<isize> {
        let room = self.room();
        let begin = room.len() - self.bytes.next_multiple_of(ALIGNMENT);
        let wrong = |&at: &usize| room[at] != POISON;
        let at = (0..begin)
            .rev()
            .find(wrong)
            .or_else(|| (begin + self.bytes..room.len()).find(wrong))?;
        Some(at as isize - begin as isize)
    }
}

/// Bytes from which on nothing is written to hollow memory: more than ids and lists have, less
/// than weights.
const LARGE: usize = 1 << 20;

impl Emulated {
    /// Refuses a binary without the emulator.
    pub fn open(seed: u64) -> Result<Emulated> {
        // A small device: grids that depend on the number of processors then have several waves in
        // tests.
        Emulated::sized(seed, 4, 163 << 10, false)
    }

    /// One that has so many processors, so much shared memory for a block, and hollow memory.
    pub fn hollow(processors: u32, shared: usize) -> Result<Emulated> {
        Emulated::sized(1, processors, shared, true)
    }

    fn sized(seed: u64, processors: u32, shared: usize, hollow: bool) -> Result<Emulated> {
        if !kernels::EMULATED {
            return Err(Fault::Device.error(
                "device: emu: expected the emulator of the CUDA kernels, got a binary built \
                without it; build with the feature `emulated`",
            ));
        }
        let name = "emu".into();
        let properties = Properties { name, processors, shared, memory: 0, emulated: true };
        let kernels = kernels::ENTRIES.iter().map(found).collect::<Result<_>>()?;
        let (launches, buffers) = (AtomicU64::new(0), Mutex::default());
        Ok(Emulated { properties, seed, launches, kernels, hollow, buffers })
    }

    fn buffers(&self) -> MutexGuard<'_, BTreeMap<u64, Buffer>> {
        self.buffers.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The kernel of an entry point. Refuses one that takes something else than its table says.
fn found(entry: &kernels::Signature) -> Result<Kernel> {
    let kernel = kernels::emulated::find(entry.name).map_err(|words| anyhow!(words))?;
    let takes = kernel.takes();
    ensure!(
        takes.count == 1
            && takes.bytes[0] as usize == entry.bytes
            && takes.threads == entry.threads,
        "kernels: {}: expected {} bytes of parameters and {} threads a block, got {takes:?}",
        entry.name,
        entry.bytes,
        entry.threads
    );
    Ok(kernel)
}

impl Driver for Emulated {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn alloc(&self, bytes: usize) -> Result<u64> {
        let room = bytes.next_multiple_of(PAGE);
        let refuse = |e: std::io::Error| {
            Fault::Device
                .error(format!("device: emu: expected {bytes} bytes of host memory, got: {e}"))
        };
        let mut options = MmapOptions::new();
        options.len(room + 2 * PAGE);
        if self.hollow {
            options.no_reserve_swap();
        }
        let mut map = options.map_anon().map_err(refuse)?;
        if !self.hollow {
            map[PAGE..PAGE + room].fill(POISON);
        }
        let start = map.as_ptr() as u64;
        for page in [0, PAGE + room] {
            // SAFETY: a page of a map of our own that `Buffer` never refers to; it stays
            // inaccessible until the map goes.
            let guarded = unsafe {
                libc::mprotect((start as usize + page) as *mut c_void, PAGE, libc::PROT_NONE)
            };
            if guarded != 0 {
                return Err(refuse(std::io::Error::last_os_error()));
            }
        }
        let address = start + (PAGE + room - bytes.next_multiple_of(ALIGNMENT)) as u64;
        self.buffers().insert(address, Buffer { map, bytes });
        Ok(address)
    }

    fn free(&self, address: u64) {
        self.buffers().remove(&address).expect("a buffer is freed once, by its tensor");
    }

    fn available(&self) -> Result<u64> {
        host::available()
    }

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()> {
        if self.hollow && bytes.len() >= LARGE {
            return Ok(());
        }
        // SAFETY: the door checked that a tensor of this device has as many bytes there; launches
        // end before they return.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
        Ok(())
    }

    fn download(&self, bytes: &mut [u8], from: u64) -> Result<()> {
        // SAFETY: as in `upload`.
        unsafe {
            std::ptr::copy_nonoverlapping(from as *const u8, bytes.as_mut_ptr(), bytes.len())
        };
        Ok(())
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        if self.hollow && bytes >= LARGE {
            return Ok(());
        }
        // SAFETY: as in `upload`, for both; two views of which one is mutable do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        if self.hollow && bytes >= LARGE {
            return Ok(());
        }
        // SAFETY: as in `upload`.
        unsafe { std::ptr::write_bytes(address as *mut u8, 0, bytes) };
        Ok(())
    }

    fn launch(&self, entry: usize, grid: Grid, parameters: &[u8]) -> Result<()> {
        if self.hollow && !profiled::recording() {
            return Ok(());
        }
        let number = self.launches.fetch_add(1, Ordering::Relaxed);
        let (kernel, threads) = (self.kernels[entry], kernels::ENTRIES[entry].threads);
        let Grid { blocks, shared } = grid;
        let grid = kernels::emulated::Grid { blocks, threads, shared };
        // Seeds that mirror each other still do.
        let seed = self.seed.wrapping_add(number.wrapping_mul(3 * 1_000_003));
        // SAFETY: the bytes are of the struct that the kernel takes: `Entries` and `found` checked
        // both against the table; addresses are of buffers of this device, which end against
        // inaccessible pages.
        let end = unsafe {
            if profiled::recording() {
                let buffers = self.buffers();
                let ranges: Vec<[u64; 2]> =
                    buffers.iter().map(|(&at, buffer)| [at, buffer.bytes as u64]).collect();
                drop(buffers);
                profiled::launch_recorded(entry, grid, parameters, &ranges, self.seed)
            } else {
                kernel.launch(grid, &mut [parameters.as_ptr().cast_mut().cast()], seed)
            }
        };
        let trespass = || {
            if self.hollow {
                return None;
            }
            let buffers = self.buffers();
            let (at, bytes) = buffers.values().find_map(|b| Some((b.trespass()?, b.bytes)))?;
            Some(format!(
                "{}: memory: something wrote at byte {at} of a buffer of {bytes} bytes",
                kernel.name()
            ))
        };
        match end.err().or_else(trespass) {
            None => Ok(()),
            Some(words) => {
                Err(anyhow!("{words}; grid {blocks:?} of {threads} threads, seed {}", self.seed))
            }
        }
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

//! The CUDA backend: device memory and the ops on it. A family is a file here and a `.cu` file of
//! the same name in `kernels/`; a driver runs both on a GPU or on the emulator, and nothing above
//! [`driver::Driver`] knows which.

mod driver;
mod emulated;
mod memory;
mod real;

mod activation;
mod attention;
mod ceiling;
mod embed;
mod loss;
mod matmul;
mod norm;
mod optim;
mod select;

use super::*;
use anyhow::Result;
use driver::{Arg, Driver, Grid};
use memory::Memory;

pub use real::{gpus, Found};

pub(super) struct Cuda {
    place: Place,
    driver: Box<dyn Driver>,
    memory: Memory,
}

impl Cuda {
    /// GPU number `ordinal`.
    pub fn open(ordinal: usize) -> Result<Cuda> {
        let driver = Box::new(real::Gpu::open(ordinal)?);
        Ok(Cuda { place: Place::Cuda(ordinal), driver, memory: Memory::default() })
    }

    /// The emulator; `seed` draws the order of threads.
    pub fn emulated(seed: u64) -> Result<Cuda> {
        let driver = Box::new(emulated::Emulated::open(seed)?);
        Ok(Cuda { place: Place::Emu(seed), driver, memory: Memory::default() })
    }

    /// Runs an entry point of `kernels/*.cu`. Arguments stand in the order of the kernel: outputs,
    /// inputs, scalars.
    fn launch(&self, entry: &str, grid: Grid, arguments: &[Arg]) -> Result<()> {
        self.driver.launch(entry, grid, arguments)
    }

    /// Streaming multiprocessors.
    fn processors(&self) -> usize {
        self.driver.properties().processors as usize
    }

    /// Working memory of an op, given back when dropped: later launches may have it, this op's are
    /// before them.
    fn scratch(&self, bytes: usize) -> Result<Scratch<'_>> {
        Ok(Scratch { cuda: self, address: self.memory.alloc(&*self.driver, bytes)?, bytes })
    }
}

struct Scratch<'a> {
    cuda: &'a Cuda,
    address: u64,
    bytes: usize,
}

impl Scratch<'_> {
    fn arg(&self) -> Arg {
        Arg::Address(self.address)
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.cuda.memory.free(&*self.cuda.driver, self.address, self.bytes);
    }
}

impl From<View<'_>> for Arg {
    fn from(x: View) -> Arg {
        Arg::Address(x.address())
    }
}

impl From<&ViewMut<'_>> for Arg {
    fn from(y: &ViewMut) -> Arg {
        Arg::Address(y.as_view().address())
    }
}

/// A size as a kernel takes it. Panics beyond 32 bits: no tensor has so many rows or columns.
fn count(n: usize) -> Arg {
    Arg::U32(u32::try_from(n).expect("rows and columns are below 2^32"))
}

/// How a kernel is told of a dtype that it learns at run time.
fn code(dtype: Dtype) -> u32 {
    match dtype {
        Dtype::F32 => 0,
        Dtype::F16 => 1,
        Dtype::Bf16 => 2,
        Dtype::U32 => unreachable!("the door lets only floats through"),
    }
}

fn add(write: Write) -> Arg {
    Arg::U32((write == Write::Add).into())
}

/// The suffix of entry points for a storage dtype.
fn suffix(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "f32",
        Dtype::F16 => "f16",
        Dtype::Bf16 => "bf16",
        Dtype::U32 => "u32",
    }
}

/// The entry point of `name` for rows of `cols` elements at these addresses, and how many elements
/// one of its threads takes at once: 16 bytes where every address and the pitch allow, else one.
fn entry(name: &str, dtype: Dtype, cols: usize, addresses: &[u64]) -> (String, usize) {
    let many = 16 / dtype.size();
    match cols.is_multiple_of(many) && addresses.iter().all(|a| a.is_multiple_of(16)) {
        true => (format!("{name}_{}_wide", suffix(dtype)), many),
        false => (format!("{name}_{}", suffix(dtype)), 1),
    }
}

/// Threads a block, where a family does not say otherwise.
const THREADS: u32 = 256;
/// Blocks a processor at most; beyond that a thread takes several steps.
const BLOCKS: usize = 16;

/// A thread a step, as far as blocks go: for kernels where no element knows another.
fn grid(cuda: &Cuda, steps: usize) -> Grid {
    Grid::of(steps.div_ceil(THREADS as usize).clamp(1, BLOCKS * cuda.processors()), THREADS)
}

impl Backend for Cuda {
    fn name(&self) -> &str {
        &self.driver.properties().name
    }

    fn place(&self) -> Place {
        self.place
    }

    fn alloc(&self, bytes: usize) -> Result<u64> {
        self.memory.alloc(&*self.driver, bytes)
    }

    fn free(&self, address: u64, bytes: usize) {
        self.memory.free(&*self.driver, address, bytes);
    }

    fn upload(&self, y: ViewMut, bytes: &[u8]) -> Result<()> {
        self.driver.upload(y.as_view().address(), bytes)
    }

    fn download(&self, bytes: &mut [u8], x: View) -> Result<()> {
        self.driver.download(bytes, x.address())
    }

    fn copy(&self, y: ViewMut, x: View) -> Result<()> {
        self.driver.copy(y.as_view().address(), x.address(), x.bytes())
    }

    fn zero(&self, y: ViewMut) -> Result<()> {
        self.driver.zero(y.as_view().address(), y.as_view().bytes())
    }

    fn memory(&self) -> MemoryUse {
        self.memory.used()
    }

    fn reset_peak(&self) {
        self.memory.reset_peak();
    }

    fn available(&self) -> Result<u64> {
        self.driver.available()
    }

    fn synchronize(&self) -> Result<()> {
        self.driver.synchronize()
    }

    fn ceilings(&self) -> Result<Option<Ceilings>> {
        ceiling::ceilings(self).map(Some)
    }
}

//! The CUDA backend: device memory and the ops on it. A family is a file here and a `.cu` file of
//! the same name in `kernels/`; a driver runs both on a GPU or on the emulator, and nothing above
//! [`driver::Driver`] knows which.

mod driver;
mod emulated;
mod entries;
mod faults;
mod found;
mod memory;
mod real;
mod work;

mod activation;
mod attention;
mod ceiling;
mod embed;
mod loss;
mod matmul;
mod norm;
mod optim;
mod select;
mod sparse;

use super::*;
use anyhow::Result;
use driver::{Driver, Grid};
use entries::{Entries, Entry};
use kernels::interface::{self, Address, Parameters};
use memory::Memory;
use work::Counts;

pub use found::{at_first, gpus, Found};

pub(super) struct Cuda {
    place: Place,
    driver: Box<dyn Driver>,
    entries: Entries,
    memory: Memory,
    counts: Counts,
}

impl Cuda {
    /// GPU number `ordinal`.
    pub fn open(ordinal: usize) -> Result<Cuda> {
        Cuda::on(Place::Cuda(ordinal), Box::new(real::Gpu::open(ordinal)?))
    }

    /// The emulator; `seed` draws the order of threads.
    pub fn emulated(seed: u64) -> Result<Cuda> {
        Cuda::on(Place::Emu(seed), Box::new(emulated::Emulated::open(seed)?))
    }

    /// The emulator with the size of a GPU and hollow memory.
    pub fn hollow(processors: u32, shared: usize) -> Result<Cuda> {
        Cuda::on(Place::Emu(1), Box::new(emulated::Emulated::hollow(processors, shared)?))
    }

    fn on(place: Place, driver: Box<dyn Driver>) -> Result<Cuda> {
        let (entries, counts) = (Entries::find()?, Counts::new());
        Ok(Cuda { place, driver, entries, memory: Memory::default(), counts })
    }

    /// Runs an entry point of `kernels/*.cu`.
    fn launch<P: Parameters>(&self, entry: Entry<P>, grid: Grid, parameters: P) -> Result<()> {
        self.counts.launch(entry.index);
        self.driver.launch(entry.index, grid, bytemuck::bytes_of(&parameters))
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
    fn at(&self) -> Address {
        Address(self.address)
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.cuda.memory.free(&*self.cuda.driver, self.address, self.bytes);
    }
}

impl From<View<'_>> for Address {
    fn from(x: View) -> Address {
        Address(x.address())
    }
}

impl From<&ViewMut<'_>> for Address {
    fn from(y: &ViewMut) -> Address {
        Address(y.as_view().address())
    }
}

/// Where x is, or nowhere.
fn address(x: Option<View>) -> Address {
    x.map_or(Address::default(), Address::from)
}

/// A size as a kernel takes it. Panics beyond 32 bits: no tensor has so many rows or columns.
fn count(n: usize) -> u32 {
    u32::try_from(n).expect("rows and columns are below 2^32")
}

/// How a kernel is told of a dtype that it learns at run time.
fn code(dtype: Dtype) -> u32 {
    let code = match dtype {
        Dtype::F32 => interface::DTYPE_F32,
        Dtype::F16 => interface::DTYPE_F16,
        Dtype::Bf16 => interface::DTYPE_BF16,
        Dtype::U32 => unreachable!("the door lets only floats through"),
    };
    code as u32
}

fn add(write: Write) -> u32 {
    (write == Write::Add).into()
}

/// Blocks a processor at most; beyond that a thread takes several steps.
const BLOCKS: usize = 16;

/// A thread a step, as far as blocks go: for kernels where no element knows another.
fn grid<P>(cuda: &Cuda, entry: Entry<P>, steps: usize) -> Grid {
    Grid::of(steps.div_ceil(entry.threads()).clamp(1, BLOCKS * cuda.processors()))
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
        self.counts.upload();
        self.driver.upload(y.as_view().address(), bytes)
    }

    fn download(&self, bytes: &mut [u8], x: View) -> Result<()> {
        self.counts.download(bytes.len());
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

    fn capacity(&self) -> u64 {
        self.driver.properties().memory
    }

    fn work(&self) -> Option<Work> {
        Some(self.counts.so_far())
    }

    fn synchronize(&self) -> Result<()> {
        self.driver.synchronize()
    }

    fn ceilings(&self) -> Result<Option<Ceilings>> {
        ceiling::ceilings(self).map(Some)
    }
}

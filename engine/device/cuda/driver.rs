//! All that the CUDA backend asks of a driver. Two answer: the GPU's own ([`super::real`]) and the
//! emulator ([`super::emulated`]); grids, argument order and workspace above this line are the same
//! code for both.

use anyhow::Result;

/// The size of a launch.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Blocks; y and z at most 65,535.
    pub blocks: [u32; 3],
    /// Threads a block: whole warps, at most 1,024.
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub shared: usize,
}

impl Grid {
    /// `blocks` in one dimension.
    pub fn of(blocks: usize, threads: u32) -> Grid {
        Grid { blocks: [blocks as u32, 1, 1], threads, shared: 0 }
    }

    pub fn shared(self, bytes: usize) -> Grid {
        Grid { shared: bytes, ..self }
    }
}

/// One argument of an entry point; its type decides the type that the kernel must have there.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// A pointer of any type; 0 = none.
    Address(u64),
    U32(u32),
    U64(u64),
    F32(f32),
}

impl Arg {
    /// The eight bytes whose first ones are the value.
    pub fn word(self) -> u64 {
        match self {
            Arg::Address(x) | Arg::U64(x) => x,
            Arg::U32(x) => u64::from(x),
            Arg::F32(x) => u64::from(x.to_bits()),
        }
    }
}

/// What a device is.
#[derive(Clone, Debug)]
pub struct Properties {
    /// "cuda:0", "emu".
    pub name: String,
    /// Streaming multiprocessors.
    pub processors: u32,
    /// Bytes of shared memory that one block may have.
    pub shared: usize,
    /// Whether a host plays the device: nothing is to be measured there.
    pub emulated: bool,
}

/// One device with one stream: what is asked for happens in order.
pub trait Driver: Send + Sync {
    fn properties(&self) -> &Properties;
    /// Address of `bytes` > 0 bytes, a multiple of 16, contents unspecified; for what is asked for
    /// afterwards.
    fn alloc(&self, bytes: usize) -> Result<u64>;
    /// Gives a buffer back when everything asked for before has been done; later buffers may have
    /// its place.
    fn free(&self, address: u64);
    /// Bytes that [`Driver::alloc`] can still give, as far as is known.
    fn available(&self) -> Result<u64>;
    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()>;
    /// Returns when `bytes` hold what stood there after everything asked for before.
    fn download(&self, bytes: &mut [u8], from: u64) -> Result<()>;
    /// Between buffers that do not overlap.
    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()>;
    fn zero(&self, address: u64, bytes: usize) -> Result<()>;
    /// Runs entry point `entry` of the kernels with these arguments.
    fn launch(&self, entry: &str, grid: Grid, arguments: &[Arg]) -> Result<()>;
    fn synchronize(&self) -> Result<()>;
}

//! All that the CUDA backend asks of a driver. Two answer: the GPU's own ([`super::real`]) and the
//! emulator ([`super::emulated`]); grids, parameters and workspace above this line are the same
//! code for both.

use anyhow::Result;

/// The size of a launch; threads a block are the entry point's.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Blocks; y and z at most 65,535.
    pub blocks: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: usize,
}

impl Grid {
    /// `blocks` in one dimension.
    pub fn of(blocks: usize) -> Grid {
        Grid { blocks: [blocks as u32, 1, 1], shared: 0 }
    }

    pub fn shared(self, bytes: usize) -> Grid {
        Grid { shared: bytes, ..self }
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
    /// Bytes of memory of its own; 0 where it lives in a host's.
    pub memory: u64,
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
    /// Runs number `entry` of [`kernels::ENTRIES`], all of which a driver found and checked when it
    /// was opened, with its parameters: the bytes of their struct, where one may stand.
    fn launch(&self, entry: usize, grid: Grid, parameters: &[u8]) -> Result<()>;
    fn synchronize(&self) -> Result<()>;
}

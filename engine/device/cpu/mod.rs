//! The CPU backend: host memory and the ops on it. A family is a file; [`Threads`] cuts work,
//! `element` reads memory.

mod activation;
mod attention;
mod dropout;
mod element;
mod embed;
mod indices;
mod loss;
mod math;
mod matmul;
mod memory;
mod norm;
mod optim;
mod panel;
mod reduce;
mod select;
mod sparse;
mod threads;
mod vector;

use super::*;
use crate::base::host;
use anyhow::Result;
use memory::Memory;
use threads::Threads;

pub use threads::MOST_THREADS;

pub(super) struct Cpu {
    threads: Threads,
    memory: Memory,
}

impl Cpu {
    /// `threads` of them, 0 for one per core.
    pub fn open(threads: usize) -> Result<Cpu> {
        Ok(Cpu { threads: Threads::open(threads)?, memory: Memory::default() })
    }
}

impl Backend for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    fn place(&self) -> Place {
        Place::Cpu
    }

    fn alloc(&self, bytes: usize) -> Result<u64> {
        self.memory.alloc(bytes)
    }

    fn free(&self, address: u64, bytes: usize) {
        self.memory.free(address, bytes);
    }

    fn upload(&self, y: ViewMut, bytes: &[u8]) -> Result<()> {
        element::bytes_mut(y).copy_from_slice(bytes);
        Ok(())
    }

    fn download(&self, bytes: &mut [u8], x: View) -> Result<()> {
        bytes.copy_from_slice(element::bytes(x));
        Ok(())
    }

    fn copy(&self, y: ViewMut, x: View) -> Result<()> {
        element::bytes_mut(y).copy_from_slice(element::bytes(x));
        Ok(())
    }

    fn zero(&self, y: ViewMut) -> Result<()> {
        element::bytes_mut(y).fill(0);
        Ok(())
    }

    fn memory(&self) -> MemoryUse {
        self.memory.used()
    }

    fn reset_peak(&self) {
        self.memory.reset_peak();
    }

    fn available(&self) -> Result<u64> {
        host::available()
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

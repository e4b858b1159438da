//! Host memory with free lists: after the first step a training step asks the system for nothing.

use super::super::MemoryUse;
use anyhow::Result;
use std::alloc::{alloc, dealloc, Layout};
use std::collections::HashMap;
use std::sync::Mutex;

/// Vector width and cache line.
const ALIGN: usize = 64;

#[derive(Default)]
pub struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Addresses ready for reuse, by rounded size.
    free: HashMap<usize, Vec<u64>>,
    used: MemoryUse,
}

impl Memory {
    /// Sizes are rounded up to eighths of their power of two, so that nearly equal batches share blocks.
    fn rounded(bytes: usize) -> usize {
        let bytes = bytes.max(ALIGN);
        let step = (bytes.next_power_of_two() / 8).max(ALIGN);
        bytes.next_multiple_of(step)
    }

    pub fn alloc(&self, bytes: usize) -> Result<u64> {
        let size = Memory::rounded(bytes);
        let mut inner = self.inner.lock().expect("no panic under this lock");
        inner.used.now += bytes;
        inner.used.peak = inner.used.peak.max(inner.used.now);
        if let Some(address) = inner.free.get_mut(&size).and_then(Vec::pop) {
            return Ok(address);
        }
        let layout = Layout::from_size_align(size, ALIGN).expect("a size below isize::MAX");
        // SAFETY: the layout's size is at least ALIGN, so not zero.
        let mut pointer = unsafe { alloc(layout) };
        if pointer.is_null() {
            inner.release();
            // SAFETY: as above.
            pointer = unsafe { alloc(layout) };
        }
        if pointer.is_null() {
            inner.used.now -= bytes;
            return Err(crate::base::Fault::Device
                .error(format!("memory: cpu: expected {size} bytes, got none; use a smaller --batch-rows")));
        }
        Ok(pointer as u64)
    }

    pub fn free(&self, address: u64, bytes: usize) {
        let mut inner = self.inner.lock().expect("no panic under this lock");
        inner.used.now -= bytes;
        inner.free.entry(Memory::rounded(bytes)).or_default().push(address);
    }

    pub fn used(&self) -> MemoryUse {
        self.inner.lock().expect("no panic under this lock").used
    }

    pub fn reset_peak(&self) {
        let mut inner = self.inner.lock().expect("no panic under this lock");
        inner.used.peak = inner.used.now;
    }
}

impl Inner {
    /// Gives everything unused back to the system.
    fn release(&mut self) {
        for (size, addresses) in self.free.drain() {
            let layout = Layout::from_size_align(size, ALIGN).expect("a size that was allocated");
            for address in addresses {
                // SAFETY: the block was allocated with this layout and nobody holds it.
                unsafe { dealloc(address as *mut u8, layout) };
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Ok(inner) = self.inner.get_mut() {
            inner.release();
        }
    }
}

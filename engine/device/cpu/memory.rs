//! Host memory: buffers come back to free lists, so that a training step asks the system for
//! nothing after the first.

use super::super::MemoryUse;
use crate::base::{host, Fault};
use anyhow::Result;
use memmap2::MmapMut;
use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// Addresses are multiples of this: a cache line, and the widest vector.
const ALIGNMENT: usize = 64;
/// From here on a buffer is a map of its own, in huge pages where the system has them.
const MAPPED: usize = 4 << 20;
/// A free buffer serves what needs at least one part in so many of it.
const SPARE: usize = 2;
/// Free buffers beyond the peak of used ones that are kept for reuse.
const KEPT: usize = 256 << 20;

#[derive(Default)]
pub(super) struct Memory(Mutex<State>);

#[derive(Default)]
struct State {
    /// Free buffers by size class.
    free: BTreeMap<usize, Vec<Buffer>>,
    /// Buffers in use by address, with their size classes.
    taken: BTreeMap<u64, (usize, Buffer)>,
    /// Bytes in `free`.
    cached: usize,
    /// Classes of buffers in use.
    held: usize,
    used: MemoryUse,
}

enum Buffer {
    /// Address of an allocation of its class' size.
    Heap(u64),
    Map(MmapMut),
}

/// The size that serves `bytes`: eight steps for each doubling.
fn class(bytes: usize) -> usize {
    let bytes = bytes.max(ALIGNMENT);
    let step = (bytes.next_power_of_two() / 16).max(ALIGNMENT);
    bytes.next_multiple_of(step)
}

fn layout(class: usize) -> Layout {
    Layout::from_size_align(class, ALIGNMENT).expect("a size class is a valid layout")
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn alloc(&self, bytes: usize) -> Result<u64> {
        if bytes > isize::MAX as usize / 2 {
            return Err(refuse(bytes, "no host has that much"));
        }
        let mut state = self.state();
        let class = class(bytes);
        let (class, buffer) = match state.reuse(class) {
            Some(found) => found,
            None => {
                if state.cached + state.held + class > state.used.peak + state.used.peak / 4 + KEPT
                {
                    state.release();
                }
                let buffer = match new(class) {
                    Ok(buffer) => buffer,
                    Err(_) => {
                        state.release();
                        new(class).map_err(|why| refuse(bytes, why))?
                    }
                };
                (class, buffer)
            }
        };
        state.held += class;
        state.used.take(bytes);
        let address = match &buffer {
            Buffer::Heap(address) => *address,
            Buffer::Map(map) => map.as_ptr() as u64,
        };
        state.taken.insert(address, (class, buffer));
        Ok(address)
    }

    pub fn free(&self, address: u64, bytes: usize) {
        let mut state = self.state();
        let (class, buffer) = state.taken.remove(&address).expect("a buffer is freed once");
        state.free.entry(class).or_default().push(buffer);
        state.cached += class;
        state.held -= class;
        state.used.give_back(bytes);
    }

    pub fn used(&self) -> MemoryUse {
        self.state().used
    }

    pub fn reset_peak(&self) {
        let mut state = self.state();
        state.used.reset_peak();
    }
}

impl State {
    /// The smallest free buffer that serves a class without much to spare: batches of changing
    /// length share the buffers of the longest.
    fn reuse(&mut self, class: usize) -> Option<(usize, Buffer)> {
        let mut fits = self.free.range_mut(class..=SPARE * class);
        let (&class, buffers) = fits.find(|(_, buffers)| !buffers.is_empty())?;
        self.cached -= class;
        buffers.pop().map(|buffer| (class, buffer))
    }

    /// Gives all free buffers back to the system.
    fn release(&mut self) {
        for (class, buffers) in std::mem::take(&mut self.free) {
            for buffer in buffers {
                if let Buffer::Heap(address) = buffer {
                    // SAFETY: allocated by `new` with this layout, and in no one's use: it was in
                    // the free list.
                    unsafe { dealloc(address as *mut u8, layout(class)) };
                }
            }
        }
        self.cached = 0;
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.release();
    }
}

fn new(class: usize) -> std::result::Result<Buffer, String> {
    if class >= MAPPED {
        let map = MmapMut::map_anon(class).map_err(|e| e.to_string())?;
        // Fewer address translations for matrix products; where the system declines, nothing is
        // lost.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        return Ok(Buffer::Map(map));
    }
    // Zeros, so that elements are always initialised, whatever a tensor is: from then on a buffer
    // holds what its last tensor held.
    // SAFETY: the layout's size is a class, never zero.
    let address = host::asking(|| unsafe { alloc_zeroed(layout(class)) }) as u64;
    match address {
        0 => Err("out of memory".into()),
        address => Ok(Buffer::Heap(address)),
    }
}

fn refuse(bytes: usize, why: impl std::fmt::Display) -> anyhow::Error {
    Fault::Device.error(format!(
        "cpu: memory: {bytes} bytes cannot be had: {why}; use fewer rows a step or a smaller model"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_counted_and_used_again() {
        let memory = Memory::default();
        let mut held = Vec::new();
        for bytes in [1, 63, 64, 65, 4096, 100_000, 5 << 20] {
            let address = memory.alloc(bytes).unwrap();
            assert_eq!(address % ALIGNMENT as u64, 0);
            held.push((address, bytes));
        }
        let total: usize = held.iter().map(|h| h.1).sum();
        assert_eq!(memory.used(), MemoryUse { now: total, peak: total });
        for &(address, bytes) in &held {
            memory.free(address, bytes);
        }
        assert_eq!(memory.used(), MemoryUse { now: 0, peak: total });
        // One that is a little larger serves as well, one that is far larger does not.
        assert_eq!(memory.alloc(3 << 20).unwrap(), held[6].0);
        memory.free(held[6].0, 3 << 20);
        let other = memory.alloc(1 << 20).unwrap();
        assert_ne!(other, held[6].0);
        memory.free(other, 1 << 20);
        assert_eq!(memory.alloc(5 << 20).unwrap(), held[6].0);
        memory.reset_peak();
        assert_eq!(memory.used().peak, 5 << 20);
        memory.free(held[6].0, 5 << 20);
        assert!(memory.alloc(usize::MAX).is_err());
    }

    #[test]
    fn a_class_wastes_at_most_an_eighth() {
        for bytes in (1024..1_000_000).step_by(77) {
            let class = class(bytes);
            assert!(class >= bytes && class - bytes <= bytes / 8, "{bytes} -> {class}");
        }
    }
}

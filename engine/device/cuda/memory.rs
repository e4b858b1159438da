//! Device memory: buffers come back to free lists, so that a training step asks the driver for nothing after the first.

use super::super::MemoryUse;
use super::driver::Driver;
use anyhow::Result;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

#[derive(Default)]
pub(super) struct Memory(Mutex<State>);

#[derive(Default)]
struct State {
    /// Free buffers by size class.
    free: BTreeMap<usize, Vec<u64>>,
    used: MemoryUse,
}

/// The size that serves `bytes`: eight steps for each doubling, so that batches of changing length share buffers.
fn class(bytes: usize) -> usize {
    let bytes = bytes.max(256);
    bytes.next_multiple_of((bytes.next_power_of_two() / 16).max(256))
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// One stream: a buffer freed after a launch was asked for is used again only by later ones.
    pub fn alloc(&self, driver: &dyn Driver, bytes: usize) -> Result<u64> {
        let mut state = self.state();
        let address = if driver.facts().recycles {
            let class = class(bytes);
            match state.free.get_mut(&class).and_then(Vec::pop) {
                Some(address) => address,
                None => driver.alloc(class).or_else(|_| {
                    state.release(driver);
                    driver.alloc(class)
                })?,
            }
        } else {
            driver.alloc(bytes.max(1))?
        };
        state.used.now += bytes;
        state.used.peak = state.used.peak.max(state.used.now);
        Ok(address)
    }

    pub fn free(&self, driver: &dyn Driver, address: u64, bytes: usize) {
        let mut state = self.state();
        match driver.facts().recycles {
            true => state.free.entry(class(bytes)).or_default().push(address),
            false => driver.free(address, bytes.max(1)),
        }
        state.used.now -= bytes;
    }

    pub fn used(&self) -> MemoryUse {
        self.state().used
    }

    pub fn reset_peak(&self) {
        let mut state = self.state();
        state.used.peak = state.used.now;
    }

    /// Gives all free buffers back to the driver.
    pub fn release(&self, driver: &dyn Driver) {
        self.state().release(driver);
    }
}

impl State {
    fn release(&mut self, driver: &dyn Driver) {
        for (class, addresses) in std::mem::take(&mut self.free) {
            addresses.into_iter().for_each(|address| driver.free(address, class));
        }
    }
}

//! What of the device's memory is in use. The driver reuses what is freed (in the order of the one
//! stream), so a training step takes nothing from the system after the first.

use super::super::MemoryUse;
use super::driver::Driver;
use anyhow::Result;
use std::sync::{Mutex, MutexGuard};

#[derive(Default)]
pub(super) struct Memory(Mutex<MemoryUse>);

impl Memory {
    fn state(&self) -> MutexGuard<'_, MemoryUse> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn alloc(&self, driver: &dyn Driver, bytes: usize) -> Result<u64> {
        let address = driver.alloc(bytes.max(1))?;
        self.state().take(bytes);
        Ok(address)
    }

    pub fn free(&self, driver: &dyn Driver, address: u64, bytes: usize) {
        driver.free(address);
        self.state().give_back(bytes);
    }

    pub fn used(&self) -> MemoryUse {
        *self.state()
    }

    pub fn reset_peak(&self) {
        self.state().reset_peak();
    }
}

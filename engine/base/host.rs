//! The machine that this process runs on: its memory.

use super::Fault;
use anyhow::Result;
use std::cell::Cell;
use std::fs;

/// Bytes of host memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What the machine has.
    pub total: u64,
    /// What can be had without swapping: free, or holding what can be read again.
    pub available: u64,
    /// What the process's control group may use, and uses without files that can be read again,
    /// where a container sets less than the machine has.
    pub group: Option<(u64, u64)>,
}

/// What the system says. `None` where it does not.
pub fn memory() -> Option<Memory> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let (total, available) = (1024 * kib("MemTotal")?, 1024 * kib("MemAvailable")?);
    let group = |name: &str| -> Option<u64> {
        fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok()?.trim().parse().ok()
    };
    let files = || -> Option<u64> {
        let text = fs::read_to_string("/sys/fs/cgroup/memory.stat").ok()?;
        text.lines().find_map(|line| line.strip_prefix("inactive_file "))?.trim().parse().ok()
    };
    let used = group("current").map(|current| current.saturating_sub(files().unwrap_or(0)));
    let group = group("max").filter(|&limit| limit < total).zip(used);
    Some(Memory { total, available, group })
}

/// Bytes that this process can still take. Refuses where the system does not say.
pub fn available() -> Result<u64> {
    let memory = memory().ok_or_else(|| {
        Fault::Device.error(
            "memory: /proc/meminfo: expected MemTotal and MemAvailable, got \
            neither; say setting `keep` and setting `batch` yourself",
        )
    })?;
    Ok(match memory.group {
        Some((limit, used)) => memory.available.min(limit.saturating_sub(used)),
        None => memory.available,
    })
}

thread_local! {
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// Calls `ask`, which may get no memory and then says so itself. Elsewhere memory that is not there
/// ends a process; an allocator that ends it in its own way leaves these alone ([`is_asking`]).
pub fn asking<T>(ask: impl FnOnce() -> T) -> T {
    let outer = ASKING.replace(true);
    let got = ask();
    ASKING.set(outer);
    got
}

/// Whether this thread is inside [`asking`].
pub fn is_asking() -> bool {
    ASKING.get()
}

/// An empty list with room for `count` elements, of a size that a file or a setting decides.
/// Refuses, as `what`, more than can be had.
pub fn room<T>(what: &str, count: usize) -> Result<Vec<T>> {
    let mut list = Vec::new();
    match asking(|| list.try_reserve_exact(count)) {
        Ok(()) => Ok(list),
        Err(_) => Err(Fault::Device.error(format!(
            "memory: {what}: expected room for {count} elements of {} bytes, got none; use fewer \
            at once, or a machine with more memory",
            size_of::<T>()
        ))),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn there_is_memory_and_not_more_than_all() {
        let memory = super::memory().unwrap();
        assert!(memory.available > 0 && memory.available <= memory.total);
        let available = super::available().unwrap();
        assert!(available > 0 && available <= memory.available);
    }

    #[test]
    fn room_that_cannot_be_had_is_refused() {
        assert!(super::room::<u32>("rows", 9).unwrap().capacity() >= 9);
        for count in [usize::MAX, usize::MAX / 8, 1 << 60] {
            let error = super::room::<u32>("rows", count).unwrap_err();
            assert_eq!(super::Fault::of(&error), Some(super::Fault::Device));
        }
    }
}

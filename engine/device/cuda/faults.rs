//! What is said when a GPU fails. A kernel runs long after it was asked for, so its failure comes
//! out of whichever call waits next, and from then on out of every call: the last launches are
//! remembered, and the first failure is said again in place of its echoes.

use super::driver::Grid;
use crate::base::Fault;
use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::DriverError;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard};

/// Launches that are remembered.
const RECENT: usize = 16;
/// Bytes of parameters that the longest entry point takes.
const MOST_BYTES: usize = {
    let (mut most, mut at) = (0, 0);
    while at < kernels::ENTRIES.len() {
        if kernels::ENTRIES[at].bytes > most {
            most = kernels::ENTRIES[at].bytes;
        }
        at += 1;
    }
    most
};

/// A launch as it was asked for.
#[derive(Clone, Copy)]
struct Launch {
    entry: usize,
    grid: Grid,
    parameters: [u8; MOST_BYTES],
}

impl Launch {
    fn new(entry: usize, grid: Grid, bytes: &[u8]) -> Launch {
        let mut parameters = [0; MOST_BYTES];
        parameters[..bytes.len()].copy_from_slice(bytes);
        Launch { entry, grid, parameters }
    }
}

/// "layernorm_f32 [64, 1, 1] × 256, 128 B shared, rows 64, cols 96".
impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let signature = &kernels::ENTRIES[self.entry];
        let Grid { blocks, shared } = self.grid;
        write!(f, "{} {blocks:?} × {}", signature.name, signature.threads)?;
        if shared > 0 {
            write!(f, ", {shared} B shared")?;
        }
        for &(name, at, bytes) in signature.sizes {
            let mut number = [0; 8];
            number[..bytes].copy_from_slice(&self.parameters[at..at + bytes]);
            write!(f, ", {name} {}", u64::from_le_bytes(number))?;
        }
        Ok(())
    }
}

/// What one device was asked for last, and how it failed.
#[derive(Default)]
pub struct Faults(Mutex<State>);

#[derive(Default)]
struct State {
    recent: VecDeque<Launch>,
    failure: Option<String>,
}

impl State {
    /// "; the last launches, newest first: …", or nothing where there were none.
    fn launches(&self) -> String {
        if self.recent.is_empty() {
            return String::new();
        }
        let all: Vec<String> = self.recent.iter().rev().map(Launch::to_string).collect();
        format!("; the last launches, newest first: {}", all.join("; "))
    }

    fn failed(&mut self, words: String) -> anyhow::Error {
        Fault::Device.error(self.failure.get_or_insert(words).clone())
    }
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Remembers a launch, in place of the oldest.
    pub fn launched(&self, entry: usize, grid: Grid, parameters: &[u8]) {
        let mut state = self.state();
        if state.recent.len() == RECENT {
            state.recent.pop_front();
        }
        state.recent.push_back(Launch::new(entry, grid, parameters));
    }

    /// What to say of a call that failed while `what`.
    pub fn refuse(&self, what: &str, error: DriverError) -> anyhow::Error {
        let mut state = self.state();
        if !ends_the_context(error) {
            return refuse(what, error);
        }
        let words = format!(
            "cuda: a kernel failed, which came out while {what}: {}{}; ENGINE_SYNC=1 waits for \
            each launch and names the one that fails",
            words_of(error),
            state.launches()
        );
        state.failed(words)
    }

    /// What to say of a failure that came out right behind the newest launch, which was waited for.
    pub fn refuse_newest(&self, error: DriverError) -> anyhow::Error {
        let mut state = self.state();
        let newest = state.recent.back().map(Launch::to_string).unwrap_or_default();
        state.failed(format!("cuda: kernel {newest} failed: {}", words_of(error)))
    }

    /// What to say of memory that cannot be had; `what` ends in what to do.
    pub fn refuse_memory(&self, what: &str, error: DriverError) -> anyhow::Error {
        if ends_the_context(error) {
            return self.refuse("asking for memory", error);
        }
        let words = format!("cuda: {what}: {}{}", words_of(error), self.state().launches());
        Fault::Device.error(words)
    }
}

/// "CUDA_ERROR_OUT_OF_MEMORY: out of memory"; the name alone where there is no driver to ask.
fn words_of(error: DriverError) -> String {
    // SAFETY: only asks the dynamic linker; without this cudarc would panic where the library is
    // missing.
    if !unsafe { sys::is_culib_present() } {
        return format!("{:?}", error.0);
    }
    let name = error.error_name().map_or("unknown".into(), |n| n.to_string_lossy().into_owned());
    let words =
        error.error_string().map_or(String::new(), |s| format!(": {}", s.to_string_lossy()));
    name + &words
}

/// What to say of a call that failed for itself alone.
pub fn refuse(what: &str, error: DriverError) -> anyhow::Error {
    Fault::Device.error(format!("cuda: {what}: {}", words_of(error)))
}

/// Whether a kernel's failure is what a call reports: the driver's documentation says of these that
/// the context can do nothing any more, and every later call gives the same.
fn ends_the_context(DriverError(code): DriverError) -> bool {
    use CUresult as Code;
    matches!(
        code,
        Code::CUDA_ERROR_ECC_UNCORRECTABLE
            | Code::CUDA_ERROR_HARDWARE_STACK_ERROR
            | Code::CUDA_ERROR_ILLEGAL_ADDRESS
            | Code::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | Code::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | Code::CUDA_ERROR_INVALID_PC
            | Code::CUDA_ERROR_LAUNCH_FAILED
            | Code::CUDA_ERROR_LAUNCH_TIMEOUT
            | Code::CUDA_ERROR_MISALIGNED_ADDRESS
            | Code::CUDA_ERROR_ASSERT
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(name: &str) -> usize {
        kernels::ENTRIES.iter().position(|entry| entry.name == name).expect("an entry point")
    }

    fn launched(faults: &Faults, n: u64) {
        let blend = kernels::interface::Blend { n, alpha: 1.0, ..Default::default() };
        faults.launched(index("blend_f32"), Grid::of(3), bytemuck::bytes_of(&blend));
    }

    #[test]
    fn sixteen_launches_are_remembered_with_their_sizes() {
        let faults = Faults::default();
        assert_eq!(faults.state().launches(), "");
        (1..=18).for_each(|n| launched(&faults, n));
        let words = faults.state().launches();
        let expected = "; the last launches, newest first: blend_f32 [3, 1, 1] × 256, n 18; ";
        assert!(words.starts_with(expected), "{words}");
        assert!(words.ends_with("n 3") && words.matches("blend_f32").count() == RECENT, "{words}");
    }

    #[test]
    fn the_first_failure_is_said_and_not_its_echo() {
        let faults = Faults::default();
        launched(&faults, 7);
        let passing = DriverError(CUresult::CUDA_ERROR_INVALID_VALUE);
        let said = faults.refuse("copying", passing).to_string();
        assert!(said.starts_with("cuda: copying: ") && !said.contains("blend"), "{said}");
        let memory = DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        let said = faults.refuse_memory("memory: 8 bytes", memory).to_string();
        assert!(said.starts_with("cuda: memory: 8 bytes: ") && said.ends_with("n 7"), "{said}");
        let fatal = DriverError(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        let first = faults.refuse("copying", fatal).to_string();
        assert!(first.contains("while copying") && first.contains("blend_f32"), "{first}");
        launched(&faults, 8);
        let other = DriverError(CUresult::CUDA_ERROR_LAUNCH_FAILED);
        assert_eq!(faults.refuse("waiting", other).to_string(), first);
        assert_eq!(faults.refuse_memory("memory", fatal).to_string(), first);
        assert_eq!(faults.refuse_newest(fatal).to_string(), first);
    }
}

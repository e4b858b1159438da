//! SIGINT and SIGTERM: finish the step, save, leave.

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// From now on the first signal is noted and a second one, of either kind, ends the process at once
/// with 128 + its number. Calling it again changes nothing.
pub fn install() {
    SIGNAL.get_or_init(|| {
        let noted = Arc::new(AtomicUsize::new(0));
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the second signal finds `seen` set, the first one sets it. Neither can
            // be refused for these two signals; and without a handler they would end the process,
            // which is the lesser harm.
            let _ = flag::register_conditional_shutdown(signal, 128 + signal, seen.clone());
            let _ = flag::register_usize(signal, noted.clone(), signal as usize);
            let _ = flag::register(signal, seen.clone());
        }
        noted
    });
}

/// The signal that asked us to stop, if one did since [`install`].
pub fn signal() -> Option<i32> {
    SIGNAL.get().map(|noted| noted.load(Ordering::Relaxed) as i32).filter(|&signal| signal != 0)
}

/// Ends work that has nothing to save: an error that becomes exit code 130 or 143.
pub fn check() -> Result<()> {
    signal().map_or(Ok(()), |signal| Err(Interrupted(signal).into()))
}

/// Somebody asked us to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted(pub i32);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.0 == SIGTERM { "SIGTERM" } else { "SIGINT" };
        write!(f, "interrupted by {name}")
    }
}

impl std::error::Error for Interrupted {}

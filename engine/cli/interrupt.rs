//! SIGINT and SIGTERM: finish the step, save, leave.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// From now on the first signal is noted and a second one ends the process at once.
pub fn install() {
    let flag = SIGNAL.get_or_init(|| Arc::new(AtomicUsize::new(0)));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let seen = Arc::new(std::sync::atomic::AtomicBool::new(false));
        // The order matters: a second signal finds `seen` set, the first one sets it.
        let _ = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, seen.clone());
        let _ = signal_hook::flag::register(signal, seen);
        let _ = signal_hook::flag::register_usize(signal, flag.clone(), signal as usize);
    }
}

/// The signal that asked us to stop, if one did.
pub fn signal() -> Option<i32> {
    SIGNAL.get().map(|f| f.load(Ordering::Relaxed) as i32).filter(|&s| s != 0)
}

//! SIGINT, SIGTERM and SIGHUP: finish the step, save, leave.

use anyhow::Result;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// From now on the first signal is noted and a second SIGINT or SIGTERM ends the process at once
/// with 128 + its number. A terminal that goes away sends SIGHUP more than once, by the shell and
/// by the kernel, and a service manager sends it beside SIGTERM: it asks, and never insists. A
/// SIGHUP that whoever started us had ignored (`nohup`) stays ignored. Calling it again changes
/// nothing.
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
        if !is_ignored(SIGHUP) {
            let _ = flag::register_usize(SIGHUP, noted.clone(), SIGHUP as usize);
        }
        noted
    });
}

/// A file that would grow beyond the limit of this process is an error of the write (EFBIG), as a
/// full disk is, and not its end (SIGXFSZ).
pub fn outlive_limits() {
    // SAFETY: to ignore a signal installs no code; nothing else of ours sets this one.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

fn is_ignored(signal: i32) -> bool {
    // SAFETY: all zeros is a sigaction, which the call overwrites and does not otherwise read.
    let mut found: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null pointer asks for what is set and sets nothing; `found` outlives the call.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &mut found) };
    asked == 0 && found.sa_sigaction == libc::SIG_IGN
}

/// The signal that asked us to stop, if one did since [`install`].
pub fn signal() -> Option<i32> {
    SIGNAL.get().map(|noted| noted.load(Ordering::Relaxed) as i32).filter(|&signal| signal != 0)
}

/// Ends work that has nothing to save: an error that becomes exit code 129, 130 or 143.
pub fn check() -> Result<()> {
    signal().map_or(Ok(()), |signal| Err(Interrupted(signal).into()))
}

/// Somebody asked us to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted(pub i32);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            SIGTERM => "SIGTERM",
            SIGHUP => "SIGHUP",
            _ => "SIGINT",
        };
        write!(f, "interrupted by {name}")
    }
}

impl std::error::Error for Interrupted {}

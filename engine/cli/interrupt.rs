//! SIGINT, SIGTERM and SIGHUP: a verb that has something to save is asked to and leaves; any other
//! leaves at once and takes with it what it has begun.

use super::say;
use crate::base::outputs::abandon;
use anyhow::Result;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Whether the verb asks for signals itself.
static ASKS: AtomicBool = AtomicBool::new(false);

/// From now on a signal ends the process at once, with 128 + its number, and nothing half-written
/// stays; or, once the verb [`asks`], the first one is noted, and only a second SIGINT or SIGTERM
/// ends it so. A terminal that goes away sends SIGHUP more than once, by the shell and by the
/// kernel, and a service manager sends it beside SIGTERM: it asks, and never insists. A SIGHUP that
/// whoever started us had ignored (`nohup`) stays ignored.
pub fn listen() {
    SIGNAL.get_or_init(|| {
        let noted = Arc::new(AtomicUsize::new(0));
        let seen = Arc::new(AtomicBool::new(false));
        let mut signals = vec![SIGINT, SIGTERM];
        for &signal in &signals {
            // In this order: the second signal finds `seen` set, the first one sets it. Neither can
            // be refused for these two signals; and without a handler they would end the process,
            // which is the lesser harm.
            let _ = flag::register_conditional_shutdown(signal, 128 + signal, seen.clone());
            let _ = flag::register_usize(signal, noted.clone(), signal as usize);
            let _ = flag::register(signal, seen.clone());
        }
        if !is_ignored(SIGHUP) {
            let _ = flag::register_usize(SIGHUP, noted.clone(), SIGHUP as usize);
            signals.push(SIGHUP);
        }
        // A handler may do next to nothing; a thread that waits for it may do anything. Where there
        // can be none, the second signal ends the process.
        let wait = |mut heard: Signals| {
            let leave = move || {
                heard.forever().filter(|_| !ASKS.load(Ordering::SeqCst)).for_each(leave);
            };
            thread::Builder::new().name("signals".to_owned()).spawn(leave)
        };
        let _ = Signals::new(signals).and_then(wait);
        noted
    });
}

/// From now on the verb asks for [`signal`]: it has something to save.
pub fn asks() {
    ASKS.store(true, Ordering::SeqCst);
}

fn leave(signal: i32) {
    abandon();
    say::remark(&format!("engine: {}", Interrupted(signal)));
    // SAFETY: it ends the process without running anything else, as a signal would.
    unsafe { libc::_exit(128 + signal) }
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

/// The signal that asked us to stop, if one did since [`listen`].
pub fn signal() -> Option<i32> {
    SIGNAL.get().map(|noted| noted.load(Ordering::Relaxed) as i32).filter(|&signal| signal != 0)
}

/// How a verb ends that was asked to stop and has saved: an error that becomes exit code 129, 130
/// or 143.
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

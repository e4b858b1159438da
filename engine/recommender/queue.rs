//! Questions that come when they come, in groups: a thread reads lines, the caller computes.

use super::line::{RawLine, RawLines};
use anyhow::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a signal may go unnoticed while nothing comes.
const PAUSE: Duration = Duration::from_millis(50);

/// Groups of lines. After a signal no further line is taken from the input; those that were are
/// still given out.
pub struct Queue {
    lines: Receiver<Result<RawLine>>,
    /// The reader waits for input and holds no whole line: all that it sent before is in the
    /// channel.
    idle: Arc<AtomicBool>,
    most: usize,
    wait: Duration,
    /// Whether somebody asked us to stop.
    stop: fn() -> bool,
}

impl Queue {
    /// Reads on from now. A group has at most `most` lines; its first line waits at most `wait` for
    /// the others.
    pub fn start(mut input: RawLines, most: usize, wait: Duration, stop: fn() -> bool) -> Queue {
        // Bounded, so that a host that is faster than the model feels it.
        let (sender, lines) = sync_channel(most);
        let idle = Arc::new(AtomicBool::new(false));
        let waits = idle.clone();
        // The thread may be left behind in a read when the process ends: it holds nothing.
        thread::spawn(move || loop {
            if !input.is_ready() {
                if stop() {
                    return;
                }
                waits.store(true, Ordering::Release);
            }
            let line = input.read().transpose();
            waits.store(false, Ordering::Release);
            let Some(line) = line else { return };
            let failed = line.is_err();
            if sender.send(line).is_err() || failed {
                return;
            }
        });
        Queue { lines, idle, most, wait, stop }
    }

    /// The next group; waits for its first line. `None` at the end of the input, or after a signal
    /// when all that was read has been given out.
    pub fn next(&self) -> Result<Option<Vec<RawLine>>> {
        let mut group = Vec::new();
        loop {
            match self.lines.recv_timeout(PAUSE) {
                Ok(line) => group.push(line?),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if !(self.stop)() => continue,
                Err(RecvTimeoutError::Timeout) => {
                    // In this order: what was sent before the reader became idle is here by now.
                    let idle = self.idle.load(Ordering::Acquire);
                    match self.lines.try_recv() {
                        Ok(line) => group.push(line?),
                        Err(_) if idle => return Ok(None),
                        Err(_) => continue,
                    }
                }
            }
            break;
        }
        let until = Instant::now() + self.wait;
        while group.len() < self.most {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => group.push(line?),
                // At the end of the input this group is the last.
                Err(_) => break,
            }
        }
        Ok(Some(group))
    }
}

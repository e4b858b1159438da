//! Questions that come when they come, in groups: a thread reads lines, the caller computes.

use super::line::{RawLine, RawLines};
use anyhow::Result;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether others are on their way.
const LOOK: Duration = Duration::from_micros(200);

/// How long a signal may go unnoticed while nothing comes.
const PAUSE: Duration = Duration::from_millis(50);

/// How much of an input is held at once, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Lines of a group.
    pub lines: usize,
    /// Bytes of all lines that were read and are not answered yet: at least those of two of the
    /// longest lines.
    pub bytes: usize,
    /// How long the first line of a group waits for others that are being read.
    pub wait: Duration,
}

/// Groups of lines. After a signal no further line is taken from the input; those that were are
/// still given out.
pub struct Queue {
    lines: Receiver<Result<RawLine>>,
    /// The reader waits for input and holds no whole line: all that it sent before is in the
    /// channel.
    idle: Arc<AtomicBool>,
    /// It is idle and has not begun a line either: nobody is on the way.
    quiet: Arc<AtomicBool>,
    limits: Limits,
    held: Arc<Held>,
    /// Bytes of the group that was given out last.
    given: Cell<usize>,
    /// Whether somebody asked us to stop.
    stop: fn() -> bool,
}

/// Bytes of lines between the input and their answers.
#[derive(Default)]
struct Held {
    bytes: Mutex<usize>,
    /// Some were given back.
    room: Condvar,
}

impl Held {
    fn bytes(&self) -> MutexGuard<'_, usize> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for `more` below `most`.
    fn wait_for(&self, more: usize, most: usize) {
        let full = |bytes: &mut usize| *bytes > 0 && *bytes + more > most;
        drop(self.room.wait_while(self.bytes(), full));
    }

    fn take(&self, bytes: usize) {
        *self.bytes() += bytes;
    }

    fn give_back(&self, bytes: usize) {
        *self.bytes() -= bytes;
        self.room.notify_all();
    }
}

impl Queue {
    /// Reads on from now, within `limits`: what comes faster than it is answered stays with the
    /// host, which feels it.
    pub fn start(mut input: RawLines, limits: Limits, stop: fn() -> bool) -> Queue {
        let (sender, lines) = sync_channel(limits.lines);
        let [idle, quiet] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let held = Arc::new(Held::default());
        let (waits, rests, holds) = (idle.clone(), quiet.clone(), held.clone());
        // The thread may be left behind in a read or a wait when the process ends: nobody misses
        // what it holds.
        thread::spawn(move || loop {
            holds.wait_for(input.longest(), limits.bytes);
            if !input.is_ready() {
                if stop() {
                    return;
                }
                waits.store(true, Ordering::Release);
                rests.store(input.is_empty(), Ordering::Release);
            }
            let line = input.read().transpose();
            rests.store(false, Ordering::Release);
            waits.store(false, Ordering::Release);
            let Some(line) = line else { return };
            holds.take(line.as_ref().map_or(0, RawLine::held));
            let failed = line.is_err();
            if sender.send(line).is_err() || failed {
                return;
            }
        });
        Queue { lines, idle, quiet, limits, held, given: Cell::new(0), stop }
    }

    /// The next group; waits for its first line, and takes the one before for answered. `None` at
    /// the end of the input, or after a signal when all that was read has been given out.
    pub fn next(&self) -> Result<Option<Vec<RawLine>>> {
        self.held.give_back(self.given.take());
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
        let until = Instant::now() + self.limits.wait;
        let mut bytes: usize = group.iter().map(RawLine::held).sum();
        // Of long lines half of what may be held: the reader has room for the others meanwhile.
        while group.len() < self.limits.lines && bytes <= self.limits.bytes / 2 {
            // In this order: what was sent before the reader came to rest is here by now.
            let quiet = self.quiet.load(Ordering::Acquire);
            let left = until.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(if quiet {
                Duration::ZERO
            } else {
                left.min(LOOK)
            }) {
                Ok(line) => line?,
                Err(RecvTimeoutError::Timeout) if !quiet && !left.is_zero() => continue,
                // Alone, or late, or the last group of the input.
                Err(_) => break,
            };
            bytes += line.held();
            group.push(line);
        }
        self.given.set(bytes);
        Ok(Some(group))
    }
}

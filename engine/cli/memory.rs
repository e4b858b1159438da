//! Memory that is not there: a sentence and an exit code, wherever in the program it was asked for.

use crate::base::host::is_asking;
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// The system's allocator, which ends the process with exit code 5 where there is no memory left;
/// Rust's own way is to abort. Whoever can do without what it asked for says so
/// ([`crate::base::host::asking`]) and lives on.
pub struct Telling;

// SAFETY: every call is the system allocator's own, and what it returns goes out as it is.
unsafe impl GlobalAlloc for Telling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's duties are those of `System`.
        told(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        told(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        told(unsafe { System.realloc(at, layout, size) }, size)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// `at`, unless nothing is there and nobody is prepared for that.
#[inline]
fn told(at: *mut u8, bytes: usize) -> *mut u8 {
    if at.is_null() && !is_asking() {
        end(bytes);
    }
    at
}

/// Says it and ends, without asking for memory: what was begun stays as after a kill. The first
/// thread that has to is the one that does.
#[cold]
fn end(bytes: usize) -> ! {
    static ENDING: AtomicBool = AtomicBool::new(false);
    while ENDING.swap(true, SeqCst) {
        // SAFETY: it waits for a signal; the process ends before or after one comes.
        unsafe { libc::pause() };
    }
    let mut line = io::Cursor::new([0u8; 200]);
    // It is long enough; what does not fit would be cut.
    let _ = writeln!(
        line,
        "engine: memory: {bytes} bytes cannot be had; use fewer rows, users, prompts or beams at \
        once, or a machine with more memory"
    );
    let (length, line) = (line.position() as usize, line.into_inner());
    // SAFETY: the bytes are the line's; nothing runs behind `_exit`.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), length);
        libc::_exit(5)
    }
}

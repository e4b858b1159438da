//! Threads: work is cut at places that do not depend on how many there are.

use super::vector::{self, vector};
use crate::base::Fault;
use anyhow::Result;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that a device may be opened with: more than any machine has cores.
pub const MOST_THREADS: usize = 1024;

/// The caller and `count - 1` workers.
pub(super) struct Threads {
    count: usize,
    /// None for one thread: everything runs on the caller.
    pool: Option<rayon::ThreadPool>,
}

impl Threads {
    /// `count` threads, 0 for one per core. Refuses more than [`MOST_THREADS`], threads that the
    /// system does not give, and a processor that the work is not compiled for.
    pub fn open(count: usize) -> Result<Threads> {
        vector::check()?;
        let count = match count {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n if n > MOST_THREADS => {
                let words = format!("setting `threads`: expected at most {MOST_THREADS}, got {n}");
                return Err(Fault::Usage.error(words));
            }
            n => n,
        };
        let pool = match count {
            1 => None,
            n => Some(
                rayon::ThreadPoolBuilder::new()
                    .num_threads(n - 1)
                    .thread_name(|i| format!("cpu-{}", i + 1))
                    .build()
                    .map_err(|e| {
                        Fault::Device.error(format!("cpu: {n} threads cannot be started: {e}"))
                    })?,
            ),
        };
        Ok(Threads { count, pool })
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Calls `work(i)` once for every i below `count`, in any order, on any thread, as
    /// [`vector`] code: it says `#[inline(always)]`, here and below.
    pub fn each(&self, count: usize, work: impl Fn(usize) + Sync) {
        self.each_with(
            count,
            || (),
            #[inline(always)]
            |(), i| work(i),
        );
    }

    /// As [`Threads::each`], with something that every thread makes for itself first, such as
    /// scratch memory.
    pub fn each_with<S>(
        &self,
        count: usize,
        make: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, usize) + Sync,
    ) {
        let next = AtomicUsize::new(0);
        let run = || {
            vector(
                #[inline(always)]
                || {
                    let mut i = next.fetch_add(1, Ordering::Relaxed);
                    if i < count {
                        let mut own = make();
                        while i < count {
                            work(&mut own, i);
                            i = next.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                },
            );
        };
        match &self.pool {
            Some(pool) if count > 1 => pool.in_place_scope(|scope| {
                for _ in 1..self.count.min(count) {
                    scope.spawn(|_| run());
                }
                run();
            }),
            _ => run(),
        }
    }

    /// Calls `work` with consecutive ranges of `chunk` (the last shorter) that together are
    /// `0..count`.
    pub fn ranges(&self, count: usize, chunk: usize, work: impl Fn(Range<usize>) + Sync) {
        assert!(chunk > 0, "ranges of nothing");
        self.each(
            count.div_ceil(chunk),
            #[inline(always)]
            |i| work(i * chunk..count.min((i + 1) * chunk)),
        );
    }

    /// As [`Threads::ranges`], for rows of `cols` elements: each range is worth waking a thread
    /// for. Only for work where a row's result does not depend on the range it is in.
    pub fn rows(&self, rows: usize, cols: usize, work: impl Fn(Range<usize>) + Sync) {
        self.ranges(rows, (WORTH / cols.max(1)).clamp(1, rows.max(1)), work);
    }

    /// As [`Threads::rows`], handing out the rows of `y`, which has `cols` columns.
    pub fn rows_of<T: Send>(
        &self,
        y: &mut [T],
        cols: usize,
        work: impl Fn(Range<usize>, &mut [T]) + Sync,
    ) {
        let rows = y.len() / cols.max(1);
        let y = Scatter::new(y);
        self.rows(
            rows,
            cols,
            #[inline(always)]
            |range| {
                // SAFETY: `rows` hands out each row once.
                let part = unsafe { y.range(range.start * cols..range.end * cols) };
                work(range, part);
            },
        );
    }
}

/// Elements that are worth waking a thread for.
const WORTH: usize = 16 * 1024;

/// A slice that several threads write in disjoint ranges.
#[derive(Clone, Copy)]
pub(super) struct Scatter<'a, T> {
    start: *mut T,
    len: usize,
    life: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: a Scatter is a `&mut [T]` whose ranges are handed out by `range`, whose callers keep them
// disjoint.
unsafe impl<T: Send> Send for Scatter<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Scatter<'_, T> {}

impl<'a, T> Scatter<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Self {
        Scatter { start: slice.as_mut_ptr(), len: slice.len(), life: std::marker::PhantomData }
    }

    /// Where element `i` is, for writers that take strides.
    pub fn pointer(&self, i: usize) -> *mut T {
        assert!(i < self.len, "{i} of {}", self.len);
        // SAFETY: inside the slice, as just checked.
        unsafe { self.start.add(i) }
    }

    /// The elements `range`.
    ///
    /// # Safety
    /// No two ranges that are alive at the same time overlap.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn range(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: inside the slice (just checked) and disjoint from every other range (the caller's
        // duty).
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_visited_once() {
        for count in [1, 2, 5] {
            let threads = Threads::open(count).unwrap();
            let seen: Vec<AtomicUsize> = (0..1001).map(|_| AtomicUsize::new(0)).collect();
            threads.ranges(seen.len(), 13, |range| {
                for n in &seen[range] {
                    n.fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == 1));
        }
    }
}

//! How many trainings run side by side, and who does what next.

use super::ladder::{Ladder, Step};
use crate::base::host;
use crate::device::Place;
use crate::model::plan::{training_plan, Setup};
use crate::model::{Config, Keep, Rates};
use crate::recommender::budget::training;
use crate::recommender::source::frame_of;
use crate::recommender::weights::find_weights;
use anyhow::{Error, Result};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Share of a host's free memory that the steps may fill together.
const SHARE: f64 = 0.5;

/// How many of a ladder's trainings go side by side on so many threads: one a thread, as many as
/// have room for a step that keeps everything; one on a device with memory of its own.
pub fn fitting(ladder: &Ladder, base: &Path, place: Place, threads: usize) -> Result<usize> {
    if place.has_own_memory() {
        return Ok(1);
    }
    let config = Config::read(&find_weights(base)?.join("config.json"))?;
    let takes = |step: &Step| planned(step, &config, place);
    let most = ladder.steps.iter().map(takes).collect::<Result<Vec<u64>>>()?;
    let most = most.into_iter().max().unwrap_or(1).max(1);
    let room = (host::available()? as f64 * SHARE) as u64 / most;
    Ok((room.min(threads as u64) as usize).max(1))
}

/// Bytes that the largest step of a training takes with all that it holds, if it keeps everything.
fn planned(step: &Step, config: &Config, place: Place) -> Result<u64> {
    let learning = &step.learning;
    let tune = learning.tune()?;
    let dtype = learning.source().storage(&tune).dtype();
    let rates = Rates::of(&tune, config, learning.dropout, learning.attention_dropout);
    let longest = learning.decided(frame_of(config))?.max_row.min(config.max_positions);
    let rows = learning.batch_rows.min(learning.batch * longest);
    let mapped = place.reads_maps();
    let config = config.clone();
    let setup = Setup {
        config,
        tune,
        merged: Vec::new(),
        dtype,
        stored: dtype,
        mapped,
        own_head: false,
        capacity: 0,
    };
    let step = training(Keep::All, rows, 0, rates, learning.lora_dropout);
    Ok(training_plan(&setup, &step, None).peak().usage.total())
}

/// Does all of `tasks`, so many side by side, each in its turn; after one that fails, or that says
/// that it was stopped, no further one is begun. Whether all are done; the first failure otherwise.
pub fn side_by_side<T: Sync>(
    tasks: &[T],
    together: usize,
    work: impl Fn(&T) -> Result<bool> + Sync,
) -> Result<bool> {
    let (next, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let worker = || {
        while !ended.load(Ordering::Relaxed) {
            let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            match work(task) {
                Ok(true) => {}
                Ok(false) => ended.store(true, Ordering::Relaxed),
                Err(error) => {
                    ended.store(true, Ordering::Relaxed);
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..together.min(tasks.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(!ended.into_inner()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_and_a_failure_is_the_end() {
        let counts: Vec<AtomicUsize> = (0..50).map(|_| AtomicUsize::new(0)).collect();
        for together in [1, 3, 80] {
            let done = side_by_side(&counts, together, |count| {
                count.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            });
            assert!(done.unwrap());
        }
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 3));
        let begun = AtomicUsize::new(0);
        let fails = |task: &usize| {
            begun.fetch_add(1, Ordering::Relaxed);
            match task {
                2 => anyhow::bail!("no"),
                _ => Ok(true),
            }
        };
        let tasks: Vec<usize> = (0..9).collect();
        assert_eq!(side_by_side(&tasks, 1, fails).unwrap_err().to_string(), "no");
        assert_eq!(begun.load(Ordering::Relaxed), 3);
        assert!(!side_by_side(&tasks, 2, |&task| Ok(task < 4)).unwrap());
        assert!(side_by_side(&[0; 0], 2, |_| Ok(false)).unwrap());
    }
}

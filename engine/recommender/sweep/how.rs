//! Where and how a sweep goes on; no number depends on anything here but the device.

use crate::device::Place;
use std::path::Path;

/// Told how a sweep goes on, by whichever thread has something to say.
pub trait Watch: Sync {
    /// A line.
    fn says(&self, words: &str);
}

impl Watch for () {
    fn says(&self, _words: &str) {}
}

/// Where and how a sweep goes on.
pub struct How<'a> {
    /// The folder of all of it.
    pub out: &'a Path,
    /// Go on with what is there.
    pub resume: bool,
    /// Trainings side by side; 0 = as many as there are threads and room for.
    pub together: usize,
    /// Where to compute; `None` = the best there is.
    pub device: Option<Place>,
    /// Threads in all; 0 = one a core.
    pub threads: usize,
    /// Whether somebody asked to stop.
    pub stop: fn() -> bool,
    /// Who is told.
    pub watch: &'a dyn Watch,
}

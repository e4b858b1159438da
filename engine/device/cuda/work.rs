//! What has been asked of the driver, counted: tests hold what a pass launches and copies, and not
//! only the time that it takes.

use super::super::Work;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) struct Counts {
    /// Of each of [`kernels::ENTRIES`].
    launches: Vec<AtomicU64>,
    uploads: AtomicU64,
    downloads: AtomicU64,
    downloaded: AtomicU64,
    products: AtomicU64,
}

impl Counts {
    pub fn new() -> Counts {
        Counts {
            launches: kernels::ENTRIES.iter().map(|_| AtomicU64::new(0)).collect(),
            uploads: AtomicU64::new(0),
            downloads: AtomicU64::new(0),
            downloaded: AtomicU64::new(0),
            products: AtomicU64::new(0),
        }
    }

    pub fn launch(&self, entry: usize) {
        self.launches[entry].fetch_add(1, Ordering::Relaxed);
    }

    pub fn upload(&self) {
        self.uploads.fetch_add(1, Ordering::Relaxed);
    }

    pub fn download(&self, bytes: usize) {
        self.downloads.fetch_add(1, Ordering::Relaxed);
        self.downloaded.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A product of so many multiplications.
    pub fn product(&self, (m, n, k): (usize, usize, usize)) {
        self.products.fetch_add(m as u64 * n as u64 * k as u64, Ordering::Relaxed);
    }

    pub fn so_far(&self) -> Work {
        let launches = kernels::ENTRIES.iter().zip(&self.launches);
        let launches = launches.map(|(entry, count)| (entry.name, count.load(Ordering::Relaxed)));
        Work {
            launches: launches.filter(|&(_, count)| count > 0).collect(),
            uploads: self.uploads.load(Ordering::Relaxed),
            downloads: self.downloads.load(Ordering::Relaxed),
            downloaded: self.downloaded.load(Ordering::Relaxed),
            products: self.products.load(Ordering::Relaxed),
        }
    }
}

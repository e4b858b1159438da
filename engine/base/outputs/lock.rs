use super::begun::{self, Begun};
use super::place::{folder_of, identity_at, Identity};
use crate::base::Fault;
use anyhow::Result;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How the name of a lock ends.
pub const END: &str = ".engine.lock";

/// The right to write a file or a folder, until it is dropped.
///
/// A file is locked by another one, `.NAME.engine.lock` beside it, because the file itself is
/// renamed over; a folder by `.engine.lock` in it. Who holds the lock writes its number into it and
/// removes it at the end, so that nothing stays beside a result; what a killed process leaves is
/// taken over by the next.
///
/// To remove a lock is the well-known trap: two that opened it before and after may both hold "it",
/// each another file. Here a lock counts only if, once it is held, its path still leads to the file
/// that is held; otherwise it is tried anew. From then on nobody can take the name away but its
/// holder, since to remove it one must hold it, and whoever opens the name finds the file that is
/// held.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
    begun: Option<Begun>,
}

impl Lock {
    /// The lock of a file.
    pub fn beside(path: &Path) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(END);
        folder_of(path).join(name)
    }

    /// The lock of a folder.
    pub fn within(folder: &Path) -> PathBuf {
        folder.join(END)
    }

    /// Takes the lock at `path` of what messages call `what`. Refuses what another process holds,
    /// and a file of that name that is no lock.
    pub fn take(path: PathBuf, what: &str) -> Result<Lock> {
        let (file, begun) = begun::made(&path, || Lock::hold(&path, what))?;
        Ok(Lock { path, file, begun: Some(begun) })
    }

    fn hold(path: &Path, what: &str) -> Result<File> {
        let refuse = |e: io::Error| {
            let words = format!("{what}: cannot be locked: {}", path.display());
            match e.kind() {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    Fault::Usage.wrap(e, words)
                }
                _ => Fault::Device.wrap(e, words),
            }
        };
        loop {
            let mut file = open(path).map_err(refuse)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let holder = match holder(&mut file) {
                        Ok(Holder::Process(number)) => format!("process {number}"),
                        _ => "another process".to_owned(),
                    };
                    return Err(Fault::Usage.error(format!(
                        "{what}: expected what nobody else writes, got what {holder} is writing; \
                        wait for it or choose another"
                    )));
                }
                // Not every file system has locks; without them it is as it was before there were
                // any.
                Err(TryLockError::Error(e)) if cannot(&e) => {}
                Err(TryLockError::Error(e)) => return Err(refuse(e)),
            }
            let held = file.metadata().map_err(refuse)?;
            if identity_at(path) != Some(Identity::There(held.dev(), held.ino())) {
                continue;
            }
            // One that was made just now is empty.
            let stranger = held.len() > 0 && holder(&mut file).map_err(refuse)? == Holder::Nobody;
            if stranger {
                return Err(Fault::Usage.error(format!(
                    "{what}: {}: expected a lock of ours or nothing, got another file; its name is \
                    kept for locks: rename it",
                    path.display()
                )));
            }
            // The number is for those who are refused; that it cannot be written harms nobody.
            let _ = file.set_len(0).and_then(|()| file.rewind());
            let _ = file.write_all(format!("{}\n", std::process::id()).as_bytes());
            return Ok(file);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // From here on it may be another's.
        self.begun = None;
        // Still held: see above. What cannot be removed is taken over by the next.
        let _ = fs::remove_file(&self.path);
        // To close it would not do where a child that is just being started has it open as well.
        let _ = self.file.unlock();
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

fn cannot(e: &io::Error) -> bool {
    e.kind() == ErrorKind::Unsupported || e.raw_os_error() == Some(libc::ENOLCK)
}

/// Who is written in a lock.
#[derive(Debug, PartialEq)]
enum Holder {
    /// This process.
    Process(u32),
    /// Whoever has it is just about to say so.
    Unsaid,
    /// Nobody: it is no lock.
    Nobody,
}

fn holder(file: &mut File) -> io::Result<Holder> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(32).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    Ok(match text.trim_end_matches('\n') {
        "" => Holder::Unsaid,
        number => number.parse().map_or(Holder::Nobody, Holder::Process),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_holds_it_and_the_other_is_told_who() {
        let folder = tempfile::tempdir().unwrap();
        let path = Lock::beside(&folder.path().join("x.bin"));
        let first = Lock::take(path.clone(), "x").unwrap();
        let refused = Lock::take(path.clone(), "x").unwrap_err();
        assert_eq!(Fault::of(&refused), Some(Fault::Usage));
        let number = format!("process {}", std::process::id());
        assert!(refused.to_string().contains(&number), "{refused}");
        drop(first);
        assert!(!path.exists(), "nothing stays");
        // What a killed process leaves, and what is no lock.
        fs::write(&path, "999999\n").unwrap();
        drop(Lock::take(path.clone(), "x").unwrap());
        for other in ["my notes", "12 13\n", "1234567890123456789012345678901234567890"] {
            fs::write(&path, other).unwrap();
            assert!(Lock::take(path.clone(), "x").is_err(), "{other}");
            assert_eq!(fs::read_to_string(&path).unwrap(), other);
        }
    }

    /// Many take, hold and remove it as fast as they can: never two at once.
    #[test]
    fn removing_lets_no_two_in() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        if let Ok(lock) = Lock::take(Lock::within(folder.path()), "x") {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            taken.fetch_add(1, Ordering::SeqCst);
                            std::thread::yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
        assert!(taken.into_inner() > 0);
    }
}

//! What is there only while this process is at work on it, so that it can be taken away by a
//! process that is told to end.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something that goes when the process has to; until this is dropped.
#[derive(Debug)]
pub struct Begun(u64);

#[derive(Debug)]
struct Thing {
    number: u64,
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug, PartialEq)]
enum Kind {
    /// A file, or a folder with all that is in it.
    Partial,
    /// It has its name, but others that belong to it are still to come.
    Published,
    /// A folder, if nothing is in it.
    Folder,
}

#[derive(Debug)]
struct Things {
    next: u64,
    /// In the order in which they were begun.
    all: Vec<Thing>,
}

fn things() -> MutexGuard<'static, Things> {
    static THINGS: Mutex<Things> = Mutex::new(Things { next: 0, all: Vec::new() });
    THINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Things {
    fn add(&mut self, path: &Path, kind: Kind) -> Begun {
        let number = self.next;
        self.next += 1;
        self.all.push(Thing { number, path: path.to_owned(), kind });
        Begun(number)
    }
}

/// A file or a folder that is nobody's yet is about to be there.
pub fn partial(path: &Path) -> Begun {
    things().add(path, Kind::Partial)
}

/// Makes a folder for what is to be written.
pub fn folder(path: &Path) -> io::Result<Begun> {
    // One moment for whoever takes things away: only what this process made may go.
    let mut things = things();
    fs::create_dir(path)?;
    Ok(things.add(path, Kind::Folder))
}

/// Makes what goes with this process: nobody takes things away before it is known.
pub fn made<T, E>(path: &Path, make: impl FnOnce() -> Result<T, E>) -> Result<(T, Begun), E> {
    let mut things = things();
    let made = make()?;
    Ok((made, things.add(path, Kind::Partial)))
}

impl Begun {
    /// Gives what was begun its name. Where nothing had that name before, it goes with the rest
    /// until the work that it is part of is [`done`].
    pub fn publish(self, to: &Path) -> io::Result<()> {
        // One moment for whoever takes things away.
        let mut things = things();
        let new = fs::symlink_metadata(to).is_err();
        let own = things.all.iter_mut().find(|thing| thing.number == self.0);
        let own = own.expect("it is there as long as this is");
        fs::rename(&own.path, to)?;
        if new {
            (own.path, own.kind) = (to.to_owned(), Kind::Published);
            std::mem::forget(self);
        }
        Ok(())
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        things().all.retain(|thing| thing.number != self.0);
    }
}

/// A mark for [`done`].
pub fn now() -> u64 {
    things().next
}

/// Work that began at this mark is done: what it published stays.
pub fn done(since: u64) {
    let stays = |thing: &Thing| thing.number >= since && thing.kind == Kind::Published;
    things().all.retain(|thing| !stays(thing));
}

/// Removes a folder into which another thread may still be making files: until it is gone, each
/// new name in it is in the way once.
fn remove_while_written(folder: &Path) -> io::Result<()> {
    let mut tries = 0..1000;
    loop {
        match fs::remove_dir_all(folder) {
            Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty && tries.next().is_some() => {}
            done => return done,
        }
    }
}

/// Takes away all that this process has begun and not finished, for a process that is about to end
/// at once: what is written after this never gets a name.
pub fn abandon() {
    let mut things = things();
    // The last first: a folder is empty when what is in it has gone. What cannot be removed is
    // swept by whoever writes there next.
    for thing in things.all.drain(..).rev() {
        let _ = match thing.kind {
            Kind::Folder => fs::remove_dir(&thing.path),
            _ if thing.path.is_dir() => remove_while_written(&thing.path),
            _ => fs::remove_file(&thing.path),
        };
    }
    std::mem::forget(things);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_while_somebody_makes_files_in_it() {
        let root = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let folder = root.path().join(round.to_string());
            fs::create_dir(&folder).unwrap();
            let inside = folder.clone();
            let writer = std::thread::spawn(move || {
                let mut names = 0..;
                while fs::write(inside.join(names.next().unwrap_or(0).to_string()), "x").is_ok() {}
            });
            std::thread::sleep(std::time::Duration::from_millis(1));
            remove_while_written(&folder).unwrap();
            writer.join().unwrap();
            assert!(!folder.exists());
        }
    }
}

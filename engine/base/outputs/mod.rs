//! Where everything that is written is opened: what a verb may write, and how.
//!
//! A verb tells an [`Outputs`] what it reads and claims what it will write, all of it, before it
//! touches anything. [`Outputs::claim`] then compares every output with every input and every other
//! output, by device and number, so that no link, path or mount makes one file look like two; takes
//! the locks; sweeps away what killed processes left; and refuses what stands there already, unless
//! it was asked to overwrite. The [`Held`] that comes back is the right to write, and ends with its
//! life.
//!
//! A process that has to end at once takes away what it has begun and not finished ([`abandon`]).
//!
//! Files are then written by [`write_atomically`], or by [`append`] where lines come one by one. No
//! other room opens a file to write, renames or removes (`tests/floors/outputs.rs`).

mod begun;
mod lock;
mod place;
mod whole;

pub use begun::abandon;
pub use whole::{
    append, discard, make_folder, remove, write_atomically, write_folder_atomically, write_whole,
};

use super::Fault;
use anyhow::Result;
use begun::Begun;
use lock::Lock;
use place::{identity_at, Identity, Kind, Place};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What may stand already where something is to be written.
pub enum Standing {
    /// Nothing.
    New,
    /// Nothing; what an earlier run left could be gone on with, if that were asked for.
    Resumable,
    /// What an earlier run left: it is gone on with.
    Continued,
    /// What this knows as written by ourselves, to be made again.
    Ours(fn(&Path) -> bool),
}

/// What a verb writes in a folder. What else is in it is nobody's business.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Files; the last is the one without which the others are nothing.
    pub files: &'static [&'static str],
    /// Folders, with all that is in them.
    pub folders: &'static [&'static str],
}

/// What one call of a verb reads and will write.
#[derive(Default)]
pub struct Outputs {
    force: bool,
    inputs: Vec<Told>,
    claims: Vec<Claim>,
}

/// A file by the name that messages have for it.
struct Told {
    name: String,
    /// With its links resolved.
    path: PathBuf,
    identity: Identity,
}

impl Told {
    fn of(name: &str, path: &Path) -> Option<Told> {
        let identity = identity_at(path)?;
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Some(Told { name: name.to_owned(), path, identity })
    }
}

struct Claim {
    name: String,
    path: PathBuf,
    form: Form,
    standing: Standing,
}

enum Form {
    File,
    Folder(Written),
    /// The first of these that is not there.
    Numbered(Written, Box<dyn Fn(u32) -> PathBuf>),
}

impl Outputs {
    /// Nothing yet. With `force` what stands where something is to be written is overwritten.
    pub fn new(force: bool) -> Outputs {
        Outputs { force, ..Outputs::default() }
    }

    /// Whether what is there is overwritten.
    pub fn force(&self) -> bool {
        self.force
    }

    /// Tells of an input; "-" is standard input. One that is not there is its reader's to refuse.
    pub fn reads(&mut self, name: &str, path: &Path) -> &mut Outputs {
        let path = if path == Path::new("-") { Path::new("/dev/stdin") } else { path };
        self.inputs.extend(Told::of(name, path));
        self
    }

    /// Tells of a folder that is read, and of the files in it that are.
    pub fn reads_in(
        &mut self,
        name: &str,
        folder: &Path,
        is_read: impl Fn(&str) -> bool,
    ) -> &mut Outputs {
        self.reads(name, folder);
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(&is_read) {
                self.reads(name, &entry.path());
            }
        }
        self
    }

    /// Claims a file; "-" is standard output, which is compared in any case.
    pub fn file(&mut self, name: &str, path: &Path, standing: Standing) -> &mut Outputs {
        match path == Path::new("-") {
            true => self,
            false => self.add(name, path, Form::File, standing),
        }
    }

    /// Claims a folder and what will be written in it.
    pub fn folder(
        &mut self,
        name: &str,
        path: &Path,
        contents: Written,
        standing: Standing,
    ) -> &mut Outputs {
        self.add(name, path, Form::Folder(contents), standing)
    }

    /// Claims the first of the folders `at(1)`, `at(2)` … that is not there; to make it is to have
    /// it.
    pub fn numbered(
        &mut self,
        name: &str,
        at: impl Fn(u32) -> PathBuf + 'static,
        contents: Written,
    ) -> &mut Outputs {
        let form = Form::Numbered(contents, Box::new(at));
        self.add(name, Path::new(""), form, Standing::New)
    }

    fn add(&mut self, name: &str, path: &Path, form: Form, standing: Standing) -> &mut Outputs {
        let (name, path) = (name.to_owned(), path.to_owned());
        self.claims.push(Claim { name, path, form, standing });
        self
    }

    /// Compares, locks, sweeps, and looks at what stands there, in this order. What it refuses it
    /// leaves as it was.
    pub fn claim(self) -> Result<Held> {
        self.compare()?;
        let (locks, made, folders) = (Vec::new(), Vec::new(), Vec::new());
        let mut held = Held { locks, made, folders, since: begun::now() };
        for claim in &self.claims {
            self.hold(claim, &mut held)?;
        }
        for claim in &self.claims {
            self.judge(claim)?;
        }
        Ok(held)
    }

    /// Refuses an output that is an input or another output. Standard output and error count where
    /// they are files: lines of ours among an input's would be its end as well.
    fn compare(&self) -> Result<()> {
        let (mut taken, mut standard) = (Vec::new(), Vec::new());
        for (name, path) in [("standard output", "/dev/stdout"), ("standard error", "/dev/stderr")]
        {
            let told = Told::of(name, Path::new(path));
            if let Some(told) = told.filter(|_| Path::new(path).is_file()) {
                self.apart(&[], name, Path::new(path), &told.identity)?;
                standard.push(told);
            }
        }
        for claim in &self.claims {
            for (path, identity) in claim.identities()? {
                self.apart(&taken, &claim.name, &path, &identity)?;
                if Place::of(&path).is_ok_and(|place| place.kind != Kind::Stream) {
                    self.apart(&standard, &claim.name, &path, &identity)?;
                }
                taken.push(Told { name: claim.name.clone(), path, identity });
            }
            for folder in claim.folders() {
                let inside = self.inputs.iter().find(|told| told.path.starts_with(&folder));
                if let Some(told) = inside {
                    return Err(same(&claim.name, &folder, &told.name));
                }
            }
        }
        Ok(())
    }

    fn apart(&self, taken: &[Told], name: &str, path: &Path, identity: &Identity) -> Result<()> {
        let other = self.inputs.iter().chain(taken).find(|told| told.identity == *identity);
        other.map_or(Ok(()), |told| Err(same(name, path, &told.name)))
    }

    /// Takes the lock of a claim, and sweeps.
    fn hold(&self, claim: &Claim, held: &mut Held) -> Result<()> {
        let shown = format!("{}: {}", claim.name, claim.path.display());
        let (folder, contents) = match &claim.form {
            Form::File => {
                let place = claim.place()?;
                if matches!(place.kind, Kind::Nothing | Kind::File) {
                    held.locks.push(Lock::take(Lock::beside(&place.path), &shown)?);
                    let name = place.path.file_name().unwrap_or_default();
                    self.sweep(place::folder_of(&place.path), |found| {
                        whole::is_partial_of(found, name)
                    });
                }
                return Ok(());
            }
            Form::Folder(contents) => {
                if claim.path.exists() && !claim.path.is_dir() {
                    return Err(refuse(claim, "a folder", "a file", "choose another"));
                }
                held.make(&claim.path)?;
                (claim.path.clone(), contents)
            }
            Form::Numbered(contents, at) => {
                let mut numbers = 1..;
                let (folder, begun) = loop {
                    let folder = numbers.next().map(at).expect("some number is free");
                    held.make(place::folder_of(&folder))?;
                    match begun::folder(&folder) {
                        Ok(begun) => break (folder, begun),
                        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                        Err(e) => return Err(cannot_make(&folder, e)),
                    }
                };
                held.made.insert(0, Made { path: folder.clone(), begun });
                (folder, contents)
            }
        };
        held.locks.push(Lock::take(Lock::within(&folder), &shown)?);
        let own = || contents.files.iter().chain(contents.folders);
        self.sweep(&folder, |found| own().any(|name| whole::is_partial_of(found, name.as_ref())));
        for inside in contents.folders {
            self.sweep(&folder.join(inside), whole::is_partial);
        }
        held.folders.push(Folder { path: folder, contents: *contents });
        Ok(())
    }

    /// Removes what killed processes left in a folder under temporary names. Nobody needs it, so
    /// that it cannot be removed changes nothing; what is read stays.
    fn sweep(&self, folder: &Path, is_left: impl Fn(&OsStr) -> bool) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let found = identity_at(&path);
            let read = self.inputs.iter().any(|told| Some(&told.identity) == found.as_ref());
            if is_left(&entry.file_name()) && !read {
                let _ = match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    true => fs::remove_dir_all(&path),
                    false => fs::remove_file(&path),
                };
            }
        }
    }

    /// Refuses what stands where something is to be written.
    fn judge(&self, claim: &Claim) -> Result<()> {
        let there = match &claim.form {
            Form::Numbered(..) => return Ok(()),
            Form::Folder(_) => is_filled(&claim.path).map_err(|e| cannot_make(&claim.path, e))?,
            Form::File => match claim.place()?.kind {
                Kind::Nothing | Kind::Stream => return Ok(()),
                Kind::File => true,
                Kind::Folder => return Err(refuse(claim, "a file", "a folder", "choose another")),
                Kind::Other => {
                    let advice = "choose another";
                    return Err(refuse(claim, "a file", "a disk or a socket", advice));
                }
            },
        };
        let may = match claim.standing {
            Standing::Continued => true,
            Standing::Ours(ours) => ours(&claim.path),
            Standing::New | Standing::Resumable => false,
        };
        if !there || may || self.force {
            return Ok(());
        }
        let (expected, got) = match claim.form {
            Form::File => ("nothing there", "a file"),
            _ => ("nothing there or an empty folder", "a folder with files"),
        };
        let resume = match claim.standing {
            Standing::Resumable => "go on with it by setting `resume`, ",
            _ => "",
        };
        let advice = format!("{resume}choose another, or overwrite it by setting `force`");
        Err(refuse(claim, expected, got, &advice))
    }
}

impl Claim {
    /// Where the claimed file is.
    fn place(&self) -> Result<Place> {
        Place::of(&self.path).map_err(|e| {
            let shown = self.path.display();
            Fault::Usage.error(format!(
                "{}: {shown}: expected the path of a file in a folder that is there, got: {e}; \
                make the folder or choose another",
                self.name
            ))
        })
    }

    /// All files that are written by it, locks included, with their paths.
    fn identities(&self) -> Result<Vec<(PathBuf, Identity)>> {
        let paths = match &self.form {
            Form::Numbered(..) => Vec::new(),
            Form::File => {
                let place = self.place()?;
                let lock = (place.kind != Kind::Stream).then(|| Lock::beside(&place.path));
                [self.path.clone()].into_iter().chain(lock).collect()
            }
            Form::Folder(contents) => {
                let own = [self.path.clone(), Lock::within(&self.path)];
                let inside = contents.files.iter().chain(contents.folders);
                own.into_iter().chain(inside.map(|name| self.path.join(name))).collect()
            }
        };
        let identified = |path: PathBuf| Some((path.clone(), Place::of(&path).ok()?.identity?));
        Ok(paths.into_iter().filter_map(identified).collect())
    }

    /// The folders that are written with all that is in them, links resolved.
    fn folders(&self) -> Vec<PathBuf> {
        let Form::Folder(contents) = &self.form else { return Vec::new() };
        let inside = contents.folders.iter().map(|name| self.path.join(name));
        inside.filter_map(|folder| fs::canonicalize(folder).ok()).collect()
    }
}

/// Whether a path leads to a file or to nothing yet: to what stays when it was written.
pub fn is_kept(path: &Path) -> bool {
    Place::of(path).is_ok_and(|place| matches!(place.kind, Kind::Nothing | Kind::File))
}

fn same(name: &str, path: &Path, other: &str) -> anyhow::Error {
    let expected = match other == name {
        true => "expected a file for each output".to_owned(),
        false => format!("expected another file than {other}"),
    };
    let shown = path.display();
    Fault::Usage.error(format!("{name}: {shown}: {expected}, got the same; choose another"))
}

fn refuse(claim: &Claim, expected: &str, got: &str, advice: &str) -> anyhow::Error {
    let (name, shown) = (&claim.name, claim.path.display());
    Fault::Usage.error(format!("{name}: {shown}: expected {expected}, got {got}; {advice}"))
}

fn cannot_make(folder: &Path, e: io::Error) -> anyhow::Error {
    let words = format!("{}: expected a folder to write in", folder.display());
    match Fault::of_system(&e) {
        Some(Fault::Usage) => Fault::Usage.error(format!("{words}, got: {e}; choose another")),
        _ => Fault::Device.wrap(e, words),
    }
}

/// Whether a folder holds anything but a lock of ours.
fn is_filled(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if entry?.file_name() != lock::END {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The right to write what was claimed. When it goes, so do its locks, and folders that it made and
/// nobody filled.
#[derive(Debug)]
pub struct Held {
    // In this order: a folder is empty only without its lock.
    #[allow(dead_code, reason = "held, and let go by their end")]
    locks: Vec<Lock>,
    made: Vec<Made>,
    folders: Vec<Folder>,
    /// When the work began that this is the right to.
    since: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        begun::done(self.since);
    }
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    contents: Written,
}

#[derive(Debug)]
struct Made {
    path: PathBuf,
    #[allow(dead_code, reason = "ends with it")]
    begun: Begun,
}

impl Drop for Made {
    fn drop(&mut self) {
        // Only an empty folder can be removed so.
        let _ = fs::remove_dir(&self.path);
    }
}

impl Held {
    /// Removes what of ours stands in the folder that was claimed, so that old and new never stand
    /// together and look like a whole. To be called right before the first write: until then,
    /// whatever refuses costs nothing that was there.
    pub fn clear(&self) -> Result<()> {
        for folder in &self.folders {
            folder.clear().map_err(|e| {
                let words = format!("{}: cannot be overwritten", folder.path.display());
                Fault::Device.wrap(e, words)
            })?;
        }
        Ok(())
    }

    /// Writes the files of the folder that was claimed, the last if several were. `fill` writes
    /// them into a hidden folder, and only when all of them are there do they take the place of
    /// what of ours stood there: what fails before costs nothing but room for both.
    pub fn replace(&self, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let folder = self.folders.last().expect("a folder was claimed");
        let staged = whole::partial(&folder.path.join(folder.contents.files[0]), "");
        let _begun = begun::partial(&staged);
        let write = || -> Result<()> {
            whole::make_folder(&staged)?;
            fill(&staged)?;
            self.clear()?;
            folder.take(&staged).inspect_err(|_| drop(folder.clear()))?;
            Ok(fs::remove_dir(&staged)?)
        };
        write().inspect_err(|_| drop(fs::remove_dir_all(&staged)))
    }

    /// The folder that was claimed, the last if several were.
    pub fn folder(&self) -> &Path {
        self.folders.last().map_or(Path::new(""), |folder| &folder.path)
    }

    fn make(&mut self, folder: &Path) -> Result<()> {
        let made = whole::make_folder(folder).map_err(|e| cannot_make(folder, e))?;
        // The innermost goes first.
        let made = made.into_iter().rev().map(|(path, begun)| Made { path, begun });
        self.made.splice(0..0, made);
        Ok(())
    }
}

impl Folder {
    /// Gives the files of ours that are in `staged` their names here, in their order.
    fn take(&self, staged: &Path) -> io::Result<()> {
        for name in self.contents.files {
            let from = staged.join(name);
            if from.exists() {
                begun::partial(&from).publish(&self.path.join(name))?;
            }
        }
        whole::sync_folder(&self.path)
    }

    fn clear(&self) -> io::Result<()> {
        // What could be gone on with goes before what says as what.
        for name in self.contents.folders {
            discard(&self.path.join(name))?;
        }
        for name in self.contents.files.iter().rev() {
            remove(&self.path.join(name))?;
        }
        Ok(())
    }
}

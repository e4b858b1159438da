use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Which file a path leads to, whatever it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// What is there: a device and a number on it.
    There(u64, u64),
    /// What is not there yet: a name in a folder that is.
    Named(u64, u64, OsString),
}

/// What stands at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing yet.
    Nothing,
    /// A file that a rename may replace.
    File,
    /// A folder.
    Folder,
    /// Something to be written into as it is: a FIFO, a terminal, `/dev/null`, an open file of this
    /// process under `/dev/fd`.
    Stream,
    /// Something that nobody writes a result into: a disk, a socket.
    Other,
}

/// A path, looked at: where its links lead and what is there.
#[derive(Clone, Debug)]
pub struct Place {
    /// The path with its links resolved, also the last one where what it leads to is not there yet;
    /// of a stream the path as it was given.
    pub path: PathBuf,
    /// What is there.
    pub kind: Kind,
    /// Which file that is; `None` where writing twice harms nobody, as with a terminal.
    pub identity: Option<Identity>,
}

impl Place {
    /// Looks at a path. Fails where the folder that should hold it is not there.
    pub fn of(path: &Path) -> io::Result<Place> {
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Place::of_nothing(path),
            Err(e) => return Err(e),
        };
        let mut kind = kind(&found);
        let mut resolved = path.to_owned();
        if kind == Kind::File && is_open_file(path) {
            kind = Kind::Stream;
        } else if matches!(kind, Kind::File | Kind::Folder) {
            resolved = fs::canonicalize(path)?;
        }
        Ok(Place { path: resolved, kind, identity: identity(&found) })
    }

    fn of_nothing(path: &Path) -> io::Result<Place> {
        let mut path = path.to_owned();
        // A link may lead to what is not there yet; as many of them as the system follows.
        for _ in 0..40 {
            let Ok(target) = fs::read_link(&path) else { break };
            path = folder_of(&path).join(target);
        }
        let Some(name) = path.file_name() else { return Err(io::ErrorKind::NotFound.into()) };
        let folder = fs::canonicalize(folder_of(&path))?;
        let found = fs::metadata(&folder)?;
        let identity = Identity::Named(found.dev(), found.ino(), name.to_owned());
        Ok(Place { path: folder.join(name), kind: Kind::Nothing, identity: Some(identity) })
    }
}

/// Which file is at a path, where there is one that it could harm to write.
pub fn identity_at(path: &Path) -> Option<Identity> {
    identity(&fs::metadata(path).ok()?)
}

/// The folder that a path is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn identity(found: &Metadata) -> Option<Identity> {
    let kind = found.file_type();
    let counts = kind.is_file() || kind.is_dir() || kind.is_fifo();
    counts.then(|| Identity::There(found.dev(), found.ino()))
}

fn kind(found: &Metadata) -> Kind {
    let kind = found.file_type();
    match () {
        () if kind.is_file() => Kind::File,
        () if kind.is_dir() => Kind::Folder,
        () if kind.is_fifo() || kind.is_char_device() => Kind::Stream,
        () => Kind::Other,
    }
}

/// Whether a path is one of the names of this process's open files, such as `/dev/stdout`: what was
/// opened is to be written, by whatever name it has.
fn is_open_file(path: &Path) -> bool {
    ["/dev/fd", "/proc/self/fd"].iter().any(|folder| path.starts_with(folder))
        || ["/dev/stdout", "/dev/stderr"].iter().any(|name| path == Path::new(name))
}

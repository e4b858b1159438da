use super::Fault;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a file that will be mapped, or read as part of a folder. Refuses at once what has no
/// contents of its own, such as a FIFO, which would keep us waiting for somebody who writes, or a
/// device.
pub fn open_file(path: &Path) -> Result<File> {
    // Of a file the flag changes nothing; it is what lets a FIFO be opened without waiting.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let kind = file.metadata()?.file_type();
    match kind {
        kind if kind.is_file() => Ok(file),
        kind if kind.is_dir() => Err(ErrorKind::IsADirectory.into()),
        _ => Err(Error::new(ErrorKind::InvalidInput, "a FIFO or a device, not a file")),
    }
}

/// All of a file that [`open_file`] opens.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What `read` finds at a path; `None` where nothing is there.
pub fn if_there<'p, T>(
    path: &'p Path,
    read: impl FnOnce(&'p Path) -> Result<T>,
) -> anyhow::Result<Option<T>> {
    match read(path) {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(anyhow::Error::new(e).context(path.display().to_string())),
    }
}

/// Opens a file, or what streams such as a FIFO. Refuses a folder, which opens and is not read.
pub fn open_stream(path: &Path) -> Result<File> {
    let file = File::open(path)?;
    match file.metadata()?.is_dir() {
        true => Err(ErrorKind::IsADirectory.into()),
        false => Ok(file),
    }
}

/// The refusal of a path that was named to be read and cannot be: the same words and the same fault
/// whoever reads it. Where something is there that the system would give, but no file, it is the
/// fault `of` whoever made what is read.
pub fn unreadable(
    of: Fault,
    what: &str,
    path: &Path,
    expected: &str,
    why: &Error,
) -> anyhow::Error {
    let (got, advice) = match why.kind() {
        ErrorKind::NotFound => ("nothing: this path does not exist", "check it"),
        ErrorKind::IsADirectory => ("a folder", "name a file"),
        ErrorKind::NotADirectory => ("a path that leads through a file", "check it"),
        ErrorKind::PermissionDenied => ("one that may not be read", "change its permissions"),
        ErrorKind::InvalidData => ("text that is not UTF-8", "convert it"),
        _ => (&*why.to_string(), "check the path"),
    };
    let (fault, path) = (Fault::of_system(why).unwrap_or(of), path.display());
    fault.error(format!("{what}: {path}: expected {expected}, got {got}; {advice}"))
}

/// The same of a file in a folder that was named: that it is not there is the fault `of` whoever
/// made the folder.
pub fn missing(of: Fault, what: &str, path: &Path, expected: &str, why: &Error) -> anyhow::Error {
    if why.kind() != ErrorKind::NotFound {
        return unreadable(of, what, path, expected, why);
    }
    let path = path.display();
    of.error(format!(
        "{what}: {path}: expected {expected}, got nothing: this path does not exist; complete its \
        folder"
    ))
}

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

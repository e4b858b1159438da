use super::Fault;
use anyhow::Result;
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

/// What a system says that does not sync folders.
const CANNOT: [ErrorKind; 3] =
    [ErrorKind::PermissionDenied, ErrorKind::InvalidInput, ErrorKind::Unsupported];

/// Writes a file whole or not at all: a temporary name beside it, synced, renamed. A failure
/// removes what was begun and leaves what stood there before.
pub fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<()> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("file");
    let partial = path.with_file_name(format!(".{name}.{}.partial", std::process::id()));
    let write = || -> Result<()> {
        let mut file = BufWriter::new(File::create(&partial)?);
        fill(&mut file)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&partial, path)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The rename itself is on disk only when the folder is; not every folder may be read, and
        // not every file system can sync one.
        match File::open(folder).and_then(|folder| folder.sync_all()) {
            Err(e) if !CANNOT.contains(&e.kind()) => Err(e.into()),
            _ => Ok(()),
        }
    };
    write().map_err(|error| {
        // What was written of it helps nobody; that it cannot be removed changes nothing.
        let _ = fs::remove_file(&partial);
        let words = format!("{}: cannot be written", path.display());
        match error.downcast_ref::<std::io::Error>() {
            Some(_) => Fault::Device.wrap(error, words),
            None => error.context(words),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.txt");
        write_atomically(&path, |f| Ok(f.write_all(b"old")?)).unwrap();
        let failed = write_atomically(&path, |f| {
            f.write_all(b"half")?;
            anyhow::bail!("stopped")
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

use super::begun::{self, Begun};
use super::place::{folder_of, Kind, Place};
use crate::base::Fault;
use anyhow::Result;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// What a system says that does not sync folders.
const CANNOT: [ErrorKind; 3] =
    [ErrorKind::PermissionDenied, ErrorKind::InvalidInput, ErrorKind::Unsupported];

/// Writes a file whole or not at all: a temporary name beside it, synced, renamed. A failure
/// removes what was begun and leaves what stood there before. A link stays, and what it leads to is
/// written; what is no file, such as a FIFO, is written into as it is.
pub fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<()> {
    let write = || -> Result<()> {
        let place = Place::of(path)?;
        match place.kind {
            Kind::Stream => {
                let mut file = BufWriter::new(OpenOptions::new().append(true).open(&place.path)?);
                fill(&mut file)?;
                return Ok(file.flush()?);
            }
            Kind::Folder => return Err(io::Error::from(ErrorKind::IsADirectory).into()),
            Kind::Other => return Err(io::Error::from(ErrorKind::InvalidInput).into()),
            Kind::Nothing | Kind::File => {}
        }
        let partial = partial(&place.path, "");
        let begun = begun::partial(&partial);
        let whole = || -> Result<()> {
            let mut file = BufWriter::new(File::create(&partial)?);
            fill(&mut file)?;
            file.flush()?;
            file.get_ref().sync_all()?;
            begun.publish(&place.path)?;
            Ok(sync_folder(folder_of(&place.path))?)
        };
        // What was written of it helps nobody; that it cannot be removed changes nothing.
        whole().inspect_err(|_| drop(fs::remove_file(&partial)))
    };
    write().map_err(|error| {
        let words = format!("{}: cannot be written", path.display());
        match error.downcast_ref::<io::Error>() {
            Some(_) => Fault::Device.wrap(error, words),
            None => error.context(words),
        }
    })
}

/// The same of bytes that are at hand.
pub fn write_whole(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    write_atomically(path, |file| Ok(file.write_all(bytes.as_ref())?))
}

/// Writes a folder whole or not at all, as [`write_atomically`] does a file: `fill` is given the
/// temporary one. What stood there before goes.
pub fn write_folder_atomically(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let partial = partial(path, "");
    let begun = begun::partial(&partial);
    let write = || -> Result<()> {
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        make_folder(&partial)?;
        fill(&partial)?;
        sync_folder(&partial)?;
        discard(path)?;
        begun.publish(path)?;
        Ok(sync_folder(folder_of(path))?)
    };
    write().inspect_err(|_| drop(fs::remove_dir_all(&partial)))
}

/// Removes a folder whole or not at all: by another name first, under which nobody takes what is
/// left of it for what it was.
pub fn discard(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        return Ok(());
    }
    let gone = partial(path, "-old");
    if gone.exists() {
        fs::remove_dir_all(&gone)?;
    }
    let _begun = begun::partial(&gone);
    fs::rename(path, &gone)?;
    // Before the first file of it goes, or a crash could bring the name back without them. Where
    // that cannot be had, it is as it was, or if not even that can be, gone.
    if let Err(e) = sync_folder(folder_of(path)) {
        let _ = fs::rename(&gone, path).or_else(|_| fs::remove_dir_all(&gone));
        return Err(e);
    }
    // A disk that fails once has a second chance; what then stays is swept by the next who holds
    // the lock.
    fs::remove_dir_all(&gone).or_else(|_| fs::remove_dir_all(&gone))
}

/// Removes a file, for good; whether there was one.
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(folder_of(path)).map(|()| true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// A file to be written on behind its first `bytes`, which stay; it is made where there is none.
/// That is on disk before anything is written: what was cut off does not come back between lines of
/// now. A FIFO or a device has no length to set and nothing to lose.
pub fn append(path: &Path, bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let place = Place::of(path)?;
    if file.metadata()?.is_file() && place.kind == Kind::File {
        file.set_len(bytes)?;
        file.sync_all()?;
        sync_folder(folder_of(&place.path))?;
    }
    Ok(file)
}

/// Makes a folder and those above it; returns what was not there before, the outermost first.
pub fn make_folder(path: &Path) -> io::Result<Vec<(PathBuf, Begun)>> {
    if path.is_dir() {
        return Ok(Vec::new());
    }
    let mut made = make_folder(folder_of(path))?;
    match begun::folder(path) {
        Ok(begun) => made.push((path.to_owned(), begun)),
        // Somebody else was faster.
        Err(_) if path.is_dir() => return Ok(made),
        Err(e) => return Err(e),
    }
    sync_folder(folder_of(path))?;
    Ok(made)
}

/// The names in a folder are on disk only when the folder is; not every folder may be read, and not
/// every file system can sync one.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(e) if !CANNOT.contains(&e.kind()) => Err(e),
        _ => Ok(()),
    }
}

/// How the name of what is begun and not finished ends.
const PARTIAL: &str = ".partial";

/// The temporary name of what will stand at `path`: hidden, with the number of this process.
pub fn partial(path: &Path, mark: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}{mark}{PARTIAL}", std::process::id()));
    folder_of(path).join(name)
}

/// Whether `found` is a temporary name of `name`, of whatever process.
pub fn is_partial_of(found: &OsStr, name: &OsStr) -> bool {
    let (found, name) = (found.as_encoded_bytes(), name.as_encoded_bytes());
    let inside = found.strip_prefix(b".").and_then(|found| found.strip_prefix(name));
    let inside = inside.and_then(|rest| rest.strip_prefix(b".")?.strip_suffix(PARTIAL.as_bytes()));
    inside.is_some_and(|number| {
        let number = number.strip_suffix(b"-old").unwrap_or(number);
        !number.is_empty() && number.iter().all(u8::is_ascii_digit)
    })
}

/// Whether a name is a temporary one at all.
pub fn is_partial(found: &OsStr) -> bool {
    let found = found.as_encoded_bytes();
    found.starts_with(b".") && found.ends_with(PARTIAL.as_bytes())
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

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let [there, link] = ["there", "link"].map(|name| folder.path().join(name));
        std::os::unix::fs::symlink("there", &link).unwrap();
        for text in ["made", "made anew"] {
            write_atomically(&link, |f| Ok(f.write_all(text.as_bytes())?)).unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(fs::read_to_string(&there).unwrap(), text);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_no_file_is_written_into_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let null = folder.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &null).unwrap();
        write_atomically(&null, |f| Ok(f.write_all(b"gone")?)).unwrap();
        assert!(write_atomically(folder.path(), |_| Ok(())).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn temporary_names_are_known_and_others_are_not() {
        let is = |found: &str| is_partial_of(found.as_ref(), "x.bin".as_ref());
        assert!(is(".x.bin.7.partial") && is(".x.bin.7-old.partial"));
        for other in ["x.bin", ".x.bin.partial", ".x.bin.y.partial", ".y.7.partial", "x.7.partial"]
        {
            assert!(!is(other), "{other}");
        }
    }

    #[test]
    fn folders_come_and_go_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        assert_eq!(make_folder(&path).unwrap().len(), 2);
        for text in ["one", "two"] {
            let fill = |at: &Path| Ok(fs::write(at.join("x"), text)?);
            write_folder_atomically(&path.join("c"), fill).unwrap();
            assert_eq!(fs::read_to_string(path.join("c/x")).unwrap(), text);
        }
        let failed = write_folder_atomically(&path.join("c"), |_| anyhow::bail!("stopped"));
        assert!(failed.is_err() && path.join("c/x").exists());
        discard(&path.join("c")).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }
}

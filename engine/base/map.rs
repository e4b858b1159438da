//! Files as memory: every file that is mapped is mapped here.
//!
//! A map is what its file is, also later: whoever writes over the file (`cp NEW OLD`) changes the
//! numbers under the reader's hands, and where it is cut short, or its disk fails, the processor
//! cannot read it at all, which ends a process without a word (SIGBUS). Here such pages become
//! zeros and the map remembers it. Nobody can be told at that moment, so what was made of a map
//! counts only once [`Map::unchanged`] says so: it is asked before anything goes out.

use super::{open_file, Fault};
use anyhow::Result;
use libc::{c_int, c_void, siginfo_t};
use memmap2::{Mmap, MmapOptions};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The bytes of a file.
pub struct Map(Bytes);

enum Bytes {
    /// In pages of the file.
    Mapped(Mapped),
    /// In memory of ours: whole words, so that numbers in it are aligned, and how many bytes count.
    Read(Vec<u64>, usize),
}

struct Mapped {
    map: Mmap,
    watch: Arc<Watch>,
}

/// A file was changed while it was mapped.
#[derive(Debug)]
pub struct Changed(String);

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Changed {}

impl Changed {
    /// Whether this is why something failed.
    pub fn is_cause_of(error: &anyhow::Error) -> bool {
        error.chain().any(|cause| cause.is::<Changed>())
    }
}

impl Map {
    /// Maps a file.
    pub fn open(path: &Path) -> io::Result<Map> {
        let file = open_file(path)?;
        let as_opened = file.metadata()?;
        let length = usize::try_from(as_opened.len()).map_err(io::Error::other)?;
        handle_faults();
        // SAFETY: the map is private and read-only. Its bytes may become others, which every reader
        // of a `Map` bears: they are numbers, or text that is checked. Where there is nothing any
        // more the handler puts zeros.
        let map = unsafe { MmapOptions::new().len(length).map(&file) }?;
        let mut watched = watched();
        let place = Place::taken(map.as_ptr() as usize, length);
        let watch = Arc::new(Watch { path: path.to_owned(), file, as_opened, place });
        watched.push(watch.clone());
        Ok(Map(Bytes::Mapped(Mapped { map, watch })))
    }

    /// Reads a file into memory, where it stays what it is whatever becomes of the file.
    pub fn read(path: &Path) -> io::Result<Map> {
        let mut file = open_file(path)?;
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut words = Vec::new();
        words.try_reserve_exact(length.div_ceil(8))?;
        words.resize(length.div_ceil(8), 0u64);
        file.read_exact(&mut bytemuck::cast_slice_mut(&mut words)[..length])?;
        Ok(Map(Bytes::Read(words, length)))
    }

    /// Refuses a file that was written to or cut short since it was opened, or that could not be
    /// read: what was made of it is not to be trusted. A file that was replaced by another under
    /// its name is unchanged.
    pub fn unchanged(&self) -> Result<()> {
        match &self.0 {
            Bytes::Mapped(mapped) => mapped.watch.unchanged(),
            Bytes::Read(..) => Ok(()),
        }
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(mapped) => &mapped.map,
            Bytes::Read(words, length) => &bytemuck::cast_slice(words)[..*length],
        }
    }
}

/// What `work` makes of maps, if all of them are unchanged when it is done. Otherwise that is why
/// it fails, whatever came of it: an answer, an error, or a panic over values that nobody had
/// checked.
pub fn settled<'m, T>(
    maps: impl IntoIterator<Item = &'m Map>,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    // What a panic leaves half done is not used: it goes on, or the maps are of no use any more.
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    maps.into_iter().try_for_each(Map::unchanged)?;
    done.unwrap_or_else(|panic| panic::resume_unwind(panic))
}

/// Why a map that is open, or was closed before anybody asked, is not to be trusted: for whoever
/// has to explain a panic, or ends.
pub fn changed() -> Option<anyhow::Error> {
    let open = watched().iter().find_map(|watch| watch.unchanged().err());
    open.or_else(|| unasked().take())
}

/// What nobody was told of a map that is closed.
fn unasked() -> MutexGuard<'static, Option<anyhow::Error>> {
    static UNASKED: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    UNASKED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is known of the file under a map.
struct Watch {
    path: PathBuf,
    file: File,
    as_opened: Metadata,
    place: &'static Place,
}

impl Watch {
    fn unchanged(&self) -> Result<()> {
        let (before, lost) = (&self.as_opened, self.place.lost.load(SeqCst));
        let written = |file: &Metadata| (file.mtime(), file.mtime_nsec());
        let what = match self.file.metadata() {
            Err(e) => format!("nothing is known of it any more: {e}"),
            Ok(now) if now.len() != before.len() => {
                format!("it has {} bytes and had {}", now.len(), before.len())
            }
            Ok(_) if lost => "a part of it could not be read".to_owned(),
            Ok(now) if written(&now) != written(before) => "it was written to".to_owned(),
            Ok(_) => return Ok(()),
        };
        self.place.told.store(true, SeqCst);
        let sentence = format!(
            "{}: expected a file that stays as it is while it is in use, got one that was changed: \
             {what}; bring it back and start again, and let a new one take its place by its name",
            self.path.display()
        );
        Err(Fault::Device.wrap(Changed(sentence), "file"))
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let place = self.watch.place;
        if place.lost.load(SeqCst) && !place.told.load(SeqCst) {
            *unasked() = self.watch.unchanged().err();
        }
        let mut watched = watched();
        watched.retain(|watch| !Arc::ptr_eq(watch, &self.watch));
        // Before the map itself goes, and another one may lie there.
        place.leave();
    }
}

/// Everything that is mapped. Who holds it alone takes and leaves places.
fn watched() -> MutexGuard<'static, Vec<Arc<Watch>>> {
    static WATCHED: Mutex<Vec<Arc<Watch>>> = Mutex::new(Vec::new());
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a map lies, as the handler of a fault reads it: without a lock, at any moment. Places are
/// in a list that only grows; one that was left is taken again.
struct Place {
    start: AtomicUsize,
    /// 0 while the place is nobody's.
    end: AtomicUsize,
    taken: AtomicBool,
    /// A part of the map could not be read.
    lost: AtomicBool,
    /// And somebody was told.
    told: AtomicBool,
    next: *const Place,
}

// SAFETY: `next` is set before others see the place and never again; all else is atomic.
unsafe impl Sync for Place {}
// SAFETY: it belongs to no thread.
unsafe impl Send for Place {}

/// The first place of the list.
static PLACES: AtomicPtr<Place> = AtomicPtr::new(ptr::null_mut());

/// The places of a list, which lives as long as the process.
fn places() -> impl Iterator<Item = &'static Place> {
    let mut at = PLACES.load(SeqCst).cast_const();
    std::iter::from_fn(move || {
        // SAFETY: places are never freed, so every pointer of the list is null or valid for good.
        let place = unsafe { at.as_ref() }?;
        at = place.next;
        Some(place)
    })
}

impl Place {
    /// A place for the map of so many bytes from `start` on; for one thread at a time.
    fn taken(start: usize, bytes: usize) -> &'static Place {
        let free = places().find(|place| !place.taken.swap(true, SeqCst));
        let place = free.unwrap_or_else(|| {
            let place = Box::into_raw(Box::new(Place {
                start: AtomicUsize::new(0),
                end: AtomicUsize::new(0),
                taken: AtomicBool::new(true),
                lost: AtomicBool::new(false),
                told: AtomicBool::new(false),
                next: PLACES.load(SeqCst),
            }));
            PLACES.store(place, SeqCst);
            // SAFETY: it was made just now and is never freed.
            unsafe { &*place }
        });
        place.lost.store(false, SeqCst);
        place.told.store(false, SeqCst);
        place.start.store(start, SeqCst);
        place.end.store(start + bytes, SeqCst);
        place
    }

    /// The map is about to go.
    fn leave(&self) {
        self.end.store(0, SeqCst);
        self.start.store(0, SeqCst);
        self.taken.store(false, SeqCst);
    }

    /// Where the map ends, if `address` lies in it.
    fn end_around(&self, address: usize) -> Option<usize> {
        let end = self.end.load(SeqCst);
        // A place that changes hands meanwhile has another end by then.
        let whole = || self.start.load(SeqCst) <= address && self.end.load(SeqCst) == end;
        (address < end && whole()).then_some(end)
    }
}

/// What was to be done about such faults before us.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Bytes of a page.
static PAGE: AtomicUsize = AtomicUsize::new(4096);

/// From now on pages of maps that cannot be read are zeros. Faults elsewhere are left to whoever
/// had asked for them, the standard library or a host.
fn handle_faults() {
    BEFORE.get_or_init(|| {
        // SAFETY: a question without arguments of ours.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        PAGE.store(usize::try_from(page).unwrap_or(4096), SeqCst);
        // SAFETY: all zeros is a sigaction: no flags, nothing blocked; the handler has the type
        // that SA_SIGINFO asks for; both live through the calls. Where the system refuses, faults
        // stay what they were.
        unsafe {
            let mut before = MaybeUninit::<libc::sigaction>::zeroed();
            libc::sigaction(libc::SIGBUS, ptr::null(), before.as_mut_ptr());
            let mut ours: libc::sigaction = MaybeUninit::zeroed().assume_init();
            ours.sa_sigaction = on_fault as *const () as usize;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &ours, ptr::null_mut());
            before.assume_init()
        }
    });
}

/// Runs between any two instructions of any thread: only loads, stores and calls of the system.
extern "C" fn on_fault(signal: c_int, about: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the system hands over a valid description; of a fault (a positive code) it has the
    // address.
    let (code, address) = unsafe { ((*about).si_code, (*about).si_addr() as usize) };
    let found =
        places().find_map(|place| Some((place, place.end_around(address)?))).filter(|_| code > 0);
    if let Some((place, end)) = found {
        let page = PAGE.load(SeqCst);
        let first = address - address % page;
        // SAFETY: these pages belong to the map around `address`, whose reader is in this very
        // fault, so that it is alive; it keeps the range and loses the file.
        let zeros = unsafe {
            libc::mmap(
                first as *mut c_void,
                end - first,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if zeros != libc::MAP_FAILED {
            place.lost.store(true, SeqCst);
            return;
        }
    }
    pass_on(signal, code, about, context);
}

/// Does about a fault that is not ours what would be done without us.
fn pass_on(signal: c_int, code: c_int, about: *mut siginfo_t, context: *mut c_void) {
    let Some(before) = BEFORE.get() else { return };
    match before.sa_sigaction {
        // What somebody sent can be ignored; a fault cannot.
        libc::SIG_IGN if code <= 0 => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: the usual end of a process by a signal, which comes as soon as the handler is
            // left.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
        }
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: somebody set this handler with this flag, which is that it has this type.
            unsafe {
                let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                    std::mem::transmute(handler);
                handler(signal, about, context);
            }
        }
        handler => {
            // SAFETY: as above, of a handler without the flag.
            unsafe {
                let handler: extern "C" fn(c_int) = std::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A file of four pages of ones.
    fn file(folder: &tempfile::TempDir) -> (PathBuf, usize) {
        let (path, page) = (folder.path().join("x"), 65536);
        fs::write(&path, vec![1; 4 * page]).unwrap();
        (path, page)
    }

    fn shorten(path: &Path, bytes: usize) {
        File::options().write(true).open(path).unwrap().set_len(bytes as u64).unwrap();
    }

    #[test]
    fn a_file_cut_short_reads_as_zeros_and_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let (path, page) = file(&folder);
        let other = folder.path().join("y");
        fs::write(&other, vec![2; page]).unwrap();
        let (map, beside) = (Map::open(&path).unwrap(), Map::open(&other).unwrap());
        shorten(&path, page);
        let sums: Vec<usize> = std::thread::scope(|scope| {
            let sum = || map.iter().map(|&byte| usize::from(byte)).sum();
            let sums: Vec<_> = (0..4).map(|_| scope.spawn(sum)).collect();
            sums.into_iter().map(|sum| sum.join().unwrap()).collect()
        });
        assert!(sums.iter().all(|&sum| sum >= page && sum < 4 * page), "{sums:?}");
        let error = map.unchanged().unwrap_err();
        assert!(Changed::is_cause_of(&error) && Fault::of(&error) == Some(Fault::Device));
        assert!(format!("{error:#}").contains("65536 bytes and had 262144"), "{error:#}");
        beside.unchanged().unwrap();
        assert!(beside.iter().all(|&byte| byte == 2));
        // Brought back, it is still not what was read.
        fs::write(&path, vec![1; 4 * page]).unwrap();
        assert!(map.unchanged().is_err());
        // What is mapped at the same place later is another file.
        drop(map);
        Map::open(&path).unwrap().unchanged().unwrap();
    }

    #[test]
    fn a_file_that_is_written_to_is_told_of_and_one_that_is_replaced_is_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let (path, page) = file(&folder);
        let map = Map::open(&path).unwrap();
        let new = folder.path().join("new");
        fs::write(&new, b"new").unwrap();
        fs::rename(&new, &path).unwrap();
        map.unchanged().unwrap();
        assert!(map.len() == 4 * page && map.iter().all(|&byte| byte == 1));
        let map = Map::open(&path).unwrap();
        // The clock of files has ticks of some milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(30));
        fs::write(&path, b"old").unwrap();
        let error = map.unchanged().unwrap_err();
        assert!(format!("{error:#}").contains("written to"), "{error:#}");
    }

    #[test]
    fn what_was_read_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (path, page) = file(&folder);
        let map = Map::read(&path).unwrap();
        shorten(&path, 3);
        map.unchanged().unwrap();
        assert!(map.len() == 4 * page && map.iter().all(|&byte| byte == 1));
        assert_eq!(&Map::read(&path).unwrap()[..], [1, 1, 1]);
        shorten(&path, 0);
        assert!(Map::read(&path).unwrap().is_empty() && Map::open(&path).unwrap().is_empty());
    }

    #[test]
    fn work_over_a_changed_file_fails_with_that_whatever_came_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, page) = file(&folder);
        let map = Map::open(&path).unwrap();
        assert_eq!(settled([&map], || Ok(map[0])).unwrap(), 1);
        shorten(&path, page);
        for work in [|| Ok(()), || anyhow::bail!("another"), || panic!("planted")] {
            assert!(Changed::is_cause_of(&settled([&map], work).unwrap_err()));
        }
    }

    /// Is started by the test below: a handler of a process is there for all of its tests.
    #[test]
    #[ignore = "ends its process"]
    fn a_host_handles_its_own_fault() {
        extern "C" fn hosts(_: c_int) {
            // SAFETY: an end without cleaning up, as handlers may.
            unsafe { libc::_exit(42) }
        }
        let folder = tempfile::tempdir().unwrap();
        let (path, page) = file(&folder);
        // SAFETY: a handler of the type that `signal` takes.
        unsafe { libc::signal(libc::SIGBUS, hosts as *const () as usize) };
        let map = Map::open(&path).unwrap();
        // SAFETY: read-only; to be cut short under its reader is what is tried.
        let hosts = unsafe { Mmap::map(&File::open(&path).unwrap()) }.unwrap();
        shorten(&path, page);
        assert_eq!(map[2 * page], 0);
        let end = std::hint::black_box(hosts[2 * page]);
        panic!("read {end} where nothing is");
    }

    #[test]
    fn a_hosts_own_handler_is_asked_about_its_own_faults() {
        let own = std::env::current_exe().unwrap();
        let name = "base::map::tests::a_host_handles_its_own_fault";
        let flags = ["ignored", "exact"].map(|flag| format!("--{flag}"));
        let output = std::process::Command::new(own).args(flags).arg(name).output().unwrap();
        assert_eq!(output.status.code(), Some(42), "{output:?}");
    }
}

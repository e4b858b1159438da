//! What the kernels do to the memories of a GPU, counted by the emulator (`kernels::profiled`) for
//! every entry point at one shape (`profile/cases.rs`) and held against `kernels/profile.tsv`.
//!
//! Bank conflicts and scattered accesses fail unless [`WAIVERS`] says why they may stand. A
//! difference from the table fails until someone has looked at it: `ENGINE_PROFILE_WRITE=1` writes
//! the table anew.

mod cases;

use engine::device::Device;
use kernels::emulated::Grid;
use kernels::profiled::{launch, record, Counts, Launch, Place, Profile, Way};
use memmap2::MmapMut;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;
use std::path::Path;
use std::process::Command;

/// Says so where this build has no profiler.
fn profiled() -> bool {
    if kernels::PROFILER.is_none() {
        println!("skipped: the profiler: this build has none, a C++ compiler is missing");
    }
    kernels::PROFILER.is_some()
}

/// Columns of the table behind the entry's name.
const COLUMNS: [&str; 21] = [
    "blocks",
    "shared",
    "mma",
    "ldmatrix",
    "copies",
    "exponentials",
    "specials",
    "shuffles",
    "barriers",
    "loads",
    "stores",
    "shared_loads",
    "shared_stores",
    "wavefronts",
    "of",
    "sectors",
    "of",
    "lines",
    "read",
    "written",
    "rounds",
];

pub type Row = [u64; COLUMNS.len()];
pub type Table = BTreeMap<String, Row>;

fn row(launch: &Launch) -> Row {
    let (c, touched) = (launch.profile.counts, &launch.profile.touched);
    [
        c.blocks,
        launch.grid.shared as u64,
        c.mma,
        c.ldmatrix,
        c.copies,
        c.exponentials,
        c.specials,
        c.shuffles,
        c.barriers,
        c.loads,
        c.stores,
        c.shared_loads,
        c.shared_stores,
        c.wavefronts.iter().sum(),
        c.wavefronts_ideal.iter().sum(),
        c.sectors.iter().sum(),
        c.sectors_ideal.iter().sum(),
        c.lines,
        32 * touched.iter().map(|t| t.read).sum::<u64>(),
        32 * touched.iter().map(|t| t.written).sum::<u64>(),
        c.rounds,
    ]
}

/// What a row says: counts, all kinds of an access together, and bytes of shared memory of a block
/// and of all that was touched.
pub fn said(row: &Row) -> (Counts, usize, u64) {
    let of = |name| row[COLUMNS.iter().position(|&column| column == name).expect("a column")];
    let counts = Counts {
        blocks: of("blocks"),
        mma: of("mma"),
        ldmatrix: of("ldmatrix"),
        copies: of("copies"),
        exponentials: of("exponentials"),
        specials: of("specials"),
        shuffles: of("shuffles"),
        barriers: of("barriers"),
        loads: of("loads"),
        stores: of("stores"),
        shared_loads: of("shared_loads"),
        shared_stores: of("shared_stores"),
        wavefronts: [of("wavefronts"), 0, 0, 0],
        sectors: [of("sectors"), 0, 0],
        lines: of("lines"),
        rounds: of("rounds"),
        ..Counts::default()
    };
    (counts, of("shared") as usize, of("read") + of("written"))
}

fn write_table(table: &Table, compiler: &str) -> String {
    let mut text = format!("# counted by {compiler}\nentry\t{}\n", COLUMNS.join("\t"));
    for (entry, row) in table {
        let numbers: Vec<String> = row.iter().map(u64::to_string).collect();
        text += &format!("{entry}\t{}\n", numbers.join("\t"));
    }
    text
}

/// The compiler that the table was counted by, and the table.
pub fn read_table(text: &str) -> (String, Table) {
    let mut lines = text.lines();
    let compiler = lines.next().and_then(|line| line.strip_prefix("# counted by "));
    let head = format!("entry\t{}", COLUMNS.join("\t"));
    assert_eq!(lines.next(), Some(&*head), "kernels/profile.tsv: its second line");
    let table = lines.map(|line| {
        let mut fields = line.split('\t');
        let entry = fields.next().expect("split gives one").to_owned();
        let row: Vec<u64> =
            fields.map(|x| x.parse().unwrap_or_else(|e| panic!("{line}: {e}"))).collect();
        (entry, row.try_into().unwrap_or_else(|_| panic!("kernels/profile.tsv: {line}")))
    });
    (compiler.unwrap_or("nobody").to_owned(), table.collect())
}

/// Where in the sources a place is, the innermost first.
fn named_place(place: &Place) -> String {
    let library = kernels::PROFILER.unwrap_or_default();
    // A return address is behind its call.
    let output = Command::new("addr2line")
        .args(["-i", "-s", "-e", library, &format!("{:#x}", place.at - 1)])
        .output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>().join(" < ")
        }
        _ => format!("{:#x} of {library}", place.at),
    }
}

/// What of memory an entry point may waste: shared memory by requests that meet at banks, global
/// memory by sectors of which not all is wanted.
const MOST_WAYS: f64 = 1.05;
const MOST_SECTORS: f64 = 1.10;

/// A kind of access and what it wastes: what was moved, for each that had to be.
fn wastes(profile: &Profile) -> Vec<(&'static str, f64)> {
    let c = &profile.counts;
    let kinds = ["ldmatrix", "copies into shared memory", "shared loads", "shared stores"];
    let ratio = |moved: u64, ideal: u64| moved as f64 / ideal.max(1) as f64;
    let shared = (0..4).map(|i| (kinds[i], ratio(c.wavefronts[i], c.wavefronts_ideal[i])));
    let global = ratio(c.sectors.iter().sum(), c.sectors_ideal.iter().sum());
    shared
        .filter(|&(_, ratio)| ratio > MOST_WAYS)
        .chain(Some(("global memory", global)).filter(|&(_, ratio)| ratio > MOST_SECTORS))
        .collect()
}

/// Accesses of entry points that may waste as much at most, and why. None is in a loop that a
/// model's time goes into; there may be five.
struct Waiver {
    entries: fn(&str) -> bool,
    access: &'static [&'static str],
    most: f64,
    reason: &'static str,
}

fn begins(entry: &str, words: &[&str]) -> bool {
    words.iter().any(|word| entry.starts_with(word))
}

const WAIVERS: &[Waiver] = &[
    Waiver {
        entries: |entry| begins(entry, &["simt_"]),
        access: &["shared loads", "shared stores"],
        most: 4.0,
        reason: "products in f32, which no model in 16 bits has: a thread takes eight neighbours",
    },
    Waiver {
        entries: |entry| {
            let wide = ["embed_backward_", "layernorm_parameters_"];
            begins(entry, &["gemm_tn_", "simt_", "split_k_reduce"])
                || entry.ends_with("_wide") && begins(entry, &wide)
        },
        access: &["global memory"],
        most: 1.5,
        reason: "sums in f32, eight a thread, are written as two times 16 bytes: each store fills \
            half of its sectors, once, behind the loops",
    },
    Waiver {
        entries: |entry| {
            let rows = ["cross_entropy_", "dropout_", "layernorm_", "rotate_one_"];
            entry.contains("_any_") && begins(entry, &["gemm_"])
                || !entry.ends_with("_wide") && begins(entry, &rows)
        },
        access: &["global memory"],
        most: 2.5,
        reason: "rows at any address go element by element, with the columns that the wide form \
            gives a thread, so that a row has the same bits wherever it stands",
    },
];

impl Waiver {
    fn covers(&self, entry: &str, (access, ratio): (&str, f64)) -> bool {
        (self.entries)(entry) && self.access.contains(&access) && ratio <= self.most
    }
}

/// Every entry point's launch: the first that there is.
fn launches() -> BTreeMap<&'static str, Launch> {
    let device = Device::open("emu:1", 0).unwrap();
    let ((), launches) = record(0, || cases::all(&device));
    let mut first = BTreeMap::new();
    for launch in launches {
        first.entry(launch.entry).or_insert(launch);
    }
    first
}

#[test]
fn kernels_move_what_was_accepted() {
    if !profiled() {
        return;
    }
    let launches = launches();
    let (found, named): (BTreeSet<&str>, BTreeSet<&str>) =
        (launches.keys().copied().collect(), kernels::ENTRIES.iter().map(|e| e.name).collect());
    assert_eq!(found, named, "tests/chips/profile/cases.rs: not the entry points that there are");

    let mut faults = Vec::new();
    for (entry, launch) in &launches {
        for (access, ratio) in wastes(&launch.profile) {
            if WAIVERS.iter().any(|waiver| waiver.covers(entry, (access, ratio))) {
                continue;
            }
            faults.push(format!("{entry}: {access}: expected no waste, got {ratio:.2} of ideal"));
            let mut places = launch.profile.places.clone();
            places.sort_by_key(|place| place.ideal as i64 - place.moved as i64);
            faults.extend(places.iter().filter(|place| place.moved > place.ideal).take(2).map(
                |p| {
                    format!(
                        "    {:?} of {} bytes: {:.2} at {}",
                        p.way,
                        p.bytes,
                        p.ratio(),
                        named_place(p)
                    )
                },
            ));
        }
    }
    assert!(WAIVERS.len() <= 5, "{} waivers: mend a kernel", WAIVERS.len());
    for waiver in WAIVERS {
        let needed = launches.iter().any(|(entry, launch)| {
            wastes(&launch.profile).into_iter().any(|waste| waiver.covers(entry, waste))
        });
        assert!(needed, "a waiver that nothing needs: {}", waiver.reason);
    }

    let compiler = kernels::PROFILER_COMPILER.expect("a library has a compiler");
    let table: Table =
        launches.iter().map(|(entry, launch)| ((*entry).to_owned(), row(launch))).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/profile.tsv");
    if std::env::var("ENGINE_PROFILE_WRITE").is_ok_and(|x| x == "1") {
        std::fs::write(&path, write_table(&table, compiler)).unwrap();
        println!("wrote {} rows to kernels/profile.tsv", table.len());
    }
    let (counted_by, accepted) = read_table(&std::fs::read_to_string(&path).unwrap());
    if counted_by == compiler {
        faults.extend(differences(&table, &accepted));
    } else {
        println!("skipped: counts: kernels/profile.tsv is of {counted_by}, this is {compiler}");
    }
    assert!(
        faults.is_empty(),
        "{}\nLook at each; to accept counts: ENGINE_PROFILE_WRITE=1 cargo test --release --test \
        chips profile, and commit kernels/profile.tsv",
        faults.join("\n")
    );
}

/// What of `found` differs from what was `accepted`.
fn differences(found: &Table, accepted: &Table) -> Vec<String> {
    let entries: BTreeSet<&String> = found.keys().chain(accepted.keys()).collect();
    let mut words = Vec::new();
    for entry in entries {
        match (accepted.get(entry), found.get(entry)) {
            (Some(accepted), Some(found)) => {
                let columns = COLUMNS.iter().zip(accepted.iter().zip(found));
                words.extend(
                    columns.filter(|(_, (a, b))| a != b).map(|(column, (a, b))| {
                        format!("{entry}: {column}: expected {a}, got {b}")
                    }),
                );
            }
            (None, _) => words.push(format!("{entry}: is not in the table")),
            (Some(_), None) => words.push(format!("{entry}: is in the table alone")),
        }
    }
    words
}

#[test]
fn a_difference_from_the_table_is_found() {
    let mut table = Table::from([("one".to_owned(), [7; COLUMNS.len()])]);
    let (compiler, read) = read_table(&write_table(&table, "g++ 1"));
    assert_eq!((compiler.as_str(), &read), ("g++ 1", &table));
    assert!(differences(&table, &read).is_empty());
    table.get_mut("one").unwrap()[2] = 8;
    assert_eq!(differences(&table, &read), ["one: mma: expected 7, got 8"]);
    assert_eq!(differences(&Table::new(), &read), ["one: is in the table alone"]);
    assert_eq!(differences(&read, &Table::new()), ["one: is not in the table"]);
}

/// Counts a kernel of `host/wasteful.cu` over y and x of 4096 floats.
fn waste(entry: &str, threads: u32, n: u32) -> Profile {
    const FLOATS: usize = 4096;
    let map = MmapMut::map_anon(8 * FLOATS).unwrap();
    let y = map.as_ptr() as u64;
    let x = y + 4 * FLOATS as u64;
    let mut words = [y, x, n.into()];
    let mut arguments: Vec<*mut c_void> =
        words.iter_mut().map(|w| (w as *mut u64).cast()).collect();
    let grid = Grid { blocks: [1, 1, 1], threads, shared: 4096 };
    let buffers = [[y, 4 * FLOATS as u64], [x, 4 * FLOATS as u64]];
    // SAFETY: the arguments of every such kernel; both buffers are in a map that lives.
    unsafe { launch(entry, grid, &mut arguments, &buffers, 0, 1) }.unwrap()
}

#[test]
fn nothing_is_found_where_nothing_is_wasted() {
    if !profiled() {
        return;
    }
    let profile = waste("wasteful_nothing", 256, 0);
    let c = profile.counts;
    assert_eq!(wastes(&profile), []);
    assert_eq!((c.blocks, c.warps, c.barriers, c.exponentials), (1, 8, 8, 8));
    assert_eq!((c.loads, c.stores, c.shared_loads, c.shared_stores), (8, 8, 8, 8));
    assert_eq!((c.sectors, c.lines, c.rounds), ([0, 32, 32], 16, 1));
    let touched: Vec<[u64; 2]> = profile.touched.iter().map(|t| [t.read, t.written]).collect();
    assert_eq!(touched, [[0, 32], [32, 0]], "y is written once, x read once");
    let place = profile.places.iter().find(|p| p.shared && p.way == Way::Load).unwrap();
    assert_eq!((place.requests, place.bytes), (8, 4));
    let name = named_place(place);
    assert!(name.contains("wasteful.cu:") || name.contains(".so"), "{name}");
}

#[test]
fn each_kind_of_conflict_is_found_and_measured() {
    if !profiled() {
        return;
    }
    // Words, by how many lanes of a warp meet at a bank; of sixteen bytes, those of a quarter, and
    // of eight, those of a half. Nothing apart is a broadcast.
    for (entry, n, ways) in [
        ("wasteful_conflict", 1, 1),
        ("wasteful_conflict", 3, 1),
        ("wasteful_conflict", 2, 2),
        ("wasteful_conflict", 8, 8),
        ("wasteful_conflict", 32, 32),
        ("wasteful_conflict", 0, 1),
        ("wasteful_conflict16", 16, 1),
        ("wasteful_conflict16", 80, 1),
        ("wasteful_conflict16", 32, 2),
        ("wasteful_conflict16", 128, 8),
        ("wasteful_conflict16", 0, 1),
        ("wasteful_conflict8", 8, 1),
        ("wasteful_conflict8", 16, 2),
        ("wasteful_conflict8", 0, 1),
    ] {
        let profile = waste(entry, 32, n);
        let Profile { counts: c, .. } = &profile;
        let found = [2, 3].map(|kind| (c.wavefronts[kind], c.wavefronts_ideal[kind]));
        assert!(
            found.iter().all(|&(moved, ideal)| moved == ways * ideal),
            "{entry} {n}: {found:?}"
        );
        let kinds: Vec<&str> = wastes(&profile).into_iter().map(|(kind, _)| kind).collect();
        let expected: &[&str] = if ways > 1 { &["shared loads", "shared stores"] } else { &[] };
        assert_eq!(kinds, expected, "{entry} {n}");
    }
    for (n, ways) in [(16, 1.0), (80, 1.0), (32, 2.0), (128, 8.0)] {
        let profile = waste("wasteful_matrices", 32, n);
        let expected = [("ldmatrix", ways), ("copies into shared memory", ways)];
        let expected = if ways > 1.0 { &expected[..] } else { &[] };
        assert_eq!(wastes(&profile), expected, "{n}");
        assert_eq!((profile.counts.ldmatrix, profile.counts.copies), (1, 1));
    }
}

#[test]
fn scattered_and_doubled_traffic_and_dependent_rounds_are_found() {
    if !profiled() {
        return;
    }
    assert_eq!(wastes(&waste("wasteful_scattered", 32, 1)), []);
    assert_eq!(wastes(&waste("wasteful_scattered", 32, 2)), [("global memory", 2.0)]);
    assert_eq!(wastes(&waste("wasteful_scattered", 32, 8)), [("global memory", 8.0)]);
    // The same words twice: as many requests, while what is touched stays.
    let (once, twice) = (waste("wasteful_again", 32, 1), waste("wasteful_again", 32, 2));
    assert_eq!((once.counts.loads, twice.counts.loads), (1, 2));
    let touched =
        |profile: &Profile| profile.touched.iter().map(|t| [t.read, t.written]).collect::<Vec<_>>();
    assert_eq!(touched(&once), touched(&twice));
    let rounds = |entry, n| waste(entry, 32, n).counts.rounds;
    assert_eq!([1, 16].map(|n| rounds("wasteful_one_by_one", n)), [1, 16]);
    assert_eq!([8, 16].map(|n| rounds("wasteful_together", n)), [1, 2]);
    // Two ways through the code are two requests.
    let divided = waste("wasteful_divided", 32, 0).counts;
    assert_eq!((divided.loads, divided.stores, divided.sectors), (2, 2, [0, 4, 4]));
}

#[test]
fn a_sample_of_blocks_counts_as_much_a_block() {
    if !profiled() {
        return;
    }
    let device = Device::open("emu:1", 0).unwrap();
    let counts = |sample| {
        let ((), launches) = record(sample, || cases::blended(&device));
        let [first, second] = &launches[..] else { panic!("{} launches", launches.len()) };
        assert_eq!(first.profile.counts, second.profile.counts);
        first.profile.counts
    };
    let (all, some) = (counts(0), counts(4));
    assert_eq!((all.blocks, some.blocks), (64, 4));
    assert_eq!([all.loads, all.stores], [some.loads, some.stores].map(|n| 16 * n));
    assert!(!kernels::profiled::recording());
}

//! The emulator of the CUDA kernels is a stricter judge than a GPU: here it meets kernels that do
//! wrong (`kernels/host/planted.cu`), each of which it must find, and the meaning of its
//! instructions is held against plain loops.

use engine::base::{Philox, Stream};
use kernels::emulated::{launch, launch_in_orders, Grid};
use memmap2::MmapMut;
use std::ffi::c_void;
use std::process::Command;

const SEEDS: [u64; 6] = [0, 1, 2, 3, 4, 5];
const ONE_BLOCK: Grid = Grid { blocks: [1, 1, 1], threads: 256, shared: 4096 };
const ONE_WARP: Grid = Grid { blocks: [1, 1, 1], threads: 32, shared: 1024 };

/// Says so where this build has no emulator.
fn emulated() -> bool {
    if !kernels::EMULATED {
        println!("skipped: the emulator: this build has none, a C++ compiler is missing");
    }
    kernels::EMULATED
}

/// Memory of a device: ends against a page that nobody may touch.
struct Room {
    map: MmapMut,
    begin: usize,
}

impl Room {
    fn new<T: bytemuck::Pod>(values: &[T]) -> Room {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let room = bytes.len().next_multiple_of(4096);
        let mut map = MmapMut::map_anon(room + 4096).unwrap();
        map[room - bytes.len()..room].copy_from_slice(bytes);
        // SAFETY: the last page of a map of our own; `values` never reaches it.
        let done =
            unsafe { libc::mprotect(map.as_mut_ptr().add(room).cast(), 4096, libc::PROT_NONE) };
        assert_eq!(done, 0);
        Room { map, begin: room - bytes.len() }
    }

    fn address(&self) -> u64 {
        self.map.as_ptr() as u64 + self.begin as u64
    }

    fn values<T: bytemuck::Pod>(&self) -> Vec<T> {
        let bytes = &self.map[self.begin..self.map.len() - 4096];
        bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
    }
}

/// Launches with these words as arguments.
fn run(entry: &str, grid: Grid, words: &[u64], seed: u64) -> Result<(), String> {
    let mut words = words.to_vec();
    let mut arguments: Vec<*mut c_void> =
        words.iter_mut().map(|w| (w as *mut u64).cast()).collect();
    // SAFETY: every caller gives the arguments of its entry point; addresses are of a Room that
    // lives.
    unsafe { launch(entry, grid, &mut arguments, seed) }
}

/// Launches a planted kernel over `n` floats of y and x.
fn plant(entry: &str, grid: Grid, n: usize, seed: u64) -> Result<Vec<f32>, String> {
    let (y, x) = (Room::new(&vec![0f32; n]), Room::new(&vec![0f32; n]));
    run(entry, grid, &[y.address(), x.address(), n as u64], seed)?;
    Ok(y.values())
}

/// The same under several orders, which must agree.
fn plant_in_orders(entry: &str, grid: Grid, n: usize, seeds: &[u64]) -> Result<(), String> {
    let y = Room::new(&vec![0f32; n]);
    let x = Room::new(&noise(n, 11));
    let mut words = [y.address(), x.address(), n as u64];
    let mut arguments: Vec<*mut c_void> =
        words.iter_mut().map(|w| (w as *mut u64).cast()).collect();
    // SAFETY: the arguments of every planted kernel; the output is a Room that lives.
    unsafe {
        launch_in_orders(entry, grid, &mut arguments, &[(y.address() as *mut u8, 4 * n)], seeds)
    }
}

#[test]
fn results_that_depend_on_the_order_are_refused() {
    if !emulated() {
        return;
    }
    let many = Grid { blocks: [7, 1, 1], ..ONE_BLOCK };
    for (entry, grid) in [
        ("planted_no_barrier", ONE_BLOCK),
        ("planted_no_warp_barrier", ONE_BLOCK),
        ("planted_no_second_barrier", ONE_BLOCK),
        ("planted_blocks_race", many),
        ("planted_blocks_accumulate", many),
    ] {
        // Mirror images: two are enough, whatever is drawn.
        for seeds in [[1, 2], [4, 5], [7, 8], [3001, 3002]] {
            let words = plant_in_orders(entry, grid, 256, &seeds).unwrap_err();
            let expected = format!("between seeds {} and {}", seeds[0], seeds[1]);
            assert!(words.contains(entry) && words.contains(&expected), "{entry}: {words}");
        }
        plant_in_orders(entry, grid, 256, &[0, 3, 6, 9, 12, 15]).expect_err(entry);
    }
    plant_in_orders("planted_barriers_are_there", many, 7 * 256, &SEEDS).unwrap();
}

#[test]
fn wrong_kernels_are_refused_with_kernel_block_and_thread() {
    if !emulated() {
        return;
    }
    for (entry, words) in [
        ("read_outside", "memory: read outside every buffer at address 0x"),
        (
            "write_outside",
            "block (0, 0, 0) thread 5: memory: write outside every buffer at address 0x",
        ),
        ("no_such_address", "memory: access at an address that no memory can have"),
        (
            "shared_read_outside",
            "shared memory: read at byte 4000, the launch asked for 1000 bytes",
        ),
        (
            "shared_write_behind",
            "shared memory: something wrote at byte 1008, the launch asked for 1000 bytes",
        ),
        ("shared_write_before", "shared memory: something wrote 4 bytes before its beginning"),
        ("load_misaligned", "16-byte load: expected an address that is a multiple of 16"),
        ("store_misaligned", "16-byte store: expected an address that is a multiple of 16"),
        ("eight_load_misaligned", "8-byte load: expected an address that is a multiple of 8"),
        ("eight_store_misaligned", "8-byte store: expected an address that is a multiple of 8"),
        ("global_store_misaligned", "16-byte store: expected an address that is a multiple of 16"),
        ("count_of_global", "count_one: expected an address in the 1000 bytes of shared memory"),
        ("pair_misaligned", "4-byte load: expected an address that is a multiple of 4"),
        ("float_misaligned", "planted.cu:"),
        ("ldmatrix_misaligned", "ldmatrix: expected an address that is a multiple of 16"),
        ("ldmatrix_of_global", "ldmatrix: expected an address in the 1000 bytes of shared memory"),
        ("barrier_at_two_lines", "divergence: at the barrier of planted.cu:"),
        ("barrier_after_return", "is at the barrier of planted.cu:"),
        ("shuffle_without_a_lane", "is at a shuffle of its warp"),
        ("shuffle_of_two_masks", "divergence: shuffle of mask "),
        ("shuffle_outside_its_mask", "shuffle: the mask 0000ffff does not hold the calling lane "),
        ("shuffle_beside_ldmatrix", "while another lane of the warp is at a "),
        ("shuffle_at_barrier", "divergence: thread 0 is at the barrier of planted.cu:"),
        ("copy_left", "cp.async: returned with copies under way"),
        ("copy_uncommitted", "cp.async: returned with copies under way"),
        (
            "copy_target_written",
            "cp.async: its destination was written while the copy was under way",
        ),
        ("copy_source_written", "cp.async: its source was written while the copy was under way"),
        (
            "copy_misaligned",
            "cp.async: global memory: expected an address that is a multiple of 16",
        ),
        (
            "copy4_misaligned",
            "cp.async: global memory: expected an address that is a multiple of 4",
        ),
        ("copy4_too_long", "cp.async: expected 0 to 4 bytes to read, got 8"),
        ("copy_outside_shared", "cp.async: expected an address in the 1000 bytes of shared memory"),
        ("copy_too_long", "cp.async: expected 0 to 16 bytes to read, got 20"),
        ("copy_beyond_source", "memory: read outside every buffer at address 0x"),
        ("stack_overflow", "stack overflow: local variables and calls need more than 98304 bytes"),
        ("divides_by_zero", "integer division of"),
        ("shifts_too_far", "shift of"),
        ("index_outside_registers", "index 4 is outside of the array"),
        ("float_too_large", "a float has no place in the integer it becomes"),
    ] {
        let entry = format!("planted_{entry}");
        for seed in SEEDS {
            // The copies of one warp fit into 1000 bytes.
            let threads = if entry.contains("copy") { 32 } else { 256 };
            let grid = Grid { threads, shared: 1000, ..ONE_BLOCK };
            let got = plant(&entry, grid, 252, seed).unwrap_err();
            assert!(got.starts_with(&format!("{entry}: block (0, 0, 0)")), "seed {seed}: {got}");
            assert!(got.contains(words), "seed {seed}: expected \"… {words} …\", got \"{got}\"");
            let nobody = got.contains("something wrote");
            assert!(nobody || got.contains(" thread "), "seed {seed}: {got}");
        }
    }
}

#[test]
fn launches_that_no_device_takes_are_refused() {
    if !emulated() {
        return;
    }
    for (grid, words) in [
        (Grid { threads: 0, ..ONE_BLOCK }, "1 to 1024 threads"),
        (Grid { threads: 1056, ..ONE_BLOCK }, "1 to 1024 threads"),
        (Grid { threads: 48, ..ONE_BLOCK }, "whole warps"),
        (Grid { blocks: [0, 1, 1], ..ONE_BLOCK }, "blocks in x"),
        (Grid { blocks: [1, 65536, 1], ..ONE_BLOCK }, "blocks in y and z"),
        (Grid { shared: 228 << 10, ..ONE_BLOCK }, "227 KiB of shared memory"),
    ] {
        let got = plant("planted_no_barrier", grid, 256, 1).unwrap_err();
        assert!(
            got.starts_with("planted_no_barrier: launch: expected ") && got.contains(words),
            "{got}"
        );
    }
    let got = plant("planted_more_threads_than_named", Grid { threads: 64, ..ONE_BLOCK }, 64, 1)
        .unwrap_err();
    assert!(
        got.contains("expected at most the 32 threads a block that KERNEL names, got 64"),
        "{got}"
    );
    assert!(plant("planted_nothing", ONE_BLOCK, 1, 1).unwrap_err().contains("none of that name"));
}

#[test]
fn what_was_never_written_is_poison() {
    if !emulated() {
        return;
    }
    let grid = Grid { threads: 32, ..ONE_BLOCK };
    for entry in [
        "planted_shared_uninitialised",
        "planted_copy_read_early",
        "planted_copy4_read_early",
        "planted_copy_waits_short",
    ] {
        for seed in SEEDS {
            let y = plant(entry, grid, 32, seed).unwrap();
            assert!(y.iter().all(|x| x.is_nan()), "{entry}: {y:?}");
        }
    }
}

#[test]
fn a_failed_launch_leaves_nothing_behind() {
    if !emulated() {
        return;
    }
    for _ in 0..3 {
        for entry in ["planted_copy_left", "planted_barrier_after_return", "planted_read_outside"] {
            plant(entry, ONE_BLOCK, 256, 1).unwrap_err();
            plant_in_orders("planted_barriers_are_there", ONE_BLOCK, 256, &SEEDS).unwrap();
        }
    }
}

#[test]
fn several_threads_emulate_at_once() {
    if !emulated() {
        return;
    }
    std::thread::scope(|scope| {
        for t in 0..4 {
            scope.spawn(move || {
                for _ in 0..20 {
                    if t % 2 == 0 {
                        plant_in_orders("planted_barriers_are_there", ONE_BLOCK, 256, &SEEDS)
                            .unwrap();
                    } else {
                        plant("planted_write_outside", ONE_BLOCK, 256, t).unwrap_err();
                    }
                }
            });
        }
    });
}

/// Runs one test of this binary again, in a process that may die of it.
fn again(test: &str) -> std::process::Output {
    let me = std::env::current_exe().unwrap();
    Command::new(me)
        .args(["--exact", &format!("emulator::{test}"), "--nocapture"])
        .env("ENGINE_PLANTED", "1")
        .output()
        .unwrap()
}

/// Beyond any stack.
#[allow(unconditional_recursion)]
fn deeper(above: &[u64; 64]) -> u64 {
    let room = std::hint::black_box([above[0] + 1; 64]);
    deeper(&room) + room[7]
}

#[test]
fn an_overflow_of_the_stack_outside_kernels_is_still_told() {
    if !emulated() {
        return;
    }
    if std::env::var_os("ENGINE_PLANTED").is_some() {
        plant("planted_write_outside", ONE_BLOCK, 256, 1).unwrap_err();
        println!("{}", deeper(&[0; 64]));
        return;
    }
    let output = again("an_overflow_of_the_stack_outside_kernels_is_still_told");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && words.contains("has overflowed its stack"), "{output:?}");
}

#[test]
fn a_fault_outside_kernels_still_ends_the_process() {
    if !emulated() {
        return;
    }
    if std::env::var_os("ENGINE_PLANTED").is_some() {
        plant("planted_write_outside", ONE_BLOCK, 256, 1).unwrap_err();
        let nowhere = std::hint::black_box(16 as *const u32);
        // SAFETY: none; this process is there to die.
        println!("{}", unsafe { nowhere.read_volatile() });
        return;
    }
    use std::os::unix::process::ExitStatusExt;
    let output = again("a_fault_outside_kernels_still_ends_the_process");
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
}

/// Numbers between -1 and 1 that differ.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Philox::new(seed, Stream::Synthetic, 0);
    (0..n).map(|_| random.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0).collect()
}

/// y + a·b with k ascending and fused: what the emulator promises to the bit. `a` is 16 rows, `b` 8
/// columns, of 16.
fn product(y: &[f32], a: &[f32], b: &[f32]) -> Vec<f32> {
    let mut y = y.to_vec();
    for row in 0..16 {
        for column in 0..8 {
            for k in 0..16 {
                let at = &mut y[row * 8 + column];
                *at = a[row * 16 + k].mul_add(b[column * 16 + k], *at);
            }
        }
    }
    y
}

#[test]
fn mma_multiplies_the_fragments_of_the_ptx_manual() {
    if !emulated() {
        return;
    }
    let (y, a, b) = (noise(128, 1), noise(256, 2), noise(128, 3));
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    for seed in SEEDS {
        let narrow = |x: &[f32]| x.iter().map(|&x| half::f16::from_f32(x)).collect::<Vec<_>>();
        let wide = |x: &[half::f16]| x.iter().map(|x| x.to_f32()).collect::<Vec<_>>();
        let (a16, b16) = (narrow(&a), narrow(&b));
        let (room, ra, rb) = (Room::new(&y), Room::new(&a16), Room::new(&b16));
        run("planted_mma_f16", ONE_WARP, &[room.address(), ra.address(), rb.address()], seed)
            .unwrap();
        assert_eq!(bits(&room.values()), bits(&product(&y, &wide(&a16), &wide(&b16))));

        let narrow = |x: &[f32]| x.iter().map(|&x| half::bf16::from_f32(x)).collect::<Vec<_>>();
        let wide = |x: &[half::bf16]| x.iter().map(|x| x.to_f32()).collect::<Vec<_>>();
        let (a16, b16) = (narrow(&a), narrow(&b));
        let (room, ra, rb) = (Room::new(&y), Room::new(&a16), Room::new(&b16));
        run("planted_mma_bf16", ONE_WARP, &[room.address(), ra.address(), rb.address()], seed)
            .unwrap();
        assert_eq!(bits(&room.values()), bits(&product(&y, &wide(&a16), &wide(&b16))));
    }
}

#[test]
fn ldmatrix_gives_each_lane_its_pairs() {
    if !emulated() {
        return;
    }
    // Four matrices of 8 by 8; an element says where it stands.
    let at = |matrix: usize, row: usize, column: usize| (matrix * 64 + row * 8 + column) as u16;
    let elements: Vec<u16> = (0..256).map(|i| at(i / 64, i / 8 % 8, i % 8)).collect();
    for seed in SEEDS {
        for transposed in [false, true] {
            let (y, x) = (Room::new(&[0u32; 128]), Room::new(&elements));
            run("planted_matrices", ONE_WARP, &[y.address(), x.address(), transposed.into()], seed)
                .unwrap();
            for (i, got) in y.values::<u32>().into_iter().enumerate() {
                let (lane, matrix) = (i / 4, i % 4);
                let (one, two) = (lane / 4, lane % 4 * 2);
                let expected = match transposed {
                    false => [at(matrix, one, two), at(matrix, one, two + 1)],
                    true => [at(matrix, two, one), at(matrix, two + 1, one)],
                };
                assert_eq!(
                    [got as u16, (got >> 16) as u16],
                    expected,
                    "lane {lane} matrix {matrix}"
                );
            }
        }
    }
}

#[test]
fn late_copies_arrive_in_groups_and_fill_with_zeros() {
    if !emulated() {
        return;
    }
    let threads = 64;
    let source: Vec<u32> = (0..4 * threads).map(|i| 0x0101_0101 * (1 + i % 200)).collect();
    let grid = Grid { threads, shared: 48 * threads as usize, ..ONE_BLOCK };
    for seed in SEEDS {
        for bytes in 0..=16usize {
            let (y, x) = (Room::new(&vec![0u32; 11 * threads as usize]), Room::new(&source));
            run("planted_copies", grid, &[y.address(), x.address(), bytes as u64], seed).unwrap();
            for (t, got) in y.values::<u32>().chunks(11).enumerate() {
                let whole = &source[4 * t..4 * t + 4];
                let mut part: Vec<u8> = bytemuck::cast_slice(whole).to_vec();
                part[bytes..].fill(0);
                assert_eq!(got[..4], *whole, "thread {t}");
                assert_eq!(
                    *bytemuck::cast_slice::<u32, u8>(&got[4..8]),
                    part[..],
                    "thread {t}, {bytes} bytes"
                );
                assert_eq!(got[8], u32::MAX, "thread {t}: not yet there");
                let second = if bytes == 16 { whole[2] } else { 0 };
                assert_eq!(got[9..], [whole[3], second], "thread {t}: words");
            }
        }
    }
}

#[test]
fn shuffles_and_sums_of_a_warp_mean_what_they_say() {
    if !emulated() {
        return;
    }
    let x = noise(32, 5);
    for seed in SEEDS {
        for (from, flip) in [(0, 1), (1, 16), (31, 31), (17, 6), (5, 0)] {
            let (y, rx) = (Room::new(&[0f32; 128]), Room::new(&x));
            run(
                "planted_shuffles",
                ONE_WARP,
                &[y.address(), rx.address(), from as u64, flip as u64],
                seed,
            )
            .unwrap();
            let y = y.values::<f32>();
            let mut sums = x.clone();
            for step in [16, 8, 4, 2, 1] {
                sums = (0..32).map(|i| sums[i] + sums[i ^ step]).collect();
            }
            let most = x.iter().copied().fold(f32::MIN, f32::max);
            for lane in 0..32usize {
                assert_eq!(y[lane], x[(from + lane) % 32]);
                assert_eq!(y[32 + lane], x[lane ^ flip]);
                assert_eq!(y[64 + lane].to_bits(), sums[lane].to_bits());
                assert_eq!(y[96 + lane], most);
            }
        }
    }
}

#[test]
fn counts_lose_nothing_and_whole_accesses_move_every_word() {
    if !emulated() {
        return;
    }
    let x: Vec<u32> = (0..512).map(|i| 1000 + i).collect();
    for seed in SEEDS {
        let (y, rx) = (Room::new(&[0u32; 260 + 1024 + 512]), Room::new(&x));
        run("planted_counts", Grid { shared: 4, ..ONE_BLOCK }, &[y.address(), rx.address()], seed)
            .unwrap();
        let mut y = y.values::<u32>();
        let moved = |(i, (y, x)): (usize, (&[u32], &[u32]))| y == [x[0], x[1], i as u32, 7];
        let fours = &y[260..260 + 1024];
        assert!(fours.chunks(4).zip(x.chunks(2)).enumerate().all(moved), "{fours:?}");
        assert_eq!(y[260 + 1024..], x);
        assert_eq!(y[256], 256);
        y.truncate(256);
        y.sort_unstable();
        assert!(y.iter().copied().eq(0..256), "{y:?}");
    }
}

#[test]
fn philox_of_kernels_is_that_of_the_base() {
    if !emulated() {
        return;
    }
    let mut random = Philox::new(9, Stream::Synthetic, 1);
    let x: Vec<u32> = (0..6 * 256).map(|_| random.next_u32()).collect();
    let (y, rx) = (Room::new(&[0u32; 4 * 256]), Room::new(&x));
    run("planted_philox", ONE_BLOCK, &[y.address(), rx.address()], 1).unwrap();
    for (x, got) in x.chunks(6).zip(y.values::<u32>().chunks(4)) {
        assert_eq!(got, Philox::block([x[0], x[1]], [x[2], x[3], x[4], x[5]]));
    }
}

#[test]
fn every_thread_of_every_block_runs_once_and_knows_its_place() {
    if !emulated() {
        return;
    }
    for seed in SEEDS {
        for threads in [32, 96, 1024] {
            let grid = Grid { blocks: [3, 2, 4], threads, shared: 0 };
            let y = Room::new(&vec![0u32; 24 * threads as usize]);
            run("planted_places", grid, &[y.address()], seed).unwrap();
            for (i, &got) in y.values::<u32>().iter().enumerate() {
                let (block, thread) = (i as u32 / threads, i as u32 % threads);
                assert_eq!(got, block * 1000 + thread);
            }
        }
    }
}

//! What a launch would take on a GPU, predicted from its counts ([`crate::profiled`]): no more than
//! an account of which unit has how much to do. Nothing here was measured.
//!
//! A processor's units work side by side, so a block takes as long as its busiest unit; the
//! processor with the most blocks decides. Assumed, and said wherever a prediction is printed:
//!
//! * a busy unit is at work [`REACHED`] of the time, DRAM moves [`DRAM_REACHED`] of its datasheet;
//! * each byte that a launch touches crosses DRAM once, whatever else L2 could keep or lose;
//! * a round of loads takes [`ROUND`], which only blocks resident beside it can hide; a kernel that
//!   copies ahead waits two rounds more to fill its ring;
//! * of a ring of copies two thirds are under way, and what is under way comes once a [`LATENCY`];
//! * a launch begins [`GAP`] after the one before it has ended.
//!
//! Not seen: arithmetic of the plain cores (`issue` counts requests, products, shuffles, exponents
//! and barriers, which is a lower bound), what L2 keeps from launch to launch, clocks under a
//! limit of power.

use crate::profiled::{Counts, Launch, Touched};

/// Share of its time that the busiest unit works.
pub const REACHED: f64 = 0.95;
/// Share of the datasheet's bandwidth that DRAM reaches.
pub const DRAM_REACHED: f64 = 0.92;
/// Seconds of a round of loads from global memory, and of DRAM under load.
pub const ROUND: f64 = 500e-9;
pub const LATENCY: f64 = 750e-9;
/// Seconds from the end of a launch to the beginning of the next in a queue that is never empty.
pub const GAP: f64 = 1.4e-6;

/// What a unit does a clock, of one processor unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Gpu {
    pub name: &'static str,
    /// The target whose registers count.
    pub target: &'static str,
    pub processors: u32,
    /// Hertz.
    pub clock: f64,
    /// Products of 16 × 8 × 16 by mma.sync.
    pub mma: f64,
    /// Bytes of L2.
    pub l2: f64,
    /// Bytes a second of the whole device.
    pub dram: f64,
    /// Bytes of shared memory of all blocks of a processor, and of one block at most.
    pub shared: usize,
    pub shared_of_block: usize,
}

/// Of every processor of sm_80 and sm_90: instructions, exponents (16 lanes), wavefronts and lines
/// of 128 bytes a clock; threads, blocks, registers.
const ISSUE: f64 = 4.0;
const EXPONENTIALS: f64 = 0.5;
const THREADS: u32 = 2048;
const BLOCKS: u32 = 32;
const REGISTERS: u32 = 65_536;
/// Bytes of shared memory that each block takes beside its own.
const SHARED_OF_SYSTEM: usize = 1024;

/// * A100 80 GB SXM: "NVIDIA A100 Tensor Core GPU Architecture" (whitepaper): 108 SMs, 1410 MHz,
///   312 TFLOP/s dense in 16 bits = 1024 FMA a clock and SM, 5120 bytes a clock of L2, 164 KB of
///   shared memory, of which a block has 163; datasheet: 2039 GB/s.
/// * H100 SXM: "NVIDIA H100 Tensor Core GPU Architecture": 132 SMs, 989 TFLOP/s = 2048 FMA at 1830
///   MHz by wgmma, of which mma.sync reaches 62 % (Luo et al. 2024, "Benchmarking and Dissecting
///   the Nvidia Hopper GPU Architecture"); 228 KB; 3.35 TB/s. L2: as A100's a device and clock,
///   assumed.
/// * H200 SXM: the same processors, 4.8 TB/s (datasheet).
pub const GPUS: [Gpu; 3] = [
    Gpu {
        name: "A100",
        target: "sm_80",
        processors: 108,
        clock: 1.41e9,
        mma: 0.5,
        l2: 5120.0 / 108.0,
        dram: 2.039e12,
        shared: 164 << 10,
        shared_of_block: 163 << 10,
    },
    Gpu { name: "H100", dram: 3.35e12, ..HOPPER },
    Gpu { name: "H200", dram: 4.8e12, ..HOPPER },
];

const HOPPER: Gpu = Gpu {
    name: "Hopper",
    target: "sm_90a",
    processors: 132,
    clock: 1.83e9,
    mma: 0.62,
    l2: 5120.0 / 132.0,
    dram: 3.35e12,
    shared: 228 << 10,
    shared_of_block: 227 << 10,
};

/// Units by name, in the order of [`Prediction::units`].
pub const UNITS: [&str; 7] = ["tensor", "shared", "lsu", "l2", "dram", "issue", "exp"];

/// Seconds of one launch or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prediction {
    /// That each unit has at least to do, spread as the blocks are.
    pub units: [f64; UNITS.len()],
    /// That processors wait for memory with nothing beside it.
    pub waits: f64,
    /// All in all.
    pub seconds: f64,
    pub launches: u64,
    /// Bytes that cross DRAM.
    pub bytes: f64,
    /// Blocks that a processor holds, and how often all processors hold as many: of the launch that
    /// takes longest.
    pub resident: u32,
    pub waves: f64,
    longest: f64,
}

impl Prediction {
    /// The unit with the most to do.
    pub fn bound(&self) -> &'static str {
        let most = (0..UNITS.len()).max_by(|&a, &b| self.units[a].total_cmp(&self.units[b]));
        UNITS[most.expect("there are units")]
    }

    /// Seconds of a unit of [`UNITS`].
    pub fn unit(&self, name: &str) -> f64 {
        self.units[UNITS.iter().position(|&unit| unit == name).expect("a unit of that name")]
    }

    /// One after the other.
    pub fn then(mut self, other: &Prediction) -> Prediction {
        self.units.iter_mut().zip(other.units).for_each(|(x, y)| *x += y);
        self.waits += other.waits;
        self.seconds += other.seconds;
        self.launches += other.launches;
        self.bytes += other.bytes;
        if other.longest > self.longest {
            (self.resident, self.waves) = (other.resident, other.waves);
            self.longest = other.longest;
        }
        self
    }

    /// The same so many times.
    pub fn times(mut self, n: f64) -> Prediction {
        self.units.iter_mut().for_each(|x| *x *= n);
        self.waits *= n;
        self.seconds *= n;
        self.launches = (self.launches as f64 * n).round() as u64;
        self.bytes *= n;
        self
    }
}

/// Of blocks that are alike: how many there are, how many of them the busiest processor has, how
/// often it waits for their rounds with nothing beside, and bytes of all that cross DRAM.
struct Load {
    blocks: f64,
    busiest: f64,
    waits: f64,
    bytes: f64,
}

impl Gpu {
    /// Blocks that a processor holds at once.
    pub fn resident(&self, threads: u32, registers: u32, shared: usize) -> u32 {
        // A warp is given registers by 256.
        let of_warp = (registers.max(1) * 32).next_multiple_of(256);
        let warps = threads.div_ceil(32).max(1);
        let by_registers = REGISTERS / of_warp / warps;
        let by_shared = self.shared / (shared.next_multiple_of(128) + SHARED_OF_SYSTEM);
        BLOCKS.min(THREADS / (32 * warps)).min(by_registers).min(by_shared as u32).max(1)
    }

    /// What a launch takes.
    pub fn predict(&self, launch: &Launch) -> Prediction {
        let (c, grid) = (&launch.profile.counts, launch.grid);
        let blocks: f64 = grid.blocks.iter().map(|&n| f64::from(n)).product();
        let resident =
            self.resident(grid.threads, registers(launch.entry, self.target), grid.shared);
        let slots = self.slots(resident);
        // Whole waves fill every processor; what is left goes to one after another.
        let whole = (blocks / slots).floor();
        let left = ((blocks - whole * slots) / f64::from(self.processors)).ceil();
        let last = if left > 0.0 { 1.0 } else { 0.0 };
        let ran = c.blocks.max(1) as f64;
        let load = Load {
            blocks,
            busiest: whole * f64::from(resident) + left,
            waits: whole / f64::from(resident) + last,
            bytes: launch.profile.touched.iter().map(|t| crossing(t, ran, blocks)).sum(),
        };
        let mut p = self.account(c, resident, grid.shared, load);
        p.seconds += GAP;
        Prediction { longest: p.seconds, ..p }
    }

    /// What a wave takes on a GPU that is full and stays so, launch and end not counted: as many
    /// blocks like those counted as it holds, `bytes` of each cross DRAM.
    pub fn full(&self, c: &Counts, resident: u32, shared: usize, bytes: f64) -> Prediction {
        let (blocks, busiest) = (self.slots(resident), f64::from(resident));
        let load = Load { blocks, busiest, waits: 1.0 / busiest, bytes: blocks * bytes };
        self.account(c, resident, shared, load)
    }

    /// Blocks that all processors hold.
    fn slots(&self, resident: u32) -> f64 {
        f64::from(self.processors) * f64::from(resident)
    }

    /// How long blocks like those counted take, of which a processor holds `resident`.
    fn account(&self, c: &Counts, resident: u32, shared: usize, load: Load) -> Prediction {
        let Load { blocks, busiest, waits, bytes } = load;
        let ran = c.blocks.max(1) as f64;
        let slots = self.slots(resident);
        let wavefronts: u64 = c.wavefronts.iter().sum();
        let sectors: u64 = c.sectors.iter().sum();
        let requests = c.copies + c.loads + c.stores + c.shared_loads + c.shared_stores;
        let exponents = c.exponentials + 2 * c.specials;
        let issued = c.mma + c.ldmatrix + requests + exponents + c.shuffles + c.barriers;
        let clocks = |n: f64| n / ran * busiest / self.clock;
        let spread = [
            clocks(c.mma as f64 / self.mma),
            clocks(wavefronts as f64),
            clocks((wavefronts + c.lines) as f64),
            clocks(32.0 * sectors as f64 / self.l2),
            clocks(issued as f64 / ISSUE),
            clocks(exponents as f64 / EXPONENTIALS),
        ];
        let mut bandwidth = DRAM_REACHED * self.dram;
        if c.copies > 0 && bytes > 0.0 {
            let active = blocks.min(slots);
            let fresh = (bytes / (32.0 * sectors as f64 / ran * blocks)).min(1.0);
            let under_way = active * shared as f64 * 2.0 / 3.0 * fresh;
            bandwidth = bandwidth.min(under_way / LATENCY);
        }
        let dram = bytes / bandwidth;
        let rounds = c.rounds as f64 + if c.copies > 0 { 2.0 } else { 0.0 };
        let waits = ROUND * rounds * waits;
        let [tensor, shared, lsu, l2, issue, exp] = spread;
        let units = [tensor, shared, lsu, l2, dram, issue, exp];
        let busy = spread.iter().copied().fold(0.0, f64::max) / REACHED + waits;
        let seconds = busy.max(dram);
        Prediction {
            units,
            waits,
            seconds,
            launches: 1,
            bytes,
            resident,
            waves: blocks / slots,
            longest: seconds,
        }
    }

    /// Share of the rate of the unit that bounds a prediction.
    pub fn reaches(&self, p: &Prediction) -> f64 {
        match p.bound() {
            "dram" => p.bytes / p.seconds / self.dram,
            bound => p.unit(bound) / p.seconds,
        }
    }

    /// What launches take one after another.
    pub fn predict_all<'a>(&self, launches: impl IntoIterator<Item = &'a Launch>) -> Prediction {
        launches
            .into_iter()
            .fold(Prediction::default(), |sum, launch| sum.then(&self.predict(launch)))
    }
}

/// Bytes of a buffer that all blocks touch, where `ran` of `blocks` were seen: as many times more,
/// but no more than lies between the first and the last of them, stretched by what evenly spread
/// blocks leave out at both ends.
fn crossing(touched: &Touched, ran: f64, blocks: f64) -> f64 {
    let one = |sectors: u64, from: u64, to: u64| {
        let seen = 32.0 * sectors as f64;
        if ran >= blocks {
            return seen;
        }
        let stretch = if ran > 1.0 { ran / (ran - 1.0) } else { f64::MAX };
        let most = ((to - from) as f64 * stretch).min(touched.bytes as f64).max(seen);
        (seen * blocks / ran).min(most)
    };
    one(touched.read, touched.read_from, touched.read_to)
        + one(touched.written, touched.written_from, touched.written_to)
}

/// Registers of a thread, as `audit.tsv` has them; as many as there may be where it has none.
fn registers(entry: &str, target: &str) -> u32 {
    let of = |line: &str| {
        let mut fields = line.split('\t');
        (fields.next() == Some(entry) && fields.next() == Some(target))
            .then(|| fields.next()?.parse().ok())
            .flatten()
    };
    include_str!("audit.tsv").lines().find_map(of).unwrap_or(255)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulated::Grid;
    use crate::profiled::Profile;
    use std::sync::Arc;

    fn launch(entry: &'static str, blocks: u32, threads: u32, counts: Counts) -> Launch {
        let grid = Grid { blocks: [blocks, 1, 1], threads, shared: 147_456 };
        let profile = Profile { counts, ..Profile::default() };
        Launch { entry, grid, profile: Arc::new(profile) }
    }

    #[test]
    fn blocks_that_a_processor_holds_are_those_of_the_occupancy_tables() {
        let [a100, h100, _] = GPUS;
        // Shared memory, registers, threads and blocks decide in turn.
        assert_eq!(a100.resident(256, 214, 147_456), 1);
        assert_eq!(a100.resident(128, 222, 81_920), 2);
        assert_eq!(h100.resident(128, 222, 81_920), 2);
        assert_eq!(a100.resident(128, 254, 0), 2);
        assert_eq!(a100.resident(128, 80, 0), 6);
        assert_eq!(a100.resident(1024, 32, 0), 2);
        assert_eq!(a100.resident(32, 16, 0), 32);
        // Its sums alone are 128.
        assert!((128..255).contains(&registers("gemm_nt_large_bf16", "sm_80")));
        assert_eq!(registers("no such entry", "sm_80"), 255);
    }

    #[test]
    fn the_busiest_processor_and_its_busiest_unit_decide() {
        let a100 = GPUS[0];
        // 65,536 products are 131,072 clocks of a processor.
        let counts = Counts { blocks: 1, mma: 65_536, ..Counts::default() };
        let one = a100.predict(&launch("gemm_nt_large_bf16", 108, 256, counts));
        let more = a100.predict(&launch("gemm_nt_large_bf16", 109, 256, counts));
        let tensor = 131_072.0 / 1.41e9;
        assert!((one.units[0] - tensor).abs() < 1e-12 && one.bound() == "tensor", "{one:?}");
        assert!((one.seconds - tensor / REACHED - GAP).abs() < 1e-12, "{one:?}");
        assert!((more.units[0] - 2.0 * tensor).abs() < 1e-12, "a second wave: {more:?}");
        let both = a100.predict_all([
            &launch("gemm_nt_large_bf16", 108, 256, counts),
            &launch("gemm_nt_large_bf16", 109, 256, counts),
        ]);
        assert!((both.seconds - one.seconds - more.seconds).abs() < 1e-12);
        assert_eq!((both.launches, both.waves), (2, more.waves));
        // A dependent round is waited for once a wave.
        let slow = Counts { rounds: 16, ..counts };
        let slow = a100.predict(&launch("gemm_nt_large_bf16", 109, 256, slow));
        assert!((slow.seconds - more.seconds - 2.0 * 16.0 * ROUND).abs() < 1e-12, "{slow:?}");
    }

    #[test]
    fn a_full_gpu_takes_what_whole_waves_take() {
        let a100 = GPUS[0];
        let counts = Counts { blocks: 4, mma: 65_536, rounds: 3, ..Counts::default() };
        let waves = a100.predict(&launch("gemm_nt_large_bf16", 10 * 108, 256, counts));
        let full = a100.full(&counts, waves.resident, 147_456, 0.0);
        assert!((10.0 * full.seconds + GAP - waves.seconds).abs() < 1e-12, "{full:?} {waves:?}");
        assert_eq!((full.bound(), full.waves), ("tensor", 1.0));
        assert!((a100.reaches(&full) - full.units[0] / full.seconds).abs() < 1e-12);
        // Nothing but DRAM: it reaches what it can.
        let counts = Counts { blocks: 4, ..Counts::default() };
        let copied = a100.full(&counts, 8, 0, 65_536.0);
        assert_eq!(copied.bound(), "dram");
        assert!((a100.reaches(&copied) - DRAM_REACHED).abs() < 1e-12, "{copied:?}");
    }

    #[test]
    fn a_sample_stands_for_all_blocks_and_no_buffer_is_read_beyond_its_end() {
        let touched = Touched {
            bytes: 1 << 20,
            read: 1 << 10,
            read_from: 0,
            read_to: 1 << 16,
            ..Touched::default()
        };
        assert_eq!(crossing(&touched, 2.0, 2.0), 32.0 * 1024.0);
        assert_eq!(crossing(&touched, 2.0, 4.0), 64.0 * 1024.0);
        // Everything between the ends, twice over for two blocks.
        assert_eq!(crossing(&touched, 2.0, 400.0), 131_072.0);
        assert_eq!(crossing(&touched, 1.0, 400.0), 1_048_576.0);
    }
}

/// What a random number is for. Streams never overlap: the stream is part of the counter's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// Weights that no checkpoint holds.
    Init = 1,
    /// Which values dropout leaves out.
    Dropout = 2,
    /// Which spans of a text are masked.
    Spans = 3,
    /// The order of the learners in an epoch.
    Shuffle = 4,
    /// Items that a sampled ranking ranks beside the target.
    Negatives = 5,
    /// Which kind of example, window, target and template a training row has.
    Templates = 6,
    /// Which behaviours of a long history are shown.
    History = 7,
    /// The order of what is equal otherwise.
    Ties = 8,
    /// Resamples behind the intervals of a report.
    Bootstrap = 9,
    /// Data sets and weights that are made up.
    Synthetic = 10,
    /// Tokens drawn by their probability.
    Sampling = 11,
    /// Which users a sample of them holds.
    Users = 12,
    /// Which records are learnt from, and which are asked for.
    Records = 13,
    /// In which order the families of an epoch's examples come.
    Families = 14,
    /// The order in which a prompt lists candidates.
    Candidates = 15,
    /// The numbers of items that are shown as numbers.
    Numbers = 16,
    /// Which part of a history an example has, and in which order.
    Variants = 17,
}

/// Philox 4x32-10 (Salmon et al. 2011): a value is a function of (seed, stream, index) and nothing
/// else, so it does not matter who draws first, on which thread or on which device.
///
/// ```
/// use engine::base::{Philox, Stream};
/// let mut a = Philox::new(7, Stream::Spans, 42);
/// let mut b = Philox::new(7, Stream::Spans, 42);
/// assert_eq!(a.next_u32(), b.next_u32());
/// ```
#[derive(Clone, Debug)]
pub struct Philox {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Philox {
    /// Rounds of [`Philox::block`], for whoever takes them for many counters at once.
    pub const ROUNDS: usize = 10;
    /// What its first and third word are multiplied with in a round.
    pub const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];

    /// The key of the round after that of `key`.
    #[inline(always)]
    pub fn next_key([first, second]: [u32; 2]) -> [u32; 2] {
        [first.wrapping_add(0x9E37_79B9), second.wrapping_add(0xBB67_AE85)]
    }

    /// The sequence numbered `index` of `stream` under `seed`.
    pub fn new(seed: u64, stream: Stream, index: u64) -> Philox {
        Philox {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, stream as u32, index as u32, (index >> 32) as u32],
            block: [0; 4],
            used: 4,
        }
    }

    /// The four words of one counter value: the bare function, twin of `kernels/philox.cuh`.
    #[inline(always)]
    pub fn block(mut key: [u32; 2], mut c: [u32; 4]) -> [u32; 4] {
        for _ in 0..Philox::ROUNDS {
            let p0 = u64::from(c[0]) * u64::from(Philox::MULTIPLIERS[0]);
            let p1 = u64::from(c[2]) * u64::from(Philox::MULTIPLIERS[1]);
            c = [
                (p1 >> 32) as u32 ^ c[1] ^ key[0],
                p1 as u32,
                (p0 >> 32) as u32 ^ c[3] ^ key[1],
                p0 as u32,
            ];
            key = Philox::next_key(key);
        }
        c
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = Philox::block(self.key, self.counter);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// The next 64 bits: two of 32, the lower ones first.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// Uniform in [0, 1) with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..n without bias. `n` must not be zero.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "Philox::below(0)");
        let n = n as u64;
        // Values from `limit` on would favour small results.
        let limit = u64::MAX - u64::MAX % n;
        loop {
            let x = self.next_u64();
            if x < limit {
                return (x % n) as usize;
            }
        }
    }

    /// Standard normal (Box-Muller, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let u = 1.0 - self.uniform();
        let v = self.uniform();
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Fisher-Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of Random123's kat_vectors for philox4x32-10.
    #[test]
    fn known_answers() {
        assert_eq!(
            Philox::block([0, 0], [0; 4]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            Philox::block([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            Philox::block(
                [0xa409_3822, 0x299f_31d0],
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn below_reaches_every_value_evenly() {
        let mut rng = Philox::new(1, Stream::Spans, 0);
        let mut seen = [0usize; 7];
        for _ in 0..70_000 {
            seen[rng.below(7)] += 1;
        }
        assert!(seen.iter().all(|&n| (9_500..10_500).contains(&n)), "{seen:?}");
    }
}

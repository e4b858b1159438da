//! Dropout's factors: Philox for many columns at once.

use super::super::Dropout;
use crate::base::Philox;

/// What dropout multiplies the elements of one row with: zero, or 1/(1 - rate).
pub(super) struct Row {
    key: [u32; 2],
    /// Example (low word, high word) and place in it.
    row: [u32; 3],
    threshold: u32,
    kept: f32,
}

/// Factors of some columns, of whole cache lines.
#[repr(align(64))]
pub(super) struct Factors(pub [f32; Row::WIDTH]);

impl Row {
    /// Columns whose factors are made at once.
    pub const WIDTH: usize = 64;

    /// `row` as it stands in `dropout.rows`.
    pub fn new(dropout: &Dropout, row: [u32; 3]) -> Row {
        Row {
            key: dropout.key,
            row,
            threshold: Dropout::threshold(dropout.rate),
            kept: 1.0 / (1.0 - dropout.rate),
        }
    }

    /// The factors of columns `first..first + WIDTH`; `first` is a multiple of 4. Column c takes
    /// word c mod 4 of the counter (c / 4, place, example low, example high).
    #[inline(always)]
    pub fn factors(&self, first: usize) -> Factors {
        debug_assert!(first.is_multiple_of(4));
        let first = (first / 4) as u32;
        let mut factors = Factors([0.0; Row::WIDTH]);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has what it asks for: see `vector`.
        unsafe {
            self.side_by_side(first, &mut factors);
        }
        #[cfg(not(target_arch = "x86_64"))]
        self.one_by_one(first, &mut factors);
        factors
    }

    /// Eight counters at a time. A word fills 64 bits whose upper half is never read: so the
    /// product of two words is one instruction and its upper half a shift.
    #[cfg(target_arch = "x86_64")]
    #[inline(never)]
    #[target_feature(enable = "avx2")]
    fn side_by_side(&self, first: u32, factors: &mut Factors) {
        use std::arch::x86_64::*;
        let word = |word: u32| _mm256_set1_epi64x(i64::from(word));
        let [low, high, place] = self.row;
        let multipliers = Philox::MULTIPLIERS.map(word);
        // Their signs turned, unsigned numbers compare as signed ones do.
        let sign = _mm256_set1_epi32(i32::MIN);
        let threshold = _mm256_xor_si256(_mm256_set1_epi32(self.threshold as i32), sign);
        let kept = _mm256_set1_ps(self.kept);
        // The order in which `unpack` below puts four words of each counter side by side.
        let order = [_mm256_setr_epi64x(0, 2, 1, 3), _mm256_setr_epi64x(4, 6, 5, 7)];
        for (i, factors) in factors.0.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let first = word(first.wrapping_add(8 * i as u32));
            let mut both = order
                .map(|order| [_mm256_add_epi64(first, order), word(place), word(low), word(high)]);
            let mut key = self.key;
            for _ in 0..Philox::ROUNDS {
                let keys = key.map(word);
                both = both.map(|c| {
                    let p0 = _mm256_mul_epu32(c[0], multipliers[0]);
                    let p1 = _mm256_mul_epu32(c[2], multipliers[1]);
                    let (h0, h1) = (_mm256_srli_epi64::<32>(p0), _mm256_srli_epi64::<32>(p1));
                    [
                        _mm256_xor_si256(_mm256_xor_si256(h1, c[1]), keys[0]),
                        p1,
                        _mm256_xor_si256(_mm256_xor_si256(h0, c[3]), keys[1]),
                        p0,
                    ]
                });
                key = Philox::next_key(key);
            }
            for (c, y) in both.into_iter().zip(factors.as_chunks_mut::<16>().0) {
                let pair = |a, b| _mm256_blend_epi32::<0b1010_1010>(a, _mm256_slli_epi64::<32>(b));
                let (a, b) = (pair(c[0], c[1]), pair(c[2], c[3]));
                let words = [_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)];
                for (words, y) in words.into_iter().zip(y.as_chunks_mut::<8>().0) {
                    let dropped = _mm256_cmpgt_epi32(threshold, _mm256_xor_si256(words, sign));
                    let factors = _mm256_andnot_ps(_mm256_castsi256_ps(dropped), kept);
                    // SAFETY: y takes eight.
                    unsafe { _mm256_storeu_ps(y.as_mut_ptr(), factors) };
                }
            }
        }
    }

    /// One counter after another.
    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn one_by_one(&self, first: u32, factors: &mut Factors) {
        let [low, high, place] = self.row;
        for (i, factors) in factors.0.chunks_exact_mut(4).enumerate() {
            let counter = [first.wrapping_add(i as u32), place, low, high];
            let words = Philox::block(self.key, counter);
            for (factor, word) in factors.iter_mut().zip(words) {
                *factor = if word < self.threshold { 0.0 } else { self.kept };
            }
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn side_by_side_is_one_by_one() {
        for (i, rate) in [0.0, 0.1, 0.5, 0.999].into_iter().enumerate() {
            let row = Row {
                key: [0x9E37_79B9 << i, u32::MAX - i as u32],
                row: [u32::MAX >> i, 7 * i as u32, 1 << (i + 16)],
                threshold: Dropout::threshold(rate),
                kept: 1.0 / (1.0 - rate),
            };
            for first in [0, 1, 5 << 16, u32::MAX - 3] {
                let mut expected = Factors([f32::NAN; Row::WIDTH]);
                row.one_by_one(first, &mut expected);
                let mut got = Factors([f32::NAN; Row::WIDTH]);
                // SAFETY: no other processors run any of this room.
                unsafe { row.side_by_side(first, &mut got) };
                assert_eq!(got.0, expected.0, "rate {rate}, counter {first}");
                let dropped = got.0.iter().filter(|&&factor| factor == 0.0).count();
                assert_eq!(dropped == 0, rate == 0.0, "rate {rate}: {dropped} dropped");
            }
        }
    }
}

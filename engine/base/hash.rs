//! A hash of contents, to see whether they are what they were.
//!
//! XXH64 (Collet; seed 0) of 4 MiB pieces, then of the pieces' hashes, so that all threads read and
//! the result depends on none of them. 64 bits tell any accident apart; somebody who means to find
//! two contents of one hash can.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

/// A question to every 8 bytes of a part, asked while they are hashed, when it costs next to
/// nothing: whether one of the numbers in them has all bits of its exponent, that is, is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The exponents of the numbers in a word.
    mask: u64,
    /// What carries a full one into its sign.
    carry: u64,
}

impl Look {
    /// Nothing is looked for.
    pub const NONE: Look = Look { mask: 0, carry: 0 };
    /// Numbers that are not finite, of 32 bits.
    pub const F32: Look = Look { mask: 0x7f80_0000_7f80_0000, carry: 0x0080_0000_0080_0000 };
    /// The same of IEEE half precision.
    pub const F16: Look = Look { mask: 0x7c00_7c00_7c00_7c00, carry: 0x0400_0400_0400_0400 };
    /// The same of the upper half of an f32.
    pub const BF16: Look = Look { mask: 0x7f80_7f80_7f80_7f80, carry: 0x0080_0080_0080_0080 };
}

/// Bytes that one thread hashes at a time.
const PIECE: usize = 4 << 20;

const PRIMES: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];

/// The hash of each part, read by as many threads as asked; 0 = one a core.
pub fn hashes(parts: &[&[u8]], threads: usize) -> Vec<u64> {
    let parts: Vec<(&[u8], Look)> = parts.iter().map(|part| (*part, Look::NONE)).collect();
    hashes_and_looks(&parts, threads).into_iter().map(|(hash, _)| hash).collect()
}

/// The same, and whether what is looked for is in the part.
pub fn hashes_and_looks(parts: &[(&[u8], Look)], threads: usize) -> Vec<(u64, bool)> {
    let pieces = parts.iter().flat_map(|&(part, look)| part.chunks(PIECE).map(move |p| (p, look)));
    let pieces: Vec<(&[u8], Look)> = pieces.collect();
    let found: Vec<AtomicU64> = pieces.iter().map(|_| AtomicU64::new(0)).collect();
    let seen: Vec<AtomicBool> = pieces.iter().map(|_| AtomicBool::new(false)).collect();
    let next = AtomicUsize::new(0);
    let work = || loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(&(piece, look)) = pieces.get(at) else { break };
        let (hash, met) = xxh64(piece, look);
        found[at].store(hash, Ordering::Relaxed);
        seen[at].store(met, Ordering::Relaxed);
    };
    let threads = match threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(pieces.len()) {
            // Where no more threads are to be had, those that there are do the work.
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    let found = found.into_iter().map(AtomicU64::into_inner);
    let mut found = found.zip(seen.into_iter().map(AtomicBool::into_inner));
    let whole = |(part, _): &(&[u8], Look)| {
        let pieces = found.by_ref().take(part.len().div_ceil(PIECE));
        let (hashes, met): (Vec<[u8; 8]>, Vec<bool>) =
            pieces.map(|(hash, met)| (hash.to_le_bytes(), met)).unzip();
        (xxh64(hashes.as_flattened(), Look::NONE).0, met.contains(&true))
    };
    parts.iter().map(whole).collect()
}

/// XXH64 of `bytes` with seed 0, and whether what is looked for is in them.
fn xxh64(bytes: &[u8], look: Look) -> (u64, bool) {
    let mut met = 0;
    let mut see = |word: u64| met |= (word & look.mask).wrapping_add(look.carry);
    let [p1, p2, p3, p4, p5] = PRIMES;
    let word = |b: &[u8]| u64::from_le_bytes(b.try_into().expect("eight bytes"));
    let round = |lane: u64, word: u64| {
        lane.wrapping_add(word.wrapping_mul(p2)).rotate_left(31).wrapping_mul(p1)
    };
    let stripes = bytes.chunks_exact(32);
    let mut rest = stripes.remainder();
    let mut hash = match bytes.len() < 32 {
        true => p5,
        false => {
            let mut lanes = [p1.wrapping_add(p2), p2, 0, p1.wrapping_neg()];
            for stripe in stripes {
                for (lane, bytes) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
                    let word = word(bytes);
                    see(word);
                    *lane = round(*lane, word);
                }
            }
            let turned = lanes.iter().zip([1, 7, 12, 18]).map(|(lane, by)| lane.rotate_left(by));
            let sum = turned.fold(0u64, u64::wrapping_add);
            let merge =
                |hash: u64, lane: &u64| (hash ^ round(0, *lane)).wrapping_mul(p1).wrapping_add(p4);
            lanes.iter().fold(sum, merge)
        }
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    let tail = bytes.len() % 8;
    while let Some((bytes, behind)) = rest.split_first_chunk::<8>() {
        see(u64::from_le_bytes(*bytes));
        hash = (hash ^ round(0, u64::from_le_bytes(*bytes))).rotate_left(27);
        hash = hash.wrapping_mul(p1).wrapping_add(p4);
        rest = behind;
    }
    let mut last = [0; 8];
    last[..tail].copy_from_slice(rest);
    see(u64::from_le_bytes(last));
    if let Some((bytes, behind)) = rest.split_first_chunk::<4>() {
        hash ^= u64::from(u32::from_le_bytes(*bytes)).wrapping_mul(p1);
        hash = hash.rotate_left(23).wrapping_mul(p2).wrapping_add(p3);
        rest = behind;
    }
    for &byte in rest {
        hash = (hash ^ u64::from(byte).wrapping_mul(p5)).rotate_left(11).wrapping_mul(p1);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(p2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(p3);
    // Exponents carry into signs, and into nothing else.
    (hash ^ (hash >> 32), met & (look.mask.wrapping_add(look.carry)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_values() {
        for (text, hash) in [
            ("", 0xef46_db37_51d8_e999),
            ("a", 0xd24e_c4f1_a98c_6e5b),
            ("abc", 0x44bc_2cf5_ad77_0999),
            ("Nobody inspects the spammish repetition", 0xfbce_a83c_8a37_8bf1),
        ] {
            assert_eq!(xxh64(text.as_bytes(), Look::F16).0, hash, "{text:?}");
        }
    }

    #[test]
    fn a_number_that_is_none_is_met_wherever_it_stands() {
        let encode = |look: Look, value: f32| match look {
            Look::F32 => value.to_le_bytes().to_vec(),
            Look::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
            _ => half::bf16::from_f32(value).to_le_bytes().to_vec(),
        };
        for look in [Look::F32, Look::F16, Look::BF16] {
            for length in [1, 2, 3, 5, 8, 17, 100] {
                // The largest of each sign has every bit but one.
                let most = [half::f16::MAX.to_f32(), f32::MAX, -1.0, 0.0];
                let most = if look == Look::F32 { most[1] } else { most[0] };
                let good: Vec<u8> =
                    (0..length).flat_map(|i| encode(look, [most, -most, -0.0][i % 3])).collect();
                let met = |bytes: &[u8]| hashes_and_looks(&[(bytes, look)], 1)[0].1;
                assert!(!met(&good), "{look:?} {length}");
                for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    for at in 0..length {
                        let mut bytes = good.clone();
                        let bad = encode(look, bad);
                        bytes[at * bad.len()..][..bad.len()].copy_from_slice(&bad);
                        assert!(met(&bytes), "{look:?} {length} {at}");
                        assert!(!hashes_and_looks(&[(&bytes, Look::NONE)], 1)[0].1);
                    }
                }
            }
        }
    }

    #[test]
    fn threads_and_neighbours_change_no_hash_and_every_byte_does() {
        let mut bytes: Vec<u8> = (0..2 * PIECE + 77).map(|i| (i * i / 7) as u8).collect();
        let alone = hashes(&[&bytes], 1);
        for threads in [0, 2, 5] {
            let beside = hashes(&[b"", &bytes[..31], &bytes, b"x"], threads);
            assert_eq!(beside[2], alone[0], "{threads}");
            assert_ne!(beside[0], beside[1]);
        }
        for at in [0, PIECE - 1, PIECE, bytes.len() - 1] {
            bytes[at] ^= 1;
            assert_ne!(hashes(&[&bytes], 2), alone, "byte {at}");
            bytes[at] ^= 1;
        }
    }
}

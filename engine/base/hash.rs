//! A hash of contents, to see whether they are what they were.
//!
//! XXH64 (Collet; seed 0) of 4 MiB pieces, then of the pieces' hashes, so that all threads read and
//! the result depends on none of them. 64 bits tell any accident apart; somebody who means to find
//! two contents of one hash can.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

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
    let pieces: Vec<&[u8]> = parts.iter().flat_map(|part| part.chunks(PIECE)).collect();
    let found: Vec<AtomicU64> = pieces.iter().map(|_| AtomicU64::new(0)).collect();
    let next = AtomicUsize::new(0);
    let work = || loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(piece) = pieces.get(at) else { break };
        found[at].store(xxh64(piece), Ordering::Relaxed);
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
    let mut found = found.into_iter().map(AtomicU64::into_inner);
    let whole = |part: &&[u8]| {
        let pieces = found.by_ref().take(part.len().div_ceil(PIECE));
        xxh64(&pieces.flat_map(u64::to_le_bytes).collect::<Vec<u8>>())
    };
    parts.iter().map(whole).collect()
}

/// XXH64 of `bytes` with seed 0.
fn xxh64(bytes: &[u8]) -> u64 {
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
                    *lane = round(*lane, word(bytes));
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
    while let Some((bytes, behind)) = rest.split_first_chunk::<8>() {
        hash = (hash ^ round(0, u64::from_le_bytes(*bytes))).rotate_left(27);
        hash = hash.wrapping_mul(p1).wrapping_add(p4);
        rest = behind;
    }
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
    hash ^ (hash >> 32)
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
            assert_eq!(xxh64(text.as_bytes()), hash, "{text:?}");
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

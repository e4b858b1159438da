//! Whatever is in a file that others wrote: an error that names the file and whose fault it is,
//! never a panic.

mod adapters;
mod binary;
mod contents;
mod sources;
mod weights;

use engine::base::Fault;
use proptest::prelude::*;
use proptest::sample::Index;

/// One change to a text: bytes that were there, and bytes that readers stumble over.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, &'static [u8]),
    Repeat(Index, usize),
}

/// What readers stumble over: ends and beginnings, numbers that do not fit, bytes that are no text.
const STUMBLES: [&[u8]; 22] = [
    b"\n",
    b"\r\n",
    b"\t",
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\\",
    b"\0",
    b"\xff",
    b"\xf0\x9f\x99",
    b"\xef\xbb\xbf",
    b"\x1f\x8b",
    b"null",
    b"NaN",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"\\ud800",
];

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), 1usize..40).prop_map(|(at, length)| Change::Remove(at, length)),
        (any::<Index>(), prop::sample::select(STUMBLES.to_vec()))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), 1usize..60).prop_map(|(at, length)| Change::Repeat(at, length)),
    ];
    prop::collection::vec(change, 1..5)
}

fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        match change {
            Change::Flip(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Change::Remove(at, length) => {
                let at = at.index(bytes.len());
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Change::Insert(at, what) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, what.iter().copied());
            }
            Change::Repeat(at, length) => {
                let at = at.index(bytes.len());
                let again = bytes[at..(at + length).min(bytes.len())].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

/// A refusal is one line and says whose fault it is.
fn sound(error: &anyhow::Error, fault: Fault) -> Result<(), TestCaseError> {
    let chain = format!("{error:#}");
    prop_assert_eq!(Fault::of(error), Some(fault), "{}", chain);
    prop_assert!(!chain.is_empty() && !chain.contains('\n'), "{:?}", chain);
    Ok(())
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

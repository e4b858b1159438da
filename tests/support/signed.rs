//! Damage that no checksum tells.

/// A `.bin` with the checksums that its bytes have, so that its contents are read.
pub fn signed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let number = |bytes: &[u8], at: usize| -> Option<u64> {
        Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
    };
    let sign = |bytes: &mut Vec<u8>, at: usize, range: std::ops::Range<usize>| {
        let Some(part) = bytes.get(range) else { return };
        let sum = crc32fast::hash(part);
        if let Some(place) = bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
    };
    let sections = bytes.get(12).map_or(0, |&count| usize::from(count).min(64));
    for row in (0..sections).map(|i| 64 + 32 * i) {
        let (Some(from), Some(length)) = (number(&bytes, row + 8), number(&bytes, row + 16)) else {
            continue;
        };
        let end = from.checked_add(length).and_then(|end| end.checked_next_multiple_of(64));
        if let Some(end) = end.filter(|&end| end <= bytes.len() as u64) {
            sign(&mut bytes, row + 4, from as usize..end as usize);
        }
    }
    sign(&mut bytes, 24, 64..64 + (32 * sections).next_multiple_of(64));
    sign(&mut bytes, 60, 0..60);
    bytes
}

//! Texts, each once, numbered in the order in which they come.

/// Numbers for texts: all of them end to end, and a table of open addresses over them.
#[derive(Clone, Debug)]
pub struct Texts {
    text: String,
    /// [texts + 1]
    start: Vec<u64>,
    table: Vec<Slot>,
    /// How many are in the table.
    known: usize,
}

/// The number of a text and what tells it from others: a short one whole, so that nobody has to
/// look it up, of a long one a part of its hash.
#[derive(Clone, Copy, Debug)]
struct Slot {
    number: u32,
    key: Key,
}

/// Length and bytes of a text of up to [`SHORT`], otherwise some bits of its hash.
type Key = [u32; 4];

/// Bytes of the texts that a slot holds whole: ids mostly are.
const SHORT: usize = 15;

const FREE: Slot = Slot { number: u32::MAX, key: [0; 4] };

impl Default for Texts {
    fn default() -> Texts {
        Texts { text: String::new(), start: vec![0], table: vec![FREE; 16], known: 0 }
    }
}

impl Texts {
    /// How many.
    pub fn len(&self) -> usize {
        self.start.len() - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text of number `i`.
    pub fn get(&self, i: u32) -> &str {
        let i = i as usize;
        &self.text[self.start[i] as usize..self.start[i + 1] as usize]
    }

    /// All of them, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone + '_ {
        (0..self.len() as u32).map(|i| self.get(i))
    }

    /// The number of a text, if it came before.
    pub fn index(&self, text: &str) -> Option<u32> {
        self.slot(text, hash(text)).ok()
    }

    /// The number of a text, the next one if it did not come before; [`Texts::len`] grows then.
    pub fn number(&mut self, text: &str) -> u32 {
        let hash = hash(text);
        let slot = match self.slot(text, hash) {
            Ok(number) => return number,
            Err(slot) => slot,
        };
        let number = self.push(text);
        self.table[slot] = Slot { number, key: key(text, hash) };
        self.known += 1;
        if self.known * 4 > self.table.len() * 3 {
            self.grow();
        }
        number
    }

    /// The next number for a text that [`Texts::number`] and [`Texts::index`] shall never find.
    pub fn push(&mut self, text: &str) -> u32 {
        let number = u32::try_from(self.len()).ok().filter(|&n| n != FREE.number);
        self.text.push_str(text);
        self.start.push(self.text.len() as u64);
        number.expect("fewer than 2^32 texts")
    }

    /// All of them end to end, and where each begins, the end of the last behind it.
    pub fn parts(&self) -> (&str, &[u64]) {
        (&self.text, &self.start)
    }

    /// The number of `text`, or the free place where it would stand.
    fn slot(&self, text: &str, hash: u64) -> Result<u32, usize> {
        let (mask, key) = (self.table.len() - 1, key(text, hash));
        let mut slot = hash as usize & mask;
        loop {
            match self.table[slot] {
                Slot { number: u32::MAX, .. } => return Err(slot),
                found if found.key == key => {
                    if text.len() <= SHORT || self.get(found.number) == text {
                        return Ok(found.number);
                    }
                    slot = (slot + 1) & mask;
                }
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        let size = self.table.len() * 2;
        let known = std::mem::replace(&mut self.table, vec![FREE; size]);
        for known in known.into_iter().filter(|slot| slot.number != FREE.number) {
            let mut slot = hash(self.get(known.number)) as usize & (size - 1);
            while self.table[slot].number != FREE.number {
                slot = (slot + 1) & (size - 1);
            }
            self.table[slot] = known;
        }
    }
}

fn key(text: &str, hash: u64) -> Key {
    let bytes = text.as_bytes();
    let mut key = [0; 16];
    if bytes.len() <= SHORT {
        key[..bytes.len()].copy_from_slice(bytes);
        key[SHORT] = bytes.len() as u8;
    } else {
        key[..8].copy_from_slice(&hash.to_le_bytes());
        key[SHORT] = u8::MAX;
    }
    bytemuck::cast(key)
}

/// Eight bytes at a time, each folded into what was before by a product of 128 bits.
fn hash(text: &str) -> u64 {
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let mut sum = 0x9e37_79b9_7f4a_7c15 ^ text.len() as u64;
    let mut chunks = text.as_bytes().chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        sum = fold(sum ^ word, 0xa076_1d64_78bd_642f);
    }
    let mut rest = [0; 8];
    rest[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    fold(sum ^ u64::from_le_bytes(rest), 0xe703_7ed1_a0b4_28db)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_as_the_table_grows() {
        let mut texts = Texts::default();
        for round in 0..2 {
            for i in 0..1000u32 {
                assert_eq!(texts.number(&format!("text number {i}")), i, "round {round}");
            }
        }
        assert_eq!((texts.len(), texts.get(999)), (1000, "text number 999"));
        assert_eq!((texts.index("text number 1000"), texts.index("")), (None, None));
        assert_eq!((texts.number(""), texts.number("")), (1000, 1000));
        assert_eq!((texts.number("\0"), texts.number("\0\0")), (1001, 1002));
        assert_eq!((texts.push("apart"), texts.index("apart")), (1003, None));
        assert_eq!((texts.iter().last(), texts.parts().1.len()), (Some("apart"), 1005));
        for length in 0..40 {
            let text = "x".repeat(length);
            let number = texts.number(&text);
            assert_eq!((texts.index(&text), texts.get(number)), (Some(number), text.as_str()));
        }
    }
}

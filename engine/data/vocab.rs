use anyhow::Result;
use std::path::Path;

/// The special tokens, looked up by name in the tokenizer (never literal ids).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Special {
    /// `<|endoftext|>`: end of part A, and padding in other implementations.
    pub eos: u32,
    /// [START], `<|startofpiece|>` (`<sop>` in ChatGLM).
    pub start: u32,
    /// [END], `<|endofpiece|>` (`<eop>` in ChatGLM).
    pub end: u32,
    /// [CLS] (`<ENC>` in ChatGLM).
    pub cls: u32,
    /// [MASK], entity level.
    pub mask: u32,
    /// [gMASK], document level.
    pub gmask: u32,
    /// [sMASK], sentence level.
    pub smask: u32,
}

/// A `tokenizer.json` and its special tokens.
pub struct Vocab {}

impl Vocab {
    pub fn open(_path: &Path) -> Result<Vocab> {
        todo!()
    }
    /// From the bytes of a tokenizer.json (a `.bin` carries them).
    pub fn from_json(_json: &[u8]) -> Result<Vocab> {
        todo!()
    }
    /// Token ids of one piece of plain text, nothing added (R3: pieces are encoded alone).
    pub fn encode(&self, _piece: &str) -> Result<Vec<u32>> {
        todo!()
    }
    pub fn decode(&self, _ids: &[u32]) -> Result<String> {
        todo!()
    }
    pub fn special(&self) -> Special {
        todo!()
    }
    /// Number of ids, special ones included: every id is below this.
    pub fn size(&self) -> usize {
        todo!()
    }
    /// crc32 of the canonical JSON: tells tokenizers apart.
    pub fn hash(&self) -> u32 {
        todo!()
    }
    pub fn json(&self) -> &[u8] {
        todo!()
    }
}

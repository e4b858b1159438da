//! A tokenizer and the special tokens that GLM needs, looked up by name.

use crate::base::Fault;
use anyhow::{Context, Result};
use std::path::Path;
use std::sync::OnceLock;
use tokenizers::models::bpe::{BpeTrainer, BPE};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    Tokenizer, TokenizerImpl,
};

/// The special tokens, looked up by name in the tokenizer (never literal ids).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Special {
    /// `<|endoftext|>`: end of part A, and padding in other implementations.
    pub eos: u32,
    /// `[START]`, `<|startofpiece|>` (`<sop>` in ChatGLM).
    pub start: u32,
    /// `[END]`, `<|endofpiece|>` (`<eop>` in ChatGLM).
    pub end: u32,
    /// `[CLS]` (`<ENC>` in ChatGLM).
    pub cls: u32,
    /// `[MASK]`, entity level.
    pub mask: u32,
    /// `[gMASK]`, document level.
    pub gmask: u32,
    /// `[sMASK]`, sentence level.
    pub smask: u32,
}

/// The special tokens of GLM in the order in which its tokenizer appends them (docs/models.md); the
/// masks take away the blanks on their left.
pub const GLM_SPECIALS: [&str; 10] = [
    "<|endoftext|>",
    "<|startofpiece|>",
    "<|endofpiece|>",
    "[CLS]",
    "[MASK]",
    "[SEP]",
    "[UNK]",
    "[gMASK]",
    "[sMASK]",
    "[dBLOCK]",
];

/// A `tokenizer.json` and its special tokens.
pub struct Vocab {
    tokenizer: Tokenizer,
    special: Special,
    /// Every special string, longest first, so that the first that matches is the one meant.
    markers: Vec<Marker>,
    size: usize,
    json: Vec<u8>,
    hash: OnceLock<u32>,
}

struct Marker {
    text: String,
    id: u32,
    strips_left: bool,
    strips_right: bool,
}

impl Vocab {
    /// Reads a tokenizer.json; refuses one that lacks a special token, naming it.
    pub fn open(path: &Path) -> Result<Vocab> {
        let shown = path.display();
        let json = std::fs::read(path).map_err(|e| {
            Fault::Model.error(format!(
                "tokenizer: {shown}: expected a readable tokenizer.json, got: {e}; check the path"
            ))
        })?;
        Vocab::from_json(&json).with_context(|| format!("tokenizer: {shown}"))
    }

    /// From the bytes of a tokenizer.json (a `.bin` carries them).
    pub fn from_json(json: &[u8]) -> Result<Vocab> {
        let mut tokenizer = read(json)?;
        // Lengths are the sampler's affair: a piece is neither cut nor filled up here.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(broken)?;
        // Special strings inside plain text are plain text (R4).
        tokenizer.set_encode_special_tokens(true);

        let find = |what: &str, names: &[&str]| {
            names.iter().find_map(|name| tokenizer.token_to_id(name)).ok_or_else(|| {
                Fault::Model.error(format!(
                    "special tokens: expected {} for {what}, got none; use a GLM \
                    or ChatGLM tokenizer.json, or train one with `prepare` and setting \
                    `train-tokenizer`",
                    names.join(" or ")
                ))
            })
        };
        let special = Special {
            eos: find("the end of text", &["<|endoftext|>", "<pad>", "</s>", "[PAD]"])?,
            start: find("the start of a span", &["<|startofpiece|>", "<sop>"])?,
            end: find("the end of a span", &["<|endofpiece|>", "<eop>"])?,
            cls: find("the first token", &["[CLS]", "<ENC>"])?,
            mask: find("the entity mask", &["[MASK]"])?,
            gmask: find("the document mask", &["[gMASK]"])?,
            smask: find("the sentence mask", &["[sMASK]"])?,
        };
        let named = [
            special.eos,
            special.start,
            special.end,
            special.cls,
            special.mask,
            special.gmask,
            special.smask,
        ];
        let mut distinct = named.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() != named.len() {
            return Err(Fault::Model.error(format!(
                "special tokens: expected seven different ids, got {special:?}; mend the \
                tokenizer.json"
            )));
        }

        let mut markers: Vec<Marker> = tokenizer
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(id, token)| token.special || named.contains(id))
            .map(|(id, token)| Marker {
                strips_left: token.lstrip,
                strips_right: token.rstrip,
                text: token.content,
                id,
            })
            .collect();
        for id in named {
            if !markers.iter().any(|m| m.id == id) {
                let text = tokenizer.id_to_token(id).unwrap_or_default();
                markers.push(Marker { strips_left: false, strips_right: false, text, id });
            }
        }
        markers.retain(|m| !m.text.is_empty());
        markers.sort_by(|a, b| b.text.len().cmp(&a.text.len()).then(a.text.cmp(&b.text)));

        let size = tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        Ok(Vocab { tokenizer, special, markers, size, json: json.to_vec(), hash: OnceLock::new() })
    }

    /// Token ids of one piece of plain text, nothing added (R3: pieces are encoded alone).
    ///
    /// A special token's name inside `piece` is text like any other (R4): no special id comes out.
    pub fn encode(&self, piece: &str) -> Result<Vec<u32>> {
        let ids = self.encode_raw(piece)?;
        if !ids.iter().any(|&id| self.is_special(id)) {
            return Ok(ids);
        }
        // A tokenizer whose model itself knows the names: cut each name after its first character.
        let mut cuts = Vec::new();
        for marker in &self.markers {
            let first = marker.text.chars().next().map_or(0, char::len_utf8);
            cuts.extend(piece.match_indices(&marker.text).map(|(at, _)| at + first));
        }
        cuts.sort_unstable();
        cuts.dedup();
        cuts.push(piece.len());
        let (mut ids, mut from) = (Vec::new(), 0);
        for cut in cuts {
            ids.extend(self.encode_raw(&piece[from..cut])?);
            from = cut;
        }
        match ids.iter().find(|&&id| self.is_special(id)) {
            None => Ok(ids),
            Some(id) => Err(Fault::Model.error(format!(
                "tokenizer: {piece:?}: expected plain tokens, got special id {id}; take the \
                special tokens out \
                 of the tokenizer's model and list them under added_tokens"
            ))),
        }
    }

    /// Token ids of a prompt written by hand: names of special tokens such as `[MASK]` become their
    /// ids, blanks beside them go where the tokenizer says so, the text between is encoded as
    /// [`Vocab::encode`] does.
    pub fn encode_with_specials(&self, text: &str) -> Result<Vec<u32>> {
        let (mut ids, mut from, mut at) = (Vec::new(), 0, 0);
        while at < text.len() {
            let Some(marker) = self.markers.iter().find(|m| text[at..].starts_with(&m.text)) else {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                continue;
            };
            let before = &text[from..at];
            let before = if marker.strips_left { before.trim_end() } else { before };
            if !before.is_empty() {
                ids.extend(self.encode(before)?);
            }
            ids.push(marker.id);
            at += marker.text.len();
            if marker.strips_right {
                at += text[at..].len() - text[at..].trim_start().len();
            }
            from = at;
        }
        if from < text.len() {
            ids.extend(self.encode(&text[from..])?);
        }
        Ok(ids)
    }

    /// The text of token ids, special ones by their names: `decode(encode(x)) = x` for byte-level
    /// tokenizers. Ids from [`Vocab::size`] on (embedding tables are padded with rows that mean
    /// nothing) have no text.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.decode(ids, false).map_err(broken)
    }

    /// The special tokens.
    pub fn special(&self) -> Special {
        self.special
    }

    /// True for the seven of [`Special`] and every other token that the tokenizer marks as special.
    pub fn is_special(&self, id: u32) -> bool {
        self.markers.iter().any(|m| m.id == id)
    }

    /// The ids for which [`Vocab::is_special`] holds.
    pub fn specials(&self) -> Vec<u32> {
        self.markers.iter().map(|m| m.id).collect()
    }

    /// Number of ids, special ones included: every id is below this.
    pub fn size(&self) -> usize {
        self.size
    }

    /// crc32 of the canonical JSON (parts that change ids, in a fixed order): tells tokenizers
    /// apart, whatever the white space or key order of their files.
    pub fn hash(&self) -> u32 {
        *self.hash.get_or_init(|| {
            let mut crc = crc32fast::Hasher::new();
            let mut part = |bytes: serde_json::Result<Vec<u8>>| {
                crc.update(&bytes.expect("a tokenizer that was read can be written"));
                crc.update(b"\n");
            };
            part(serde_json::to_vec(self.tokenizer.get_added_vocabulary()));
            part(serde_json::to_vec(&self.tokenizer.get_normalizer()));
            part(serde_json::to_vec(&self.tokenizer.get_pre_tokenizer()));
            part(serde_json::to_vec(&self.tokenizer.get_decoder()));
            part(serde_json::to_vec(self.tokenizer.get_model()));
            crc.finalize()
        })
    }

    /// The tokenizer.json, byte for byte as it was read.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    fn encode_raw(&self, piece: &str) -> Result<Vec<u32>> {
        if piece.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.tokenizer.encode_fast(piece, false).map_err(broken)?.get_ids().to_vec())
    }
}

/// The crate panics on some files that are no tokenizers, so its reader runs behind a check and a
/// guard.
fn read(json: &[u8]) -> Result<Tokenizer> {
    let refuse = |what: String| {
        Fault::Model.error(format!(
            "expected a tokenizer.json in Hugging Face `tokenizers` format, got: {what}; tools/ \
            converts other formats"
        ))
    };
    serde_json::from_slice::<serde::de::IgnoredAny>(json).map_err(|e| refuse(e.to_string()))?;
    match std::panic::catch_unwind(|| Tokenizer::from_bytes(json)) {
        Ok(read) => read.map_err(|e| refuse(e.to_string())),
        Err(_) => Err(refuse("a part that cannot be read".to_owned())),
    }
}

fn broken(error: tokenizers::Error) -> anyhow::Error {
    Fault::Model
        .error(format!("tokenizer: expected it to apply, got: {error}; check the tokenizer.json"))
}

/// The smallest vocabulary that can be trained: 256 bytes and the special tokens.
pub const SMALLEST_VOCABULARY: usize = 256 + GLM_SPECIALS.len();

/// The tokenizer.json of a byte-level BPE trained on `texts`, with GLM's special tokens behind its
/// vocabulary.
///
/// `size` counts every id, special ones included; fewer come out when `texts` hold fewer pairs. The
/// same texts in any order give the same bytes. Refuses a `size` below [`SMALLEST_VOCABULARY`].
pub fn train_tokenizer<'t>(
    texts: impl Iterator<Item = &'t str> + Send,
    size: usize,
) -> Result<Vec<u8>> {
    if size < SMALLEST_VOCABULARY {
        return Err(Fault::Usage.error(format!(
            "setting `train-tokenizer`: expected at least {SMALLEST_VOCABULARY} (256 bytes and {} \
            special tokens), got {size}; give a larger number",
            GLM_SPECIALS.len()
        )));
    }
    let bytes = || ByteLevel::new(false, true, true);
    let mut trained: TokenizerImpl<BPE, NormalizerWrapper, ByteLevel, ByteLevel, ByteLevel> =
        TokenizerImpl::new(BPE::default());
    trained.with_pre_tokenizer(Some(bytes()));
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(size - GLM_SPECIALS.len())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    trained.train(&mut trainer, texts).map_err(broken)?;

    let mut tokenizer = Tokenizer::new(trained.get_model().clone());
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(bytes())));
    tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(bytes())));
    let specials = GLM_SPECIALS.iter().map(|&name| {
        AddedToken::from(name, true).lstrip(name.ends_with("MASK]")).normalized(false)
    });
    tokenizer.add_special_tokens(specials).map_err(broken)?;
    let id = |name: &str| tokenizer.token_to_id(name).expect("just added");
    let template = TemplateProcessing::builder()
        .try_single("[CLS] $A <|endoftext|>")
        .and_then(|t| t.try_pair("$A $B"))
        .map_err(|e| anyhow::anyhow!("template: {e}"))?
        .special_tokens(vec![("[CLS]", id("[CLS]")), ("<|endoftext|>", id("<|endoftext|>"))])
        .build()
        .context("template")?;
    tokenizer.with_post_processor(Some(PostProcessorWrapper::Template(template)));
    Ok(tokenizer.to_string(false).map_err(broken)?.into_bytes())
}

//! A tokenizer and the special tokens that GLM needs, looked up by name.

use super::texts::Texts;
use super::words::{words, Words};
use crate::base::{contained, unreadable, Fault};
use anyhow::{Context, Result};
use rayon::prelude::*;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;
use tokenizers::models::bpe::{BpeTrainer, BPE};
use tokenizers::normalizers::Replace;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, Decoder, DecoderWrapper, ModelWrapper, NormalizedString, Normalizer,
    NormalizerWrapper, OffsetReferential, OffsetType, PostProcessorWrapper, PreTokenizedString,
    PreTokenizer, PreTokenizerWrapper, Tokenizer,
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
    /// What the model gives for characters that it lacks.
    unknown: Option<u32>,
    /// No piece of a text goes over the blank between two words.
    worded: bool,
    size: usize,
    json: Vec<u8>,
    hash: OnceLock<u32>,
}

/// What a model gives for characters that it lacks, as its JSON says it.
#[derive(Deserialize)]
struct Unknown {
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    unk_id: Option<u32>,
}

#[derive(Deserialize)]
struct WithUnknown {
    model: Unknown,
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
        let json = std::fs::read(path);
        let json =
            json.map_err(|e| unreadable(Fault::Model, "tokenizer", path, "a tokenizer.json", &e))?;
        Vocab::from_json(&json).with_context(|| format!("tokenizer: {}", path.display()))
    }

    /// From the bytes of a tokenizer.json (a `.bin` carries them).
    pub fn from_json(json: &[u8]) -> Result<Vocab> {
        // Whatever of the crate panics while it is looked at.
        contained(|| Vocab::of(json, read(json)?)).unwrap_or_else(|words| Err(broken(words.into())))
    }

    fn of(json: &[u8], mut tokenizer: Tokenizer) -> Result<Vocab> {
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
        if size > MOST_IDS {
            return Err(Fault::Model.error(format!(
                "ids: expected them below {MOST_IDS}, got {}; mend the tokenizer.json",
                size - 1
            )));
        }
        let unknown = serde_json::from_slice(json).ok().and_then(|WithUnknown { model }| {
            model.unk_token.and_then(|name| tokenizer.token_to_id(&name)).or(model.unk_id)
        });
        let (json, hash) = (json.to_vec(), OnceLock::new());
        let worded = is_worded(&tokenizer);
        Ok(Vocab { tokenizer, special, markers, unknown, worded, size, json, hash })
    }

    /// [`Vocab::encode`] of each of many texts, with `lead` before it.
    pub fn encode_all<S: AsRef<str> + Sync>(
        &self,
        lead: &str,
        texts: &[S],
    ) -> Result<Vec<Vec<u32>>> {
        /// Texts that share what is known of their words.
        const BLOCK: usize = 1 << 14;
        let block = |texts: &[S]| -> Result<Vec<Vec<u32>>> {
            let mut known = Words::default();
            let one = |text: &S| {
                let text = format!("{lead}{}", text.as_ref());
                if self.worded {
                    let tokens = known.encode(&text, |word| self.encode_raw(word))?;
                    if !tokens.iter().any(|&id| self.is_special(id)) {
                        return Ok(tokens);
                    }
                }
                self.encode(&text)
            };
            texts.iter().map(one).collect()
        };
        let blocks: Vec<Vec<Vec<u32>>> = if self.worded {
            texts.par_chunks(BLOCK).map(block).collect::<Result<_>>()?
        } else {
            texts.par_chunks(64).map(block).collect::<Result<_>>()?
        };
        Ok(blocks.into_iter().flatten().collect())
    }

    /// Token ids of one piece of plain text, nothing added (R3: pieces are encoded alone).
    ///
    /// A special token's name inside `piece` is text like any other (R4): no special id comes out.
    /// Characters that the tokenizer lacks are left out.
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
        ask(|| {
            self.check_decoded_growth(ids)?;
            self.tokenizer.decode(ids, false)
        })
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
            // What the crate reads but cannot write is told apart by its bytes.
            let canonical = contained(|| hash_of(&self.tokenizer)).ok().and_then(Result::ok);
            canonical.unwrap_or_else(|| crc32fast::hash(&self.json))
        })
    }

    /// The tokenizer.json, byte for byte as it was read.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// Whether the tokenizer may lack characters.
    pub fn has_unknown(&self) -> bool {
        self.unknown.is_some()
    }

    /// How many pieces of a text the tokenizer does not know.
    pub fn lost(&self, text: &str) -> usize {
        let count = ask(|| {
            self.check_growth(text)?;
            let encoding = self.tokenizer.encode_fast(text, false)?;
            Ok(encoding.get_ids().iter().filter(|&&id| Some(id) == self.unknown).count())
        });
        count.unwrap_or(0)
    }

    fn encode_raw(&self, piece: &str) -> Result<Vec<u32>> {
        if piece.is_empty() {
            return Ok(Vec::new());
        }
        let ids = ask(|| {
            self.check_growth(piece)?;
            let encoding = self.tokenizer.encode_fast(piece, false)?;
            let ids = encoding.get_ids();
            Ok(match self.unknown.filter(|unknown| ids.contains(unknown)) {
                None => ids.to_vec(),
                Some(unknown) => ids.iter().copied().filter(|&id| id != unknown).collect(),
            })
        })?;
        match ids.iter().find(|&&id| id as usize >= self.size) {
            None => Ok(ids),
            Some(id) => {
                Err(broken(format!("id {id} for {piece:?}, which it does not have").into()))
            }
        }
    }

    /// Walks the rules by which the tokenizer replaces text, and refuses those that blow it up.
    fn check_growth(&self, piece: &str) -> tokenizers::Result<()> {
        let Some(all) = self.tokenizer.get_normalizer() else { return Ok(()) };
        let rules = normalizers(all);
        let replaces = |rule: &&NormalizerWrapper| matches!(rule, NormalizerWrapper::Replace(_));
        if !rules.iter().any(replaces) {
            return Ok(());
        }
        let mut text = NormalizedString::from(piece);
        for rule in rules {
            if let NormalizerWrapper::Replace(rule) = rule {
                // Every match becomes the rule's text; what is beyond a word's length is counted
                // before it is made.
                bounded(text.get().len().max(piece.len()) << 10, replaced(rule, text.get()))?;
            }
            rule.normalize(&mut text)?;
            bounded(piece.len(), text.get().len())?;
        }
        Ok(())
    }

    /// As [`Vocab::check_growth`], of what is made into text.
    fn check_decoded_growth(&self, ids: &[u32]) -> tokenizers::Result<()> {
        let Some(all) = self.tokenizer.get_decoder() else { return Ok(()) };
        let rules = decoders(all);
        if !rules.iter().any(|rule| matches!(rule, DecoderWrapper::Replace(_))) {
            return Ok(());
        }
        let mut tokens: Vec<String> =
            ids.iter().filter_map(|&id| self.tokenizer.id_to_token(id)).collect();
        let length = |tokens: &[String]| tokens.iter().map(String::len).sum::<usize>();
        let before = length(&tokens);
        for rule in rules {
            if let DecoderWrapper::Replace(rule) = rule {
                let most = tokens.iter().map(|token| replaced(rule, token));
                bounded(length(&tokens).max(before) << 10, most.sum())?;
            }
            tokens = rule.decode_chain(tokens)?;
            bounded(before, length(&tokens))?;
        }
        Ok(())
    }
}

/// Whether a tokenizer makes of a text what it makes of its [`words`], end to end: texts go to
/// GPT-2's pattern as they are, and nothing is left to chance.
fn is_worded(tokenizer: &Tokenizer) -> bool {
    let ModelWrapper::BPE(model) = tokenizer.get_model() else { return false };
    let Some(PreTokenizerWrapper::ByteLevel(pieces)) = tokenizer.get_pre_tokenizer() else {
        return false;
    };
    let added = tokenizer.get_added_tokens_decoder();
    tokenizer.get_normalizer().is_none()
        && pieces.use_regex
        && !pieces.add_prefix_space
        && model.dropout.is_none()
        && added.values().all(|token| token.special)
}

/// [`Vocab::hash`] of a tokenizer.
fn hash_of(tokenizer: &Tokenizer) -> serde_json::Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    for part in [
        serde_json::to_vec(tokenizer.get_added_vocabulary()),
        serde_json::to_vec(&tokenizer.get_normalizer()),
        serde_json::to_vec(&tokenizer.get_pre_tokenizer()),
        serde_json::to_vec(&tokenizer.get_decoder()),
        serde_json::to_vec(tokenizer.get_model()),
    ] {
        crc.update(&part?);
        crc.update(b"\n");
    }
    Ok(crc.finalize())
}

/// Calls the crate, which panics on some tokenizers: the one door to it.
fn ask<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    match contained(work) {
        Ok(done) => done.map_err(broken),
        Err(words) => Err(broken(words.into())),
    }
}

/// Ids are rows of a table; no table has more.
const MOST_IDS: usize = 1 << 24;
/// How many times as long as itself, and how many bytes longer, a tokenizer's rules may make a
/// text. Without a bound a few of them make a terabyte of a word.
const GROWTH: usize = 64;
const LONGER: usize = 1 << 16;

/// Refuses what the rules of a tokenizer make too long of `before` bytes.
fn bounded(before: usize, after: usize) -> tokenizers::Result<()> {
    match before.saturating_mul(GROWTH).saturating_add(LONGER) {
        most if after > most => Err(format!(
            "rules that make {after} bytes or more of a text of {before}, where at most {most} are \
            taken"
        )
        .into()),
        _ => Ok(()),
    }
}

/// Bytes that a rule makes at most of `text`.
fn replaced(rule: &Replace, text: &str) -> usize {
    (text.chars().count() + 1).saturating_mul(rule.content.len()).saturating_add(text.len())
}

/// The rules of a normalizer, one after another.
fn normalizers(all: &NormalizerWrapper) -> Vec<&NormalizerWrapper> {
    match all {
        NormalizerWrapper::Sequence(rules) => rules.as_ref().iter().flat_map(normalizers).collect(),
        one => vec![one],
    }
}

/// The rules of a decoder, one after another.
fn decoders(all: &DecoderWrapper) -> Vec<&DecoderWrapper> {
    match all {
        DecoderWrapper::Sequence(rules) => rules.get_decoders().iter().flat_map(decoders).collect(),
        one => vec![one],
    }
}

/// Reads a tokenizer. What is no JSON is told apart from what is no tokenizer.
fn read(json: &[u8]) -> Result<Tokenizer> {
    let refuse = |what: String| {
        Fault::Model.error(format!(
            "expected a tokenizer.json in Hugging Face `tokenizers` format, got: {what}; tools/ \
            converts other formats"
        ))
    };
    serde_json::from_slice::<serde::de::IgnoredAny>(json).map_err(|e| refuse(e.to_string()))?;
    match contained(|| Tokenizer::from_bytes(json)) {
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
pub fn train_tokenizer(texts: impl Iterator<Item = String>, size: usize) -> Result<Vec<u8>> {
    if size < SMALLEST_VOCABULARY {
        return Err(Fault::Usage.error(format!(
            "setting `train-tokenizer`: expected at least {SMALLEST_VOCABULARY} (256 bytes and {} \
            special tokens), got {size}; give a larger number",
            GLM_SPECIALS.len()
        )));
    }
    let bytes = || ByteLevel::new(false, true, true);
    let trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(size - GLM_SPECIALS.len())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let pieces = pieces(texts, &bytes()).map_err(broken)?;
    let pieces = pieces.iter().map(|(piece, &count)| (piece.as_str().into(), count)).collect();
    let mut model = BPE::default();
    trainer.do_train(&pieces, &mut model).map_err(broken)?;

    let mut tokenizer = Tokenizer::new(model);
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

/// How often each piece comes in the texts, each word of which is taken apart once.
fn pieces(
    texts: impl Iterator<Item = String>,
    bytes: &ByteLevel,
) -> tokenizers::Result<HashMap<String, u64>> {
    let (mut known, mut counts) = (Texts::default(), Vec::new());
    for text in texts {
        for word in words(&text) {
            let number = known.number(word) as usize;
            counts.resize(known.len(), 0);
            counts[number] += 1;
        }
    }
    let mut pieces = HashMap::new();
    for (word, count) in known.iter().zip(counts) {
        let mut word = PreTokenizedString::from(word);
        bytes.pre_tokenize(&mut word)?;
        for (piece, _, _) in word.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            *pieces.entry(piece.to_owned()).or_default() += count;
        }
    }
    Ok(pieces)
}

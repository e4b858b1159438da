#!/usr/bin/env python3
"""Turns published tokenizer files into one tokenizer.json.

    python3 tools/convert_tokenizer.py gpt2 --vocab vocab.json --merges merges.txt \\
        --out tokenizer.json
    python3 tools/convert_tokenizer.py chatglm --model ice_text.model --config config.json \\
        --out tokenizer.json

gpt2     GLM-2B and GLM-10B (English): byte-level BPE without a prefix space, then GLM's nine
         special tokens in the original's order. [MASK], [gMASK] and [sMASK] take the blanks on
         their left away. A text becomes [CLS] text <|endoftext|>.
chatglm  ChatGLM-6B, final revision (an id is the id of its piece): newline, tab and runs of 2 to 80
         blanks become <n>, <|tab|> and <|blank_k|>, then the SentencePiece model (unigram or BPE,
         as its file says) with its own normalisation. A text becomes text [gMASK] <sop>. The
         written file is compared with the sentencepiece library before it gets its name, on
         built-in strings and on the lines of --check FILE.

Exit codes: 0 done, 2 wrong usage, 3 a file is missing or damaged, 4 the files do not fit together,
6 the result and the sentencepiece library disagree.
"""

import argparse
import json
import os
import re
import sys

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from published import Refusal, read_json, run

GLM_SPECIALS = (
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
)
MASKS = ("[MASK]", "[gMASK]", "[sMASK]")
CHATGLM_SPECIALS = (
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<unused_0>",
    "<sop>",
    "<eop>",
    "<ENC>",
    "<dBLOCK>",
)
CHATGLM_CONTROLS = ("<unk>", "<s>", "</s>", "<pad>")
LONGEST_BLANK = 80
SPACE = "\u2581"

CONFIG_IDS = {
    "bos_token_id": "<sop>",
    "eos_token_id": "<eop>",
    "mask_token_id": "[MASK]",
    "gmask_token_id": "[gMASK]",
}

SELF_CHECK = (
    "", " ", "  ", "a", " a", "a ", "a b", "a  b", "a   b", "\n", "\n\n", " \n ", "a\nb",
    "a\tb", "\ta", "x\n\n  y\t\tz ",
    " " * 79 + "x", " " * 80, " " * 81 + "x", " " * 161 + "x", "Hello, world!",
    "hello   \n\n  world \t tab", "3.14 + 42%",
    "naïve café", "ﬁne ①", "你好,世界。", "你 好", "Привет", "日本語 テスト", "🙂 emoji 👩‍👩‍👧", "a\u00a0b",
    "a\u3000b", "<n", "n>",
    "[MASK]", "a [MASK] b", "[gMASK]<sop>", "x[gMASK]", "<eop>", "<|blank_2|>", "a<n>b", "▁",
    "a▁b", "\u0301", "e\u0301",
)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="gpt2|chatglm")
    gpt2 = kinds.add_parser("gpt2", help="vocab.json and merges.txt of GLM-2B or GLM-10B")
    gpt2.add_argument("--vocab", required=True, metavar="vocab.json")
    gpt2.add_argument("--merges", required=True, metavar="merges.txt")
    chatglm = kinds.add_parser("chatglm", help="ice_text.model of ChatGLM-6B")
    chatglm.add_argument("--model", required=True, metavar="ice_text.model")
    chatglm.add_argument(
        "--config", metavar="config.json", help="the model's config; its special ids must agree"
    )
    chatglm.add_argument("--check", metavar="FILE", help="also compare every line of this text")
    for kind in (gpt2, chatglm):
        kind.add_argument("--out", required=True, metavar="tokenizer.json")
    arguments = parser.parse_args()

    if arguments.kind == "gpt2":
        tokenizer = from_gpt2(
            read_json(arguments.vocab, "vocabulary"), read_merges(arguments.merges)
        )
        differences = None
    else:
        model, processor = read_sentencepiece(arguments.model)
        tokenizer = from_sentencepiece(model, arguments.model)
        if arguments.config:
            check_ids(tokenizer, read_json(arguments.config, "config"), arguments.config)
        texts = list(SELF_CHECK) + (read_lines(arguments.check) if arguments.check else [])
        differences = compare(tokenizer, processor, texts)
        if differences:
            text, ours, theirs = differences[0]
            raise Refusal(
                f"tokenizer: {arguments.model}: expected the ids of sentencepiece, got others for "
                f"{len(differences)} of "
                f"{len(texts)} texts; first {text!r}: {ours} instead of {theirs}",
                code=6,
            )
    save(tokenizer, arguments.out)
    print(f"{arguments.out}: {tokenizer.get_vocab_size()} tokens")


def save(tokenizer, out):
    partial = f"{out}.partial-{os.getpid()}"
    try:
        with open(partial, "w", encoding="utf-8") as file:
            file.write(tokenizer.to_str(pretty=True))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, out)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def read_lines(path):
    with open(path, encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\n") for line in file]


# GPT-2 vocabularies
# ------------------------------------------------------------------------------------


def read_merges(path):
    """The pairs of a merges.txt, strongest first; its `#version` line and empty lines are passed
    over."""
    merges = []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        pair = line.rstrip("\r").split(" ")
        if len(pair) != 2 or not all(pair):
            raise Refusal(
                f"merges: {path}:{number}: expected two parts and one space, got {line!r}", code=3
            )
        merges.append((pair[0], pair[1]))
    return merges


def from_gpt2(vocab, merges):
    """Byte-level BPE with GLM's special tokens behind the vocabulary."""
    if not isinstance(vocab, dict) or sorted(vocab.values()) != list(range(len(vocab))):
        raise Refusal(
            f"vocabulary: expected each id from 0 to {len(vocab) - 1} once, got gaps or repeats"
        )
    for left, right in merges:
        for part in (left, right, left + right):
            if part not in vocab:
                raise Refusal(
                    f"merges: {left} {right}: expected {part!r} in the vocabulary, got no such "
                    "entry"
                )
    if GLM_SPECIALS[0] in vocab and vocab[GLM_SPECIALS[0]] != len(vocab) - 1:
        raise Refusal(
            f"vocabulary: {GLM_SPECIALS[0]}: expected the last id {len(vocab) - 1}, got "
            f"{vocab[GLM_SPECIALS[0]]}; "
            "is this a GPT-2 vocabulary?"
        )
    clash = [token for token in GLM_SPECIALS[1:] if token in vocab]
    if clash:
        raise Refusal(
            f"vocabulary: expected the plain GPT-2 vocabulary, got {clash[0]} in it already"
        )

    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [
            AddedToken(token, lstrip=token in MASKS, normalized=False, special=True)
            for token in GLM_SPECIALS
        ]
    )
    ids = {token: tokenizer.token_to_id(token) for token in ("[CLS]", "<|endoftext|>")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A <|endoftext|>", special_tokens=list(ids.items())
    )
    return tokenizer


# SentencePiece
# -----------------------------------------------------------------------------------------


def read_sentencepiece(path):
    """The file as a message and as a processor."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as schema

    with open(path, "rb") as file:
        data = file.read()
    if data.startswith(b"version https://git-lfs"):
        raise Refusal(
            f"model: {path}: expected a SentencePiece model, got a Git LFS pointer; download the "
            "file itself",
            code=3,
        )
    model = schema.ModelProto()
    try:
        model.ParseFromString(data)
        processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    except Exception as error:  # protobuf and sentencepiece have their own kinds
        raise Refusal(
            f"model: {path}: expected a SentencePiece model, got {error}", code=3
        ) from None
    return model, processor


def from_sentencepiece(model, path):
    """The same segmentation in the tokenizers library; refuses what it could only approximate."""
    pieces, trainer, rules = model.pieces, model.trainer_spec, model.normalizer_spec
    kinds = type(pieces[0])
    unknown = [i for i, piece in enumerate(pieces) if piece.type == kinds.UNKNOWN]
    for fits, expected in (
        (trainer.model_type in (trainer.UNIGRAM, trainer.BPE), "a unigram or BPE model"),
        (len(unknown) == 1, "one unknown piece"),
        (not any(piece.type == kinds.UNUSED for piece in pieces), "no unused pieces"),
        (rules.escape_whitespaces, "escaped blanks"),
        (not trainer.treat_whitespace_as_suffix, "blanks before words"),
        (
            not model.HasField("denormalizer_spec")
            or not model.denormalizer_spec.precompiled_charsmap,
            "no denormaliser",
        ),
    ):
        if not fits:
            raise Refusal(
                f"model: {path}: expected {expected}, got another kind of SentencePiece model"
            )

    names = [piece.piece for piece in pieces]
    rewritten = ["<n>", "<|tab|>"] + [f"<|blank_{k}|>" for k in range(2, LONGEST_BLANK + 1)]
    held = {piece.piece for piece in pieces if piece.type == kinds.USER_DEFINED}
    missing = [name for name in rewritten if name not in held]
    if missing:
        raise Refusal(
            f"model: {path}: expected ChatGLM's whitespace pieces, got none for {missing[0]} "
            f"({len(missing)} missing); "
            "is this ice_text.model?"
        )

    if trainer.model_type == trainer.UNIGRAM:
        segmenter = unigram(pieces, kinds, unknown[0], trainer.byte_fallback)
    else:
        segmenter = bpe(pieces, kinds, unknown[0], trainer.byte_fallback)
    tokenizer = Tokenizer(segmenter)
    specials = [name for name in CHATGLM_CONTROLS if name in names] + list(CHATGLM_SPECIALS)
    symbols = [
        piece.piece
        for piece in pieces
        if piece.type == kinds.USER_DEFINED and piece.piece not in specials
    ]
    tokenizer.normalizer = normalizer(rules, symbols)
    tokenizer.decoder = decoder(rules, trainer.byte_fallback)
    tokenizer.add_special_tokens(
        [AddedToken(name, normalized=False, special=True) for name in specials]
    )
    tokenizer.add_tokens([AddedToken(name, normalized=True, special=False) for name in symbols])
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[gMASK]", "<sop>", "<eop>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [gMASK] <sop>", pair="$A [gMASK] <sop> $B:1 <eop>:1", special_tokens=ends
    )
    return tokenizer


def unigram(pieces, kinds, unknown, byte_fallback):
    """Pieces that the library must never find in text get a score below every other path."""
    lowest = min((piece.score for piece in pieces if piece.type == kinds.NORMAL), default=0.0)
    silent = lowest - 1000.0
    vocab = [
        (p.piece, p.score if p.type in (kinds.NORMAL, kinds.USER_DEFINED) else silent)
        for p in pieces
    ]
    return models.Unigram(vocab, unk_id=unknown, byte_fallback=byte_fallback)


def bpe(pieces, kinds, unknown, byte_fallback):
    """The merges that SentencePiece implies: each way to cut a piece in two, the best piece
    first."""
    vocab = {piece.piece: i for i, piece in enumerate(pieces)}
    scores = {piece.piece: piece.score for piece in pieces if piece.type == kinds.NORMAL}
    merges = []
    for whole, score in scores.items():
        for cut in range(1, len(whole)):
            left, right = whole[:cut], whole[cut:]
            if left in scores and right in scores:
                merges.append((-score, vocab[whole], cut, left, right))
    merges.sort()
    return models.BPE(
        vocab=vocab,
        merges=[(left, right) for *_, left, right in merges],
        unk_token=pieces[unknown].piece,
        fuse_unk=True,
        byte_fallback=byte_fallback,
    )


def normalizer(rules, symbols):
    """ChatGLM's rewriting of whitespace and SentencePiece's own normalisation, in one sequence.

    The symbols are found in the normalised text, and the library normalises their spelling too
    before it looks for them. So the prefix blank is taken back where a text is nothing but one
    symbol's spelling; it comes first, because a newline alone is such a text only once it is
    rewritten.
    """
    steps = []
    if rules.add_dummy_prefix:
        spelled = "|".join(re.escape(symbol) for symbol in symbols)
        steps.append(normalizers.Prepend(SPACE))
        steps.append(normalizers.Replace(Regex(rf"\A{SPACE}(?=(?:{spelled})\z)"), ""))
    steps.append(normalizers.Replace("\n", "<n>"))
    steps.append(normalizers.Replace("\t", "<|tab|>"))
    for k in range(LONGEST_BLANK, 1, -1):
        steps.append(normalizers.Replace(" " * k, f"<|blank_{k}|>"))
    if rules.add_dummy_prefix:
        steps.append(normalizers.Replace(Regex(rf"\A{SPACE}"), " "))
    if rules.precompiled_charsmap:
        # The library loses a combining mark behind a character that this step rewrites (an accent
        # on a ligature).
        steps.append(normalizers.Precompiled(rules.precompiled_charsmap))
    if rules.remove_extra_whitespaces:
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
        if not rules.add_dummy_prefix:
            steps.append(normalizers.Replace(Regex(r"\A "), ""))
    steps.append(normalizers.Replace(" ", SPACE))
    if rules.remove_extra_whitespaces:
        steps.append(normalizers.Replace(Regex(rf"{SPACE}+\z"), ""))
    return normalizers.Sequence(steps)


def decoder(rules, byte_fallback):
    steps = [decoders.Replace(SPACE, " ")]
    if byte_fallback:
        steps.append(decoders.ByteFallback())
    steps.append(decoders.Fuse())
    if rules.add_dummy_prefix:
        steps.append(decoders.Strip(" ", 1, 0))
    steps.append(decoders.Replace("<n>", "\n"))
    steps.append(decoders.Replace("<|tab|>", "\t"))
    for k in range(2, LONGEST_BLANK + 1):
        steps.append(decoders.Replace(f"<|blank_{k}|>", " " * k))
    return decoders.Sequence(steps)


def check_ids(tokenizer, config, path):
    """The config's special ids must be those of the pieces."""
    for field, token in CONFIG_IDS.items():
        expected, got = config.get(field), tokenizer.token_to_id(token)
        if expected is not None and expected != got:
            hint = (
                "; the early revision with image tokens is not supported"
                if expected - got == 20000
                else ""
            )
            raise Refusal(
                f"{field}: {path}: expected {got}, the id of {token}, got {expected}{hint}"
            )
    size = config.get("vocab_size")
    if size is not None and size < tokenizer.get_vocab_size():
        raise Refusal(
            f"vocab_size: {path}: expected at least {tokenizer.get_vocab_size()}, got {size}"
        )


def rewrite_whitespace(text):
    """ChatGLM's own rewriting, as its tokenizer class does it before SentencePiece sees the
    text."""
    text = text.replace("\n", "<n>").replace("\t", "<|tab|>")
    for k in range(LONGEST_BLANK, 1, -1):
        text = text.replace(" " * k, f"<|blank_{k}|>")
    return text


def reference_ids(processor, specials, text):
    """Ids by the sentencepiece library: cut at special tokens, rewrite whitespace, encode each
    part."""
    ids = []
    for part in re.split("(" + "|".join(re.escape(name) for name in specials) + ")", text):
        if part in specials:
            ids.append(specials[part])
        elif part:
            ids.extend(processor.EncodeAsIds(rewrite_whitespace(part)))
    return ids


def compare(tokenizer, processor, texts):
    """The texts on which tokenizer and library differ, with both lists of ids."""
    specials = {
        token.content: i
        for i, token in tokenizer.get_added_tokens_decoder().items()
        if token.special
    }
    symbols = {token.content for token in tokenizer.get_added_tokens_decoder().values()} - set(
        specials
    )
    differences = []
    for text in texts:
        # A text that is one symbol's spelling, typed out, is the one case that the normaliser gives
        # up.
        if text in symbols:
            continue
        ours = tokenizer.encode(text, add_special_tokens=False).ids
        theirs = reference_ids(processor, specials, text)
        if ours != theirs:
            differences.append((text, ours, theirs))
    return differences


if __name__ == "__main__":
    sys.exit(run(main))

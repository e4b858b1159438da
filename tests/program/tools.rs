//! The scripts under tools/: what they write, the engine reads, and what the engine writes, PEFT
//! reads.
//!
//! `ENGINE_PYTHON` names a Python with the packages of tools/requirements.txt; without it
//! everything here is skipped, or fails where `ENGINE_REQUIRE_PYTHON=1`. What needs torch (and
//! peft) as well is skipped where they are missing.

use engine::data::Vocab;
use serde_json::{json, Map, Value};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The interpreter that `ENGINE_PYTHON` names.
fn python(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("ENGINE_PYTHON").map(PathBuf::from);
    let required = std::env::var("ENGINE_REQUIRE_PYTHON").is_ok_and(|v| v == "1");
    assert!(
        named.is_some() || !required,
        "{test}: ENGINE_REQUIRE_PYTHON=1, but ENGINE_PYTHON is not set"
    );
    if named.is_none() {
        eprintln!("skipped: {test}: ENGINE_PYTHON is not set");
    }
    named
}

/// As [`python`], with modules that no requirement installs.
fn python_with(test: &str, modules: &str) -> Option<PathBuf> {
    let python = python(test)?;
    let found = Command::new(&python).args(["-c", &format!("import {modules}")]).output().unwrap();
    if !found.status.success() {
        eprintln!("skipped: {test}: {} cannot import {modules}", python.display());
        return None;
    }
    Some(python)
}

fn tool(python: &Path, script: &str, arguments: &[&str]) -> Output {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(script);
    // The tensors are tiny: more threads than one wait for each other longer than they compute.
    let mut command = Command::new(python);
    command
        .arg(path)
        .args(arguments)
        .env("OMP_NUM_THREADS", "1")
        .output()
        .expect("ENGINE_PYTHON runs")
}

#[track_caller]
fn done(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Expects the exit code and one line on standard error with `words` in it.
#[track_caller]
fn refused(output: Output, code: i32, words: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    assert!(error.contains(words), "expected {words:?} in {error}");
}

fn engine(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    done(
        command
            .args(arguments)
            .args(["--quiet", "--device", "cpu", "--threads", "2"])
            .output()
            .unwrap(),
    )
}

/// A folder and the paths of files in it as text.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn put(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }
}

fn shared(file: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("ENGINE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    Some(shared.join(file)).filter(|path| path.exists())
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

const SPECIALS: [&str; 9] = [
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

/// GPT-2's letters for bytes: printable ones are themselves, the rest follow from U+0100 on.
fn letters() -> Vec<char> {
    let itself =
        |b: u32| (33..=126).contains(&b) || (161..=172).contains(&b) || (174..=255).contains(&b);
    let mut next = 256;
    (0..256u32)
        .map(|byte| {
            let code = if itself(byte) {
                byte
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).unwrap()
        })
        .collect()
}

/// vocab.json and merges.txt: 256 bytes, three merges, the end of a text.
fn small_gpt2(place: &Place) -> (String, String) {
    let merges = [("t", "o"), ("to", "y"), ("Ġ", "toy")];
    let mut vocab = Map::new();
    let merged = merges.iter().map(|(a, b)| format!("{a}{b}"));
    let words =
        letters().into_iter().map(String::from).chain(merged).chain(["<|endoftext|>".to_owned()]);
    for (id, word) in words.collect::<Vec<_>>().into_iter().enumerate() {
        vocab.insert(word, json!(id));
    }
    let lines: Vec<String> = merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
    let vocab = place.put("vocab.json", &Value::Object(vocab).to_string());
    (vocab, place.put("merges.txt", &format!("#version: 0.2\n{}\n", lines.join("\n"))))
}

fn gpt2(python: &Path, vocab: &str, merges: &str, out: &str) -> Output {
    let arguments = ["gpt2", "--vocab", vocab, "--merges", merges, "--out", out];
    tool(python, "convert_tokenizer.py", &arguments)
}

#[test]
fn a_gpt2_vocabulary_becomes_glms_tokenizer() {
    let Some(python) = python("a_gpt2_vocabulary_becomes_glms_tokenizer") else { return };
    let place = Place::new();
    let (vocab, merges) = small_gpt2(&place);
    let out = place.path("tokenizer.json");
    assert!(done(gpt2(&python, &vocab, &merges, &out)).contains("269 tokens"));
    let converted = Vocab::open(Path::new(&out)).unwrap();
    assert_eq!(converted.size(), 256 + 3 + 1 + SPECIALS.len());
    // "to" and "toy" merge, " toy" as well; the mask takes the blank on its left away, and no other
    // special does.
    let byte = u32::from;
    assert_eq!(converted.encode_with_specials("toy toy!").unwrap(), [257, 258, byte(b'!')]);
    assert_eq!(converted.encode_with_specials("to [MASK]").unwrap(), [256, 263]);
    assert_eq!(converted.encode_with_specials("to [SEP]").unwrap(), [256, byte(b' '), 264]);
    assert_eq!(converted.decode(&[257, 258]).unwrap(), "toy toy");

    let gaps = place.put("gaps.json", r#"{"a": 0, "b": 2}"#);
    refused(gpt2(&python, &gaps, &merges, &place.path("no.json")), 4, "each id from 0 to 1 once");
    let strange = place.put("strange.txt", "t o\nq z\n");
    refused(gpt2(&python, &vocab, &strange, &place.path("no.json")), 4, "expected 'qz'");
    refused(
        gpt2(&python, &place.path("absent.json"), &merges, &place.path("no.json")),
        3,
        "absent.json",
    );
    assert!(!Path::new(&place.path("no.json")).exists());
}

#[test]
fn the_published_vocabulary_gives_the_original_ids() {
    let test = "the_published_vocabulary_gives_the_original_ids";
    let Some(python) = python(test) else { return };
    let (Some(tokenizer), Some(cases)) =
        (shared("tokenizer/glm-10b/tokenizer.json"), shared("tokenizer/glm-10b/test_strings.json"))
    else {
        eprintln!("skipped: {test}: shared/tokenizer/glm-10b is not there");
        return;
    };
    let place = Place::new();
    let model = &read(&tokenizer)["model"];
    let mut vocab = model["vocab"].as_object().unwrap().clone();
    vocab.retain(|word, _| !SPECIALS.contains(&word.as_str()));
    let merges: Vec<String> = model["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|merge| match merge {
            Value::String(pair) => pair.clone(),
            pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        })
        .collect();
    let vocab = place.put("vocab.json", &Value::Object(vocab).to_string());
    let merges = place.put("merges.txt", &merges.join("\n"));
    let out = place.path("tokenizer.json");
    done(gpt2(&python, &vocab, &merges, &out));
    let converted = Vocab::open(Path::new(&out)).unwrap();
    let cases = read(&cases);
    for (special, id) in cases["special_ids"].as_object().unwrap() {
        assert_eq!(
            converted.encode_with_specials(special).unwrap(),
            [id.as_u64().unwrap() as u32],
            "{special}"
        );
    }
    let mut compared = 0;
    for case in cases["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        // Of nothing but blanks the original makes nothing; the tokenizer keeps them.
        if text.trim_matches(' ').is_empty() {
            continue;
        }
        let expected: Vec<u32> =
            case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        assert_eq!(converted.encode_with_specials(text).unwrap(), expected, "{text:?}");
        compared += 1;
    }
    println!("{compared} texts have the original's ids");
    assert!(compared >= 50, "{compared} texts compared");
}

/// Trains a SentencePiece model with ChatGLM's whitespace pieces and prints the ids of two texts.
const TRAIN_PIECES: &str = r#"
import json, sys, sentencepiece
words = """toy train set wooden puzzle robot castle kite drum red blue green little big
the a of for with and""".split()
lines = [" ".join(words[(i * k) % len(words)] for i in range(1, 9)) for k in range(1, 400)]
blanks = ["<n>", "<|tab|>"] + [f"<|blank_{k}|>" for k in range(2, 81)]
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(lines), model_prefix=sys.argv[1], model_type=sys.argv[2],
    vocab_size=int(sys.argv[3]),
    user_defined_symbols=blanks + [
        "[MASK]", "[gMASK]", "[sMASK]", "<unused_0>", "<sop>", "<eop>", "<ENC>", "<dBLOCK>"],
    pad_id=3, minloglevel=2)
model = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1] + ".model")
texts = ("red toy train", "big<n>wooden<|blank_3|>castle")
print(json.dumps([model.EncodeAsIds(text) for text in texts]))
"#;

#[test]
fn a_sentencepiece_model_becomes_a_tokenizer_with_the_same_ids() {
    let Some(python) = python("a_sentencepiece_model_becomes_a_tokenizer_with_the_same_ids") else {
        return;
    };
    for kind in ["unigram", "bpe"] {
        let place = Place::new();
        let prefix = place.path("ice_text");
        let trained = Command::new(&python)
            .args(["-c", TRAIN_PIECES, &prefix, kind, "120"])
            .output()
            .unwrap();
        let expected: Vec<Vec<u32>> = serde_json::from_str(&done(trained)).unwrap();
        let (model, out) = (format!("{prefix}.model"), place.path("tokenizer.json"));
        let texts =
            place.put("texts.txt", "the little red train\n\tblue   kite [gMASK]\né unseen 你好\n");
        // The script itself compares with the sentencepiece library before the file gets its name.
        let convert = |model: &str, out: &str| {
            let arguments = ["chatglm", "--model", model, "--out", out, "--check", &texts];
            tool(&python, "convert_tokenizer.py", &arguments)
        };
        done(convert(&model, &out));
        let tokenizer = tokenizers::Tokenizer::from_file(&out).unwrap();
        let ids = |text: &str| tokenizer.encode(text, false).unwrap().get_ids().to_vec();
        assert_eq!(ids("red toy train"), expected[0], "{kind}");
        assert_eq!(ids("big\nwooden   castle"), expected[1], "{kind}");

        let pointer = place.put("pointer.model", "version https://git-lfs.github.com/spec/v1\n");
        refused(convert(&pointer, &place.path("no.json")), 3, "Git LFS pointer");
    }
}

/// Random weights of a config under weights/.
fn random_weights(place: &Place, name: &str) -> String {
    let config = format!("{}/weights/{name}/config.json", env!("CARGO_MANIFEST_DIR"));
    let out = place.path(name);
    engine(&["init", "--model", &config, "--out", &out]);
    out
}

/// What `engine forward` makes of rows; its file's bytes.
fn forward(place: &Place, weights: &str, rows: &str) -> Vec<u8> {
    let out = place.path("outputs.safetensors");
    engine(&["forward", "--weights", weights, "--inputs", rows, "--outputs", &out, "--force"]);
    fs::read(out).unwrap()
}

/// Saves the tensors of a folder as PyTorch does, in two shards with an index or in one file, with
/// a buffer to leave out.
const SAVE_BIN: &str = r#"
import json, sys, torch
from safetensors.torch import load_file
source, out, shards = sys.argv[1], sys.argv[2], int(sys.argv[3])
tensors = load_file(source + "/model.safetensors")
tensors["transformer.layers.0.attention.rotary_emb.inv_freq"] = torch.ones(4)
names, where = list(tensors), {}
for k in range(shards):
    file = "pytorch_model.bin" if shards == 1 else f"pytorch_model-{k + 1:05}-of-{shards:05}.bin"
    part = {name: tensors[name] for name in names[k::shards]}
    torch.save(part, f"{out}/{file}")
    where |= {name: file for name in part}
if shards > 1:
    with open(out + "/pytorch_model.bin.index.json", "w") as index:
        json.dump({"metadata": {}, "weight_map": where}, index)
"#;

#[test]
fn a_pytorch_checkpoint_becomes_the_same_model() {
    let Some(python) =
        python_with("a_pytorch_checkpoint_becomes_the_same_model", "torch, safetensors")
    else {
        return;
    };
    for (name, shards) in [("tiny-glm", "1"), ("tiny-chatglm", "2")] {
        let place = Place::new();
        let weights = random_weights(&place, name);
        let rows = place.path("rows.safetensors");
        done(tool(&python, "check_peft.py", &["rows", "--weights", &weights, "--inputs", &rows]));
        let expected = forward(&place, &weights, &rows);
        let download = place.path("download");
        fs::create_dir(&download).unwrap();
        fs::copy(format!("{weights}/config.json"), format!("{download}/config.json")).unwrap();
        done(
            Command::new(&python)
                .args(["-c", SAVE_BIN, &weights, &download, shards])
                .output()
                .unwrap(),
        );
        let converted = place.path("converted");
        let convert = || tool(&python, "convert_checkpoint.py", &[&download, "--out", &converted]);
        done(convert());
        assert_eq!(forward(&place, &converted, &rows), expected, "{name}: other numbers");
        refused(convert(), 2, "expected a new or empty folder");
    }
}

#[test]
fn peft_reads_what_is_trained_here_and_the_other_way_round() {
    let modules = "torch, safetensors, peft";
    let Some(python) =
        python_with("peft_reads_what_is_trained_here_and_the_other_way_round", modules)
    else {
        return;
    };
    let binary = env!("CARGO_BIN_EXE_engine");
    let place = Place::new();
    fs::create_dir(place.path("shop")).unwrap();
    let things = ["Kite", "Robot", "Castle", "Drum", "Puzzle", "Train"];
    let items: String = (1..=24)
        .map(|i| format!("{{\"id\": {i}, \"title\": \"{} {i}\"}}\n", things[i % things.len()]))
        .collect();
    place.put("shop/items.jsonl", &items);
    let sequences: String = (1..=40)
        .map(|user| {
            let history: Vec<String> =
                (0..6).map(|k| ((user * 7 + k * 5) % 24 + 1).to_string()).collect();
            format!("{user} {}\n", history.join(" "))
        })
        .collect();
    place.put("shop/sequences.txt", &sequences);
    let data = place.path("shop.bin");
    engine(&["prepare", &place.path("shop"), "--train-tokenizer", "340", "--out", &data]);

    for name in ["tiny-glm", "tiny-chatglm"] {
        let weights = random_weights(&place, name);
        let rows = place.path("rows.safetensors");
        done(tool(&python, "check_peft.py", &["rows", "--weights", &weights, "--inputs", &rows]));
        let check = |adapter: &str| {
            let arguments = [
                "check",
                "--weights",
                &weights,
                "--adapter",
                adapter,
                "--inputs",
                &rows,
                "--engine",
                binary,
            ];
            let said = done(tool(&python, "check_peft.py", &arguments));
            println!("{name}: {said}");
            assert!(said.contains("tensors compared"), "{said}");
        };
        let trained = place.path(&format!("{name}-run"));
        engine(&[
            "train",
            "--weights",
            &weights,
            "--data",
            &data,
            "--out",
            &trained,
            "--tune",
            "lora",
            "--rank",
            "4",
            "--targets",
            "query_key_value,dense_4h_to_h",
            "--epochs",
            "2",
            "--batch",
            "16",
            "--learning-rate",
            "1e-2",
            "--validate-every",
            "0",
        ]);
        check(&trained);
        let written = place.path(&format!("{name}-peft"));
        let arguments =
            ["write", "--weights", &weights, "--adapter", &written, "--rank", "4", "--alpha", "8"];
        done(tool(&python, "check_peft.py", &arguments));
        check(&written);
    }
}

//! Rubbish where others' files are read, one kind of input after another: whatever the bytes, an
//! error with one of our exit codes, or an answer. Never a panic.
//!
//! Seeds are the small files of `corpus/` and what the program itself makes; each input is a few
//! changes of one, or parts of two. What is found becomes a test of its own where it is read.

use crate::signed::signed;
use crate::verbs;
use crate::Extent;
use engine::base::{Philox, Stream};
use engine::cli::exit;
use engine::data::source::{self, Format, Reading, Skips};
use engine::data::task::sampled_users;
use engine::data::template::Templates;
use engine::data::{Dataset, Vocab};
use engine::eval::predictions::Reader;
use engine::eval::truth::Truth;
use engine::model::{Adapter, Checkpoint, Config};
use engine::recommender::line::{self, RawLines};
use engine::recommender::run::Run;
use engine::recommender::{Question, Recommender, Settings, Split};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What readers stumble over.
const WORDS: [&[u8]; 40] = [
    b"\n",
    b"\r\n",
    b"\t",
    b"\"",
    b"'",
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
    b"true",
    b"NaN",
    b"inf",
    b"-1",
    b"0",
    b"1e999",
    b"-0.0",
    b"4294967295",
    b"4294967296",
    b"9223372036854775808",
    b"18446744073709551616",
    b"\\ud800",
    b"\\u0000",
    b"[MASK]",
    b"[gMASK]",
    b"<|endoftext|>",
    b"{}",
    b"[[]]",
    b"\"\"",
    b"id",
    b"\xe2\x80\xa8",
    b"\x1b[2J",
];

/// A value that does not belong there, somewhere in a JSON document.
fn misplaced(text: &[u8], rng: &mut Philox) -> Option<Vec<u8>> {
    let mut document: Value = serde_json::from_slice(text).ok()?;
    let mut at = &mut document;
    loop {
        let inside: usize = match at {
            Value::Array(values) => values.len(),
            Value::Object(values) => values.len(),
            _ => 0,
        };
        if inside == 0 || rng.below(6) == 0 {
            break;
        }
        let chosen = rng.below(inside);
        at = match at {
            Value::Array(values) => &mut values[chosen],
            Value::Object(values) => values.values_mut().nth(chosen)?,
            _ => break,
        };
    }
    let strange = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(3),
        json!(u32::MAX),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!(0.5),
        json!(""),
        json!("x"),
        json!("(?<"),
        json!("\u{1f642}"),
        json!([]),
        json!([0]),
        json!([1, -1]),
        json!([u64::MAX, 2]),
        json!({}),
        json!({"a": [{}]}),
    ];
    *at = strange[rng.below(strange.len())].clone();
    Some(document.to_string().into_bytes())
}

/// A seed with something else in it.
fn changed(seed: &[u8], other: &[u8], rng: &mut Philox) -> Vec<u8> {
    if rng.below(2) == 0 {
        if let Some(bytes) = misplaced(seed, rng) {
            return bytes;
        }
        // The header of a safetensors file.
        let length = seed.get(..8).map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap()));
        let end = length.saturating_add(8).min(seed.len() as u64) as usize;
        if let Some(header) = seed.get(8..end).and_then(|header| misplaced(header, rng)) {
            let length = (header.len() as u64).to_le_bytes();
            return [&length[..], &header, &seed[end..]].concat();
        }
    }
    scattered(seed, other, rng)
}

/// Some changes of `seed`, with parts of `other`.
fn scattered(seed: &[u8], other: &[u8], rng: &mut Philox) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=rng.below(5) {
        let at = rng.below(bytes.len() + 1);
        let behind = bytes.len() - at;
        let most = behind.min(1 + rng.below(60));
        let length = rng.below(most + 1);
        match rng.below(9) {
            0 if behind > 0 => bytes[at] = rng.below(256) as u8,
            1 if behind > 0 => bytes[at] ^= 1 << rng.below(8),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..at + length)),
            4 | 5 => {
                let word = WORDS[rng.below(WORDS.len())];
                let over = if rng.below(2) == 0 { word.len().min(behind) } else { 0 };
                bytes.splice(at..at + over, word.iter().copied());
            }
            6 => {
                let part = bytes[at..at + length].to_vec();
                bytes.splice(at..at, part);
            }
            7 if !other.is_empty() => {
                let from = rng.below(other.len());
                let part = &other[from..other.len().min(from + 1 + rng.below(80))];
                bytes.splice(at..at, part.iter().copied());
            }
            _ if behind >= 4 => {
                let numbers = [0, 1, u32::MAX, u32::MAX - 1, i32::MAX as u32, 1 << 31];
                let number = numbers[rng.below(numbers.len())];
                let at = at & !3;
                bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            }
            _ => {}
        }
    }
    bytes
}

/// What reads one input; an error is what the program would end with.
type Read = Box<dyn Fn(&[u8]) -> anyhow::Result<()>>;

/// One kind of input.
struct Kind {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    read: Read,
}

/// Writes a file anew: the one before may still be mapped, and to cut one back makes some file
/// systems sync.
fn put(path: &Path, bytes: &[u8]) {
    // That it was not there is no failure.
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
}

/// Writes a file and reads it.
fn of_file(path: PathBuf, read: impl Fn(&Path) -> anyhow::Result<()> + 'static) -> Read {
    Box::new(move |bytes| {
        put(&path, bytes);
        read(&path)
    })
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attack/corpus")
}

/// The files of a folder of the corpus.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(corpus().join(name)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Reads all that a `.bin` holds.
fn touch(path: &Path) -> anyhow::Result<()> {
    let data = Dataset::open(path)?;
    let mut sum = 0;
    for i in 0..data.items() as u32 {
        let item = data.item(i);
        sum += item.id.len() + item.surface.len() + item.tokens.len();
        sum += data.item_attributes(i).len();
        sum += data.vocab().decode(item.tokens).map_or(0, |text| text.len());
    }
    for u in 0..data.users() as u32 {
        let user = data.user(u);
        sum += user.items.iter().map(|&i| data.item(i).surface.len()).sum::<usize>();
        sum += data.negatives(u).len() + data.user_attributes(u).len();
    }
    for trie in [data.catalogue(), data.pool()] {
        let nodes = 0..trie.nodes() as u32;
        sum += nodes.map(|n| trie.children(n).len() + trie.members(n).len()).sum::<usize>();
    }
    std::hint::black_box(sum);
    Ok(())
}

/// Reads all of a `.bin` and has a model answer from it.
fn answer_from(weights: &Path, path: &Path) -> anyhow::Result<()> {
    touch(path)?;
    let recommender = Recommender::open(&Settings::new(weights, path))?;
    let item = |i: u32| recommender.dataset().item(i).id.to_owned();
    let history = Question::history([item(0), item(recommender.dataset().items() as u32 - 1)]);
    let users = sampled_users(recommender.dataset(), Split::Test, 2, 0);
    let users = users.into_iter().map(|user| Question::User { user, split: Split::Test });
    let asked = std::iter::once(history).chain(users).map(|asked| recommender.ask(&asked));
    let asked = asked.collect::<anyhow::Result<Vec<_>>>()?;
    recommender.answer(&asked).map(drop)
}

fn kinds(folder: &Path) -> Vec<Kind> {
    let base = verbs::root().join("base");
    let file = |name: &str| fs::read(base.join(name)).unwrap();
    let bin = file("shop.bin");
    let data: &'static Dataset =
        Box::leak(Box::new(Dataset::open(&base.join("shop.bin")).unwrap()));
    let settings = Settings::new(base.join("w"), base.join("shop.bin"));
    let recommender = Recommender::open(&settings).unwrap();
    let adapter = folder.join("adapter");
    fs::create_dir(&adapter).unwrap();
    fs::copy(base.join("run/adapter_model.safetensors"), adapter.join("adapter_model.safetensors"))
        .unwrap();
    let run = folder.join("run");
    fs::create_dir(&run).unwrap();
    let mut kinds = vec![
        Kind { name: ".bin", seeds: vec![bin.clone()], read: of_file(folder.join("a.bin"), touch) },
        Kind {
            name: ".bin, signed",
            seeds: vec![bin],
            read: {
                let weights = base.join("w");
                let read = of_file(folder.join("s.bin"), move |path| answer_from(&weights, path));
                Box::new(move |bytes| read(&signed(bytes)))
            },
        },
        Kind {
            name: "safetensors",
            seeds: vec![file("run/adapter_model.safetensors"), file("rows.safetensors")],
            read: of_file(folder.join("a.safetensors"), |path| {
                let mut file = Checkpoint::open_file(path)?;
                let names: Vec<String> = file.names().map(str::to_owned).collect();
                for name in names {
                    std::hint::black_box(file.take_any(&name)?.to_f32());
                }
                file.finish()
            }),
        },
        Kind {
            name: "adapter_config.json",
            seeds: [seeds("adapter"), vec![file("run/adapter_config.json")]].concat(),
            read: of_file(adapter.join("adapter_config.json"), |path| {
                Adapter::open(path.parent().unwrap()).map(drop)
            }),
        },
        Kind {
            name: "config.json",
            seeds: seeds("config"),
            read: of_file(folder.join("config.json"), |path| Config::read(path).map(drop)),
        },
        Kind {
            name: "tokenizer.json",
            seeds: vec![file("tokenizer.json")],
            read: Box::new(|bytes| {
                let vocab = Vocab::from_json(bytes)?;
                let ids = vocab.encode(" Red Kite é\u{1f642}")?;
                vocab.decode(&ids).map(drop)
            }),
        },
        Kind {
            name: "templates.toml",
            seeds: seeds("templates"),
            read: of_file(folder.join("t.toml"), |path| Templates::load(path).map(drop)),
        },
        Kind {
            name: "settings",
            seeds: [seeds("settings"), vec![file("run/config.toml")]].concat(),
            read: {
                let read = of_file(run.join("config.toml"), |path| {
                    Run::at(path.parent().unwrap()).settings().map(drop)
                });
                // What is no text at all never comes to the parser.
                Box::new(move |bytes| read(String::from_utf8_lossy(bytes).as_bytes()))
            },
        },
        Kind {
            name: "prompt lines",
            seeds: seeds("prompts"),
            read: of_file(folder.join("prompts"), move |path| {
                let mut lines = RawLines::open(path)?;
                while let Some(raw) = lines.read()? {
                    let asked = line::ask(&recommender, &raw, engine::data::Family::Sequential);
                    let answers = recommender.answer([&asked.asked])?;
                    let line = line::answer(data, &asked, &answers[0]).to_string();
                    assert!(!line.contains('\n') && !line.contains('\x1b'), "{line}");
                }
                Ok(())
            }),
        },
        Kind {
            name: "predictions",
            seeds: [seeds("predictions"), vec![file("p.jsonl")]].concat(),
            read: Box::new(|bytes| {
                let truth = Truth::of(data);
                Reader::new(&truth, Split::Test).read(bytes, "p", &Templates::builtin()).map(drop)
            }),
        },
    ];
    let sources = [
        ("folder", Format::Folder),
        ("sequences", Format::Folder),
        ("jsonl", Format::Jsonl),
        ("csv", Format::Csv),
        ("recbole", Format::Recbole),
        ("amazon", Format::Amazon),
    ];
    for (name, format) in sources {
        let entries = fs::read_dir(corpus().join(name)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        let place = folder.join(name);
        fs::create_dir(&place).unwrap();
        let good: Vec<(PathBuf, Vec<u8>)> = names
            .iter()
            .map(|file| (place.join(file), fs::read(corpus().join(name).join(file)).unwrap()))
            .collect();
        good.iter().for_each(|(path, bytes)| put(path, bytes));
        for (spoilt, (path, seed)) in good.iter().enumerate() {
            let (place, good, path) = (place.clone(), good.clone(), path.clone());
            let read = move |bytes: &[u8]| {
                put(&path, bytes);
                let reading = Reading::of(format);
                let read = source::read(&place, &reading, &mut Skips::new(bytes.len() % 2));
                put(&path, &good[spoilt].1);
                read.map(drop)
            };
            kinds.push(Kind { name, seeds: vec![seed.clone()], read: Box::new(read) });
        }
    }
    kinds
}

/// Where and why the last panic was.
static PANIC: std::sync::Mutex<String> = std::sync::Mutex::new(String::new());

#[test]
fn rubbish_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let extent = Extent::of("fuzz", 0);
    let asked = std::env::var("ENGINE_ATTACK_SECONDS").ok().and_then(|s| s.parse().ok());
    let kinds = kinds(folder.path());
    let each = Duration::from_secs_f64(asked.unwrap_or(16.0) / kinds.len() as f64);
    let thread = std::thread::current().id();
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == thread {
            *PANIC.lock().unwrap() = info.to_string();
        } else {
            hook(info);
        }
    }));
    let (mut against, mut sum) = (BTreeMap::new(), 0);
    for (number, kind) in kinds.iter().enumerate() {
        let mut rng = Philox::new(extent.seed, Stream::Synthetic, 2 + number as u64);
        let (until, mut count, mut accepted) = (Instant::now() + each, 0u64, 0u64);
        let is_good = |seed: &Vec<u8>| (kind.read)(seed).is_ok();
        assert!(kind.seeds.iter().any(is_good), "{}: no seed is read", kind.name);
        while Instant::now() < until {
            let seed = &kind.seeds[rng.below(kind.seeds.len())];
            let other = &kind.seeds[rng.below(kind.seeds.len())];
            let bytes = changed(seed, other, &mut rng);
            count += 1;
            let words = match panic::catch_unwind(AssertUnwindSafe(|| (kind.read)(&bytes))) {
                Ok(Ok(())) => {
                    accepted += 1;
                    continue;
                }
                Ok(Err(error)) if (2..=6).contains(&exit::code(&error)) => continue,
                Ok(Err(error)) => format!("exit code {}: {error:#}", exit::code(&error)),
                Err(_) => PANIC.lock().unwrap().clone(),
            };
            // One of a sort is enough.
            let sort: String = words.chars().filter(|c| !c.is_ascii_digit()).take(150).collect();
            let entry = against.entry((kind.name, sort));
            entry.or_insert_with(|| {
                let kept = std::env::temp_dir().join(format!("attack-{number}-{count}"));
                fs::write(&kept, &bytes).unwrap();
                format!("{words}: {}", kept.display())
            });
        }
        println!("{} | {count} | {accepted}", kind.name);
        sum += count;
    }
    let _ = panic::take_hook();
    println!("{sum} inputs, {} failures", against.len());
    assert!(against.is_empty(), "seed {}: {against:#?}", extent.seed);
}

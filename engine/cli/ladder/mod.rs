//! LADDER.toml becomes a ladder: its sections are the flags of verbs, by the parser of the command
//! line. What is wrong is refused with its line before anything is done.

mod steps;

use super::decode::Decode;
use super::eval::Eval;
use super::init::Init;
use super::keys::{flags_of, name_of, File, Setting};
use super::prepare::Prepare;
use super::settings::of_flags;
use super::train::Train;
use crate::base::meant;
use crate::recommender::create::Creation;
use crate::recommender::job::Job;
use crate::recommender::learning::{Learning, Tuned};
use crate::recommender::prepare::Preparing;
use crate::recommender::report::Judging;
use crate::recommender::sweep::{check_judging, Base, Data, Ladder, Score, Step, Subject};
use anyhow::Result;
use clap::Args;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Keys of the file.
const KEYS: [&str; 10] =
    ["data", "seeds", "metrics", "base", "prepare", "train", "decode", "eval", "compare", "step"];
/// Keys of a step.
const STEP: [&str; 5] = ["name", "from", "compare", "train", "decode"];

/// Flags of each verb that a sweep gives itself.
const OF_PREPARE: &[&str] = &["source", "out", "force", "tokenizer-out"];
const OF_INIT: &[&str] = &["tokenizer", "vocab-from-tokenizer", "out", "force", "seed"];
const OF_TRAIN: &[&str] = &["weights", "data", "out", "force", "resume", "seed", "max-minutes"];
const OF_DECODE: &[&str] = &[
    "weights",
    "adapter",
    "data",
    "prompts",
    "out",
    "force",
    "resume",
    "trace",
    "seed",
    "max-wait",
    "max-line",
    "max-memory",
];
const OF_EVAL: &[&str] =
    &["predictions", "data", "report", "run", "force", "no-baselines", "threshold"];

/// Seeds at most.
const SEEDS: usize = 1000;

/// A key with its value.
#[derive(Clone, Copy)]
struct Entry<'t> {
    key: &'t str,
    line: usize,
    value: &'t DeValue<'t>,
}

/// Reads a ladder. Refuses, with file and line, keys and flags that are not there, values out of
/// range, steps of one name, a `from` or `compare` that names no step, and a file without steps.
pub fn read(path: &Path) -> Result<Ladder> {
    let file = File::read("ladder", path)?;
    let table = file.table("sweep")?;
    let reader = Reader { file: &file };
    let entries = reader.entries(table.get_ref());
    reader.known(&entries, &KEYS, "")?;
    let get = |key: &str| entries.iter().find(|entry| entry.key == key).copied();
    let section = |key: &str| reader.section(get(key));
    let needed = |key: &str, what: &str| {
        get(key).ok_or_else(|| file.refuse(1, key, &format!("expected {what}, got none; add it")))
    };

    let data = needed("data", "a .bin or synthetic:USERS,ITEMS[,SEED]")?;
    let data = reader.data(data, section("prepare")?)?;
    let base = reader.base(needed("base", "[base] with `weights` or `model`")?)?;
    let seeds = get("seeds").map_or(Ok(vec![0]), |entry| reader.seeds(entry))?;
    let scores = get("metrics").map(|entry| reader.scores(entry)).transpose()?;
    let judging = reader.judging(section("eval")?)?;
    let train = reader.flags::<Train>("train", section("train")?, "train: ", OF_TRAIN)?;
    let decode = reader.flags::<Decode>("decode", section("decode")?, "decode: ", OF_DECODE)?;
    let against = match section("compare")? {
        None => "previous".to_owned(),
        Some(table) => {
            let entries = reader.entries(table);
            reader.known(&entries, &["with"], "compare: ")?;
            let with = entries.first().copied();
            with.map_or(Ok("previous".to_owned()), |entry| reader.text(entry))?
        }
    };
    let wanted = needed("step", "a [[step]] at least")?;
    let steps = reader.steps(wanted, (&train, &decode), &against)?;
    let scores = scores.unwrap_or_else(|| usual(&steps));
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let ladder = Ladder { name, data, base, seeds, scores, judging, steps };
    match ladder.uncompared() {
        Some(what) => {
            let line = get("metrics").map_or(1, |entry| entry.line);
            Err(file.refuse(line, "metrics", &what))
        }
        None => Ok(ladder),
    }
}

/// What steps are compared by where nobody says: the usual scores of all that they are asked.
fn usual(steps: &[Step]) -> Vec<Score> {
    let asked =
        |subject: &&Subject| steps.iter().any(|step| step.subjects().first() == Some(subject));
    Subject::ALL.iter().filter(asked).flat_map(|subject| subject.usual()).collect()
}

/// What reads the values of a file.
struct Reader<'f> {
    file: &'f File<'f>,
}

impl Reader<'_> {
    /// The keys of a section in the order of the file.
    fn entries<'t>(&self, table: &'t DeTable<'t>) -> Vec<Entry<'t>> {
        let entry = |(key, value): (&'t toml::Spanned<std::borrow::Cow<'t, str>>, _)| {
            let value: &'t toml::Spanned<DeValue<'t>> = value;
            Entry {
                key: key.get_ref().as_ref(),
                line: self.file.line(key.span().start),
                value: value.get_ref(),
            }
        };
        let mut all: Vec<Entry> = table.iter().map(entry).collect();
        all.sort_by_key(|entry| entry.line);
        all
    }

    fn known(&self, entries: &[Entry], known: &[&str], within: &str) -> Result<()> {
        let Some(entry) = entries.iter().find(|entry| !known.contains(&entry.key)) else {
            return Ok(());
        };
        let advice = meant(entry.key, known, "see `engine sweep --help`");
        let what = format!("expected one of {}, got none of them; {advice}", known.join(", "));
        Err(self.file.refuse(entry.line, &format!("{within}{}", entry.key), &what))
    }

    fn wrong(&self, entry: Entry, expected: &str) -> anyhow::Error {
        let what = format!("expected {expected}, got {}", name_of(entry.value));
        self.file.refuse(entry.line, entry.key, &(what + "; see `engine sweep --help`"))
    }

    fn table<'t>(&self, entry: Entry<'t>) -> Result<&'t DeTable<'t>> {
        match entry.value {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.wrong(entry, "a section of flags")),
        }
    }

    fn section<'t>(&self, entry: Option<Entry<'t>>) -> Result<Option<&'t DeTable<'t>>> {
        entry.map(|entry| self.table(entry)).transpose()
    }

    fn text(&self, entry: Entry) -> Result<String> {
        match entry.value {
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(self.wrong(entry, "a string")),
        }
    }

    fn seeds(&self, entry: Entry) -> Result<Vec<u64>> {
        let number = |value: &DeValue| match value {
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok(),
            _ => None,
        };
        let wrong = || self.wrong(entry, "how many seeds, or a list of different ones from 0 on");
        let seeds: Vec<i64> = match entry.value {
            DeValue::Array(list) => {
                let all = list.iter().map(|one| number(one.get_ref()));
                all.collect::<Option<_>>().ok_or_else(wrong)?
            }
            value => match number(value).filter(|n| (1..=SEEDS as i64).contains(n)) {
                Some(count) => (0..count).collect(),
                None => return Err(wrong()),
            },
        };
        let different: HashSet<i64> = seeds.iter().copied().collect();
        let fine = (1..=SEEDS).contains(&seeds.len()) && different.len() == seeds.len();
        match fine && seeds.iter().all(|&seed| seed >= 0) {
            true => Ok(seeds.into_iter().map(|seed| seed as u64).collect()),
            false => Err(wrong()),
        }
    }

    fn scores(&self, entry: Entry) -> Result<Vec<Score>> {
        let expected = format!("a list of {}", Score::NAMES.join(", "));
        let DeValue::Array(list) = entry.value else { return Err(self.wrong(entry, &expected)) };
        let score = |value: &DeValue| match value {
            DeValue::String(word) => word
                .parse::<Score>()
                .map_err(|error| self.file.refuse(entry.line, entry.key, &error.to_string())),
            _ => Err(self.wrong(entry, &expected)),
        };
        let scores: Vec<Score> =
            list.iter().map(|one| score(one.get_ref())).collect::<Result<_>>()?;
        let different: HashSet<Score> = scores.iter().copied().collect();
        match scores.is_empty() || different.len() < scores.len() {
            true => Err(self.wrong(entry, &format!("{expected}, at least one, each once"))),
            false => Ok(scores),
        }
    }

    /// The keys of a section as flags of a verb, none of them the sweep's own.
    fn flags<T: Args>(
        &self,
        verb: &'static str,
        table: Option<&DeTable>,
        within: &str,
        own: &[&str],
    ) -> Result<Vec<Setting>> {
        let Some(table) = table else { return Ok(Vec::new()) };
        let settings = self.file.settings(&flags_of::<T>(verb), table, within)?;
        match settings.iter().find(|setting| own.contains(&&*setting.id.replace('_', "-"))) {
            None => Ok(settings),
            Some(Setting { line, key, .. }) => {
                let what = "expected a flag that is the ladder's to choose, got one that a sweep \
                            gives itself; take it away";
                Err(self.file.refuse(*line, key, what))
            }
        }
    }

    /// What a check of settings refuses, with a line.
    fn checked(&self, line: usize, within: &str, checked: Result<()>) -> Result<()> {
        let within = within.trim_end_matches(": ");
        checked.map_err(|error| self.file.refuse(line, within, &error.to_string()))
    }

    fn data(&self, entry: Entry, prepare: Option<&DeTable>) -> Result<Data> {
        let source = self.text(entry)?;
        if !source.starts_with("synthetic:") {
            return match prepare {
                None => Ok(Data::Prepared(PathBuf::from(source))),
                Some(_) => Err(self.file.refuse(
                    entry.line,
                    entry.key,
                    "expected synthetic:USERS,ITEMS[,SEED] beside [prepare], got a path; take \
                     [prepare] away: a .bin is prepared",
                )),
            };
        }
        let settings = self.flags::<Prepare>("prepare", prepare, "prepare: ", OF_PREPARE)?;
        let tokenizer =
            |setting: &Setting| ["tokenizer", "train_tokenizer"].contains(&&*setting.id);
        if !settings.iter().any(tokenizer) {
            let what =
                "expected [prepare] with train-tokenizer = N or tokenizer = FILE beside it, \
                        got neither; add one";
            return Err(self.file.refuse(entry.line, entry.key, what));
        }
        self.preparing(entry.line, source, &settings)
    }

    fn preparing(&self, line: usize, source: String, settings: &[Setting]) -> Result<Data> {
        let given = ["--out=shop.bin".to_owned(), "--".to_owned(), source];
        let flags: Prepare = self.file.flags("prepare", &given, settings)?;
        let preparing = Preparing { out: PathBuf::new(), ..of_flags(&flags) };
        self.checked(line, "prepare", preparing.check())?;
        Ok(Data::Made(Box::new(preparing)))
    }

    fn base(&self, entry: Entry) -> Result<Base> {
        let table = self.table(entry)?;
        let entries = self.entries(table);
        let get = |key: &str| entries.iter().find(|entry| entry.key == key).copied();
        let refuse = |line, key: &str, what: &str| self.file.refuse(line, key, what);
        match (get("weights"), get("model")) {
            (Some(weights), None) => {
                self.known(&entries, &["weights"], "base: ")?;
                return Ok(Base::Weights(PathBuf::from(self.text(weights)?)));
            }
            (None, Some(_)) => {}
            _ => {
                let what = "expected either weights = DIR or model = CONFIG.json, got both or \
                            neither; say one";
                return Err(refuse(entry.line, "base", what));
            }
        }
        let flag = |key: &str| !["data", "train"].contains(&key);
        let flags = table.iter().filter(|(key, _)| flag(key.get_ref()));
        let flags: DeTable = flags.map(|(key, value)| (key.clone(), value.clone())).collect();
        let settings = self.flags::<Init>("init", Some(&flags), "base: ", OF_INIT)?;
        let init: Init = self.file.flags("init", &["--out=weights".to_owned()], &settings)?;
        let creation = Creation { out: PathBuf::new(), ..of_flags(&init) };
        self.checked(entry.line, "base", creation.check())?;
        let taught = match (get("data"), get("train")) {
            (None, None) => None,
            (Some(data), Some(train)) => Some(Box::new(self.taught(data, train)?)),
            (Some(one), None) | (None, Some(one)) => {
                let what = "expected `data` and `train` together, got one of them; add the other";
                return Err(refuse(one.line, &format!("base: {}", one.key), what));
            }
        };
        Ok(Base::Made(Box::new(creation), taught))
    }

    /// What a base is taught before the steps begin, and how.
    fn taught(&self, data: Entry, train: Entry) -> Result<(Data, Learning)> {
        let source = self.text(data)?;
        let data = match source.starts_with("synthetic:") {
            false => Data::Prepared(PathBuf::from(source)),
            // By the tokenizer of the ladder's own data, which the sweep puts in its place.
            true => self.preparing(data.line, source, &[])?,
        };
        let within = "base: train: ";
        let table = Some(self.table(train)?);
        let settings = self.flags::<Train>("train", table, within, OF_TRAIN)?;
        let learning = self.learning(train.line, within, &settings)?;
        if learning.tune != Tuned::Full {
            let what = "expected tune = \"full\", got an adapter; a base is all weights";
            return Err(self.file.refuse(train.line, "base: train", what));
        }
        Ok((data, learning))
    }

    fn learning(&self, line: usize, within: &str, settings: &[Setting]) -> Result<Learning> {
        let given = ["--weights=w".to_owned(), "--data=d".to_owned()];
        let flags: Train = self.file.flags("train", &given, settings)?;
        let learning = Learning {
            weights: PathBuf::new(),
            data: PathBuf::new(),
            keep_checkpoints: flags.keep_checkpoints,
            ..of_flags(&flags)
        };
        self.checked(line, within, learning.check())?;
        Ok(learning)
    }

    fn job(&self, line: usize, within: &str, settings: &[Setting]) -> Result<Job> {
        let given = ["--weights=w".to_owned(), "--data=d".to_owned()];
        let flags: Decode = self.file.flags("decode", &given, settings)?;
        let mut job: Job = of_flags(&flags);
        (job.settings.source.weights, job.settings.data) = (PathBuf::new(), PathBuf::new());
        self.checked(line, within, job.check(false))?;
        Ok(job)
    }

    fn judging(&self, section: Option<&DeTable>) -> Result<Judging> {
        let settings = self.flags::<Eval>("eval", section, "eval: ", OF_EVAL)?;
        let given = ["--data=d".to_owned(), "--".to_owned(), "p".to_owned()];
        let flags: Eval = self.file.flags("eval", &given, &settings)?;
        let (predictions, data) = (Vec::new(), PathBuf::new());
        let judging = Judging { predictions, data, ..of_flags(&flags) };
        let rivals = settings.iter().find(|setting| setting.id.starts_with("rivals"));
        let line = rivals.map_or(1, |setting| setting.line);
        self.checked(line, "eval", check_judging(&judging))?;
        Ok(judging)
    }
}

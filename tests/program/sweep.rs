//! A ladder: trained, asked, compared and printed; after any end gone on with, to the same bytes;
//! and what is wrong with one is said with its line before anything is done.

use crate::shop;
use engine::base::{Philox, Stream};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const LADDER: &str = r#"data = "synthetic:60,30,1"
seeds = 2
metrics = ["hr@10", "ndcg@10", "validity"]

[prepare]
train-tokenizer = 330

[base]
model = "config.json"

[train]
tune = "full"
epochs = 8
batch = 16
learning-rate = 3e-3
validate-every = 9
validate-users = 8
validate-beams = 3
checkpoint-every = 7

[decode]
beams = 12

[eval]
resamples = 50

[[step]]
name = "glm"
train = { mask-units = "token", span-order = "shuffle", intra = "glm", enc-intra = "off" }

[[step]]
name = "full"

[[step]]
name = "mismatched"
from = "full"
compare = "full"
decode = { intra = "glm" }
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), shop::CONFIG).unwrap();
    fs::write(folder.path().join("l.toml"), LADDER).unwrap();
    folder
}

fn engine(folder: &Path, text: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(folder).args(["--threads", "2"]).args(text.split_whitespace());
    command
}

/// Exit code, standard output and standard error.
fn run(folder: &Path, text: &str) -> (i32, String, String) {
    let output = engine(folder, text).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn done(folder: &Path, text: &str) -> (String, String) {
    let (code, out, words) = run(folder, text);
    assert_eq!(code, 0, "{text}: {words}");
    (out, words)
}

/// Starts a sweep into `out`, or goes on with it.
fn start(folder: &Path, out: &str, together: usize) -> Child {
    let resume = if folder.join(out).join("sweep.json").exists() { "--resume" } else { "" };
    let text = format!("sweep l.toml --quiet --out {out} --together {together} {resume}");
    let mut command = engine(folder, &text);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn lines(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| bytes.iter().filter(|&&b| b == b'\n').count())
}

#[test]
fn a_ladder_is_printed_and_whatever_ended_it_the_same_comes_of_it() {
    let folder = folder();
    let folder = folder.path();
    let (out, words) = done(folder, "sweep l.toml --out whole --together 2");
    assert!(words.contains("2 side by side, threads of each: 1"), "{words}");
    for row in ["| glm ", "| full ", "| mismatched ", "Δ HR@10", "Means over seeds"] {
        assert!(out.contains(row), "{row}: {out}");
    }
    let whole = fs::read(folder.join("whole/ladder.json")).unwrap();
    let ladder: Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(ladder["seeds"], serde_json::json!([0, 1]));
    let steps = ladder["steps"].as_array().unwrap();
    let of = |step: usize, what: &str| steps[step]["metrics"][what]["by_seed"].clone();
    assert_eq!(steps[0]["settings"].as_array().unwrap().len(), 4);
    assert!(steps[0].get("against").is_none());
    assert_eq!((&steps[1]["against"], &steps[2]["against"]), (&"glm".into(), &"full".into()));
    assert!(steps.iter().all(|step| step["n"] == 60));
    // What answers by the trie is an item; and each seed is a run of its own.
    assert_eq!(of(0, "validity"), serde_json::json!([1.0, 1.0]));
    assert_ne!(of(1, "ndcg@10")[0], of(1, "ndcg@10")[1]);
    // A mean is that of `eval`, and a difference that of the means.
    let eval = "eval whole/full/seed-1/predictions.jsonl --data whole/data/shop.bin --resamples 2 \
                --report report";
    done(folder, eval);
    let report = fs::read_to_string(folder.join("report/report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let judged = report["groups"][0]["rows"][0]["metrics"]["ndcg@10"]["value"].as_f64().unwrap();
    assert!((of(1, "ndcg@10")[1].as_f64().unwrap() - judged).abs() < 1e-12);
    let mean = |step: usize| steps[step]["metrics"]["ndcg@10"]["mean"].as_f64().unwrap();
    let difference = steps[1]["differences"]["ndcg@10"]["mean"].as_f64().unwrap();
    assert!((mean(1) - mean(0) - difference).abs() < 1e-12);
    let page = fs::read_to_string(folder.join("whole/ladder.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("mismatched"));
    assert_eq!(fs::read_to_string(folder.join("whole/ladder.md")).unwrap(), out);
    // The runs are those of the verb.
    let side =
        fs::read_to_string(folder.join("whole/mismatched/seed-0/predictions.jsonl.settings.json"));
    let side: Value = serde_json::from_str(&side.unwrap()).unwrap();
    assert_eq!(
        (&side["decode"]["intra"], &side["decode"]["enc-intra"]),
        (&"glm".into(), &"one".into())
    );

    killed(folder, &whole);
    told(folder, &whole);
    grown(folder, &whole);

    // All is done: nothing is done again, and nothing else is taken for it.
    let trained = |name: &str| fs::metadata(folder.join(name)).unwrap().modified().unwrap();
    let before = trained("whole/full/seed-0/run/published.json");
    done(folder, "sweep l.toml --out whole --resume");
    assert_eq!(trained("whole/full/seed-0/run/published.json"), before);
    assert_eq!(fs::read(folder.join("whole/ladder.json")).unwrap(), whole);
    for (from, to, said) in [
        ("seeds = 2", "seeds = [1, 7]", "ladder: seeds was [0,1] and is [1]"),
        ("name = \"glm\"", "name = \"other\"", "steps: glm was {"),
        ("epochs = 8", "epochs = 9", "steps: glm: train: epochs was 8.0 and is 9.0"),
        ("beams = 12", "beams = 13", "steps: glm: decode: beams was 12 and is 13"),
        ("synthetic:60,30,1", "synthetic:60,30,2", "data: source was synthetic:60,30,1 and is"),
        (
            "name = \"full\"\n",
            "name = \"full\"\ntrain = { restart = 2 }\n",
            "restart was none and is 2",
        ),
    ] {
        fs::write(folder.join("l.toml"), LADDER.replace(from, to)).unwrap();
        let (code, _, words) = run(folder, "sweep l.toml --out whole --resume");
        assert!(code == 2 && words.contains(said), "{said}: {code}: {words}");
    }
    fs::write(folder.join("l.toml"), LADDER).unwrap();
    let (code, _, words) = run(folder, "sweep l.toml --out whole");
    assert!(code == 2 && words.contains("--resume"), "{words}");
    let (code, _, words) = run(folder, "sweep l.toml --out nowhere --resume");
    assert!(code == 2 && words.contains("got nothing"), "{words}");
}

/// SIGKILL at moments that nobody chose.
fn killed(folder: &Path, whole: &[u8]) {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("moments of seed {seed}");
    let mut rng = Philox::new(seed, Stream::Synthetic, 0);
    let mut kills = 0;
    for part in 0.. {
        let mut child = start(folder, "killed", 1 + part % 3);
        if part < 8 {
            std::thread::sleep(Duration::from_millis(30 + rng.below(700) as u64));
            if child.try_wait().unwrap().is_none() && child.kill().is_ok() {
                kills += usize::from(!child.wait().unwrap().success());
                continue;
            }
        }
        let output = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "seed {seed}: {words}");
        break;
    }
    assert!(kills > 0, "seed {seed}: nothing was killed");
    let same = fs::read(folder.join("killed/ladder.json")).unwrap() == whole;
    assert!(same, "seed {seed}: after {kills} kills another ladder");
}

/// A ladder of fewer steps and seeds that these come to later.
fn grown(folder: &Path, whole: &[u8]) {
    let few = LADDER.replace("seeds = 2", "seeds = [1]");
    let few = few.replacen("name = \"glm\"", "name = \"gml\"", 1);
    fs::write(folder.join("l.toml"), few).unwrap();
    done(folder, "sweep l.toml --quiet --out grown");
    // What another ladder left in the place of a step is not taken for it.
    let few = &LADDER[..LADDER.find("[[step]]\nname = \"full\"").unwrap()];
    fs::write(folder.join("l.toml"), few.replace("seeds = 2", "seeds = [1]")).unwrap();
    done(folder, "sweep l.toml --quiet --out grown --force");
    let stale = folder.join("grown/full/seed-1");
    assert!(stale.join("trained.json").exists());
    fs::write(stale.join("predictions.jsonl"), "{}\n").unwrap();
    let trained = |name: &str| fs::metadata(folder.join(name)).unwrap().modified().unwrap();
    let before = trained("grown/glm/seed-1/run/published.json");
    fs::write(folder.join("l.toml"), LADDER).unwrap();
    done(folder, "sweep l.toml --quiet --out grown --resume");
    assert_eq!(trained("grown/glm/seed-1/run/published.json"), before);
    assert_eq!(fs::read(folder.join("grown/ladder.json")).unwrap(), whole);
}

/// SIGTERM and SIGINT while something is trained.
fn told(folder: &Path, whole: &[u8]) {
    for (step, signal, code) in [("glm", "-TERM", 143), ("full", "-INT", 130)] {
        let mut child = start(folder, "told", 1);
        let log = folder.join("told").join(step).join("seed-0/run/metrics.jsonl");
        while lines(&log) < 3 {
            assert!(child.try_wait().unwrap().is_none(), "{step}: it ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
    assert!(start(folder, "told", 2).wait().unwrap().success());
    assert_eq!(fs::read(folder.join("told/ladder.json")).unwrap(), whole);
}

#[test]
fn adapters_on_a_base_that_was_taught_and_on_weights_that_are_there() {
    let folder = folder();
    let folder = folder.path();
    let ladder = r#"data = "synthetic:40,30,2"
seeds = [4]
[prepare]
train-tokenizer = 330
[base]
model = "config.json"
data = "synthetic:50,30,1"
[base.train]
tune = "full"
rank = 3
epochs = 2
batch = 25
learning-rate = 3e-3
validate-every = 0
[train]
epochs = 2
batch = 20
validate-every = 0
[eval]
resamples = 5
[[step]]
name = "two"
train = { rank = 2 }
[[step]]
name = "four"
train = { rank = 4 }
"#;
    fs::write(folder.join("l.toml"), ladder).unwrap();
    let (out, words) = done(folder, "sweep l.toml --out taught");
    let idle = words.lines().filter(|line| line.contains(" changes nothing here: it is for "));
    let idle: Vec<&str> = idle.collect();
    assert!(idle.len() == 1 && idle[0].contains("--rank"), "{words}");
    assert!(out.contains("questions are drawn with replacement"), "{out}");
    let config = |name: &str| {
        let path = folder.join("taught").join(name).join("seed-4/run/adapter_config.json");
        serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap()
    };
    assert_eq!((&config("two")["r"], &config("four")["r"]), (&2.into(), &4.into()));
    assert_eq!(config("two")["base_model_name_or_path"], "taught/base/seed-4/run");
    let base = "weights = \"taught/base/seed-4/run\"\n";
    let at = |key: &str| ladder.find(key).unwrap();
    let there = format!(
        "data = \"taught/data/shop.bin\"\nseeds = [4]\n[base]\n{base}{}",
        &ladder[at("[train]")..]
    );
    fs::write(folder.join("l.toml"), there).unwrap();
    let (same, _) = done(folder, "sweep l.toml --out there");
    assert_eq!(same, out);
}

/// Steps that are asked for lists, stars and prose: each has the scores of its answers, as `eval`
/// finds them, beside a step that is asked the same.
#[test]
fn a_ladder_compares_lists_stars_and_prose() {
    let folder = folder();
    let folder = folder.path();
    let ladder = r#"data = "synthetic:50,30,1"
seeds = 2
metrics = ["rmse", "hr@10", "bleu-4", "rouge-l", "exact"]
[prepare]
train-tokenizer = 330
[base]
model = "config.json"
embeddings = "from-data"
[train]
tune = "full"
families = ["sequential", "rating=0.5", "explanation=0.5"]
templates = "mine.toml"
template = ["continued", "1-6", "why"]
epochs = 4
batch = 16
learning-rate = 3e-3
validate-every = 0
[decode]
beams = 5
[eval]
resamples = 50
[[step]]
name = "full"
[[step]]
name = "annotated"
train = { train-ids = "annotated" }
[[step]]
name = "stars"
from = "full"
compare = "full"
decode = { task = "rating" }
[[step]]
name = "prose"
from = "full"
decode = { task = "explanation" }
[[step]]
name = "prose-by-glm"
from = "full"
decode = { task = "explanation", intra = "glm" }
"#;
    let why = "[[template]]\nid = \"why\"\nfamily = \"explanation\"\nanswer = \"text\"\n\
               text = \"{profile} ; {item} because [gMASK]\"\n";
    fs::write(folder.join("mine.toml"), why).unwrap();
    fs::write(folder.join("l.toml"), ladder).unwrap();
    let (out, words) = done(folder, "sweep l.toml --out kinds --together 2");
    assert!(words.contains("questions asked"), "{words}");
    for column in ["RMSE", "HR@10", "BLEU-4", "ROUGE-L", "exact", "Δ RMSE"] {
        assert!(out.contains(column), "{column}: {out}");
    }
    let made = fs::read_to_string(folder.join("kinds/ladder.json")).unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    let step = |at: usize| &made["steps"][at];
    let names = |all: &Value| -> Vec<String> {
        all.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    let prose = ["bleu-4", "rouge-l", "exact"];
    assert_eq!(names(&step(0)["metrics"]), ["hr@10"]);
    assert_eq!(names(&step(2)["metrics"]), ["rmse"]);
    assert_eq!(names(&step(3)["metrics"]), prose);
    assert_eq!(names(&step(4)["differences"]), prose);
    assert!(step(2)["differences"].is_null() && step(3)["differences"].is_null());
    assert!(step(3)["n"].as_u64().unwrap() > 0);
    for (name, at, metric) in [("stars", 2, "rmse"), ("prose", 3, "rouge-l")] {
        let eval = format!(
            "eval kinds/{name}/seed-1/predictions.jsonl --data kinds/data/shop.bin --resamples 2 \
             --report {name} --no-baselines"
        );
        done(folder, &eval);
        let report = fs::read_to_string(folder.join(name).join("report.json")).unwrap();
        let report: Value = serde_json::from_str(&report).unwrap();
        let judged = report["groups"][0]["rows"][0]["metrics"][metric]["value"].as_f64().unwrap();
        let own = step(at)["metrics"][metric]["by_seed"][1].as_f64().unwrap();
        assert!((own - judged).abs() < 1e-9, "{name}: {own} {judged}");
    }
    // Where words begin is the data's: the same under no seed, and not what is drawn.
    let init = fs::read_to_string(folder.join("kinds/base/seed-1/weights/init.toml")).unwrap();
    assert!(init.contains("from-data") && init.contains("kinds/data/shop.bin"), "{init}");
}

#[test]
fn what_is_wrong_with_a_ladder_is_said_with_its_line_before_anything_is_done() {
    let folder = folder();
    let folder = folder.path();
    let line_of =
        |text: &str, part: &str| 1 + text[..text.find(part).unwrap()].matches('\n').count();
    for (from, to, at, said) in [
        ("seeds = 2", "seed = 2", "seed = 2", "seed: expected one of"),
        ("seeds = 2", "seeds = [1, 1]", "seeds", "list of different ones"),
        ("seeds = 2", "seeds = 0", "seeds", "how many seeds"),
        ("seeds = 2", "seeds = [-1]", "seeds", "from 0 on"),
        ("\"hr@10\", ", "\"hr@7\", ", "metrics", "got \"hr@7\""),
        ("\"hr@10\", ", "\"ndcg@10\", ", "metrics", "each once"),
        ("batch = 16", "bach = 16", "bach", "train: bach: expected a flag of `engine train`"),
        ("batch = 16", "batch = 0", "batch", "train: batch: "),
        ("batch = 16", "batch = \"x\"", "batch", "expected a whole number"),
        ("batch = 16", "seed = 16", "seed = 16", "one that a sweep gives itself"),
        ("batch = 16", "max-minutes = 1", "max-minutes", "one that a sweep gives itself"),
        ("beams = 12", "beems = 12", "beems", "nearest is beams"),
        ("resamples = 50", "resample = 50", "resample", "eval: resample: "),
        ("train-tokenizer = 330", "k-core = 2", "data", "got neither"),
        ("model = \"config.json\"", "modle = 1", "[base]", "got both or neither"),
        (
            "model = \"config.json\"",
            "model = \"config.json\"\nout = \"x\"",
            "out = \"x\"",
            "base: out",
        ),
        (
            "model = \"config.json\"",
            "model = \"config.json\"\ndata = \"x\"",
            "data = \"x\"",
            "together",
        ),
        (
            "name = \"full\"",
            "name = \"glm\"",
            "name = \"glm\"\n\n[[step]]\nname = \"mis",
            "distinct names",
        ),
        ("name = \"full\"", "name = \"a/b\"", "name = \"a/b\"", "names a folder"),
        ("name = \"full\"", "name = \"data\"", "name = \"data\"", "names a folder"),
        ("name = \"full\"", "nam = \"full\"", "nam = ", "step: nam: "),
        ("from = \"full\"", "from = \"fill\"", "from", "nearest is full"),
        ("from = \"full\"", "from = \"mismatched\"", "from", "that trains itself"),
        (
            "from = \"full\"",
            "from = \"full\"\ntrain = { rank = 2 }",
            "from",
            "no `train` beside it",
        ),
        ("compare = \"full\"", "compare = \"ful\"", "compare = \"ful\"", "nearest is full"),
        (
            "enc-intra = \"off\"",
            "enc-intra = \"of\"",
            "train = { mask",
            "step glm: train: enc-intra: ",
        ),
        ("enc-intra = \"off\"", "rnak = 2", "train = { mask", "step glm: train: rnak: "),
        (
            "[eval]",
            "[compare]\nwith = \"x\"\n[eval]",
            "name = \"glm\"",
            "expected previous, none or a step",
        ),
        ("seeds = 2", "seeds 2", "seeds 2", "expected TOML"),
        (
            "beams = 12",
            "beams = 12\ntask = \"rating\"",
            "name = \"glm\"",
            "step glm: --task: expected one of the families that are learnt, sequential, got \
             rating",
        ),
        (
            "batch = 16",
            "batch = 16\nfamilies = [\"rating\", \"review\"]",
            "name = \"glm\"",
            "step glm: --task: expected one of the families that are learnt, rating, review, got \
             sequential",
        ),
        (
            "beams = 12",
            "beams = 12\ntemplate = [\"all\"]",
            "name = \"glm\"",
            "step glm: --template: expected one, by which steps are compared, got all",
        ),
        (
            "[\"hr@10\", \"ndcg@10\", \"validity\"]",
            "[\"rmse\", \"exact\"]",
            "metrics",
            "metrics: step glm: expected one that its answers have, such as hr@1, hr@5, ndcg@5",
        ),
        (
            "resamples = 50",
            "resamples = 50\nrivals = \"published\"",
            "rivals",
            "eval: --rivals: expected none, for a ladder compares its own steps alone",
        ),
    ] {
        let text = LADDER.replacen(from, to, 1);
        let line = line_of(&text, at);
        fs::write(folder.join("l.toml"), &text).unwrap();
        let (code, _, words) = run(folder, "sweep l.toml --quiet --out out");
        let place = format!("ladder: l.toml:{line}: ");
        assert!(
            code == 2 && words.contains(&place) && words.contains(said),
            "{to}: {place}{said}: {code} {words}"
        );
        assert_eq!(words.lines().count(), 1, "{words}");
        assert!(!folder.join("out").exists(), "{to}");
    }
    for (cut, said) in
        [("[[step]]", "step: expected a [[step]]"), ("[base]", "base: expected [base]")]
    {
        fs::write(folder.join("l.toml"), &LADDER[..LADDER.find(cut).unwrap()]).unwrap();
        let (code, _, words) = run(folder, "sweep l.toml --quiet --out out");
        assert!(code == 2 && words.contains(said), "{said}: {code} {words}");
    }
    // What only the data show is refused before the first training, too.
    let text = LADDER.replace("compare = \"full\"\n", "")
        + "[[step]]\nname = \"held-out\"\ntrain = { template = \"2-13\" }\n";
    fs::write(folder.join("l.toml"), text).unwrap();
    let (code, _, words) = run(folder, "sweep l.toml --quiet --out out");
    assert!(code == 2 && words.contains("step held-out") && words.contains("held out"), "{words}");
    assert!(!folder.join("out/glm").exists());
    let (code, _, words) = run(folder, "sweep none.toml --quiet");
    assert!(code == 2 && words.contains("none.toml"), "{words}");
}

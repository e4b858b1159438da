//! k steps, killed, resumed = never killed, bit for bit, whatever the number of threads of each
//! part; and a decode that was killed loses no line and doubles none. The real binary, at moments
//! that nobody chose.

use crate::shop;
use engine::base::{Philox, Stream};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn engine(folder: &Path, threads: usize, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(folder).args(["--threads", &threads.to_string(), "--quiet"]).args(args);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn done(folder: &Path, threads: usize, args: &[&str]) {
    let output = engine(folder, threads, args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A shop of 40 items and 60 users with a model from nothing, made once.
fn shop() -> &'static Path {
    static SHOP: OnceLock<PathBuf> = OnceLock::new();
    SHOP.get_or_init(|| {
        let folder = Box::leak(Box::new(tempfile::tempdir().unwrap())).path();
        shop::numbered(folder, 40, 60, 6, |i| {
            let (colour, thing) = (
                ["Red", "Blue", "Wooden", "Tiny", "Grand"][i % 5],
                ["Kite", "Robot", "Drum", "Doll"][i / 10],
            );
            format!("{{\"id\": {}, \"title\": \"{colour} {thing} {}\"}}", i + 1, i / 5)
        });
        done(folder, 1, &["prepare", "source", "--train-tokenizer", "330", "--out", "shop.bin"]);
        done(
            folder,
            1,
            &["init", "--model", "config.json", "--tokenizer", "tokenizer.json", "--out", "w"],
        );
        folder.to_path_buf()
    })
}

/// Steps of a run.
const STEPS: u64 = 60;

/// A run with everything that draws: dropout, spans, windows; micro-batches, validation,
/// checkpoints at odd moments; of all weights one whose decisions weigh by what they cost so far.
fn train(tune: &str, out: &str) -> Vec<String> {
    let legal = match tune {
        "full" => "--objective legal --decision-weights adaptive",
        _ => "",
    };
    let text = format!(
        "train --weights w --data shop.bin --tune {tune} --out {out} --epochs 8 --batch 8 \
        --batch-rows 160 \
         --learning-rate 3e-3 --rank 2 --lora-dropout 0.1 --dropout 0.1 --windows 0.5 \
         --validate-every 11 \
         --validate-users 8 --validate-beams 3 --checkpoint-every 7 {legal}"
    );
    text.split_whitespace().map(str::to_owned).collect()
}

/// Moments for this run of the test: other ones every time; a failure prints the seed.
fn moments(name: &str) -> (u64, Philox) {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("{name}: moments of seed {seed}");
    (seed, Philox::new(seed, Stream::Synthetic, 0))
}

/// What a run is, without what depends on the clock: files by name, log lines, state.
fn remains(run: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut names: Vec<_> = fs::read_dir(run).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let name = name.into_string().unwrap();
        assert!(!name.ends_with("partial"), "{name} was left behind");
        let path = run.join(&name);
        if name == "metrics.jsonl" {
            let text = fs::read_to_string(&path).unwrap();
            let mut log = String::new();
            for line in text.lines() {
                let mut line: Value = serde_json::from_str(line).unwrap();
                for clock in ["seconds", "tokens_per_second", "memory_bytes"] {
                    line.as_object_mut().unwrap().shift_remove(clock);
                }
                log += &format!("{line}\n");
            }
            assert!(log.lines().count() as u64 > STEPS, "steps and validations are logged");
            all.push((name, log.into_bytes()));
        } else if path.is_file() {
            all.push((name, fs::read(&path).unwrap()));
        }
    }
    let newest = run.join(format!("checkpoints/step-{STEPS}"));
    for part in ["values", "moment1", "moment2"] {
        let bytes = fs::read(newest.join(format!("{part}.safetensors"))).unwrap();
        all.push((format!("checkpoint {part}"), bytes));
    }
    let mut state: Value =
        serde_json::from_slice(&fs::read(newest.join("state.json")).unwrap()).unwrap();
    state.as_object_mut().unwrap().shift_remove("seconds");
    all.push(("checkpoint state".into(), state.to_string().into_bytes()));
    for entry in fs::read_dir(run.join("checkpoints")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with("partial"), "checkpoints/{name} was left behind");
    }
    all
}

#[track_caller]
fn same_run(seed: u64, killed: &Path, whole: &Path) {
    let (killed, whole) = (remains(killed), remains(whole));
    let names =
        |run: &[(String, Vec<u8>)]| run.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&killed), names(&whole), "seed {seed}");
    for ((name, a), (_, b)) in killed.iter().zip(&whole) {
        assert!(a == b, "seed {seed}: {name} differs from the run that was never stopped");
    }
}

/// Starts the run or goes on with it.
fn start(folder: &Path, threads: usize, args: &[String], run: &Path) -> Child {
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    // Whatever is there is gone on with, also before the first checkpoint.
    if run.exists() {
        args.push("--resume");
    }
    engine(folder, threads, &args).spawn().unwrap()
}

fn lines(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| bytes.iter().filter(|&&b| b == b'\n').count())
}

/// SIGKILL once `path` has `more` lines more than now, and a random part of a line later; whether
/// it met something alive.
fn kill_after(child: &mut Child, path: &Path, more: usize, rng: &mut Philox) -> bool {
    let begun = lines(path);
    let mut alive = true;
    while alive && lines(path) < begun + more {
        alive = child.try_wait().unwrap().is_none();
        std::thread::sleep(Duration::from_micros(500));
    }
    std::thread::sleep(Duration::from_micros(rng.below(20_000) as u64));
    alive
        && child.try_wait().unwrap().is_none()
        && child.kill().is_ok()
        && !child.wait().unwrap().success()
}

/// Deaths of a run before it may live.
const DEATHS: u32 = 5;

fn killed_train(tune: &str) {
    let folder = shop();
    let args = |out: &str| train(tune, out);
    let whole = format!("{tune}-whole");
    let mut child = start(folder, 2, &args(&whole), &folder.join(&whole));
    assert!(child.wait().unwrap().success());
    let out = format!("{tune}-killed");
    let run = folder.join(&out);
    let (seed, mut rng) = moments(tune);
    let mut kills = 0;
    for part in 0.. {
        let threads = [1, 3, 2, 5][part % 4];
        let mut child = start(folder, threads, &args(&out), &run);
        // Some die before their first step, most between two checkpoints or while one is written.
        if kills < DEATHS
            && kill_after(&mut child, &run.join("metrics.jsonl"), rng.below(15), &mut rng)
        {
            kills += 1;
            continue;
        }
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "seed {seed}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        break;
    }
    println!("{tune}: {kills} kills");
    assert!(kills > 0, "seed {seed}: nothing was killed");
    same_run(seed, &run, &folder.join(&whole));
}

#[test]
fn an_adapter_run_killed_at_random_moments() {
    killed_train("lora");
}

#[test]
fn a_full_run_killed_at_random_moments() {
    killed_train("full");
}

/// SIGTERM after a random number of steps: the step is finished, the state saved, and the code says
/// so.
#[test]
fn a_run_told_to_end() {
    let folder = shop();
    for tune in ["lora", "full"] {
        let args = |out: &str| train(tune, out);
        let (whole, out) = (format!("{tune}-alone"), format!("{tune}-told"));
        let mut child = start(folder, 2, &args(&whole), &folder.join(&whole));
        assert!(child.wait().unwrap().success());
        let run = folder.join(&out);
        let (seed, mut rng) = moments(tune);
        let mut told = 0;
        for part in 0.. {
            let threads = [5, 1, 2][part % 3];
            let log = run.join("metrics.jsonl");
            // More lines than before: the run has begun, and listens.
            let after = lines(&log) + 3 + rng.below(12);
            let mut child = start(folder, threads, &args(&out), &run);
            while lines(&log) < after && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            // A child that was waited for has no number any more.
            if child.try_wait().unwrap().is_none() {
                Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
            }
            let output = child.wait_with_output().unwrap();
            match output.status.code() {
                Some(0) => break,
                Some(143) => told += 1,
                other => {
                    panic!("seed {seed}: {other:?}: {}", String::from_utf8_lossy(&output.stderr))
                }
            }
            let newest = engine::train::checkpoint::list(&run).unwrap().pop().unwrap();
            let state = engine::train::checkpoint::read_state(&newest.1).unwrap();
            let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
            let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            assert_eq!(last["step"], state.step, "the step that was being made is saved");
        }
        assert!(told > 0, "seed {seed}: nobody was told");
        println!("{tune}: told {told} times");
        same_run(seed, &run, &folder.join(&whole));
    }
}

/// Lines without what the clock says.
fn answers(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().shift_remove("seconds");
            line
        })
        .collect()
}

#[test]
fn a_killed_decode_goes_on_after_its_last_whole_line() {
    let folder = shop();
    let args = |out: &str| {
        let text = format!(
            "decode --weights w --data shop.bin --beams 30 --top 30 --batch 3 --out {out}/p.jsonl \
            --resume"
        );
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    for out in ["d-whole", "d-killed"] {
        fs::create_dir(folder.join(out)).unwrap();
    }
    let whole = args("d-whole");
    done(folder, 2, &whole.iter().map(String::as_str).collect::<Vec<_>>());
    let (seed, mut rng) = moments("decode");
    let mut kills = 0;
    for part in 0.. {
        let words = args("d-killed");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut child = engine(folder, [1, 2, 5][part % 3], &words).spawn().unwrap();
        if kills < DEATHS
            && kill_after(&mut child, &folder.join("d-killed/p.jsonl"), rng.below(12), &mut rng)
        {
            kills += 1;
            continue;
        }
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "seed {seed}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        // One that was faster than its killer is begun anew.
        if kills > 0 || part == 100 {
            break;
        }
        fs::remove_dir_all(folder.join("d-killed")).unwrap();
        fs::create_dir(folder.join("d-killed")).unwrap();
    }
    println!("decode: {kills} kills");
    assert!(kills > 0, "seed {seed}: nothing was killed");
    let expected = answers(&folder.join("d-whole/p.jsonl"));
    assert_eq!(expected.len(), 60);
    assert_eq!(answers(&folder.join("d-killed/p.jsonl")), expected, "seed {seed}");

    // A line that was cut off anywhere is made again, and a whole one is not.
    let path = folder.join("d-killed/p.jsonl");
    let bytes = fs::read(&path).unwrap();
    let line = bytes.iter().position(|&b| b == b'\n').unwrap() + 1;
    for cut in [0, 1, line - 1, line, line + 1, bytes.len() - 1, bytes.len()] {
        fs::write(&path, &bytes[..cut]).unwrap();
        let words = args("d-killed");
        done(folder, 2, &words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(answers(&path), expected, "cut after {cut} bytes");
    }
}

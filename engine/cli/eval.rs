//! `engine eval`: metrics from a predictions file, without model and chip.

use crate::base::Fault;
use crate::data::Dataset;
use crate::eval::bootstrap::Bootstrap;
use crate::eval::curve::Curve;
use crate::eval::evaluation::{evaluate, ItemRepr, Options, Users};
use crate::eval::predictions::Reader;
use crate::eval::ranking::Policy;
use crate::eval::report::{Data, Report, Verdict};
use crate::eval::threshold::Threshold;
use crate::eval::title_neighbours::Weights;
use crate::eval::truth::{Split, Truth};
use crate::eval::{html, markdown};
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Metrics from a predictions file; needs no model and no GPU.
///
/// Example: engine eval predictions.jsonl --data toys.bin --report report
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Eval {
    /// What `engine decode` wrote; - for standard input.
    pub predictions: PathBuf,
    /// The .bin that the predictions were made with.
    #[arg(long)]
    pub data: PathBuf,
    /// Folder for report.json, report.md and report.html.
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Run folder whose metrics.jsonl the HTML report draws.
    #[arg(long)]
    pub run: Option<PathBuf>,
    /// What becomes of invalid and repeated outputs.
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    pub policy: Policy,
    /// Which event was to be predicted.
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    pub split: Split,
    /// Whether users without a line are misses, or only listed users count [default: all, or listed where the
    /// predictions' settings say that they were limited].
    #[arg(long, value_enum)]
    pub users: Option<Users>,
    /// Leave items of the history out of all rankings.
    #[arg(long)]
    #[serde(default)]
    pub filter_history: bool,
    /// Leave the baselines out.
    #[arg(long)]
    #[serde(default)]
    pub no_baselines: bool,
    /// What the model was shown in place of items; with id the leak probe is printed [default: as the .bin's surfaces are].
    #[arg(long, value_enum)]
    pub item_repr: Option<ItemRepr>,
    /// Weight of category names in the title baseline.
    #[arg(long, default_value_t = Weights::default().category)]
    #[serde(default = "category")]
    pub category_weight: f64,
    /// Weight of an event beside its successor in the title baseline.
    #[arg(long, default_value_t = Weights::default().gamma)]
    #[serde(default = "gamma")]
    pub gamma: f64,
    /// Fail with exit code 6 unless it holds, e.g. "hr@10>=0.02"; may be given several times.
    #[arg(long, value_name = "METRIC>=NUMBER")]
    #[serde(default)]
    pub threshold: Vec<String>,
    /// Resamples behind the 95 % intervals.
    #[arg(long, default_value_t = RESAMPLES)]
    #[serde(default = "resamples")]
    pub resamples: usize,
    /// Seed of resamples and of the order of items that share a title.
    #[arg(long, default_value_t = 0)]
    #[serde(default)]
    pub seed: u64,
}

const RESAMPLES: usize = 1000;

fn category() -> f64 {
    Weights::default().category
}

fn gamma() -> f64 {
    Weights::default().gamma
}

fn resamples() -> usize {
    RESAMPLES
}

/// Prints the tables to standard output and writes the report; a broken law or threshold is a failed check.
pub fn run(args: &Eval) -> Result<()> {
    let thresholds = args.threshold.iter().map(|text| text.parse()).collect::<Result<Vec<Threshold>>>()?;
    check_weights(args)?;
    let dataset = Dataset::open(&args.data).map_err(|e| Fault::Data.wrap(e))?;
    // Read before the work, so that a wrong folder is said at once.
    let curve = args.run.as_deref().map(Curve::read).transpose()?;
    let settings = settings_beside(&args.predictions)?;
    let report = judge(args, &Truth::of(&dataset), settings, &thresholds)?;
    write!(std::io::stdout().lock(), "{}", markdown::tables(&report)).context("standard output")?;
    for warning in &report.warnings {
        eprintln!("warning: {warning}");
    }
    if let Some(folder) = &args.report {
        save(folder, &report, curve.as_ref())?;
        eprintln!("report: {}", folder.join("report.html").display());
    }
    verdict(&report)
}

fn check_weights(args: &Eval) -> Result<()> {
    for (name, value, highest) in
        [("gamma", args.gamma, 1.0), ("category-weight", args.category_weight, f64::MAX)]
    {
        if !(0.0..=highest).contains(&value) {
            let range = if highest == 1.0 { "from 0 to 1" } else { "that is not negative" };
            bail!(Fault::Usage
                .error(format!("--{name}: expected a number {range}, got {value}; choose another")));
        }
    }
    if args.resamples == 0 {
        bail!(Fault::Usage.error("--resamples: expected at least 1, got 0; 1000 is usual"));
    }
    Ok(())
}

/// Reads and judges the predictions against `truth`.
fn judge(args: &Eval, truth: &Truth<'_>, settings: Value, thresholds: &[Threshold]) -> Result<Report> {
    let start = Instant::now();
    let reader = Reader::new(truth, args.split, args.seed);
    let name = args.predictions.display().to_string();
    let groups = if name == "-" {
        reader.read(std::io::stdin().lock(), "standard input")?
    } else {
        let file = File::open(&args.predictions);
        let file = file.map_err(|e| {
            Fault::Data
                .error(format!("predictions: {name}: expected a readable file, got {e}; check the path"))
        })?;
        reader.read(BufReader::with_capacity(1 << 20, file), &name)?
    };
    let limited = settings.get("limit").is_some_and(|limit| !limit.is_null());
    let users = args.users.unwrap_or(if limited { Users::Listed } else { Users::All });
    let options = Options {
        policy: args.policy,
        split: args.split,
        users,
        filter_history: args.filter_history,
        baselines: (!args.no_baselines)
            .then_some(Weights { category: args.category_weight, gamma: args.gamma }),
        item_repr: args.item_repr,
        bootstrap: Bootstrap { resamples: args.resamples, seed: args.seed },
    };
    let findings = evaluate(truth, &groups, &options);
    let verdicts = verdicts(&findings.groups, thresholds)?;
    Ok(Report {
        engine: env!("CARGO_PKG_VERSION"),
        predictions: name,
        data: Data {
            name: truth.name.into(),
            hash: format!("{:08x}", truth.hash),
            items: truth.items.len(),
            users: truth.users.len(),
        },
        split: args.split,
        policy: args.policy,
        filter_history: args.filter_history,
        users,
        seed: args.seed,
        resamples: args.resamples,
        settings,
        groups: findings.groups,
        spreads: findings.spreads,
        warnings: findings.warnings,
        broken: findings.broken,
        thresholds: verdicts,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Holds every threshold against the main row of each group that has its metric.
fn verdicts(groups: &[crate::eval::report::Group], thresholds: &[Threshold]) -> Result<Vec<Verdict>> {
    let mut verdicts = Vec::new();
    for threshold in thresholds {
        let before = verdicts.len();
        for group in groups {
            let metric = group.main().and_then(|row| row.metrics.get(&threshold.metric));
            verdicts.extend(metric.map(|metric| Verdict {
                threshold: threshold.to_string(),
                group: group.title(),
                value: metric.value,
                holds: threshold.holds(metric.value),
            }));
        }
        if verdicts.len() == before {
            let main = groups.iter().filter_map(|group| group.main());
            let names: Vec<&str> = main.flat_map(|row| row.metrics.0.iter().map(|(name, _)| *name)).collect();
            let expected = format!("expected one of {}", names.join(", "));
            bail!(Fault::Usage
                .error(format!("--threshold: {expected}, got {:?}; choose one", threshold.metric)));
        }
    }
    Ok(verdicts)
}

/// The side file of the predictions, where there is one: `NAME.settings.json` or `settings.json` in the same folder.
fn settings_beside(predictions: &Path) -> Result<Value> {
    let (Some(name), Some(folder)) = (predictions.file_name(), predictions.parent()) else {
        return Ok(Value::Null);
    };
    let mut own = name.to_os_string();
    own.push(".settings.json");
    let candidates =
        [folder.join(own), predictions.with_extension("settings.json"), folder.join("settings.json")];
    let Some(path) = candidates.into_iter().find(|path| path.is_file()) else { return Ok(Value::Null) };
    let place = path.display();
    let text =
        std::fs::read_to_string(&path).map_err(|e| Fault::Data.error(format!("settings: {place}: {e}")))?;
    // The first line holds what is needed; a file that is one JSON value over several lines is read whole.
    let first = text.lines().next().unwrap_or("");
    serde_json::from_str(first).or_else(|_| serde_json::from_str(&text)).map_err(|e| {
        let problem = format!("expected a JSON object, got {e}");
        Fault::Data.error(format!("settings: {place}: {problem}; repair or remove the file"))
    })
}

/// Writes the three files, each under a temporary name first.
fn save(folder: &Path, report: &Report, curve: Option<&Curve>) -> Result<()> {
    let place = |path: &Path| format!("report: {}", path.display());
    std::fs::create_dir_all(folder).with_context(|| place(folder))?;
    let json = serde_json::to_string_pretty(report).context("report: writing it as JSON")? + "\n";
    for (name, text) in [
        ("report.json", json),
        ("report.md", markdown::report(report)),
        ("report.html", html::page(report, curve)),
    ] {
        let (path, temporary) = (folder.join(name), folder.join(format!("{name}.tmp")));
        std::fs::write(&temporary, text).with_context(|| place(&temporary))?;
        std::fs::rename(&temporary, &path).with_context(|| place(&path))?;
    }
    Ok(())
}

/// The exit: laws first, then thresholds.
fn verdict(report: &Report) -> Result<()> {
    if let Some(law) = report.broken.first() {
        let words = format!(
            "laws: {law}; {} broken in all, see the report; the metrics are wrong",
            report.broken.len()
        );
        bail!(Fault::Check.error(words));
    }
    let failed: Vec<&Verdict> = report.thresholds.iter().filter(|verdict| !verdict.holds).collect();
    if let Some(first) = failed.first() {
        let got = format!("expected {}, got {:.4}", first.threshold, first.value);
        let words = format!(
            "threshold: {}: {got}; {} of {} fail",
            first.group,
            failed.len(),
            report.thresholds.len()
        );
        bail!(Fault::Check.error(words));
    }
    Ok(())
}

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
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Eval {
    /// What `engine decode` wrote; - for standard input
    #[arg(value_name = "PREDICTIONS")]
    pub predictions: PathBuf,
    /// The .bin that the predictions were made with
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Where report.json, report.md and report.html go
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// The run whose metrics.jsonl the HTML report draws
    #[arg(long, value_name = "RUN")]
    pub run: Option<PathBuf>,
    /// What becomes of invalid and repeated outputs
    #[arg(long, value_enum, default_value_t)]
    pub policy: Policy,
    /// Which event was to be predicted
    #[arg(long, value_enum, default_value_t)]
    pub split: Split,
    /// Whom the denominator counts [default: all, or listed where the predictions' settings name a
    /// limit]
    #[arg(long, value_enum)]
    pub users: Option<Users>,
    /// Leave the history's items out of every ranking
    #[arg(long)]
    pub filter_history: bool,
    /// Leave the baselines out
    #[arg(long)]
    pub no_baselines: bool,
    /// What the model was shown in place of items; id adds the leak probe [default: as in the
    /// predictions' settings, or what the surfaces are]
    #[arg(long, value_enum)]
    pub item_repr: Option<ItemRepr>,
    /// Weight of category names in the title baseline
    #[arg(long, value_name = "X", default_value_t = Weights::default().category)]
    pub category_weight: f64,
    /// Weight of an event beside the next one in the title baseline
    #[arg(long, value_name = "X", default_value_t = Weights::default().gamma)]
    pub gamma: f64,
    /// Fail with exit code 6 unless it holds, e.g. "hr@10>=0.02"; may be repeated
    #[arg(long, value_name = "METRIC>=X")]
    pub threshold: Vec<String>,
    /// Resamples behind the 95 % intervals
    #[arg(long, value_name = "N", default_value_t = RESAMPLES)]
    pub resamples: usize,
    /// Decides the resamples
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

const RESAMPLES: usize = 1000;

impl Default for Eval {
    fn default() -> Eval {
        let Weights { category, gamma } = Weights::default();
        Eval {
            predictions: PathBuf::new(),
            data: PathBuf::new(),
            report: None,
            run: None,
            policy: Policy::default(),
            split: Split::default(),
            users: None,
            filter_history: false,
            no_baselines: false,
            item_repr: None,
            category_weight: category,
            gamma,
            threshold: Vec::new(),
            resamples: RESAMPLES,
            seed: 0,
        }
    }
}

/// Prints the tables to standard output and writes the report; a broken law or threshold is a
/// failed check.
pub fn run(args: &Eval) -> Result<()> {
    let thresholds =
        args.threshold.iter().map(|text| text.parse()).collect::<Result<Vec<Threshold>>>()?;
    check_weights(args)?;
    let dataset = Dataset::open(&args.data)?;
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
            bail!(Fault::Usage.error(format!(
                "--{name}: expected a number {range}, got {value}; choose another"
            )));
        }
    }
    if args.resamples == 0 {
        bail!(Fault::Usage.error("--resamples: expected at least 1, got 0; 1000 is usual"));
    }
    Ok(())
}

/// Reads and judges the predictions against `truth`.
fn judge(
    args: &Eval,
    truth: &Truth<'_>,
    settings: Value,
    thresholds: &[Threshold],
) -> Result<Report> {
    let start = Instant::now();
    let reader = Reader::new(truth, args.split);
    let name = args.predictions.display().to_string();
    let groups = if name == "-" {
        reader.read(std::io::stdin().lock(), "standard input")?
    } else {
        let file = File::open(&args.predictions);
        let file = file.map_err(|e| {
            Fault::Data.error(format!(
                "predictions: {name}: expected a readable file, got {e}; check the path"
            ))
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
        item_repr: args.item_repr.or_else(|| item_repr(&settings)),
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

/// What the predictions' settings say the model was shown.
fn item_repr(settings: &Value) -> Option<ItemRepr> {
    let name = settings.get("item-repr").or_else(|| settings.get("item_repr"))?.as_str()?;
    ItemRepr::from_name(name)
}

/// Holds every threshold against the main row of each group that has its metric.
fn verdicts(
    groups: &[crate::eval::report::Group],
    thresholds: &[Threshold],
) -> Result<Vec<Verdict>> {
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
            let names: Vec<&str> =
                main.flat_map(|row| row.metrics.0.iter().map(|(name, _)| *name)).collect();
            let expected = format!("expected one of {}", names.join(", "));
            bail!(Fault::Usage
                .error(format!("--threshold: {expected}, got {:?}; choose one", threshold.metric)));
        }
    }
    Ok(verdicts)
}

/// The side file of the predictions, where there is one: `NAME.settings.json` or `settings.json` in
/// the same folder.
fn settings_beside(predictions: &Path) -> Result<Value> {
    let (Some(name), Some(folder)) = (predictions.file_name(), predictions.parent()) else {
        return Ok(Value::Null);
    };
    let mut own = name.to_os_string();
    own.push(".settings.json");
    let candidates = [
        folder.join(own),
        predictions.with_extension("settings.json"),
        folder.join("settings.json"),
    ];
    let Some(path) = candidates.into_iter().find(|path| path.is_file()) else {
        return Ok(Value::Null);
    };
    let place = path.display();
    let text = std::fs::read_to_string(&path)
        .map_err(|e| Fault::Data.error(format!("settings: {place}: {e}")))?;
    // The first line holds what is needed; a file that is one JSON value over several lines is read
    // whole.
    let first = text.lines().next().unwrap_or("");
    serde_json::from_str(first).or_else(|_| serde_json::from_str(&text)).map_err(|e| {
        let problem = format!("expected a JSON object, got {e}");
        Fault::Data.error(format!("settings: {place}: {problem}; repair or remove the file"))
    })
}

/// Writes the three files, each under a temporary name first.
fn save(folder: &Path, report: &Report, curve: Option<&Curve>) -> Result<()> {
    let refuse = |path: &Path, e: std::io::Error| {
        let problem = format!("expected room to write, got {e}; check the folder and the disk");
        Fault::Device.error(format!("report: {}: {problem}", path.display()))
    };
    std::fs::create_dir_all(folder).map_err(|e| refuse(folder, e))?;
    let json = serde_json::to_string_pretty(report).context("report.json")? + "\n";
    let (page, plain) = (html::page(report, curve), markdown::report(report));
    for (name, text) in [("report.json", json), ("report.md", plain), ("report.html", page)] {
        let (path, temporary) = (folder.join(name), folder.join(format!("{name}.tmp")));
        let written =
            std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &path));
        written.map_err(|e| {
            // What was written of it helps nobody; that it cannot be removed changes nothing.
            let _ = std::fs::remove_file(&temporary);
            refuse(&path, e)
        })?;
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

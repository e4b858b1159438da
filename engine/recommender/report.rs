//! What predictions are worth: metrics of a file of answers, without model and chip.

use super::fitted::Kept;
use super::predictions::Side;
use super::ranges::within_ranges;
use crate::base::map::settled;
use crate::base::text::visible_json;
use crate::base::{
    choose, open_stream, unreadable, write_whole, Fault, Held, Outputs, Standing, Written,
};
use crate::data::Dataset;
use crate::eval::baseline::Wishes;
use crate::eval::bootstrap::Bootstrap;
use crate::eval::curve::Curve;
use crate::eval::evaluation::{evaluate, Options};
use crate::eval::predictions::{Asked, Reader};
use crate::eval::report::{Data, Group, Kind, Part, Row, Verdict};
use crate::eval::threshold::Threshold;
use crate::eval::truth::Truth;
use crate::eval::{html, markdown};
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

pub use crate::eval::evaluation::{ItemRepr, Users};
pub use crate::eval::ranking::Policy;
pub use crate::eval::report::Report;
use crate::eval::report::GENERATOR;
pub use crate::eval::truth::Split;

/// Which predictions are judged, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Judging {
    /// The file of predictions; "-" = standard input.
    pub predictions: PathBuf,
    /// The `.bin` that they were made with.
    pub data: PathBuf,
    /// Where report.json, report.md and report.html go.
    pub report: Option<PathBuf>,
    /// The run whose metrics.jsonl the HTML report draws.
    pub run: Option<PathBuf>,
    /// What becomes of invalid and repeated outputs (E7).
    pub policy: Policy,
    /// Which event was to be predicted; `None` = the one that the predictions' settings name,
    /// otherwise the last.
    pub split: Option<Split>,
    /// Whom the denominator counts; `None` = those asked where the predictions' settings name them,
    /// those listed where another program's name a limit, otherwise all (E8).
    pub users: Option<Users>,
    /// Leave the history's items out of every ranking (E15).
    pub filter_history: bool,
    /// Leave the baselines out.
    pub no_baselines: bool,
    /// What the model was shown in place of items; `None` = as the predictions' settings say.
    pub item_repr: Option<ItemRepr>,
    /// Weight of category names in the title baseline, not negative; `None` = chosen on validation.
    pub category_weight: Option<f64>,
    /// Weight of an event beside the next one in the title baseline, from 0 to 1; `None` = chosen
    /// on validation.
    pub gamma: Option<f64>,
    /// What must hold, such as "hr@10>=0.02".
    pub threshold: Vec<String>,
    /// Resamples behind the 95 % intervals, at least 1.
    pub resamples: usize,
    /// Decides the resamples.
    pub seed: u64,
}

impl Default for Judging {
    fn default() -> Judging {
        Judging {
            predictions: PathBuf::new(),
            data: PathBuf::new(),
            report: None,
            run: None,
            policy: Policy::default(),
            split: None,
            users: None,
            filter_history: false,
            no_baselines: false,
            item_repr: None,
            category_weight: None,
            gamma: None,
            threshold: Vec::new(),
            resamples: 1000,
            seed: 0,
        }
    }
}

impl Judging {
    /// Refuses numbers out of range.
    pub fn check(&self) -> Result<()> {
        within_ranges!(self, category_weight gamma resamples seed);
        Ok(())
    }
}

/// A judgement, what its HTML page draws, and the right to write it down.
pub struct Judged {
    /// The tables and what they were made of.
    pub report: Report,
    curve: Option<Curve>,
    folder: Option<Held>,
}

/// What is written in the folder of a report.
const WRITTEN: Written =
    Written { files: &["report.json", "report.md", "report.html"], folders: &[] };

/// Whether what of a report stands in a folder was written by us, all of it: each file says so in
/// its first lines.
fn is_ours(folder: &Path) -> bool {
    let mut found = WRITTEN.files.iter().filter_map(|name| File::open(folder.join(name)).ok());
    let mut any = false;
    let all = found.all(|file| {
        any = true;
        let mut head = Vec::new();
        let read = file.take(512).read_to_end(&mut head);
        read.is_ok() && String::from_utf8_lossy(&head).contains(GENERATOR)
    });
    any && all
}

/// Judges predictions. Refuses weights and thresholds out of range, and files that are no
/// predictions; what it finds is [`Judged::verdict`]'s to refuse.
pub fn judge(settings: &Judging, mut outputs: Outputs) -> Result<Judged> {
    let thresholds = settings.threshold.iter().map(|text| text.parse());
    let thresholds = thresholds.collect::<Result<Vec<Threshold>>>()?;
    settings.check()?;
    outputs.reads("the predictions", &settings.predictions);
    outputs.reads("setting `data`", &settings.data);
    if let Some(side) = Side::file_beside(&settings.predictions) {
        outputs.reads("the settings of the predictions", &side);
    }
    if let Some(run) = &settings.run {
        outputs.reads_in("setting `run`", run, |name| name == "metrics.jsonl");
    }
    if let Some(folder) = &settings.report {
        outputs.folder("setting `report`", folder, WRITTEN, Standing::Ours(is_ours));
    }
    let held = outputs.claim()?;
    let dataset = Dataset::open(&settings.data)?;
    // Read before the work, so that a wrong folder is said at once.
    let curve = settings.run.as_deref().map(Curve::read).transpose()?;
    let beside = Side::beside(&settings.predictions)?.unwrap_or_default();
    let side = Side::of(&beside);
    side.as_ref().map_or(Ok(()), |side| side.expect_data(&settings.predictions, &dataset))?;
    let asked = side.as_ref().and_then(|side| side.users(&dataset));
    let made = Made { beside, side, asked };
    let report = settled([dataset.map()], || report_of(settings, &dataset, made, &thresholds))?;
    Ok(Judged { report, curve, folder: settings.report.is_some().then_some(held) })
}

/// What is known of how predictions were made.
struct Made {
    /// What stands beside them; null where nothing does.
    beside: Value,
    /// That, where we wrote it.
    side: Option<Side>,
    /// The users that were asked, where they were users.
    asked: Option<Vec<u32>>,
}

impl Made {
    /// Whom the denominator counts where nobody says. Another program's settings may name a limit:
    /// a sample that was made on purpose.
    fn users(&self) -> Users {
        let limited = self.beside.get("limit").is_some_and(|limit| !limit.is_null());
        match (&self.asked, limited) {
            (Some(_), _) => Users::Asked,
            (None, true) => Users::Listed,
            (None, false) => Users::All,
        }
    }

    fn words(&self) -> String {
        let unknown = || "unknown: no settings of this engine stand beside them".to_owned();
        self.side.as_ref().map_or_else(unknown, Side::words)
    }

    /// What a reader should know of it before believing a number.
    fn remark(&self, split: Split) -> Option<String> {
        let Some(side) = &self.side else {
            return Some(
                "no settings of this engine stand beside the predictions: data, split and users \
                are taken to be those given here"
                    .to_owned(),
            );
        };
        let made = side.decode.split;
        (self.asked.is_some() && split != made)
            .then(|| format!("made for split {made}, judged as {split}"))
    }
}

/// The predictions' settings with one hash for all tensors of a model: a report is for people.
fn hashed(mut settings: Value) -> Value {
    let models = Side::of(&settings).map(|side| (side.identity.weights, side.identity.adapter));
    if let Some((weights, adapter)) = models {
        settings["weights"] = weights.hash().into();
        settings["adapter"] = adapter.map(|adapter| adapter.hash()).into();
    }
    settings
}

/// Reads and judges the predictions against the data.
fn report_of(
    args: &Judging,
    dataset: &Dataset,
    made: Made,
    thresholds: &[Threshold],
) -> Result<Report> {
    let start = Instant::now();
    let truth = &Truth::of(dataset);
    let own = made.side.as_ref().filter(|_| made.asked.is_some()).map(|side| side.decode.split);
    let split = args.split.or(own).unwrap_or_default();
    let reader = Reader::new(truth, split);
    let name = args.predictions.display().to_string();
    let groups = if name == "-" {
        reader.read(std::io::stdin().lock(), "standard input")?
    } else {
        let file = open_stream(&args.predictions).map_err(|e| {
            unreadable(Fault::Data, "predictions", &args.predictions, "what `decode` wrote", &e)
        })?;
        reader.read(BufReader::with_capacity(1 << 20, file), &name)?
    };
    let users = args.users.unwrap_or_else(|| made.users());
    let (made_by, remark) = (made.words(), made.remark(split));
    let settings = hashed(made.beside);
    if users == Users::Asked && made.asked.is_none() {
        return Err(Fault::Usage.error(format!(
            "setting `users = asked`: {name}: expected settings beside it that say who was asked, \
            got none; choose all or listed"
        )));
    }
    let options = Options {
        policy: args.policy,
        split,
        users,
        asked: made.asked.unwrap_or_default(),
        filter_history: args.filter_history,
        baselines: (!args.no_baselines).then(|| Wishes {
            category: args.category_weight,
            gamma: args.gamma,
            item_repr: args.item_repr.or_else(|| item_repr(&settings)),
            few: groups.iter().any(|group| group.family.ranks() && group.family != Asked::Full),
            seed: args.seed,
        }),
        bootstrap: Bootstrap { resamples: args.resamples, seed: args.seed },
    };
    let kept = options.baselines.map(|wishes| Kept::of(dataset, wishes, split));
    let known = kept.as_ref().and_then(|kept| kept.read(truth, split));
    let (is_new, begun) = (known.is_none(), Instant::now());
    let mut findings = evaluate(truth, &groups, &options, known);
    if let (Some(kept), Some(beside), true) = (&kept, &findings.beside, is_new) {
        if beside.is_complete(truth, split) {
            kept.write(beside, begun.elapsed());
        }
    }
    findings.warnings.extend(remark);
    let verdicts = verdicts(&findings.groups, thresholds)?;
    Ok(Report {
        generator: GENERATOR,
        engine: env!("CARGO_PKG_VERSION"),
        predictions: name,
        data: Data {
            name: truth.name.into(),
            hash: format!("{:08x}", truth.hash),
            items: truth.items.len(),
            users: truth.users.len(),
        },
        split,
        policy: args.policy,
        filter_history: args.filter_history,
        users,
        seed: args.seed,
        resamples: args.resamples,
        made_by,
        settings,
        groups: findings.groups,
        spreads: findings.spreads,
        baselines: findings.beside.map(|beside| beside.chosen),
        warnings: findings.warnings,
        broken: findings.broken,
        thresholds: verdicts,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// What the predictions' settings say the model was shown.
fn item_repr(settings: &Value) -> Option<ItemRepr> {
    match settings.get("item-repr").or_else(|| settings.get("item_repr"))?.as_str()? {
        "id" => Some(ItemRepr::Id),
        "title" => Some(ItemRepr::Title),
        _ => None,
    }
}

/// Holds every threshold against the main row of each group that has its metric.
fn verdicts(groups: &[Group], thresholds: &[Threshold]) -> Result<Vec<Verdict>> {
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
            bail!(Fault::Usage.error(format!(
                "setting `threshold`: {expected}, got {:?}; {}",
                threshold.metric,
                choose(&threshold.metric, names.iter().copied())
            )));
        }
    }
    Ok(verdicts)
}

/// How often somebody's ranking is right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HitRates {
    /// HR@1.
    pub first: f64,
    /// HR@10.
    pub ten: f64,
}

/// How often predictions are right, and what needs no model.
#[derive(Clone, Debug, PartialEq)]
pub struct Hits {
    /// Users that count.
    pub users: usize,
    /// Of the predictions.
    pub answers: HitRates,
    /// Of each baseline, by its name.
    pub baselines: Vec<(String, HitRates)>,
}

impl Judged {
    /// The first ranking against its baselines; `None` where nothing was ranked.
    pub fn hits(&self) -> Option<Hits> {
        let group = self.report.groups.first()?;
        let main = group.main()?;
        let value = |row: &Row, name| row.metrics.value(name);
        let rates = |row: &Row| HitRates { first: value(row, "hr@1"), ten: value(row, "hr@10") };
        let baselines = group.part(Part::All).filter(|row| row.kind == Kind::Baseline);
        let baselines = baselines.map(|row| (row.method.clone(), rates(row))).collect();
        Some(Hits { users: main.n, answers: rates(main), baselines })
    }

    /// The tables as Markdown.
    pub fn tables(&self) -> String {
        markdown::tables(&self.report)
    }

    /// Writes report.json, report.md and report.html, each whole or not at all, where a folder for
    /// them was given.
    pub fn save(&self) -> Result<()> {
        let Some(held) = &self.folder else { return Ok(()) };
        let report = &self.report;
        let json = serde_json::to_string_pretty(report).context("report.json")? + "\n";
        let json = visible_json(&json).into_owned();
        let (page, plain) = (html::page(report, self.curve.as_ref()), markdown::report(report));
        for (name, text) in [("report.json", json), ("report.md", plain), ("report.html", page)] {
            let path = held.folder().join(name);
            write_whole(&path, text).context("report")?;
        }
        Ok(())
    }

    /// Refuses a report that breaks a law or misses a threshold: laws first.
    pub fn verdict(&self) -> Result<()> {
        let report = &self.report;
        if let Some(law) = report.broken.first() {
            let words = format!(
                "laws: {law}; {} broken in all, see the report; the metrics are wrong",
                report.broken.len()
            );
            bail!(Fault::Check.error(words));
        }
        let failed: Vec<&Verdict> =
            report.thresholds.iter().filter(|verdict| !verdict.holds).collect();
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
}

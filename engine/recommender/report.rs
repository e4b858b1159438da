//! What predictions are worth: metrics of a file of answers, without model and chip.

use super::fitted::Kept;
use super::predictions::Side;
use super::prior::{self, Balanced, Fit, PRIOR};
use super::ranges::within_ranges;
use super::sheet::{names, Made};
use crate::base::map::settled;
use crate::base::text::visible_json;
use crate::base::{choose, write_whole, Fault, Held, Outputs, Standing, Written};
use crate::data::Dataset;
use crate::eval::baseline::Wishes;
use crate::eval::bootstrap::Bootstrap;
use crate::eval::curve::Curve;
use crate::eval::evaluation::{evaluate, Options, Sheet};
use crate::eval::predictions::{Asked, Reader};
use crate::eval::published::{self, Published};
use crate::eval::report::{Data, Group, Kind, Part, Row, Source, Verdict};
use crate::eval::sheet::join;
use crate::eval::threshold::Threshold;
use crate::eval::truth::Truth;
use crate::eval::{html, markdown, tex};
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub use crate::eval::evaluation::{ItemRepr, Users};
pub use crate::eval::published::{Rivals, Set};
pub use crate::eval::ranking::Policy;
pub use crate::eval::report::Report;
use crate::eval::report::GENERATOR;
pub use crate::eval::truth::Split;

/// Which predictions are judged, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Judging {
    /// The files of predictions, at least one, of which the others are compared with the first;
    /// "-" = standard input.
    pub predictions: Vec<PathBuf>,
    /// The `.bin` that they were made with.
    pub data: PathBuf,
    /// Where report.json, report.md, report.tex and report.html go.
    pub report: Option<PathBuf>,
    /// The run whose metrics.jsonl the HTML report draws, and whose prior is fitted.
    pub run: Option<PathBuf>,
    /// Find how much model and prior count, on these answers for validation users, and write it
    /// down in the run (E29).
    pub fit_prior: bool,
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
    /// Whose published figures stand beside.
    pub rivals: Rivals,
    /// Of which data set they are; `None` = that which has the counts of the `.bin`.
    pub rivals_of: Option<Set>,
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
            predictions: Vec::new(),
            data: PathBuf::new(),
            report: None,
            run: None,
            fit_prior: false,
            policy: Policy::default(),
            split: None,
            users: None,
            filter_history: false,
            no_baselines: false,
            item_repr: None,
            category_weight: None,
            gamma: None,
            rivals: Rivals::None,
            rivals_of: None,
            threshold: Vec::new(),
            resamples: 1000,
            seed: 0,
        }
    }
}

impl Judging {
    /// Refuses numbers out of range, and settings that contradict one another.
    pub fn check(&self) -> Result<()> {
        within_ranges!(self, category_weight gamma resamples seed);
        if let (Some(set), Rivals::None) = (self.rivals_of, self.rivals) {
            bail!(Fault::Usage.error(format!(
                "setting `rivals-of`: expected setting `rivals = published` beside it, got {set} \
                alone; give both or none"
            )));
        }
        if self.fit_prior && self.run.is_none() {
            bail!(Fault::Usage.error(
                "setting `fit-prior`: expected setting `run` beside it, got it alone; name the run \
                that is to know the weights"
            ));
        }
        if self.fit_prior && self.predictions.len() != 1 {
            bail!(Fault::Usage.error(format!(
                "setting `fit-prior`: expected one file of predictions, got {}; fit by one of them",
                self.predictions.len()
            )));
        }
        let streams = self.predictions.iter().filter(|path| *path == Path::new("-")).count();
        if streams > 1 {
            bail!(Fault::Usage.error(format!(
                "predictions: expected standard input once, got it {streams} times; give files"
            )));
        }
        Ok(())
    }
}

/// A judgement, what its HTML page draws, and the right to write it down.
pub struct Judged {
    /// The tables and what they were made of.
    pub report: Report,
    /// What was found of model and prior, where that was asked for.
    pub fit: Option<Fit>,
    curve: Option<Curve>,
    has_folder: bool,
    held: Held,
}

/// What is written in the folder of a report.
const WRITTEN: Written =
    Written { files: &["report.json", "report.md", "report.tex", "report.html"], folders: &[] };

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
    for predictions in &settings.predictions {
        outputs.reads("the predictions", predictions);
        if let Some(side) = Side::file_beside(predictions) {
            outputs.reads("the settings of the predictions", &side);
        }
    }
    outputs.reads("setting `data`", &settings.data);
    if let Some(run) = &settings.run {
        outputs.reads_in("setting `run`", run, |name| name == "metrics.jsonl");
        if settings.fit_prior {
            let place = run.join(PRIOR);
            outputs.file("setting `fit-prior`", &place, Standing::Ours(Balanced::is_at));
        }
    }
    if let Some(folder) = &settings.report {
        outputs.folder("setting `report`", folder, WRITTEN, Standing::Ours(is_ours));
    }
    let held = outputs.claim()?;
    let dataset = Dataset::open(&settings.data)?;
    // Read before the work, so that a wrong folder is said at once.
    let curve = settings.run.as_deref().map(Curve::read).transpose()?;
    let made = settings.predictions.iter().map(|path| Made::read(path, &dataset));
    let made = made.collect::<Result<Vec<Made>>>()?;
    let (report, fit) =
        settled([dataset.map()], || report_of(settings, &dataset, &made, &thresholds))?;
    Ok(Judged { report, fit, curve, has_folder: settings.report.is_some(), held })
}

/// The split that is judged: the one that is given, otherwise that for which all files were made.
fn split_of(args: &Judging, made: &[Made]) -> Result<Split> {
    let mut known = made.iter().filter_map(|made| Some((made.split()?, made.name())));
    let Some((first, name)) = known.next() else { return Ok(args.split.unwrap_or_default()) };
    let other = known.find(|(split, _)| *split != first);
    match (args.split, other) {
        (Some(split), _) => Ok(split),
        (None, None) => Ok(first),
        (None, Some((split, other))) => Err(Fault::Usage.error(format!(
            "setting `split`: {other}: expected predictions for split {first}, as {name}, got ones \
            for {split}; judge them apart"
        ))),
    }
}

/// Reads and judges the predictions against the data.
fn report_of(
    args: &Judging,
    dataset: &Dataset,
    made: &[Made],
    thresholds: &[Threshold],
) -> Result<(Report, Option<Fit>)> {
    let start = Instant::now();
    let truth = &Truth::of(dataset);
    let split = split_of(args, made)?;
    let rivals = rivals_of(args, truth)?;
    let reader = Reader::new(truth, split);
    let several = made.len() > 1;
    let (mut sheets, mut files, mut unfinished) = (Vec::new(), Vec::new(), Vec::new());
    for (made, name) in made.iter().zip(names(&args.predictions)) {
        let groups = made.groups(&reader)?;
        unfinished.extend(made.unfinished(&groups).map(|words| format!("{name}: {words}")));
        let users = args.users.unwrap_or_else(|| made.users());
        let (asked, templates) = (made.asked(users)?, made.templates());
        let mut called = if several { name.clone() } else { "predictions".to_owned() };
        if let Some(fused) = made.fused() {
            called = format!("{called}, {fused}");
        }
        let length_penalty = made.length_penalty();
        let both = made.both();
        sheets.push(Sheet { name: called, groups, users, asked, templates, length_penalty, both });
        files.push(Source {
            name,
            predictions: made.name(),
            users,
            made_by: made.words(),
            rank: made.rank(),
            settings: made.settings(),
        });
    }
    let joined = join(&mut sheets);
    let Some(first) = files.first().cloned() else {
        bail!(Fault::Usage.error("predictions: expected a file, got none; name one"))
    };
    let mut fit = None;
    if let (Some(run), true) = (&args.run, args.fit_prior) {
        let balanced = prior::find(&made[0], &sheets[0].groups, truth, dataset)?;
        fit = Some(Fit { run: run.clone(), balanced });
    }
    let groups = || sheets.iter().flat_map(|sheet| &sheet.groups);
    let options = Options {
        policy: args.policy,
        split,
        filter_history: args.filter_history,
        baselines: (!args.no_baselines).then(|| Wishes {
            category: args.category_weight,
            gamma: args.gamma,
            item_repr: args
                .item_repr
                .or_else(|| files.iter().find_map(|file| item_repr(&file.settings))),
            few: groups().any(|group| group.family.ranks() && group.family != Asked::Full),
            seed: args.seed,
        }),
        bootstrap: Bootstrap { resamples: args.resamples, seed: args.seed },
    };
    let kept = options.baselines.map(|wishes| Kept::of(dataset, wishes, split));
    let known = kept.as_ref().and_then(|kept| kept.read(truth, split));
    let (is_new, begun) = (known.is_none(), Instant::now());
    let mut findings = evaluate(truth, &sheets, &options, known);
    if let (Some(kept), Some(beside), true) = (&kept, &findings.beside, is_new) {
        if beside.is_complete(truth, split) {
            kept.write(beside, begun.elapsed());
        }
    }
    for (made, file) in made.iter().zip(&files) {
        let remark = made.remark(split);
        findings.warnings.extend(remark.map(|remark| match several {
            true => format!("{}: {remark}", file.name),
            false => remark,
        }));
    }
    findings.warnings.extend(joined);
    findings.warnings.extend(unfinished);
    findings.warnings.extend(reader.passed_over());
    findings.warnings.extend(rivals.as_ref().and_then(|rivals| other_data(rivals, truth)));
    let verdicts = verdicts(&findings.groups, thresholds)?;
    let report = Report {
        generator: GENERATOR,
        engine: env!("CARGO_PKG_VERSION"),
        predictions: first.predictions,
        data: Data {
            name: truth.name.into(),
            hash: format!("{:08x}", truth.hash),
            items: truth.items.len(),
            users: truth.users.len(),
        },
        split,
        policy: args.policy,
        filter_history: args.filter_history,
        users: first.users,
        seed: args.seed,
        resamples: args.resamples,
        made_by: first.made_by,
        settings: first.settings,
        files: if several { files } else { Vec::new() },
        groups: findings.groups,
        differences: findings.differences,
        spreads: findings.spreads,
        by_seen: findings.by_seen,
        rivals,
        baselines: findings.beside.map(|beside| beside.chosen),
        warnings: findings.warnings,
        broken: findings.broken,
        thresholds: verdicts,
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok((report, fit))
}

/// How large the data are, as tables of data sets count.
fn counts(truth: &Truth<'_>) -> published::Counts {
    let interactions = truth.users.iter().map(|user| user.items.len()).sum();
    published::Counts { users: truth.users.len(), items: truth.items.len(), interactions }
}

/// Whose published figures stand beside. Refuses data of which none are known.
fn rivals_of(args: &Judging, truth: &Truth<'_>) -> Result<Option<published::Beside>> {
    match args.rivals {
        Rivals::None => Ok(None),
        Rivals::Published => {
            let beside = Published::builtin().beside(args.rivals_of, truth.name, counts(truth))?;
            Ok(Some(beside))
        }
    }
}

/// That published figures are of data with other counts, where they are.
fn other_data(rivals: &published::Beside, truth: &Truth<'_>) -> Option<String> {
    let own = counts(truth);
    (rivals.counts != Some(own)).then(|| {
        let theirs = rivals.counts.map_or("that are not public".to_owned(), |c| format!("of {c}"));
        format!("the published figures are of data {theirs}, not of {own}")
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
                group: group.place(),
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

    /// Writes report.json, report.md, report.tex and report.html, each whole or not at all, where a
    /// folder for them was given; and what was found of model and prior.
    pub fn save(&self) -> Result<()> {
        self.fit.iter().try_for_each(Fit::save)?;
        if !self.has_folder {
            return Ok(());
        }
        let report = &self.report;
        let json = serde_json::to_string_pretty(report).context("report.json")? + "\n";
        let json = visible_json(&json).into_owned();
        let texts = [
            ("report.json", json),
            ("report.md", markdown::report(report)),
            ("report.tex", tex::report(report)),
            ("report.html", html::page(report, self.curve.as_ref())),
        ];
        for (name, text) in texts {
            let path = self.held.folder().join(name);
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

//! From predictions to a report.

pub use super::baseline::ItemRepr;
use super::baseline::{Beside, Place, Wishes};
use super::bootstrap::Bootstrap;
use super::grounding::normal;
use super::law;
use super::predictions::{self, Asked, Prediction};
pub use super::ranking::Users;
use super::ranking::{hit, ndcg, without_history, Policy, Scores};
use super::report::{Counts, Group, Kind, Metric, Metrics, Part, Placed, Row, Spread};
use super::text;
use super::truth::{Case, Day, Split, Truth};
use super::yes_no::TiedRank;
use crate::data::Family;
use std::collections::{HashMap, HashSet};

/// How to judge.
#[derive(Clone, Debug)]
pub struct Options {
    /// What becomes of invalid and repeated outputs.
    pub policy: Policy,
    /// Which event was to be predicted.
    pub split: Split,
    /// Whom the denominator counts.
    pub users: Users,
    /// The users that were asked, ascending; where that is known.
    pub asked: Vec<u32>,
    /// Whether the history's items are left out of every ranking (E15).
    pub filter_history: bool,
    /// `None` leaves the baselines out.
    pub baselines: Option<Wishes>,
    /// How often and from which seed intervals are drawn.
    pub bootstrap: Bootstrap,
}

/// What [`evaluate`] finds.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// One for each template of the predictions.
    pub groups: Vec<Group>,
    /// Over the templates of a task, where it has several.
    pub spreads: Vec<Spread>,
    /// What the baselines said, where they were asked.
    pub beside: Option<Beside>,
    /// What a reader should know before trusting a number.
    pub warnings: Vec<String>,
    /// Laws of arithmetic that a row breaks (E27): always our fault.
    pub broken: Vec<String>,
}

/// Computed metrics hold the laws up to rounding.
const TOLERANCE: f64 = 1e-9;

/// Judges every group of predictions, with baselines on the same users beside it.
/// `known` is what they said before; it must be of the same data, wishes and split.
pub fn evaluate(
    truth: &Truth<'_>,
    groups: &[predictions::Group],
    options: &Options,
    known: Option<Beside>,
) -> Findings {
    let listed = groups.iter().flat_map(|group| group.predictions.iter().map(|line| line.user));
    let mut users: Vec<u32> = match options.users {
        Users::All => (0..truth.users.len() as u32).collect(),
        Users::Listed | Users::Asked => listed.chain(options.asked.iter().copied()).collect(),
    };
    users.sort_unstable();
    users.dedup();
    let mut judge = Judge { truth, options, users, beside: known, findings: Findings::default() };
    for group in groups {
        let judged = if group.family.ranks() { judge.ranking(group) } else { judge.answers(group) };
        judge.check(&judged);
        judge.findings.groups.push(judged);
    }
    judge.findings.spreads = spreads(&judge.findings.groups);
    let missing = judge.beside.iter().flat_map(|beside| beside.missing.clone());
    judge.findings.warnings.extend(missing);
    judge.findings.beside = judge.beside;
    judge.findings
}

pub(super) struct Judge<'a> {
    pub(super) truth: &'a Truth<'a>,
    pub(super) options: &'a Options,
    /// Whom any group asks about.
    users: Vec<u32>,
    /// Found when the first ranking needs it.
    beside: Option<Beside>,
    findings: Findings,
}

/// Ranks that become one row: as they are, and with the history left out where that is another
/// question.
struct Ranks {
    ranks: Vec<Option<u32>>,
    unseen: Option<Vec<Option<u32>>>,
}

impl Judge<'_> {
    pub(super) fn warn(&mut self, group: &Group, words: String) {
        self.findings.warnings.push(format!("{}: {words}", group.title()));
    }

    /// The ranking families: the predictions under every policy, apart by day, beside the
    /// baselines.
    fn ranking(&mut self, group: &predictions::Group) -> Group {
        let options = self.options;
        let of_user: HashMap<u32, &Prediction> =
            group.predictions.iter().map(|p| (p.user, p)).collect();
        let mut cases: Vec<Case<'_>> = Vec::new();
        let mut lines: Vec<Option<&Prediction>> = Vec::new();
        for (user, u) in self.truth.users.iter().zip(0..) {
            let line = of_user.get(&u).copied();
            let counts = match options.users {
                Users::All => true,
                Users::Listed => line.is_some(),
                Users::Asked => line.is_some() || options.asked.binary_search(&u).is_ok(),
            };
            if let (Some(case), true) = (user.case(u, options.split), counts) {
                cases.push(case);
                lines.push(line);
            }
        }
        let counts = counts(group, &cases, &lines);
        let mut result = Group {
            task: group.task,
            template: group.template.clone(),
            family: group.family,
            n: cases.len(),
            counts,
            rows: Vec::new(),
            places: Vec::new(),
        };

        let ranks_of = |rank: &dyn Fn(&Prediction, &Case<'_>, bool) -> Option<u32>| {
            let all = |filter: bool| {
                let line = |(line, case): (&Option<&Prediction>, &Case<'_>)| {
                    line.filter(|line| !line.failed).and_then(|line| rank(line, case, filter))
                };
                lines.iter().zip(&cases).map(line).collect::<Vec<_>>()
            };
            // Negatives never were in the history, so leaving it out changes nothing there.
            let unseen =
                (group.family == Asked::Full && !options.filter_history).then(|| all(true));
            Ranks { ranks: all(options.filter_history), unseen }
        };
        let by_policy = |policy: Policy| {
            ranks_of(&|line, case, filter| match group.family {
                Asked::YesNo => yes_no(line, case.target).map(TiedRank::pessimistic),
                _ if filter => {
                    policy.rank(&without_history(&items(line), case.history), case.target)
                }
                _ => policy.rank(&items(line), case.target),
            })
        };
        let main = by_policy(options.policy);
        let all = cases.iter().zip(&lines).zip(&main.ranks);
        result.places = all.map(|((case, line), &rank)| placed(case, *line, rank)).collect();
        self.push(&mut result, "predictions", Kind::Model, &main, &cases);
        if group.family == Asked::YesNo {
            let row = self.expected(&lines, &cases);
            result.rows.push(row);
        } else {
            for policy in Policy::ALL.into_iter().filter(|&policy| policy != options.policy) {
                let ranks = by_policy(policy);
                self.variant(
                    &mut result,
                    &format!("predictions, policy {}", policy.name()),
                    &ranks,
                    &main,
                    &cases,
                );
            }
            let shown = lines.iter().flatten().flat_map(|line| &line.slots).flatten();
            let asked = cases.iter().map(|case| case.target);
            let classes = title_classes(self.truth, shown.copied().chain(asked));
            let by_title = ranks_of(&|line, case, _| title_rank(line, &classes, case.target));
            let by_title = Ranks { ranks: by_title.ranks, unseen: None };
            self.variant(&mut result, "predictions, right title", &by_title, &main, &cases);
        }
        self.beside(&mut result, &cases);
        self.remark(&result);
        result
    }

    /// Adds rows for all users and, where days are known, for both kinds of days.
    fn push(&self, group: &mut Group, method: &str, kind: Kind, ranks: &Ranks, cases: &[Case<'_>]) {
        for (part, day) in [
            (Part::All, None),
            (Part::SameDay, Some(Day::Same)),
            (Part::LaterDay, Some(Day::Later)),
        ] {
            let chosen: Vec<usize> =
                (0..cases.len()).filter(|&i| day.is_none_or(|day| cases[i].day == day)).collect();
            let apart = group.task == Family::Sequential
                && cases.iter().any(|case| case.day != Day::Unknown);
            if part == Part::All || (apart && !chosen.is_empty() && kind != Kind::Variant) {
                group.rows.push(self.row(method, kind, part, ranks, &chosen));
            }
        }
    }

    /// Adds the row of another way of counting, if it counts differently.
    fn variant(
        &self,
        group: &mut Group,
        method: &str,
        ranks: &Ranks,
        main: &Ranks,
        cases: &[Case<'_>],
    ) {
        if ranks.ranks != main.ranks {
            self.push(group, method, Kind::Variant, ranks, cases);
        }
    }

    fn row(&self, method: &str, kind: Kind, part: Part, ranks: &Ranks, chosen: &[usize]) -> Row {
        const WIDTH: usize = 8;
        const NAMES: [&str; WIDTH] =
            ["hr@1", "hr@5", "ndcg@5", "hr@10", "ndcg@10", "mrr", "hr@10 f", "ndcg@10 f"];
        let mut rows = Vec::with_capacity(chosen.len() * WIDTH);
        for &i in chosen {
            rows.extend(Scores::of_user(ranks.ranks[i]));
            let unseen = ranks.unseen.as_ref().map_or(ranks.ranks[i], |unseen| unseen[i]);
            rows.extend([hit(unseen, 10), ndcg(unseen, 10)]);
        }
        let mut metrics = self.means(&rows, NAMES);
        if ranks.unseen.is_none() {
            metrics.0.truncate(Scores::NAMES.len());
        }
        Row { method: method.into(), kind, part, n: chosen.len(), metrics }
    }

    /// Means of the columns of `rows`, with intervals.
    fn means<const W: usize>(&self, rows: &[f64], names: [&'static str; W]) -> Metrics {
        let means = |sums: &[f64], n: usize| -> [f64; W] {
            std::array::from_fn(|i| sums[i] / n.max(1) as f64)
        };
        self.metrics(rows, names, W, means)
    }

    /// `statistic(sums, n)` of rows of `width` numbers, with intervals.
    pub(super) fn metrics<const M: usize>(
        &self,
        rows: &[f64],
        names: [&'static str; M],
        width: usize,
        statistic: impl Fn(&[f64], usize) -> [f64; M] + Sync,
    ) -> Metrics {
        let mut sums = vec![0.0; width];
        for row in rows.chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let values = statistic(&sums, rows.len() / width);
        let intervals = self.options.bootstrap.intervals(rows, width, statistic);
        let metrics =
            values.into_iter().zip(intervals).map(|(value, interval)| Metric::new(value, interval));
        Metrics(names.into_iter().zip(metrics).collect())
    }

    /// The yes/no ranking with ties broken at random, in expectation.
    fn expected(&self, lines: &[Option<&Prediction>], cases: &[Case<'_>]) -> Row {
        let mut rows = Vec::with_capacity(cases.len() * Scores::NAMES.len());
        for (line, case) in lines.iter().zip(cases) {
            let rank = line.filter(|line| !line.failed).and_then(|line| yes_no(line, case.target));
            let value =
                |i: usize| rank.map_or(0.0, |rank| rank.expected(|rank| Scores::of_user(rank)[i]));
            rows.extend((0..Scores::NAMES.len()).map(value));
        }
        let metrics = self.means(&rows, Scores::NAMES);
        let method = "predictions, ties at random".into();
        Row { method, kind: Kind::Variant, part: Part::All, n: cases.len(), metrics }
    }

    /// The baselines' rows on the same cases.
    fn beside(&mut self, group: &mut Group, cases: &[Case<'_>]) {
        let Some(wishes) = self.options.baselines else { return };
        let fit = || Beside::fit(self.truth, wishes, self.options.split, &self.users);
        let beside = self.beside.take().unwrap_or_else(fit);
        let full = group.family == Asked::Full;
        for row in beside.rows.iter().filter(|row| !(full && row.few)) {
            let of = |place: fn(&Place) -> Option<u32>| {
                let places = cases.iter().map(|case| row.places[case.user as usize]);
                places.map(|p| place(&p.expect("all were asked about"))).collect::<Vec<_>>()
            };
            let ranks = match (group.family, self.options.filter_history) {
                (Asked::Full, false) => {
                    Ranks { ranks: of(|p| Some(p.all)), unseen: Some(of(|p| p.unseen)) }
                }
                (Asked::Full, true) => Ranks { ranks: of(|p| p.unseen), unseen: None },
                _ => Ranks { ranks: of(|p| Some(p.sampled)), unseen: None },
            };
            let kind = if row.probe { Kind::Probe } else { Kind::Baseline };
            self.push(group, &row.name, kind, &ranks, cases);
        }
        self.beside = Some(beside);
    }

    /// What a reader of a ranking table should know before believing it.
    fn remark(&mut self, group: &Group) {
        let Counts { missing, failed, outside, short, lines, cut, .. } = group.counts;
        if missing > 0 {
            self.warn(
                group,
                format!("{missing} of {} users have no prediction and count as misses", group.n),
            );
        }
        if failed > 0 {
            self.warn(group, format!("{failed} of {lines} lines are errors and count as misses"));
        }
        if short > 0 {
            self.warn(
                group,
                format!("{short} of {lines} lists are shorter than 10, which bounds HR@10"),
            );
        }
        if !cut.is_nothing() {
            self.warn(group, format!("of {lines} prompts, {cut}"));
        }
        if outside > 0 {
            self.warn(group, format!("{outside} outputs are not among the stored candidates"));
        }
        let value = |kind: Kind, name: &str| {
            let row = group.part(Part::All).find(|row| row.kind == kind);
            row.map(|row| row.metrics.value(name))
        };
        let (model, popular) = (value(Kind::Model, "hr@10"), value(Kind::Baseline, "hr@10"));
        if let (Some(model), Some(popular)) = (model, popular) {
            if model <= popular {
                self.warn(
                    group,
                    format!("HR@10 {model:.4} does not beat popularity, {popular:.4}"),
                );
            }
        }
        if let (Some(probe), Some(popular)) = (value(Kind::Probe, "hr@10"), popular) {
            if probe > 2.0 * popular {
                let words = "ids give the next item away: counting up reaches HR@10";
                self.warn(
                    group,
                    format!("{words} {probe:.4}, popularity {popular:.4}; number the items anew"),
                );
            }
        }
    }

    /// Holds every row against the laws of arithmetic (E27).
    fn check(&mut self, group: &Group) {
        for row in &group.rows {
            let value = |name: &str| row.metrics.value(name);
            let mut broken = Vec::new();
            if row.metrics.get("hr@1").is_some() {
                let [hr1, hr5, ndcg5, hr10, ndcg10, mrr] = Scores::NAMES.map(value);
                let scores = Scores { hr1, hr5, hr10, ndcg5, ndcg10, mrr, n: row.n };
                broken.extend(law::of_ranking(&scores, TOLERANCE));
            }
            if row.metrics.get("rmse").is_some() {
                broken.extend(law::of_errors(value("rmse"), value("mae"), TOLERANCE));
            }
            if row.metrics.get("bleu-4").is_some() {
                broken.extend(law::of_text(&text::NAMES.map(value)));
                // True in practice but no theorem, hence a warning.
                if value("rouge-l") > value("rouge-1") + TOLERANCE {
                    let words = format!(
                        "ROUGE-L {:.4} above ROUGE-1 {:.4}",
                        value("rouge-l"),
                        value("rouge-1")
                    );
                    self.findings
                        .warnings
                        .push(format!("{}: {words}, which is rare", group.title()));
                }
            }
            let place = format!("{}, {}, {}", group.title(), row.method, row.part.name());
            self.findings.broken.extend(broken.into_iter().map(|law| format!("{place}: {law}")));
        }
    }
}

fn placed(case: &Case<'_>, line: Option<&Prediction>, rank: Option<u32>) -> Placed {
    let slots = line.map_or(&[][..], |line| &line.slots);
    let valid = slots.iter().filter(|slot| !slot.is_empty()).count() as u32;
    Placed { user: case.user, rank, outputs: slots.len() as u32, valid }
}

/// The outputs as one list of items.
fn items(line: &Prediction) -> Vec<Option<u32>> {
    let mut list = Vec::with_capacity(line.slots.len());
    for slot in &line.slots {
        match slot.as_slice() {
            [] => list.push(None),
            items => list.extend(items.iter().copied().map(Some)),
        }
    }
    list
}

/// Where the target stands by score; `None` if it was not scored.
fn yes_no(line: &Prediction, target: u32) -> Option<TiedRank> {
    let positive = line.slots.iter().position(|slot| slot.contains(&target))?;
    let scored = !line.scores[positive].is_nan();
    scored.then(|| TiedRank::of(&line.scores, positive))
}

/// A number for the title of each of these items: equal for items that no title tells apart.
fn title_classes(truth: &Truth<'_>, items: impl Iterator<Item = u32>) -> HashMap<u32, u32> {
    let (mut classes, mut of_item) = (HashMap::<String, u32>::new(), HashMap::new());
    for number in items {
        let class = || {
            let item = &truth.items[number as usize];
            let title = if item.title.is_empty() { item.surface } else { item.title };
            let next = classes.len() as u32;
            *classes.entry(normal(title)).or_insert(next)
        };
        of_item.entry(number).or_insert_with(class);
    }
    of_item
}

/// Place of the first output that bears the target's title (E16), outputs of one title counted
/// once.
fn title_rank(line: &Prediction, classes: &HashMap<u32, u32>, target: u32) -> Option<u32> {
    let class = |slot: &Vec<u32>| slot.first().map(|item| classes[item]);
    let outputs: Vec<Option<u32>> = line.slots.iter().map(class).collect();
    Policy::Strict.rank(&outputs, classes[&target])
}

fn counts(group: &predictions::Group, cases: &[Case<'_>], lines: &[Option<&Prediction>]) -> Counts {
    let mut counts = Counts { lines: group.predictions.len(), ..Counts::default() };
    for (line, case) in lines.iter().zip(cases) {
        counts.again += usize::from(case.history.contains(&case.target));
        let Some(line) = line else {
            counts.missing += 1;
            continue;
        };
        counts.seconds += line.seconds;
        counts.cut += line.cut;
        counts.failed += usize::from(line.failed);
        counts.outputs += line.slots.len();
        counts.invalid += line.slots.iter().filter(|slot| slot.is_empty()).count();
        let mut seen = HashSet::new();
        counts.repeated +=
            line.slots.iter().filter(|slot| !slot.is_empty() && !seen.insert(*slot)).count();
        counts.short += usize::from(!line.failed && line.slots.len() < 10);
        if group.family != Asked::Full {
            let candidate = |item: &u32| *item == case.target || case.negatives.contains(item);
            counts.outside += line.slots.iter().flatten().filter(|item| !candidate(item)).count();
        }
    }
    counts
}

/// Mean, least and greatest of the main rows of tasks with several templates.
fn spreads(groups: &[Group]) -> Vec<Spread> {
    let mut spreads = Vec::new();
    let mut tasks: Vec<(Family, Asked)> = Vec::new();
    for group in groups {
        if !tasks.contains(&(group.task, group.family)) {
            tasks.push((group.task, group.family));
        }
    }
    for (task, family) in tasks {
        let of_task =
            || groups.iter().filter(move |group| group.task == task && group.family == family);
        let rows: Vec<&Row> = of_task().filter_map(Group::main).collect();
        if rows.len() < 2 {
            continue;
        }
        for &(metric, _) in &rows[0].metrics.0 {
            let values: Vec<f64> = rows.iter().map(|row| row.metrics.value(metric)).collect();
            spreads.push(Spread {
                task,
                metric,
                templates: values.len(),
                mean: values.iter().sum::<f64>() / values.len() as f64,
                min: values.iter().copied().fold(f64::INFINITY, f64::min),
                max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            });
        }
    }
    spreads
}

//! From predictions to a report.

pub use super::baseline::ItemRepr;
use super::baseline::{Beside, Place, Wishes};
use super::bootstrap::Bootstrap;
use super::grounding::normal;
use super::paired::{differences, Measure, Measured};
use super::predictions::{self, Asked, Prediction};
pub use super::ranking::Users;
use super::ranking::{hit, ndcg, without_history, Policy, Scores};
use super::report::{means, Counts, Difference, Group, Kind, Metrics, Part, Placed, Row, Spread};
pub use super::sheet::Sheet;
use super::truth::{Case, Day, Split, Truth};
use super::yes_no::TiedRank;
use super::{checks, spread};
use crate::data::Family;
use std::collections::{HashMap, HashSet};

/// How to judge.
#[derive(Clone, Debug)]
pub struct Options {
    /// What becomes of invalid and repeated outputs.
    pub policy: Policy,
    /// Which event was to be predicted.
    pub split: Split,
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
    /// One for each template of each file.
    pub groups: Vec<Group>,
    /// What the other files have over the first that answers the same.
    pub differences: Vec<Difference>,
    /// Over the templates of a task, where it has several.
    pub spreads: Vec<Spread>,
    /// The same of seen and of held-out templates apart, where a task has both.
    pub by_seen: Vec<Spread>,
    /// What the baselines said, where they were asked.
    pub beside: Option<Beside>,
    /// What a reader should know before trusting a number.
    pub warnings: Vec<String>,
    /// Laws of arithmetic that a row breaks (E27): always our fault.
    pub broken: Vec<String>,
}

/// Judges every group of every file, with baselines on the same users beside it.
/// `known` is what they said before; it must be of the same data, wishes and split.
pub fn evaluate(
    truth: &Truth<'_>,
    sheets: &[Sheet],
    options: &Options,
    known: Option<Beside>,
) -> Findings {
    let mut users: Vec<u32> = sheets.iter().flat_map(|sheet| sheet.counted(truth)).collect();
    users.sort_unstable();
    users.dedup();
    let (beside, findings) = (known, Findings::default());
    let (ranked, measured) = (Vec::new(), Vec::new());
    let Some(sheet) = sheets.first() else { return findings };
    let several = sheets.len() > 1;
    let mut judge =
        Judge { truth, options, sheet, several, users, beside, ranked, measured, findings };
    for sheet in sheets {
        judge.sheet = sheet;
        for group in &sheet.groups {
            let judged =
                if group.family.ranks() { judge.ranking(group) } else { judge.answers(group) };
            judge.check(&judged);
            judge.findings.groups.push(judged);
        }
    }
    let mut findings = judge.findings;
    findings.spreads = spread::over_all(&findings.groups);
    findings.by_seen = spread::by_seen(&findings.groups);
    if several {
        findings.differences = differences(&judge.measured, options.bootstrap);
    }
    let missing = judge.beside.iter().flat_map(|beside| beside.missing.clone());
    findings.warnings.extend(missing);
    findings.beside = judge.beside;
    findings
}

pub(super) struct Judge<'a> {
    pub(super) truth: &'a Truth<'a>,
    pub(super) options: &'a Options,
    /// The file that is judged.
    pub(super) sheet: &'a Sheet,
    /// Whether it is one of several.
    several: bool,
    /// Whom any group asks about.
    users: Vec<u32>,
    /// Found when the first ranking needs it.
    beside: Option<Beside>,
    /// The baselines' rows, by whom they were asked about.
    ranked: Vec<Ranked>,
    /// The rows of predictions before they were summed up, where another file may be compared.
    measured: Vec<Measured>,
    findings: Findings,
}

/// The baselines' rows on the cases of these users.
struct Ranked {
    asked: (Family, Asked, Vec<u32>),
    rows: Vec<Row>,
}

/// Ranks that become one row: as they are, and with the history left out where that is another
/// question.
struct Ranks {
    ranks: Vec<Option<u32>>,
    unseen: Option<Vec<Option<u32>>>,
}

impl Judge<'_> {
    pub(super) fn warn(&mut self, group: &Group, words: String) {
        self.findings.warnings.push(format!("{}: {words}", group.place()));
    }

    /// Keeps a row before it is summed up, where another file may be compared with it.
    pub(super) fn keep(&mut self, measured: Measured) {
        self.measured.extend(self.several.then_some(measured));
    }

    /// The tables of a group, still without rows.
    pub(super) fn begun(&self, group: &predictions::Group, n: usize, counts: Counts) -> Group {
        Group {
            task: group.task,
            template: group.template.clone(),
            seen: self.sheet.seen(&group.template),
            file: self.several.then(|| self.sheet.name.clone()),
            family: group.family,
            n,
            counts,
            rows: Vec::new(),
            places: Vec::new(),
        }
    }

    /// The ranking families: the predictions under every policy, apart by day, beside the
    /// baselines.
    fn ranking(&mut self, group: &predictions::Group) -> Group {
        let (options, sheet) = (self.options, self.sheet);
        let name = &*sheet.name;
        let of_user: HashMap<u32, &Prediction> =
            group.predictions.iter().map(|p| (p.user, p)).collect();
        let mut cases: Vec<Case<'_>> = Vec::new();
        let mut lines: Vec<Option<&Prediction>> = Vec::new();
        for (user, u) in self.truth.users.iter().zip(0..) {
            let line = of_user.get(&u).copied();
            let counts = match sheet.users {
                Users::All => true,
                Users::Listed => line.is_some(),
                Users::Asked => line.is_some() || sheet.asked.binary_search(&u).is_ok(),
            };
            if let (Some(case), true) = (user.case(u, options.split), counts) {
                cases.push(case);
                lines.push(line);
            }
        }
        let counts = counts(group, &cases, &lines);
        let mut result = self.begun(group, cases.len(), counts);

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
        self.push(&mut result, name, Kind::Model, &main, &cases);
        let questions = cases.iter().map(|case| (case.user, case.target)).collect();
        let rows = main.ranks.iter().flat_map(|rank| Scores::of_user(*rank)).collect();
        self.keep(Measured::new(&result, name, Measure::Ranking, questions, rows));
        if group.family == Asked::YesNo {
            let row = self.expected(&lines, &cases);
            result.rows.push(row);
        } else {
            for policy in Policy::ALL.into_iter().filter(|&policy| policy != options.policy) {
                let ranks = by_policy(policy);
                self.variant(
                    &mut result,
                    &format!("{name}, policy {}", policy.name()),
                    &ranks,
                    &main,
                    &cases,
                );
            }
            let made = sheet.length_penalty.filter(|_| group.family == Asked::Full);
            for other in
                [0.0, 1.0].into_iter().filter(|other| made.is_some_and(|made| made != *other))
            {
                let ranks = ranks_of(&|line, case, filter| {
                    let list = by_penalty(line, made.expect("it was asked for"), other);
                    match filter {
                        true => {
                            options.policy.rank(&without_history(&list, case.history), case.target)
                        }
                        false => options.policy.rank(&list, case.target),
                    }
                });
                let method = format!("{name}, length penalty {other}");
                self.variant(&mut result, &method, &ranks, &main, &cases);
            }
            let shown = lines.iter().flatten().flat_map(|line| &line.slots).flatten();
            let asked = cases.iter().map(|case| case.target);
            let classes = title_classes(self.truth, shown.copied().chain(asked));
            let by_title = ranks_of(&|line, case, _| title_rank(line, &classes, case.target));
            let by_title = Ranks { ranks: by_title.ranks, unseen: None };
            let method = format!("{name}, right title");
            self.variant(&mut result, &method, &by_title, &main, &cases);
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
        Metrics::of_rows(rows, width, names, self.options.bootstrap, statistic)
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
        let method = format!("{}, ties at random", self.sheet.name);
        Row { method, kind: Kind::Variant, part: Part::All, n: cases.len(), metrics }
    }

    /// The baselines' rows on the same cases.
    fn beside(&mut self, group: &mut Group, cases: &[Case<'_>]) {
        let Some(wishes) = self.options.baselines else { return };
        let users = cases.iter().map(|case| case.user).collect();
        let asked = (group.task, group.family, users);
        if let Some(known) = self.ranked.iter().find(|known| known.asked == asked) {
            group.rows.extend_from_slice(&known.rows);
            return;
        }
        let own = group.rows.len();
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
        self.ranked.push(Ranked { asked, rows: group.rows[own..].to_vec() });
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
            let rare = checks::rare(row).map(|rare| format!("{}: {rare}", group.place()));
            self.findings.warnings.extend(rare);
            let place = format!("{}, {}, {}", group.place(), row.method, row.part.name());
            let broken = checks::broken(row).into_iter().map(|law| format!("{place}: {law}"));
            self.findings.broken.extend(broken);
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

/// The outputs as one list of items, by sum / length^`other` where they stand by
/// sum / length^`made` (E13); equal ones keep their order, and so do those without a length.
fn by_penalty(line: &Prediction, made: f64, other: f64) -> Vec<Option<u32>> {
    let score = |at: usize| {
        let length = f64::from(line.lengths[at].max(1));
        f64::from(line.scores[at]) * length.powf(made - other)
    };
    let mut order: Vec<usize> = (0..line.slots.len()).collect();
    if line.lengths.iter().all(|&length| length > 0) {
        order.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
    }
    let slots = order.into_iter().map(|at| line.slots[at].clone()).collect();
    items(&Prediction { slots, ..line.clone() })
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

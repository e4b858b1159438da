//! From predictions to a report.

use super::alone::Alone;
pub use super::baseline::ItemRepr;
use super::baseline::{Beside, Place, Wishes};
use super::bootstrap::Bootstrap;
use super::lists::{by_penalty, counts, first, items, placed, title_classes, title_rank, yes_no};
use super::overlap::{overlaps, Own};
use super::paired::{differences, Measure, Measured};
use super::part::{Part, Training};
use super::predictions::{self, Asked, Prediction};
pub use super::ranking::Users;
use super::ranking::{hit, ndcg, without_history, Policy, Scores};
use super::report::{means, Counts, Difference, Group, Kind, Metric, Metrics, Row, Spread};
pub use super::sheet::Sheet;
use super::truth::{Case, Day, Split, Truth};
use super::yes_no::TiedRank;
use super::{checks, spread};
use crate::data::Family;
use std::collections::HashMap;

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
    /// What a model and a prior have over the prior alone, and the other files over the first that
    /// answers the same.
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
    let (ranked, measured, training) = (Vec::new(), Vec::new(), None);
    let Some(sheet) = sheets.first() else { return findings };
    let several = sheets.len() > 1;
    let mut judge = Judge {
        truth,
        options,
        sheet,
        several,
        users,
        beside,
        training,
        ranked,
        measured,
        findings,
    };
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
        findings.differences.extend(differences(&judge.measured, options.bootstrap));
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
    /// Found when the first ranking of the catalogue needs it.
    training: Option<Training>,
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

/// The users of a part, as places among the cases.
type Covered = Vec<(Part, Vec<usize>)>;

/// Ranks that become one row: as they are, and with the history left out where that is another
/// question.
struct Ranks {
    ranks: Vec<Option<u32>>,
    unseen: Option<Vec<Option<u32>>>,
}

/// What becomes a row, or one for each part.
struct Method<'a> {
    name: &'a str,
    kind: Kind,
    ranks: &'a Ranks,
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
            overlaps: Vec::new(),
            answered: Vec::new(),
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
        result.answered = all.map(|((case, line), &rank)| placed(case, *line, rank)).collect();
        let covered = self.covered(&result, &cases);
        self.push(&mut result, &[Method { name, kind: Kind::Model, ranks: &main }], &covered);
        let questions = cases.iter().map(|case| (case.user, case.target)).collect();
        let rows = main.ranks.iter().flat_map(|rank| Scores::of_user(*rank)).collect();
        let own = Measured::new(&result, name, Measure::Ranking, questions, rows);
        if sheet.both && group.family == Asked::Full {
            for alone in Alone::BOTH {
                let ranks = ranks_of(&|line, case, filter| {
                    let list = alone.ranked(line, self.truth);
                    let left_out = if filter { case.history } else { &[] };
                    options.policy.rank(&without_history(&list, left_out), case.target)
                });
                let method = format!("{name}, {}", alone.name());
                let kind = match alone {
                    Alone::Model => Kind::Model,
                    Alone::Prior => Kind::Baseline,
                };
                self.push(&mut result, &[Method { name: &method, kind, ranks: &ranks }], &covered);
                if matches!(alone, Alone::Prior) {
                    self.over(&own, &method, &ranks, &covered);
                }
            }
        }
        self.keep(own);
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
                    &covered,
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
                self.variant(&mut result, &method, &ranks, &main, &covered);
            }
            let shown = lines.iter().flatten().flat_map(|line| &line.slots).flatten();
            let asked = cases.iter().map(|case| case.target);
            let classes = title_classes(self.truth, shown.copied().chain(asked));
            let by_title = ranks_of(&|line, case, _| title_rank(line, &classes, case.target));
            let by_title = Ranks { ranks: by_title.ranks, unseen: None };
            let method = format!("{name}, right title");
            self.variant(&mut result, &method, &by_title, &main, &covered);
        }
        self.beside(&mut result, &cases, &covered);
        if group.family == Asked::Full {
            let (ranks, filter_history) = (&*main.ranks, options.filter_history);
            let first = |(line, case): (&Option<&Prediction>, &Case<'_>)| {
                let list = line.filter(|line| !line.failed).map(items).unwrap_or_default();
                first(options.policy, &list, if filter_history { case.history } else { &[] })
            };
            let lists = lines.iter().zip(&cases).map(first).collect();
            let own = Own { method: name, cases: &cases, lists, ranks, filter_history };
            let beside = self.beside.iter().flat_map(|beside| &beside.rows);
            result.overlaps = overlaps(&own, beside, options.bootstrap);
        }
        self.remark(&result);
        result
    }

    /// All cases, and where the next item is asked for, those of each part that has any: by day
    /// where days are known, and of the catalogue by what training may see of them.
    fn covered(&mut self, group: &Group, cases: &[Case<'_>]) -> Covered {
        let mut covered = vec![(Part::All, (0..cases.len()).collect())];
        if group.task != Family::Sequential {
            return covered;
        }
        let mut parts: Vec<Vec<Part>> = vec![Vec::new(); cases.len()];
        if cases.iter().any(|case| case.day != Day::Unknown) {
            parts.iter_mut().zip(cases).for_each(|(own, case)| own.push(Part::of_day(case.day)));
        }
        if group.family == Asked::Full {
            let (truth, split, users) = (self.truth, self.options.split, &self.users);
            let training = self.training.get_or_insert_with(|| Training::of(truth, split, users));
            let known = parts.iter_mut().zip(cases);
            known.for_each(|(own, case)| own.extend(training.parts(case)));
        }
        for part in Part::DIVISIONS.into_iter().flatten() {
            let chosen = (0..cases.len()).filter(|&i| parts[i].contains(part));
            let chosen: Vec<usize> = chosen.collect();
            covered.extend((!chosen.is_empty()).then_some((*part, chosen)));
        }
        covered
    }

    /// What a row has over another of the same questions: of all, and apart by day.
    fn over(&mut self, own: &Measured, method: &str, ranks: &Ranks, covered: &Covered) {
        let by_day = |part: &Part| matches!(part, Part::All | Part::SameDay | Part::LaterDay);
        for (part, chosen) in covered.iter().filter(|(part, _)| by_day(part)) {
            let group = match part {
                Part::All => own.group.clone(),
                part => format!("{}, {}", own.group, part.name()),
            };
            let (method, measure) = (method.to_owned(), own.measure);
            let questions = chosen.iter().map(|&i| own.questions[i]).collect();
            let of_rank = |&i: &usize| Scores::of_user(ranks.ranks[i]);
            let rows = chosen.iter().flat_map(of_rank).collect();
            let first = Measured { group, method, measure, questions, rows };
            self.findings.differences.extend(own.over(&first, self.options.bootstrap));
        }
    }

    /// Adds the rows of methods for all users and, but of variants, for each part of them.
    fn push(&self, group: &mut Group, methods: &[Method<'_>], covered: &Covered) {
        for (part, chosen) in covered {
            let takes = |method: &&Method<'_>| *part == Part::All || method.kind != Kind::Variant;
            let methods: Vec<&Method<'_>> = methods.iter().filter(takes).collect();
            match part.has_all_metrics() {
                true => group.rows.extend(methods.iter().map(|one| self.row(one, *part, chosen))),
                false => group.rows.extend(self.hits(&methods, *part, chosen)),
            }
        }
    }

    /// The rows of a part that has hits alone; intervals are drawn once for all methods.
    fn hits(&self, methods: &[&Method<'_>], part: Part, chosen: &[usize]) -> Vec<Row> {
        const NAMES: [&str; 2] = ["hr@10", "ndcg@10"];
        let of_rank = |rank: Option<u32>| [hit(rank, 10), ndcg(rank, 10)];
        let of_case = |&i: &usize| methods.iter().flat_map(move |m| of_rank(m.ranks.ranks[i]));
        let rows: Vec<f64> = chosen.iter().flat_map(of_case).collect();
        let width = NAMES.len() * methods.len();
        let metrics = Metrics::of_columns(&rows, width, self.options.bootstrap);
        let row = |(method, own): (&&Method<'_>, &[Metric])| {
            let metrics = Metrics(NAMES.into_iter().zip(own.iter().cloned()).collect());
            Row { method: method.name.into(), kind: method.kind, part, n: chosen.len(), metrics }
        };
        methods.iter().zip(metrics.chunks(NAMES.len())).map(row).collect()
    }

    /// Adds the row of another way of counting, if it counts differently.
    fn variant(
        &self,
        group: &mut Group,
        method: &str,
        ranks: &Ranks,
        main: &Ranks,
        covered: &Covered,
    ) {
        if ranks.ranks != main.ranks {
            self.push(group, &[Method { name: method, kind: Kind::Variant, ranks }], covered);
        }
    }

    fn row(&self, method: &Method<'_>, part: Part, chosen: &[usize]) -> Row {
        const WIDTH: usize = 8;
        const NAMES: [&str; WIDTH] =
            ["hr@1", "hr@5", "ndcg@5", "hr@10", "ndcg@10", "mrr@10", "hr@10 f", "ndcg@10 f"];
        let Method { name, kind, ranks } = *method;
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
        Row { method: name.into(), kind, part, n: chosen.len(), metrics }
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
    fn beside(&mut self, group: &mut Group, cases: &[Case<'_>], covered: &Covered) {
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
        let rows = beside.rows.iter().filter(|row| !(full && row.few));
        let ranks = rows.clone().map(|row| {
            let of = |place: &dyn Fn(Place) -> Option<u32>| {
                let places = cases.iter().map(|case| row.places[case.user as usize]);
                places.map(|p| place(p.expect("all were asked about"))).collect::<Vec<_>>()
            };
            let filter_history = self.options.filter_history;
            match group.family {
                Asked::Full => Ranks {
                    ranks: of(&|p| p.in_full(filter_history)),
                    unseen: (!filter_history).then(|| of(&|p| p.unseen)),
                },
                _ => Ranks { ranks: of(&|p| Some(p.sampled)), unseen: None },
            }
        });
        let ranks: Vec<Ranks> = ranks.collect();
        let methods = rows.zip(&ranks).map(|(row, ranks)| {
            let kind = if row.probe { Kind::Probe } else { Kind::Baseline };
            Method { name: &row.name, kind, ranks }
        });
        self.push(group, &methods.collect::<Vec<_>>(), covered);
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

//! Judges answers that are stars or prose (E18–E23).

use super::evaluation::Judge;
use super::paired::{Measure, Measured};
use super::predictions::{self, Asked, Prediction};
use super::report::{Counts, Group, Kind, Metric, Metrics, Part, Row};
use super::score::{Answered, Written};
use super::truth::{Truth, User};
use super::{rating, text};
use crate::data::rank::ratings::{Leanings, Rated, Rater, RatingFactors, RatingSettings};
use crate::data::records::Part as Learnt;
use std::collections::HashSet;

/// What a model without a parsable answer is given where not even a mean is known: the middle of
/// the scale.
const MIDDLE: f64 = 3.0;

impl Judge<'_> {
    /// The tables of a group of [`Asked::Stars`], [`Asked::ReviewStars`], [`Asked::Text`] or
    /// both.
    ///
    /// The denominator is the lines of the file, printed as n: which records are asked is the
    /// file's choice (E20).
    pub(super) fn answers(&mut self, group: &predictions::Group) -> Group {
        let lines = &group.predictions;
        let mut counts = Counts { lines: lines.len(), ..Counts::default() };
        for line in lines {
            counts.failed += usize::from(line.failed);
            counts.seconds += line.seconds;
            counts.cut += line.cut;
        }
        let mut result = self.begun(group, 0, counts);
        let questions = lines.iter().map(|line| Answered::question(line.user, line.item));
        result.answered = questions.collect();
        if group.family.has_stars() {
            self.stars(group, &mut result);
        }
        if group.family.has_text() {
            self.prose(group, &mut result);
        }
        result.answered.sort_by_key(|answered| (answered.user, answered.item));
        let Counts { unknown, failed, lines, cut, .. } = result.counts;
        if unknown > 0 {
            self.warn(
                &result,
                format!("{unknown} of {lines} lines have no rating in the data and are left out"),
            );
        }
        if failed > 0 {
            self.warn(
                &result,
                format!("{failed} of {lines} lines are errors and count as empty answers"),
            );
        }
        if !cut.is_nothing() {
            self.warn(&result, format!("of {lines} prompts, {cut}"));
        }
        result
    }

    fn stars(&mut self, group: &predictions::Group, result: &mut Group) {
        let asked: HashSet<(u32, u32)> =
            group.predictions.iter().map(|p| (p.user, p.item)).collect();
        let seen = training_ratings(self.truth, &asked);
        let constants = rating::Constants::of(seen.iter().map(|rated| rated.stars).collect());
        let fallback = constants.map_or(MIDDLE, |constants| constants.mean);
        let mut pairs: Vec<(&str, f64)> = Vec::new();
        let mut records: Vec<(u32, u32)> = Vec::new();
        let mut known: Vec<usize> = Vec::new();
        for (place, prediction) in group.predictions.iter().enumerate() {
            match self.truth.rating(prediction.user, prediction.item) {
                Some(gold) => {
                    pairs.push((stars_of(group.family, prediction), gold));
                    records.push((prediction.user, prediction.item));
                    known.push(place);
                }
                None => result.counts.unknown += 1,
            }
        }
        result.n = pairs.len();
        let whole_stars = group.family == Asked::ReviewStars;
        let (own, parsed) = match whole_stars {
            true => rating::review_differences(&pairs, fallback),
            false => rating::differences(&pairs, fallback),
        };
        for (place, &off) in known.into_iter().zip(&own) {
            result.answered[place].off = Some(off);
        }
        let name = &*self.sheet.name;
        let rows = rating::rows(&own);
        self.keep(Measured::new(result, name, Measure::Stars, records.clone(), rows));
        let share = |part: usize| part as f64 / pairs.len().max(1) as f64;
        let row = |method: &str, kind: Kind, differences: &[f64], coverage: Option<f64>| {
            let mut metrics = self.errors(differences);
            metrics.0.extend(coverage.map(|coverage| ("coverage", Metric::bare(coverage))));
            Row { method: method.into(), kind, part: Part::All, n: differences.len(), metrics }
        };
        let main = row(name, Kind::Model, &own, Some(share(parsed)));
        let (rmse, mae) = (main.metrics.value("rmse"), main.metrics.value("mae"));
        result.rows.push(main);
        if !whole_stars {
            let kept = rating::p5_differences(&pairs);
            // Nothing that is left has no error at all, and not one of 0.
            let filtered = (!kept.is_empty()).then(|| {
                let (method, coverage) = (format!("{name}, P5's filter"), share(kept.len()));
                row(&method, Kind::Variant, &kept, Some(coverage))
            });
            result.rows.extend(filtered);
        }
        let Some(constants) = constants.filter(|_| self.options.baselines.is_some()) else {
            return;
        };
        let constant = |value: f64| pairs.iter().map(|&(_, gold)| value - gold).collect::<Vec<_>>();
        let mean = row("training mean", Kind::Baseline, &constant(constants.mean), None);
        let median = row("training median", Kind::Baseline, &constant(constants.median), None);
        let floors =
            [("RMSE", rmse, mean.metrics.value("rmse")), ("MAE", mae, median.metrics.value("mae"))];
        result.rows.extend([mean, median]);
        let (users, items) = (self.truth.users.len(), self.truth.items.len());
        let settings = RatingSettings::default();
        let raters: [Box<dyn Rater>; 2] = [
            Box::new(Leanings::fit(&seen, users, items)),
            Box::new(RatingFactors::fit(&seen, users, items, settings)),
        ];
        for rater in raters {
            let answers = records.iter().zip(&pairs);
            let off: Vec<f64> =
                answers.map(|(&(u, i), (_, gold))| rater.stars(u, i) - gold).collect();
            result.rows.push(row(rater.name(), Kind::Baseline, &off, None));
        }
        for (name, own, floor) in floors {
            if own >= floor && result.n > 0 {
                self.warn(
                    result,
                    format!("{name} {own:.4} does not beat the best constant, {floor:.4}"),
                );
            }
        }
    }

    /// RMSE and MAE of differences in stars, with intervals.
    fn errors(&self, differences: &[f64]) -> Metrics {
        let rows = rating::rows(differences);
        self.metrics(&rows, rating::NAMES, rating::NAMES.len(), rating::of_sums)
    }

    fn prose(&mut self, group: &predictions::Group, result: &mut Group) {
        let lines = &group.predictions;
        let texts: Vec<&str> = lines.iter().map(|line| prose_of(group.family, line)).collect();
        for ((answered, text), line) in result.answered.iter_mut().zip(&texts).zip(lines) {
            answered.text = Some(Box::new(Written::of(text, &line.reference)));
        }
        let written = result.answered.iter().filter_map(|answered| answered.text.as_ref());
        let rows: Vec<f64> = written.flat_map(|written| written.row).collect();
        let mut metrics = self.metrics(&rows, text::NAMES, text::WIDTH, text::values);
        metrics.0.push(("distinct", Metric::bare(text::distinct(&texts))));
        let with_feature = texts.iter().zip(lines).filter(|(_, line)| !line.feature.is_empty());
        let features: Vec<_> =
            with_feature.map(|(text, line)| (*text, line.feature.as_str())).collect();
        if !features.is_empty() {
            metrics.0.push(("feature matching", Metric::bare(text::feature_matching(&features))));
        }
        result.n = result.n.max(texts.len());
        let name = &self.sheet.name;
        let (method, kind) = match result.rows.is_empty() {
            true => (name.clone(), Kind::Model),
            false => (format!("{name}, text"), Kind::Variant),
        };
        let questions = lines.iter().map(|line| (line.user, line.item)).collect();
        self.keep(Measured::new(result, &method, Measure::Prose, questions, rows));
        result.rows.push(Row { method, kind, part: Part::All, n: texts.len(), metrics });
    }
}

/// The part of an answer that says stars.
fn stars_of(family: Asked, line: &Prediction) -> &str {
    match family {
        Asked::StarsAndText => text::split_rating(&line.text).0,
        _ => &line.text,
    }
}

/// The part of an answer that is prose.
fn prose_of(family: Asked, line: &Prediction) -> &str {
    match family {
        Asked::StarsAndText => text::split_rating(&line.text).1,
        _ => &line.text,
    }
}

/// Which ratings baselines are fitted on, and the one place that decides it: the records that are
/// learnt from, where all that is asked is held out of them; otherwise, for files that ask about
/// others, all but each user's last event. Nothing that is asked is among them.
fn training_ratings(truth: &Truth<'_>, asked: &HashSet<(u32, u32)>) -> Vec<Rated> {
    let kept = |user: u32, item: u32, stars: f32| {
        let known = !stars.is_nan() && !asked.contains(&(user, item));
        known.then_some(Rated { user, item, stars })
    };
    if let Some(records) = truth.records() {
        let learnt = || records.all().iter().filter(|record| record.part == Learnt::Training);
        if !learnt().any(|record| asked.contains(&(record.user, record.item))) {
            return learnt().filter_map(|r| kept(r.user, r.item, r.stars)).collect();
        }
    }
    let of_user = |(user, u): (&User<'_>, u32)| -> Vec<Rated> {
        let earlier = user.items.len().saturating_sub(1);
        let events = user.items.iter().zip(user.ratings).take(earlier);
        events.filter_map(|(&item, &stars)| kept(u, item, stars)).collect()
    };
    truth.users.iter().zip(0..).flat_map(of_user).collect()
}

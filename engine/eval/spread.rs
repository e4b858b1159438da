//! Mean, least and greatest over the templates of a task: all of them, and those that trainings may
//! see apart from those held out (E1).

use super::predictions::Asked;
use super::report::{Group, Row, Spread};
use crate::data::Family;

/// Over all templates, where a task has several.
pub fn over_all(groups: &[Group]) -> Vec<Spread> {
    let several = |groups: &[&Group]| groups.len() > 1;
    let of_kind = |groups: &[&Group]| if several(groups) { spread(groups, None) } else { vec![] };
    kinds(groups).iter().flat_map(|groups| of_kind(groups)).collect()
}

/// Over seen and over held-out templates, where a task has both.
pub fn by_seen(groups: &[Group]) -> Vec<Spread> {
    let of_kind = |groups: &Vec<&Group>| {
        let of = |seen: bool| -> Vec<&Group> {
            groups.iter().copied().filter(|group| group.seen == Some(seen)).collect()
        };
        let [seen, unseen] = [of(true), of(false)];
        match seen.is_empty() || unseen.is_empty() {
            true => Vec::new(),
            false => [spread(&seen, Some(true)), spread(&unseen, Some(false))].concat(),
        }
    };
    kinds(groups).iter().flat_map(of_kind).collect()
}

/// The groups of one file, task and kind of answer together, in the order in which they come.
fn kinds(groups: &[Group]) -> Vec<Vec<&Group>> {
    let key = |group: &Group| -> (Option<String>, Family, Asked) {
        (group.file.clone(), group.task, group.family)
    };
    let mut kinds: Vec<Vec<&Group>> = Vec::new();
    for group in groups {
        match kinds.iter_mut().find(|kind| key(kind[0]) == key(group)) {
            Some(kind) => kind.push(group),
            None => kinds.push(vec![group]),
        }
    }
    kinds
}

/// Of every metric of the main rows. Numbers over some of the rows would be another thing than
/// those over all, so where one lacks the metric there are none.
fn spread(groups: &[&Group], seen: Option<bool>) -> Vec<Spread> {
    let rows: Vec<&Row> = groups.iter().filter_map(|group| group.main()).collect();
    let of_metric = |metric: &'static str| {
        let values = rows.iter().filter_map(|row| row.metrics.get(metric));
        let values: Vec<f64> = values.map(|metric| metric.value).collect();
        let over =
            |statistic: fn(&[f64]) -> f64| (values.len() == rows.len()).then(|| statistic(&values));
        Spread {
            task: groups[0].task,
            seen,
            file: groups[0].file.clone(),
            metric,
            templates: rows.len(),
            known: values.len(),
            mean: over(|values| values.iter().sum::<f64>() / values.len() as f64),
            min: over(|values| values.iter().copied().fold(f64::INFINITY, f64::min)),
            max: over(|values| values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        }
    };
    let mut metrics: Vec<&'static str> = Vec::new();
    for (metric, _) in rows.iter().flat_map(|row| &row.metrics.0) {
        if !metrics.contains(metric) {
            metrics.push(metric);
        }
    }
    metrics.into_iter().map(of_metric).collect()
}

//! What rows make of few tokens: logits of the step's choices and of no others, for the loss (R41)
//! and for answers (E30). A set that is wide is one dense product over its gathered rows of the
//! head, for all rows that have it; of a narrow one each row has its own few products. The set
//! alone decides which, so that a row's numbers have the same bits whoever stands beside it.

use super::head::{add_outer, parts, HeadLoss};
use super::order::Order;
use crate::base::{Dtype, Shape};
use crate::data::{Batch, Choices};
use crate::device::{Aim, Epilogue, Form, Tensor, View, Write};
use crate::model::model::Model;
use anyhow::Result;
use std::ops::Range;
use std::sync::Arc;

impl HeadLoss<'_> {
    /// Targets of one wide set.
    pub(super) fn wide(&mut self, batch: &Batch, set: u32, places: Range<usize>) -> Result<()> {
        let Model { device, config, .. } = self.model;
        let tokens = &batch.choices.sets[set as usize];
        let (width, hidden) = (tokens.len(), config.hidden);
        let ids = device.upload_u32(tokens)?;
        let rows = self.model.gathered(&ids)?;
        let mut d_rows = match self.trains_output() {
            true => Some(device.unwritten(Shape::matrix(width, hidden), Dtype::F32)?),
            false => None,
        };
        let mut write = Write::Set;
        for part in parts(places, self.model.chunk(width)) {
            let shape = Shape::matrix(part.len(), width);
            let mut logits = device.unwritten(shape, Dtype::F32)?;
            let (y, plain) = (self.rows(part.clone()), Epilogue::default());
            device.matmul(logits.view_mut(), y, rows.view(), Form::Nt, plain)?;
            let first: Vec<u32> = (0..=part.len()).map(|t| (t * width) as u32).collect();
            self.choose(batch, part.clone(), &mut logits, &first)?;
            if !self.has_gradients() {
                continue;
            }
            // The logits are their own gradient now.
            self.d_rows(part.clone(), &logits, rows.view())?;
            if let Some(d_rows) = &mut d_rows {
                let y = self.rows(part);
                add_outer(device, d_rows.view_mut(), logits.view(), y, write)?;
                write = Write::Add;
            }
        }
        match d_rows {
            Some(d_rows) => self.add_to_output(&d_rows, &ids),
            None => Ok(()),
        }
    }

    /// Targets of narrow sets.
    pub(super) fn narrow(&mut self, batch: &Batch, places: Range<usize>) -> Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let Model { device, config, .. } = self.model;
        let few = Few::of(&batch.choices, &self.order[places.clone()]);
        let ids = device.upload_u32(&few.tokens)?;
        let table = self.model.gathered(&ids)?;
        let first = device.upload_u32(&few.first)?;
        let columns = device.upload_u32(&few.columns)?;
        let mut logits = device.unwritten(columns.shape(), Dtype::F32)?;
        let y = self.rows(places.clone());
        let (to, table) = (logits.view_mut(), table.view());
        device.sampled_product(to, y, table, first.view(), columns.view())?;
        self.choose(batch, places.clone(), &mut logits, &few.first)?;
        let Some(d_normed) = self.d_normed.as_mut() else { return Ok(()) };
        let in_order: Vec<u32> = (0..few.columns.len() as u32).collect();
        let own = device.upload_u32(&in_order)?;
        let d = d_normed.view_mut().row_range(places.clone());
        let (first, columns) = (first.view(), columns.view());
        device.sparse_product(d, table, first, columns, own.view(), logits.view())?;
        if !self.trains_output() {
            return Ok(());
        }
        // The same sums by token: which rows had it, and where its gradient stands.
        let (first, rows, own) = few.by_token();
        let first = device.upload_u32(&first)?;
        let rows = device.upload_u32(&rows)?;
        let own = device.upload_u32(&own)?;
        let shape = Shape::matrix(few.tokens.len(), config.hidden);
        let mut d_rows = device.unwritten(shape, Dtype::F32)?;
        let (d, y) = (d_rows.view_mut(), self.rows(places));
        device.sparse_product(d, y, first.view(), rows.view(), own.view(), logits.view())?;
        self.add_to_output(&d_rows, &ids)
    }

    /// Losses of targets whose logits stand one behind another; these become their own gradient.
    fn choose(
        &mut self,
        batch: &Batch,
        places: Range<usize>,
        logits: &mut Tensor,
        first: &[u32],
    ) -> Result<()> {
        let device = &self.model.device;
        let targets = &self.order[places.clone()];
        let mut at = Vec::with_capacity(targets.len());
        let mut shares: Vec<f32> = Vec::new();
        let soft = targets.iter().any(|&target| batch.choices.shares(target).is_some());
        for &target in targets {
            let set = batch.choices.of(target).expect("a target among few has a set");
            let tokens = &batch.choices.sets[set as usize];
            let place = tokens.binary_search(&batch.target_ids[target as usize]);
            let place = place.expect("a target is among its choices");
            at.push(place as u32);
            if soft {
                let from = shares.len();
                match batch.choices.shares(target) {
                    Some(own) => shares.extend_from_slice(own),
                    None => {
                        shares.resize(from + tokens.len(), 0.0);
                        shares[from + place] = 1.0;
                    }
                }
            }
        }
        let part = Shape::vector(places.len());
        let loss = self.losses.view_mut().part(places.start, part);
        let weights = self.weights.view().part(places.start, part);
        let first = device.upload_u32(first)?;
        let all = Shape::vector(logits.shape().count());
        let logits = logits.view_mut().part(0, all);
        let temperature = batch.choices.temperature;
        if soft {
            let shares = device.upload_f32(&shares, all, Dtype::F32)?;
            let aim = Aim::Shares(shares.view());
            return device.choice_loss(loss, logits, first.view(), aim, weights, temperature);
        }
        let at = device.upload_u32(&at)?;
        let aim = Aim::Place(at.view());
        device.choice_loss(loss, logits, first.view(), aim, weights, temperature)
    }
}

/// The narrow sets of some targets over the tokens that occur in them.
struct Few {
    /// Tokens that occur, ascending.
    tokens: Vec<u32>,
    /// `[targets + 1]` where each one's choices begin.
    first: Vec<u32>,
    /// Choices, as places among `tokens`.
    columns: Vec<u32>,
}

impl Few {
    fn of(choices: &Choices, targets: &[u32]) -> Few {
        let (mut first, mut columns) = (vec![0], Vec::new());
        for &target in targets {
            let set = choices.of(target).expect("a target among few has a set");
            columns.extend_from_slice(&choices.sets[set as usize]);
            first.push(columns.len() as u32);
        }
        let mut tokens = columns.clone();
        tokens.sort_unstable();
        tokens.dedup();
        for column in &mut columns {
            let place = tokens.binary_search(column);
            *column = place.expect("it was taken from there") as u32;
        }
        Few { tokens, first, columns }
    }

    /// By token: where its entries begin, the rows of the entries, and where these stand by row.
    fn by_token(&self) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
        let mut first = vec![0; self.tokens.len() + 1];
        for &column in &self.columns {
            first[column as usize + 1] += 1;
        }
        for token in 0..self.tokens.len() {
            first[token + 1] += first[token];
        }
        let mut free = first.clone();
        let (mut rows, mut places) = (vec![0; self.columns.len()], vec![0; self.columns.len()]);
        for (row, ends) in self.first.windows(2).enumerate() {
            for place in ends[0]..ends[1] {
                let at = &mut free[self.columns[place as usize] as usize];
                rows[*at as usize] = row as u32;
                places[*at as usize] = place;
                *at += 1;
            }
        }
        (first, rows, places)
    }
}

/// A token that may follow a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likely {
    /// Its place among those that were asked about, 0 the first.
    pub place: u32,
    /// Its log-probability, in nats.
    pub log_prob: f32,
}

impl Likely {
    /// Log-probabilities of row r being `log_probs[first[r]..first[r + 1]]`, in their order.
    pub fn all(log_probs: &[f32], first: &[u32]) -> Vec<Vec<Likely>> {
        let of = |ends: &[u32]| {
            let own = log_probs[ends[0] as usize..ends[1] as usize].iter().zip(0..);
            own.map(|(&log_prob, place)| Likely { place, log_prob }).collect()
        };
        first.windows(2).map(of).collect()
    }
}

impl Model {
    /// Rows of the output matrix.
    fn gathered(&self, ids: &Tensor) -> Result<Tensor> {
        self.gather(self.view(self.weights.output()), ids, self.dtype)
    }

    /// Log-softmax of the logits, divided by `temperature`, of `ids[first[r]..first[r + 1]]` of
    /// each of the normed rows `[R, h]` among themselves, in nats; of a row that has more than
    /// `best` of them, those of the best. All of a row become NaN where one of its logits is no
    /// finite number.
    pub fn log_probs_among(
        &self,
        y: View,
        first: &[u32],
        ids: &[u32],
        temperature: f32,
        best: Option<usize>,
    ) -> Result<Vec<Vec<Likely>>> {
        let mut choices = Choices::default();
        let asked: Vec<u32> = (0..y.rows() as u32).filter(|&r| width(first, r) > 0).collect();
        for &r in &asked {
            let own = &ids[first[r as usize] as usize..first[r as usize + 1] as usize];
            choices.push(Some(&Arc::from(own)), None);
        }
        // All logits in the head's order, so that what is wanted of them comes to the host at once.
        let order = Order::of(&choices, asked.len());
        let mut logits = self.device.unwritten(Shape::vector(ids.len()), Dtype::F32)?;
        let mut at = 0;
        for (set, places) in &order.wide {
            let ids = self.device.upload_u32(&choices.sets[*set as usize])?;
            let rows = self.gathered(&ids)?;
            let width = ids.shape().count();
            for part in parts(places.clone(), self.chunk(width)) {
                let shape = Shape::matrix(part.len(), width);
                let y = self.rows_at(y, &asked, &order.targets[part])?;
                let (to, plain) = (logits.view_mut().part(at, shape), Epilogue::default());
                self.device.matmul(to, y.view(), rows.view(), Form::Nt, plain)?;
                at += shape.count();
            }
        }
        if !order.narrow.is_empty() {
            let few = Few::of(&choices, &order.targets[order.narrow.clone()]);
            let y = self.rows_at(y, &asked, &order.targets[order.narrow.clone()])?;
            let table = self.gathered(&self.device.upload_u32(&few.tokens)?)?;
            let starts = self.device.upload_u32(&few.first)?;
            let columns = self.device.upload_u32(&few.columns)?;
            let to = logits.view_mut().part(at, columns.shape());
            let (table, starts, columns) = (table.view(), starts.view(), columns.view());
            self.device.sampled_product(to, y.view(), table, starts, columns)?;
        }
        let rows: Vec<u32> = order.targets.iter().map(|&target| asked[target as usize]).collect();
        let bounds = bounds(rows.iter().map(|&row| width(first, row)));
        let starts = self.device.upload_u32(&bounds)?;
        self.device.choice_log_probs(logits.view_mut(), starts.view(), temperature)?;
        let found = self.likeliest(&logits, &bounds, starts.view(), best)?;
        let mut of_rows = vec![Vec::new(); y.rows()];
        for (row, found) in rows.into_iter().zip(found) {
            of_rows[row as usize] = found;
        }
        Ok(of_rows)
    }

    /// What the host wants of log-probabilities that stand row after row, `starts` being `first` on
    /// the device: all, or, where that is less, the `best` of each row.
    fn likeliest(
        &self,
        log_probs: &Tensor,
        first: &[u32],
        starts: View,
        best: Option<usize>,
    ) -> Result<Vec<Vec<Likely>>> {
        let rows = first.len() - 1;
        let all = log_probs.shape().count();
        // One of the best is a number and its place.
        let Some(best) = best.filter(|best| 2 * best * rows < all) else {
            return Ok(Likely::all(&self.device.download_f32(log_probs.view())?, first));
        };
        let shape = Shape::matrix(rows, best);
        let mut values = self.device.unwritten(shape, Dtype::F32)?;
        let mut places = self.device.unwritten(shape, Dtype::U32)?;
        let to = (values.view_mut(), places.view_mut());
        self.device.choice_top_k(to.0, to.1, log_probs.view(), starts)?;
        let values = self.device.download_f32(values.view())?;
        let places = self.device.download_u32(places.view())?;
        let of = |(row, ends): (usize, &[u32])| {
            let own = row * best..row * best + best.min((ends[1] - ends[0]) as usize);
            let pairs = values[own.clone()].iter().zip(&places[own]);
            pairs.map(|(&log_prob, &place)| Likely { place, log_prob }).collect()
        };
        Ok(first.windows(2).enumerate().map(of).collect())
    }

    /// The rows of y whose numbers stand in `asked` at `places`.
    fn rows_at(&self, y: View, asked: &[u32], places: &[u32]) -> Result<Tensor> {
        let numbers: Vec<u32> = places.iter().map(|&place| asked[place as usize]).collect();
        self.gather(y, &self.device.upload_u32(&numbers)?, y.dtype())
    }
}

fn width(first: &[u32], row: u32) -> usize {
    (first[row as usize + 1] - first[row as usize]) as usize
}

/// Where parts of so many begin, and where the last ends.
fn bounds(counts: impl Iterator<Item = usize>) -> Vec<u32> {
    let mut at = 0;
    std::iter::once(0)
        .chain(counts.map(|count| {
            at += count as u32;
            at
        }))
        .collect()
}

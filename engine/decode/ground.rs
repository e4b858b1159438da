//! Grounding (E12c): a text that was written freely is brought to the items by the distance between
//! embeddings. All of it is exact: every distance, in f64, of f32 embeddings.
//!
//! The row of a text, an item's or a written one's, is part A alone, as
//! [`crate::data::SampleBuilder::text`] makes it: `[CLS]`, the tokens with their entities numbered,
//! end-of-text. Its embedding is the final hidden state of its last row, which sees all of it. So a
//! text that is an item's, token by token, is at distance 0 from it.

use super::finite::{Found, NotFinite};
use super::read::embeddings;
use crate::base::Fault;
use crate::data::Sample;
use crate::model::Model;
use anyhow::Result;
use rayon::prelude::*;

/// Items of which a thread measures the distance in one go.
const BLOCK: usize = 256;

/// Embeddings of items.
pub struct Grounding {
    /// `[items, h]`
    table: Vec<f32>,
    hidden: usize,
}

/// An item, by its place among those of a [`Grounding`], and its distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// The item.
    pub item: u32,
    /// L2.
    pub distance: f64,
}

impl Grounding {
    /// Reads the rows of all items, in the order that decides between equal distances, in passes of
    /// at most `rows` rows. Refuses a model that gives what is no number.
    pub fn new(model: &Model, items: &[&Sample], rows: usize) -> Result<Grounding> {
        let table = embeddings(model, items, rows)?;
        match table.iter().all(|x| x.is_finite()) {
            true => Ok(Grounding { table, hidden: model.config.hidden }),
            false => Err(Fault::Model.error(NotFinite)),
        }
    }

    /// Number of items.
    pub fn items(&self) -> usize {
        self.table.len() / self.hidden
    }

    /// The embeddings, `[items, h]`.
    pub fn table(&self) -> &[f32] {
        &self.table
    }

    /// The `most` items nearest to an embedding `[h]`, nearest first, equally near ones in their
    /// order; all of them where there are fewer.
    pub fn nearest(&self, embedding: &[f32], most: usize) -> Vec<Near> {
        let rows = self.table.par_chunks(BLOCK * self.hidden);
        let squares: Vec<f64> = rows
            .flat_map_iter(|block| block.chunks(self.hidden).map(|row| square(row, embedding)))
            .collect();
        let mut order: Vec<u32> = (0..squares.len() as u32).collect();
        let nearer = |&a: &u32, &b: &u32| {
            squares[a as usize].total_cmp(&squares[b as usize]).then(a.cmp(&b))
        };
        if most < order.len() {
            order.select_nth_unstable_by(most, nearer);
            order.truncate(most);
        }
        order.sort_unstable_by(nearer);
        let near = |item: u32| Near { item, distance: squares[item as usize].sqrt() };
        order.into_iter().map(near).collect()
    }
}

/// For each text the `most` items nearest to it, as [`Grounding::nearest`] finds them. Texts are
/// run in passes of at most `rows` rows; what is found has the same bits whatever texts stand
/// beside.
pub fn nearest_each(
    model: &Model,
    items: &Grounding,
    texts: &[&Sample],
    most: usize,
    rows: usize,
) -> Result<Vec<Found<Vec<Near>>>> {
    let embeddings = embeddings(model, texts, rows)?;
    let find = |embedding: &[f32]| match embedding.iter().all(|x| x.is_finite()) {
        true => Ok(items.nearest(embedding, most)),
        false => Err(NotFinite),
    };
    Ok(embeddings.chunks(items.hidden).map(find).collect())
}

/// Squared L2 distance, in a fixed order of eight sums.
fn square(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0f64; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            let apart = f64::from(*a) - f64::from(*b);
            *sum += apart * apart;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Philox, Stream};

    #[test]
    fn the_nearest_are_those_of_a_full_sort_and_ties_stay_in_order() {
        let mut rng = Philox::new(3, Stream::Synthetic, 0);
        for hidden in [1, 3, 8, 21] {
            // Few values: distances are often equal.
            let mut row = || (0..hidden).map(|_| rng.below(3) as f32).collect::<Vec<f32>>();
            let rows: Vec<Vec<f32>> = (0..700).map(|_| row()).collect();
            let text = row();
            let items = Grounding { table: rows.concat(), hidden };
            assert_eq!(items.items(), 700);
            let distance = |row: &[f32]| {
                row.iter().zip(&text).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
            };
            let mut sorted: Vec<Near> = (0u32..)
                .zip(&rows)
                .map(|(item, row)| Near { item, distance: distance(row) })
                .collect();
            sorted.sort_by(|a, b| a.distance.total_cmp(&b.distance));
            for most in [0, 1, 9, 699, 700, 1000] {
                assert_eq!(items.nearest(&text, most), sorted[..most.min(700)]);
            }
        }
    }
}

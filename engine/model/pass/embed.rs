//! From token ids to rows, forwards and backwards.

use super::rows::Pass;
use crate::base::Shape;
use crate::device::{Tensor, View, Write};
use crate::model::model::Parameter;
use crate::model::parameters::Flat;
use anyhow::Result;

impl Pass<'_> {
    /// The sum of the tables at each row: `[R, h]`.
    pub fn embed(&self) -> Result<Tensor> {
        let model = self.model;
        let shape = Shape::matrix(self.rows.count(), model.config.hidden);
        let mut x = model.device.unwritten(shape, model.dtype)?;
        let tables: Vec<_> = self.tables().map(|(table, ids)| (model.view(table), ids)).collect();
        model.device.embed(x.view_mut(), &tables, Write::Set)?;
        Ok(x)
    }

    /// Adds to the gradients of the tables that are trained, given dx of the sum.
    pub fn embed_backward(&self, gradients: &mut Flat, dx: View) -> Result<()> {
        for (table, ids) in self.tables() {
            if let Some(slot) = table.slot() {
                self.model.device.embed_backward(gradients.view_mut(slot), dx, ids)?;
            }
        }
        Ok(())
    }

    /// Each table and the ids that read it.
    fn tables(&self) -> impl Iterator<Item = (&Parameter, View<'_>)> {
        let embeddings = &self.model.weights.embeddings;
        let positions = embeddings.positions.iter().flatten().zip(self.rows.positions());
        std::iter::once((&embeddings.words, self.rows.tokens())).chain(positions)
    }
}

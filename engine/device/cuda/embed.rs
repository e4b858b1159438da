//! Rows of tables: sums of up to three, and their gradients.

use super::*;
use crate::device::ops::Embed;

impl Embed for Cuda {
    fn embed(&self, y: ViewMut, tables: &[(View, View)], write: Write) -> Result<()> {
        let table = |i: usize| match tables.get(i) {
            Some(&(table, ids)) => interface::Table {
                table: table.into(),
                ids: ids.into(),
                rows: count(table.rows()),
                dtype: code(table.dtype()),
            },
            None => interface::Table::default(),
        };
        let parameters = interface::Embed {
            y: (&y).into(),
            tables: [table(0), table(1), table(2)],
            rows: count(y.rows()),
            cols: count(y.cols()),
            add: add(write),
            unused: 0,
        };
        let addresses: Vec<u64> =
            tables.iter().map(|(table, _)| table.address()).chain([y.address()]).collect();
        let (entry, _) = self.entries.embed.of(y.dtype(), y.cols(), &addresses);
        self.launch(entry, Grid::of(y.rows()), parameters)
    }

    fn embed_backward(&self, d_table: ViewMut, dy: View, ids: View) -> Result<()> {
        let addresses = [d_table.address(), dy.address()];
        let (entry, many) = self.entries.embed_backward.of(dy.dtype(), dy.cols(), &addresses);
        let blocks = [dy.rows() as u32, dy.cols().div_ceil(many * entry.threads()) as u32, 1];
        let parameters = interface::EmbedBackward {
            d_table: (&d_table).into(),
            dy: dy.into(),
            ids: ids.into(),
            table_rows: count(d_table.rows()),
            rows: count(dy.rows()),
            cols: count(dy.cols()),
            unused: 0,
        };
        self.launch(entry, Grid { blocks, shared: interface::EMBED_SHARED }, parameters)
    }
}

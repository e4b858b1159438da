//! Rows of tables: sums of up to three, and their gradients.

use super::*;

/// What a backend does with tables of rows.
pub trait Embed {
    /// y\[r\] = Σₜ tableₜ\[idsₜ\[r\]\] for one to three tables, given as (table, ids); also gathers
    /// rows (one table, row numbers as ids).
    ///
    /// shapes: y `[R, h]`, table `[V, h]`, ids `[R]` u32 below V. y and each table have float
    /// dtypes of their own.
    /// refuses: ids from V on, where the backend sees them.
    fn embed(&self, y: ViewMut, tables: &[(View, View)], write: Write) -> Result<()>;

    /// d_table\[ids\[r\]\] += dy\[r\], rows in ascending order.
    ///
    /// shapes: d_table `[V, h]` f32, dy `[R, h]`, ids `[R]` u32 below V.
    /// refuses: ids from V on, where the backend sees them.
    fn embed_backward(&self, d_table: ViewMut, dy: View, ids: View) -> Result<()>;
}

impl Device {
    /// [`Embed::embed`], checked. Refuses no table and more than three.
    pub fn embed(&self, y: ViewMut, tables: &[(View, View)], write: Write) -> Result<()> {
        let (rows, cols) = (y.rows(), y.cols());
        self.expect("embed", "y", y.as_view(), rows, cols, Float)?;
        ensure!(
            (1..=3).contains(&tables.len()),
            "embed: tables: expected 1 to 3, got {}",
            tables.len()
        );
        for &(table, ids) in tables {
            self.expect("embed", "table", table, table.rows(), cols, Float)?;
            self.expect_count("embed", "ids", ids, rows, U32)?;
        }
        match rows * cols {
            0 => Ok(()),
            _ => self.0.embed(y, tables, write),
        }
    }

    /// [`Embed::embed_backward`], checked.
    pub fn embed_backward(&self, d_table: ViewMut, dy: View, ids: View) -> Result<()> {
        self.expect(
            "embed_backward",
            "d_table",
            d_table.as_view(),
            d_table.rows(),
            dy.cols(),
            F32,
        )?;
        self.expect("embed_backward", "dy", dy, dy.rows(), dy.cols(), Float)?;
        self.expect_count("embed_backward", "ids", ids, dy.rows(), U32)?;
        match dy.shape().count() {
            0 => Ok(()),
            _ => self.0.embed_backward(d_table, dy, ids),
        }
    }
}

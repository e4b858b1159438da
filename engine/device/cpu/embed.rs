use super::super::{View, ViewMut, Write};
use super::slices::{ids, slice, slice_mut, with_float, Float};
use super::{check_ids, rows_per_task, Threads};
use anyhow::Result;

pub(super) fn embed(threads: &Threads, mut y: ViewMut, tables: &[(View, View)], write: Write) -> Result<()> {
    let cols = y.cols();
    for (i, &(table, rows)) in tables.iter().enumerate() {
        let rows = ids(rows);
        check_ids("embed", rows, table.rows())?;
        let add = i > 0 || write == Write::Add;
        let y = y.reborrow();
        with_float!(y.dtype(), T => with_float!(table.dtype(), U => {
            let table = slice::<U>(table);
            threads.blocks(slice_mut::<T>(y), cols, rows_per_task(cols), |first, block| {
                for (y, &id) in block.chunks_exact_mut(cols).zip(&rows[first..]) {
                    let x = &table[id as usize * cols..][..cols];
                    for (y, x) in y.iter_mut().zip(x) {
                        *y = T::put(if add { y.get() + x.get() } else { x.get() });
                    }
                }
            });
        }));
    }
    Ok(())
}

pub(super) fn embed_backward(threads: &Threads, d_table: ViewMut, dy: View, rows: View) -> Result<()> {
    let (cols, table_rows) = (d_table.cols(), d_table.rows());
    let rows = ids(rows);
    check_ids("embed_backward", rows, table_rows)?;
    // Each id's rows are added in ascending order by one task; ids are cut into ranges.
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    order.sort_by_key(|&r| rows[r as usize]);
    let per = table_rows.div_ceil(8 * threads.count()).max(1);
    with_float!(d_table.dtype(), T => with_float!(dy.dtype(), U => {
        let dy = slice::<U>(dy);
        threads.blocks(slice_mut::<T>(d_table), cols, per, |first, block| {
            let start = order.partition_point(|&r| (rows[r as usize] as usize) < first);
            let last = first + block.len() / cols;
            for &r in order[start..].iter().take_while(|&&r| (rows[r as usize] as usize) < last) {
                let target = &mut block[(rows[r as usize] as usize - first) * cols..][..cols];
                for (t, d) in target.iter_mut().zip(&dy[r as usize * cols..][..cols]) {
                    *t = T::put(t.get() + d.get());
                }
            }
        });
    }));
    Ok(())
}

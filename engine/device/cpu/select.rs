use super::super::{View, ViewMut};
use super::slices::{ids_mut, slice, slice_mut, with_float, Float};
use super::Threads;
use anyhow::Result;

pub(super) fn top_k(threads: &Threads, values: ViewMut, columns: ViewMut, x: View) -> Result<()> {
    let (k, cols) = (values.cols(), x.cols());
    let values = slice_mut::<f32>(values);
    let columns = ids_mut(columns);
    with_float!(x.dtype(), T => {
        let x = slice::<T>(x);
        let best = threads.map(x.len() / cols, |r| {
            let row = &x[r * cols..][..cols];
            let order = |a: &u32, b: &u32| {
                row[*b as usize].get().total_cmp(&row[*a as usize].get()).then(a.cmp(b))
            };
            let mut all: Vec<u32> = (0..cols as u32).collect();
            if k < cols {
                all.select_nth_unstable_by(k - 1, order);
                all.truncate(k);
            }
            all.sort_unstable_by(order);
            all
        });
        for (r, best) in best.iter().enumerate() {
            for (i, &column) in best.iter().enumerate() {
                columns[r * k + i] = column;
                values[r * k + i] = x[r * cols + column as usize].get();
            }
        }
    });
    Ok(())
}

use super::*;
use crate::base::Fault;
use crate::device::ops::Attention;
use kernels::interface::{DropoutMask, HeadStrides};
use std::cmp::Reverse;
use std::sync::Arc;

/// How a row of qkv is divided, and which kernels can take it.
#[derive(Clone, Copy)]
struct HeadColumns {
    count: usize,
    /// Columns of one head.
    size: usize,
    layout: Qkv,
    dtype: Dtype,
}

impl HeadColumns {
    fn new(qkv: View, heads: Heads) -> HeadColumns {
        let Heads { count, layout } = heads;
        HeadColumns { count, size: qkv.cols() / (3 * count), layout, dtype: qkv.dtype() }
    }

    fn width(self) -> usize {
        self.count * self.size
    }

    fn strides(self) -> HeadStrides {
        let (part, head) = match self.layout {
            Qkv::Thirds => (self.width(), self.size),
            Qkv::PerHead => (self.size, 3 * self.size),
        };
        HeadStrides { part: count(part), head: count(head) }
    }

    /// Whether tensor cores do it: 16-bit elements, a head of 64 or 128, addresses of whole 16
    /// bytes (rows then are, too), and a scale that does not turn the largest product into the
    /// smallest score. Never a matter of how many rows there are.
    fn tensor_cores(self, scale: f32, addresses: &[u64]) -> bool {
        self.dtype != Dtype::F32
            && [64, 128].contains(&self.size)
            && scale > 0.0
            && addresses.iter().all(|a| a.is_multiple_of(16))
    }
}

/// Refuses a head so large that a block's tiles do not fit into shared memory.
fn fitting(cuda: &Cuda, op: &str, heads: HeadColumns, bytes: usize) -> Result<usize> {
    let most = cuda.driver.properties().shared;
    match bytes <= most {
        true => Ok(bytes),
        false => Err(Fault::Device.error(format!(
            "{op}: heads: expected a head whose tiles fit into {most} bytes of shared memory, got \
            one of {} columns that needs {bytes}; use a device with more, or the CPU",
            heads.size
        ))),
    }
}

/// What each block that owns "queries" or "keys" does, for every sequence and every `block` of its
/// rows: start and length of the sequence, its context, the block's first row. Costly ones first,
/// so that no processor ends long after the others; where blocks run is nothing that results depend
/// on.
fn blocks(segments: &Segments, own: &'static str, block: usize) -> Result<Arc<Tensor>> {
    segments.prepared.get((own, block), || sorted(segments, own, block).concat())
}

fn sorted(segments: &Segments, own: &str, block: usize) -> Vec<[u32; 4]> {
    // Rows that a block walks over.
    let cost = |rows: usize, context: usize, first: usize| match own {
        "keys" if first < context => rows,
        "keys" => rows - first,
        _ => context.max(rows.min(first + block)),
    };
    let mut blocks = Vec::new();
    for (ends, &context) in segments.start.windows(2).zip(&segments.context) {
        let rows = ends[1] - ends[0];
        blocks.extend((0..rows).step_by(block).map(|first| [ends[0], rows, context, first]));
    }
    blocks.sort_by_key(|&[_, rows, context, first]| {
        let (rows, context, first) = (rows as usize, context as usize, first as usize);
        Reverse(cost(rows, context, first))
    });
    blocks
}

/// Parts into which a prompt of `keys` rows is cut.
fn splits_of(keys: usize) -> usize {
    keys.div_ceil(interface::CACHE_SPLIT).min(interface::CACHE_MOST_SPLITS)
}

/// What the blocks of `cache_prompt` do: how many pieces there are, then pieces of (first row,
/// split). Neighbouring rows with the same prompt are cut into groups of
/// [`interface::CACHE_TOGETHER`].
fn pieces(prompts: &[[u32; 2]]) -> Vec<u32> {
    let mut plan = vec![0];
    let mut row = 0;
    for same in prompts.chunk_by(|x, y| x == y) {
        for group in same.chunks(interface::CACHE_TOGETHER) {
            let splits = splits_of((same[0][1] - same[0][0]) as usize);
            plan.extend((0..splits).flat_map(|split| [row, split as u32]));
            row += group.len() as u32;
        }
    }
    plan[0] = (plan.len() / 2) as u32;
    plan
}

/// No rows without dropout.
fn mask(dropout: Option<Dropout>) -> DropoutMask {
    match dropout {
        None => DropoutMask { kept: 1.0, ..DropoutMask::default() },
        Some(Dropout { rate, key, rows }) => DropoutMask {
            rows: rows.into(),
            key0: key[0],
            key1: key[1],
            threshold: Dropout::threshold(rate),
            kept: 1.0 / (1.0 - rate),
        },
    }
}

impl Attention for Cuda {
    fn rotate(&self, x: ViewMut, rotary: Rotary, heads: Heads, turn: Turn) -> Result<()> {
        let heads = HeadColumns::new(x.as_view(), heads);
        let pairs = heads.size / 4;
        let (entry, many) = self.entries.rotate.of(heads.dtype, pairs, &[x.address()]);
        let parameters = interface::Rotate {
            x: (&x).into(),
            cos: rotary.cos.into(),
            sin: rotary.sin.into(),
            positions0: rotary.positions[0].into(),
            positions1: rotary.positions[1].into(),
            rows: count(x.rows()),
            heads: count(heads.count),
            pairs: count(pairs),
            layout: heads.strides(),
            sign: match turn {
                Turn::Forward => 1.0,
                Turn::Backward => -1.0,
            },
        };
        let turns = x.rows() * 4 * heads.count * pairs / many;
        self.launch(entry, Grid::of(turns.div_ceil(entry.threads())), parameters)
    }

    fn attention(&self, y: ViewMut, log_sum_exp: ViewMut, attend: Attend) -> Result<()> {
        let Attend { qkv, segments, heads, scale, dropout } = attend;
        let heads = HeadColumns::new(qkv, heads);
        let tensor_cores = heads.tensor_cores(scale, &[y.address(), qkv.address()]);
        let (queries, shared) = match tensor_cores {
            true => (interface::ATTENTION_QUERIES, interface::attention_shared(heads.size)),
            false => (interface::ATTENTION_SIMT_OWN, interface::attention_simt_shared(heads.size)),
        };
        let shared = fitting(self, "attention", heads, shared)?;
        let list = blocks(segments, "queries", queries)?;
        let parameters = interface::Attention {
            y: (&y).into(),
            log_sum_exp: (&log_sum_exp).into(),
            qkv: qkv.into(),
            work: list.view().into(),
            dropout: mask(dropout),
            heads: count(heads.count),
            size: count(heads.size),
            layout: heads.strides(),
            scale,
            unused: 0,
        };
        let grid = Grid::of(list.shape().count() / 4 * heads.count).shared(shared);
        let entry =
            self.entries.attention.of(tensor_cores, heads.size, heads.dtype, dropout.is_some());
        self.launch(entry, grid, parameters)
    }

    fn attention_backward(
        &self,
        d_qkv: ViewMut,
        dy: View,
        y: View,
        log_sum_exp: View,
        attend: Attend,
    ) -> Result<()> {
        let Attend { qkv, segments, heads, scale, dropout } = attend;
        let (heads, batch) = (HeadColumns::new(qkv, heads), qkv.rows());
        // Log-sum-exp and Σ dy·y, a head's rows side by side.
        let statistics = self.scratch(8 * heads.count * batch)?;
        let parameters = interface::AttentionStatistics {
            statistics: statistics.at(),
            dy: dy.into(),
            y: y.into(),
            log_sum_exp: log_sum_exp.into(),
            rows: count(batch),
            heads: count(heads.count),
            size: count(heads.size),
            unused: 0,
        };
        let entry = self.entries.attention_statistics.of(heads.dtype);
        // A warp a row and head.
        let across = batch.div_ceil(entry.threads() / 32);
        let grid = Grid { blocks: [across as u32, heads.count as u32, 1], shared: 0 };
        self.launch(entry, grid, parameters)?;

        let tensor_cores =
            heads.tensor_cores(scale, &[d_qkv.address(), dy.address(), qkv.address()]);
        let size = heads.size;
        let (own, shared) = match tensor_cores {
            true => (interface::backward_own(size), interface::backward_shared(size)),
            false => (interface::ATTENTION_SIMT_OWN, interface::backward_simt_shared(size)),
        };
        let shared = fitting(self, "attention_backward", heads, shared)?;
        // Which rows a block owns; the others it walks over.
        for (family, owned) in
            [(&self.entries.attention_keys, "keys"), (&self.entries.attention_queries, "queries")]
        {
            let list = blocks(segments, owned, own)?;
            let parameters = interface::AttentionBackward {
                d_qkv: (&d_qkv).into(),
                dy: dy.into(),
                statistics: statistics.at(),
                qkv: qkv.into(),
                work: list.view().into(),
                dropout: mask(dropout),
                batch: count(batch),
                heads: count(heads.count),
                size: count(size),
                layout: heads.strides(),
                scale,
            };
            let grid = Grid::of(list.shape().count() / 4 * heads.count).shared(shared);
            let entry = family.of(tensor_cores, size, heads.dtype, dropout.is_some());
            self.launch(entry, grid, parameters)?;
        }
        Ok(())
    }

    fn cache_store(&self, cache: ViewMut, qkv: View, slots: View, heads: Heads) -> Result<()> {
        let heads = HeadColumns::new(qkv, heads);
        let parameters = interface::CacheStore {
            cache: (&cache).into(),
            qkv: qkv.into(),
            slots: slots.into(),
            rows: count(qkv.rows()),
            heads: count(heads.count),
            size: count(heads.size),
            layout: heads.strides(),
            unused: 0,
        };
        let grid = Grid::of(qkv.rows()).shared(interface::CACHE_STORE_SHARED);
        self.launch(self.entries.cache_store.of(heads.dtype), grid, parameters)
    }

    fn cache_attention(&self, y: ViewMut, attend: AttendCache) -> Result<()> {
        let AttendCache { qkv, prompt, tail, rows, heads, scale } = attend;
        let heads = HeadColumns::new(qkv, heads);
        let splits = match heads.tensor_cores(scale, &[qkv.address(), prompt.address()]) {
            true => splits_of(rows.longest()),
            false => 0,
        };
        let found = qkv.rows() * splits * heads.count;
        let sums = self.scratch(4 * found * heads.size)?;
        let statistics = self.scratch(8 * found)?;
        if splits > 0 {
            let plan = rows.prepared.get(("pieces", 0), || pieces(&rows.prompts))?;
            let parameters = interface::CachePrompt {
                sums: sums.at(),
                statistics: statistics.at(),
                qkv: qkv.into(),
                prompt: prompt.into(),
                ranges: rows.prompt().into(),
                plan: plan.view().into(),
                rows: count(qkv.rows()),
                splits: count(splits),
                heads: count(heads.count),
                layout: heads.strides(),
                scale,
            };
            let shared = interface::cache_prompt_shared(heads.size);
            let shared = fitting(self, "cache_attention", heads, shared)?;
            // Blocks take one piece after another: as many as the processors hold at once.
            let work = plan.shape().count() / 2 * heads.count;
            let held = 2 * self.processors();
            let entry = match heads.size {
                64 => self.entries.cache_prompt_64.of(heads.dtype),
                _ => self.entries.cache_prompt_128.of(heads.dtype),
            };
            self.launch(entry, Grid::of(work.min(held)).shared(shared), parameters)?;
        }
        let parameters = interface::CachePaths {
            y: (&y).into(),
            qkv: qkv.into(),
            prompt: prompt.into(),
            tail: tail.into(),
            ranges: rows.prompt().into(),
            path_start: rows.path_start().into(),
            path: rows.path().into(),
            sums: sums.at(),
            statistics: statistics.at(),
            rows: count(qkv.rows()),
            splits: count(splits),
            heads: count(heads.count),
            size: count(heads.size),
            layout: heads.strides(),
            scale,
            unused: 0,
        };
        let shared = interface::cache_paths_shared(heads.size);
        let shared = fitting(self, "cache_attention", heads, shared)?;
        let blocks = (qkv.rows() * heads.count).div_ceil(interface::ATTENTION_WARPS);
        let entry = self.entries.cache_paths.of(heads.dtype);
        self.launch(entry, Grid::of(blocks).shared(shared), parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_groups_of_rows_and_splits_of_their_prompt() {
        // Of 40 rows 32 read a prompt together; one of 513 rows is two splits, none has none, and
        // the last of four splits is without end.
        let prompts = [
            vec![[0, 512]; 40],
            vec![[512, 1025]; 2],
            vec![[7, 7]; 3],
            vec![[512, 1025]; 1],
            vec![[0, 9000]; 1],
        ];
        let expected = [
            [0, 0],
            [32, 0],
            [40, 0],
            [40, 1],
            [45, 0],
            [45, 1],
            [46, 0],
            [46, 1],
            [46, 2],
            [46, 3],
        ];
        let plan = pieces(&prompts.concat());
        assert_eq!(plan[0] as usize, expected.len());
        assert_eq!(plan[1..], expected.concat());
        assert_eq!(pieces(&[]), [0]);
    }
}

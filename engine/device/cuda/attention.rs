use super::*;
use crate::base::Fault;
use crate::device::ops::Attention;
use std::cmp::Reverse;
use std::sync::Arc;

/// Threads a block of the kernels that take tiles of rows.
const THREADS: u32 = 128;
/// Warps of those.
const WARPS: usize = 4;
/// Queries, or keys, of a block on the plain cores, and rows of the tiles it walks over.
const PLAIN: (usize, usize) = (16, 32);

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

    /// Columns from a part (query, key, value) to the next, and from a head to the next.
    fn steps(self) -> [Arg; 2] {
        match self.layout {
            Qkv::Thirds => [count(self.width()), count(self.size)],
            Qkv::PerHead => [count(self.size), count(3 * self.size)],
        }
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

    /// The entry point of a family, by head size if tensor cores do it.
    fn entry(self, family: &str, tensor_cores: bool) -> String {
        match tensor_cores {
            true => format!("{family}_{}_{}", self.size, suffix(self.dtype)),
            false => format!("{family}_any_{}", suffix(self.dtype)),
        }
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
    segments.prepared((own, block), || sorted(segments, own, block).concat())
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

/// Rows, key, threshold and factor of dropout; no rows without.
fn drop_out(dropout: Option<Dropout>) -> [Arg; 5] {
    match dropout {
        None => [Arg::Address(0), Arg::U32(0), Arg::U32(0), Arg::U32(0), Arg::F32(1.0)],
        Some(Dropout { rate, key, rows }) => [
            rows.into(),
            Arg::U32(key[0]),
            Arg::U32(key[1]),
            Arg::U32(Dropout::threshold(rate)),
            Arg::F32(1.0 / (1.0 - rate)),
        ],
    }
}

impl Attention for Cuda {
    fn rotate(&self, x: ViewMut, rotary: Rotary, heads: Heads, turn: Turn) -> Result<()> {
        const THREADS: u32 = 256;
        let heads = HeadColumns::new(x.as_view(), heads);
        let pairs = heads.size / 4;
        let wide = 16 / heads.dtype.size();
        let (step, width) = match pairs.is_multiple_of(wide) && x.address().is_multiple_of(16) {
            true => (wide, "wide"),
            false => (1, "one"),
        };
        let [part, head] = heads.steps();
        let sign = match turn {
            Turn::Forward => 1.0,
            Turn::Backward => -1.0,
        };
        let arguments = [
            Arg::from(&x),
            rotary.cos.into(),
            rotary.sin.into(),
            rotary.positions[0].into(),
            rotary.positions[1].into(),
            count(x.rows()),
            count(heads.count),
            count(pairs),
            part,
            head,
            Arg::F32(sign),
        ];
        let turns = x.rows() * 4 * heads.count * pairs / step;
        self.launch(
            &format!("rotate_{width}_{}", suffix(heads.dtype)),
            Grid::of(turns.div_ceil(THREADS as usize), THREADS),
            &arguments,
        )
    }

    fn attention(&self, y: ViewMut, log_sum_exp: ViewMut, attend: Attend) -> Result<()> {
        let Attend { qkv, segments, heads, scale, dropout } = attend;
        let heads = HeadColumns::new(qkv, heads);
        let tensor_cores = heads.tensor_cores(scale, &[y.address(), qkv.address()]);
        // Queries, and two stages of keys and values.
        let (queries, shared) = match (tensor_cores, heads.size) {
            (true, 64) => (128, 2 * heads.size * (128 + 4 * 64)),
            (true, _) => (128, 2 * heads.size * (128 + 4 * 32)),
            (false, size) => {
                let (own, walked) = PLAIN;
                (own, 4 * (2 * own * size + own * walked + walked * (2 * size + 1)))
            }
        };
        let shared = fitting(self, "attention", heads, shared)?;
        let list = blocks(segments, "queries", queries)?;
        let [part, head] = heads.steps();
        let [rows, key0, key1, threshold, kept] = drop_out(dropout);
        let arguments = [
            Arg::from(&y),
            Arg::from(&log_sum_exp),
            qkv.into(),
            list.view().into(),
            count(heads.count),
            count(heads.size),
            part,
            head,
            Arg::F32(scale),
            rows,
            key0,
            key1,
            threshold,
            kept,
        ];
        let grid = Grid::of(list.shape().count() / 4 * heads.count, THREADS).shared(shared);
        self.launch(&heads.entry("attention", tensor_cores), grid, &arguments)
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
        let arguments = [
            statistics.arg(),
            dy.into(),
            y.into(),
            log_sum_exp.into(),
            count(batch),
            count(heads.count),
            count(heads.size),
        ];
        let grid = Grid {
            blocks: [batch.div_ceil(8) as u32, heads.count as u32, 1],
            threads: 256,
            shared: 0,
        };
        self.launch(&format!("attention_statistics_{}", suffix(heads.dtype)), grid, &arguments)?;

        let tensor_cores =
            heads.tensor_cores(scale, &[d_qkv.address(), dy.address(), qkv.address()]);
        // Owned rows of two matrices, two stages of walked rows of two and of their five words.
        let (own, shared) = match (tensor_cores, heads.size) {
            (true, 64) => (128, 2 * 2 * heads.size * (128 + 2 * 32) + 2 * 5 * 32 * 4),
            (true, _) => (64, 2 * 2 * heads.size * (64 + 2 * 32) + 2 * 5 * 32 * 4),
            (false, size) => {
                let (own, walked) = PLAIN;
                (own, 4 * (4 * own * size + 2 * own * walked + 2 * walked * (size + 1)))
            }
        };
        let shared = fitting(self, "attention_backward", heads, shared)?;
        let [part, head] = heads.steps();
        let [rows, key0, key1, threshold, kept] = drop_out(dropout);
        // Which rows a block owns; the others it walks over.
        for (family, owned) in [("attention_keys", "keys"), ("attention_queries", "queries")] {
            let list = blocks(segments, owned, own)?;
            let arguments = [
                Arg::from(&d_qkv),
                dy.into(),
                statistics.arg(),
                qkv.into(),
                list.view().into(),
                count(batch),
                count(heads.count),
                count(heads.size),
                part,
                head,
                Arg::F32(scale),
                rows,
                key0,
                key1,
                threshold,
                kept,
            ];
            let grid = Grid::of(list.shape().count() / 4 * heads.count, THREADS).shared(shared);
            self.launch(&heads.entry(family, tensor_cores), grid, &arguments)?;
        }
        Ok(())
    }

    fn cache_store(&self, cache: ViewMut, qkv: View, slots: View, heads: Heads) -> Result<()> {
        let heads = HeadColumns::new(qkv, heads);
        let [part, head] = heads.steps();
        let arguments = [
            Arg::from(&cache),
            qkv.into(),
            slots.into(),
            count(qkv.rows()),
            count(heads.count),
            count(heads.size),
            part,
            head,
        ];
        let grid = Grid::of(qkv.rows(), 256).shared(4);
        self.launch(&format!("cache_store_{}", suffix(heads.dtype)), grid, &arguments)
    }

    fn cache_attention(&self, y: ViewMut, attend: AttendCache) -> Result<()> {
        /// Keys of a split of a prompt, and how many splits there are at most:
        /// kernels/attention_cache.cu.
        const SPLIT: (usize, usize) = (512, 4);
        let AttendCache { qkv, prompt, tail, rows, heads, scale } = attend;
        let heads = HeadColumns::new(qkv, heads);
        let [part, head] = heads.steps();
        // The longest prompt is known to the device alone; none is longer than all.
        let splits = match heads.tensor_cores(scale, &[qkv.address(), prompt.address()]) {
            true => prompt.rows().div_ceil(SPLIT.0).min(SPLIT.1),
            false => 0,
        };
        let found = qkv.rows() * splits * heads.count;
        let sums = self.scratch(4 * found * heads.size)?;
        let marks = self.scratch(8 * found)?;
        if splits > 0 {
            let plan = self.scratch(4 * (1 + 2 * qkv.rows() * splits))?;
            let grid = Grid::of(1, 1024).shared(2 * 32 * 4);
            self.launch("cache_plan", grid, &[plan.arg(), rows.prompt.into(), count(qkv.rows())])?;
            let arguments = [
                sums.arg(),
                marks.arg(),
                qkv.into(),
                prompt.into(),
                rows.prompt.into(),
                plan.arg(),
                count(qkv.rows()),
                count(splits),
                count(heads.count),
                part,
                head,
                Arg::F32(scale),
            ];
            // Queries, for each warp two stages of keys and values, and what the warps found of 32
            // rows.
            let keys = if heads.size == 64 { 32 } else { 16 };
            let shared = 2 * heads.size * (32 + WARPS * 4 * keys) + WARPS * 32 * 2 * 4;
            let shared = fitting(self, "cache_attention", heads, shared)?;
            // Blocks take one piece after another: as many as the processors hold at once.
            let held = 2 * self.processors();
            self.launch(
                &heads.entry("cache_prompt", true),
                Grid::of(found.min(held), THREADS).shared(shared),
                &arguments,
            )?;
        }
        let arguments = [
            Arg::from(&y),
            qkv.into(),
            prompt.into(),
            tail.into(),
            rows.prompt.into(),
            rows.path_start.into(),
            rows.path.into(),
            sums.arg(),
            marks.arg(),
            count(qkv.rows()),
            count(splits),
            count(heads.count),
            count(heads.size),
            part,
            head,
            Arg::F32(scale),
        ];
        let shared = WARPS * (32 * 12 + 8 * heads.size).next_multiple_of(16);
        let shared = fitting(self, "cache_attention", heads, shared)?;
        self.launch(
            &format!("cache_paths_{}", suffix(heads.dtype)),
            Grid::of((qkv.rows() * heads.count).div_ceil(WARPS), THREADS).shared(shared),
            &arguments,
        )
    }
}

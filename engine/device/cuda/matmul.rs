//! Products: which kernel, which tile, which grid. The tile never changes a bit, see
//! `kernels/matmul.cuh`.

use super::*;
use crate::device::ops::Matmul;

/// A tile of the tensor-core kernels and what it costs.
struct Tile {
    name: &'static str,
    /// Of y, by a block.
    rows: usize,
    columns: usize,
    /// Of k, in one stage.
    depth: usize,
    stages: usize,
    /// Of y, by a warp.
    warp: [usize; 2],
    /// Relative rate of a processor that is full of blocks of this tile. These are the operand
    /// bytes a multiply needs (a 64 × 64 warp tile reads 8 ldmatrix for 32 mma, a 16 × 16 one 2 for
    /// 2) and how well blocks hide each other's starts.
    rate: f64,
}

/// Widest first: on equal cost the tile that reads less wins.
const TILES: [Tile; 4] = [
    // One block of 8 warps fills a processor's registers; rows of a are read n/256 times, rows of b
    // m/128 times.
    Tile {
        name: "large",
        rows: 128,
        columns: 256,
        depth: 32,
        stages: 4,
        warp: [64, 64],
        rate: 1.0,
    },
    // Two blocks of 4 warps; finer at the edges of y and in the last wave of blocks.
    Tile {
        name: "medium",
        rows: 128,
        columns: 128,
        depth: 32,
        stages: 4,
        warp: [64, 64],
        rate: 0.95,
    },
    // A few hundred rows (beams of a batch): enough blocks for every processor.
    Tile { name: "small", rows: 64, columns: 64, depth: 64, stages: 3, warp: [32, 32], rate: 0.7 },
    // One to sixteen rows (a decode step), bound by reading b once: many narrow blocks, each 32
    // rows of b 4 × 128 deep ahead.
    Tile { name: "few", rows: 16, columns: 32, depth: 128, stages: 4, warp: [16, 16], rate: 0.2 },
];

/// The tile of operands at any address: they are gathered element by element, half as deep so that
/// it fits registers.
const ANY: &Tile =
    &Tile { name: "any", rows: 64, columns: 64, depth: 32, stages: 3, warp: [32, 32], rate: 0.1 };

impl Tile {
    fn threads(&self) -> u32 {
        (32 * (self.rows / self.warp[0]) * (self.columns / self.warp[1])) as u32
    }

    /// Bytes of shared memory: the stages and the low-rank tail, later the sums of the warps.
    fn shared(&self) -> usize {
        let tail = 32 * 2 * (self.rows + self.columns);
        let stages = self.stages * self.depth * 2 * (self.rows + self.columns);
        let warps = self.threads() as usize / 32;
        (stages + tail).max(warps * self.warp[0] * (self.warp[1] + 8) * 4)
    }

    fn blocks(&self, m: usize, n: usize) -> usize {
        m.div_ceil(self.rows) * n.div_ceil(self.columns)
    }

    /// Time of the busiest processor, in any unit.
    fn cost(&self, m: usize, n: usize, processors: usize) -> f64 {
        (self.blocks(m, n).div_ceil(processors) * self.rows * self.columns) as f64 / self.rate
    }
}

/// The cheapest tile that a device of so many processors, with so much shared memory for a block,
/// can run.
fn choose(form: Form, m: usize, n: usize, processors: usize, shared: usize) -> &'static Tile {
    // A gradient of a weight has no few rows: those go to `thin_gradient`.
    let tiles = if form == Form::Tn { &TILES[..3] } else { &TILES[..] };
    tiles
        .iter()
        .filter(|tile| tile.shared() <= shared)
        .min_by(|x, y| x.cost(m, n, processors).total_cmp(&y.cost(m, n, processors)))
        .expect("the small tile fits every device")
}

/// Columns up to which a product counts as thin: the adapter's.
const THIN: usize = 32;
/// Rows of one chunk in sums over rows; fixed, so that the order of addition is.
const CHUNK: usize = 256;
/// The same for gradients that are small in both directions but not thin: y up to 512 × 512, where
/// blocks of y alone are too few.
const SMALL_GRADIENT: usize = 1 << 18;
const SMALL_GRADIENT_CHUNK: usize = 1024;

/// Row pitch, in elements, from which on the offsets within a tile no longer fit the 32 bits that
/// tensor-core kernels keep them in.
const WIDEST: usize = 1 << 22;

/// The arguments of the product kernels that wrappers change, the rest is the epilogue's.
struct Product<'a> {
    y: Arg,
    a: Arg,
    b: Arg,
    size: (usize, usize, usize),
    /// Length of k that one block sums.
    chunk: usize,
    kinds: [Dtype; 3],
    epilogue: &'a Epilogue<'a>,
}

impl Product<'_> {
    fn arguments(&self) -> Vec<Arg> {
        let Epilogue { scale, bias, gelu, pre_activation, low_rank, residual, write } =
            self.epilogue;
        let address = |x: Option<View>| x.map_or(Arg::Address(0), Arg::from);
        let before = pre_activation.as_ref().map(|x| x.as_view());
        let residual_of = residual.map(|r| r.0);
        let (z, factor) = (low_rank.map(|l| l.z), low_rank.map(|l| l.factor));
        let kind = |x: Option<View>| x.map_or(0, |x| code(x.dtype()));
        let [y, a, b] = self.kinds.map(code);
        let kinds = [y, kind(before), kind(*bias), kind(residual_of), kind(z), kind(factor), a, b];
        let gelu = match gelu {
            None => 0,
            Some(Gelu::Tanh) => 2,
            Some(Gelu::Erf) => 4,
        };
        let (m, n, k) = self.size;
        vec![
            self.y,
            address(before),
            self.a,
            self.b,
            address(*bias),
            address(residual_of),
            address(z),
            address(factor),
            count(m),
            count(n),
            count(k),
            count(self.chunk),
            count(z.map_or(0, |z| z.cols())),
            Arg::U32(kinds.iter().rev().fold(0, |all, kind| all << 4 | kind)),
            Arg::U32(u32::from(*write == Write::Add) | gelu),
            Arg::F32(*scale),
            Arg::F32(low_rank.map_or(0.0, |l| l.scale)),
            Arg::F32(residual.map_or(0.0, |r| r.1)),
        ]
    }
}

impl Matmul for Cuda {
    fn matmul(&self, y: ViewMut, a: View, b: View, form: Form, epilogue: Epilogue) -> Result<()> {
        let (m, n) = (y.rows(), y.cols());
        let k = if form == Form::Tn { a.rows() } else { a.cols() };
        let product = Product {
            y: Arg::from(&y),
            a: a.into(),
            b: b.into(),
            size: (m, n, k),
            chunk: k,
            kinds: [y.dtype(), a.dtype(), b.dtype()],
            epilogue: &epilogue,
        };
        if form != Form::Tn || k == 0 {
            return sums(self, &product, a, b, form, 1);
        }
        let thin = m.min(n) <= THIN;
        let chunk = match () {
            _ if thin => CHUNK,
            _ if m * n <= SMALL_GRADIENT => SMALL_GRADIENT_CHUNK,
            _ => k,
        };
        let chunks = k.div_ceil(chunk);
        if chunks == 1 && !thin {
            return sums(self, &product, a, b, form, 1);
        }
        // Chunks write bare sums side by side; the epilogue comes when they are added.
        let partial = self.scratch(chunks * m * n * size_of::<f32>())?;
        if thin {
            let (entry, wide, few) =
                if n <= m { ("thin_gradient_b", m, n) } else { ("thin_gradient_a", n, m) };
            let grid = Grid {
                blocks: [wide.div_ceil(128 * 8) as u32, chunks as u32, few.div_ceil(8) as u32],
                threads: 128,
                shared: chunk * 8 * size_of::<f32>(),
            };
            let kinds = Arg::U32(code(a.dtype()) << 24 | code(b.dtype()) << 28);
            let arguments = [
                partial.arg(),
                a.into(),
                b.into(),
                count(m),
                count(n),
                count(k),
                count(chunk),
                kinds,
            ];
            self.launch(entry, grid, &arguments)?;
        } else {
            let bare = Epilogue::default();
            let kinds = [Dtype::F32, a.dtype(), b.dtype()];
            let part = Product { y: partial.arg(), chunk, kinds, epilogue: &bare, ..product };
            sums(self, &part, a, b, form, chunks)?;
        }
        join(self, &Product { a: partial.arg(), size: (m, n, chunks), ..product })
    }

    fn sum_rows(&self, y: ViewMut, x: View) -> Result<()> {
        let (rows, n) = (x.rows(), x.cols());
        let chunks = rows.div_ceil(CHUNK);
        let partial = self.scratch(chunks * n * size_of::<f32>())?;
        let grid = chunked(n.div_ceil(64 * 8), chunks, 64, 0);
        let arguments = [
            partial.arg(),
            x.into(),
            count(n),
            count(rows),
            count(CHUNK),
            Arg::U32(code(x.dtype())),
        ];
        self.launch("sum_chunks", grid, &arguments)?;
        let add = Epilogue { write: Write::Add, ..Epilogue::default() };
        join(
            self,
            &Product {
                y: Arg::from(&y),
                a: partial.arg(),
                b: Arg::Address(0),
                size: (1, n, chunks),
                chunk: chunks,
                kinds: [Dtype::F32; 3],
                epilogue: &add,
            },
        )
    }
}

/// y = epilogue of the partial sums at `a`, added in their order.
fn join(cuda: &Cuda, product: &Product) -> Result<()> {
    let (m, n, _) = product.size;
    cuda.launch(
        "split_k_reduce",
        Grid::of((m * n.div_ceil(8)).div_ceil(128), 128),
        &product.arguments(),
    )
}

/// `blocks` for each of `chunks`.
fn chunked(blocks: usize, chunks: usize, threads: u32, shared: usize) -> Grid {
    let mut grid = Grid::of(blocks, threads).shared(shared);
    grid.blocks[1] = chunks as u32;
    grid
}

/// One kernel over all of k, or over `chunks` of it.
fn sums(cuda: &Cuda, product: &Product, a: View, b: View, form: Form, chunks: usize) -> Result<()> {
    let name = match form {
        Form::Nt => "nt",
        Form::Nn => "nn",
        Form::Tn => "tn",
    };
    let (m, n, _) = product.size;
    let [_, of_a, of_b] = product.kinds;
    let narrow = a.cols().max(b.cols()) < WIDEST;
    if of_a == of_b && of_a != Dtype::F32 && narrow {
        let aligned = [a, b].iter().all(|x| x.address() % 16 == 0 && x.cols() % 8 == 0);
        let properties = cuda.driver.properties();
        let tile =
            if aligned { choose(form, m, n, cuda.processors(), properties.shared) } else { ANY };
        let entry = format!("gemm_{name}_{}_{}", tile.name, suffix(of_a));
        let grid = chunked(tile.blocks(m, n), chunks, tile.threads(), tile.shared());
        return cuda.launch(&entry, grid, &product.arguments());
    }
    if form != Form::Tn && n <= THIN {
        // Four rows a warp share what is read of b; few rows are spread over more warps.
        let rows = if m.div_ceil(4 * 8) >= cuda.processors() { 4 } else { 1 };
        let blocks = [m.div_ceil(rows * 8) as u32, 1, n.div_ceil(8) as u32];
        let grid = Grid { blocks, threads: 256, shared: 8 * 512 * size_of::<f32>() };
        return cuda.launch(&format!("thin_{name}_{rows}"), grid, &product.arguments());
    }
    let shared = 2 * 16 * (64 + 4) * size_of::<f32>();
    let grid = chunked(m.div_ceil(64) * n.div_ceil(64), chunks, 128, shared);
    cuda.launch(&format!("simt_{name}"), grid, &product.arguments())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_fit_a_processor_and_suit_the_size() {
        for tile in TILES.iter().chain([ANY]) {
            assert!(
                tile.shared() <= 163 << 10,
                "{}: {} bytes of shared memory",
                tile.name,
                tile.shared()
            );
            assert!(tile.threads() <= 256, "{}: {} threads", tile.name, tile.threads());
        }
        let name = |form, m, n| choose(form, m, n, 108, 163 << 10).name;
        assert_eq!(name(Form::Nt, 8192, 16384), "large");
        assert_eq!(name(Form::Nt, 256, 4096), "medium");
        assert_eq!(name(Form::Nn, 64, 4096), "small");
        assert_eq!(name(Form::Nt, 1, 4096), "few");
        assert_eq!(name(Form::Tn, 1, 4096), "small");
        // A block of later consumer devices has 99 KiB.
        assert_eq!(choose(Form::Nt, 8192, 16384, 84, 99 << 10).name, "medium");
    }
}

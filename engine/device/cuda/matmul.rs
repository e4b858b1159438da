//! Products: which kernel, which tile, which grid. The tile never changes a bit, see
//! `kernels/matmul.cuh`.

use super::entries::TileName;
use super::*;
use crate::device::ops::{LowRankBackward, Matmul};
use kernels::interface::RUN;

/// A tile of the tensor-core kernels.
struct Tile {
    name: TileName,
    shape: interface::Tile,
    /// Blocks of it that a processor holds at once: by their registers and shared memory.
    held: usize,
}

/// Widest first: on equal cost the tile that reads less wins.
const TILES: [Tile; 7] = [
    // One block of 8 warps fills a processor's registers; rows of a are read n/256 times, rows of b
    // m/128 times.
    Tile { name: TileName::Large, shape: interface::LARGE, held: 1 },
    // Finer at the edges of y and in the last wave of blocks.
    Tile { name: TileName::Medium, shape: interface::MEDIUM, held: 2 },
    Tile { name: TileName::Small, shape: interface::SMALL, held: 2 },
    // Some hundred rows: as tall as the largest, so that b is read by few blocks, but twice as many
    // of them.
    Tile { name: TileName::Half, shape: interface::HALF, held: 2 },
    // Up to 48 rows, 96, 144: what a tile of 64 fills by halves.
    Tile { name: TileName::Low, shape: interface::LOW, held: 2 },
    // The beams of a user: narrow, so that there are enough blocks, each 32 rows of b 4 × 128 deep
    // ahead.
    Tile { name: TileName::Narrow, shape: interface::NARROW, held: 2 },
    // One to sixteen rows (a decode step).
    Tile { name: TileName::Few, shape: interface::FEW, held: 3 },
];

/// Of these the first are those of the gradients of weights, which have no few rows: such go to
/// `thin_gradient`.
const OF_GRADIENTS: usize = 3;

/// The tile of operands at any address: they are gathered element by element, half as deep so that
/// it fits registers.
const ANY: &Tile = &Tile { name: TileName::Any, shape: interface::LOOSE, held: 2 };

/// What a choice of tiles is made for, an A100 at its full clock; where these are others of the
/// same proportions the choice is the same. Multiplications of tensor cores, bytes of shared memory
/// and bytes from L2, a processor and clock; clocks a second; a processor's share of the bytes that
/// memory gives to a stream in a second, and the seconds that a byte is under way.
const TENSOR: f64 = 1024.0;
const SHARED: f64 = 128.0;
const FROM_L2: f64 = 47.0;
const CLOCK: f64 = 1.41e9;
const MEMORY: f64 = 0.92 * 2.039e12 / 108.0;
const LATENCY: f64 = 750e-9;
/// What is left of the rate of tiles that start, end and read through L2 more often than the
/// largest.
const SMALLER: f64 = 0.95;

impl Tile {
    fn blocks(&self, m: usize, n: usize) -> usize {
        m.div_ceil(self.shape.rows) * n.div_ceil(self.shape.columns)
    }

    /// Share of the tensor cores' rate that its main loop reaches: each warp reads its rows of a
    /// and b from shared memory, where copies have put them once.
    fn rate(&self) -> f64 {
        let interface::Tile { rows, columns, warp_rows, warp_columns, .. } = self.shape;
        // Of one element of k, 16 bits wide.
        let tensor = (rows * columns) as f64 / TENSOR;
        let read = rows * (columns / warp_columns + 1) + columns * (rows / warp_rows + 1);
        let shared = (2 * read) as f64 / SHARED;
        let brought = (2 * (rows + columns)) as f64 / FROM_L2;
        let share = (tensor / shared).min(tensor / brought).min(1.0);
        if self.name == TileName::Large {
            share
        } else {
            SMALLER * share
        }
    }

    /// Seconds of a product: those of the busiest processor's tensor cores, and those in which its
    /// bytes come. What is on its way from memory at one time are the stages ahead of b in all
    /// blocks that run: few narrow blocks do not fill the memory's pipe, however little there is to
    /// compute.
    fn seconds(&self, (m, n, k): (usize, usize, usize), processors: usize) -> [f64; 2] {
        let interface::Tile { rows, columns, depth, stages, .. } = self.shape;
        let waves = self.blocks(m, n).div_ceil(processors);
        let tensor = (waves * rows * columns * k) as f64 / (TENSOR * self.rate()) / CLOCK;
        let running = self.blocks(m, n).min(processors * self.held);
        let ahead = 2 * running * (stages - 1) * depth * columns;
        let bytes = (2 * (n * k + m * k + m * n)) as f64;
        let most = MEMORY * processors as f64;
        [tensor, bytes / most.min(ahead as f64 / LATENCY)]
    }

    /// The larger of both; where that is the same, the tensor cores' own.
    fn cost(&self, size: (usize, usize, usize), processors: usize) -> (f64, f64) {
        let [tensor, bytes] = self.seconds(size, processors);
        (tensor.max(bytes), tensor)
    }
}

/// The cheapest tile that a device of so many processors, with so much shared memory for a block,
/// can run.
fn choose(
    form: Form,
    size: (usize, usize, usize),
    processors: usize,
    shared: usize,
) -> &'static Tile {
    let tiles = if form == Form::Tn { &TILES[..OF_GRADIENTS] } else { &TILES[..] };
    let cost = |tile: &Tile| tile.cost(size, processors);
    tiles
        .iter()
        .filter(|tile| tile.shape.shared() <= shared)
        .min_by(|x, y| cost(x).partial_cmp(&cost(y)).expect("a time is a number"))
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

/// The parameters of the product kernels that wrappers change, the rest is the epilogue's.
struct Product<'a> {
    y: Address,
    a: Address,
    b: Address,
    size: (usize, usize, usize),
    /// Length of k that one block sums.
    chunk: usize,
    kinds: [Dtype; 3],
    epilogue: &'a Epilogue<'a>,
    /// A tail whose z is still of so many sums.
    tail: Option<(Address, usize, LowRankFactors<'a>)>,
}

impl Product<'_> {
    fn parameters(&self) -> interface::Product {
        let Epilogue { scale, bias, gelu, pre_activation, gelu_of, low_rank, residual, write } =
            self.epilogue;
        let argument = gelu_of.map(|(x, _)| x);
        let before = pre_activation.as_ref().map(|x| x.as_view()).or(argument);
        let residual_of = residual.map(|r| r.0);
        let (z, factor) = (low_rank.map(|l| l.z), low_rank.map(|l| l.factor));
        let sums = self.tail.map(|(z, sums, _)| (z, sums));
        let own = self.tail.map(|(_, _, factors)| factors);
        let factor = factor.or(own.map(|factors| factors.b));
        let rank = own.map(|factors| factors.a.rows()).or(z.map(|z| z.cols()));
        let kind = |x: Option<View>| x.map_or(0, |x| code(x.dtype()));
        let [y, a, b] = self.kinds.map(code);
        let gelu = match gelu.or(gelu_of.map(|(_, form)| form)) {
            None => 0,
            Some(Gelu::Tanh) => interface::CHOICE_GELU_TANH,
            Some(Gelu::Erf) => interface::CHOICE_GELU_ERF,
        };
        let slope = if gelu_of.is_some() { interface::CHOICE_SLOPE } else { 0 };
        let add = if *write == Write::Add { interface::CHOICE_ADD } else { 0 };
        let (m, n, k) = self.size;
        interface::Product {
            y: self.y,
            before: address(before),
            a: self.a,
            b: self.b,
            bias: address(*bias),
            residual: address(residual_of),
            z: sums.map_or_else(|| address(z), |(z, _)| z),
            factor: address(factor),
            m: count(m),
            n: count(n),
            k: count(k),
            chunk: count(self.chunk),
            rank: count(rank.unwrap_or(0)),
            kinds: y << interface::KIND_OF_Y
                | kind(before) << interface::KIND_OF_BEFORE
                | kind(*bias) << interface::KIND_OF_BIAS
                | kind(residual_of) << interface::KIND_OF_RESIDUAL
                | kind(z) << interface::KIND_OF_Z
                | kind(factor) << interface::KIND_OF_FACTOR
                | a << interface::KIND_OF_A
                | b << interface::KIND_OF_B,
            choices: (gelu | slope | add) as u32
                | count(sums.map_or(0, |(_, sums)| sums)) << interface::SUMS_OF_Z,
            scale: *scale,
            low_rank_scale: low_rank.map(|l| l.scale).or(own.map(|f| f.scale)).unwrap_or(0.0),
            residual_scale: residual.map_or(0.0, |r| r.1),
        }
    }
}

impl Matmul for Cuda {
    fn matmul(&self, y: ViewMut, a: View, b: View, form: Form, epilogue: Epilogue) -> Result<()> {
        let (m, n) = (y.rows(), y.cols());
        let k = if form == Form::Tn { a.rows() } else { a.cols() };
        self.counts.product((m, n, k));
        let product = Product {
            y: (&y).into(),
            a: a.into(),
            b: b.into(),
            size: (m, n, k),
            chunk: k,
            kinds: [y.dtype(), a.dtype(), b.dtype()],
            epilogue: &epilogue,
            tail: None,
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
            let (entry, wide, few) = match n <= m {
                true => (self.entries.thin_gradient_b, m, n),
                false => (self.entries.thin_gradient_a, n, m),
            };
            let across = wide.div_ceil(entry.threads() * RUN);
            let grid = Grid {
                blocks: [across as u32, chunks as u32, few.div_ceil(RUN) as u32],
                shared: interface::thin_gradient_shared(chunk),
            };
            let parameters = interface::ThinGradient {
                partial: partial.at(),
                a: a.into(),
                b: b.into(),
                m: count(m),
                n: count(n),
                k: count(k),
                rows: count(chunk),
                kinds: code(a.dtype()) << interface::KIND_OF_A
                    | code(b.dtype()) << interface::KIND_OF_B,
                unused: 0,
            };
            self.launch(entry, grid, parameters)?;
        } else {
            let bare = Epilogue::default();
            let kinds = [Dtype::F32, a.dtype(), b.dtype()];
            let part = Product { y: partial.at(), chunk, kinds, epilogue: &bare, ..product };
            sums(self, &part, a, b, form, chunks)?;
        }
        reduce(self, &Product { a: partial.at(), size: (m, n, chunks), ..product })
    }

    /// In bf16 the product takes z from the sums over chunks of k as it comes to its tail, where
    /// the launch that would add them costs as much as it does.
    fn adapted<'e>(
        &self,
        y: ViewMut<'e>,
        x: View,
        w: View,
        factors: LowRankFactors,
        epilogue: Epilogue<'e>,
    ) -> Result<Option<(ViewMut<'e>, Epilogue<'e>)>> {
        let LowRankFactors { a, .. } = factors;
        let (m, n, k, rank) = (y.rows(), y.cols(), x.cols(), a.rows());
        if (x.dtype(), w.dtype()) != (Dtype::Bf16, Dtype::Bf16) || !is_factored(x, a) {
            return Ok(Some((y, epilogue)));
        }
        self.counts.product((m, rank, k));
        self.counts.product((m, n, k));
        let sums = thin_sums(self, x, a)?;
        let product = Product {
            y: (&y).into(),
            a: x.into(),
            b: w.into(),
            size: (m, n, k),
            chunk: k,
            kinds: [y.dtype(), x.dtype(), w.dtype()],
            epilogue: &epilogue,
            tail: Some((sums.at(), thin_chunks(k), factors)),
        };
        self::sums(self, &product, x, w, Form::Nt, 1).map(|()| None)
    }

    fn low_rank_backward<'a>(
        &self,
        asked: LowRankBackward<'a>,
    ) -> Result<Option<LowRankBackward<'a>>> {
        let LowRankBackward { dy, b, z, scale, .. } = asked;
        let (m, n, rank) = (dy.rows(), dy.cols(), b.cols());
        if dy.dtype() != Dtype::Bf16 || rank > THIN || n >= WIDEST {
            return Ok(Some(asked));
        }
        self.counts.product((m, rank, n));
        self.counts.product((n, rank, m));
        let (across, down) =
            (n.div_ceil(interface::LOW_RANK_COLUMNS), m.div_ceil(interface::LOW_RANK_ROWS));
        let of_dz = self.scratch(across * m * rank * size_of::<f32>())?;
        let of_b = self.scratch(down * n * rank * size_of::<f32>())?;
        // At any address the same kernel gathers dy element by element: a row has the same bits
        // wherever it stands.
        let aligned = dy.address().is_multiple_of(16) && n.is_multiple_of(8);
        let parameters = interface::LowRankBackward {
            dz: of_dz.at(),
            d_b: of_b.at(),
            dy: dy.into(),
            z: z.into(),
            b: b.into(),
            m: count(m),
            n: count(n),
            rank: count(rank),
            unused: 0,
        };
        let grid = chunked(across * rank.div_ceil(RUN), down, interface::LOW_RANK_SHARED);
        self.launch(self.entries.low_rank_backward[usize::from(aligned)], grid, parameters)?;
        let set = Epilogue { scale, ..Epilogue::default() };
        add_up(self, asked.dz, of_dz, (m, rank, across), &set)?;
        let add = Epilogue { scale, write: Write::Add, ..Epilogue::default() };
        add_up(self, asked.d_b, of_b, (n, rank, down), &add)?;
        Ok(None)
    }

    fn sum_rows(&self, y: ViewMut, x: View) -> Result<()> {
        let (rows, n) = (x.rows(), x.cols());
        let chunks = rows.div_ceil(CHUNK);
        let partial = self.scratch(chunks * n * size_of::<f32>())?;
        let entry = self.entries.sum_chunks;
        let parameters = interface::SumChunks {
            partial: partial.at(),
            x: x.into(),
            n: count(n),
            k: count(rows),
            rows: count(CHUNK),
            kind: code(x.dtype()),
        };
        self.launch(entry, chunked(n.div_ceil(entry.threads() * RUN), chunks, 0), parameters)?;
        let add = Epilogue { write: Write::Add, ..Epilogue::default() };
        add_up(self, y, partial, (1, n, chunks), &add)
    }
}

/// y `[m, n]` = epilogue of `[chunks, m, n]` f32, added in their order.
fn add_up(
    cuda: &Cuda,
    y: ViewMut,
    partial: Scratch,
    (m, n, chunks): (usize, usize, usize),
    epilogue: &Epilogue,
) -> Result<()> {
    let product = Product {
        y: (&y).into(),
        a: partial.at(),
        b: Address::default(),
        size: (m, n, chunks),
        chunk: chunks,
        kinds: [y.dtype(), Dtype::F32, Dtype::F32],
        epilogue,
        tail: None,
    };
    reduce(cuda, &product)
}

/// y = epilogue of the partial sums at `a`, added in their order.
fn reduce(cuda: &Cuda, product: &Product) -> Result<()> {
    let ((m, n, _), entry) = (product.size, cuda.entries.split_k_reduce);
    let blocks = (m * n.div_ceil(RUN)).div_ceil(entry.threads());
    cuda.launch(entry, Grid::of(blocks), product.parameters())
}

/// `blocks` for each of `chunks`.
fn chunked(blocks: usize, chunks: usize, shared: usize) -> Grid {
    let mut grid = Grid::of(blocks).shared(shared);
    grid.blocks[1] = chunks as u32;
    grid
}

/// Whether a·bᵀ is of few columns and on tensor cores: bf16 rows a by a factor b of f32.
fn is_factored(a: View, b: View) -> bool {
    let dtypes = (a.dtype(), b.dtype()) == (Dtype::Bf16, Dtype::F32);
    dtypes && (1..=THIN).contains(&b.rows()) && (1..WIDEST).contains(&a.cols())
}

/// Of how many sums over k such a product is.
fn thin_chunks(k: usize) -> usize {
    k.div_ceil(interface::THIN_MMA_CHUNK)
}

/// These sums, `[chunks, m, n]` f32.
fn thin_sums<'a>(cuda: &'a Cuda, a: View, b: View) -> Result<Scratch<'a>> {
    let ((m, k), n) = ((a.rows(), a.cols()), b.rows());
    let partial = cuda.scratch(thin_chunks(k) * m * n * size_of::<f32>())?;
    let aligned = [a, b].iter().all(|x| x.address() % 16 == 0) && k % 8 == 0;
    let blocks = |rows: usize| m.div_ceil(rows) * n.div_ceil(interface::THIN_COLUMNS);
    // Wide blocks share what is read of b; of few rows there is not one for every processor.
    let wide = blocks(interface::THIN_MMA_ROWS);
    let (entries, blocks, shared) = match wide * thin_chunks(k) < cuda.processors() {
        true => {
            (cuda.entries.thin_few, blocks(interface::THIN_FEW_ROWS), interface::THIN_FEW_SHARED)
        }
        false => (cuda.entries.thin_mma, wide, interface::THIN_MMA_SHARED),
    };
    let product = Product {
        y: partial.at(),
        a: a.into(),
        b: b.into(),
        size: (m, n, k),
        chunk: k,
        kinds: [Dtype::F32, a.dtype(), b.dtype()],
        epilogue: &Epilogue::default(),
        tail: None,
    };
    let grid = chunked(blocks, thin_chunks(k), shared);
    cuda.launch(entries[usize::from(aligned)], grid, product.parameters())?;
    Ok(partial)
}

/// One kernel over all of k, or over `chunks` of it.
fn sums(cuda: &Cuda, product: &Product, a: View, b: View, form: Form, chunks: usize) -> Result<()> {
    let entries = cuda.entries.products(form);
    let (m, n, k) = product.size;
    let [_, of_a, of_b] = product.kinds;
    let narrow = a.cols().max(b.cols()) < WIDEST;
    if of_a == of_b && of_a != Dtype::F32 && narrow {
        let aligned = [a, b].iter().all(|x| x.address() % 16 == 0 && x.cols() % 8 == 0);
        let shared = cuda.driver.properties().shared;
        let tile =
            if aligned { choose(form, product.size, cuda.processors(), shared) } else { ANY };
        let grid = chunked(tile.blocks(m, n), chunks, tile.shape.shared());
        return cuda.launch(entries.tile(tile.name, of_a), grid, product.parameters());
    }
    if form == Form::Nt && is_factored(a, b) {
        let partial = thin_sums(cuda, a, b)?;
        return reduce(
            cuda,
            &Product { a: partial.at(), size: (m, n, thin_chunks(k)), ..*product },
        );
    }
    if let Some([one, four]) = entries.thin.filter(|_| n <= THIN) {
        // Four rows a warp share what is read of b; few rows are spread over more warps.
        let warps = four.threads() / 32;
        let (entry, rows) = match m.div_ceil(4 * warps) >= cuda.processors() {
            true => (four, 4 * warps),
            false => (one, one.threads() / 32),
        };
        let across = n.div_ceil(interface::THIN_COLUMNS);
        let blocks = [m.div_ceil(rows) as u32, 1, across as u32];
        let grid = Grid { blocks, shared: interface::THIN_SHARED };
        return cuda.launch(entry, grid, product.parameters());
    }
    let side = interface::SIMT_SIDE;
    let grid = chunked(m.div_ceil(side) * n.div_ceil(side), chunks, interface::SIMT_SHARED);
    cuda.launch(entries.simt, grid, product.parameters())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_fit_a_processor_and_suit_the_size() {
        for tile in TILES.iter().chain([ANY]) {
            assert!(
                tile.shape.shared() <= 163 << 10,
                "{:?}: {} bytes of shared memory",
                tile.name,
                tile.shape.shared()
            );
            assert!(
                tile.shape.threads() <= 256,
                "{:?}: {} threads",
                tile.name,
                tile.shape.threads()
            );
        }
        let name = |form, m, n| choose(form, (m, n, 4096), 108, 163 << 10).name;
        assert_eq!(name(Form::Nt, 8192, 16384), TileName::Large);
        assert_eq!(name(Form::Nt, 256, 4096), TileName::Medium);
        assert_eq!(name(Form::Nn, 64, 4096), TileName::Small);
        assert_eq!(name(Form::Nt, 1, 4096), TileName::Few);
        assert_eq!(name(Form::Tn, 1, 4096), TileName::Small);
        // A block of later consumer devices has 99 KiB.
        let consumer = choose(Form::Nt, (8192, 16384, 4096), 84, 99 << 10);
        assert_eq!(consumer.name, TileName::Medium);
    }

    /// Rows of a step, a user's prompt, a pass of many users, a training; the four linears of
    /// GLM-10B. Predicted, not measured: before, tiles were chosen by waves alone, among four, of
    /// which the small one had three stages.
    #[test]
    fn tiles_of_the_models_products() {
        use TileName::{Few, Half, Large, Low, Medium, Narrow, Small};
        const LINEARS: [(usize, usize); 4] =
            [(12288, 4096), (4096, 4096), (16384, 4096), (4096, 16384)];
        let shallow = interface::Tile { stages: 3, ..interface::SMALL };
        let shallow = Tile { name: Small, shape: shallow, held: 2 };
        let before = |m: usize, n: usize| {
            let waves = |tile: &Tile, rate: f64| {
                let elements = tile.shape.rows * tile.shape.columns;
                (tile.blocks(m, n).div_ceil(108) * elements) as f64 / rate
            };
            let all = [(&TILES[0], 1.0), (&TILES[1], 0.95), (&shallow, 0.7), (&TILES[6], 0.2)];
            let cheapest = all.iter().min_by(|x, y| waves(x.0, x.1).total_cmp(&waves(y.0, y.1)));
            let (tile, _) = cheapest.unwrap();
            (tile.shape, tile.held, tile.name)
        };
        let expected = [
            (1, [Few, Few, Few, Few], [215.0, 215.0]),
            (20, [Low, Low, Narrow, Low], [247.0, 216.0]),
            (42, [Low, Low, Low, Low], [249.0, 218.0]),
            (129, [Large, Low, Half, Low], [423.0, 406.0]),
            (640, [Medium, Half, Large, Half], [988.0, 936.0]),
            (2700, [Large, Medium, Large, Medium], [3943.0, 3943.0]),
            (8192, [Large, Large, Large, Large], [10876.0, 10876.0]),
        ];
        for (m, chosen, micros) in expected {
            let mut sums = [0.0; 2];
            for ((n, k), name) in LINEARS.into_iter().zip(chosen) {
                let tile = choose(Form::Nt, (m, n, k), 108, 163 << 10);
                assert_eq!(tile.name, name, "{m} rows, {n} × {k}");
                let (shape, held, name) = before(m, n);
                let earlier = Tile { name, shape, held };
                sums[0] += 1e6 * earlier.cost((m, n, k), 108).0;
                sums[1] += 1e6 * tile.cost((m, n, k), 108).0;
            }
            let sums = sums.map(f64::round);
            println!("{m} rows: predicted {} µs a layer before, {} now", sums[0], sums[1]);
            assert_eq!(sums, micros, "{m} rows");
        }
    }
}

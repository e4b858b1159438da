//! Products in every form, dtype and epilogue, those of an adapter's backward, and column sums.

use super::judge::{judge, judge_rounded, results, Bound, Given, FLOATS};
use super::Case;
use crate::oracle;
use engine::base::Dtype;
use engine::device::{Device, Epilogue, Form, Gelu, LowRank, LowRankFactors, View, Write};

pub const CASES: &[Case] = &[
    ("matmul", forms),
    ("matmul", dtypes),
    ("matmul", epilogues),
    ("matmul", deep),
    ("matmul", gelu_again),
    ("matmul", gelu_slopes),
    ("matmul", low_ranks),
    ("matmul", rows_alone),
    ("matmul", addresses),
    ("adapted", adapted),
    ("low_rank_backward", low_rank_backward),
    ("low_rank_backward", low_rank_backward_digits),
    ("low_rank_backward", low_rank_backward_rows_alone),
    ("low_rank_backward", low_rank_backward_addresses),
    ("sum_rows", sum_rows),
];

const FORMS: [Form; 3] = [Form::Nt, Form::Nn, Form::Tn];

struct Problem {
    m: usize,
    n: usize,
    k: usize,
    form: Form,
    a: Given,
    b: Given,
}

impl Problem {
    fn new(
        device: &Device,
        (m, n, k): (usize, usize, usize),
        form: Form,
        dtypes: [Dtype; 2],
    ) -> Problem {
        let (a, b) = match form {
            Form::Nt => ((m, k), (n, k)),
            Form::Nn => ((m, k), (k, n)),
            Form::Tn => ((k, m), (k, n)),
        };
        let seed = (m * 1_000_003 + n * 1009 + k) as u64;
        Problem {
            m,
            n,
            k,
            form,
            a: Given::noise(device, a.0, a.1, dtypes[0], seed),
            b: Given::noise(device, b.0, b.1, dtypes[1], seed + 1),
        }
    }

    fn product(&self) -> Vec<f64> {
        oracle::matmul(&self.a.values, &self.b.values, (self.m, self.n, self.k), self.form)
    }

    fn label(&self) -> String {
        let Problem { m, n, k, form, .. } = self;
        format!("matmul {m}x{n}x{k} {form:?} {} {}", self.a.tensor.dtype(), self.b.tensor.dtype())
    }
}

fn forms(device: &Device) {
    let sizes = [1, 2, 3, 7, 8, 16, 31, 33, 64, 257];
    for form in FORMS {
        for m in sizes {
            for n in sizes {
                for k in [1, 2, 3, 16, 31, 257] {
                    plain(device, (m, n, k), form);
                }
            }
        }
        // Beyond one stretch of the depth, one block of rows, one block of columns; and no depth at
        // all.
        for shape in [
            (5, 40, 1025),
            (1, 300, 1500),
            (520, 20, 700),
            (1040, 16, 16),
            (9, 530, 64),
            (70, 1, 600),
            (3, 5, 0),
        ] {
            plain(device, shape, form);
        }
    }
}

fn plain(device: &Device, shape: (usize, usize, usize), form: Form) {
    let problem = Problem::new(device, shape, form, [Dtype::F32; 2]);
    let expected = problem.product();
    let bound = Bound::sums(problem.k);
    let mut y = Given::noise(device, problem.m, problem.n, Dtype::F32, 7);
    let sum: Vec<f64> = y.values.iter().zip(&expected).map(|(y, x)| y + x).collect();
    for (write, expected) in [(Write::Add, sum), (Write::Set, expected)] {
        let epilogue = Epilogue { write, ..Epilogue::default() };
        device
            .matmul(y.tensor.view_mut(), problem.a.view(), problem.b.view(), form, epilogue)
            .unwrap();
        judge(&format!("{} {write:?}", problem.label()), device, y.view(), &expected, bound);
    }
}

fn dtypes(device: &Device) {
    for form in FORMS {
        for shape in [(1, 17, 40), (33, 31, 72), (20, 300, 600), (600, 9, 33)] {
            for a in FLOATS {
                for b in FLOATS {
                    for y in FLOATS {
                        let problem = Problem::new(device, shape, form, [a, b]);
                        let expected = problem.product();
                        let bound = Bound::sums(problem.k);
                        let mut y = Given::noise(device, problem.m, problem.n, y, 7);
                        let (a, b) = (problem.a.view(), problem.b.view());
                        device
                            .matmul(y.tensor.view_mut(), a, b, form, Epilogue::default())
                            .unwrap();
                        judge(&problem.label(), device, y.view(), &expected, bound);
                    }
                }
            }
        }
    }
}

fn epilogues(device: &Device) {
    for form in [Form::Nt, Form::Nn] {
        for shape in [(1, 24, 31), (37, 70, 33), (530, 40, 600)] {
            for dtype in FLOATS {
                for choice in 0..64 {
                    fused(device, shape, form, dtype, choice);
                }
            }
        }
    }
}

/// One choice of the six things a product may do before it writes.
fn fused(device: &Device, shape: (usize, usize, usize), form: Form, dtype: Dtype, choice: u32) {
    let has = |bit: u32| choice >> bit & 1 == 1;
    let problem = Problem::new(device, shape, form, [dtype; 2]);
    let (m, n) = (problem.m, problem.n);
    const RANK: usize = 5;
    let bias = Given::noise(device, 1, n, dtype, 11);
    let z = Given::noise(device, m, RANK, dtype, 12);
    let factor = match form {
        Form::Nt => Given::noise(device, n, RANK, dtype, 13),
        _ => Given::noise(device, RANK, n, dtype, 13),
    };
    let residual = Given::noise(device, m, n, dtype, 14);
    let mut y = Given::noise(device, m, n, dtype, 15);
    let mut before = Given::noise(device, m, n, dtype, 16);
    let gelu = has(1).then_some(if has(2) { Gelu::Erf } else { Gelu::Tanh });
    let write = if has(5) { Write::Add } else { Write::Set };
    let (scale, low_rank_scale, residual_scale) = (0.75, 0.5, 1.25);

    let low_rank = oracle::matmul(&z.values, &factor.values, (m, n, RANK), form);
    let (mut expected, mut argument) = (Vec::new(), Vec::new());
    for (i, product) in problem.product().into_iter().enumerate() {
        let mut sum = scale * product;
        if has(0) {
            sum += bias.values[i % n];
        }
        if has(3) {
            sum += low_rank_scale * low_rank[i];
        }
        argument.push(sum);
        let mut result = gelu.map_or(sum, |form| oracle::gelu(sum, form));
        if has(4) {
            result += residual_scale * residual.values[i];
        }
        expected.push(result + if has(5) { y.values[i] } else { 0.0 });
    }

    let epilogue = Epilogue {
        scale: scale as f32,
        bias: has(0).then(|| bias.view()),
        gelu,
        pre_activation: gelu.is_some().then(|| before.tensor.view_mut()),
        gelu_of: None,
        low_rank: has(3).then(|| LowRank {
            z: z.view(),
            factor: factor.view(),
            scale: low_rank_scale as f32,
        }),
        residual: has(4).then(|| (residual.view(), residual_scale as f32)),
        write,
    };
    device.matmul(y.tensor.view_mut(), problem.a.view(), problem.b.view(), form, epilogue).unwrap();
    let bound = Bound::sums(problem.k + RANK + 4);
    let label = format!("{} choice {choice:06b}", problem.label());
    // GELU takes its argument as y holds it, and is nowhere steeper than 1.13.
    let size = |i: usize| if gelu.is_some() { 1.13 * argument[i].abs() } else { 0.0 };
    judge_rounded(&label, device, y.view(), &expected, bound, size);
    if gelu.is_some() {
        judge(&format!("{label} pre_activation"), device, before.view(), &argument, bound);
    }
}

/// The depth of real linears, and sizes at which each tile of a GPU's kernels is the best choice,
/// with an edge.
fn deep(device: &Device) {
    let shapes = [
        (17, 72, 4096),
        (40, 136, 328),
        (9, 40, 16384),
        (120, 120, 72),
        (100, 130, 328),
        (100, 136, 328),
        (250, 250, 72),
        (250, 504, 72),
        (256, 504, 72),
        (256, 256, 72),
    ];
    for form in FORMS {
        for dtype in [Dtype::F16, Dtype::Bf16] {
            for shape in shapes {
                let problem = Problem::new(device, shape, form, [dtype; 2]);
                let mut y = Given::noise(device, problem.m, problem.n, Dtype::F32, 7);
                let (a, b) = (problem.a.view(), problem.b.view());
                device.matmul(y.tensor.view_mut(), a, b, form, Epilogue::default()).unwrap();
                judge(
                    &problem.label(),
                    device,
                    y.view(),
                    &problem.product(),
                    Bound::sums(problem.k),
                );
            }
        }
    }
    // Of the emulator's small device each tile is the best choice of one of them.
    if device.place().is_emulated() {
        let launched = device.work().expect("a device that counts").launches;
        let tiles = kernels::ENTRIES.iter().map(|entry| entry.name);
        for tile in tiles.filter(|name| name.starts_with("gemm_") && !name.contains("_any_")) {
            assert!(launched.contains_key(tile), "{tile}: no shape chooses it");
        }
    }
    // An adapter's products: a thin f32 operand beside a 16-bit one, and gradients over many rows.
    for (shape, form) in
        [((40, 8, 4096), Form::Nt), ((3, 11, 700), Form::Nn), ((72, 8, 600), Form::Tn)]
    {
        for dtypes in [[Dtype::Bf16, Dtype::F32], [Dtype::F16, Dtype::F32], [Dtype::F32; 2]] {
            let problem = Problem::new(device, shape, form, dtypes);
            let mut y = Given::noise(device, problem.m, problem.n, Dtype::F32, 7);
            let (a, b) = (problem.a.view(), problem.b.view());
            device.matmul(y.tensor.view_mut(), a, b, form, Epilogue::default()).unwrap();
            judge(&problem.label(), device, y.view(), &problem.product(), Bound::sums(problem.k));
        }
    }
}

/// A linear with an adapter whose z nobody wants: within the bound, and the bits of both products.
fn adapted(device: &Device) {
    const SCALE: f32 = 0.5;
    for (m, n, k) in [(1, 24, 31), (3, 72, 1000), (37, 136, 2056), (70, 40, 4096), (300, 72, 520)] {
        for (dtype, rank) in FLOATS.into_iter().flat_map(|d| [1, 8, 19].map(|rank| (d, rank))) {
            let problem = Problem::new(device, (m, n, k), Form::Nt, [dtype; 2]);
            let (x, w) = (problem.a.view(), problem.b.view());
            let a = Given::noise(device, rank, k, Dtype::F32, 12);
            let b = Given::noise(device, n, rank, Dtype::F32, 13);
            let bias = Given::noise(device, 1, n, Dtype::F32, 14);
            let residual = Given::noise(device, m, n, dtype, 15);
            let given = |rows, cols| Given::noise(device, rows, cols, dtype, 16);
            let (mut y, mut two, mut z) = (given(m, n), given(m, n), given(m, rank));
            let epilogue = || Epilogue {
                bias: Some(bias.view()),
                residual: Some((residual.view(), 1.25)),
                ..Epilogue::default()
            };
            let factors = LowRankFactors { a: a.view(), b: b.view(), scale: SCALE };
            device.adapted(y.tensor.view_mut(), x, w, factors, epilogue()).unwrap();
            let plain = Epilogue::default();
            device.matmul(z.tensor.view_mut(), x, a.view(), Form::Nt, plain).unwrap();
            let low_rank = Some(LowRank { z: z.view(), factor: b.view(), scale: SCALE });
            let whole = Epilogue { low_rank, ..epilogue() };
            device.matmul(two.tensor.view_mut(), x, w, Form::Nt, whole).unwrap();
            let label = format!("adapted {m}x{n}x{k} rank {rank} {dtype}");
            let bits = |x: &Given| {
                let values = results(&label, device, x.view());
                values.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            assert_eq!(bits(&y), bits(&two), "{label}");
            // What z is rounded to is its own, so the tail is of that.
            let z: Vec<f64> =
                results(&label, device, z.view()).into_iter().map(f64::from).collect();
            let tail = oracle::matmul(&z, &b.values, (m, n, rank), Form::Nt);
            let expected: Vec<f64> = problem
                .product()
                .into_iter()
                .enumerate()
                .map(|(i, product)| {
                    let tail = f64::from(SCALE) * tail[i];
                    product + tail + bias.values[i % n] + 1.25 * residual.values[i]
                })
                .collect();
            // z is as large as a sum of k products.
            let bound = Bound { scale: (k as f64 / 3.0).sqrt().max(1.0) * 2.0, terms: k + rank };
            judge(&label, device, y.view(), &expected, bound);
        }
    }
}

/// GELU of what a product left of its argument is what the product gave, to the bit, whether or not
/// it left it: what a pass does not keep is computed again.
fn gelu_again(device: &Device) {
    for dtype in FLOATS {
        for (shape, form) in [((37, 72, 48), Form::Nt), ((5, 33, 31), Form::Nn)] {
            for gelu in [Gelu::Tanh, Gelu::Erf] {
                let problem = Problem::new(device, shape, form, [dtype; 2]);
                let (m, n) = (problem.m, problem.n);
                let given = || Given::noise(device, m, n, dtype, 7);
                let (mut y, mut alone, mut before, mut again) =
                    (given(), given(), given(), given());
                let (a, b) = (problem.a.view(), problem.b.view());
                let kept = Some(before.tensor.view_mut());
                let epilogue =
                    Epilogue { gelu: Some(gelu), pre_activation: kept, ..Epilogue::default() };
                device.matmul(y.tensor.view_mut(), a, b, form, epilogue).unwrap();
                let epilogue = Epilogue { gelu: Some(gelu), ..Epilogue::default() };
                device.matmul(alone.tensor.view_mut(), a, b, form, epilogue).unwrap();
                device.gelu(again.tensor.view_mut(), before.view(), gelu).unwrap();
                let bits = |x: &Given| {
                    let values = device.download_f32(x.view()).unwrap();
                    values.into_iter().map(f32::to_bits).collect::<Vec<_>>()
                };
                assert_eq!(bits(&y), bits(&alone), "{} {gelu:?} alone", problem.label());
                assert_eq!(bits(&y), bits(&again), "{} {gelu:?} again", problem.label());
            }
        }
    }
}

/// A product that is the gradient of a GELU is multiplied by its slope, behind bias and tail.
fn gelu_slopes(device: &Device) {
    const RANK: usize = 5;
    for form in [Form::Nt, Form::Nn] {
        for ((m, n, k), dtype) in
            [((1, 24, 31), Dtype::F32), ((37, 70, 33), Dtype::F16), ((130, 40, 96), Dtype::Bf16)]
        {
            for choice in 0..8 {
                let has = |bit: u32| choice >> bit & 1 == 1;
                let problem = Problem::new(device, (m, n, k), form, [dtype; 2]);
                let argument = Given::noise(device, m, n, dtype, 11);
                let z = Given::noise(device, m, RANK, dtype, 12);
                let (rows, cols) = if form == Form::Nt { (n, RANK) } else { (RANK, n) };
                let factor = Given::noise(device, rows, cols, Dtype::F32, 13);
                let mut y = Given::noise(device, m, n, dtype, 14);
                let gelu = if has(0) { Gelu::Erf } else { Gelu::Tanh };
                let tail = oracle::matmul(&z.values, &factor.values, (m, n, RANK), form);
                let product = problem.product();
                let expected: Vec<f64> = (0..m * n)
                    .map(|i| {
                        let sum = product[i] + if has(1) { 0.5 * tail[i] } else { 0.0 };
                        let old = if has(2) { y.values[i] } else { 0.0 };
                        old + oracle::gelu_slope(argument.values[i], gelu) * sum
                    })
                    .collect();
                let low_rank = LowRank { z: z.view(), factor: factor.view(), scale: 0.5 };
                let epilogue = Epilogue {
                    gelu_of: Some((argument.view(), gelu)),
                    low_rank: has(1).then_some(low_rank),
                    write: if has(2) { Write::Add } else { Write::Set },
                    ..Epilogue::default()
                };
                let (a, b) = (problem.a.view(), problem.b.view());
                device.matmul(y.tensor.view_mut(), a, b, form, epilogue).unwrap();
                let label = format!("{} slope, choice {choice:03b}", problem.label());
                let bound = Bound::sums(k + RANK + 4);
                judge(&label, device, y.view(), &expected, bound);
                let epilogue = Epilogue {
                    gelu_of: Some((argument.view(), gelu)),
                    gelu: Some(gelu),
                    ..Epilogue::default()
                };
                let refused = device.matmul(y.tensor.view_mut(), a, b, form, epilogue);
                assert!(refused.unwrap_err().to_string().contains("gelu_of: expected neither"));
            }
        }
    }
}

/// The tail in every dtype of its own beside a 16-bit product: a factor of f32 keeps f32's digits.
fn low_ranks(device: &Device) {
    let (m, n, k) = (37, 72, 48);
    for form in [Form::Nt, Form::Nn] {
        for rank in [1, 8, 40] {
            for z in FLOATS {
                for factor in FLOATS {
                    let problem = Problem::new(device, (m, n, k), form, [Dtype::Bf16; 2]);
                    let z = Given::noise(device, m, rank, z, 12);
                    let factor = match form {
                        Form::Nt => Given::noise(device, n, rank, factor, 13),
                        _ => Given::noise(device, rank, n, factor, 13),
                    };
                    let tail = oracle::matmul(&z.values, &factor.values, (m, n, rank), form);
                    let scale = 0.3f32;
                    let expected: Vec<f64> = problem
                        .product()
                        .iter()
                        .zip(&tail)
                        .map(|(p, t)| p + f64::from(scale) * t)
                        .collect();
                    let mut y = Given::noise(device, m, n, Dtype::F32, 7);
                    let epilogue = Epilogue {
                        low_rank: Some(LowRank { z: z.view(), factor: factor.view(), scale }),
                        ..Epilogue::default()
                    };
                    device
                        .matmul(
                            y.tensor.view_mut(),
                            problem.a.view(),
                            problem.b.view(),
                            form,
                            epilogue,
                        )
                        .unwrap();
                    let label = format!("{} rank {rank}", problem.label());
                    judge(&label, device, y.view(), &expected, Bound::sums(k + rank));
                }
            }
        }
    }
}

/// y and its bits, of rows `from..to` of a product.
fn bits(
    device: &Device,
    problem: &Problem,
    tail: Option<&(Given, Given)>,
    rows: std::ops::Range<usize>,
) -> Vec<u32> {
    let mut y = Given::noise(device, rows.len(), problem.n, Dtype::F32, 7);
    let low_rank = tail.map(|(z, factor)| LowRank {
        z: z.view().row_range(rows.clone()),
        factor: factor.view(),
        scale: 0.3,
    });
    let epilogue = Epilogue { low_rank, gelu: Some(Gelu::Tanh), ..Epilogue::default() };
    let a = problem.a.view().row_range(rows);
    device.matmul(y.tensor.view_mut(), a, problem.b.view(), problem.form, epilogue).unwrap();
    device.download_f32(y.view()).unwrap().into_iter().map(f32::to_bits).collect()
}

/// A row has the same bits alone, as one of a few and as one of many, at whatever place.
fn rows_alone(device: &Device) {
    const ROWS: usize = 130;
    for form in [Form::Nt, Form::Nn] {
        for dtypes in
            [[Dtype::Bf16; 2], [Dtype::F16; 2], [Dtype::Bf16, Dtype::F32], [Dtype::F32; 2]]
        {
            for (n, k) in [(8, 520), (72, 200), (33, 201)] {
                let problem = Problem::new(device, (ROWS, n, k), form, dtypes);
                let factor = if form == Form::Nt { (n, 8) } else { (8, n) };
                let tail = (
                    Given::noise(device, ROWS, 8, dtypes[0], 12),
                    Given::noise(device, factor.0, factor.1, Dtype::F32, 13),
                );
                let all = bits(device, &problem, Some(&tail), 0..ROWS);
                for rows in [0..1, 1..2, 129..130, 5..7, 3..20, 0..64, 65..130] {
                    let some = bits(device, &problem, Some(&tail), rows.clone());
                    assert_eq!(
                        some,
                        all[rows.start * n..rows.end * n],
                        "{}: rows {rows:?} alone and among {ROWS}",
                        problem.label()
                    );
                }
            }
        }
    }
}

/// Where operands begin changes no bit: a row of them more or less, or one element, which no vector
/// access can take.
fn addresses(device: &Device) {
    let cases = [((19, 40, 72), [Dtype::Bf16; 2]), ((70, 8, 1096), [Dtype::Bf16, Dtype::F32])];
    for ((m, n, k), dtypes) in cases {
        for form in FORMS {
            let problem = Problem::new(device, (m, n, k), form, dtypes);
            let shifted = |x: &Given| {
                let values: Vec<f64> =
                    std::iter::once(0.0).chain(x.values.iter().copied()).collect();
                Given::new(device, &values, 1, values.len(), x.tensor.dtype())
            };
            let (a, b) = (shifted(&problem.a), shifted(&problem.b));
            let shapes = [problem.a.view().shape(), problem.b.view().shape()];
            let mut results = Vec::new();
            for (a, b) in [
                (problem.a.view(), problem.b.view()),
                (a.view().part(1, shapes[0]), problem.b.view()),
                (problem.a.view(), b.view().part(1, shapes[1])),
            ] {
                let mut y = Given::noise(device, 1, m * n + 1, Dtype::Bf16, 7);
                let mut target = y.tensor.view_mut();
                let part = target.reborrow().part(1, engine::base::Shape::matrix(m, n));
                device.matmul(part, a, b, form, Epilogue::default()).unwrap();
                let values = device.download_f32(y.view()).unwrap();
                assert_eq!(f64::from(values[0]), y.values[0], "what stands before y stays");
                results.push(values);
            }
            assert_eq!(results[0], results[1], "{}: a at an odd address", problem.label());
            assert_eq!(results[0], results[2], "{}: b at an odd address", problem.label());
        }
    }
}

/// One product under three orders of threads.
#[test]
fn order_of_threads_changes_no_bit() {
    if !kernels::EMULATED {
        println!("skipped: the emulator: this build has none, a C++ compiler is missing");
        return;
    }
    let results: Vec<Vec<u32>> = ["emu:1", "emu:2", "emu:3"]
        .iter()
        .map(|name| {
            let device = Device::open(name, 1).unwrap();
            let mut all = Vec::new();
            for dtypes in [[Dtype::Bf16; 2], [Dtype::Bf16, Dtype::F32]] {
                for (n, k) in [(8, 520), (72, 200), (33, 201)] {
                    for form in [Form::Nt, Form::Nn] {
                        let problem = Problem::new(&device, (66, n, k), form, dtypes);
                        all.extend(bits(&device, &problem, None, 0..66));
                    }
                    let problem = Problem::new(&device, (66, n, k), Form::Tn, dtypes);
                    let mut y = Given::noise(&device, 66, n, Dtype::F32, 7);
                    let add = Epilogue { write: Write::Add, ..Epilogue::default() };
                    let (a, b) = (problem.a.view(), problem.b.view());
                    device.matmul(y.tensor.view_mut(), a, b, Form::Tn, add).unwrap();
                    all.extend(
                        device.download_f32(y.view()).unwrap().into_iter().map(f32::to_bits),
                    );
                }
            }
            all
        })
        .collect();
    assert!(
        results.windows(2).all(|pair| pair[0] == pair[1]),
        "bits depend on the order of threads"
    );
}

/// What the backward of an adapter is given.
struct Adapter {
    dy: Given,
    b: Given,
    z: Given,
}

impl Adapter {
    const SCALE: f32 = 0.75;

    fn new(device: &Device, (m, n, rank): (usize, usize, usize), dtype: Dtype) -> Adapter {
        Adapter {
            dy: Given::noise(device, m, n, dtype, 1),
            b: Given::noise(device, n, rank, Dtype::F32, 2),
            z: Given::noise(device, m, rank, dtype, 3),
        }
    }

    fn size(&self) -> (usize, usize, usize) {
        let (dy, b) = (self.dy.view(), self.b.view());
        (dy.rows(), dy.cols(), b.cols())
    }

    fn label(&self) -> String {
        let (m, n, rank) = self.size();
        format!("low_rank_backward {m}x{n} rank {rank} {}", self.dy.tensor.dtype())
    }

    /// dz of these rows, and what dB was added to.
    fn run(&self, device: &Device, dy: View, z: View) -> (Given, Given) {
        let (_, n, rank) = self.size();
        let mut dz = Given::noise(device, z.rows(), rank, dy.dtype(), 4);
        let mut d_b = Given::noise(device, n, rank, Dtype::F32, 5);
        let (to, b) = ((dz.tensor.view_mut(), d_b.tensor.view_mut()), self.b.view());
        device.low_rank_backward(to.0, to.1, dy, b, z, Adapter::SCALE).unwrap();
        (dz, d_b)
    }

    fn bits(&self, device: &Device, dy: View, z: View) -> [Vec<u32>; 2] {
        let (dz, d_b) = self.run(device, dy, z);
        [dz, d_b].map(|x| {
            let values = device.download_f32(x.view()).unwrap();
            values.into_iter().map(f32::to_bits).collect()
        })
    }

    fn check(&self, device: &Device) {
        let (size, scale) = (self.size(), f64::from(Adapter::SCALE));
        let (dy, b, z) = (&self.dy.values, &self.b.values, &self.z.values);
        let (of_dz, of_b) = oracle::low_rank_backward(dy, b, z, size, scale);
        let (dz, d_b) = self.run(device, self.dy.view(), self.z.view());
        let sums: Vec<f64> = d_b.values.iter().zip(&of_b).map(|(x, y)| x + y).collect();
        judge(&format!("{} dz", self.label()), device, dz.view(), &of_dz, Bound::sums(size.1));
        judge(&format!("{} d_b", self.label()), device, d_b.view(), &sums, Bound::sums(size.0));
    }
}

/// Around the blocks of the kernel, in rows and in columns, and nothing of one of both; ranks that
/// are part of a group of eight, several, and more than the kernel takes.
fn low_rank_backward(device: &Device) {
    let sizes = [
        (1, 8),
        (17, 2500),
        (255, 62),
        (257, 1024),
        (600, 1032),
        (513, 511),
        (512, 512),
        (1030, 9),
        (31, 1022),
        (3, 0),
        (0, 5),
    ];
    for (m, n) in sizes {
        for rank in [1, 4, 8, 12, 16, 32, 35] {
            for dtype in FLOATS {
                // Of the long ones other dtypes than that of the kernel have one rank each.
                if dtype == Dtype::Bf16 || m * n < 100_000 || rank == 12 {
                    Adapter::new(device, (m, n, rank), dtype).check(device);
                }
            }
        }
    }
}

/// B counts with all digits of f32: of each pair of its rows the second takes from the first all
/// but the last eight bits.
fn low_rank_backward_digits(device: &Device) {
    let size = (8, 144, 8);
    for dtype in FLOATS {
        let mut adapter = Adapter::new(device, size, dtype);
        adapter.dy = Given::new(device, &[1.0; 8 * 144], 8, 144, dtype);
        let mut b = adapter.b.values.clone();
        for pair in b.chunks_exact_mut(2 * 8) {
            for i in 0..8 {
                pair[8 + i] = -f64::from(f32::from_bits((pair[i] as f32).to_bits() & !0xff));
            }
        }
        adapter.b = Given::new(device, &b, 144, 8, Dtype::F32);
        adapter.check(device);
    }
}

/// A row of dz has the same bits alone, as one of a few and as one of many, at whatever place.
fn low_rank_backward_rows_alone(device: &Device) {
    const ROWS: usize = 1030;
    for dtype in FLOATS {
        for (n, rank) in [(520, 8), (72, 12), (33, 5)] {
            let adapter = Adapter::new(device, (ROWS, n, rank), dtype);
            let (dy, z) = (adapter.dy.view(), adapter.z.view());
            let [all, _] = adapter.bits(device, dy, z);
            for rows in [0..1, 1..2, 1029..1030, 5..7, 3..20, 500..530, 0..1024] {
                let few = [dy, z].map(|x| x.row_range(rows.clone()));
                let [some, _] = adapter.bits(device, few[0], few[1]);
                assert_eq!(
                    some,
                    all[rows.start * rank..rows.end * rank],
                    "{}: rows {rows:?} alone and among {ROWS}",
                    adapter.label()
                );
            }
        }
    }
}

/// Where dy and z begin changes no bit: the first row more or less, or one element.
fn low_rank_backward_addresses(device: &Device) {
    for dtype in FLOATS {
        let adapter = Adapter::new(device, (530, 520, 8), dtype);
        let shifted = |x: &Given| {
            let values: Vec<f64> = std::iter::once(0.0).chain(x.values.iter().copied()).collect();
            Given::new(device, &values, 1, values.len(), dtype)
        };
        let (dy, z) = (adapter.dy.view(), adapter.z.view());
        let (odd_dy, odd_z) = (shifted(&adapter.dy), shifted(&adapter.z));
        let expected = adapter.bits(device, dy, z);
        let odd_dy = odd_dy.view().part(1, dy.shape());
        let odd_z = odd_z.view().part(1, z.shape());
        let label = adapter.label();
        assert_eq!(adapter.bits(device, odd_dy, z), expected, "{label}: dy at an odd address");
        assert_eq!(adapter.bits(device, dy, odd_z), expected, "{label}: z at an odd address");
    }
}

fn sum_rows(device: &Device) {
    for dtype in FLOATS {
        for (rows, cols) in [(1, 1), (3, 31), (300, 70), (513, 9), (1000, 128)] {
            let x = Given::noise(device, rows, cols, dtype, 1);
            let mut y = Given::noise(device, 1, cols, Dtype::F32, 2);
            let mut expected = y.values.clone();
            for (i, x) in x.values.iter().enumerate() {
                expected[i % cols] += x;
            }
            device.sum_rows(y.tensor.view_mut(), x.view()).unwrap();
            judge("sum_rows", device, y.view(), &expected, Bound::sums(rows));
        }
    }
}

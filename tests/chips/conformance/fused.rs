//! What a product does before it writes, in every combination, and the products of an adapter.

use super::judge::{judge, judge_rounded, results, Bound, Given, FLOATS};
use super::matmul::Problem;
use super::Case;
use crate::oracle;
use engine::base::Dtype;
use engine::device::{Device, Epilogue, Form, Gelu, LowRank, LowRankFactors, View, Write};

pub const CASES: &[Case] = &[
    ("matmul", epilogues),
    ("matmul", gelu_again),
    ("matmul", gelu_slopes),
    ("matmul", low_ranks),
    ("adapted", adapted),
    ("low_rank_backward", low_rank_backward),
    ("low_rank_backward", low_rank_backward_digits),
    ("low_rank_backward", low_rank_backward_rows_alone),
    ("low_rank_backward", low_rank_backward_addresses),
];

fn epilogues(device: &Device) {
    for form in [Form::Nt, Form::Nn] {
        for shape in [(1, 24, 31), (37, 70, 33), (530, 40, 600)] {
            for dtype in FLOATS {
                let problem = Problem::new(device, shape, form, [dtype; 2]);
                let product = problem.product();
                for choice in 0..64 {
                    fused(device, &problem, &product, choice);
                }
            }
        }
    }
}

/// One choice of the six things a product may do before it writes.
fn fused(device: &Device, problem: &Problem, product: &[f64], choice: u32) {
    let has = |bit: u32| choice >> bit & 1 == 1;
    let (m, n, form, dtype) = (problem.m, problem.n, problem.form, problem.a.tensor.dtype());
    const RANK: usize = 5;
    let bias = Given::noise(device, 1, n, dtype, 11);
    let z = Given::noise(device, m, RANK, dtype, 12);
    let factor = problem.factor(device, RANK, dtype);
    let residual = Given::noise(device, m, n, dtype, 14);
    let mut y = Given::noise(device, m, n, dtype, 15);
    let mut before = Given::noise(device, m, n, dtype, 16);
    let gelu = has(1).then_some(if has(2) { Gelu::Erf } else { Gelu::Tanh });
    let write = if has(5) { Write::Add } else { Write::Set };
    let (scale, low_rank_scale, residual_scale) = (0.75, 0.5, 1.25);

    let low_rank = oracle::matmul(&z.values, &factor.values, (m, n, RANK), form);
    let (mut expected, mut argument) = (Vec::new(), Vec::new());
    for (i, product) in product.iter().enumerate() {
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
                let bits = y.bits(device);
                assert_eq!(bits, alone.bits(device), "{} {gelu:?} alone", problem.label());
                assert_eq!(bits, again.bits(device), "{} {gelu:?} again", problem.label());
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
                let factor = problem.factor(device, RANK, Dtype::F32);
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
                    let factor = problem.factor(device, rank, factor);
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

/// A linear with an adapter whose z nobody wants: within the bound, and the bits of both products.
fn adapted(device: &Device) {
    const SCALE: f32 = 0.5;
    let cases: [(_, &[usize]); 5] = [
        ((1, 24, 31), &[1, 8, 19]),
        ((3, 72, 1000), &[1, 8, 19]),
        ((37, 136, 1032), &[19]),
        ((70, 40, 2056), &[8]),
        ((300, 24, 520), &[12]),
    ];
    // In f16 and f32 the product with its tail is what is asked for, which has cases of its own.
    let others = [Dtype::F16, Dtype::F32].map(|dtype| ((3, 72, 1000), dtype, 8));
    let cases = cases
        .into_iter()
        .flat_map(|(size, ranks)| ranks.iter().map(move |&r| (size, Dtype::Bf16, r)));
    for ((m, n, k), dtype, rank) in cases.chain(others) {
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
        let z: Vec<f64> = results(&label, device, z.view()).into_iter().map(f64::from).collect();
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
        [dz, d_b].map(|x| x.bits(device))
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
    const RANKS: &[usize] = &[1, 4, 8, 12, 16, 32, 35];
    // Groups of eight ranks share nothing, so a large size has one rank or two.
    let cases: [(_, &[usize]); 11] = [
        ((1, 8), RANKS),
        ((31, 62), RANKS),
        ((3, 0), &[8]),
        ((0, 5), &[8]),
        ((17, 2504), &[8]),
        ((255, 511), &[12]),
        ((257, 1022), &[4]),
        ((512, 512), &[8]),
        ((513, 24), RANKS),
        ((520, 520), &[12]),
        ((1030, 9), &[1, 16]),
    ];
    for ((m, n), ranks) in cases {
        for &rank in ranks {
            Adapter::new(device, (m, n, rank), Dtype::Bf16).check(device);
        }
    }
    // Where the kernel takes nothing both are products, which have cases of their own.
    for dtype in [Dtype::F16, Dtype::F32] {
        for size in [(31, 62, 12), (3, 0, 8), (0, 5, 8)] {
            Adapter::new(device, size, dtype).check(device);
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
    const ROWS: usize = 530;
    let bf16 = [(520, 8), (72, 12), (33, 5)].map(|(n, rank)| (Dtype::Bf16, n, rank));
    for (dtype, n, rank) in bf16.into_iter().chain([(Dtype::F16, 33, 5), (Dtype::F32, 33, 5)]) {
        let adapter = Adapter::new(device, (ROWS, n, rank), dtype);
        let (dy, z) = (adapter.dy.view(), adapter.z.view());
        let [all, _] = adapter.bits(device, dy, z);
        for rows in [0..1, 1..2, 529..530, 5..7, 3..20, 500..530, 0..512] {
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

/// Where dy and z begin changes no bit: the first row more or less, or one element.
fn low_rank_backward_addresses(device: &Device) {
    for (dtype, rows) in [(Dtype::Bf16, 520), (Dtype::F16, 20), (Dtype::F32, 20)] {
        let adapter = Adapter::new(device, (rows, 520, 8), dtype);
        let shifted = |x: &Given| Given::behind(device, 1, &x.values, dtype);
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

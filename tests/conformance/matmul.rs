//! Products in every form, dtype and epilogue, and column sums.

use crate::judge::{judge, Bound, Given, FLOATS};
use crate::oracle;
use crate::Case;
use engine::base::Dtype;
use engine::device::{Device, Epilogue, Form, Gelu, LowRank, Write};

pub const CASES: &[Case] =
    &[("matmul", forms), ("matmul", dtypes), ("matmul", epilogues), ("sum_rows", sum_rows)];

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
    fn new(device: &Device, (m, n, k): (usize, usize, usize), form: Form, dtypes: [Dtype; 2]) -> Problem {
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
        // Beyond one stretch of the depth, one block of rows, one block of columns; and no depth at all.
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
        device.matmul(y.tensor.view_mut(), problem.a.view(), problem.b.view(), form, epilogue).unwrap();
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
                        device.matmul(y.tensor.view_mut(), a, b, form, Epilogue::default()).unwrap();
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
    judge(&label, device, y.view(), &expected, bound);
    if gelu.is_some() {
        judge(&format!("{label} pre_activation"), device, before.view(), &argument, bound);
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

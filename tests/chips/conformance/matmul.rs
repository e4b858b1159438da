//! Products in every form, dtype and size, and column sums.

use super::judge::{judge, Bound, Given, FLOATS};
use super::Case;
use crate::oracle;
use engine::base::Dtype;
use engine::device::{Device, Epilogue, Form, Gelu, LowRank, Write};

pub const CASES: &[Case] = &[
    ("matmul", forms),
    ("matmul", dtypes),
    ("matmul", deep),
    ("matmul", rows_alone),
    ("matmul", addresses),
    ("sum_rows", sum_rows),
];

const FORMS: [Form; 3] = [Form::Nt, Form::Nn, Form::Tn];

/// A product and what it is of.
pub struct Problem {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub form: Form,
    pub a: Given,
    pub b: Given,
}

impl Problem {
    pub fn new(
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

    pub fn product(&self) -> Vec<f64> {
        oracle::matmul(&self.a.values, &self.b.values, (self.m, self.n, self.k), self.form)
    }

    /// The factor of a tail of this rank, which lies as b does.
    pub fn factor(&self, device: &Device, rank: usize, dtype: Dtype) -> Given {
        let (rows, cols) = if self.form == Form::Nt { (self.n, rank) } else { (rank, self.n) };
        Given::noise(device, rows, cols, dtype, 13)
    }

    pub fn label(&self) -> String {
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
    y.bits(device)
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
                let tail = (
                    Given::noise(device, ROWS, 8, dtypes[0], 12),
                    problem.factor(device, 8, Dtype::F32),
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
            let shifted = |x: &Given| Given::behind(device, 1, &x.values, x.tensor.dtype());
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
                    all.extend(y.bits(&device));
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

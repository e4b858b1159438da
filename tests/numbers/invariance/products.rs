//! Products of every shape that the models of `weights/` use.

use super::{bits, devices, same, upload, values};
use engine::base::Dtype;
use engine::device::{Device, Epilogue, Form, Gelu, LowRank, Write};
use engine::model::{Config, LinearName};
use std::collections::BTreeSet;
use std::path::Path;

/// Rows of the reference.
const ROWS: usize = 130;
const RANK: usize = 8;

/// (n, k) of y = a·bᵀ and of y = a·b over all models: linears, adapters, the output matrix; and
/// their gradients' inputs.
fn shapes() -> Vec<(usize, usize, Form)> {
    let mut shapes = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut configs = Vec::new();
    for parent in ["weights", "tests/golden/glm-tiny", "tests/golden/chatglm-tiny"] {
        for entry in std::fs::read_dir(folder.join(parent)).unwrap() {
            let config = entry.unwrap().path().join("config.json");
            if config.exists() {
                configs.push(Config::read(&config).unwrap());
            }
        }
    }
    assert!(configs.len() > 10, "the folders of weights hold configs");
    for config in configs {
        let linears = LinearName::ALL.map(|linear| config.linear_shape(linear));
        for (out, input) in linears {
            shapes.extend([(out, input, 0), (input, out, 1), (RANK, input, 0), (RANK, out, 1)]);
            // Tails of low rank: B after z, A after dz.
            shapes.extend([(out, RANK, 0), (input, RANK, 1)]);
        }
        shapes
            .extend([(config.vocabulary, config.hidden, 0), (config.hidden, config.vocabulary, 1)]);
    }
    shapes.into_iter().map(|(n, k, form)| (n, k, [Form::Nt, Form::Nn][form])).collect()
}

/// Rows `from..from + m` of the reference's input, alone, give the reference's rows.
fn check(devices: &[Device], (n, k, form): (usize, usize, Form), stored: Dtype, counts: &[usize]) {
    let (a, b) = (values(ROWS * k, 1), values(n * k, 2));
    let run = |device: &Device, from: usize, m: usize, b: &engine::device::Tensor| {
        let a = upload(device, &a[from * k..(from + m) * k], m, k, Dtype::F32);
        let mut y = upload(device, &vec![f32::NAN; m * n], m, n, Dtype::F32);
        device.matmul(y.view_mut(), a.view(), b.view(), form, Epilogue::default()).unwrap();
        bits(device, y.view())
    };
    let weight = |device: &Device| match form {
        Form::Nt => upload(device, &b, n, k, stored),
        _ => upload(device, &b, k, n, stored),
    };
    let expected = run(&devices[0], 0, ROWS, &weight(&devices[0]));
    for (device, threads) in devices.iter().zip([1, 2, 5]) {
        let b = weight(device);
        for &m in counts {
            let from = 31 * m % (ROWS - m + 1);
            let got = run(device, from, m, &b);
            same(&got, &expected[from * n..(from + m) * n], || {
                format!(
                    "{form:?} n {n} k {k} {stored}: {m} rows from row {from}, {threads} threads"
                )
            });
        }
    }
}

#[test]
fn every_number_of_rows_of_small_products() {
    let all: Vec<usize> = (1..=ROWS).collect();
    let devices = devices();
    let small: Vec<_> = shapes().into_iter().filter(|&(n, k, _)| n * k <= 1 << 17).collect();
    assert!(small.len() > 40, "{}", small.len());
    for shape in small {
        check(&devices, shape, Dtype::F32, &all);
    }
}

/// Both sides of the widths of vectors and tiles.
const COUNTS: [usize; 9] = [1, 2, 3, 7, 8, 13, 31, 65, ROWS];

#[test]
fn large_products() {
    let devices = devices();
    for (n, k, form) in shapes().into_iter().filter(|&(n, k, _)| n * k > 1 << 17) {
        // Columns are made in blocks of 256: three blocks and the remainder stand for all, whatever
        // the depth.
        let (n, k) = (if n > 1024 { 256 + n % 256 } else { n.min(512) }, k.min(20_000));
        let stored = if n % 32 == 0 { Dtype::Bf16 } else { Dtype::F32 };
        check(&devices, (n, k, form), stored, &COUNTS);
    }
}

#[test]
#[ignore = "minutes, and 3 GB: the same at whole widths, for a change of gemm"]
fn large_products_at_whole_widths() {
    let devices = devices();
    for shape in shapes().into_iter().filter(|&(n, k, _)| n * k > 1 << 17) {
        let begun = std::time::Instant::now();
        check(&devices, shape, Dtype::Bf16, &COUNTS);
        if shape.0 * shape.1 <= 1 << 26 {
            check(&devices, shape, Dtype::F32, &COUNTS);
        }
        println!("{shape:?}: {:.1} s", begun.elapsed().as_secs_f64());
    }
}

/// All that a product may do before it writes does it row by row.
#[test]
fn products_with_everything_after_them() {
    let devices = devices();
    for (n, k, form, dtype) in [
        (96, 32, Form::Nt, Dtype::F32),
        (32, 128, Form::Nn, Dtype::F32),
        (770, 1040, Form::Nt, Dtype::Bf16),
        (300, 513, Form::Nn, Dtype::F16),
        (1, 40, Form::Nt, Dtype::F32),
    ] {
        let (a, b, z) = (values(ROWS * k, 1), values(n * k, 2), values(ROWS * RANK, 3));
        let (factor, bias) = (values(n * RANK, 4), values(n, 5));
        let (residual, before) = (values(ROWS * n, 6), values(ROWS * n, 7));
        let run = |device: &Device, from: usize, m: usize, write: Write, gelu: Option<Gelu>| {
            let rows = |x: &[f32], cols: usize| {
                upload(device, &x[from * cols..][..m * cols], m, cols, dtype)
            };
            let (a, z, residual) = (rows(&a, k), rows(&z, RANK), rows(&residual, n));
            let by_form = |x: &[f32], inner: usize| match form {
                Form::Nt => upload(device, x, n, inner, dtype),
                _ => upload(device, x, inner, n, dtype),
            };
            let (b, factor) = (by_form(&b, k), by_form(&factor, RANK));
            let bias = upload(device, &bias, 1, n, Dtype::F32);
            let (mut y, mut argument) = (rows(&before, n), rows(&before, n));
            let epilogue = Epilogue {
                scale: 0.5,
                bias: Some(bias.view()),
                gelu,
                pre_activation: gelu.is_some().then(|| argument.view_mut()),
                gelu_of: None,
                low_rank: Some(LowRank { z: z.view(), factor: factor.view(), scale: 2.0 }),
                residual: Some((residual.view(), 1.5)),
                write,
            };
            device.matmul(y.view_mut(), a.view(), b.view(), form, epilogue).unwrap();
            [bits(device, y.view()), bits(device, argument.view())]
        };
        for (write, gelu) in [
            (Write::Set, Some(Gelu::Erf)),
            (Write::Add, Some(Gelu::Tanh)),
            (Write::Set, None),
            (Write::Add, None),
        ] {
            let expected = run(&devices[0], 0, ROWS, write, gelu);
            for device in &devices {
                for m in COUNTS {
                    let from = 31 * m % (ROWS - m + 1);
                    for (got, expected) in run(device, from, m, write, gelu).iter().zip(&expected) {
                        same(got, &expected[from * n..(from + m) * n], || {
                            format!(
                                "{form:?} n {n} k {k} {dtype} {write:?} {gelu:?}: {m} rows \
                                from {from}"
                            )
                        });
                    }
                }
            }
        }
    }
}

/// The gradient of a weight: its rows are columns of a, its depth the rows of the batch.
#[test]
fn gradients_of_weights() {
    let devices = devices();
    for (n, depths) in [(RANK, [1, 40, 600]), (63, [2, 130, 1100]), (300, [1, 9, 520])] {
        for k in depths {
            let (a, b) = (values(k * ROWS, 1), values(k * n, 2));
            let run = |device: &Device, from: usize, m: usize, write: Write| {
                let part: Vec<f32> =
                    a.chunks(ROWS).flat_map(|row| row[from..from + m].to_vec()).collect();
                let (a, b) =
                    (upload(device, &part, k, m, Dtype::F32), upload(device, &b, k, n, Dtype::F32));
                let mut y = upload(device, &vec![0.25; m * n], m, n, Dtype::F32);
                let epilogue = Epilogue { write, ..Epilogue::default() };
                device.matmul(y.view_mut(), a.view(), b.view(), Form::Tn, epilogue).unwrap();
                bits(device, y.view())
            };
            for write in [Write::Set, Write::Add] {
                let expected = run(&devices[0], 0, ROWS, write);
                for device in &devices {
                    for m in 1..=ROWS {
                        let from = 31 * m % (ROWS - m + 1);
                        same(
                            &run(device, from, m, write),
                            &expected[from * n..(from + m) * n],
                            || format!("Tn n {n} k {k} {write:?}: {m} rows from {from}"),
                        );
                    }
                }
            }
        }
    }
}

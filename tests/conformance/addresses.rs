//! Where a row stands in memory changes no bit: at an address that allows whole vectors and one element further on, where none is.

use crate::judge::{results, Given, FLOATS};
use crate::oracle::{indices, noise};
use crate::Case;
use engine::base::{Dtype, Shape};
use engine::device::{Device, View, ViewMut, Write};

pub const CASES: &[Case] = &[
    ("layernorm", layernorm),
    ("layernorm_backward", layernorm_backward),
    ("cross_entropy", cross_entropy),
    ("log_probs_at", log_probs_at),
];

const ROWS: usize = 2;
/// Less than a vector a thread; several; more than a thread keeps in registers.
const WIDTHS: [usize; 3] = [64, 1032, 8712];

/// A matrix that begins `shift` elements behind the beginning of its memory, which all vectors fit.
struct Shifted {
    given: Given,
    shift: usize,
    shape: Shape,
}

impl Shifted {
    fn new(
        device: &Device,
        shift: usize,
        (rows, cols): (usize, usize),
        dtype: Dtype,
        seed: u64,
        scale: f64,
    ) -> Shifted {
        let values = noise(rows * cols, seed).into_iter().map(|x| scale * x);
        let values: Vec<f64> = std::iter::repeat_n(0.0, shift).chain(values).collect();
        let given = Given::new(device, &values, 1, values.len(), dtype);
        Shifted { given, shift, shape: Shape::matrix(rows, cols) }
    }

    fn view(&self) -> View<'_> {
        self.given.view().part(self.shift, self.shape)
    }

    fn view_mut(&mut self) -> ViewMut<'_> {
        self.given.tensor.view_mut().part(self.shift, self.shape)
    }

    /// The bits of the matrix.
    fn bits(&self, label: &str, device: &Device) -> Vec<u32> {
        results(label, device, self.view()).iter().map(|x| x.to_bits()).collect()
    }
}

/// Runs `op` with matrices at both addresses, for every width and dtype.
fn check(label: &str, op: impl Fn(usize, usize, Dtype) -> Vec<Vec<u32>>) {
    for cols in WIDTHS {
        for dtype in FLOATS {
            let (even, odd) = (op(0, cols, dtype), op(1, cols, dtype));
            assert!(even == odd, "{label}: {cols} columns of {dtype}: the same bits at every address");
        }
    }
}

fn layernorm(device: &Device) {
    for weights in FLOATS {
        check("layernorm", |shift, cols, dtype| {
            let x = Shifted::new(device, shift, (ROWS, cols), dtype, 1, 1.0);
            let weight = Shifted::new(device, shift, (1, cols), weights, 2, 1.0);
            let bias = Shifted::new(device, shift, (1, cols), weights, 3, 1.0);
            let mut y = Shifted::new(device, shift, (ROWS, cols), dtype, 4, 1.0);
            let mut kept = Shifted::new(device, shift, (ROWS, 2), Dtype::F32, 5, 1.0);
            let to = (y.view_mut(), kept.view_mut());
            device.layernorm(to.0, to.1, x.view(), weight.view(), bias.view(), 1e-5).unwrap();
            [y, kept].iter().map(|t| t.bits("layernorm at an address", device)).collect()
        });
    }
}

fn layernorm_backward(device: &Device) {
    for (weights, write) in [(Dtype::F32, Write::Set), (Dtype::Bf16, Write::Add)] {
        check("layernorm_backward", |shift, cols, dtype| {
            let x = Shifted::new(device, shift, (ROWS, cols), dtype, 1, 1.0);
            let dy = Shifted::new(device, shift, (ROWS, cols), dtype, 2, 1.0);
            let weight = Shifted::new(device, shift, (1, cols), weights, 3, 1.0);
            let kept = Shifted::new(device, shift, (ROWS, 2), Dtype::F32, 4, 1.0);
            let mut dx = Shifted::new(device, shift, (ROWS, cols), dtype, 5, 1.0);
            let mut d_weight = Shifted::new(device, shift, (1, cols), Dtype::F32, 6, 1.0);
            let mut d_bias = Shifted::new(device, shift, (1, cols), Dtype::F32, 7, 1.0);
            let parameters = Some((d_weight.view_mut(), d_bias.view_mut()));
            let views = (dy.view(), x.view(), weight.view(), kept.view());
            device
                .layernorm_backward(dx.view_mut(), parameters, views.0, views.1, views.2, views.3, write)
                .unwrap();
            let label = "layernorm_backward at an address";
            [dx, d_weight, d_bias].iter().map(|t| t.bits(label, device)).collect()
        });
    }
}

fn cross_entropy(device: &Device) {
    check("cross_entropy", |shift, cols, dtype| {
        let mut logits = Shifted::new(device, shift, (ROWS, cols), dtype, 1, 20.0);
        let targets = device.upload_u32(&indices(ROWS, cols, 2)).unwrap();
        let weights = Shifted::new(device, shift, (1, ROWS), Dtype::F32, 3, 1.0);
        let mut loss = Shifted::new(device, shift, (1, ROWS), Dtype::F32, 4, 1.0);
        let to = (loss.view_mut(), logits.view_mut());
        device.cross_entropy(to.0, to.1, targets.view(), weights.view()).unwrap();
        [loss, logits].iter().map(|t| t.bits("cross_entropy at an address", device)).collect()
    });
}

fn log_probs_at(device: &Device) {
    check("log_probs_at", |shift, cols, dtype| {
        let logits = Shifted::new(device, shift, (ROWS, cols), dtype, 1, 20.0);
        let first = device.upload_u32(&[0, 1, 3]).unwrap();
        let ids = device.upload_u32(&indices(3, cols, 2)).unwrap();
        let mut y = Shifted::new(device, shift, (1, 3), Dtype::F32, 3, 1.0);
        device.log_probs_at(y.view_mut(), logits.view(), first.view(), ids.view()).unwrap();
        vec![y.bits("log_probs_at at an address", device)]
    });
}

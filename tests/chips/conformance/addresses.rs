//! Where a row stands in memory changes no bit: at an address that allows whole vectors and one
//! element further on, where none is.

use super::judge::{results, Given, FLOATS};
use super::Case;
use crate::oracle::{indices, noise};
use engine::base::{Dtype, Shape};
use engine::device::{AdamW, Device, Dropout, Normed, View, ViewMut, Write};

pub const CASES: &[Case] = &[
    ("layernorm", layernorm),
    ("layernorm_backward", layernorm_backward),
    ("cross_entropy", cross_entropy),
    ("log_probs_at", log_probs_at),
    ("sampled_product", sampled_product),
    ("sparse_product", sparse_product),
    ("embed", embed),
    ("embed_backward", embed_backward),
    ("dropout", dropout),
    ("cast", cast),
    ("adamw", adamw),
    ("sum_squares", sum_squares),
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
        let given = Given::behind(device, shift, &values.collect::<Vec<f64>>(), dtype);
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
            assert!(
                even == odd,
                "{label}: {cols} columns of {dtype}: the same bits at every address"
            );
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
            let normed = Normed { x: x.view(), weight: weight.view(), statistics: kept.view() };
            device.layernorm_backward(dx.view_mut(), parameters, dy.view(), normed, write).unwrap();
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

fn sampled_product(device: &Device) {
    check("sampled_product", |shift, cols, dtype| {
        let x = Shifted::new(device, shift, (ROWS, cols), dtype, 1, 1.0);
        let table = Shifted::new(device, shift, (5, cols), dtype, 2, 1.0);
        let first = device.upload_u32(&[0, 1, 3]).unwrap();
        let ids = device.upload_u32(&[4, 1, 4]).unwrap();
        let mut y = Shifted::new(device, shift, (1, 3), Dtype::F32, 3, 1.0);
        let to = y.view_mut();
        device.sampled_product(to, x.view(), table.view(), first.view(), ids.view()).unwrap();
        vec![y.bits("sampled_product at an address", device)]
    });
}

fn sparse_product(device: &Device) {
    for stored in FLOATS {
        check("sparse_product", |shift, cols, dtype| {
            let table = Shifted::new(device, shift, (5, cols), stored, 1, 1.0);
            let [first, ids, places] = [&[0, 1, 3][..], &[4, 1, 4], &[1, 1, 0]]
                .map(|words| device.upload_u32(words).unwrap());
            let weights = Shifted::new(device, shift, (1, 2), Dtype::F32, 2, 1.0);
            let mut y = Shifted::new(device, shift, (ROWS, cols), dtype, 3, 1.0);
            let (to, lists) = (y.view_mut(), (first.view(), ids.view(), places.view()));
            device
                .sparse_product(to, table.view(), lists.0, lists.1, lists.2, weights.view())
                .unwrap();
            vec![y.bits("sparse_product at an address", device)]
        });
    }
}

fn embed(device: &Device) {
    for stored in FLOATS {
        for write in [Write::Set, Write::Add] {
            check("embed", |shift, cols, dtype| {
                let table = Shifted::new(device, shift, (5, cols), stored, 1, 1.0);
                let other = Shifted::new(device, shift, (3, cols), dtype, 2, 1.0);
                let ids =
                    [device.upload_u32(&[4, 1]).unwrap(), device.upload_u32(&[2, 2]).unwrap()];
                let mut y = Shifted::new(device, shift, (ROWS, cols), dtype, 3, 1.0);
                let tables = [(table.view(), ids[0].view()), (other.view(), ids[1].view())];
                device.embed(y.view_mut(), &tables, write).unwrap();
                vec![y.bits("embed at an address", device)]
            });
        }
    }
}

fn embed_backward(device: &Device) {
    check("embed_backward", |shift, cols, dtype| {
        let dy = Shifted::new(device, shift, (5, cols), dtype, 1, 1.0);
        let ids = device.upload_u32(&[2, 0, 2, 2, 1]).unwrap();
        let mut d_table = Shifted::new(device, shift, (3, cols), Dtype::F32, 2, 1.0);
        device.embed_backward(d_table.view_mut(), dy.view(), ids.view()).unwrap();
        vec![d_table.bits("embed_backward at an address", device)]
    });
}

fn dropout(device: &Device) {
    for write in [Write::Set, Write::Add] {
        check("dropout", |shift, cols, dtype| {
            let x = Shifted::new(device, shift, (ROWS, cols), dtype, 1, 1.0);
            let places = bytemuck::cast_slice::<u32, u8>(&[7, 0, 3, 9, 1, 4]).to_vec();
            let places = device.upload_bytes(&places, Shape::matrix(ROWS, 3), Dtype::U32).unwrap();
            let mut y = Shifted::new(device, shift, (ROWS, cols), dtype, 2, 1.0);
            let dropout = Dropout { rate: 0.3, key: Dropout::key(77, 5, 3), rows: places.view() };
            device.dropout(y.view_mut(), x.view(), dropout, write).unwrap();
            vec![y.bits("dropout at an address", device)]
        });
    }
}

fn cast(device: &Device) {
    for to in FLOATS {
        check("cast", |shift, cols, dtype| {
            let x = Shifted::new(device, shift, (ROWS, cols), dtype, 1, 1.0);
            let mut y = Shifted::new(device, shift, (ROWS, cols), to, 2, 1.0);
            device.cast(y.view_mut(), x.view()).unwrap();
            vec![y.bits("cast at an address", device)]
        });
    }
}

/// Lengths that end within a vector, on it, and beyond one block's share.
const LENGTHS: [usize; 4] = [3, 64, 1031, 16_390];

fn adamw(device: &Device) {
    let numbers = AdamW {
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.1,
        step: 3,
        gradient_scale: 0.5,
    };
    for n in LENGTHS {
        let [even, odd] = [0, 1].map(|shift| {
            let [mut parameter, mut moment1, gradient] =
                [1, 2, 3].map(|seed| Shifted::new(device, shift, (1, n), Dtype::F32, seed, 1.0));
            let mut moment2 = Shifted::new(device, shift, (1, n), Dtype::F32, 4, 0.0);
            let moments = (moment1.view_mut(), moment2.view_mut());
            device
                .adamw(parameter.view_mut(), moments.0, moments.1, gradient.view(), numbers)
                .unwrap();
            [parameter, moment1, moment2].map(|t| t.bits("adamw at an address", device))
        });
        assert!(even == odd, "adamw: {n} elements: the same bits at every address");
    }
}

fn sum_squares(device: &Device) {
    for n in LENGTHS {
        let [even, odd] = [0, 1].map(|shift| {
            let x = Shifted::new(device, shift, (1, n), Dtype::F32, 1, 1.0);
            let mut y = Shifted::new(device, shift, (1, 1), Dtype::F32, 2, 1.0);
            device.sum_squares(y.view_mut(), x.view()).unwrap();
            y.bits("sum_squares at an address", device)
        });
        assert!(even == odd, "sum_squares: {n} elements: the same bits at every address");
    }
}

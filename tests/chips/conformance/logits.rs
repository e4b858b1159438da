//! The ops on logits: softmax against targets, log-probabilities, the largest of rows.

use super::cases::{EXACT, SHAPES};
use super::judge::{judge, results, whole_results, Bound, Given, FLOATS};
use super::sparse::{bounds, refused, spoiled};
use super::Case;
use crate::oracle::{self, indices};
use engine::base::{Dtype, Shape};
use engine::device::{Aim, Device};

pub const CASES: &[Case] = &[
    ("cross_entropy", cross_entropy),
    ("cross_entropy", target_beyond),
    ("cross_entropy", logits_that_are_no_numbers),
    ("choice_loss", choice_loss),
    ("choice_loss", choices_of_a_catalogue),
    ("choice_loss", place_beyond),
    ("choice_loss", choices_that_are_no_numbers),
    ("choice_log_probs", choice_log_probs),
    ("choice_log_probs", log_probs_that_are_no_numbers),
    ("log_probs_at", log_probs_at),
    ("top_k", top_k),
    ("top_k", top_k_of_awkward_rows),
    ("choice_top_k", choice_top_k),
];

fn cross_entropy(device: &Device) {
    for (rows, cols) in SHAPES {
        for dtype in FLOATS {
            let values: Vec<f64> = oracle::noise(rows * cols, 1).iter().map(|x| 20.0 * x).collect();
            let mut logits = Given::new(device, &values, rows, cols, dtype);
            let targets = indices(rows, cols, 3);
            let on_device = device.upload_u32(&targets).unwrap();
            let weights = Given::noise(device, 1, rows, Dtype::F32, 2);
            let mut loss = Given::noise(device, 1, rows, Dtype::F32, 4);
            let (losses, gradient) =
                oracle::cross_entropy(&logits.values, &targets, &weights.values);
            let (y, dy) = (loss.tensor.view_mut(), logits.tensor.view_mut());
            device.cross_entropy(y, dy, on_device.view(), weights.view()).unwrap();
            // exp of a difference of up to 40 carries that many roundings of its argument.
            judge(
                "cross_entropy",
                device,
                loss.view(),
                &losses,
                Bound { terms: cols, scale: 40.0 },
            );
            judge(
                "cross_entropy gradient",
                device,
                logits.view(),
                &gradient,
                Bound { terms: cols, scale: 40.0 },
            );
        }
    }
}

/// The CPU sees targets before it begins; a GPU would have to wait for them, so what it answers
/// with is not a number.
fn target_beyond(device: &Device) {
    let mut logits = Given::noise(device, 2, 8, Dtype::F32, 1);
    let (mut loss, weights) =
        (Given::noise(device, 1, 2, Dtype::F32, 2), Given::noise(device, 1, 2, Dtype::F32, 3));
    let targets = device.upload_u32(&[7, 8]).unwrap();
    let to = (loss.tensor.view_mut(), logits.tensor.view_mut());
    match device.cross_entropy(to.0, to.1, targets.view(), weights.view()) {
        Err(error) => {
            assert!(error.to_string().contains("expected a column below 8, got 8"), "{error}")
        }
        Ok(()) => {
            assert_ne!(device.name(), "cpu");
            let loss = device.download_f32(loss.view()).unwrap();
            let rows = device.download_f32(logits.view()).unwrap();
            assert!(
                loss[0].is_finite() && rows[..8].iter().all(|x| x.is_finite()),
                "{loss:?} {rows:?}"
            );
            assert!(loss[1].is_nan() && rows[8..].iter().all(|x| x.is_nan()), "{loss:?} {rows:?}");
        }
    }
}

/// -∞ is a probability of zero, in whatever order the columns come; what is not a number spoils its
/// row and no other.
fn logits_that_are_no_numbers(device: &Device) {
    const COLS: usize = 40;
    for place in [0, COLS - 1] {
        let mut values = oracle::noise(4 * COLS, 1);
        values[..COLS].fill(f64::NEG_INFINITY);
        values[place] = 2.0;
        values[COLS + place] = f64::NAN;
        values[2 * COLS + place] = f64::INFINITY;
        values[3 * COLS..].fill(f64::NEG_INFINITY);
        let mut logits = Given::new(device, &values, 4, COLS, Dtype::F32);
        let first = device.upload_u32(&[0, 1, 2, 3, 4]).unwrap();
        let targets = device.upload_u32(&[place as u32; 4]).unwrap();
        let mut y = Given::noise(device, 1, 4, Dtype::F32, 2);
        device
            .log_probs_at(y.tensor.view_mut(), logits.view(), first.view(), targets.view())
            .unwrap();
        let y = results("log_probs_at of no numbers", device, y.view());
        let weights = Given::noise(device, 1, 4, Dtype::F32, 3);
        let mut loss = Given::noise(device, 1, 4, Dtype::F32, 4);
        let to = (loss.tensor.view_mut(), logits.tensor.view_mut());
        device.cross_entropy(to.0, to.1, targets.view(), weights.view()).unwrap();
        let loss = results("cross_entropy of no numbers", device, loss.view());
        let rows = results("gradient of no numbers", device, logits.view());
        assert!(
            y[0] == 0.0 && loss[0] == 0.0 && rows[..COLS].iter().all(|&x| x == 0.0),
            "{y:?} {rows:?}"
        );
        assert!(y[1..].iter().chain(&loss[1..]).all(|x| x.is_nan()), "{y:?} {loss:?}");
        assert!(
            rows[3 * COLS..].iter().chain(&rows[COLS..2 * COLS]).all(|x| x.is_nan()),
            "{rows:?}"
        );
    }
}

/// Loss and gradient of `choices` in parts, by places and by shares of each part, against the
/// oracle; a share is of what noise gives, zero of every third.
fn check_choices(device: &Device, first: &[u32], spread: f64, temperature: f32) {
    let (rows, count) = (first.len() - 1, first[first.len() - 1] as usize);
    let values: Vec<f64> = oracle::noise(count, 1).iter().map(|x| spread * x).collect();
    let weights = Given::noise(device, 1, rows, Dtype::F32, 2);
    let (mut places, mut some) = (indices(rows, 1 << 20, 3), oracle::noise(count, 4));
    for (place, ends) in places.iter_mut().zip(first.windows(2)) {
        // Where there is no choice, no place is wrong.
        *place = if ends[0] < ends[1] { *place % (ends[1] - ends[0]) } else { 7 };
        let part = &mut some[ends[0] as usize..ends[1] as usize];
        part.iter_mut().enumerate().for_each(|(i, x)| *x = if i % 3 == 1 { 0.0 } else { x.abs() });
        let sum: f64 = part.iter().sum();
        part.iter_mut().for_each(|x| *x /= sum);
    }
    let shares = Given::new(device, &some, 1, count, Dtype::F32);
    let on_device = (device.upload_u32(first).unwrap(), device.upload_u32(&places).unwrap());
    for (aim, wanted) in [
        (Aim::Place(on_device.1.view()), &oracle::one_hot(first, &places)),
        (Aim::Shares(shares.view()), &shares.values),
    ] {
        let mut logits = Given::new(device, &values, 1, count, Dtype::F32);
        let mut loss = Given::noise(device, 1, rows, Dtype::F32, 5);
        let cold = f64::from(temperature);
        let (losses, gradient) =
            oracle::choice_loss(&logits.values, first, wanted, &weights.values, cold);
        let to = (loss.tensor.view_mut(), logits.tensor.view_mut());
        device
            .choice_loss(to.0, to.1, on_device.0.view(), aim, weights.view(), temperature)
            .unwrap();
        let terms = first.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap() as usize;
        // As in cross_entropy, with the argument of exp divided by the temperature.
        let scale = 2.0 * spread / cold.min(1.0);
        judge("choice_loss", device, loss.view(), &losses, Bound { terms, scale });
        judge("choice_loss gradient", device, logits.view(), &gradient, Bound { terms, scale });
    }
}

fn choice_loss(device: &Device) {
    for rows in [1, 2, 5, 70] {
        for temperature in [1.0, 0.25, 4.0] {
            check_choices(device, &bounds(rows), 10.0, temperature);
        }
    }
}

/// Bounds of few rows of very different lengths, one choice and a whole catalogue among them.
fn catalogue() -> Vec<u32> {
    let mut first = vec![0];
    for choices in [1, 2, 100_000, 0, 512, 2049] {
        first.push(first[first.len() - 1] + choices);
    }
    first
}

fn choices_of_a_catalogue(device: &Device) {
    check_choices(device, &catalogue(), 3.0, 1.0);
}

/// As [`target_beyond`].
fn place_beyond(device: &Device) {
    let mut logits = Given::noise(device, 1, 5, Dtype::F32, 1);
    let (mut loss, weights) =
        (Given::noise(device, 1, 3, Dtype::F32, 2), Given::noise(device, 1, 3, Dtype::F32, 3));
    let first = device.upload_u32(&[0, 3, 3, 5]).unwrap();
    let places = device.upload_u32(&[2, 2, 2]).unwrap();
    let to = (loss.tensor.view_mut(), logits.tensor.view_mut());
    let aim = Aim::Place(places.view());
    match device.choice_loss(to.0, to.1, first.view(), aim, weights.view(), 1.0) {
        Err(error) => refused(device, error, "number 2: expected a place below 2, got 2"),
        Ok(()) => {
            spoiled(device, &results("place beyond", device, loss.view()), [2]);
            spoiled(device, &results("place beyond", device, logits.view()), [3, 4]);
        }
    }
}

/// A choice that cannot be costs nothing where nothing of it is asked, and everything where
/// something is; what is not a number spoils its row and no other.
fn choices_that_are_no_numbers(device: &Device) {
    const NEVER: f64 = f64::NEG_INFINITY;
    let values =
        [1.0, NEVER, 1.0, NEVER, f64::NAN, 1.0, NEVER, NEVER, 1.0, f64::INFINITY, 1.0, 2.0];
    let shares = [1.0, 0.0, 0.5, 0.5, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
    let shares = Given::new(device, &shares, 1, 12, Dtype::F32);
    let first = device.upload_u32(&[0, 2, 4, 6, 8, 10, 12]).unwrap();
    let places = device.upload_u32(&[0, 1, 1, 0, 0, 1]).unwrap();
    let weights = Given::new(device, &[1.0; 6], 1, 6, Dtype::F32);
    for (aim, never) in
        [(Aim::Place(places.view()), [1.0, -1.0]), (Aim::Shares(shares.view()), [0.5, -0.5])]
    {
        let mut logits = Given::new(device, &values, 1, 12, Dtype::F32);
        let mut loss = Given::noise(device, 1, 6, Dtype::F32, 1);
        let to = (loss.tensor.view_mut(), logits.tensor.view_mut());
        device.choice_loss(to.0, to.1, first.view(), aim, weights.view(), 1.0).unwrap();
        let loss = results("choice_loss of no numbers", device, loss.view());
        let rows = results("choice_loss gradient of no numbers", device, logits.view());
        assert_eq!((loss[0], loss[1], &rows[..2]), (0.0, f32::INFINITY, &[0.0, 0.0][..]));
        assert_eq!(rows[2..4], never);
        assert!(loss[2..5].iter().chain(&rows[4..10]).all(|x| x.is_nan()), "{loss:?} {rows:?}");
        assert!(loss[5].is_finite() && rows[10..].iter().all(|x| x.is_finite()), "{loss:?}");
    }
}

fn choice_log_probs(device: &Device) {
    for first in [bounds(1), bounds(2), bounds(5), bounds(70), catalogue()] {
        let count = first[first.len() - 1] as usize;
        for temperature in [1.0f32, 0.25, 4.0] {
            let values: Vec<f64> = oracle::noise(count, 1).iter().map(|x| 10.0 * x).collect();
            let mut logits = Given::new(device, &values, 1, count, Dtype::F32);
            let cold = f64::from(temperature);
            let expected: Vec<f64> = first
                .windows(2)
                .flat_map(|ends| {
                    let own = &logits.values[ends[0] as usize..ends[1] as usize];
                    oracle::log_softmax(&own.iter().map(|z| z / cold).collect::<Vec<f64>>())
                })
                .collect();
            let starts = device.upload_u32(&first).unwrap();
            device.choice_log_probs(logits.tensor.view_mut(), starts.view(), temperature).unwrap();
            let terms = first.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap() as usize;
            let bound = Bound { terms, scale: 20.0 / cold.min(1.0) };
            judge("choice_log_probs", device, logits.view(), &expected, bound);
        }
    }
}

/// What is no finite number spoils its row, wherever it stands there, and no other; alone too.
fn log_probs_that_are_no_numbers(device: &Device) {
    let spoils = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for (spoil, at) in spoils.into_iter().flat_map(|x| [3, 5, 1300, 2002].map(|at| (x, at))) {
        let first = [0u32, 3, 4, 2002, 2003, 2005];
        let mut values: Vec<f64> = oracle::noise(2005, 1);
        values[at] = spoil;
        let mut logits = Given::new(device, &values, 1, 2005, Dtype::F32);
        let starts = device.upload_u32(&first).unwrap();
        device.choice_log_probs(logits.tensor.view_mut(), starts.view(), 0.5).unwrap();
        let got = results("choice_log_probs of no numbers", device, logits.view());
        for ends in first.windows(2) {
            let own = ends[0] as usize..ends[1] as usize;
            let spoiled = own.contains(&at);
            assert!(
                got[own].iter().all(|x| if spoiled { x.is_nan() } else { x.is_finite() }),
                "{spoil} at {at}: {ends:?}"
            );
        }
    }
}

fn log_probs_at(device: &Device) {
    for (rows, cols) in SHAPES {
        for dtype in FLOATS {
            let values: Vec<f64> = oracle::noise(rows * cols, 1).iter().map(|x| 20.0 * x).collect();
            let logits = Given::new(device, &values, rows, cols, dtype);
            // Row r is asked at r mod 4 places: none of some rows.
            let mut first = vec![0u32];
            (0..rows).for_each(|r| first.push(first[r] + (r % 4) as u32));
            let count = first[rows] as usize;
            let ids = indices(count, cols, 4);
            let mut expected = Vec::new();
            for r in 0..rows {
                let log_probs = oracle::log_softmax(&logits.values[r * cols..(r + 1) * cols]);
                let asked = &ids[first[r] as usize..first[r + 1] as usize];
                expected.extend(asked.iter().map(|&id| log_probs[id as usize]));
            }
            let mut y = Given::noise(device, 1, count, Dtype::F32, 5);
            let (first, ids) =
                (device.upload_u32(&first).unwrap(), device.upload_u32(&ids).unwrap());
            device
                .log_probs_at(y.tensor.view_mut(), logits.view(), first.view(), ids.view())
                .unwrap();
            judge("log_probs_at", device, y.view(), &expected, Bound { terms: cols, scale: 40.0 });
        }
    }
}

fn top_k(device: &Device) {
    for (rows, cols) in SHAPES {
        for dtype in FLOATS {
            for k in [1, 5, 20, 100, cols] {
                if k > cols {
                    continue;
                }
                // Few distinct values: many ties.
                let values: Vec<f64> = oracle::noise(rows * cols, k as u64)
                    .iter()
                    .map(|x| (x * 40.0).round())
                    .collect();
                let x = Given::new(device, &values, rows, cols, dtype);
                let mut largest = Given::noise(device, rows, k, Dtype::F32, 2);
                let zeros = vec![0u8; 4 * rows * k];
                let mut columns =
                    device.upload_bytes(&zeros, Shape::matrix(rows, k), Dtype::U32).unwrap();
                device.top_k(largest.tensor.view_mut(), columns.view_mut(), x.view()).unwrap();
                let expected: Vec<u32> =
                    x.values.chunks(cols).flat_map(|row| oracle::top_k(row, k)).collect();
                let got = whole_results("top_k", device, columns.view());
                let differs = got.iter().zip(&expected).position(|(a, b)| a != b);
                assert_eq!(
                    differs, None,
                    "top_k {k} of {rows}x{cols}: the first place that differs"
                );
                let expected: Vec<f64> = expected
                    .iter()
                    .enumerate()
                    .map(|(i, &c)| x.values[i / k * cols + c as usize])
                    .collect();
                judge("top_k", device, largest.view(), &expected, EXACT);
            }
        }
    }
}

/// Rows that are hard to choose from: all equal, zeros of both signs, most of it not a number, the
/// largest all in the columns of few threads, and ascending ones, where each thread's best comes
/// last.
fn top_k_of_awkward_rows(device: &Device) {
    const COLS: usize = 16_384;
    let kinds: [fn(usize) -> f64; 5] = [
        |_| 1.0,
        |c| if c % 3 == 0 { -0.0 } else { 0.0 },
        |c| [f64::NAN, f64::NEG_INFINITY, f64::INFINITY, -1.0][if c % 97 == 0 { c % 4 } else { 0 }],
        |c| if c / 8 % 256 < 3 { 100.0 + (c % 50) as f64 } else { (c % 60) as f64 },
        |c| c as f64 / 100.0,
    ];
    for dtype in FLOATS {
        let values: Vec<f64> = kinds.iter().flat_map(|kind| (0..COLS).map(kind)).collect();
        let x = Given::new(device, &values, kinds.len(), COLS, dtype);
        for k in [1, 64, 700] {
            let mut largest = Given::noise(device, kinds.len(), k, Dtype::F32, 2);
            let zeros = vec![0u32; kinds.len() * k];
            let shape = Shape::matrix(kinds.len(), k);
            let mut columns =
                device.upload_bytes(bytemuck::cast_slice(&zeros), shape, Dtype::U32).unwrap();
            device.top_k(largest.tensor.view_mut(), columns.view_mut(), x.view()).unwrap();
            let got = whole_results("top_k of awkward rows", device, columns.view());
            let largest = results("top_k of awkward rows", device, largest.view());
            for (r, row) in x.values.chunks(COLS).enumerate() {
                let number = |&x: &f64| if x.is_nan() { f64::NEG_INFINITY } else { x };
                let row: Vec<f64> = row.iter().map(number).collect();
                let expected = oracle::top_k(&row, k);
                let places = r * k..(r + 1) * k;
                assert!(got[places.clone()] == expected, "top_k {k} of row {r} {dtype}");
                let numbers = expected.iter().map(|&c| row[c as usize]);
                assert!(
                    largest[places].iter().map(|&x| f64::from(x)).eq(numbers),
                    "top_k {k} of row {r} {dtype}"
                );
            }
        }
    }
}

/// Parts that hold more than is wanted, as many, fewer and none; many ties, zeros of both signs and
/// what is not a number.
fn choice_top_k(device: &Device) {
    for first in [bounds(1), bounds(5), bounds(70), catalogue()] {
        let (rows, count) = (first.len() - 1, first[first.len() - 1] as usize);
        let mut values: Vec<f64> = oracle::noise(count, 7);
        for (i, x) in values.iter_mut().enumerate() {
            *x = if i % 41 == 40 { f64::NAN } else { (*x * 30.0).round() };
        }
        let x = Given::new(device, &values, 1, count, Dtype::F32);
        let starts = device.upload_u32(&first).unwrap();
        for k in [1, 3, 20, 40, 300] {
            let mut largest = Given::noise(device, rows, k, Dtype::F32, 2);
            let zeros = vec![0u8; 4 * rows * k];
            let mut places =
                device.upload_bytes(&zeros, Shape::matrix(rows, k), Dtype::U32).unwrap();
            let to = (largest.tensor.view_mut(), places.view_mut());
            device.choice_top_k(to.0, to.1, x.view(), starts.view()).unwrap();
            let places = whole_results("choice_top_k", device, places.view());
            let largest = results("choice_top_k", device, largest.view());
            for (r, ends) in first.windows(2).enumerate() {
                let own = &x.values[ends[0] as usize..ends[1] as usize];
                let number = |&x: &f64| if x.is_nan() { f64::NEG_INFINITY } else { x };
                let own: Vec<f64> = own.iter().map(number).collect();
                let mut expected = oracle::top_k(&own, k);
                let mut numbers: Vec<f64> = expected.iter().map(|&c| own[c as usize]).collect();
                expected.resize(k, u32::MAX);
                numbers.resize(k, f64::NEG_INFINITY);
                let got = r * k..(r + 1) * k;
                assert!(places[got.clone()] == expected, "choice_top_k {k} of row {r}");
                let largest = largest[got].iter().map(|&x| f64::from(x));
                assert!(largest.eq(numbers), "choice_top_k {k} of row {r}");
            }
        }
    }
}

//! Safe calls with absurd shapes are refused: nothing that a caller says reaches memory that is not
//! its own, or shows what another tensor held.

use engine::base::{Dtype, Fault, Shape};
use engine::device::{Aim, AttendCache, Device, Heads, Qkv, Rotary, Turn};
use std::panic::{catch_unwind, AssertUnwindSafe};

const HALF: usize = 1 << 63;

fn cpu() -> Device {
    Device::open("cpu", 2).unwrap()
}

/// Shapes whose elements or bytes no word can count, or no host holds.
const SHAPES: [Shape; 8] = [
    Shape::matrix(HALF, 2),
    Shape::matrix(2, HALF),
    Shape::matrix(usize::MAX, usize::MAX),
    Shape::matrix(1 << 32, 1 << 32),
    Shape::vector(usize::MAX),
    Shape::vector(usize::MAX / 4 + 1),
    Shape::vector(HALF / 4),
    Shape::matrix(1 << 31, 1 << 31),
];

#[test]
fn a_shape_that_cannot_be_counted_is_not_counted_as_another() {
    assert_eq!(Shape::matrix(HALF, 2).count(), usize::MAX);
    assert_eq!(Shape::matrix(HALF, 0).count(), 0);
    assert_eq!(Shape::vector(usize::MAX / 4 + 1).bytes(Dtype::F32), usize::MAX);
}

#[test]
fn no_tensor_of_an_absurd_shape_is_had() {
    let device = cpu();
    for shape in SHAPES {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::U32] {
            for made in [device.alloc(shape, dtype), device.zeros(shape, dtype)] {
                let Err(error) = made else { panic!("{shape} {dtype}") };
                assert_eq!(Fault::of(&error), Some(Fault::Device), "{error:#}");
            }
            assert!(device.upload_bytes(&[], shape, dtype).is_err());
        }
        assert!(device.upload_f32(&[], shape, Dtype::F32).is_err());
    }
    assert_eq!(device.memory().now, 0);
}

/// Whether a call panics or fails; either is a refusal.
fn refused<T>(call: impl FnOnce() -> anyhow::Result<T>) -> bool {
    !matches!(catch_unwind(AssertUnwindSafe(call)), Ok(Ok(_)))
}

#[test]
fn no_view_reaches_beyond_its_tensor() {
    let device = cpu();
    let mut t = device.zeros(Shape::matrix(4, 4), Dtype::F32).unwrap();
    for shape in SHAPES.into_iter().chain([Shape::vector(17), Shape::matrix(5, 4)]) {
        for offset in [0, 1, 16, usize::MAX, HALF] {
            assert!(refused(|| device.download_f32(t.view().part(offset, shape))));
            assert!(refused(|| device.zero(t.view_mut().part(offset, shape))));
        }
        let small = (0, Shape::vector(1));
        assert!(refused(|| Ok(t.view_mut().parts(small, (usize::MAX, shape)))));
    }
    let beyond = 1 << 30;
    #[allow(clippy::reversed_empty_ranges)]
    for rows in [0..5, 4..5, 3..2, beyond..beyond + 1, usize::MAX - 1..usize::MAX] {
        assert!(refused(|| device.download_f32(t.view().row_range(rows.clone()))), "{rows:?}");
    }
    assert!(refused(|| Ok(t.view_mut().parts((0, Shape::vector(9)), (8, Shape::vector(8))))));
    // A row without columns is no memory, however many there are.
    let none = device.zeros(Shape::matrix(usize::MAX, 0), Dtype::F32).unwrap();
    assert!(device.download_f32(none.view().row_range(HALF..HALF + 9)).unwrap().is_empty());
}

#[test]
fn a_fresh_tensor_shows_nothing_of_another() {
    let device = cpu();
    for count in [1, 100, 4096, 2 << 20] {
        drop(device.upload_f32(&vec![42.0; count], Shape::vector(count), Dtype::F32).unwrap());
        let fresh = device.alloc(Shape::vector(count), Dtype::F32).unwrap();
        assert!(device.download_f32(fresh.view()).unwrap().iter().all(|&x| x == 0.0), "{count}");
    }
}

/// Bounds that do not ascend to the end would let two threads write one place; a loss has no
/// temperature of nothing.
#[test]
fn ops_refuse_lists_that_are_none() {
    let device = cpu();
    let zeros = |rows, cols, dtype| device.zeros(Shape::matrix(rows, cols), dtype).unwrap();
    let words = |words: &[u32]| device.upload_u32(words).unwrap();
    let (x, table) = (zeros(3, 4, Dtype::F32), zeros(5, 4, Dtype::F32));
    let (ids, weights) = (words(&[0, 4, 1, 2, 3]), zeros(1, 3, Dtype::F32));
    let right = [0, 2, 2, 5];
    for (first, temperature) in [
        (vec![0, 4, 2, 5], 1.0),
        (vec![1, 2, 2, 5], 1.0),
        (vec![0, 2, 2, 4], 1.0),
        (vec![0, 2, 2, 6], 1.0),
        (vec![0, 2, 5], 1.0),
        (vec![0, 2, 2, 5, 5], 1.0),
        (right.to_vec(), 0.0),
        (right.to_vec(), -1.0),
        (right.to_vec(), f32::NAN),
        (right.to_vec(), f32::INFINITY),
        (right.to_vec(), 1.0),
    ] {
        let (list, mut loss) = (words(&first), zeros(1, 3, Dtype::F32));
        let (mut some, mut rows) = (zeros(1, 5, Dtype::F32), zeros(3, 4, Dtype::F32));
        let places = words(&[0, 0, 0]);
        let aim = Aim::Place(places.view());
        let to = (loss.view_mut(), some.view_mut());
        let lost = device.choice_loss(to.0, to.1, list.view(), aim, weights.view(), temperature);
        assert_eq!(lost.is_ok(), first == right && temperature == 1.0, "{first:?} {temperature}");
        let (to, ids) = (some.view_mut(), ids.view());
        let asked = device.sampled_product(to, x.view(), table.view(), list.view(), ids);
        assert_eq!(asked.is_ok(), first == right, "{first:?}");
        let (to, from) = (rows.view_mut(), some.view());
        let summed = device.sparse_product(to, table.view(), list.view(), ids, ids, from);
        assert_eq!(summed.is_ok(), first == right, "{first:?}");
    }
    // Of another number, dtype or width than the others.
    let (first, mut some) = (words(&right), zeros(1, 5, Dtype::F32));
    let narrow = zeros(5, 4, Dtype::Bf16);
    let to = some.view_mut();
    assert!(device.sampled_product(to, x.view(), narrow.view(), first.view(), ids.view()).is_err());
    let (few, mut loss) = (zeros(1, 4, Dtype::F32), zeros(1, 3, Dtype::F32));
    for aim in [Aim::Shares(few.view()), Aim::Shares(ids.view()), Aim::Place(ids.view())] {
        let to = (loss.view_mut(), some.view_mut());
        let lost = device.choice_loss(to.0, to.1, first.view(), aim, weights.view(), 1.0);
        assert!(lost.unwrap_err().to_string().starts_with("choice_loss: aim: expected"));
    }
    let mut wide = zeros(3, 5, Dtype::F32);
    let (to, list) = (wide.view_mut(), ids.view());
    assert!(device
        .sparse_product(to, table.view(), first.view(), list, list, weights.view())
        .is_err());
    // As many rows as no list has a bound for.
    let (many, none) = (zeros(usize::MAX, 0, Dtype::F32), zeros(1, 0, Dtype::F32));
    let nothing = words(&[]);
    let mut to = zeros(1, 0, Dtype::F32);
    assert!(device
        .sampled_product(to.view_mut(), many.view(), none.view(), nothing.view(), nothing.view())
        .is_err());
}

#[test]
fn ops_refuse_rows_and_heads_that_cannot_be() {
    let device = cpu();
    let zeros = |rows, cols, dtype| device.zeros(Shape::matrix(rows, cols), dtype).unwrap();
    let heads = |count| Heads { count, layout: Qkv::Thirds };
    let words = zeros(1, 0, Dtype::U32);
    let table = zeros(1, 1, Dtype::F32);
    let rotary =
        Rotary { cos: table.view(), sin: table.view(), positions: [words.view(), words.view()] };
    for count in [0, HALF, usize::MAX, usize::MAX / 3 + 1] {
        let mut x = zeros(usize::MAX, 0, Dtype::F32);
        assert!(refused(|| device.rotate(x.view_mut(), rotary, heads(count), Turn::Forward)));
        let mut x = zeros(1, 12, Dtype::F32);
        assert!(refused(|| device.rotate(x.view_mut(), rotary, heads(count), Turn::Forward)));
    }
    let (qkv, mut y) = (zeros(usize::MAX, 0, Dtype::F32), zeros(usize::MAX, 0, Dtype::F32));
    let rows = device.cache_rows(Vec::new(), &[0], &[]).unwrap();
    let attend = AttendCache {
        qkv: qkv.view(),
        prompt: y.view(),
        tail: y.view(),
        rows: &rows,
        heads: heads(1),
        scale: 1.0,
    };
    let mut out = zeros(usize::MAX, 0, Dtype::F32);
    assert!(refused(|| device.cache_attention(out.view_mut(), attend)));
    let (first, ids) = (zeros(1, 1, Dtype::U32), zeros(1, 0, Dtype::U32));
    let mut none = zeros(1, 0, Dtype::F32);
    let asked = device.log_probs_at(none.view_mut(), y.view(), first.view(), ids.view());
    assert!(asked.is_err());
    assert!(device.top_k(y.view_mut(), none.view_mut(), qkv.view()).is_err());
    for (prompts, starts, path) in [
        (vec![[3, 2]], vec![0, 0], vec![]),
        (vec![[0, 2]], vec![0, 2], vec![1]),
        (vec![[0, 2]], vec![1, 1], vec![1]),
        (vec![[0, 2]], vec![0], vec![]),
        (vec![[0, 2]; 2], vec![0, 2, 1], vec![1]),
        (vec![], vec![], vec![]),
    ] {
        let asked = || device.cache_rows(prompts.clone(), &starts, &path);
        assert!(refused(asked), "{prompts:?} {starts:?}");
    }
    // Starts that do not ascend would let two threads write one row.
    for (start, context) in [
        (vec![0, 4, 2], vec![0, 0]),
        (vec![1, 4], vec![0]),
        (vec![0, 4], vec![5]),
        (vec![0], vec![0]),
        (vec![0, u32::MAX], vec![u32::MAX - 1, 0]),
    ] {
        assert!(refused(|| device.segments(start.clone(), context.clone())), "{start:?}");
    }
}

//! Parity: given rows through the model, every hidden state into a file, to compare with other
//! implementations.

use super::source::{Loaded, OtherBase, Source};
use crate::base::{read_file, unreadable, Dtype, Fault, Outputs, Shape, Standing};
use crate::data::Batch;
use crate::model::{encode, write_safetensors, Entry, Flat, Keep, Model, Tune};
use anyhow::Result;
use safetensors::tensor::TensorView;
use safetensors::SafeTensors;
use std::path::Path;

/// What is written: name, shape as a file lists it, values.
type Output = (String, Vec<usize>, Vec<f32>);

/// Which rows, and where what becomes of them goes.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// input_ids `[R]`, positions `[2, R]`, starts `[S+1]`, context `[S]`, optional labels `[R]`,
    /// −100 = none.
    pub inputs: &'a Path,
    /// hidden.0 … hidden.L, final, logits, with labels loss, with gradients `grad.<tensor name>`.
    pub outputs: &'a Path,
    /// The loss's gradient of every trained tensor as well: the adapter's, or all of the base's.
    pub gradients: bool,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Done {
    /// The device that computed.
    pub device: String,
    /// Linears that the adapter adapts.
    pub adapted: usize,
    /// That the adapter was trained on another base, where it remembers.
    pub other_base: Option<OtherBase>,
    /// Tensors written.
    pub tensors: usize,
}

/// Runs given rows through the model and writes every hidden state, whole or not at all. Refuses
/// rows that are no batch, gradients without labels, and states that are no finite numbers.
pub fn forward(source: &Source, rows: &Rows, mut outputs: Outputs) -> Result<Done> {
    source.tell(&mut outputs);
    outputs.reads("setting `inputs`", rows.inputs);
    outputs.file("setting `outputs`", rows.outputs, Standing::New);
    let _held = outputs.claim()?;
    let full = rows.gradients && source.adapter.is_none();
    let tune = if full { Tune::Full } else { Tune::Nothing };
    let Loaded { model, adapted, origin } = source.load(&tune)?;
    let (batch, labelled) = read(rows.inputs)?;
    if rows.gradients && !labelled {
        return Err(Fault::Usage.error(format!(
            "setting `gradients`: {}: expected labels among the inputs, got none; add the tensor \
            labels",
            rows.inputs.display()
        )));
    }
    let mut outputs: Vec<Output> = Vec::new();
    let matrix = |model: &Model, name: String, x: crate::device::View| -> Result<Output> {
        Ok((name, vec![x.rows(), x.cols()], model.device.download_f32(x)?))
    };
    let last = model.hidden(&batch, |i, x| {
        outputs.push(matrix(&model, format!("hidden.{i}"), x)?);
        Ok(())
    })?;
    let normed = model.finish(&last)?;
    outputs.push(matrix(&model, "final".into(), normed.view())?);
    outputs.push(matrix(&model, "logits".into(), model.logits(normed.view())?.view())?);
    if labelled {
        let divisor = batch.target_rows.len().max(1) as f64;
        if rows.gradients {
            let mut gradients = Flat::zeros(&model.device, model.layout())?;
            let loss =
                model.loss_and_gradients(&batch, divisor, None, Keep::Lean, &mut gradients)?;
            outputs.push(("loss".into(), Vec::new(), vec![loss as f32]));
            for slot in model.layout().slots() {
                let values = model.device.download_f32(gradients.view(slot))?;
                outputs.push((format!("grad.{}", slot.name), slot.shape.dims().to_vec(), values));
            }
        } else {
            outputs.push(("loss".into(), Vec::new(), vec![model.loss(&batch, divisor)? as f32]));
        }
    }
    model.unchanged()?;
    let broken = outputs.iter().find(|(.., values)| values.iter().any(|value| !value.is_finite()));
    if let Some((name, ..)) = broken {
        return Err(Fault::Model.error(format!(
            "forward: tensor {name}: expected finite numbers, got NaN or infinity; its weights are \
            damaged, or setting `dtype = {}` is too narrow for them",
            model.dtype
        )));
    }
    write(rows.outputs, &outputs)?;
    Ok(Done {
        device: model.device.name().to_owned(),
        adapted,
        other_base: origin.other_base,
        tensors: outputs.len(),
    })
}

fn write(path: &Path, outputs: &[Output]) -> Result<()> {
    let entries: Vec<Entry> = outputs
        .iter()
        .map(|(name, dims, _)| {
            let shape = Shape::from_dims(dims).expect("outputs have at most two dimensions");
            Entry { name: name.clone(), shape, dtype: Dtype::F32 }
        })
        .collect();
    write_safetensors(path, &entries, |i| Ok(encode(&outputs[i].2, Dtype::F32)))
}

/// The rows as a batch, and whether labels came with them.
fn read(path: &Path) -> Result<(Batch, bool)> {
    let refuse = |what: String| Fault::Data.error(format!("inputs: {}: {what}", path.display()));
    let bytes = read_file(path)
        .map_err(|e| unreadable(Fault::Data, "setting `inputs`", path, "a safetensors file", &e))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| refuse(format!("expected a safetensors file, got {e}; write it again")))?;
    let take = |name: &str| -> Result<Vec<i64>> {
        let tensor = file.tensor(name).map_err(|_| {
            refuse(format!("tensor {name}: expected it, but it is not there; add it"))
        })?;
        let wanted = if name == "positions" { 2 } else { 1 };
        if tensor.shape().len() != wanted {
            return Err(refuse(format!(
                "tensor {name}: expected {wanted} dimensions, got {:?}",
                tensor.shape()
            )));
        }
        integers(&tensor)
            .map_err(|got| refuse(format!("tensor {name}: expected integers, got {got}; cast it")))
    };
    let unsigned = |name: &str| -> Result<Vec<u32>> {
        take(name)?
            .into_iter()
            .map(|v| {
                u32::try_from(v).map_err(|_| {
                    refuse(format!("tensor {name}: expected values from 0 to 2³²-1, got {v}"))
                })
            })
            .collect()
    };
    let tokens = unsigned("input_ids")?;
    let rows = tokens.len();
    let positions = unsigned("positions")?;
    if positions.len() != 2 * rows {
        return Err(refuse(format!(
            "tensor positions: expected [2, {rows}], got {} values",
            positions.len()
        )));
    }
    let (starts, contexts) = (unsigned("starts")?, unsigned("context")?);
    let ordered = starts.first() == Some(&0)
        && starts.last() == Some(&(rows as u32))
        && starts.len() == contexts.len() + 1
        && starts.windows(2).zip(&contexts).all(|(w, &c)| w[0] <= w[1] && c <= w[1] - w[0]);
    if rows == 0 || !ordered {
        return Err(refuse(format!(
            "starts and context: expected ascending starts from 0 to {rows} and a length of part A \
            within each sequence, got {starts:?} and {contexts:?}"
        )));
    }
    let mut batch = Batch {
        positions: [positions[..rows].to_vec(), positions[rows..].to_vec()],
        examples: (0..contexts.len() as u64).collect(),
        tokens,
        starts,
        contexts,
        ..Batch::default()
    };
    let labelled = file.tensor("labels").is_ok();
    if labelled {
        let labels = take("labels")?;
        if labels.len() != rows {
            return Err(refuse(format!(
                "tensor labels: expected [{rows}], got {} values",
                labels.len()
            )));
        }
        for (row, &label) in labels.iter().enumerate().filter(|(_, &label)| label != -100) {
            let id = u32::try_from(label).map_err(|_| {
                refuse(format!("tensor labels: expected token ids or -100, got {label}"))
            })?;
            batch.target_rows.push(row as u32);
            batch.target_ids.push(id);
            batch.target_weights.push(1.0);
        }
    }
    Ok((batch, labelled))
}

/// The values of an integer tensor of any width.
fn integers(tensor: &TensorView) -> std::result::Result<Vec<i64>, String> {
    use safetensors::Dtype as D;
    let bytes = tensor.data();
    macro_rules! each {
        ($type:ty) => {
            bytes
                .chunks_exact(std::mem::size_of::<$type>())
                .map(|b| {
                    <$type>::from_le_bytes(b.try_into().expect("chunks of the type's size")) as i64
                })
                .collect()
        };
    }
    Ok(match tensor.dtype() {
        D::I8 => each!(i8),
        D::U8 | D::BOOL => each!(u8),
        D::I16 => each!(i16),
        D::U16 => each!(u16),
        D::I32 => each!(i32),
        D::U32 => each!(u32),
        D::I64 => each!(i64),
        // Ids beyond 2⁶³ wrap to negative numbers and are refused as such.
        D::U64 => each!(u64),
        other => return Err(format!("{other:?}")),
    })
}

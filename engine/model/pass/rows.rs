//! A batch on the device, and one pass of a model over it.

use crate::base::{Dtype, Fault, Shape};
use crate::data::Batch;
use crate::device::{Dropout, Segments, Tensor, View, Write};
use crate::model::config::{LinearName, Rates};
use crate::model::model::Model;
use anyhow::Result;

/// One pass of a model over one batch: what every step of it needs to know.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// The weights.
    pub model: &'a Model,
    /// The batch.
    pub rows: &'a Rows,
    /// What is dropped; `None` in a pass that only answers.
    pub noise: Option<&'a Noise>,
    /// Names of the rows that are computed now, for dropout.
    names: Option<&'a Tensor>,
}

/// Whether a backward will follow: GELU's argument and adapters' x·Aᵀ are kept only then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// No backward will follow.
    Inference,
    /// A backward will follow, or is running.
    Training,
}

/// The rows of a batch where the ops can see them.
pub struct Rows {
    /// `[3, R]` u32: tokens, the place in the text, the place in the block.
    ids: Tensor,
    /// Which rows see which.
    pub segments: Segments,
    /// `[R, 3]` names of the rows for dropout; only where a pass drops something.
    names: Option<Tensor>,
}

/// The rows of a batch that are read behind the last layer, each once, in an order of its own.
pub struct Read {
    /// `[T]` u32, rows of the batch.
    rows: Tensor,
    /// `[T, 3]`, as [`Rows`] has them.
    names: Option<Tensor>,
    /// `[R]`: which of the T each row of the batch is, T for one that is none.
    places: Vec<u32>,
}

/// Rows of a tensor: all of them, where they stand, or some, gathered.
pub enum Picked<'a> {
    All(View<'a>),
    Some(Tensor),
}

impl Picked<'_> {
    pub fn view(&self) -> View<'_> {
        match self {
            Picked::All(view) => *view,
            Picked::Some(tensor) => tensor.view(),
        }
    }
}

/// Dropout of one pass: the same (seed, step) gives the same masks, however the step is cut into
/// batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Of the run.
    pub seed: u64,
    /// Number of the optimiser step.
    pub step: u64,
    /// Of the model itself.
    pub rates: Rates,
    /// Rate at which inputs of adapters are dropped, 0 to below 1.
    pub lora: f32,
}

impl Noise {
    fn drops(&self) -> bool {
        self.rates.embedding > 0.0
            || self.rates.attention > 0.0
            || self.rates.output > 0.0
            || self.lora > 0.0
    }
}

/// A place in the model where dropout acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// The sum of the embeddings.
    Embedding,
    /// The input of the adapter of a linear of a layer.
    Adapter(usize, LinearName),
    /// The attention probabilities of a layer.
    Attention(usize),
    /// The output of a layer's `dense`.
    AttentionOutput(usize),
    /// The output of a layer's `dense_4h_to_h`.
    FeedForwardOutput(usize),
}

impl Site {
    /// The name of the site in the counter of the generator: eight a layer.
    fn number(self) -> u32 {
        match self {
            Site::Embedding => 0,
            Site::Adapter(layer, linear) => 1 + 8 * layer as u32 + linear as u32,
            Site::Attention(layer) => 5 + 8 * layer as u32,
            Site::AttentionOutput(layer) => 6 + 8 * layer as u32,
            Site::FeedForwardOutput(layer) => 7 + 8 * layer as u32,
        }
    }
}

impl Rows {
    /// Uploads `batch` for a pass of `model`; `noise` decides whether rows need names. Refuses ids
    /// and positions that the tables do not have.
    pub fn upload(model: &Model, batch: &Batch, noise: Option<&Noise>) -> Result<Rows> {
        let (device, config) = (&model.device, &model.config);
        refuse_beyond("token", &batch.tokens, config.vocabulary)?;
        refuse_beyond("position", &batch.positions[0], config.position_rows())?;
        refuse_beyond("block position", &batch.positions[1], config.position_rows())?;
        let names = match noise {
            Some(noise) if noise.drops() => Some(upload_names(model, &names(batch))?),
            _ => None,
        };
        Ok(Rows {
            ids: device.upload_u32(
                &[&batch.tokens[..], &batch.positions[0], &batch.positions[1]].concat(),
            )?,
            segments: device.segments(batch.starts.clone(), batch.contexts.clone())?,
            names,
        })
    }

    /// R
    pub fn count(&self) -> usize {
        self.ids.shape().count() / 3
    }

    /// `[R]` u32
    pub fn tokens(&self) -> View<'_> {
        self.ids_at(0)
    }

    /// `[R]` u32 each: the place in the text, the place in the block.
    pub fn positions(&self) -> [View<'_>; 2] {
        [self.ids_at(1), self.ids_at(2)]
    }

    fn ids_at(&self, which: usize) -> View<'_> {
        self.ids.view().part(which * self.count(), Shape::vector(self.count()))
    }
}

impl Read {
    /// Uploads which `rows` of `batch` are read, each named once; `noise` as in [`Rows::upload`].
    pub fn upload(
        model: &Model,
        batch: &Batch,
        rows: &[u32],
        noise: Option<&Noise>,
    ) -> Result<Read> {
        let names = match noise {
            Some(noise) if noise.drops() => {
                let all = names(batch);
                let own: Vec<[u32; 3]> = rows.iter().map(|&row| all[row as usize]).collect();
                Some(upload_names(model, &own)?)
            }
            _ => None,
        };
        let mut places = vec![rows.len() as u32; batch.tokens.len()];
        for (place, &row) in rows.iter().enumerate() {
            places[row as usize] = place as u32;
        }
        Ok(Read { rows: model.device.upload_u32(rows)?, names, places })
    }
}

/// How each row of a batch is called in dropout: its example, and its place there.
fn names(batch: &Batch) -> Vec<[u32; 3]> {
    let sequences = batch.starts.windows(2).zip(&batch.examples);
    let of_one = |(bounds, &example): (&[u32], &u64)| {
        (0..bounds[1] - bounds[0]).map(move |at| [example as u32, (example >> 32) as u32, at])
    };
    sequences.flat_map(of_one).collect()
}

/// `[R, 3]`
fn upload_names(model: &Model, names: &[[u32; 3]]) -> Result<Tensor> {
    let mut tensor = model.device.unwritten(Shape::matrix(names.len(), 3), Dtype::U32)?;
    model.device.write_u32(tensor.view_mut(), names.as_flattened())?;
    Ok(tensor)
}

/// Refuses ids that a table of `rows` rows does not have.
fn refuse_beyond(what: &str, ids: &[u32], rows: usize) -> Result<()> {
    match ids.iter().find(|&&id| id as usize >= rows) {
        None => Ok(()),
        Some(id) => Err(Fault::Model.error(format!(
            "input: {what}: expected ids below {rows}, got {id}; do tokenizer, data and weights \
            belong together?"
        ))),
    }
}

impl<'a> Pass<'a> {
    /// A pass over all rows that drops what `noise` says.
    pub fn new(model: &'a Model, rows: &'a Rows, noise: Option<&'a Noise>) -> Pass<'a> {
        Pass { model, rows, noise, names: rows.names.as_ref() }
    }

    /// A pass that only answers.
    pub fn answering(model: &'a Model, rows: &'a Rows) -> Pass<'a> {
        Pass::new(model, rows, None)
    }

    /// The same pass where only the rows that are read go on; `None`: all do.
    pub fn over(self, read: Option<&'a Read>) -> Pass<'a> {
        let names = read.map_or(self.names, |read| read.names.as_ref());
        Pass { names, ..self }
    }

    /// The rows of x `[R, n]` that go on.
    pub fn pick<'x>(&self, x: View<'x>, read: Option<&Read>) -> Result<Picked<'x>> {
        let Some(read) = read else { return Ok(Picked::All(x)) };
        Ok(Picked::Some(self.model.gather(x, &read.rows, x.dtype())?))
    }

    /// x `[T, n]` of the rows that are read as `[R, n]`, zeros in all others: a gather, so in any
    /// dtype.
    pub fn spread(&self, x: View, read: &Read) -> Result<Tensor> {
        let (device, count) = (&self.model.device, x.rows());
        let shape = Shape::matrix(count + 1, x.cols());
        let mut and_zeros = device.unwritten(shape, x.dtype())?;
        device.copy(and_zeros.view_mut().row_range(0..count), x)?;
        device.zero(and_zeros.view_mut().row_range(count..count + 1))?;
        self.model.gather(and_zeros.view(), &device.upload_u32(&read.places)?, x.dtype())
    }

    /// What this pass drops at `site`, `None` where its rate is zero or the pass is without noise.
    pub fn dropout(&self, site: Site) -> Option<Dropout<'a>> {
        let noise = self.noise?;
        let rate = match site {
            Site::Embedding => noise.rates.embedding,
            Site::Adapter(..) => noise.lora,
            Site::Attention(_) => noise.rates.attention,
            Site::AttentionOutput(_) | Site::FeedForwardOutput(_) => noise.rates.output,
        };
        if rate == 0.0 {
            return None;
        }
        let names = self.names.expect("rows were uploaded with the noise of this pass");
        Some(Dropout {
            rate,
            key: Dropout::key(noise.seed, noise.step, site.number()),
            rows: names.view(),
        })
    }

    /// `x` after dropout at `site`, and its gradient before it; `None` where nothing is dropped.
    pub fn dropped(&self, x: &Tensor, site: Site) -> Result<Option<Tensor>> {
        let Some(dropout) = self.dropout(site) else { return Ok(None) };
        let mut y = self.like(x)?;
        self.model.device.dropout(y.view_mut(), x.view(), dropout, Write::Set)?;
        Ok(Some(y))
    }

    /// A buffer of the shape and storage of `x`.
    pub fn like(&self, x: &Tensor) -> Result<Tensor> {
        self.model.device.unwritten(x.shape(), x.dtype())
    }
}

//! A model of some config whose weights are drawn where they are used: what a benchmark of a
//! published size needs, and nothing else. Ten billion numbers come from one block of random ones,
//! copied from place to place on the device.

use super::config::{Config, Role};
use super::glm::{Base, Model, Tune};
use super::lora::Lora;
use super::parameters::Layout;
use crate::base::{Dtype, Fault, Philox, Shape, Stream};
use crate::device::{Device, Tensor};
use anyhow::Result;

/// Random numbers that are drawn on the host.
const BLOCK: usize = 1 << 22;

impl Model {
    /// A frozen base with repeating random weights of a fresh model's size, and an adapter or
    /// nothing to train. Refuses [`Tune::Full`]: such weights are not worth training.
    pub fn synthetic(
        device: &Device,
        config: Config,
        dtype: Dtype,
        tune: &Tune,
        seed: u64,
    ) -> Result<Model> {
        let (Tune::Nothing | Tune::Lora { positions: false, .. }) = tune else {
            return Err(
                Fault::Usage.error("synthetic: expected an adapter or nothing to train, got more")
            );
        };
        let mut rng = Philox::new(seed, Stream::Synthetic, 0);
        let deviation = f64::from(config.initializer_range);
        let values: Vec<f32> = (0..BLOCK).map(|_| (deviation * rng.normal()) as f32).collect();
        let block = device.upload_f32(&values, Shape::vector(BLOCK), dtype)?;
        let mut base = Vec::new();
        let mut offset = 0;
        for spec in config.tensors() {
            base.push(Base::Frozen(match spec.role {
                Role::NormWeight => {
                    device.upload_f32(&vec![1.0; spec.shape.count()], spec.shape, Dtype::F32)?
                }
                Role::Bias | Role::NormBias => device.zeros(spec.shape, Dtype::F32)?,
                Role::Embedding | Role::Linear | Role::LinearOut => {
                    let mut weight = device.alloc(spec.shape, dtype)?;
                    offset = repeat(device, &mut weight, &block, offset)?;
                    weight
                }
            }));
        }
        let mut layout = Layout::default();
        let lora = match tune {
            Tune::Lora { config: lora, .. } => {
                let (targets, rank) = (lora.targets.clone(), lora.rank);
                let chosen = |_, linear| targets.contains(&linear).then_some(rank);
                Some(Lora::lay_out(lora.clone(), &config, &mut layout, chosen))
            }
            _ => None,
        };
        let mut model = Model::assemble(device, config, [dtype, dtype], base, None, lora, layout)?;
        model.start_adapter(seed)?;
        Ok(model)
    }
}

/// Fills a tensor from the block, beginning at `offset`; returns where the next one begins, so that
/// tensors differ.
fn repeat(
    device: &Device,
    weight: &mut Tensor,
    block: &Tensor,
    mut offset: usize,
) -> Result<usize> {
    let count = weight.shape().count();
    let mut done = 0;
    while done < count {
        let part = Shape::vector((BLOCK - offset).min(count - done));
        device.copy(weight.view_mut().part(done, part), block.view().part(offset, part))?;
        done += part.count();
        offset = (offset + part.count()) % BLOCK;
    }
    // An odd step: no two layers begin at the same place.
    Ok((offset + 104_729) % BLOCK)
}

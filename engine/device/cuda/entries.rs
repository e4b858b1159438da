//! Every entry point of the kernels, by what a wrapper knows when it launches: family, dtype,
//! variant. Found and checked when the device opens, so that a launch names no string and gives
//! the one struct that its kernel takes.

use super::{Form, Gelu};
use crate::base::Dtype;
use anyhow::{bail, ensure, Result};
use kernels::interface::{self as of, Parameters};
use std::marker::PhantomData;

/// An entry point that takes `P`.
pub struct Entry<P> {
    /// In [`kernels::ENTRIES`].
    pub index: usize,
    parameters: PhantomData<fn(P)>,
}

impl<P> Clone for Entry<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Entry<P> {}

impl<P> Entry<P> {
    /// Threads a block.
    pub fn threads(self) -> usize {
        kernels::ENTRIES[self.index].threads as usize
    }
}

/// One for each storage dtype.
pub struct Floats<P> {
    f32: Entry<P>,
    halves: Halves<P>,
}

impl<P> Floats<P> {
    pub fn of(&self, dtype: Dtype) -> Entry<P> {
        match dtype {
            Dtype::F32 => self.f32,
            _ => self.halves.of(dtype),
        }
    }
}

/// One for each dtype of 16 bits: what tensor cores take.
pub struct Halves<P> {
    pub f16: Entry<P>,
    pub bf16: Entry<P>,
}

impl<P> Halves<P> {
    pub fn of(&self, dtype: Dtype) -> Entry<P> {
        match dtype {
            Dtype::F16 => self.f16,
            Dtype::Bf16 => self.bf16,
            other => unreachable!("the door and the wrapper let no {other:?} through"),
        }
    }
}

/// A thread takes one element a step, or 16 bytes.
pub struct Steps<P, E = Floats<P>> {
    pub one: E,
    pub wide: E,
    parameters: PhantomData<fn(P)>,
}

impl<P> Steps<P> {
    /// The entry point for rows of `cols` elements at these addresses, and how many elements one of
    /// its threads takes at once: 16 bytes where every address and the pitch allow, else one.
    pub fn of(&self, dtype: Dtype, cols: usize, addresses: &[u64]) -> (Entry<P>, usize) {
        let many = 16 / dtype.size();
        match wide(cols, many, addresses) {
            true => (self.wide.of(dtype), many),
            false => (self.one.of(dtype), 1),
        }
    }
}

impl<P> Steps<P, Entry<P>> {
    /// The same of a flat range of f32, whose end may be short of a vector: the kernel sees to it.
    pub fn flat(&self, addresses: &[u64]) -> (Entry<P>, usize) {
        let many = 16 / Dtype::F32.size();
        match wide(0, many, addresses) {
            true => (self.wide, many),
            false => (self.one, 1),
        }
    }
}

fn wide(cols: usize, many: usize, addresses: &[u64]) -> bool {
    cols.is_multiple_of(many) && addresses.iter().all(|a| a.is_multiple_of(16))
}

/// For each head size that tensor cores take one without dropout and one with, and one for any.
pub struct HeadSizes<P> {
    of_64: [Halves<P>; 2],
    of_128: [Halves<P>; 2],
    any: Floats<P>,
}

impl<P> HeadSizes<P> {
    pub fn of(&self, tensor_cores: bool, size: usize, dtype: Dtype, drops: bool) -> Entry<P> {
        match (tensor_cores, size) {
            (true, 64) => self.of_64[usize::from(drops)].of(dtype),
            (true, _) => self.of_128[usize::from(drops)].of(dtype),
            (false, _) => self.any.of(dtype),
        }
    }
}

/// A tile of the products on tensor cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileName {
    /// Operands at any address.
    Any,
    Large,
    Medium,
    Small,
    /// This and all below are not among the gradients of weights, which have no few rows.
    Half,
    Low,
    Narrow,
    Few,
}

/// Products of one form.
pub struct Products {
    /// By [`TileName`].
    tiles: Vec<Halves<of::Product>>,
    pub simt: Entry<of::Product>,
    /// One row a warp and four; not among the gradients of weights.
    pub thin: Option<[Entry<of::Product>; 2]>,
}

impl Products {
    pub fn tile(&self, tile: TileName, dtype: Dtype) -> Entry<of::Product> {
        self.tiles[tile as usize].of(dtype)
    }
}

pub struct Entries {
    pub ceiling: Halves<of::Ceiling>,
    pub embed: Steps<of::Embed>,
    pub embed_backward: Steps<of::EmbedBackward>,
    pub layernorm: Steps<of::Layernorm>,
    pub layernorm_backward: Steps<of::LayernormBackward>,
    pub layernorm_parameters: Steps<of::LayernormParameters>,
    pub layernorm_collect: Entry<of::LayernormCollect>,
    products: [Products; 3],
    /// For operands at any address, and at whole 16 bytes.
    pub thin_mma: [Entry<of::Product>; 2],
    /// The same of few rows.
    pub thin_few: [Entry<of::Product>; 2],
    /// The same of dy.
    pub low_rank_backward: [Entry<of::LowRankBackward>; 2],
    pub thin_gradient_a: Entry<of::ThinGradient>,
    pub thin_gradient_b: Entry<of::ThinGradient>,
    pub split_k_reduce: Entry<of::Product>,
    pub sum_chunks: Entry<of::SumChunks>,
    pub rotate: Steps<of::Rotate>,
    pub attention: HeadSizes<of::Attention>,
    pub attention_statistics: Floats<of::AttentionStatistics>,
    pub attention_keys: HeadSizes<of::AttentionBackward>,
    pub attention_queries: HeadSizes<of::AttentionBackward>,
    pub cache_store: Floats<of::CacheStore>,
    pub cache_prompt_64: Halves<of::CachePrompt>,
    pub cache_prompt_128: Halves<of::CachePrompt>,
    pub cache_paths: Floats<of::CachePaths>,
    gelu: [Steps<of::Gelu>; 2],
    gelu_backward: [Steps<of::GeluBackward>; 2],
    pub blend: Steps<of::Blend>,
    pub dropout: Steps<of::DropoutRows>,
    cast: [Steps<of::Cast>; 3],
    pub cross_entropy: Steps<of::CrossEntropy>,
    pub choice_loss: Entry<of::ChoiceLoss>,
    pub choice_log_probs: Entry<of::ChoiceLogProbs>,
    pub log_probs_at: Steps<of::LogProbsAt>,
    pub top_k: Steps<of::TopK>,
    pub choice_top_k: Entry<of::ChoiceTopK>,
    pub sampled_product: Steps<of::SampledProduct>,
    pub sparse_product: Steps<of::SparseProduct>,
    pub adamw: Steps<of::Adamw, Entry<of::Adamw>>,
    pub sum_squares: Steps<of::SumSquares, Entry<of::SumSquares>>,
    pub sum_partial: Entry<of::SumPartial>,
}

impl Entries {
    /// Refuses a name that the kernels do not have or have with other parameters, and an entry
    /// point that nothing launches.
    pub fn find() -> Result<Entries> {
        let mut t = Table { found: vec![false; kernels::ENTRIES.len()] };
        let entries = Entries {
            ceiling: t.halves("ceiling_", "")?,
            embed: t.steps("embed")?,
            embed_backward: t.steps("embed_backward")?,
            layernorm: t.steps("layernorm")?,
            layernorm_backward: t.steps("layernorm_backward")?,
            layernorm_parameters: t.steps("layernorm_parameters")?,
            layernorm_collect: t.entry("layernorm_collect")?,
            products: [t.products("nt")?, t.products("nn")?, t.products("tn")?],
            thin_mma: [t.entry("thin_mma_nt_any")?, t.entry("thin_mma_nt")?],
            thin_few: [t.entry("thin_few_nt_any")?, t.entry("thin_few_nt")?],
            low_rank_backward: [t.entry("low_rank_backward_any")?, t.entry("low_rank_backward")?],
            thin_gradient_a: t.entry("thin_gradient_a")?,
            thin_gradient_b: t.entry("thin_gradient_b")?,
            split_k_reduce: t.entry("split_k_reduce")?,
            sum_chunks: t.entry("sum_chunks")?,
            rotate: Steps {
                one: t.floats("rotate_one_", "")?,
                wide: t.floats("rotate_wide_", "")?,
                parameters: PhantomData,
            },
            attention: t.head_sizes("attention")?,
            attention_statistics: t.floats("attention_statistics_", "")?,
            attention_keys: t.head_sizes("attention_keys")?,
            attention_queries: t.head_sizes("attention_queries")?,
            cache_store: t.floats("cache_store_", "")?,
            cache_prompt_64: t.halves("cache_prompt_64_", "")?,
            cache_prompt_128: t.halves("cache_prompt_128_", "")?,
            cache_paths: t.floats("cache_paths_", "")?,
            gelu: [t.steps("gelu_tanh")?, t.steps("gelu_erf")?],
            gelu_backward: [t.steps("gelu_backward_tanh")?, t.steps("gelu_backward_erf")?],
            blend: t.steps("blend")?,
            dropout: t.steps("dropout")?,
            cast: [t.steps("cast_f32")?, t.steps("cast_f16")?, t.steps("cast_bf16")?],
            cross_entropy: t.steps("cross_entropy")?,
            choice_loss: t.entry("choice_loss")?,
            choice_log_probs: t.entry("choice_log_probs")?,
            log_probs_at: t.steps("log_probs_at")?,
            top_k: t.steps("top_k")?,
            choice_top_k: t.entry("choice_top_k")?,
            sampled_product: t.steps("sampled_product")?,
            sparse_product: t.steps("sparse_product")?,
            adamw: t.flat("adamw")?,
            sum_squares: t.flat("sum_squares")?,
            sum_partial: t.entry("sum_partial")?,
        };
        t.finish()?;
        Ok(entries)
    }

    pub fn products(&self, form: Form) -> &Products {
        &self.products[match form {
            Form::Nt => 0,
            Form::Nn => 1,
            Form::Tn => 2,
        }]
    }

    pub fn gelu(&self, form: Gelu) -> &Steps<of::Gelu> {
        &self.gelu[gelu(form)]
    }

    pub fn gelu_backward(&self, form: Gelu) -> &Steps<of::GeluBackward> {
        &self.gelu_backward[gelu(form)]
    }

    /// From elements of `from`.
    pub fn cast(&self, from: Dtype) -> &Steps<of::Cast> {
        &self.cast[match from {
            Dtype::F32 => 0,
            Dtype::F16 => 1,
            Dtype::Bf16 => 2,
            Dtype::U32 => unreachable!("the door lets only floats through"),
        }]
    }
}

fn gelu(form: Gelu) -> usize {
    match form {
        Gelu::Tanh => 0,
        Gelu::Erf => 1,
    }
}

/// What of [`kernels::ENTRIES`] has been found.
struct Table {
    found: Vec<bool>,
}

impl Table {
    fn entry<P: Parameters>(&mut self, name: &str) -> Result<Entry<P>> {
        let Some(index) = kernels::ENTRIES.iter().position(|entry| entry.name == name) else {
            bail!("kernels: {name}: expected an entry point, got none of that name");
        };
        let entry = &kernels::ENTRIES[index];
        ensure!(
            entry.parameters == P::NAME && entry.bytes == size_of::<P>(),
            "kernels: {name}: expected parameters {} of {} bytes, got {} of {} bytes",
            P::NAME,
            size_of::<P>(),
            entry.parameters,
            entry.bytes
        );
        self.found[index] = true;
        Ok(Entry { index, parameters: PhantomData })
    }

    fn halves<P: Parameters>(&mut self, before: &str, after: &str) -> Result<Halves<P>> {
        Ok(Halves {
            f16: self.entry(&format!("{before}f16{after}"))?,
            bf16: self.entry(&format!("{before}bf16{after}"))?,
        })
    }

    fn floats<P: Parameters>(&mut self, before: &str, after: &str) -> Result<Floats<P>> {
        Ok(Floats {
            f32: self.entry(&format!("{before}f32{after}"))?,
            halves: self.halves(before, after)?,
        })
    }

    fn steps<P: Parameters>(&mut self, family: &str) -> Result<Steps<P>> {
        let before = format!("{family}_");
        Ok(Steps {
            one: self.floats(&before, "")?,
            wide: self.floats(&before, "_wide")?,
            parameters: PhantomData,
        })
    }

    fn flat<P: Parameters>(&mut self, family: &str) -> Result<Steps<P, Entry<P>>> {
        Ok(Steps {
            one: self.entry(&format!("{family}_f32"))?,
            wide: self.entry(&format!("{family}_f32_wide"))?,
            parameters: PhantomData,
        })
    }

    fn head_sizes<P: Parameters>(&mut self, family: &str) -> Result<HeadSizes<P>> {
        let mut of = |size: usize| -> Result<[Halves<P>; 2]> {
            let before = format!("{family}_{size}_");
            Ok([self.halves(&before, "")?, self.halves(&before, "_drop")?])
        };
        let (of_64, of_128) = (of(64)?, of(128)?);
        Ok(HeadSizes { of_64, of_128, any: self.floats(&format!("{family}_any_"), "")? })
    }

    fn products(&mut self, form: &str) -> Result<Products> {
        // In the order of `TileName`.
        let tiles = ["any", "large", "medium", "small", "half", "low", "narrow", "few"];
        let gradient = form == "tn";
        Ok(Products {
            tiles: tiles[..if gradient { 4 } else { tiles.len() }]
                .iter()
                .map(|tile| self.halves(&format!("gemm_{form}_{tile}_"), ""))
                .collect::<Result<_>>()?,
            simt: self.entry(&format!("simt_{form}"))?,
            thin: match gradient {
                true => None,
                false => Some([
                    self.entry(&format!("thin_{form}_1"))?,
                    self.entry(&format!("thin_{form}_4"))?,
                ]),
            },
        })
    }

    fn finish(self) -> Result<()> {
        let left = self.found.iter().position(|&found| !found);
        if let Some(index) = left {
            let name = kernels::ENTRIES[index].name;
            bail!("kernels: {name}: expected an entry point that something launches");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_entry_point_with_its_parameters() {
        Entries::find().unwrap();
        let mut table = Table { found: vec![false; kernels::ENTRIES.len()] };
        let refused = |result: Result<Entry<of::Blend>>| result.err().unwrap().to_string();
        assert_eq!(
            refused(table.entry("gelu_tanh_f32")),
            "kernels: gelu_tanh_f32: expected parameters Blend of 32 bytes, got Gelu of 24 bytes"
        );
        assert!(refused(table.entry("blend_f64")).contains("got none of that name"));
        table.entry::<of::Blend>("blend_f32").unwrap();
        assert!(table.finish().unwrap_err().to_string().contains("that something launches"));
    }
}

//! Keys and values of a group of requests: a *prompt* part written once by the prefill and shared
//! by all that continue it, and a *tail* of slots for produced tokens. A continuation is a path of
//! slots: forking copies integers, never keys.

use super::layer::Saved;
use super::rows::{Pass, Purpose, Read, Rows};
use crate::base::Shape;
use crate::data::Batch;
use crate::device::{AttendCache, Epilogue, Tensor, Turn, View};
use crate::model::model::Model;
use anyhow::Result;
use std::ops::Range;

/// Keys and values of every layer, `[rows, 2h]` each.
pub struct KvCache {
    prompt: Vec<Tensor>,
    tail: Vec<Tensor>,
    /// Prompt rows of each request.
    requests: Vec<Range<u32>>,
    slots: usize,
}

/// Produced tokens to run: one row each.
#[derive(Clone, Debug, Default)]
pub struct Extension {
    /// `[R]`
    pub tokens: Vec<u32>,
    /// `[R]` each: the place of the mask that is filled, the place in the answer.
    pub positions: [Vec<u32>; 2],
    /// Which request each row continues.
    pub requests: Vec<u32>,
    /// The tail slot each row's keys and values go to.
    pub slots: Vec<u32>,
    /// `[R + 1]`: row r sees, after its prompt, the slots `path[path_start[r]..path_start[r + 1]]`,
    /// its own last.
    pub path_start: Vec<u32>,
    /// The slots of all rows' paths, one row after another.
    pub path: Vec<u32>,
}

impl Extension {
    /// No rows yet.
    pub fn new() -> Extension {
        Extension { path_start: vec![0], ..Extension::default() }
    }

    /// Adds a row at `position` ([`crate::model::Config::produced`]); `path` ends with `slot`.
    pub fn push(&mut self, request: u32, token: u32, position: [u32; 2], slot: u32, path: &[u32]) {
        debug_assert_eq!(path.last(), Some(&slot));
        self.tokens.push(token);
        self.positions[0].push(position[0]);
        self.positions[1].push(position[1]);
        self.requests.push(request);
        self.slots.push(slot);
        self.path.extend_from_slice(path);
        self.path_start.push(self.path.len() as u32);
    }

    /// R
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }
}

impl KvCache {
    /// Slots for produced tokens that a request begins with: most answers fit, and the tail grows
    /// for those that do not.
    pub const SLOTS: usize = 32;

    /// Runs the prompts of `batch` (one request a sequence) and keeps their keys and values; the
    /// tail has room for `slots` produced tokens of all requests together. Returns the normed last
    /// row of each prompt, `[S, h]`.
    pub fn prefill(model: &Model, batch: &Batch, slots: usize) -> Result<(KvCache, Tensor)> {
        let (device, config) = (&model.device, &model.config);
        let rows = Rows::upload(model, batch, None)?;
        let read = Read::upload(model, batch, &batch.ends(), None)?;
        let pass = Pass::answering(model, &rows);
        let all: Vec<u32> = (0..batch.tokens.len() as u32).collect();
        let all = device.upload_u32(&all)?;
        let mut cache =
            KvCache { prompt: Vec::new(), tail: Vec::new(), requests: Vec::new(), slots };
        let mut x = pass.embed()?;
        for layer in &model.weights.layers {
            let mut saved = Saved::new(x);
            let read = model.behind(layer, &read);
            x = pass.layer(&mut saved, layer, Purpose::Inference, read)?;
            let qkv = saved.qkv.as_ref().expect("a forward leaves queries, keys and values").view();
            let mut prompt =
                device.unwritten(Shape::matrix(rows.count(), 2 * config.hidden), model.dtype)?;
            device.cache_store(prompt.view_mut(), qkv, all.view(), config.qkv_heads())?;
            cache.prompt.push(prompt);
            cache.tail.push(
                device.unwritten(Shape::matrix(slots.max(1), 2 * config.hidden), model.dtype)?,
            );
        }
        cache.requests = batch.starts.windows(2).map(|w| w[0]..w[1]).collect();
        Ok((cache, model.finish(&x)?))
    }

    /// Runs produced tokens: their keys and values are stored first, then each row attends to its
    /// prompt and its path, so a row may see others of the same call. Returns the normed rows,
    /// `[R, h]`.
    pub fn extend(&mut self, model: &Model, extension: &Extension) -> Result<Tensor> {
        self.extend_observed(model, extension, |_, _| Ok(()))
    }

    /// As [`KvCache::extend`]; `observe(i, x)` sees the embedding (0) and each layer's output (i).
    pub fn extend_observed(
        &mut self,
        model: &Model,
        extension: &Extension,
        mut observe: impl FnMut(usize, View) -> Result<()>,
    ) -> Result<Tensor> {
        let (device, config) = (&model.device, &model.config);
        let count = extension.rows();
        assert!(
            extension.slots.iter().all(|&s| (s as usize) < self.slots.max(1)),
            "a slot beyond the tail"
        );
        // As a batch these rows are sequences of one; only tokens and positions matter outside
        // attention.
        let ones = Batch {
            tokens: extension.tokens.clone(),
            positions: extension.positions.clone(),
            starts: (0..=count as u32).collect(),
            contexts: vec![0; count],
            examples: vec![0; count],
            ..Batch::default()
        };
        let rows = Rows::upload(model, &ones, None)?;
        let pass = Pass::answering(model, &rows);
        let slots = device.upload_u32(&extension.slots)?;
        let prompt = |&request: &u32| &self.requests[request as usize];
        let prompts = extension.requests.iter().map(prompt).map(|rows| [rows.start, rows.end]);
        let cached =
            device.cache_rows(prompts.collect(), &extension.path_start, &extension.path)?;

        let mut x = pass.embed()?;
        observe(0, x.view())?;
        let kept = self.prompt.iter().zip(&mut self.tail);
        for (layer, (prompt, tail)) in model.weights.layers.iter().zip(kept) {
            let mut saved = Saved::new(x);
            let (normed, _) = model.norm(saved.x.view(), &layer.input_norm)?;
            let mut qkv = device.unwritten(Shape::matrix(count, 3 * config.hidden), model.dtype)?;
            let linear = &layer.query_key_value;
            let plain = Epilogue::default();
            pass.linear(qkv.view_mut(), normed.view(), linear, Purpose::Inference, plain)?;
            pass.rotate(qkv.view_mut(), Turn::Forward)?;
            device.cache_store(tail.view_mut(), qkv.view(), slots.view(), config.qkv_heads())?;
            let mut context = device.unwritten(saved.x.shape(), model.dtype)?;
            device.cache_attention(
                context.view_mut(),
                AttendCache {
                    qkv: qkv.view(),
                    prompt: prompt.view(),
                    tail: tail.view(),
                    rows: &cached,
                    heads: config.qkv_heads(),
                    scale: config.attention_scale(),
                },
            )?;
            saved.normed = Some(normed);
            saved.qkv = Some(qkv);
            saved.context = Some(context);
            x = pass.layer(&mut saved, layer, Purpose::Inference, None)?;
            observe(layer.number + 1, x.view())?;
        }
        model.finish(&x)
    }

    /// Makes room for `slots` produced tokens in all; what is stored stays.
    pub fn reserve(&mut self, model: &Model, slots: usize) -> Result<()> {
        if slots <= self.slots {
            return Ok(());
        }
        let slots = slots.max(2 * self.slots);
        for tail in &mut self.tail {
            let old = tail.shape();
            let mut larger =
                model.device.unwritten(Shape::matrix(slots, old.cols()), tail.dtype())?;
            model.device.copy(larger.view_mut().row_range(0..old.rows()), tail.view())?;
            *tail = larger;
        }
        self.slots = slots;
        Ok(())
    }

    /// Keys and values of a layer's prompt part, `[rows, 2h]`: keys of all heads, then values.
    pub fn prompt(&self, layer: usize) -> View<'_> {
        self.prompt[layer].view()
    }

    /// Number of requests.
    pub fn requests(&self) -> usize {
        self.requests.len()
    }
}

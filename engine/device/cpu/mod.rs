//! The CPU backend: host memory and the ops on it. A family is a file; [`Threads`] cuts work,
//! `element` reads memory.

mod activation;
mod attention;
mod element;
mod embed;
mod loss;
mod math;
mod matmul;
mod memory;
mod norm;
mod optim;
mod panel;
mod reduce;
mod select;
mod threads;

use super::*;
use crate::base::host;
use anyhow::Result;
use memory::Memory;
use threads::Threads;

pub(super) struct Cpu {
    threads: Threads,
    memory: Memory,
}

impl Cpu {
    /// `threads` of them, 0 for one per core.
    pub fn open(threads: usize) -> Result<Cpu> {
        Ok(Cpu { threads: Threads::open(threads)?, memory: Memory::default() })
    }
}

impl Backend for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    fn alloc(&self, bytes: usize) -> Result<u64> {
        self.memory.alloc(bytes)
    }

    fn free(&self, address: u64, bytes: usize) {
        self.memory.free(address, bytes);
    }

    fn upload(&self, y: ViewMut, bytes: &[u8]) -> Result<()> {
        element::bytes_mut(y).copy_from_slice(bytes);
        Ok(())
    }

    fn download(&self, bytes: &mut [u8], x: View) -> Result<()> {
        bytes.copy_from_slice(element::bytes(x));
        Ok(())
    }

    fn copy(&self, y: ViewMut, x: View) -> Result<()> {
        element::bytes_mut(y).copy_from_slice(element::bytes(x));
        Ok(())
    }

    fn zero(&self, y: ViewMut) -> Result<()> {
        element::bytes_mut(y).fill(0);
        Ok(())
    }

    fn reads_host_memory(&self) -> bool {
        true
    }

    fn memory(&self) -> MemoryUse {
        self.memory.used()
    }

    fn reset_peak(&self) {
        self.memory.reset_peak();
    }

    fn available(&self) -> Result<u64> {
        host::available()
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn embed(&self, y: ViewMut, tables: &[(View, View)], write: Write) -> Result<()> {
        embed::embed(&self.threads, y, tables, write)
    }

    fn embed_backward(&self, d_table: ViewMut, dy: View, ids: View) -> Result<()> {
        embed::embed_backward(&self.threads, d_table, dy, ids)
    }

    fn layernorm(
        &self,
        y: ViewMut,
        statistics: ViewMut,
        x: View,
        weight: View,
        bias: View,
        epsilon: f32,
    ) -> Result<()> {
        norm::layernorm(&self.threads, y, statistics, x, weight, bias, epsilon)
    }

    #[allow(clippy::too_many_arguments)]
    fn layernorm_backward(
        &self,
        dx: ViewMut,
        parameters: Option<(ViewMut, ViewMut)>,
        dy: View,
        x: View,
        weight: View,
        statistics: View,
        write: Write,
    ) -> Result<()> {
        norm::layernorm_backward(&self.threads, dx, parameters, dy, x, weight, statistics, write)
    }

    fn matmul(&self, y: ViewMut, a: View, b: View, form: Form, epilogue: Epilogue) -> Result<()> {
        matmul::matmul(&self.threads, y, a, b, form, epilogue)
    }

    fn sum_rows(&self, y: ViewMut, x: View) -> Result<()> {
        matmul::sum_rows(&self.threads, y, x)
    }

    fn rotate(
        &self,
        x: ViewMut,
        rotary: Rotary,
        heads: usize,
        layout: Qkv,
        turn: Turn,
    ) -> Result<()> {
        attention::rotate(&self.threads, x, rotary, heads, layout, turn)
    }

    #[allow(clippy::too_many_arguments)]
    fn attention(
        &self,
        y: ViewMut,
        log_sum_exp: ViewMut,
        qkv: View,
        segments: &Segments,
        heads: usize,
        layout: Qkv,
        scale: f32,
        dropout: Option<Dropout>,
    ) -> Result<()> {
        attention::attention(
            &self.threads,
            y,
            log_sum_exp,
            qkv,
            segments,
            heads,
            layout,
            scale,
            dropout,
        )
    }

    #[allow(clippy::too_many_arguments)]
    fn attention_backward(
        &self,
        d_qkv: ViewMut,
        dy: View,
        y: View,
        log_sum_exp: View,
        qkv: View,
        segments: &Segments,
        heads: usize,
        layout: Qkv,
        scale: f32,
        dropout: Option<Dropout>,
    ) -> Result<()> {
        attention::attention_backward(
            &self.threads,
            d_qkv,
            dy,
            y,
            log_sum_exp,
            qkv,
            segments,
            heads,
            layout,
            scale,
            dropout,
        )
    }

    fn cache_store(
        &self,
        cache: ViewMut,
        qkv: View,
        slots: View,
        heads: usize,
        layout: Qkv,
    ) -> Result<()> {
        attention::cache_store(&self.threads, cache, qkv, slots, heads, layout)
    }

    #[allow(clippy::too_many_arguments)]
    fn cache_attention(
        &self,
        y: ViewMut,
        qkv: View,
        prompt: View,
        tail: View,
        rows: CacheRows,
        heads: usize,
        layout: Qkv,
        scale: f32,
    ) -> Result<()> {
        attention::cache_attention(&self.threads, y, qkv, prompt, tail, rows, heads, layout, scale)
    }

    fn gelu(&self, y: ViewMut, x: View, form: Gelu) -> Result<()> {
        activation::gelu(&self.threads, y, x, form)
    }

    fn gelu_backward(&self, dx: ViewMut, dy: View, x: View, form: Gelu) -> Result<()> {
        activation::gelu_backward(&self.threads, dx, dy, x, form)
    }

    fn blend(&self, y: ViewMut, x: View, alpha: f32, beta: f32) -> Result<()> {
        activation::blend(&self.threads, y, x, alpha, beta)
    }

    fn dropout(&self, y: ViewMut, x: View, dropout: Dropout, write: Write) -> Result<()> {
        activation::dropout(&self.threads, y, x, dropout, write)
    }

    fn cast(&self, y: ViewMut, x: View) -> Result<()> {
        activation::cast(&self.threads, y, x)
    }

    fn cross_entropy(
        &self,
        loss: ViewMut,
        logits: ViewMut,
        targets: View,
        weights: View,
    ) -> Result<()> {
        loss::cross_entropy(&self.threads, loss, logits, targets, weights)
    }

    fn log_probs_at(&self, y: ViewMut, logits: View, first: View, ids: View) -> Result<()> {
        loss::log_probs_at(&self.threads, y, logits, first, ids)
    }

    fn top_k(&self, values: ViewMut, columns: ViewMut, x: View) -> Result<()> {
        select::top_k(&self.threads, values, columns, x)
    }

    fn adamw(
        &self,
        parameter: ViewMut,
        moment1: ViewMut,
        moment2: ViewMut,
        gradient: View,
        numbers: AdamW,
    ) -> Result<()> {
        optim::adamw(&self.threads, parameter, moment1, moment2, gradient, numbers)
    }

    fn sum_squares(&self, y: ViewMut, x: View) -> Result<()> {
        optim::sum_squares(&self.threads, y, x)
    }
}

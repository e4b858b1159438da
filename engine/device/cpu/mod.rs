//! The CPU backend: the law that other devices are compared with.
//!
//! Work is cut over outputs, or into chunks of a fixed size whose partial sums are added in order, so that the number of
//! threads never changes a bit.

mod activation;
mod attention;
mod embed;
mod loss;
mod math;
mod matmul;
mod memory;
mod norm;
mod optim;
mod select;
mod slices;

use super::backend::*;
use super::tensor::{View, ViewMut};
use crate::base::Fault;
use anyhow::Result;
use rayon::prelude::*;
use slices::Float;

pub struct Cpu {
    threads: Threads,
    memory: memory::Memory,
}

/// The worker threads of one device.
pub struct Threads {
    pool: rayon::ThreadPool,
}

impl Threads {
    pub fn count(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Calls `f(first_row, rows)` on blocks of `per` rows of `y` in parallel.
    pub fn blocks<T: Send>(&self, y: &mut [T], cols: usize, per: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        if y.len() <= cols * per || self.count() == 1 {
            y.chunks_mut(cols * per).enumerate().for_each(|(i, block)| f(i * per, block));
        } else {
            self.pool.install(|| {
                y.par_chunks_mut(cols * per).enumerate().for_each(|(i, block)| f(i * per, block))
            });
        }
    }

    /// Calls `f(i)` for every i below `n` in parallel and collects the results in order.
    pub fn map<T: Send>(&self, n: usize, f: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
        self.pool.install(|| (0..n).into_par_iter().map(f).collect())
    }
}

/// Rows a task takes at least, so that small rows do not drown in scheduling.
fn rows_per_task(cols: usize) -> usize {
    (16_384 / cols.max(1)).max(1)
}

impl Cpu {
    pub fn open(threads: usize) -> Result<Cpu> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("cpu-{i}"))
            .build()
            .map_err(|e| {
                Fault::Device.error(format!("device: cpu: {threads} threads cannot be started: {e}"))
            })?;
        Ok(Cpu { threads: Threads { pool }, memory: memory::Memory::default() })
    }
}

/// `ids` are all below `limit`; a bad one is named rather than read out of bounds.
fn check_ids(op: &str, ids: &[u32], limit: usize) -> Result<()> {
    match ids.iter().find(|&&id| id as usize >= limit) {
        None => Ok(()),
        Some(id) => Err(Fault::Data.error(format!("{op}: expected ids below {limit}, got {id}"))),
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
        bytes_mut(y).copy_from_slice(bytes);
        Ok(())
    }

    fn download(&self, bytes: &mut [u8], x: View) -> Result<()> {
        bytes.copy_from_slice(bytes_of(x));
        Ok(())
    }

    fn copy(&self, y: ViewMut, x: View) -> Result<()> {
        bytes_mut(y).copy_from_slice(bytes_of(x));
        Ok(())
    }

    fn zero(&self, y: ViewMut) -> Result<()> {
        self.threads.blocks(bytes_mut(y), 1, 1 << 20, |_, block| block.fill(0));
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
        norm::sum_rows(&self.threads, y, x)
    }

    fn rotate(&self, x: ViewMut, rotary: Rotary, heads: usize, layout: Qkv, turn: Turn) -> Result<()> {
        attention::rotate(&self.threads, x, rotary, heads, layout, turn)
    }

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
        attention::attention(&self.threads, y, log_sum_exp, qkv, segments, heads, layout, scale, dropout)
    }

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

    fn cache_store(&self, cache: ViewMut, qkv: View, slots: View, heads: usize, layout: Qkv) -> Result<()> {
        attention::cache_store(cache, qkv, slots, heads, layout)
    }

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

    fn cross_entropy(&self, loss: ViewMut, logits: ViewMut, targets: View, weights: View) -> Result<()> {
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

fn bytes_of<'a>(x: View<'a>) -> &'a [u8] {
    // SAFETY: a view covers `bytes()` bytes of its tensor for 'a; any byte is a u8.
    unsafe { std::slice::from_raw_parts(x.address() as *const u8, x.bytes()) }
}

fn bytes_mut<'a>(y: ViewMut<'a>) -> &'a mut [u8] {
    let bytes = y.as_view().bytes();
    // SAFETY: as in `bytes_of`; a ViewMut borrows its range exclusively.
    unsafe { std::slice::from_raw_parts_mut(y.address() as *mut u8, bytes) }
}

/// Widens a row into f32 scratch.
fn widen<T: Float>(to: &mut [f32], from: &[T]) {
    for (t, f) in to.iter_mut().zip(from) {
        *t = f.get();
    }
}

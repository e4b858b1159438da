//! The rival: cuBLASLt's best of its own heuristics, loaded at run time where it is there.

use anyhow::{anyhow, Result};
use cudarc::cublaslt::{result, sys};
use cudarc::driver::result as driver;
use engine::base::Dtype;
use engine::device::{Form, View};
use std::ffi::c_void;
use std::time::Instant;

/// Algorithms that are tried for a shape.
const TRIED: usize = 16;
const WORKSPACE: usize = 64 << 20;

pub struct CublasLt {
    handle: sys::cublasLtHandle_t,
    workspace: u64,
}

fn failed(error: impl std::fmt::Debug) -> anyhow::Error {
    anyhow!("cuBLASLt: {error:?}")
}

impl CublasLt {
    /// `None` where the library is not to be found. A device must have been opened: its context is
    /// used.
    pub fn open() -> Result<Option<CublasLt>> {
        // SAFETY: only asks the dynamic linker.
        if !unsafe { sys::is_culib_present() } {
            return Ok(None);
        }
        let handle = result::create_handle().map_err(failed)?;
        // SAFETY: lives as long as the process.
        let workspace = unsafe { driver::malloc_sync(WORKSPACE) }.map_err(failed)?;
        Ok(Some(CublasLt { handle, workspace }))
    }

    /// Best seconds of y = a·b over the algorithms that cuBLASLt proposes. y, a and b of one 16-bit
    /// dtype.
    pub fn seconds(&self, y: View, a: View, b: View, form: Form) -> Result<f64> {
        let (m, n) = (y.rows() as u64, y.cols() as u64);
        let k = a.cols() as u64;
        let kind = match a.dtype() {
            Dtype::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
            _ => sys::cudaDataType_t::CUDA_R_16F,
        };
        // Column-major: yᵀ [n, m] = op(b)·aᵀ, and a row-major matrix is its own transpose seen
        // column by column.
        let layout = |rows, cols| {
            result::create_matrix_layout(kind, rows, cols, rows as i64).map_err(failed)
        };
        let (left, transposed) = match form {
            Form::Nt => (layout(k, n)?, 1i32),
            Form::Nn => (layout(n, k)?, 0),
            Form::Tn => return Err(anyhow!("cuBLASLt: expected Nt or Nn, got Tn")),
        };
        let (right, out) = (layout(k, m)?, layout(n, m)?);
        let description = result::create_matmul_desc(
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cudaDataType_t::CUDA_R_32F,
        )
        .map_err(failed)?;
        let preference = result::create_matmul_pref().map_err(failed)?;
        let mut found: Vec<sys::cublasLtMatmulHeuristicResult_t> = Vec::with_capacity(TRIED);
        let (workspace, mut count) = (WORKSPACE, 0);
        // SAFETY: descriptors made above; attribute sizes are those of the values given.
        unsafe {
            result::set_matmul_desc_attribute(
                description,
                sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
                (&raw const transposed).cast(),
                size_of::<i32>(),
            )
            .map_err(failed)?;
            result::set_matmul_pref_attribute(
                preference,
                sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const workspace).cast(),
                size_of::<usize>(),
            )
            .map_err(failed)?;
            sys::cublasLtMatmulAlgoGetHeuristic(
                self.handle,
                description,
                left,
                right,
                out,
                out,
                preference,
                TRIED as i32,
                found.as_mut_ptr(),
                &mut count,
            )
            .result()
            .map_err(failed)?;
            found.set_len(count as usize);
        }
        let (alpha, beta) = (1f32, 0f32);
        let mut best = f64::MAX;
        for algorithm in &found {
            let run = |times: usize| -> Result<f64> {
                let start = Instant::now();
                // SAFETY: buffers of the sizes that the layouts say, on the device whose context is
                // current.
                unsafe {
                    for _ in 0..times {
                        result::matmul(
                            self.handle,
                            description,
                            (&raw const alpha).cast(),
                            (&raw const beta).cast(),
                            b.address() as *const c_void,
                            left,
                            a.address() as *const c_void,
                            right,
                            y.address() as *const c_void,
                            out,
                            y.address() as *mut c_void,
                            out,
                            &algorithm.algo,
                            self.workspace as *mut c_void,
                            WORKSPACE,
                            std::ptr::null_mut(),
                        )
                        .map_err(failed)?;
                    }
                    driver::stream::synchronize(std::ptr::null_mut()).map_err(failed)?;
                }
                Ok(start.elapsed().as_secs_f64() / times as f64)
            };
            let once = run(2)?;
            let times = (0.02 / once).clamp(2.0, 50.0) as usize;
            best = best.min(run(times)?).min(run(times)?);
        }
        // SAFETY: made above, used no more.
        unsafe {
            result::destroy_matmul_pref(preference).map_err(failed)?;
            result::destroy_matmul_desc(description).map_err(failed)?;
            for layout in [left, right, out] {
                result::destroy_matrix_layout(layout).map_err(failed)?;
            }
        }
        match found.is_empty() {
            true => Err(anyhow!("cuBLASLt: no algorithm for {m}x{n}x{k}")),
            false => Ok(best),
        }
    }
}

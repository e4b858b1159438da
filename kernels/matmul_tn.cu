// y = a·b in form TN, see matmul.cuh: the entries are form, dtype and tile; `any` takes operands of
// any alignment.
#include "matmul.cuh"

KERNEL(Large::THREADS, gemm_tn_large_bf16, Product, gemm<TN, bf16, Large, true>)
KERNEL(Medium::THREADS, gemm_tn_medium_bf16, Product, gemm<TN, bf16, Medium, true>)
KERNEL(Small::THREADS, gemm_tn_small_bf16, Product, gemm<TN, bf16, Small, true>)
KERNEL(Loose::THREADS, gemm_tn_any_bf16, Product, gemm<TN, bf16, Loose, false>)
KERNEL(Large::THREADS, gemm_tn_large_f16, Product, gemm<TN, f16, Large, true>)
KERNEL(Medium::THREADS, gemm_tn_medium_f16, Product, gemm<TN, f16, Medium, true>)
KERNEL(Small::THREADS, gemm_tn_small_f16, Product, gemm<TN, f16, Small, true>)
KERNEL(Loose::THREADS, gemm_tn_any_f16, Product, gemm<TN, f16, Loose, false>)

// y = a·b in form NT, see matmul.cuh: the entries are form, dtype and tile; `any` takes operands of
// any alignment.
#include "matmul.cuh"

KERNEL(Large::THREADS, gemm_nt_large_bf16, Product, gemm<NT, bf16, Large, true>)
KERNEL(Medium::THREADS, gemm_nt_medium_bf16, Product, gemm<NT, bf16, Medium, true>)
KERNEL(Half::THREADS, gemm_nt_half_bf16, Product, gemm<NT, bf16, Half, true>)
KERNEL(Small::THREADS, gemm_nt_small_bf16, Product, gemm<NT, bf16, Small, true>)
KERNEL(Low::THREADS, gemm_nt_low_bf16, Product, gemm<NT, bf16, Low, true>)
KERNEL(Narrow::THREADS, gemm_nt_narrow_bf16, Product, gemm<NT, bf16, Narrow, true>)
KERNEL(Few::THREADS, gemm_nt_few_bf16, Product, gemm<NT, bf16, Few, true>)
KERNEL(Loose::THREADS, gemm_nt_any_bf16, Product, gemm<NT, bf16, Loose, false>)
KERNEL(Large::THREADS, gemm_nt_large_f16, Product, gemm<NT, f16, Large, true>)
KERNEL(Medium::THREADS, gemm_nt_medium_f16, Product, gemm<NT, f16, Medium, true>)
KERNEL(Half::THREADS, gemm_nt_half_f16, Product, gemm<NT, f16, Half, true>)
KERNEL(Small::THREADS, gemm_nt_small_f16, Product, gemm<NT, f16, Small, true>)
KERNEL(Low::THREADS, gemm_nt_low_f16, Product, gemm<NT, f16, Low, true>)
KERNEL(Narrow::THREADS, gemm_nt_narrow_f16, Product, gemm<NT, f16, Narrow, true>)
KERNEL(Few::THREADS, gemm_nt_few_f16, Product, gemm<NT, f16, Few, true>)
KERNEL(Loose::THREADS, gemm_nt_any_f16, Product, gemm<NT, f16, Loose, false>)

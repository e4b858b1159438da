// y = a·b in form NN, see matmul.cuh: the entries are form, dtype and tile; `any` takes operands of
// any alignment.
#include "matmul.cuh"

KERNEL(Large::THREADS, gemm_nn_large_bf16, Product, gemm<NN, bf16, Large, true>)
KERNEL(Medium::THREADS, gemm_nn_medium_bf16, Product, gemm<NN, bf16, Medium, true>)
KERNEL(Half::THREADS, gemm_nn_half_bf16, Product, gemm<NN, bf16, Half, true>)
KERNEL(Small::THREADS, gemm_nn_small_bf16, Product, gemm<NN, bf16, Small, true>)
KERNEL(Low::THREADS, gemm_nn_low_bf16, Product, gemm<NN, bf16, Low, true>)
KERNEL(Narrow::THREADS, gemm_nn_narrow_bf16, Product, gemm<NN, bf16, Narrow, true>)
KERNEL(Few::THREADS, gemm_nn_few_bf16, Product, gemm<NN, bf16, Few, true>)
KERNEL(Loose::THREADS, gemm_nn_any_bf16, Product, gemm<NN, bf16, Loose, false>)
KERNEL(Large::THREADS, gemm_nn_large_f16, Product, gemm<NN, f16, Large, true>)
KERNEL(Medium::THREADS, gemm_nn_medium_f16, Product, gemm<NN, f16, Medium, true>)
KERNEL(Half::THREADS, gemm_nn_half_f16, Product, gemm<NN, f16, Half, true>)
KERNEL(Small::THREADS, gemm_nn_small_f16, Product, gemm<NN, f16, Small, true>)
KERNEL(Low::THREADS, gemm_nn_low_f16, Product, gemm<NN, f16, Low, true>)
KERNEL(Narrow::THREADS, gemm_nn_narrow_f16, Product, gemm<NN, f16, Narrow, true>)
KERNEL(Few::THREADS, gemm_nn_few_f16, Product, gemm<NN, f16, Few, true>)
KERNEL(Loose::THREADS, gemm_nn_any_f16, Product, gemm<NN, f16, Loose, false>)

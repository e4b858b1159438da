// y = a·b in form NN, see matmul.cuh: the entries are form, dtype and tile; `any` takes operands of
// any alignment.
#include "matmul.cuh"

// gemm_nn_large: 128 x 256 x 32, 4 stages; 256 threads, 244 registers, 144 KB, 1 block a processor
// bound by tensor (lsu 99 %, shared 73 %, l2 52 %, issue 17 %) at a k of 2080
// predicted on an A100: 92 % of the tensor cores' rate, if 46 % stays in L2
KERNEL(Large::THREADS, gemm_nn_large_bf16, Product, gemm<NN, bf16, Large, true>)

// gemm_nn_medium: 128 x 128 x 32, 4 stages; 128 threads, 250 registers, 80 KB, 2 blocks a processor
// bound by lsu (tensor 85 %, shared 68 %, l2 59 %, issue 15 %) at a k of 2080
// predicted on an A100: 94 % of the load units' rate, if 53 % stays in L2
KERNEL(Medium::THREADS, gemm_nn_medium_bf16, Product, gemm<NN, bf16, Medium, true>)

// gemm_nn_half: 128 x 64 x 32, 5 stages; 128 threads, 196 registers, 72 KB, 2 blocks a processor
// bound by lsu (shared 65 %, l2 56 %, tensor 55 %, issue 11 %) at a k of 2080
// predicted on an A100: 93 % of the load units' rate, if 51 % stays in L2
KERNEL(Half::THREADS, gemm_nn_half_bf16, Product, gemm<NN, bf16, Half, true>)

// gemm_nn_small: 64 x 64 x 64, 4 stages; 128 threads, 156 registers, 72 KB, 2 blocks a processor
// bound by lsu (shared 76 %, l2 65 %, tensor 48 %, issue 11 %) at a k of 2080
// predicted on an A100: 92 % of the load units' rate, if 57 % stays in L2
KERNEL(Small::THREADS, gemm_nn_small_bf16, Product, gemm<NN, bf16, Small, true>)

// gemm_nn_low: 48 x 64 x 64, 4 stages; 128 threads, 147 registers, 63 KB, 2 blocks a processor
// bound by lsu (shared 77 %, l2 60 %, tensor 38 %) at a k of 2080
// predicted on an A100: 92 % of the load units' rate, if 53 % stays in L2
KERNEL(Low::THREADS, gemm_nn_low_bf16, Product, gemm<NN, bf16, Low, true>)

// gemm_nn_narrow: 32 x 32 x 128, 4 stages; 128 threads, 149 registers, 68 KB, 2 blocks a processor
// bound by lsu (shared 68 %, l2 57 %, tensor 21 %) at a k of 2080
// predicted on an A100: 90 % of the load units' rate, if 49 % stays in L2
KERNEL(Narrow::THREADS, gemm_nn_narrow_bf16, Product, gemm<NN, bf16, Narrow, true>)

// gemm_nn_few: 16 x 32 x 128, 4 stages; 64 threads, 164 registers, 51 KB, 3 blocks a processor
// bound by lsu (l2 64 %, shared 60 %, tensor 16 %) at a k of 2080
// predicted on an A100: 92 % of the load units' rate, if 56 % stays in L2
KERNEL(Few::THREADS, gemm_nn_few_bf16, Product, gemm<NN, bf16, Few, true>)

// gemm_nn_any: 64 x 64 x 32, 3 stages; 128 threads, 146 registers, 32 KB, 3 blocks a processor
// bound by lsu (l2 19 %, shared 14 %) at a k of 2080
// predicted on an A100: 78 % of the load units' rate, waits 18 %
KERNEL(Loose::THREADS, gemm_nn_any_bf16, Product, gemm<NN, bf16, Loose, false>)
KERNEL(Large::THREADS, gemm_nn_large_f16, Product, gemm<NN, f16, Large, true>)
KERNEL(Medium::THREADS, gemm_nn_medium_f16, Product, gemm<NN, f16, Medium, true>)
KERNEL(Half::THREADS, gemm_nn_half_f16, Product, gemm<NN, f16, Half, true>)
KERNEL(Small::THREADS, gemm_nn_small_f16, Product, gemm<NN, f16, Small, true>)
KERNEL(Low::THREADS, gemm_nn_low_f16, Product, gemm<NN, f16, Low, true>)
KERNEL(Narrow::THREADS, gemm_nn_narrow_f16, Product, gemm<NN, f16, Narrow, true>)
KERNEL(Few::THREADS, gemm_nn_few_f16, Product, gemm<NN, f16, Few, true>)
KERNEL(Loose::THREADS, gemm_nn_any_f16, Product, gemm<NN, f16, Loose, false>)

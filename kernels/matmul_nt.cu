// y = a·b in form NT, see matmul.cuh: the entries are form, dtype and tile; `any` takes operands of
// any alignment.
#include "matmul.cuh"

// gemm_nt_large: 128 x 256 x 32, 4 stages; 256 threads, 240 registers, 144 KB, 1 block a processor
// bound by lsu (tensor 89 %, shared 65 %, l2 49 %, issue 16 %) at a k of 2080
// predicted on an A100: 82 % of the load units' rate, waits 13 %, if 35 % stays in L2
KERNEL(Large::THREADS, gemm_nt_large_bf16, Product, gemm<NT, bf16, Large, true>)

// gemm_nt_medium: 128 x 128 x 32, 4 stages; 128 threads, 244 registers, 80 KB, 2 blocks a processor
// bound by lsu (tensor 77 %, shared 61 %, l2 54 %, issue 14 %) at a k of 2080
// predicted on an A100: 89 % of the load units' rate, waits 6 %, if 46 % stays in L2
KERNEL(Medium::THREADS, gemm_nt_medium_bf16, Product, gemm<NT, bf16, Medium, true>)

// gemm_nt_half: 128 x 64 x 32, 5 stages; 128 threads, 190 registers, 72 KB, 2 blocks a processor
// bound by lsu (shared 61 %, l2 53 %, tensor 51 %, issue 10 %) at a k of 2080
// predicted on an A100: 91 % of the load units' rate, if 46 % stays in L2
KERNEL(Half::THREADS, gemm_nt_half_bf16, Product, gemm<NT, bf16, Half, true>)

// gemm_nt_small: 64 x 64 x 64, 4 stages; 128 threads, 154 registers, 72 KB, 2 blocks a processor
// bound by lsu (shared 75 %, l2 65 %, tensor 47 %, issue 11 %) at a k of 2080
// predicted on an A100: 91 % of the load units' rate, if 56 % stays in L2
KERNEL(Small::THREADS, gemm_nt_small_bf16, Product, gemm<NT, bf16, Small, true>)

// gemm_nt_low: 48 x 64 x 64, 4 stages; 128 threads, 146 registers, 63 KB, 2 blocks a processor
// bound by lsu (shared 76 %, l2 60 %, tensor 38 %) at a k of 2080
// predicted on an A100: 91 % of the load units' rate, if 53 % stays in L2
KERNEL(Low::THREADS, gemm_nt_low_bf16, Product, gemm<NT, bf16, Low, true>)

// gemm_nt_narrow: 32 x 32 x 128, 4 stages; 128 threads, 146 registers, 68 KB, 2 blocks a processor
// bound by lsu (shared 75 %, l2 63 %, tensor 23 %) at a k of 2080
// predicted on an A100: 88 % of the load units' rate, waits 7 %, if 54 % stays in L2
KERNEL(Narrow::THREADS, gemm_nt_narrow_bf16, Product, gemm<NT, bf16, Narrow, true>)

// gemm_nt_few: 16 x 32 x 128, 4 stages; 64 threads, 126 registers, 51 KB, 3 blocks a processor
// bound by lsu (l2 75 %, shared 71 %, tensor 19 %) at a k of 2080
// predicted on an A100: 90 % of the load units' rate, waits 5 %, if 62 % stays in L2
KERNEL(Few::THREADS, gemm_nt_few_bf16, Product, gemm<NT, bf16, Few, true>)

// gemm_nt_any: 64 x 64 x 32, 3 stages; 128 threads, 143 registers, 32 KB, 3 blocks a processor
// bound by lsu (l2 17 %, shared 12 %) at a k of 2080
// predicted on an A100: 80 % of the load units' rate, waits 16 %
KERNEL(Loose::THREADS, gemm_nt_any_bf16, Product, gemm<NT, bf16, Loose, false>)
KERNEL(Large::THREADS, gemm_nt_large_f16, Product, gemm<NT, f16, Large, true>)
KERNEL(Medium::THREADS, gemm_nt_medium_f16, Product, gemm<NT, f16, Medium, true>)
KERNEL(Half::THREADS, gemm_nt_half_f16, Product, gemm<NT, f16, Half, true>)
KERNEL(Small::THREADS, gemm_nt_small_f16, Product, gemm<NT, f16, Small, true>)
KERNEL(Low::THREADS, gemm_nt_low_f16, Product, gemm<NT, f16, Low, true>)
KERNEL(Narrow::THREADS, gemm_nt_narrow_f16, Product, gemm<NT, f16, Narrow, true>)
KERNEL(Few::THREADS, gemm_nt_few_f16, Product, gemm<NT, f16, Few, true>)
KERNEL(Loose::THREADS, gemm_nt_any_f16, Product, gemm<NT, f16, Loose, false>)

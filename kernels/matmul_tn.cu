// y = a·b in form TN, see matmul.cuh: the entries are form, dtype and tile; `any` takes operands of
// any alignment.
#include "matmul.cuh"

// gemm_tn_large: 128 x 256 x 32, 4 stages; 256 threads, 254 registers, 144 KB, 1 block a processor
// bound by lsu (tensor 98 %, shared 76 %, l2 66 %, issue 18 %) at a k of 1024
// predicted on an A100: 91 % of the load units' rate, if 57 % stays in L2
KERNEL(Large::THREADS, gemm_tn_large_bf16, Product, gemm<TN, bf16, Large, true>)

// gemm_tn_medium: 128 x 128 x 32, 4 stages; 128 threads, 254 registers, 80 KB, 2 blocks a processor
// bound by lsu (tensor 86 %, shared 73 %, l2 73 %, issue 16 %) at a k of 1024
// predicted on an A100: 93 % of the load units' rate, if 62 % stays in L2
KERNEL(Medium::THREADS, gemm_tn_medium_bf16, Product, gemm<TN, bf16, Medium, true>)

// gemm_tn_small: 64 x 64 x 64, 4 stages; 128 threads, 128 registers, 72 KB, 2 blocks a processor
// bound by lsu (shared 75 %, l2 68 %, tensor 45 %, issue 11 %) at a k of 1024
// predicted on an A100: 92 % of the load units' rate, if 58 % stays in L2
KERNEL(Small::THREADS, gemm_tn_small_bf16, Product, gemm<TN, bf16, Small, true>)

// gemm_tn_any: 64 x 64 x 32, 3 stages; 128 threads, 126 registers, 32 KB, 4 blocks a processor
// bound by lsu (l2 25 %, shared 17 %, tensor 11 %) at a k of 1024
// predicted on an A100: 83 % of the load units' rate, waits 12 %
KERNEL(Loose::THREADS, gemm_tn_any_bf16, Product, gemm<TN, bf16, Loose, false>)
KERNEL(Large::THREADS, gemm_tn_large_f16, Product, gemm<TN, f16, Large, true>)
KERNEL(Medium::THREADS, gemm_tn_medium_f16, Product, gemm<TN, f16, Medium, true>)
KERNEL(Small::THREADS, gemm_tn_small_f16, Product, gemm<TN, f16, Small, true>)
KERNEL(Loose::THREADS, gemm_tn_any_f16, Product, gemm<TN, f16, Loose, false>)

// y = a·b in form TN, see matmul.cuh: the entries are form, dtype and tile; `any` takes operands of
// any alignment.
#include "matmul.cuh"

KERNEL(256, gemm_tn_large_bf16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS,
       (gemm<TN, bf16, Large, true>))
KERNEL(128, gemm_tn_medium_bf16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS,
       (gemm<TN, bf16, Medium, true>))
KERNEL(128, gemm_tn_small_bf16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS,
       (gemm<TN, bf16, Small, true>))
KERNEL(128, gemm_tn_any_bf16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS, (gemm<TN, bf16, Loose, false>))
KERNEL(256, gemm_tn_large_f16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS, (gemm<TN, f16, Large, true>))
KERNEL(128, gemm_tn_medium_f16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS,
       (gemm<TN, f16, Medium, true>))
KERNEL(128, gemm_tn_small_f16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS, (gemm<TN, f16, Small, true>))
KERNEL(128, gemm_tn_any_f16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS, (gemm<TN, f16, Loose, false>))

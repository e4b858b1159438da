// y = a·b in form NN, see matmul.cuh: the entries are form, dtype and tile; `any` takes operands of
// any alignment.
#include "matmul.cuh"

KERNEL(256, gemm_nn_large_bf16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS,
       (gemm<NN, bf16, Large, true>))
KERNEL(128, gemm_nn_medium_bf16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS,
       (gemm<NN, bf16, Medium, true>))
KERNEL(128, gemm_nn_small_bf16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS,
       (gemm<NN, bf16, Small, true>))
KERNEL(64, gemm_nn_few_bf16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS, (gemm<NN, bf16, Few, true>))
KERNEL(128, gemm_nn_any_bf16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS, (gemm<NN, bf16, Loose, false>))
KERNEL(256, gemm_nn_large_f16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS, (gemm<NN, f16, Large, true>))
KERNEL(128, gemm_nn_medium_f16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS,
       (gemm<NN, f16, Medium, true>))
KERNEL(128, gemm_nn_small_f16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS, (gemm<NN, f16, Small, true>))
KERNEL(64, gemm_nn_few_f16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS, (gemm<NN, f16, Few, true>))
KERNEL(128, gemm_nn_any_f16, PRODUCT_PARAMETERS, PRODUCT_ARGUMENTS, (gemm<NN, f16, Loose, false>))

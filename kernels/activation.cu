// Element by element: no thread knows another.
#include "dtype.cuh"
#include "entry.cuh"

/// y = alpha·x + beta·y; with beta 0 what stood in y does not count, NaN or not.
template <class T>
static __device__ void blend(T *y, const T *x, uint64_t n, float alpha, float beta) {
  const uint64_t stride = uint64_t(gridDim.x) * blockDim.x;
  for (uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride)
    y[i] = narrow<T>(beta == 0.0f ? alpha * wide(x[i]) : alpha * wide(x[i]) + beta * wide(y[i]));
}

KERNEL(256, blend_f32, (float *y, const float *x, uint64_t n, float alpha, float beta), (y, x, n, alpha, beta), blend<float>)
KERNEL(256, blend_f16, (f16 *y, const f16 *x, uint64_t n, float alpha, float beta), (y, x, n, alpha, beta), blend<f16>)
KERNEL(256, blend_bf16, (bf16 *y, const bf16 *x, uint64_t n, float alpha, float beta), (y, x, n, alpha, beta), blend<bf16>)

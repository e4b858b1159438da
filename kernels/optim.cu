// The optimiser's step and the norm of its gradient, over one flat f32 range.
#include "entry.cuh"
#include "reduce.cuh"

/// One AdamW step; what depends on the step alone comes computed: rate = learning rate / (1 - β1^t), inverse_root = 1/√(1 - β2^t),
/// decay = 1 - learning rate·weight decay.
static __device__ void step(float *parameter, float *moment1, float *moment2, const float *gradient, uint64_t n, float beta1, float left1,
                             float beta2, float left2, float epsilon, float rate, float inverse_root, float decay, float gradient_scale) {
  const uint64_t stride = uint64_t(gridDim.x) * blockDim.x;
  for (uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
    const float g = gradient[i] * gradient_scale;
    const float m = fmaf(beta1, moment1[i], left1 * g);
    const float v = fmaf(beta2, moment2[i], left2 * g * g);
    moment1[i] = m;
    moment2[i] = v;
    parameter[i] = fmaf(parameter[i], decay, -(rate * m / fmaf(sqrtf(v), inverse_root, epsilon)));
  }
}

/// Elements that one block sums; fixed, so that the order of addition is.
constexpr uint32_t CHUNK = 16384;

/// partial[b] = Σ x² of chunk b.
static __device__ void squares(float *partial, const float *x, uint64_t n) {
  float *room = reinterpret_cast<float *>(shared_memory());
  const uint64_t first = uint64_t(blockIdx.x) * CHUNK;
  float sum = 0.0f;
  for (uint32_t i = threadIdx.x; i < CHUNK && first + i < n; i += blockDim.x) sum = fmaf(x[first + i], x[first + i], sum);
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// y = Σ partial, in f64: thousands of sums of like size. One block; each thread's share, then the threads in order.
static __device__ void total(float *y, const float *partial, uint32_t count) {
  double *room = reinterpret_cast<double *>(shared_memory());
  double sum = 0.0;
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) sum += double(partial[i]);
  room[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (uint32_t i = 1; i < blockDim.x; ++i) sum += room[i];
  y[0] = float(sum);
}

// clang-format off
KERNEL(256, adamw, (float *parameter, float *moment1, float *moment2, const float *gradient, uint64_t n, float beta1, float left1, float beta2, float left2, float epsilon, float rate, float inverse_root, float decay, float gradient_scale), (parameter, moment1, moment2, gradient, n, beta1, left1, beta2, left2, epsilon, rate, inverse_root, decay, gradient_scale), step)
KERNEL(256, sum_squares, (float *partial, const float *x, uint64_t n), (partial, x, n), squares)
KERNEL(256, sum_partial, (float *y, const float *partial, uint32_t count), (y, partial, count), total)

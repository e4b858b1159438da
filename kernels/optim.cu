// The optimiser's step and the norm of its gradient, over one flat f32 range.
#include "entry.cuh"
#include "reduce.cuh"
#include "vector.cuh"

/// x = from[i..i + V) as far as there are n, then 0; whole where there are, and the address allows
/// one access.
template <int V>
static __device__ __forceinline__ void load_some(float (&x)[V], const float *from, uint64_t i,
                                                 uint64_t n, bool whole) {
  if (whole)
    load_part<true>(x, from, i, n, 0.0f);
  else
    load_part<false>(x, from, i, n, 0.0f);
}

template <int V>
static __device__ __forceinline__ void store_some(float *to, uint64_t i, uint64_t n, bool whole,
                                                  const float (&x)[V]) {
  if (whole)
    store_part<true>(to, i, n, x);
  else
    store_part<false>(to, i, n, x);
}

/// One AdamW step; what depends on the step alone comes computed: rate = learning rate / (1 -
/// β1^t), inverse_root = 1/√(1 - β2^t), decay = 1 - learning rate·weight decay. V elements a thread
/// and step.
template <int V>
static __device__ void step(float *parameter, float *moment1, float *moment2, const float *gradient,
                            uint64_t n, float beta1, float left1, float beta2, float left2,
                            float epsilon, float rate, float inverse_root, float decay,
                            float gradient_scale) {
  const uint64_t stride = uint64_t(gridDim.x) * blockDim.x * V;
  for (uint64_t i = (uint64_t(blockIdx.x) * blockDim.x + threadIdx.x) * V; i < n; i += stride) {
    const bool whole = V == 1 || i + V <= n;
    float p[V], m[V], s[V], g[V];
    load_some(p, static_cast<const float *>(parameter), i, n, whole);
    load_some(m, static_cast<const float *>(moment1), i, n, whole);
    load_some(s, static_cast<const float *>(moment2), i, n, whole);
    load_some(g, gradient, i, n, whole);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      g[v] *= gradient_scale;
      m[v] = fmaf(beta1, m[v], left1 * g[v]);
      s[v] = fmaf(beta2, s[v], left2 * g[v] * g[v]);
      p[v] = fmaf(p[v], decay, -(rate * m[v] / fmaf(sqrtf(s[v]), inverse_root, epsilon)));
    }
    store_some(parameter, i, n, whole, p);
    store_some(moment1, i, n, whole, m);
    store_some(moment2, i, n, whole, s);
  }
}

/// Elements that one block sums; fixed, so that the order of addition is.
constexpr uint32_t CHUNK = 16384;

/// partial[b] = Σ x² of chunk b; a thread has groups of four neighbours, which WIDE reads at once.
template <bool WIDE>
static __device__ void squares(float *partial, const float *x, uint64_t n) {
  float *room = reinterpret_cast<float *>(shared_memory());
  const uint64_t first = uint64_t(blockIdx.x) * CHUNK;
  float sum = 0.0f;
#pragma unroll 4
  for (uint64_t i = first + 4 * threadIdx.x; i < first + CHUNK && i < n; i += 4 * blockDim.x) {
    float a[4];
    load_some(a, x, i, n, WIDE && i + 4 <= n);
#pragma unroll
    for (int v = 0; v < 4; ++v) sum = fmaf(a[v], a[v], sum);
  }
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// y = Σ partial, in f64: thousands of sums of like size. One block; each thread's share, then the
/// threads in order.
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

KERNEL(256, adamw_f32,
       (float *parameter, float *moment1, float *moment2, const float *gradient, uint64_t n,
        float beta1, float left1, float beta2, float left2, float epsilon, float rate,
        float inverse_root, float decay, float gradient_scale),
       (parameter, moment1, moment2, gradient, n, beta1, left1, beta2, left2, epsilon, rate,
        inverse_root, decay, gradient_scale),
       step<1>)
KERNEL(256, adamw_f32_wide,
       (float *parameter, float *moment1, float *moment2, const float *gradient, uint64_t n,
        float beta1, float left1, float beta2, float left2, float epsilon, float rate,
        float inverse_root, float decay, float gradient_scale),
       (parameter, moment1, moment2, gradient, n, beta1, left1, beta2, left2, epsilon, rate,
        inverse_root, decay, gradient_scale),
       step<4>)
KERNEL(256, sum_squares_f32, (float *partial, const float *x, uint64_t n), (partial, x, n),
       squares<false>)
KERNEL(256, sum_squares_f32_wide, (float *partial, const float *x, uint64_t n), (partial, x, n),
       squares<true>)
KERNEL(256, sum_partial, (float *y, const float *partial, uint32_t count), (y, partial, count),
       total)

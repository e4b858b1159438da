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

/// One AdamW step, V elements a thread and step.
template <int V>
static __device__ void step(const Adamw args) {
  const uint64_t stride = uint64_t(gridDim.x) * blockDim.x * V;
  for (uint64_t i = (uint64_t(blockIdx.x) * blockDim.x + threadIdx.x) * V; i < args.n;
       i += stride) {
    const bool whole = V == 1 || i + V <= args.n;
    float p[V], m[V], s[V], g[V];
    load_some(p, static_cast<const float *>(args.parameter), i, args.n, whole);
    load_some(m, static_cast<const float *>(args.moment1), i, args.n, whole);
    load_some(s, static_cast<const float *>(args.moment2), i, args.n, whole);
    load_some(g, args.gradient, i, args.n, whole);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      g[v] *= args.gradient_scale;
      m[v] = fmaf(args.beta1, m[v], args.left1 * g[v]);
      s[v] = fmaf(args.beta2, s[v], args.left2 * g[v] * g[v]);
      p[v] = fmaf(p[v], args.decay,
                  -(args.rate * m[v] / fmaf(sqrtf(s[v]), args.inverse_root, args.epsilon)));
    }
    store_some(args.parameter, i, args.n, whole, p);
    store_some(args.moment1, i, args.n, whole, m);
    store_some(args.moment2, i, args.n, whole, s);
  }
}

/// partial[b] = Σ x² of chunk b; a thread has groups of four neighbours, which WIDE reads at once.
template <bool WIDE>
static __device__ void squares(const SumSquares args) {
  float *room = reinterpret_cast<float *>(shared_memory());
  const uint64_t first = uint64_t(blockIdx.x) * SUM_SQUARES_CHUNK;
  float sum = 0.0f;
#pragma unroll 4
  for (uint64_t i = first + 4 * threadIdx.x; i < first + SUM_SQUARES_CHUNK && i < args.n;
       i += 4 * blockDim.x) {
    float a[4];
    load_some(a, args.x, i, args.n, WIDE && i + 4 <= args.n);
#pragma unroll
    for (int v = 0; v < 4; ++v) sum = fmaf(a[v], a[v], sum);
  }
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) args.partial[blockIdx.x] = sum;
}

/// y = Σ partial, in f64: thousands of sums of like size. One block; each thread's share, then the
/// threads in order.
static __device__ void total(const SumPartial args) {
  double *room = reinterpret_cast<double *>(shared_memory());
  double sum = 0.0;
  for (uint32_t i = threadIdx.x; i < args.count; i += blockDim.x) sum += double(args.partial[i]);
  room[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (uint32_t i = 1; i < blockDim.x; ++i) sum += room[i];
  args.y[0] = float(sum);
}

// adamw: 256 threads, 31 registers, 8 blocks a processor
// bound by dram (l2 28 %, lsu 12 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, adamw_f32, Adamw, step<1>)
KERNEL(256, adamw_f32_wide, Adamw, step<4>)

// sum_squares: 256 threads, 23 registers, 128 bytes, 8 blocks a processor
// bound by dram (l2 28 %, lsu 13 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, sum_squares_f32, SumSquares, squares<false>)
KERNEL(256, sum_squares_f32_wide, SumSquares, squares<true>)

// sum_partial: 256 threads, 22 registers, 2 KB, 8 blocks a processor
// bound by lsu (shared 99 %, issue 25 %)
// predicted on an A100: 91 % of the load units' rate
KERNEL(256, sum_partial, SumPartial, total)

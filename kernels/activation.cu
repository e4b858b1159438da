// Element by element: no thread knows another, so nothing here depends on a grid. V elements a
// step, see vector.cuh.
#include "entry.cuh"
#include "philox.cuh"
#include "vector.cuh"

/// Calls `work(i)` for the first element of every group of V this thread is to do.
template <int V, class Work>
static __device__ __forceinline__ void each(uint64_t n, Work work) {
  const uint64_t stride = uint64_t(gridDim.x) * blockDim.x * V;
  for (uint64_t i = (uint64_t(blockIdx.x) * blockDim.x + threadIdx.x) * V; i < n; i += stride)
    work(i);
}

/// y = alpha·x + beta·y; with beta 0 what stood in y does not count, NaN or not.
template <class T, int V>
static __device__ void blend(T *y, const T *x, uint64_t n, float alpha, float beta) {
  each<V>(n, [=](uint64_t i) {
    float a[V], b[V];
    load_many<V>(a, x + i);
    if (beta != 0.0f) load_many<V>(b, static_cast<const T *>(y + i));
#pragma unroll
    for (int v = 0; v < V; ++v) a[v] = beta == 0.0f ? alpha * a[v] : fmaf(alpha, a[v], beta * b[v]);
    store_many<V>(y + i, a);
  });
}

constexpr float ROOT_TWO_OVER_PI = 0.7978845608028654f;
constexpr float ROOT_HALF = 0.7071067811865476f;
constexpr float INVERSE_ROOT_TWO_PI = 0.3989422804014327f;
constexpr float CUBE = 0.044715f;

template <bool ERF>
static __device__ __forceinline__ float gelu_of(float x) {
  if (ERF) return 0.5f * x * (1.0f + erff(x * ROOT_HALF));
  return 0.5f * x * (1.0f + tanhf(ROOT_TWO_OVER_PI * x * fmaf(CUBE * x, x, 1.0f)));
}

template <bool ERF>
static __device__ __forceinline__ float gelu_slope(float x) {
  if (ERF)
    return 0.5f * (1.0f + erff(x * ROOT_HALF)) + x * INVERSE_ROOT_TWO_PI * expf(-0.5f * x * x);
  const float t = tanhf(ROOT_TWO_OVER_PI * x * fmaf(CUBE * x, x, 1.0f));
  return 0.5f * (1.0f + t) +
         0.5f * x * (1.0f - t * t) * ROOT_TWO_OVER_PI * fmaf(3.0f * CUBE * x, x, 1.0f);
}

template <class T, int V, bool ERF>
static __device__ void gelu(T *y, const T *x, uint64_t n) {
  each<V>(n, [=](uint64_t i) {
    float a[V];
    load_many<V>(a, x + i);
#pragma unroll
    for (int v = 0; v < V; ++v) a[v] = gelu_of<ERF>(a[v]);
    store_many<V>(y + i, a);
  });
}

template <class T, int V, bool ERF>
static __device__ void gelu_backward(T *dx, const T *dy, const T *x, uint64_t n) {
  each<V>(n, [=](uint64_t i) {
    float a[V], b[V];
    load_many<V>(a, x + i);
    load_many<V>(b, dy + i);
#pragma unroll
    for (int v = 0; v < V; ++v) a[v] = b[v] * gelu_slope<ERF>(a[v]);
    store_many<V>(dx + i, a);
  });
}

/// Column c takes word c mod 4 of the counter (c / 4, place, example low, example high). GROUP
/// columns a thread, a Philox block each four; WIDE reads and writes them at once.
template <class T, bool WIDE>
static __device__ void dropout(T *y, const T *x, const uint32_t *places, uint32_t rows,
                               uint32_t cols, uint32_t key0, uint32_t key1, uint32_t threshold,
                               float kept, uint32_t add) {
  constexpr int GROUP = WIDE ? PerVector<T>::COUNT : 4;
  const uint32_t groups = (cols + GROUP - 1) / GROUP;
  const uint64_t n = uint64_t(rows) * groups, stride = uint64_t(gridDim.x) * blockDim.x;
  for (uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
    const uint32_t row = uint32_t(i / groups), c = uint32_t(i % groups) * GROUP;
    const uint32_t *place = places + 3 * uint64_t(row);
    const uint32_t number = place[2], low = place[0], high = place[1];
    const T *from = x + uint64_t(row) * cols;
    T *to = y + uint64_t(row) * cols;
    float a[GROUP], b[GROUP];
    load_part<WIDE>(a, from, c, cols, 0.0f);
    if (add) load_part<WIDE>(b, static_cast<const T *>(to), c, cols, 0.0f);
#pragma unroll
    for (int four = 0; four < GROUP; four += 4) {
      const PhiloxBlock block = philox(key0, key1, (c + four) / 4, number, low, high);
#pragma unroll
      for (int v = 0; v < 4; ++v) {
        const float factor = block.word[v] < threshold ? 0.0f : kept;
        a[four + v] = add ? fmaf(a[four + v], factor, b[four + v]) : a[four + v] * factor;
      }
    }
    store_part<WIDE>(to, c, cols, a);
  }
}

template <class S, class T, int V>
static __device__ void cast(T *y, const S *x, uint64_t n) {
  each<V>(n, [=](uint64_t i) {
    float a[V];
    load_many<V>(a, x + i);
    store_many<V>(y + i, a);
  });
}

KERNEL(256, blend_f32, (float *y, const float *x, uint64_t n, float alpha, float beta),
       (y, x, n, alpha, beta), blend<float, 1>)
KERNEL(256, blend_f16, (f16 * y, const f16 *x, uint64_t n, float alpha, float beta),
       (y, x, n, alpha, beta), blend<f16, 1>)
KERNEL(256, blend_bf16, (bf16 * y, const bf16 *x, uint64_t n, float alpha, float beta),
       (y, x, n, alpha, beta), blend<bf16, 1>)
KERNEL(256, blend_f32_wide, (float *y, const float *x, uint64_t n, float alpha, float beta),
       (y, x, n, alpha, beta), blend<float, 4>)
KERNEL(256, blend_f16_wide, (f16 * y, const f16 *x, uint64_t n, float alpha, float beta),
       (y, x, n, alpha, beta), blend<f16, 8>)
KERNEL(256, blend_bf16_wide, (bf16 * y, const bf16 *x, uint64_t n, float alpha, float beta),
       (y, x, n, alpha, beta), blend<bf16, 8>)

KERNEL(256, gelu_tanh_f32, (float *y, const float *x, uint64_t n), (y, x, n), gelu<float, 1, false>)
KERNEL(256, gelu_tanh_f16, (f16 * y, const f16 *x, uint64_t n), (y, x, n), gelu<f16, 1, false>)
KERNEL(256, gelu_tanh_bf16, (bf16 * y, const bf16 *x, uint64_t n), (y, x, n), gelu<bf16, 1, false>)
KERNEL(256, gelu_tanh_f32_wide, (float *y, const float *x, uint64_t n), (y, x, n),
       gelu<float, 4, false>)
KERNEL(256, gelu_tanh_f16_wide, (f16 * y, const f16 *x, uint64_t n), (y, x, n), gelu<f16, 8, false>)
KERNEL(256, gelu_tanh_bf16_wide, (bf16 * y, const bf16 *x, uint64_t n), (y, x, n),
       gelu<bf16, 8, false>)
KERNEL(256, gelu_erf_f32, (float *y, const float *x, uint64_t n), (y, x, n), gelu<float, 1, true>)
KERNEL(256, gelu_erf_f16, (f16 * y, const f16 *x, uint64_t n), (y, x, n), gelu<f16, 1, true>)
KERNEL(256, gelu_erf_bf16, (bf16 * y, const bf16 *x, uint64_t n), (y, x, n), gelu<bf16, 1, true>)
KERNEL(256, gelu_erf_f32_wide, (float *y, const float *x, uint64_t n), (y, x, n),
       gelu<float, 4, true>)
KERNEL(256, gelu_erf_f16_wide, (f16 * y, const f16 *x, uint64_t n), (y, x, n), gelu<f16, 8, true>)
KERNEL(256, gelu_erf_bf16_wide, (bf16 * y, const bf16 *x, uint64_t n), (y, x, n),
       gelu<bf16, 8, true>)

KERNEL(256, gelu_backward_tanh_f32, (float *dx, const float *dy, const float *x, uint64_t n),
       (dx, dy, x, n), gelu_backward<float, 1, false>)
KERNEL(256, gelu_backward_tanh_f16, (f16 * dx, const f16 *dy, const f16 *x, uint64_t n),
       (dx, dy, x, n), gelu_backward<f16, 1, false>)
KERNEL(256, gelu_backward_tanh_bf16, (bf16 * dx, const bf16 *dy, const bf16 *x, uint64_t n),
       (dx, dy, x, n), gelu_backward<bf16, 1, false>)
KERNEL(256, gelu_backward_tanh_f32_wide, (float *dx, const float *dy, const float *x, uint64_t n),
       (dx, dy, x, n), gelu_backward<float, 4, false>)
KERNEL(256, gelu_backward_tanh_f16_wide, (f16 * dx, const f16 *dy, const f16 *x, uint64_t n),
       (dx, dy, x, n), gelu_backward<f16, 8, false>)
KERNEL(256, gelu_backward_tanh_bf16_wide, (bf16 * dx, const bf16 *dy, const bf16 *x, uint64_t n),
       (dx, dy, x, n), gelu_backward<bf16, 8, false>)
KERNEL(256, gelu_backward_erf_f32, (float *dx, const float *dy, const float *x, uint64_t n),
       (dx, dy, x, n), gelu_backward<float, 1, true>)
KERNEL(256, gelu_backward_erf_f16, (f16 * dx, const f16 *dy, const f16 *x, uint64_t n),
       (dx, dy, x, n), gelu_backward<f16, 1, true>)
KERNEL(256, gelu_backward_erf_bf16, (bf16 * dx, const bf16 *dy, const bf16 *x, uint64_t n),
       (dx, dy, x, n), gelu_backward<bf16, 1, true>)
KERNEL(256, gelu_backward_erf_f32_wide, (float *dx, const float *dy, const float *x, uint64_t n),
       (dx, dy, x, n), gelu_backward<float, 4, true>)
KERNEL(256, gelu_backward_erf_f16_wide, (f16 * dx, const f16 *dy, const f16 *x, uint64_t n),
       (dx, dy, x, n), gelu_backward<f16, 8, true>)
KERNEL(256, gelu_backward_erf_bf16_wide, (bf16 * dx, const bf16 *dy, const bf16 *x, uint64_t n),
       (dx, dy, x, n), gelu_backward<bf16, 8, true>)

KERNEL(256, dropout_f32,
       (float *y, const float *x, const uint32_t *places, uint32_t rows, uint32_t cols,
        uint32_t key0, uint32_t key1, uint32_t threshold, float kept, uint32_t add),
       (y, x, places, rows, cols, key0, key1, threshold, kept, add), dropout<float, false>)
KERNEL(256, dropout_f32_wide,
       (float *y, const float *x, const uint32_t *places, uint32_t rows, uint32_t cols,
        uint32_t key0, uint32_t key1, uint32_t threshold, float kept, uint32_t add),
       (y, x, places, rows, cols, key0, key1, threshold, kept, add), dropout<float, true>)
KERNEL(256, dropout_f16,
       (f16 * y, const f16 *x, const uint32_t *places, uint32_t rows, uint32_t cols, uint32_t key0,
        uint32_t key1, uint32_t threshold, float kept, uint32_t add),
       (y, x, places, rows, cols, key0, key1, threshold, kept, add), dropout<f16, false>)
KERNEL(256, dropout_f16_wide,
       (f16 * y, const f16 *x, const uint32_t *places, uint32_t rows, uint32_t cols, uint32_t key0,
        uint32_t key1, uint32_t threshold, float kept, uint32_t add),
       (y, x, places, rows, cols, key0, key1, threshold, kept, add), dropout<f16, true>)
KERNEL(256, dropout_bf16,
       (bf16 * y, const bf16 *x, const uint32_t *places, uint32_t rows, uint32_t cols,
        uint32_t key0, uint32_t key1, uint32_t threshold, float kept, uint32_t add),
       (y, x, places, rows, cols, key0, key1, threshold, kept, add), dropout<bf16, false>)
KERNEL(256, dropout_bf16_wide,
       (bf16 * y, const bf16 *x, const uint32_t *places, uint32_t rows, uint32_t cols,
        uint32_t key0, uint32_t key1, uint32_t threshold, float kept, uint32_t add),
       (y, x, places, rows, cols, key0, key1, threshold, kept, add), dropout<bf16, true>)

KERNEL(256, cast_f32_f32, (float *y, const float *x, uint64_t n), (y, x, n), cast<float, float, 1>)
KERNEL(256, cast_f32_f32_wide, (float *y, const float *x, uint64_t n), (y, x, n),
       cast<float, float, 4>)
KERNEL(256, cast_f32_f16, (f16 * y, const float *x, uint64_t n), (y, x, n), cast<float, f16, 1>)
KERNEL(256, cast_f32_f16_wide, (f16 * y, const float *x, uint64_t n), (y, x, n),
       cast<float, f16, 8>)
KERNEL(256, cast_f32_bf16, (bf16 * y, const float *x, uint64_t n), (y, x, n), cast<float, bf16, 1>)
KERNEL(256, cast_f32_bf16_wide, (bf16 * y, const float *x, uint64_t n), (y, x, n),
       cast<float, bf16, 8>)
KERNEL(256, cast_f16_f32, (float *y, const f16 *x, uint64_t n), (y, x, n), cast<f16, float, 1>)
KERNEL(256, cast_f16_f32_wide, (float *y, const f16 *x, uint64_t n), (y, x, n), cast<f16, float, 4>)
KERNEL(256, cast_f16_f16, (f16 * y, const f16 *x, uint64_t n), (y, x, n), cast<f16, f16, 1>)
KERNEL(256, cast_f16_f16_wide, (f16 * y, const f16 *x, uint64_t n), (y, x, n), cast<f16, f16, 8>)
KERNEL(256, cast_f16_bf16, (bf16 * y, const f16 *x, uint64_t n), (y, x, n), cast<f16, bf16, 1>)
KERNEL(256, cast_f16_bf16_wide, (bf16 * y, const f16 *x, uint64_t n), (y, x, n), cast<f16, bf16, 8>)
KERNEL(256, cast_bf16_f32, (float *y, const bf16 *x, uint64_t n), (y, x, n), cast<bf16, float, 1>)
KERNEL(256, cast_bf16_f32_wide, (float *y, const bf16 *x, uint64_t n), (y, x, n),
       cast<bf16, float, 4>)
KERNEL(256, cast_bf16_f16, (f16 * y, const bf16 *x, uint64_t n), (y, x, n), cast<bf16, f16, 1>)
KERNEL(256, cast_bf16_f16_wide, (f16 * y, const bf16 *x, uint64_t n), (y, x, n), cast<bf16, f16, 8>)
KERNEL(256, cast_bf16_bf16, (bf16 * y, const bf16 *x, uint64_t n), (y, x, n), cast<bf16, bf16, 1>)
KERNEL(256, cast_bf16_bf16_wide, (bf16 * y, const bf16 *x, uint64_t n), (y, x, n),
       cast<bf16, bf16, 8>)

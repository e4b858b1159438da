// Layer normalisation: a block a row; what of a row fits in registers is read once, where it can be
// read 16 bytes at a time.
#include "entry.cuh"
#include "reduce.cuh"
#include "vector.cuh"

/// Threads a block, and groups of 16 bytes of a row that each holds in registers: 8192 columns of
/// 16 bits, 4096 of 32.
constexpr uint32_t THREADS = 256, GROUPS = 4;

/// A thread's share of a row: groups of V neighbouring columns, dealt out in turn. WIDE says how
/// they are read and written and whether some are held in registers, not which they are: the order
/// of each sum is decided by cols alone.
template <class T, bool WIDE>
struct Share {
  static constexpr int V = PerVector<T>::COUNT;
  static constexpr uint32_t STEP = THREADS * V, HELD = WIDE ? GROUPS : 0;
  Sixteen held[HELD + 1];

  /// Reads what is held of the row.
  __device__ __forceinline__ void read(const T *row, uint32_t cols) {
#pragma unroll
    for (uint32_t i = 0; i < HELD; ++i) {
      const uint32_t c = i * STEP + threadIdx.x * V;
      if (c < cols) held[i] = raw(row, c, cols);
    }
  }

  /// Group i, which begins at column c: held or read again. Columns that are not there are 0.
  __device__ __forceinline__ void get(float (&x)[V], const T *row, uint32_t i, uint32_t c,
                                      uint32_t cols) const {
    const Sixteen group = i < HELD ? held[i] : raw(row, c, cols);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      if constexpr (sizeof(T) == 4)
        x[v] = bits_to_float(group.word[v]);
      else
        x[v] = v % 2 ? high_half<T>(group.word[v / 2]) : low_half<T>(group.word[v / 2]);
    }
  }

  /// Calls work(i, c) for every group of this thread; i is known to the compiler where the group is
  /// held.
  template <class Work>
  static __device__ __forceinline__ void each(uint32_t cols, Work work) {
#pragma unroll
    for (uint32_t i = 0; i < HELD; ++i) {
      const uint32_t c = i * STEP + threadIdx.x * V;
      if (c < cols) work(i, c);
    }
    for (uint32_t c = HELD * STEP + threadIdx.x * V; c < cols; c += STEP) work(HELD, c);
  }

  static __device__ __forceinline__ Sixteen raw(const T *row, uint32_t c, uint32_t cols) {
    if (WIDE) return load16(row + c);
    Sixteen group = {{0, 0, 0, 0}};
#pragma unroll
    for (int v = 0; v < V; ++v)
      if (c + v < cols)
        group.word[v * sizeof(T) / 4] |= bits_of(row[c + v]) << (v * sizeof(T) % 4 * 8);
    return group;
  }
};

/// y = (x - mean)·inverse·weight + bias; statistics[r] = (mean, inverse).
template <class T, bool WIDE>
static __device__ void layernorm(T *y, float *statistics, const T *x, const void *weight,
                                 const void *bias, uint32_t weight_dtype, uint32_t bias_dtype,
                                 uint32_t rows, uint32_t cols, float epsilon) {
  constexpr int V = PerVector<T>::COUNT;
  using Row = Share<T, WIDE>;
  float *room = reinterpret_cast<float *>(shared_memory());
  for (uint64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const T *from = x + r * cols;
    Row row;
    row.read(from, cols);
    float sum = 0.0f;
    Row::each(cols, [&](uint32_t i, uint32_t c) {
      float a[V];
      row.get(a, from, i, c, cols);
#pragma unroll
      for (int v = 0; v < V; ++v) sum += a[v];
    });
    const float mean = block_sum(sum, room) / float(cols);
    sum = 0.0f;
    Row::each(cols, [&](uint32_t i, uint32_t c) {
      float a[V];
      row.get(a, from, i, c, cols);
#pragma unroll
      for (int v = 0; v < V; ++v)
        if (WIDE || c + v < cols) sum = fmaf(a[v] - mean, a[v] - mean, sum);
    });
    const float inverse = 1.0f / sqrtf(block_sum(sum, room) / float(cols) + epsilon);
    if (threadIdx.x == 0) {
      statistics[2 * r] = mean;
      statistics[2 * r + 1] = inverse;
    }
    Row::each(cols, [&](uint32_t i, uint32_t c) {
      float a[V], w[V], b[V];
      row.get(a, from, i, c, cols);
      load_part_any<WIDE>(w, weight, c, cols, weight_dtype, 0.0f);
      load_part_any<WIDE>(b, bias, c, cols, bias_dtype, 0.0f);
#pragma unroll
      for (int v = 0; v < V; ++v) a[v] = fmaf((a[v] - mean) * inverse, w[v], b[v]);
      store_part<WIDE>(y + r * cols, c, cols, a);
    });
  }
}

/// dx (set or add) = inverse·(g - mean(g) - x̂·mean(g·x̂)) with g = dy·weight and x̂ = (x -
/// mean)·inverse.
template <class T, bool WIDE>
static __device__ void layernorm_backward(T *dx, const T *dy, const T *x, const void *weight,
                                          const float *statistics, uint32_t weight_dtype,
                                          uint32_t rows, uint32_t cols, uint32_t add) {
  constexpr int V = PerVector<T>::COUNT;
  using Row = Share<T, WIDE>;
  float *room = reinterpret_cast<float *>(shared_memory());
  for (uint64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const T *of_x = x + r * cols, *of_dy = dy + r * cols;
    T *to = dx + r * cols;
    Row row, slopes, old;
    row.read(of_x, cols);
    slopes.read(of_dy, cols);
    // Under way while the sums are made.
    if (add) old.read(to, cols);
    const float mean = statistics[2 * r], inverse = statistics[2 * r + 1];
    float sum_g = 0.0f, sum_gx = 0.0f;
    Row::each(cols, [&](uint32_t i, uint32_t c) {
      float a[V], d[V], w[V];
      row.get(a, of_x, i, c, cols);
      slopes.get(d, of_dy, i, c, cols);
      load_part_any<WIDE>(w, weight, c, cols, weight_dtype, 0.0f);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        sum_g = fmaf(d[v], w[v], sum_g);
        sum_gx = fmaf((a[v] - mean) * inverse, d[v] * w[v], sum_gx);
      }
    });
    const float mean_g = block_sum(sum_g, room) / float(cols),
                mean_gx = block_sum(sum_gx, room) / float(cols);
    Row::each(cols, [&](uint32_t i, uint32_t c) {
      float a[V], d[V], w[V], before[V];
      row.get(a, of_x, i, c, cols);
      slopes.get(d, of_dy, i, c, cols);
      load_part_any<WIDE>(w, weight, c, cols, weight_dtype, 0.0f);
      if (add) old.get(before, to, i, c, cols);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const float value = fmaf(-(a[v] - mean) * inverse, mean_gx, fmaf(d[v], w[v], -mean_g));
        a[v] = add ? fmaf(inverse, value, before[v]) : inverse * value;
      }
      store_part<WIDE>(to, c, cols, a);
    });
  }
}

/// Rows whose parameter gradients are summed in one go; fixed, so that the order of addition is.
constexpr uint32_t CHUNK = 64;

/// partial[chunk] = (Σ dy·x̂, Σ dy) over the chunk's rows, `[chunks, 2, cols]`; a thread V columns.
template <class T, int V>
static __device__ void layernorm_parameters(float *partial, const T *dy, const T *x,
                                            const float *statistics, uint32_t rows, uint32_t cols) {
  const uint32_t c = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  if (c >= cols) return;
  const uint64_t first = uint64_t(blockIdx.y) * CHUNK;
  const uint64_t end = first + CHUNK < rows ? first + CHUNK : rows;
  float weight[V], bias[V];
#pragma unroll
  for (int v = 0; v < V; ++v) weight[v] = bias[v] = 0.0f;
#pragma unroll 4
  for (uint64_t r = first; r < end; ++r) {
    float a[V], d[V];
    load_many<V>(a, x + r * cols + c);
    load_many<V>(d, dy + r * cols + c);
    const float mean = statistics[2 * r], inverse = statistics[2 * r + 1];
#pragma unroll
    for (int v = 0; v < V; ++v) {
      weight[v] = fmaf((a[v] - mean) * inverse, d[v], weight[v]);
      bias[v] += d[v];
    }
  }
  float *to = partial + uint64_t(blockIdx.y) * 2 * cols + c;
  store_many<V>(to, weight);
  store_many<V>(to + cols, bias);
}

/// Adds the chunks' sums in their order; a thread one of the 2·cols sums.
static __device__ void collect(float *d_weight, float *d_bias, const float *partial,
                               uint32_t chunks, uint32_t cols) {
  const uint64_t c = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= 2 * uint64_t(cols)) return;
  float *to = c < cols ? d_weight + c : d_bias + (c - cols);
  float sum = *to;
#pragma unroll 8
  for (uint64_t chunk = 0; chunk < chunks; ++chunk) sum += partial[chunk * 2 * cols + c];
  *to = sum;
}

KERNEL(256, layernorm_f32,
       (float *y, float *statistics, const float *x, const void *weight, const void *bias,
        uint32_t weight_dtype, uint32_t bias_dtype, uint32_t rows, uint32_t cols, float epsilon),
       (y, statistics, x, weight, bias, weight_dtype, bias_dtype, rows, cols, epsilon),
       layernorm<float, false>)
KERNEL(256, layernorm_f16,
       (f16 * y, float *statistics, const f16 *x, const void *weight, const void *bias,
        uint32_t weight_dtype, uint32_t bias_dtype, uint32_t rows, uint32_t cols, float epsilon),
       (y, statistics, x, weight, bias, weight_dtype, bias_dtype, rows, cols, epsilon),
       layernorm<f16, false>)
KERNEL(256, layernorm_bf16,
       (bf16 * y, float *statistics, const bf16 *x, const void *weight, const void *bias,
        uint32_t weight_dtype, uint32_t bias_dtype, uint32_t rows, uint32_t cols, float epsilon),
       (y, statistics, x, weight, bias, weight_dtype, bias_dtype, rows, cols, epsilon),
       layernorm<bf16, false>)
KERNEL(256, layernorm_f32_wide,
       (float *y, float *statistics, const float *x, const void *weight, const void *bias,
        uint32_t weight_dtype, uint32_t bias_dtype, uint32_t rows, uint32_t cols, float epsilon),
       (y, statistics, x, weight, bias, weight_dtype, bias_dtype, rows, cols, epsilon),
       layernorm<float, true>)
KERNEL(256, layernorm_f16_wide,
       (f16 * y, float *statistics, const f16 *x, const void *weight, const void *bias,
        uint32_t weight_dtype, uint32_t bias_dtype, uint32_t rows, uint32_t cols, float epsilon),
       (y, statistics, x, weight, bias, weight_dtype, bias_dtype, rows, cols, epsilon),
       layernorm<f16, true>)
KERNEL(256, layernorm_bf16_wide,
       (bf16 * y, float *statistics, const bf16 *x, const void *weight, const void *bias,
        uint32_t weight_dtype, uint32_t bias_dtype, uint32_t rows, uint32_t cols, float epsilon),
       (y, statistics, x, weight, bias, weight_dtype, bias_dtype, rows, cols, epsilon),
       layernorm<bf16, true>)

KERNEL(256, layernorm_backward_f32,
       (float *dx, const float *dy, const float *x, const void *weight, const float *statistics,
        uint32_t weight_dtype, uint32_t rows, uint32_t cols, uint32_t add),
       (dx, dy, x, weight, statistics, weight_dtype, rows, cols, add),
       layernorm_backward<float, false>)
KERNEL(256, layernorm_backward_f16,
       (f16 * dx, const f16 *dy, const f16 *x, const void *weight, const float *statistics,
        uint32_t weight_dtype, uint32_t rows, uint32_t cols, uint32_t add),
       (dx, dy, x, weight, statistics, weight_dtype, rows, cols, add),
       layernorm_backward<f16, false>)
KERNEL(256, layernorm_backward_bf16,
       (bf16 * dx, const bf16 *dy, const bf16 *x, const void *weight, const float *statistics,
        uint32_t weight_dtype, uint32_t rows, uint32_t cols, uint32_t add),
       (dx, dy, x, weight, statistics, weight_dtype, rows, cols, add),
       layernorm_backward<bf16, false>)
KERNEL(256, layernorm_backward_f32_wide,
       (float *dx, const float *dy, const float *x, const void *weight, const float *statistics,
        uint32_t weight_dtype, uint32_t rows, uint32_t cols, uint32_t add),
       (dx, dy, x, weight, statistics, weight_dtype, rows, cols, add),
       layernorm_backward<float, true>)
KERNEL(256, layernorm_backward_f16_wide,
       (f16 * dx, const f16 *dy, const f16 *x, const void *weight, const float *statistics,
        uint32_t weight_dtype, uint32_t rows, uint32_t cols, uint32_t add),
       (dx, dy, x, weight, statistics, weight_dtype, rows, cols, add),
       layernorm_backward<f16, true>)
KERNEL(256, layernorm_backward_bf16_wide,
       (bf16 * dx, const bf16 *dy, const bf16 *x, const void *weight, const float *statistics,
        uint32_t weight_dtype, uint32_t rows, uint32_t cols, uint32_t add),
       (dx, dy, x, weight, statistics, weight_dtype, rows, cols, add),
       layernorm_backward<bf16, true>)

KERNEL(64, layernorm_parameters_f32,
       (float *partial, const float *dy, const float *x, const float *statistics, uint32_t rows,
        uint32_t cols),
       (partial, dy, x, statistics, rows, cols), layernorm_parameters<float, 1>)
KERNEL(64, layernorm_parameters_f32_wide,
       (float *partial, const float *dy, const float *x, const float *statistics, uint32_t rows,
        uint32_t cols),
       (partial, dy, x, statistics, rows, cols), layernorm_parameters<float, 4>)
KERNEL(64, layernorm_parameters_f16,
       (float *partial, const f16 *dy, const f16 *x, const float *statistics, uint32_t rows,
        uint32_t cols),
       (partial, dy, x, statistics, rows, cols), layernorm_parameters<f16, 1>)
KERNEL(64, layernorm_parameters_f16_wide,
       (float *partial, const f16 *dy, const f16 *x, const float *statistics, uint32_t rows,
        uint32_t cols),
       (partial, dy, x, statistics, rows, cols), layernorm_parameters<f16, 8>)
KERNEL(64, layernorm_parameters_bf16,
       (float *partial, const bf16 *dy, const bf16 *x, const float *statistics, uint32_t rows,
        uint32_t cols),
       (partial, dy, x, statistics, rows, cols), layernorm_parameters<bf16, 1>)
KERNEL(64, layernorm_parameters_bf16_wide,
       (float *partial, const bf16 *dy, const bf16 *x, const float *statistics, uint32_t rows,
        uint32_t cols),
       (partial, dy, x, statistics, rows, cols), layernorm_parameters<bf16, 8>)
KERNEL(64, layernorm_collect,
       (float *d_weight, float *d_bias, const float *partial, uint32_t chunks, uint32_t cols),
       (d_weight, d_bias, partial, chunks, cols), collect)

// Layer normalisation: a block a row; what of a row fits in registers is read once, where it can be
// read 16 bytes at a time.
#include "entry.cuh"
#include "reduce.cuh"
#include "vector.cuh"

/// Groups of 16 bytes of a row that each thread holds in registers: 8192 columns of 16 bits, 4096
/// of 32.
constexpr uint32_t GROUPS = 4;

/// A thread's share of a row: groups of V neighbouring columns, dealt out in turn. WIDE says how
/// they are read and written and whether some are held in registers, not which they are: the order
/// of each sum is decided by cols alone.
template <class T, bool WIDE>
struct Share {
  static constexpr int V = PerVector<T>::COUNT;
  static constexpr uint32_t STEP = NORM_THREADS * V, HELD = WIDE ? GROUPS : 0;
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
static __device__ void layernorm(const Layernorm<T> args) {
  constexpr int V = PerVector<T>::COUNT;
  using Row = Share<T, WIDE>;
  float *room = reinterpret_cast<float *>(shared_memory());
  for (uint64_t r = blockIdx.x; r < args.rows; r += gridDim.x) {
    const T *from = args.x + r * args.cols;
    Row row;
    row.read(from, args.cols);
    float sum = 0.0f;
    Row::each(args.cols, [&](uint32_t i, uint32_t c) {
      float a[V];
      row.get(a, from, i, c, args.cols);
#pragma unroll
      for (int v = 0; v < V; ++v) sum += a[v];
    });
    const float mean = block_sum(sum, room) / float(args.cols);
    sum = 0.0f;
    Row::each(args.cols, [&](uint32_t i, uint32_t c) {
      float a[V];
      row.get(a, from, i, c, args.cols);
#pragma unroll
      for (int v = 0; v < V; ++v)
        if (WIDE || c + v < args.cols) sum = fmaf(a[v] - mean, a[v] - mean, sum);
    });
    const float inverse = 1.0f / sqrtf(block_sum(sum, room) / float(args.cols) + args.epsilon);
    if (threadIdx.x == 0) {
      args.statistics[2 * r] = mean;
      args.statistics[2 * r + 1] = inverse;
    }
    Row::each(args.cols, [&](uint32_t i, uint32_t c) {
      float a[V], w[V], b[V];
      row.get(a, from, i, c, args.cols);
      load_part_any<WIDE>(w, args.weight, c, args.cols, args.weight_dtype, 0.0f);
      load_part_any<WIDE>(b, args.bias, c, args.cols, args.bias_dtype, 0.0f);
#pragma unroll
      for (int v = 0; v < V; ++v) a[v] = fmaf((a[v] - mean) * inverse, w[v], b[v]);
      store_part<WIDE>(args.y + r * args.cols, c, args.cols, a);
    });
  }
}

/// dx (set or add) = inverse·(g - mean(g) - x̂·mean(g·x̂)) with g = dy·weight and x̂ = (x -
/// mean)·inverse.
template <class T, bool WIDE>
static __device__ void layernorm_backward(const LayernormBackward<T> args) {
  constexpr int V = PerVector<T>::COUNT;
  using Row = Share<T, WIDE>;
  float *room = reinterpret_cast<float *>(shared_memory());
  for (uint64_t r = blockIdx.x; r < args.rows; r += gridDim.x) {
    const T *of_x = args.x + r * args.cols, *of_dy = args.dy + r * args.cols;
    T *to = args.dx + r * args.cols;
    Row row, slopes, old;
    row.read(of_x, args.cols);
    slopes.read(of_dy, args.cols);
    // Under way while the sums are made.
    if (args.add) old.read(to, args.cols);
    const float mean = args.statistics[2 * r], inverse = args.statistics[2 * r + 1];
    float sum_g = 0.0f, sum_gx = 0.0f;
    Row::each(args.cols, [&](uint32_t i, uint32_t c) {
      float a[V], d[V], w[V];
      row.get(a, of_x, i, c, args.cols);
      slopes.get(d, of_dy, i, c, args.cols);
      load_part_any<WIDE>(w, args.weight, c, args.cols, args.weight_dtype, 0.0f);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        sum_g = fmaf(d[v], w[v], sum_g);
        sum_gx = fmaf((a[v] - mean) * inverse, d[v] * w[v], sum_gx);
      }
    });
    const float mean_g = block_sum(sum_g, room) / float(args.cols),
                mean_gx = block_sum(sum_gx, room) / float(args.cols);
    Row::each(args.cols, [&](uint32_t i, uint32_t c) {
      float a[V], d[V], w[V], before[V];
      row.get(a, of_x, i, c, args.cols);
      slopes.get(d, of_dy, i, c, args.cols);
      load_part_any<WIDE>(w, args.weight, c, args.cols, args.weight_dtype, 0.0f);
      if (args.add) old.get(before, to, i, c, args.cols);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const float value = fmaf(-(a[v] - mean) * inverse, mean_gx, fmaf(d[v], w[v], -mean_g));
        a[v] = args.add ? fmaf(inverse, value, before[v]) : inverse * value;
      }
      store_part<WIDE>(to, c, args.cols, a);
    });
  }
}

/// partial[chunk] = (Σ dy·x̂, Σ dy) over the chunk's rows, `[chunks, 2, cols]`; a thread V columns.
template <class T, int V>
static __device__ void layernorm_parameters(const LayernormParameters<T> args) {
  const uint32_t c = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  if (c >= args.cols) return;
  const uint64_t first = uint64_t(blockIdx.y) * NORM_CHUNK;
  const uint64_t end = first + NORM_CHUNK < args.rows ? first + NORM_CHUNK : args.rows;
  float weight[V], bias[V];
#pragma unroll
  for (int v = 0; v < V; ++v) weight[v] = bias[v] = 0.0f;
#pragma unroll 4
  for (uint64_t r = first; r < end; ++r) {
    float a[V], d[V];
    load_many<V>(a, args.x + r * args.cols + c);
    load_many<V>(d, args.dy + r * args.cols + c);
    const float mean = args.statistics[2 * r], inverse = args.statistics[2 * r + 1];
#pragma unroll
    for (int v = 0; v < V; ++v) {
      weight[v] = fmaf((a[v] - mean) * inverse, d[v], weight[v]);
      bias[v] += d[v];
    }
  }
  float *to = args.partial + uint64_t(blockIdx.y) * 2 * args.cols + c;
  store_many<V>(to, weight);
  store_many<V>(to + args.cols, bias);
}

/// Adds the chunks' sums in their order; a thread one of the 2·cols sums.
static __device__ void collect(const LayernormCollect args) {
  const uint64_t c = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= 2 * uint64_t(args.cols)) return;
  float *to = c < args.cols ? args.d_weight + c : args.d_bias + (c - args.cols);
  float sum = *to;
#pragma unroll 8
  for (uint64_t chunk = 0; chunk < args.chunks; ++chunk)
    sum += args.partial[chunk * 2 * args.cols + c];
  *to = sum;
}

// layernorm: 256 threads, 64 registers, 128 bytes, 4 blocks a processor
// bound by dram (lsu 74 %, l2 63 %, shared 35 %, issue 17 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(NORM_THREADS, layernorm_f32, Layernorm<float>, layernorm<float, false>)
KERNEL(NORM_THREADS, layernorm_f16, Layernorm<f16>, layernorm<f16, false>)
KERNEL(NORM_THREADS, layernorm_bf16, Layernorm<bf16>, layernorm<bf16, false>)
KERNEL(NORM_THREADS, layernorm_f32_wide, Layernorm<float>, layernorm<float, true>)
KERNEL(NORM_THREADS, layernorm_f16_wide, Layernorm<f16>, layernorm<f16, true>)
KERNEL(NORM_THREADS, layernorm_bf16_wide, Layernorm<bf16>, layernorm<bf16, true>)

// layernorm_backward: 256 threads, 110 registers, 128 bytes, 2 blocks a processor
// bound by dram (lsu 62 %, l2 57 %, shared 27 %, issue 14 %)
// predicted on an A100: 70 % of DRAM's rate, waits 50 %
KERNEL(NORM_THREADS, layernorm_backward_f32, LayernormBackward<float>,
       layernorm_backward<float, false>)
KERNEL(NORM_THREADS, layernorm_backward_f16, LayernormBackward<f16>, layernorm_backward<f16, false>)
KERNEL(NORM_THREADS, layernorm_backward_bf16, LayernormBackward<bf16>,
       layernorm_backward<bf16, false>)
KERNEL(NORM_THREADS, layernorm_backward_f32_wide, LayernormBackward<float>,
       layernorm_backward<float, true>)
KERNEL(NORM_THREADS, layernorm_backward_f16_wide, LayernormBackward<f16>,
       layernorm_backward<f16, true>)
KERNEL(NORM_THREADS, layernorm_backward_bf16_wide, LayernormBackward<bf16>,
       layernorm_backward<bf16, true>)

// layernorm_parameters: 64 threads, 43 registers, 21 blocks a processor
// bound by dram (l2 31 %, lsu 13 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(64, layernorm_parameters_f32, LayernormParameters<float>, layernorm_parameters<float, 1>)
KERNEL(64, layernorm_parameters_f32_wide, LayernormParameters<float>,
       layernorm_parameters<float, 4>)
KERNEL(64, layernorm_parameters_f16, LayernormParameters<f16>, layernorm_parameters<f16, 1>)
KERNEL(64, layernorm_parameters_f16_wide, LayernormParameters<f16>, layernorm_parameters<f16, 8>)
KERNEL(64, layernorm_parameters_bf16, LayernormParameters<bf16>, layernorm_parameters<bf16, 1>)
KERNEL(64, layernorm_parameters_bf16_wide, LayernormParameters<bf16>, layernorm_parameters<bf16, 8>)

// layernorm_collect: 64 threads, 30 registers, 32 blocks a processor
// bound by dram (l2 26 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(64, layernorm_collect, LayernormCollect, collect)

// Layer normalisation: a block a row; the row comes from memory once and from the cache after that.
#include "entry.cuh"
#include "reduce.cuh"
#include "vector.cuh"

/// y = (x - mean)·inverse·weight + bias; statistics[r] = (mean, inverse). V elements a thread and step, so the order of each sum
/// is decided by cols alone.
template <class T, int V>
static __device__ void layernorm(T *y, float *statistics, const T *x, const void *weight, const void *bias, uint32_t weight_dtype,
                                 uint32_t bias_dtype, uint32_t rows, uint32_t cols, float epsilon) {
  float *room = reinterpret_cast<float *>(shared_memory());
  for (uint64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const T *row = x + r * cols;
    float sum = 0.0f;
    for (uint32_t c = threadIdx.x * V; c < cols; c += blockDim.x * V) {
      float a[V];
      load_many<V>(a, row + c);
#pragma unroll
      for (int v = 0; v < V; ++v) sum += a[v];
    }
    const float mean = block_sum(sum, room) / float(cols);
    sum = 0.0f;
    for (uint32_t c = threadIdx.x * V; c < cols; c += blockDim.x * V) {
      float a[V];
      load_many<V>(a, row + c);
#pragma unroll
      for (int v = 0; v < V; ++v) sum = fmaf(a[v] - mean, a[v] - mean, sum);
    }
    const float inverse = 1.0f / sqrtf(block_sum(sum, room) / float(cols) + epsilon);
    if (threadIdx.x == 0) {
      statistics[2 * r] = mean;
      statistics[2 * r + 1] = inverse;
    }
    for (uint32_t c = threadIdx.x * V; c < cols; c += blockDim.x * V) {
      float a[V];
      load_many<V>(a, row + c);
#pragma unroll
      for (int v = 0; v < V; ++v)
        a[v] = fmaf((a[v] - mean) * inverse, load_any(weight, c + v, weight_dtype), load_any(bias, c + v, bias_dtype));
      store_many<V>(y + r * cols + c, a);
    }
  }
}

/// dx (set or add) = inverse·(g - mean(g) - x̂·mean(g·x̂)) with g = dy·weight and x̂ = (x - mean)·inverse.
template <class T, int V>
static __device__ void layernorm_backward(T *dx, const T *dy, const T *x, const void *weight, const float *statistics, uint32_t weight_dtype,
                                          uint32_t rows, uint32_t cols, uint32_t add) {
  float *room = reinterpret_cast<float *>(shared_memory());
  for (uint64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const float mean = statistics[2 * r], inverse = statistics[2 * r + 1];
    float sum_g = 0.0f, sum_gx = 0.0f;
    for (uint32_t c = threadIdx.x * V; c < cols; c += blockDim.x * V) {
      float a[V], d[V];
      load_many<V>(a, x + r * cols + c);
      load_many<V>(d, dy + r * cols + c);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const float g = d[v] * load_any(weight, c + v, weight_dtype);
        sum_g += g;
        sum_gx = fmaf((a[v] - mean) * inverse, g, sum_gx);
      }
    }
    const float mean_g = block_sum(sum_g, room) / float(cols), mean_gx = block_sum(sum_gx, room) / float(cols);
    for (uint32_t c = threadIdx.x * V; c < cols; c += blockDim.x * V) {
      float a[V], d[V], old[V];
      load_many<V>(a, x + r * cols + c);
      load_many<V>(d, dy + r * cols + c);
      if (add) load_many<V>(old, static_cast<const T *>(dx + r * cols + c));
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const float normed = (a[v] - mean) * inverse;
        const float value = inverse * fmaf(-normed, mean_gx, fmaf(d[v], load_any(weight, c + v, weight_dtype), -mean_g));
        a[v] = add ? old[v] + value : value;
      }
      store_many<V>(dx + r * cols + c, a);
    }
  }
}

/// Rows whose parameter gradients are summed in one go; fixed, so that the order of addition is.
constexpr uint32_t CHUNK = 64;

/// partial[chunk] = (Σ dy·x̂, Σ dy) over the chunk's rows, `[chunks, 2, cols]`; a thread a column.
template <class T>
static __device__ void layernorm_parameters(float *partial, const T *dy, const T *x, const float *statistics, uint32_t rows, uint32_t cols) {
  const uint32_t c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= cols) return;
  const uint64_t first = uint64_t(blockIdx.y) * CHUNK;
  float weight = 0.0f, bias = 0.0f;
  for (uint64_t r = first; r < first + CHUNK && r < rows; ++r) {
    const float d = wide(dy[r * cols + c]);
    weight = fmaf((wide(x[r * cols + c]) - statistics[2 * r]) * statistics[2 * r + 1], d, weight);
    bias += d;
  }
  partial[uint64_t(blockIdx.y) * 2 * cols + c] = weight;
  partial[(uint64_t(blockIdx.y) * 2 + 1) * cols + c] = bias;
}

/// Adds the chunks' sums in their order.
static __device__ void collect(float *d_weight, float *d_bias, const float *partial, uint32_t chunks, uint32_t cols) {
  const uint32_t c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= cols) return;
  float weight = d_weight[c], bias = d_bias[c];
  for (uint64_t chunk = 0; chunk < chunks; ++chunk) {
    weight += partial[chunk * 2 * cols + c];
    bias += partial[(chunk * 2 + 1) * cols + c];
  }
  d_weight[c] = weight;
  d_bias[c] = bias;
}

// clang-format off
KERNEL(256, layernorm_f32, (float *y, float *statistics, const float *x, const void *weight, const void *bias, uint32_t weight_dtype, uint32_t bias_dtype, uint32_t rows, uint32_t cols, float epsilon), (y, statistics, x, weight, bias, weight_dtype, bias_dtype, rows, cols, epsilon), layernorm<float, 1>)
KERNEL(256, layernorm_f16, (f16 *y, float *statistics, const f16 *x, const void *weight, const void *bias, uint32_t weight_dtype, uint32_t bias_dtype, uint32_t rows, uint32_t cols, float epsilon), (y, statistics, x, weight, bias, weight_dtype, bias_dtype, rows, cols, epsilon), layernorm<f16, 1>)
KERNEL(256, layernorm_bf16, (bf16 *y, float *statistics, const bf16 *x, const void *weight, const void *bias, uint32_t weight_dtype, uint32_t bias_dtype, uint32_t rows, uint32_t cols, float epsilon), (y, statistics, x, weight, bias, weight_dtype, bias_dtype, rows, cols, epsilon), layernorm<bf16, 1>)
KERNEL(256, layernorm_f32_wide, (float *y, float *statistics, const float *x, const void *weight, const void *bias, uint32_t weight_dtype, uint32_t bias_dtype, uint32_t rows, uint32_t cols, float epsilon), (y, statistics, x, weight, bias, weight_dtype, bias_dtype, rows, cols, epsilon), layernorm<float, 4>)
KERNEL(256, layernorm_f16_wide, (f16 *y, float *statistics, const f16 *x, const void *weight, const void *bias, uint32_t weight_dtype, uint32_t bias_dtype, uint32_t rows, uint32_t cols, float epsilon), (y, statistics, x, weight, bias, weight_dtype, bias_dtype, rows, cols, epsilon), layernorm<f16, 8>)
KERNEL(256, layernorm_bf16_wide, (bf16 *y, float *statistics, const bf16 *x, const void *weight, const void *bias, uint32_t weight_dtype, uint32_t bias_dtype, uint32_t rows, uint32_t cols, float epsilon), (y, statistics, x, weight, bias, weight_dtype, bias_dtype, rows, cols, epsilon), layernorm<bf16, 8>)

KERNEL(256, layernorm_backward_f32, (float *dx, const float *dy, const float *x, const void *weight, const float *statistics, uint32_t weight_dtype, uint32_t rows, uint32_t cols, uint32_t add), (dx, dy, x, weight, statistics, weight_dtype, rows, cols, add), layernorm_backward<float, 1>)
KERNEL(256, layernorm_backward_f16, (f16 *dx, const f16 *dy, const f16 *x, const void *weight, const float *statistics, uint32_t weight_dtype, uint32_t rows, uint32_t cols, uint32_t add), (dx, dy, x, weight, statistics, weight_dtype, rows, cols, add), layernorm_backward<f16, 1>)
KERNEL(256, layernorm_backward_bf16, (bf16 *dx, const bf16 *dy, const bf16 *x, const void *weight, const float *statistics, uint32_t weight_dtype, uint32_t rows, uint32_t cols, uint32_t add), (dx, dy, x, weight, statistics, weight_dtype, rows, cols, add), layernorm_backward<bf16, 1>)
KERNEL(256, layernorm_backward_f32_wide, (float *dx, const float *dy, const float *x, const void *weight, const float *statistics, uint32_t weight_dtype, uint32_t rows, uint32_t cols, uint32_t add), (dx, dy, x, weight, statistics, weight_dtype, rows, cols, add), layernorm_backward<float, 4>)
KERNEL(256, layernorm_backward_f16_wide, (f16 *dx, const f16 *dy, const f16 *x, const void *weight, const float *statistics, uint32_t weight_dtype, uint32_t rows, uint32_t cols, uint32_t add), (dx, dy, x, weight, statistics, weight_dtype, rows, cols, add), layernorm_backward<f16, 8>)
KERNEL(256, layernorm_backward_bf16_wide, (bf16 *dx, const bf16 *dy, const bf16 *x, const void *weight, const float *statistics, uint32_t weight_dtype, uint32_t rows, uint32_t cols, uint32_t add), (dx, dy, x, weight, statistics, weight_dtype, rows, cols, add), layernorm_backward<bf16, 8>)

KERNEL(256, layernorm_parameters_f32, (float *partial, const float *dy, const float *x, const float *statistics, uint32_t rows, uint32_t cols), (partial, dy, x, statistics, rows, cols), layernorm_parameters<float>)
KERNEL(256, layernorm_parameters_f16, (float *partial, const f16 *dy, const f16 *x, const float *statistics, uint32_t rows, uint32_t cols), (partial, dy, x, statistics, rows, cols), layernorm_parameters<f16>)
KERNEL(256, layernorm_parameters_bf16, (float *partial, const bf16 *dy, const bf16 *x, const float *statistics, uint32_t rows, uint32_t cols), (partial, dy, x, statistics, rows, cols), layernorm_parameters<bf16>)
KERNEL(256, layernorm_collect, (float *d_weight, float *d_bias, const float *partial, uint32_t chunks, uint32_t cols), (d_weight, d_bias, partial, chunks, cols), collect)

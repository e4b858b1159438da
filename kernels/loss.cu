// Softmax against targets: a block a row, columns walked in one fixed order.
#include "entry.cuh"
#include "reduce.cuh"
#include "vector.cuh"

/// max and Σ exp(x - max) of a row, in every thread.
template <class T, int V>
static __device__ __forceinline__ float row_max(const T *row, uint32_t cols, float *room) {
  float most = bits_to_float(0xff800000u);
  for (uint32_t c = threadIdx.x * V; c < cols; c += blockDim.x * V) {
    float a[V];
    load_many<V>(a, row + c);
#pragma unroll
    for (int v = 0; v < V; ++v) most = fmaxf(most, a[v]);
  }
  return block_max(most, room);
}

template <class T, int V>
static __device__ __forceinline__ float row_sum(const T *row, uint32_t cols, float max, float *room) {
  float sum = 0.0f;
  for (uint32_t c = threadIdx.x * V; c < cols; c += blockDim.x * V) {
    float a[V];
    load_many<V>(a, row + c);
#pragma unroll
    for (int v = 0; v < V; ++v) sum += expf(a[v] - max);
  }
  return block_sum(sum, room);
}

/// loss[r] = log Σ exp(row) - row[target]; the row becomes weight·(softmax - one-hot). A target that is no column makes NaN.
template <class T, int V>
static __device__ void cross_entropy(float *loss, T *logits, const uint32_t *targets, const float *weights, uint32_t rows, uint32_t cols) {
  float *room = reinterpret_cast<float *>(shared_memory());
  for (uint64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    T *row = logits + r * cols;
    const uint32_t target = targets[r];
    const float logit = target < cols ? wide(row[target]) : bits_to_float(0x7fc00000u);
    const float max = row_max<T, V>(row, cols, room);
    const float sum = row_sum<T, V>(row, cols, max, room);
    // The barriers of the sums stand between every thread's look at the target and the first write.
    const float weight = weights[r], scale = weight / sum;
    if (threadIdx.x == 0) loss[r] = logf(sum) - (logit - max);
    for (uint32_t c = threadIdx.x * V; c < cols; c += blockDim.x * V) {
      float a[V];
      load_many<V>(a, static_cast<const T *>(row + c));
#pragma unroll
      for (int v = 0; v < V; ++v) a[v] = expf(a[v] - max) * scale - (c + v == target ? weight : 0.0f);
      store_many<V>(row + c, a);
    }
  }
}

/// y[j] = log_softmax(logits[r])[ids[j]] for j in first[r]..first[r + 1]. An id that is no column makes NaN.
template <class T, int V>
static __device__ void log_probs_at(float *y, const T *logits, const uint32_t *first, const uint32_t *ids, uint32_t rows, uint32_t cols) {
  float *room = reinterpret_cast<float *>(shared_memory());
  for (uint64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const uint32_t from = first[r], to = first[r + 1];
    if (from == to) continue;
    const T *row = logits + r * cols;
    const float max = row_max<T, V>(row, cols, room);
    const float log_sum = logf(row_sum<T, V>(row, cols, max, room));
    for (uint32_t j = from + threadIdx.x; j < to; j += blockDim.x) {
      const uint32_t id = ids[j];
      y[j] = id < cols ? wide(row[id]) - max - log_sum : bits_to_float(0x7fc00000u);
    }
  }
}

// clang-format off
KERNEL(512, cross_entropy_f32, (float *loss, float *logits, const uint32_t *targets, const float *weights, uint32_t rows, uint32_t cols), (loss, logits, targets, weights, rows, cols), cross_entropy<float, 1>)
KERNEL(512, cross_entropy_f16, (float *loss, f16 *logits, const uint32_t *targets, const float *weights, uint32_t rows, uint32_t cols), (loss, logits, targets, weights, rows, cols), cross_entropy<f16, 1>)
KERNEL(512, cross_entropy_bf16, (float *loss, bf16 *logits, const uint32_t *targets, const float *weights, uint32_t rows, uint32_t cols), (loss, logits, targets, weights, rows, cols), cross_entropy<bf16, 1>)
KERNEL(512, cross_entropy_f32_wide, (float *loss, float *logits, const uint32_t *targets, const float *weights, uint32_t rows, uint32_t cols), (loss, logits, targets, weights, rows, cols), cross_entropy<float, 4>)
KERNEL(512, cross_entropy_f16_wide, (float *loss, f16 *logits, const uint32_t *targets, const float *weights, uint32_t rows, uint32_t cols), (loss, logits, targets, weights, rows, cols), cross_entropy<f16, 8>)
KERNEL(512, cross_entropy_bf16_wide, (float *loss, bf16 *logits, const uint32_t *targets, const float *weights, uint32_t rows, uint32_t cols), (loss, logits, targets, weights, rows, cols), cross_entropy<bf16, 8>)

KERNEL(512, log_probs_at_f32, (float *y, const float *logits, const uint32_t *first, const uint32_t *ids, uint32_t rows, uint32_t cols), (y, logits, first, ids, rows, cols), log_probs_at<float, 1>)
KERNEL(512, log_probs_at_f16, (float *y, const f16 *logits, const uint32_t *first, const uint32_t *ids, uint32_t rows, uint32_t cols), (y, logits, first, ids, rows, cols), log_probs_at<f16, 1>)
KERNEL(512, log_probs_at_bf16, (float *y, const bf16 *logits, const uint32_t *first, const uint32_t *ids, uint32_t rows, uint32_t cols), (y, logits, first, ids, rows, cols), log_probs_at<bf16, 1>)
KERNEL(512, log_probs_at_f32_wide, (float *y, const float *logits, const uint32_t *first, const uint32_t *ids, uint32_t rows, uint32_t cols), (y, logits, first, ids, rows, cols), log_probs_at<float, 4>)
KERNEL(512, log_probs_at_f16_wide, (float *y, const f16 *logits, const uint32_t *first, const uint32_t *ids, uint32_t rows, uint32_t cols), (y, logits, first, ids, rows, cols), log_probs_at<f16, 8>)
KERNEL(512, log_probs_at_bf16_wide, (float *y, const bf16 *logits, const uint32_t *first, const uint32_t *ids, uint32_t rows, uint32_t cols), (y, logits, first, ids, rows, cols), log_probs_at<bf16, 8>)

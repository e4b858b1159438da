// Softmax against targets: a block a row, columns walked in one fixed order, the row read once for
// its sum.
#include "entry.cuh"
#include "reduce.cuh"
#include "vector.cuh"

/// What is taken off before exp: the maximum, or nothing where all is -∞ as yet, for -∞ less -∞ is
/// not a number.
static __device__ __forceinline__ float base_of(float max) {
  return max == bits_to_float(0xff800000u) ? 0.0f : max;
}

struct Softmax {
  float max, sum;
};

/// max and Σ exp(x - max) of a row, in every thread. A thread's sum is kept to the largest it has
/// met so far, and the threads' sums are brought to the largest of all before they are added. WIDE
/// says how the columns are read, not which thread has them.
template <class T, bool WIDE>
static __device__ __forceinline__ Softmax softmax(const T *row, uint32_t cols, float *room) {
  constexpr int V = PerVector<T>::COUNT;
  const float nothing = bits_to_float(0xff800000u);
  float max = nothing, sum = 0.0f;
#pragma unroll 2
  for (uint32_t c = threadIdx.x * V; c < cols; c += blockDim.x * V) {
    float a[V];
    load_part<WIDE>(a, row, c, cols, nothing);
    float most = max;
#pragma unroll
    for (int v = 0; v < V; ++v) most = fmaxf(most, a[v]);
    const float base = base_of(most);
    float part = 0.0f;
#pragma unroll
    for (int v = 0; v < V; ++v) part += expf(a[v] - base);
    sum = fmaf(sum, most > max ? expf(max - base) : 1.0f, part);
    max = most;
  }
  const float most = block_max(max, room);
  return Softmax{most, block_sum(sum * expf(max - base_of(most)), room)};
}

/// loss[r] = log Σ exp(row) - row[target]; the row becomes weight·(softmax - one-hot). A target
/// that is no column makes both NaN.
template <class T, bool WIDE>
static __device__ void cross_entropy(float *loss, T *logits, const uint32_t *targets,
                                     const float *weights, uint32_t rows, uint32_t cols) {
  constexpr int V = PerVector<T>::COUNT;
  float *room = reinterpret_cast<float *>(shared_memory());
  for (uint64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    T *row = logits + r * cols;
    const uint32_t target = targets[r];
    const float logit = target < cols ? wide(row[target]) : bits_to_float(0x7fc00000u);
    const Softmax of = softmax<T, WIDE>(row, cols, room);
    // The barriers of the sums stand between every thread's look at the target and the first write.
    const float weight = weights[r],
                scale = target < cols ? weight / of.sum : bits_to_float(0x7fc00000u);
    if (threadIdx.x == 0) loss[r] = logf(of.sum) - (logit - of.max);
    for (uint32_t c = threadIdx.x * V; c < cols; c += blockDim.x * V) {
      float a[V];
      load_part<WIDE>(a, static_cast<const T *>(row), c, cols, 0.0f);
#pragma unroll
      for (int v = 0; v < V; ++v)
        a[v] = fmaf(expf(a[v] - of.max), scale, c + v == target ? -weight : 0.0f);
      store_part<WIDE>(row, c, cols, a);
    }
  }
}

/// y[j] = log_softmax(logits[r])[ids[j]] for j in first[r]..first[r + 1]. An id that is no column
/// makes NaN.
template <class T, bool WIDE>
static __device__ void log_probs_at(float *y, const T *logits, const uint32_t *first,
                                    const uint32_t *ids, uint32_t rows, uint32_t cols) {
  float *room = reinterpret_cast<float *>(shared_memory());
  for (uint64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const uint32_t from = first[r], to = first[r + 1];
    if (from == to) continue;
    const T *row = logits + r * cols;
    const Softmax of = softmax<T, WIDE>(row, cols, room);
    const float log_sum = logf(of.sum);
    for (uint32_t j = from + threadIdx.x; j < to; j += blockDim.x) {
      const uint32_t id = ids[j];
      y[j] = id < cols ? wide(row[id]) - of.max - log_sum : bits_to_float(0x7fc00000u);
    }
  }
}

KERNEL(512, cross_entropy_f32,
       (float *loss, float *logits, const uint32_t *targets, const float *weights, uint32_t rows,
        uint32_t cols),
       (loss, logits, targets, weights, rows, cols), cross_entropy<float, false>)
KERNEL(512, cross_entropy_f16,
       (float *loss, f16 *logits, const uint32_t *targets, const float *weights, uint32_t rows,
        uint32_t cols),
       (loss, logits, targets, weights, rows, cols), cross_entropy<f16, false>)
KERNEL(512, cross_entropy_bf16,
       (float *loss, bf16 *logits, const uint32_t *targets, const float *weights, uint32_t rows,
        uint32_t cols),
       (loss, logits, targets, weights, rows, cols), cross_entropy<bf16, false>)
KERNEL(512, cross_entropy_f32_wide,
       (float *loss, float *logits, const uint32_t *targets, const float *weights, uint32_t rows,
        uint32_t cols),
       (loss, logits, targets, weights, rows, cols), cross_entropy<float, true>)
KERNEL(512, cross_entropy_f16_wide,
       (float *loss, f16 *logits, const uint32_t *targets, const float *weights, uint32_t rows,
        uint32_t cols),
       (loss, logits, targets, weights, rows, cols), cross_entropy<f16, true>)
KERNEL(512, cross_entropy_bf16_wide,
       (float *loss, bf16 *logits, const uint32_t *targets, const float *weights, uint32_t rows,
        uint32_t cols),
       (loss, logits, targets, weights, rows, cols), cross_entropy<bf16, true>)

KERNEL(512, log_probs_at_f32,
       (float *y, const float *logits, const uint32_t *first, const uint32_t *ids, uint32_t rows,
        uint32_t cols),
       (y, logits, first, ids, rows, cols), log_probs_at<float, false>)
KERNEL(512, log_probs_at_f16,
       (float *y, const f16 *logits, const uint32_t *first, const uint32_t *ids, uint32_t rows,
        uint32_t cols),
       (y, logits, first, ids, rows, cols), log_probs_at<f16, false>)
KERNEL(512, log_probs_at_bf16,
       (float *y, const bf16 *logits, const uint32_t *first, const uint32_t *ids, uint32_t rows,
        uint32_t cols),
       (y, logits, first, ids, rows, cols), log_probs_at<bf16, false>)
KERNEL(512, log_probs_at_f32_wide,
       (float *y, const float *logits, const uint32_t *first, const uint32_t *ids, uint32_t rows,
        uint32_t cols),
       (y, logits, first, ids, rows, cols), log_probs_at<float, true>)
KERNEL(512, log_probs_at_f16_wide,
       (float *y, const f16 *logits, const uint32_t *first, const uint32_t *ids, uint32_t rows,
        uint32_t cols),
       (y, logits, first, ids, rows, cols), log_probs_at<f16, true>)
KERNEL(512, log_probs_at_bf16_wide,
       (float *y, const bf16 *logits, const uint32_t *first, const uint32_t *ids, uint32_t rows,
        uint32_t cols),
       (y, logits, first, ids, rows, cols), log_probs_at<bf16, true>)

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

/// e^x, and e^(x/temperature).
struct Exp {
  __device__ __forceinline__ float operator()(float x) const { return expf(x); }
};
struct CooledExp {
  float temperature;
  __device__ __forceinline__ float operator()(float x) const { return expf(x / temperature); }
};

/// max and Σ power(x - max) of a row, in every thread. A thread's sum is kept to the largest it has
/// met so far, and the threads' sums are brought to the largest of all before they are added. WIDE
/// says how the columns are read, not which thread has them.
template <class T, bool WIDE, class Power>
static __device__ __forceinline__ Softmax softmax(const T *row, uint32_t cols, float *room,
                                                  Power power) {
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
    for (int v = 0; v < V; ++v) part += power(a[v] - base);
    sum = fmaf(sum, most > max ? power(max - base) : 1.0f, part);
    max = most;
  }
  const float most = block_max(max, room);
  return Softmax{most, block_sum(sum * power(max - base_of(most)), room)};
}

/// loss[r] = log Σ exp(row) - row[target]; the row becomes weight·(softmax - one-hot). A target
/// that is no column makes both NaN.
template <class T, bool WIDE>
static __device__ void cross_entropy(const CrossEntropy<T> args) {
  constexpr int V = PerVector<T>::COUNT;
  float *room = reinterpret_cast<float *>(shared_memory());
  for (uint64_t r = blockIdx.x; r < args.rows; r += gridDim.x) {
    T *row = args.logits + r * args.cols;
    const uint32_t target = args.targets[r];
    const float logit = target < args.cols ? wide(row[target]) : bits_to_float(0x7fc00000u);
    const Softmax of = softmax<T, WIDE>(row, args.cols, room, Exp{});
    // The barriers of the sums stand between every thread's look at the target and the first write.
    const float weight = args.weights[r],
                scale = target < args.cols ? weight / of.sum : bits_to_float(0x7fc00000u);
    if (threadIdx.x == 0) args.loss[r] = logf(of.sum) - (logit - of.max);
    for (uint32_t c = threadIdx.x * V; c < args.cols; c += blockDim.x * V) {
      float a[V];
      load_part<WIDE>(a, static_cast<const T *>(row), c, args.cols, 0.0f);
#pragma unroll
      for (int v = 0; v < V; ++v)
        a[v] = fmaf(expf(a[v] - of.max), scale, c + v == target ? -weight : 0.0f);
      store_part<WIDE>(row, c, args.cols, a);
    }
  }
}

/// Of row r the logits are z = logits[first[r]..first[r + 1]], p = softmax(z/temperature), q one at
/// its place or its shares: loss[r] = -temperature·Σ q·ln p; z becomes weight·(p - q). A place that
/// is no choice makes both NaN.
static __device__ void loss_among_few(const ChoiceLoss args) {
  constexpr int V = PerVector<float>::COUNT;
  float *room = reinterpret_cast<float *>(shared_memory());
  const CooledExp power{args.temperature};
  for (uint64_t r = blockIdx.x; r < args.rows; r += gridDim.x) {
    const uint32_t from = args.first[r], cols = args.first[r + 1] - from;
    if (cols == 0) {
      if (threadIdx.x == 0) args.loss[r] = 0.0f;
      continue;
    }
    float *row = args.logits + from;
    const float *shares = args.places ? nullptr : args.shares + from;
    const uint32_t place = args.places ? args.places[r] : 0;
    const bool there = place < cols;
    const Softmax of = softmax<float, false>(row, cols, room, power);
    const float weight = args.weights[r],
                scale = there ? weight / of.sum : bits_to_float(0x7fc00000u);
    // -temperature·ln p is how far a logit is below the largest, and the logarithm of the sum.
    float below = there ? 0.0f : bits_to_float(0x7fc00000u), whole = 0.0f;
    for (uint32_t c = threadIdx.x * V; c < cols; c += blockDim.x * V) {
      float a[V], q[V];
      load_part<false>(a, static_cast<const float *>(row), c, cols, 0.0f);
      if (shares) load_part<false>(q, shares, c, cols, 0.0f);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const float share = shares ? q[v] : c + v == place ? 1.0f : 0.0f;
        // A share of nothing may be asked of a logit of -∞.
        if (share != 0.0f) below = fmaf(share, of.max - a[v], below);
        whole += share;
        a[v] = fmaf(power(a[v] - of.max), scale, -weight * share);
      }
      store_part<false>(row, c, cols, a);
    }
    below = block_sum(below, room);
    whole = block_sum(whole, room);
    if (threadIdx.x == 0) args.loss[r] = fmaf(args.temperature * whole, logf(of.sum), below);
  }
}

/// Of row r the logits z = logits[first[r]..first[r + 1]] become log_softmax(z/temperature); where
/// one of them is no finite number, all become NaN.
static __device__ void log_probs_among_few(const ChoiceLogProbs args) {
  float *room = reinterpret_cast<float *>(shared_memory());
  const CooledExp power{args.temperature};
  for (uint64_t r = blockIdx.x; r < args.rows; r += gridDim.x) {
    const uint32_t from = args.first[r], cols = args.first[r + 1] - from;
    if (cols == 0) continue;
    float *row = args.logits + from;
    const Softmax of = softmax<float, false>(row, cols, room, power);
    // The sum does not see a logit of -∞.
    float least = of.max;
    for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) least = fminf(least, row[c]);
    least = -block_max(-least, room);
    const float log_sum =
        least == bits_to_float(0xff800000u) ? bits_to_float(0x7fc00000u) : logf(of.sum);
    for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x)
      row[c] = (row[c] - of.max) / args.temperature - log_sum;
  }
}

/// y[j] = log_softmax(logits[r])[ids[j]] for j in first[r]..first[r + 1]. An id that is no column
/// makes NaN.
template <class T, bool WIDE>
static __device__ void log_probs_at(const LogProbsAt<T> args) {
  float *room = reinterpret_cast<float *>(shared_memory());
  for (uint64_t r = blockIdx.x; r < args.rows; r += gridDim.x) {
    const uint32_t from = args.first[r], to = args.first[r + 1];
    if (from == to) continue;
    const T *row = args.logits + r * args.cols;
    const Softmax of = softmax<T, WIDE>(row, args.cols, room, Exp{});
    const float log_sum = logf(of.sum);
    for (uint32_t j = from + threadIdx.x; j < to; j += blockDim.x) {
      const uint32_t id = args.ids[j];
      args.y[j] = id < args.cols ? wide(row[id]) - of.max - log_sum : bits_to_float(0x7fc00000u);
    }
  }
}

// cross_entropy: 512 threads, 32 registers, 128 bytes, 4 blocks a processor
// bound by dram (exp 41 %, l2 40 %, lsu 26 %, shared 10 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(512, cross_entropy_f32, CrossEntropy<float>, cross_entropy<float, false>)
KERNEL(512, cross_entropy_f16, CrossEntropy<f16>, cross_entropy<f16, false>)
KERNEL(512, cross_entropy_bf16, CrossEntropy<bf16>, cross_entropy<bf16, false>)
KERNEL(512, cross_entropy_f32_wide, CrossEntropy<float>, cross_entropy<float, true>)
KERNEL(512, cross_entropy_f16_wide, CrossEntropy<f16>, cross_entropy<f16, true>)
KERNEL(512, cross_entropy_bf16_wide, CrossEntropy<bf16>, cross_entropy<bf16, true>)

// choice_loss: 512 threads, 32 registers, 128 bytes, 4 blocks a processor
// bound by lsu (shared 93 %, issue 35 %)
// predicted on an A100: 89 % of the load units' rate, waits 7 %
KERNEL(512, choice_loss, ChoiceLoss, loss_among_few)

// choice_log_probs: 512 threads, 30 registers, 128 bytes, 4 blocks a processor
// bound by lsu (shared 76 %, dram 62 %, l2 33 %, issue 33 %)
// predicted on an A100: 82 % of the load units' rate, waits 14 %
KERNEL(512, choice_log_probs, ChoiceLogProbs, log_probs_among_few)

// log_probs_at: 512 threads, 32 registers, 128 bytes, 4 blocks a processor
// bound by dram (exp 46 %, lsu 32 %, l2 27 %, shared 20 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(512, log_probs_at_f32, LogProbsAt<float>, log_probs_at<float, false>)
KERNEL(512, log_probs_at_f16, LogProbsAt<f16>, log_probs_at<f16, false>)
KERNEL(512, log_probs_at_bf16, LogProbsAt<bf16>, log_probs_at<bf16, false>)
KERNEL(512, log_probs_at_f32_wide, LogProbsAt<float>, log_probs_at<float, true>)
KERNEL(512, log_probs_at_f16_wide, LogProbsAt<f16>, log_probs_at<f16, true>)
KERNEL(512, log_probs_at_bf16_wide, LogProbsAt<bf16>, log_probs_at<bf16, true>)

// The largest elements of rows, a block a row.
#include "dtype.cuh"
#include "entry.cuh"
#include "reduce.cuh"

/// A value and its column. The order: larger values first, among equals the smaller column.
struct Candidate {
  float value;
  uint32_t column;
};

static __device__ __forceinline__ bool before(const Candidate &a, const Candidate &b) {
  return a.value > b.value || (a.value == b.value && a.column < b.column);
}

/// k rounds, in each the first candidate behind the one found before: nothing is marked, so the row stays as it is. What is not a
/// number counts as -∞.
template <class T>
static __device__ void top_k(float *values, uint32_t *columns, const T *x, uint32_t rows, uint32_t cols, uint32_t k) {
  Candidate *room = reinterpret_cast<Candidate *>(shared_memory());
  const float least = bits_to_float(0xff800000u);
  for (uint64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const T *row = x + r * cols;
    Candidate last = {0.0f, 0};
    for (uint32_t round = 0; round < k; ++round) {
      Candidate best = {least, 0xffffffffu};
      for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) {
        const float raw = wide(row[c]);
        const Candidate mine = {raw == raw ? raw : least, c};
        if ((round == 0 || before(last, mine)) && before(mine, best)) best = mine;
      }
#pragma unroll
      for (uint32_t flip = 16; flip > 0; flip >>= 1) {
        const Candidate other = {shuffle_xor(best.value, flip), shuffle_xor(best.column, flip)};
        if (before(other, best)) best = other;
      }
      if (lane_id() == 0) room[warp_id()] = best;
      __syncthreads();
      best = room[0];
      for (uint32_t w = 1; w < blockDim.x / 32; ++w)
        if (before(room[w], best)) best = room[w];
      __syncthreads();
      if (threadIdx.x == 0) {
        values[r * k + round] = best.value;
        columns[r * k + round] = best.column;
      }
      last = best;
    }
  }
}

// clang-format off
KERNEL(256, top_k_f32, (float *values, uint32_t *columns, const float *x, uint32_t rows, uint32_t cols, uint32_t k), (values, columns, x, rows, cols, k), top_k<float>)
KERNEL(256, top_k_f16, (float *values, uint32_t *columns, const f16 *x, uint32_t rows, uint32_t cols, uint32_t k), (values, columns, x, rows, cols, k), top_k<f16>)
KERNEL(256, top_k_bf16, (float *values, uint32_t *columns, const bf16 *x, uint32_t rows, uint32_t cols, uint32_t k), (values, columns, x, rows, cols, k), top_k<bf16>)

// Products of which only few elements count: those of a dense product that are asked for, and sums
// of few rows.
#include "entry.cuh"
#include "reduce.cuh"
#include "vector.cuh"

/// The row whose part of the list has place j: the last one that begins there or before.
static __device__ __forceinline__ uint32_t row_of(const uint32_t *first, uint32_t rows,
                                                  uint32_t j) {
  uint32_t row = 0, beyond = rows;
  while (row + 1 < beyond) {
    const uint32_t middle = row + (beyond - row) / 2;
    if (first[middle] <= j)
      row = middle;
    else
      beyond = middle;
  }
  return row;
}

/// y[j] = x[r]·table[ids[j]] for j in first[r]..first[r + 1], a warp each. WIDE says how the
/// columns are read, not which lane has them. An id that the table does not have makes NaN.
template <class T, bool WIDE>
static __device__ void sampled_product(const SampledProduct<T> args) {
  constexpr int V = PerVector<T>::COUNT;
  const uint64_t warps = blockDim.x / 32;
  for (uint64_t j = blockIdx.x * warps + warp_id(); j < args.count; j += gridDim.x * warps) {
    const uint64_t r = row_of(args.first, args.rows, uint32_t(j)), id = args.ids[j];
    const bool there = id < args.table_rows;
    const T *x = args.x + r * args.cols, *column = args.table + (there ? id : 0) * args.cols;
    float sum = there ? 0.0f : bits_to_float(0x7fc00000u);
#pragma unroll 4
    for (uint32_t c = lane_id() * V; there && c < args.cols; c += 32 * V) {
      float a[V], b[V];
      load_part<WIDE>(a, x, c, args.cols, 0.0f);
      load_part<WIDE>(b, column, c, args.cols, 0.0f);
#pragma unroll
      for (int v = 0; v < V; ++v) sum = fmaf(a[v], b[v], sum);
    }
    sum = warp_sum(sum);
    if (lane_id() == 0) args.y[j] = sum;
  }
}

/// y[r] = Σ weights[places[j]]·table[ids[j]] over j in first[r]..first[r + 1], in that order: a
/// block has columns of a row, V a thread. An id or a place that is not there makes NaN.
template <class T, int V>
static __device__ void sparse_product(const SparseProduct<T> args) {
  const uint32_t c = (blockIdx.y * blockDim.x + threadIdx.x) * V;
  if (c >= args.cols) return;
  for (uint64_t r = blockIdx.x; r < args.rows; r += gridDim.x) {
    const uint32_t to = args.first[r + 1];
    float sum[V];
#pragma unroll
    for (int v = 0; v < V; ++v) sum[v] = 0.0f;
#pragma unroll 4
    for (uint32_t j = args.first[r]; j < to; ++j) {
      const uint32_t place = args.places[j];
      const float weight = place < args.many ? args.weights[place] : bits_to_float(0x7fc00000u);
      float a[V];
      load_row(a, args.table, j, args.cols, c);
#pragma unroll
      for (int v = 0; v < V; ++v) sum[v] = fmaf(weight, a[v], sum[v]);
    }
    store_many<V>(args.y + r * args.cols + c, sum);
  }
}

// sampled_product: 256 threads, 40 registers, 6 blocks a processor
// bound by l2 (dram 57 %, lsu 42 %)
// predicted on an A100: 93 % of L2's rate
KERNEL(256, sampled_product_f32, SampledProduct<float>, sampled_product<float, false>)
KERNEL(256, sampled_product_f32_wide, SampledProduct<float>, sampled_product<float, true>)
KERNEL(256, sampled_product_f16, SampledProduct<f16>, sampled_product<f16, false>)
KERNEL(256, sampled_product_f16_wide, SampledProduct<f16>, sampled_product<f16, true>)
KERNEL(256, sampled_product_bf16, SampledProduct<bf16>, sampled_product<bf16, false>)
KERNEL(256, sampled_product_bf16_wide, SampledProduct<bf16>, sampled_product<bf16, true>)

// sparse_product: 64 threads, 32 registers, 32 blocks a processor
// bound by dram (l2 93 %, lsu 57 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(SPARSE_THREADS, sparse_product_f32, SparseProduct<float>, sparse_product<float, 1>)
KERNEL(SPARSE_THREADS, sparse_product_f32_wide, SparseProduct<float>, sparse_product<float, 4>)
KERNEL(SPARSE_THREADS, sparse_product_f16, SparseProduct<f16>, sparse_product<f16, 1>)
KERNEL(SPARSE_THREADS, sparse_product_f16_wide, SparseProduct<f16>, sparse_product<f16, 8>)
KERNEL(SPARSE_THREADS, sparse_product_bf16, SparseProduct<bf16>, sparse_product<bf16, 1>)
KERNEL(SPARSE_THREADS, sparse_product_bf16_wide, SparseProduct<bf16>, sparse_product<bf16, 8>)

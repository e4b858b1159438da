// Rows of tables, and their gradients.
#include "entry.cuh"
#include "reduce.cuh"
#include "vector.cuh"

/// sum += the columns from c on of one of up to three tables.
template <int V>
static __device__ __forceinline__ void add_row(float (&sum)[V], const Table &table, uint64_t r,
                                               uint32_t cols, uint32_t c) {
  float a[V];
  load_row(a, table, r, cols, c);
#pragma unroll
  for (int v = 0; v < V; ++v) sum[v] += a[v];
}

/// A block a row: y[r] (set or add) = Σ table[ids[r]], summed in f32 and rounded once. A table that
/// is not there has no rows.
template <class T, int V>
static __device__ void embed(const Embed<T> args) {
  for (uint64_t r = blockIdx.x; r < args.rows; r += gridDim.x) {
    T *to = args.y + r * args.cols;
    for (uint32_t c = threadIdx.x * V; c < args.cols; c += blockDim.x * V) {
      float sum[V];
#pragma unroll
      for (int v = 0; v < V; ++v) sum[v] = 0.0f;
      if (args.add) load_many<V>(sum, static_cast<const T *>(to + c));
      add_row<V>(sum, args.tables[0], r, args.cols, c);
      if (args.tables[1].table) add_row<V>(sum, args.tables[1], r, args.cols, c);
      if (args.tables[2].table) add_row<V>(sum, args.tables[2], r, args.cols, c);
      store_many<V>(to + c, sum);
    }
  }
}

/// d_table[ids[r]] += dy[r] in ascending order of r, without atomics: block (r, columns) does
/// nothing unless r is the first row with its id, and then adds all rows with that id, V columns a
/// thread. The ids are read by every block, but from the cache.
template <class T, int V>
static __device__ void embed_backward(const EmbedBackward<T> args) {
  float *room = reinterpret_cast<float *>(shared_memory());
  uint32_t *same = reinterpret_cast<uint32_t *>(room + MOST_WARPS);
  const uint32_t r = blockIdx.x, id = args.ids[r];
  float earlier = 0.0f;
  for (uint32_t q = threadIdx.x; q < r; q += blockDim.x)
    earlier = args.ids[q] == id ? 1.0f : earlier;
  if (block_max(earlier, room) > 0.0f || id >= args.table_rows) return;
  const uint32_t c = (blockIdx.y * blockDim.x + threadIdx.x) * V;
  float *to = args.d_table + uint64_t(id) * args.cols + c;
  float sum[V];
  if (c < args.cols) load_many<V>(sum, static_cast<const float *>(to));
  for (uint32_t first = r; first < args.rows; first += blockDim.x) {
    const uint32_t mine = first + threadIdx.x;
    const uint32_t bits = lanes_where(mine < args.rows && args.ids[mine] == id);
    if (lane_id() == 0) same[warp_id()] = bits;
    __syncthreads();
    for (uint32_t w = 0; w < blockDim.x / 32; ++w) {
      for (uint32_t left = same[w]; left != 0; left &= left - 1) {
        const uint64_t row = first + 32 * w + lowest_bit(left);
        if (c >= args.cols) continue;
        float a[V];
        load_many<V>(a, args.dy + row * args.cols + c);
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] += a[v];
      }
    }
    __syncthreads();
  }
  if (c < args.cols) store_many<V>(to, sum);
}

// embed: 256 threads, 30 registers, 8 blocks a processor
// bound by dram (l2 27 %, lsu 17 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, embed_f32, Embed<float>, embed<float, 1>)
KERNEL(256, embed_f32_wide, Embed<float>, embed<float, 4>)
KERNEL(256, embed_f16, Embed<f16>, embed<f16, 1>)
KERNEL(256, embed_f16_wide, Embed<f16>, embed<f16, 8>)
KERNEL(256, embed_bf16, Embed<bf16>, embed<bf16, 1>)
KERNEL(256, embed_bf16_wide, Embed<bf16>, embed<bf16, 8>)

// embed_backward: 256 threads, 29 registers, 256 bytes, 8 blocks a processor
// bound by dram (l2 37 %, lsu 36 %, shared 17 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, embed_backward_f32, EmbedBackward<float>, embed_backward<float, 1>)
KERNEL(256, embed_backward_f32_wide, EmbedBackward<float>, embed_backward<float, 4>)
KERNEL(256, embed_backward_f16, EmbedBackward<f16>, embed_backward<f16, 1>)
KERNEL(256, embed_backward_f16_wide, EmbedBackward<f16>, embed_backward<f16, 8>)
KERNEL(256, embed_backward_bf16, EmbedBackward<bf16>, embed_backward<bf16, 1>)
KERNEL(256, embed_backward_bf16_wide, EmbedBackward<bf16>, embed_backward<bf16, 8>)

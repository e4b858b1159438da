// Rows of tables, and their gradients.
#include "entry.cuh"
#include "reduce.cuh"
#include "vector.cuh"

/// sum += the columns from c on of one of up to three tables; an id that it does not have reads as
/// NaN, never as memory beside it.
template <int V>
static __device__ __forceinline__ void add_row(float (&sum)[V], const void *table,
                                               const uint32_t *ids, uint32_t rows, uint32_t dtype,
                                               uint64_t r, uint32_t cols, uint32_t c) {
  const uint32_t id = ids[r];
  float a[V];
#pragma unroll
  for (int v = 0; v < V; ++v) a[v] = bits_to_float(0x7fc00000u);
  const uint64_t at = uint64_t(id) * cols + c;
  if (id < rows) load_part_any<(V > 1)>(a, table, at, at + V, dtype, 0.0f);
#pragma unroll
  for (int v = 0; v < V; ++v) sum[v] += a[v];
}

/// A block a row: y[r] (set or add) = Σ table[ids[r]], summed in f32 and rounded once. A table that
/// is not there has no rows.
template <class T, int V>
static __device__ void embed(T *y, const void *table0, const uint32_t *ids0, uint32_t rows0,
                             uint32_t dtype0, const void *table1, const uint32_t *ids1,
                             uint32_t rows1, uint32_t dtype1, const void *table2,
                             const uint32_t *ids2, uint32_t rows2, uint32_t dtype2, uint32_t rows,
                             uint32_t cols, uint32_t add) {
  for (uint64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    T *to = y + r * cols;
    for (uint32_t c = threadIdx.x * V; c < cols; c += blockDim.x * V) {
      float sum[V];
#pragma unroll
      for (int v = 0; v < V; ++v) sum[v] = 0.0f;
      if (add) load_many<V>(sum, static_cast<const T *>(to + c));
      add_row<V>(sum, table0, ids0, rows0, dtype0, r, cols, c);
      if (table1) add_row<V>(sum, table1, ids1, rows1, dtype1, r, cols, c);
      if (table2) add_row<V>(sum, table2, ids2, rows2, dtype2, r, cols, c);
      store_many<V>(to + c, sum);
    }
  }
}

/// d_table[ids[r]] += dy[r] in ascending order of r, without atomics: block (r, columns) does
/// nothing unless r is the first row with its id, and then adds all rows with that id, V columns a
/// thread. The ids are read by every block, but from the cache.
template <class T, int V>
static __device__ void embed_backward(float *d_table, const T *dy, const uint32_t *ids,
                                      uint32_t table_rows, uint32_t rows, uint32_t cols) {
  float *room = reinterpret_cast<float *>(shared_memory());
  uint32_t *same = reinterpret_cast<uint32_t *>(room + 32);
  const uint32_t r = blockIdx.x, id = ids[r];
  float earlier = 0.0f;
  for (uint32_t q = threadIdx.x; q < r; q += blockDim.x) earlier = ids[q] == id ? 1.0f : earlier;
  if (block_max(earlier, room) > 0.0f || id >= table_rows) return;
  const uint32_t c = (blockIdx.y * blockDim.x + threadIdx.x) * V;
  float *to = d_table + uint64_t(id) * cols + c;
  float sum[V];
  if (c < cols) load_many<V>(sum, static_cast<const float *>(to));
  for (uint32_t first = r; first < rows; first += blockDim.x) {
    const uint32_t mine = first + threadIdx.x;
    const uint32_t bits = lanes_where(mine < rows && ids[mine] == id);
    if (lane_id() == 0) same[warp_id()] = bits;
    __syncthreads();
    for (uint32_t w = 0; w < blockDim.x / 32; ++w) {
      for (uint32_t left = same[w]; left != 0; left &= left - 1) {
        const uint64_t row = first + 32 * w + lowest_bit(left);
        if (c >= cols) continue;
        float a[V];
        load_many<V>(a, dy + row * cols + c);
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] += a[v];
      }
    }
    __syncthreads();
  }
  if (c < cols) store_many<V>(to, sum);
}

KERNEL(256, embed_f32,
       (float *y, const void *t0, const uint32_t *i0, uint32_t n0, uint32_t d0, const void *t1,
        const uint32_t *i1, uint32_t n1, uint32_t d1, const void *t2, const uint32_t *i2,
        uint32_t n2, uint32_t d2, uint32_t rows, uint32_t cols, uint32_t add),
       (y, t0, i0, n0, d0, t1, i1, n1, d1, t2, i2, n2, d2, rows, cols, add), embed<float, 1>)
KERNEL(256, embed_f32_wide,
       (float *y, const void *t0, const uint32_t *i0, uint32_t n0, uint32_t d0, const void *t1,
        const uint32_t *i1, uint32_t n1, uint32_t d1, const void *t2, const uint32_t *i2,
        uint32_t n2, uint32_t d2, uint32_t rows, uint32_t cols, uint32_t add),
       (y, t0, i0, n0, d0, t1, i1, n1, d1, t2, i2, n2, d2, rows, cols, add), embed<float, 4>)
KERNEL(256, embed_f16,
       (f16 * y, const void *t0, const uint32_t *i0, uint32_t n0, uint32_t d0, const void *t1,
        const uint32_t *i1, uint32_t n1, uint32_t d1, const void *t2, const uint32_t *i2,
        uint32_t n2, uint32_t d2, uint32_t rows, uint32_t cols, uint32_t add),
       (y, t0, i0, n0, d0, t1, i1, n1, d1, t2, i2, n2, d2, rows, cols, add), embed<f16, 1>)
KERNEL(256, embed_f16_wide,
       (f16 * y, const void *t0, const uint32_t *i0, uint32_t n0, uint32_t d0, const void *t1,
        const uint32_t *i1, uint32_t n1, uint32_t d1, const void *t2, const uint32_t *i2,
        uint32_t n2, uint32_t d2, uint32_t rows, uint32_t cols, uint32_t add),
       (y, t0, i0, n0, d0, t1, i1, n1, d1, t2, i2, n2, d2, rows, cols, add), embed<f16, 8>)
KERNEL(256, embed_bf16,
       (bf16 * y, const void *t0, const uint32_t *i0, uint32_t n0, uint32_t d0, const void *t1,
        const uint32_t *i1, uint32_t n1, uint32_t d1, const void *t2, const uint32_t *i2,
        uint32_t n2, uint32_t d2, uint32_t rows, uint32_t cols, uint32_t add),
       (y, t0, i0, n0, d0, t1, i1, n1, d1, t2, i2, n2, d2, rows, cols, add), embed<bf16, 1>)
KERNEL(256, embed_bf16_wide,
       (bf16 * y, const void *t0, const uint32_t *i0, uint32_t n0, uint32_t d0, const void *t1,
        const uint32_t *i1, uint32_t n1, uint32_t d1, const void *t2, const uint32_t *i2,
        uint32_t n2, uint32_t d2, uint32_t rows, uint32_t cols, uint32_t add),
       (y, t0, i0, n0, d0, t1, i1, n1, d1, t2, i2, n2, d2, rows, cols, add), embed<bf16, 8>)

KERNEL(256, embed_backward_f32,
       (float *d_table, const float *dy, const uint32_t *ids, uint32_t table_rows, uint32_t rows,
        uint32_t cols),
       (d_table, dy, ids, table_rows, rows, cols), embed_backward<float, 1>)
KERNEL(256, embed_backward_f32_wide,
       (float *d_table, const float *dy, const uint32_t *ids, uint32_t table_rows, uint32_t rows,
        uint32_t cols),
       (d_table, dy, ids, table_rows, rows, cols), embed_backward<float, 4>)
KERNEL(256, embed_backward_f16,
       (float *d_table, const f16 *dy, const uint32_t *ids, uint32_t table_rows, uint32_t rows,
        uint32_t cols),
       (d_table, dy, ids, table_rows, rows, cols), embed_backward<f16, 1>)
KERNEL(256, embed_backward_f16_wide,
       (float *d_table, const f16 *dy, const uint32_t *ids, uint32_t table_rows, uint32_t rows,
        uint32_t cols),
       (d_table, dy, ids, table_rows, rows, cols), embed_backward<f16, 8>)
KERNEL(256, embed_backward_bf16,
       (float *d_table, const bf16 *dy, const uint32_t *ids, uint32_t table_rows, uint32_t rows,
        uint32_t cols),
       (d_table, dy, ids, table_rows, rows, cols), embed_backward<bf16, 1>)
KERNEL(256, embed_backward_bf16_wide,
       (float *d_table, const bf16 *dy, const uint32_t *ids, uint32_t table_rows, uint32_t rows,
        uint32_t cols),
       (d_table, dy, ids, table_rows, rows, cols), embed_backward<bf16, 8>)

// Rows of tables, and their gradients.
#include "entry.cuh"
#include "reduce.cuh"
#include "vector.cuh"

/// One of up to three tables; an id that it does not have reads as NaN, never as memory beside it.
static __device__ __forceinline__ float row_of(const void *table, const uint32_t *ids, uint32_t rows, uint32_t dtype, uint64_t r, uint32_t cols,
                                               uint32_t c) {
  const uint32_t id = ids[r];
  return id < rows ? load_any(table, uint64_t(id) * cols + c, dtype) : bits_to_float(0x7fc00000u);
}

/// A block a row: y[r] (set or add) = Σ table[ids[r]], summed in f32 and rounded once. A table that is not there has no rows.
template <class T>
static __device__ void embed(T *y, const void *table0, const uint32_t *ids0, uint32_t rows0, uint32_t dtype0, const void *table1,
                             const uint32_t *ids1, uint32_t rows1, uint32_t dtype1, const void *table2, const uint32_t *ids2, uint32_t rows2,
                             uint32_t dtype2, uint32_t rows, uint32_t cols, uint32_t add) {
  for (uint64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) {
      float sum = add ? wide(y[r * cols + c]) : 0.0f;
      sum += row_of(table0, ids0, rows0, dtype0, r, cols, c);
      if (table1) sum += row_of(table1, ids1, rows1, dtype1, r, cols, c);
      if (table2) sum += row_of(table2, ids2, rows2, dtype2, r, cols, c);
      y[r * cols + c] = narrow<T>(sum);
    }
  }
}

/// d_table[ids[r]] += dy[r] in ascending order of r, without atomics: block (r, columns) does nothing unless r is the first row with
/// its id, and then adds all rows with that id. The ids are read by every block, but from the cache.
template <class T>
static __device__ void embed_backward(float *d_table, const T *dy, const uint32_t *ids, uint32_t table_rows, uint32_t rows, uint32_t cols) {
  float *room = reinterpret_cast<float *>(shared_memory());
  uint32_t *same = reinterpret_cast<uint32_t *>(room + 32);
  const uint32_t r = blockIdx.x, id = ids[r];
  float earlier = 0.0f;
  for (uint32_t q = threadIdx.x; q < r; q += blockDim.x) earlier = ids[q] == id ? 1.0f : earlier;
  if (block_max(earlier, room) > 0.0f || id >= table_rows) return;
  const uint32_t c = blockIdx.y * blockDim.x + threadIdx.x;
  float sum = c < cols ? d_table[uint64_t(id) * cols + c] : 0.0f;
  for (uint32_t first = r; first < rows; first += blockDim.x) {
    const uint32_t mine = first + threadIdx.x;
    const uint32_t bits = lanes_where(mine < rows && ids[mine] == id);
    if (lane_id() == 0) same[warp_id()] = bits;
    __syncthreads();
    for (uint32_t w = 0; w < blockDim.x / 32; ++w) {
      for (uint32_t left = same[w]; left != 0; left &= left - 1) {
        const uint64_t row = first + 32 * w + lowest_bit(left);
        if (c < cols) sum += wide(dy[row * cols + c]);
      }
    }
    __syncthreads();
  }
  if (c < cols) d_table[uint64_t(id) * cols + c] = sum;
}

// clang-format off
KERNEL(256, embed_f32, (float *y, const void *t0, const uint32_t *i0, uint32_t n0, uint32_t d0, const void *t1, const uint32_t *i1, uint32_t n1, uint32_t d1, const void *t2, const uint32_t *i2, uint32_t n2, uint32_t d2, uint32_t rows, uint32_t cols, uint32_t add), (y, t0, i0, n0, d0, t1, i1, n1, d1, t2, i2, n2, d2, rows, cols, add), embed<float>)
KERNEL(256, embed_f16, (f16 *y, const void *t0, const uint32_t *i0, uint32_t n0, uint32_t d0, const void *t1, const uint32_t *i1, uint32_t n1, uint32_t d1, const void *t2, const uint32_t *i2, uint32_t n2, uint32_t d2, uint32_t rows, uint32_t cols, uint32_t add), (y, t0, i0, n0, d0, t1, i1, n1, d1, t2, i2, n2, d2, rows, cols, add), embed<f16>)
KERNEL(256, embed_bf16, (bf16 *y, const void *t0, const uint32_t *i0, uint32_t n0, uint32_t d0, const void *t1, const uint32_t *i1, uint32_t n1, uint32_t d1, const void *t2, const uint32_t *i2, uint32_t n2, uint32_t d2, uint32_t rows, uint32_t cols, uint32_t add), (y, t0, i0, n0, d0, t1, i1, n1, d1, t2, i2, n2, d2, rows, cols, add), embed<bf16>)

KERNEL(256, embed_backward_f32, (float *d_table, const float *dy, const uint32_t *ids, uint32_t table_rows, uint32_t rows, uint32_t cols), (d_table, dy, ids, table_rows, rows, cols), embed_backward<float>)
KERNEL(256, embed_backward_f16, (float *d_table, const f16 *dy, const uint32_t *ids, uint32_t table_rows, uint32_t rows, uint32_t cols), (d_table, dy, ids, table_rows, rows, cols), embed_backward<f16>)
KERNEL(256, embed_backward_bf16, (float *d_table, const bf16 *dy, const uint32_t *ids, uint32_t table_rows, uint32_t rows, uint32_t cols), (d_table, dy, ids, table_rows, rows, cols), embed_backward<bf16>)

// What the kernels of attention share: which rows a block has, tiles in shared memory, fragments of
// them, dropout's masks.
//
// Every walk over keys (or queries) takes tiles at fixed places counted from the first row of the
// sequence, and a row's sums run in the order of that walk. A tile that a row does not see adds
// exact zeros to it. So a row's bits depend on its sequence alone.
#pragma once

#define ENTRY_PARAMETERS __grid_constant__
#include "entry.cuh"
#include "philox.cuh"
#include "tile.cuh"

constexpr uint32_t WARPS = ATTENTION_WARPS;

static __device__ __forceinline__ float infinity() { return bits_to_float(0x7f800000u); }

/// Rows `first..` of a sequence of `rows` rows, the first of which is row `start` of the batch.
struct Work {
  uint32_t start, rows, context, first;

  __device__ __forceinline__ explicit Work(const Sixteen *list, uint32_t item) {
    const Sixteen x = load16(list + item);
    start = x.word[0], rows = x.word[1], context = x.word[2], first = x.word[3];
  }

  /// Keys that row i of the sequence sees: those below.
  __device__ __forceinline__ uint32_t visible(uint32_t i) const {
    return i + 1 > context ? i + 1 : context;
  }
};

/// Where the parts of a head stand in a row of qkv.
enum Part : uint32_t { QUERY, KEY, VALUE };

struct Layout : HeadStrides {
  __device__ __forceinline__ explicit Layout(const HeadStrides &strides) : HeadStrides(strides) {}

  __device__ __forceinline__ uint64_t column(Part p, uint32_t h) const {
    return uint64_t(p) * part + uint64_t(h) * head;
  }
};

/// Which probabilities are dropped. Twin of engine/device/cpu/attention:
/// key column j of a head is column head·2^18 + j of the row's counters.
struct Dropout : DropoutMask {
  __device__ __forceinline__ explicit Dropout(const DropoutMask &mask) : DropoutMask(mask) {}

  __device__ __forceinline__ bool any() const { return rows != nullptr; }

  /// Bit i: key 4·`four` + i is kept, for a row (example low, example high, place).
  __device__ __forceinline__ uint32_t kept_mask(uint32_t head, uint32_t four,
                                                const uint32_t (&row)[3]) const {
    const PhiloxBlock b = philox(key0, key1, head << 16 | four, row[2], row[0], row[1]);
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) bits |= uint32_t(b.word[i] >= threshold) << i;
    return bits;
  }

  __device__ __forceinline__ void read(uint32_t (&row)[3], uint64_t number) const {
#pragma unroll
    for (int i = 0; i < 3; ++i) row[i] = rows[3 * number + i];
  }
};

/// The address of eight elements in a tile of rows of D 16-bit elements: chunks of 16 bytes,
/// permuted within a row so that the same chunk of eight neighbouring rows lies in eight different
/// groups of banks.
template <int D>
static __device__ __forceinline__ char *chunk(char *tile, uint32_t row, uint32_t at) {
  return tile + row * (2 * D) + ((at ^ (row & 7u)) << 4);
}

/// Begins to copy rows `first..first + ROWS` of x (row 0 of the sequence, `pitch` elements a row)
/// into a tile; zeros from row `end` on.
template <class T, int ROWS, int D, int THREADS>
static __device__ __forceinline__ void fetch(char *tile, const T *x, uint64_t pitch, uint32_t first,
                                             uint32_t end, uint32_t thread) {
  constexpr int CHUNKS = D / 8;
  static_assert(ROWS * CHUNKS % THREADS == 0, "every thread copies equally much");
#pragma unroll
  for (int i = 0; i < ROWS * CHUNKS / THREADS; ++i) {
    const uint32_t number = thread + i * THREADS, row = number / CHUNKS, at = number % CHUNKS;
    const bool inside = first + row < end;
    copy16_async(chunk<D>(tile, row, at), x + (inside ? first + row : 0) * pitch + at * 8,
                 inside ? 16 : 0);
  }
}

/// Left operand: rows `row..row + 16`, columns 16·step.. of a tile.
template <int D>
static __device__ __forceinline__ void left(uint32_t (&a)[4], char *tile, uint32_t row,
                                            uint32_t step) {
  const uint32_t lane = lane_id();
  ldmatrix(a, chunk<D>(tile, row + (lane & 15u), 2 * step + (lane >> 4)));
}

/// Right operand of left·tileᵀ: two column groups that are rows `row..row + 16` of the tile, steps
/// of its columns 16·step...
template <int D>
static __device__ __forceinline__ void right_rows(uint32_t (&b)[2][2], char *tile, uint32_t row,
                                                  uint32_t step) {
  const uint32_t lane = lane_id();
  uint32_t r[4];
  ldmatrix(r, chunk<D>(tile, row + (lane & 7u) + (lane >> 4 << 3), 2 * step + (lane >> 3 & 1u)));
  b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
}

/// Right operand of left·tile: steps are rows `row..row + 16`, two column groups are columns
/// 16·pair...
template <int D>
static __device__ __forceinline__ void right_columns(uint32_t (&b)[2][2], char *tile, uint32_t row,
                                                     uint32_t pair) {
  const uint32_t lane = lane_id();
  uint32_t r[4];
  ldmatrix_transposed(r, chunk<D>(tile, row + (lane & 15u), 2 * pair + (lane >> 4)));
  b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
}

/// s = rows `row..row + 16·TALL` of x times tileᵀ.
template <class T, int D, int TALL, int GROUPS>
static __device__ __forceinline__ void scores(float (&s)[TALL][GROUPS][4], char *x, uint32_t row,
                                              char *tile) {
#pragma unroll
  for (int m = 0; m < TALL; ++m)
#pragma unroll
    for (int n = 0; n < GROUPS; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) s[m][n][i] = 0.0f;
#pragma unroll
  for (int step = 0; step < D / 16; ++step) {
    uint32_t a[TALL][4];
#pragma unroll
    for (int m = 0; m < TALL; ++m) left<D>(a[m], x, row + 16 * m, step);
#pragma unroll
    for (int n = 0; n < GROUPS; n += 2) {
      uint32_t b[2][2];
      right_rows<D>(b, tile, 8 * n, step);
#pragma unroll
      for (int m = 0; m < TALL; ++m) {
        mma<T>(s[m][n], a[m], b[0]);
        mma<T>(s[m][n + 1], a[m], b[1]);
      }
    }
  }
}

/// One step of online softmax, over keys that come tile by tile: s becomes
/// exp(factor·(s - row_max)), where row_max and sum go on over all keys so far, and o is rescaled
/// to the new row_max. Unseen keys have s = -∞; a row has seen a key by the end of its first step.
template <int D, int TALL, int GROUPS>
static __device__ __forceinline__ void online_softmax_step(float (&s)[TALL][GROUPS][4],
                                                           float (&row_max)[TALL][2],
                                                           float (&sum)[TALL][2],
                                                           float (&o)[TALL][D / 8][4],
                                                           float factor) {
#pragma unroll
  for (int m = 0; m < TALL; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float now = row_max[m][half];
#pragma unroll
      for (int n = 0; n < GROUPS; ++n)
        now = fmaxf(now, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
      now = fmaxf(now, shuffle_xor(now, 1));
      now = fmaxf(now, shuffle_xor(now, 2));
      // Exactly one where nothing larger came.
      const float rescale = exp2_approx((row_max[m][half] - now) * factor), offset = now * factor;
      row_max[m][half] = now;
      float added = 0.0f;
#pragma unroll
      for (int n = 0; n < GROUPS; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float p = exp2_approx(fmaf(s[m][n][2 * half + i], factor, -offset));
          s[m][n][2 * half + i] = p;
          added += p;
        }
      sum[m][half] = fmaf(sum[m][half], rescale, added);
#pragma unroll
      for (int n = 0; n < D / 8; ++n)
        o[m][n][2 * half] *= rescale, o[m][n][2 * half + 1] *= rescale;
    }
}

/// o += p·tile, p rounded to T; with POSITIVE what is negative in p counts as zero.
template <class T, int D, int TALL, int GROUPS, bool POSITIVE = false>
static __device__ __forceinline__ void accumulate(float (&o)[TALL][D / 8][4],
                                                  const float (&p)[TALL][GROUPS][4], char *tile) {
#pragma unroll
  for (int n = 0; n < GROUPS; n += 2) {
    uint32_t a[TALL][4];
#pragma unroll
    for (int m = 0; m < TALL; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float x = p[m][n + i / 2][i % 2 * 2], y = p[m][n + i / 2][i % 2 * 2 + 1];
        a[m][i] = POSITIVE ? pack<T>(fmaxf(x, 0.0f), fmaxf(y, 0.0f)) : pack<T>(x, y);
      }
#pragma unroll
    for (int pair = 0; pair < D / 16; ++pair) {
      uint32_t b[2][2];
      right_columns<D>(b, tile, 8 * n, pair);
#pragma unroll
      for (int m = 0; m < TALL; ++m) {
        mma<T>(o[m][2 * pair], a[m], b[0]);
        mma<T>(o[m][2 * pair + 1], a[m], b[1]);
      }
    }
  }
}

/// Rows `row..row + 16·TALL` of a tile become o, then the rows below `end` go to y (row 0 of the
/// sequence). Only this warp may use these rows of the tile. `first` is the row of the sequence
/// that row 0 of the tile is.
template <class T, int D, int TALL>
static __device__ __forceinline__ void store_rows(T *y, uint64_t pitch,
                                                  const float (&o)[TALL][D / 8][4], char *tile,
                                                  uint32_t row, uint32_t first, uint32_t end) {
  const uint32_t lane = lane_id(), group = lane >> 2, place = lane & 3u;
  warp_barrier();
#pragma unroll
  for (int m = 0; m < TALL; ++m)
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        store4(chunk<D>(tile, row + 16 * m + 8 * half + group, n) + 4 * place,
               pack<T>(o[m][n][2 * half], o[m][n][2 * half + 1]));
  warp_barrier();
  constexpr int CHUNKS = D / 8;
#pragma unroll
  for (int i = 0; i < 16 * TALL * CHUNKS / 32; ++i) {
    const uint32_t number = lane + 32 * i, r = row + number / CHUNKS, at = number % CHUNKS;
    if (first + r < end) store16(y + (first + r) * pitch + at * 8, load16(chunk<D>(tile, r, at)));
  }
}

/// Which of s[0..4] (a row of queries, +8; two keys each) stay, as bits 0..4, where rows are
/// queries: `row` is that of query group for even lanes, of query group + 8 for odd ones; `four` is
/// the first of the group's eight keys over four.
static __device__ __forceinline__ uint32_t kept_mask_in_row(const Dropout &dropout, uint32_t head,
                                                            uint32_t four,
                                                            const uint32_t (&row)[3]) {
  const uint32_t place = lane_id() & 3u;
  // Two lanes share the counters of two rows: each makes one and hands over the half that the other
  // has.
  const uint32_t own = dropout.kept_mask(head, four + (place >> 1), row);
  const uint32_t other = shuffle_xor(own, 1);
  return place & 1u ? (other >> 2 & 3u) | (own & 12u) : (own & 3u) | (other & 3u) << 2;
}

/// The same where columns are queries: `row` is that of query 2·place for even groups, of 2·place +
/// 1 for odd ones; `four` is the first of the sixteen keys over four.
static __device__ __forceinline__ uint32_t kept_mask_in_column(const Dropout &dropout,
                                                               uint32_t head, uint32_t four,
                                                               const uint32_t (&row)[3]) {
  const uint32_t group = lane_id() >> 2, mine = group & 3u;
  // Four lanes share four counters: (key group, query 0), (key group, query 1), (key group + 8,
  // query 0), (key group + 8, query 1).
  uint32_t all = dropout.kept_mask(head, four + (group >> 2) + (mine >> 1) * 2, row) << (4 * mine);
  all |= shuffle_xor(all, 4);
  all |= shuffle_xor(all, 8);
  all >>= mine;
  return (all & 1u) | (all >> 3 & 2u) | (all >> 6 & 4u) | (all >> 9 & 8u);
}

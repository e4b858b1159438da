// An operand of a product in shared memory: how it gets there and how the tensor cores take it.
//
// A tile is rows of pieces of 16 bytes, rows of k (ALONG) or of the other index, as the matrix is
// stored. Piece c of row r lies at c ^ key(r): eight rows that one ldmatrix reads, and eight pieces
// that one quarter of a warp writes, meet no bank twice.
#pragma once

#include "tile.cuh"

/// A byte address in a tile of rows of PIECES pieces, as far as only r % 8 decides: the rest of the
/// row is a multiple added outside.
template <int PIECES>
static __device__ __forceinline__ uint32_t swizzled(uint32_t row, uint32_t piece) {
  constexpr uint32_t WAYS = PIECES < 8 ? PIECES : 8;
  return (row * PIECES + (piece ^ (row % 8 / (8 / WAYS)))) * 16;
}

/// SPAN rows or columns of y by DEEP of k, of 16-bit elements, staged by THREADS threads. ALIGNED:
/// addresses and pitch of the matrix are multiples of 16 bytes.
template <class T, bool ALONG, int SPAN, int DEEP, int THREADS, bool ALIGNED>
struct Operand {
  static constexpr int ROWS = ALONG ? SPAN : DEEP, PIECES = (ALONG ? DEEP : SPAN) / 8;
  static constexpr int BYTES = SPAN * DEEP * 2;
  /// What a thread copies: one piece of COPIES rows, STEP rows apart.
  static constexpr int STEP = THREADS / PIECES, COPIES = ROWS / STEP;
  static_assert(THREADS % PIECES == 0 && ROWS % STEP == 0, "threads share a tile evenly");
  /// Where a tile is mostly rows that do not exist (one row of a decode step), these are not read.
  static constexpr bool SKIP = ALONG && SPAN == 16;

  const char *start;  // of the first tile
  uint32_t step;      // bytes from a tile to the next
  uint32_t first;     // of SPAN, in the matrix
  uint32_t total;     // rows or columns of the matrix beside k
  uint32_t slot;      // where the first copy goes in a tile
  uint32_t offset[COPIES];

  __device__ __forceinline__ uint32_t row() const { return threadIdx.x / PIECES; }
  __device__ __forceinline__ uint32_t piece() const { return threadIdx.x % PIECES; }

  /// From element `from` of k on, k elements in a row of the matrix if ALONG, else `total`.
  __device__ __forceinline__ Operand(const void *x, uint32_t first_, uint32_t total_, uint32_t k,
                                     uint32_t from)
      : first(first_), total(total_), slot(opaque(swizzled<PIECES>(row(), piece()))) {
    const uint64_t pitch = uint64_t(ALONG ? k : total) * 2;
    start = static_cast<const char *>(x) +
            (ALONG ? first * pitch + uint64_t(from) * 2 : from * pitch + uint64_t(first) * 2);
    step = ALONG ? DEEP * 2 : uint32_t(DEEP * pitch);
#pragma unroll
    for (int i = 0; i < COPIES; ++i) {
      const uint32_t r = row() + i * STEP, c = piece() * 8;
      // Beyond the edge the last row or piece is read again: what comes of it is not stored.
      const uint32_t last = ALONG ? total - 1 - first : ALIGNED ? total - 8 - first : 0;
      const uint32_t bytes = ALONG ? uint32_t((r < last ? r : last) * pitch) + c * 2
                                   : uint32_t(r * pitch) + (ALIGNED && c > last ? last : c) * 2;
      offset[i] = opaque(bytes);
    }
  }

  /// Begins to bring tile number `at`, of whose DEEP of k `left` exist (none if negative); the rest
  /// becomes zero. A copy of no bytes reads nothing, wherever it points.
  __device__ __forceinline__ void stage(char *tile, uint32_t at, int32_t left) const {
    const int32_t row_left = left - int32_t(row()), piece_left = left - int32_t(piece() * 8);
#pragma unroll
    for (int i = 0; i < COPIES; ++i) {
      const uint32_t r = row() + i * STEP;
      char *to =
          tile + (STEP % 8 == 0 ? slot + i * STEP * PIECES * 16 : swizzled<PIECES>(r, piece()));
      bool inside = ALONG ? piece_left > 0 : row_left > i * STEP;
      if (SKIP) inside = inside && first + r < total;
      const char *from = start + offset[i] + uint64_t(at) * step;
      if (ALIGNED) {
        copy16_async(to, from, inside ? 16 : 0);
      } else {
        const int32_t columns_left = int32_t(total - first) - int32_t(piece() * 8);
        store16(to, gathered(from, ALONG ? piece_left : inside ? columns_left : 0));
      }
    }
  }

  /// Eight elements one by one, zero from `count` on.
  static __device__ __forceinline__ Sixteen gathered(const char *from, int32_t count) {
    Sixteen x;
#pragma unroll
    for (int32_t e = 0; e < 8; ++e) {
      const uint32_t bits = e < count ? reinterpret_cast<const uint16_t *>(from)[e] : 0;
      x.word[e / 2] = e % 2 == 0 ? bits : x.word[e / 2] | bits << 16;
    }
    return x;
  }
};

/// Where a lane's addresses for ldmatrix lie in a tile: for each of BLOCKS places along a row one,
/// rows by constants. HALF_BY_ROW: lanes 8 to 15 take the next eight rows (as a wants it), else
/// lanes 16 to 31 do (as b wants it, two blocks in one load).
template <bool ALONG, int SPAN, int DEEP, int WARP_SPAN, bool HALF_BY_ROW>
struct Lanes {
  static constexpr int PIECES = (ALONG ? DEEP : SPAN) / 8;
  static constexpr int PLACES = ALONG ? DEEP / 16 : WARP_SPAN / 16;
  uint32_t offset[PLACES];

  __device__ __forceinline__ explicit Lanes(uint32_t warp_first) {
    const uint32_t lane = lane_id(), low = lane / 8 % 2, high = lane / 16;
    // Of the four matrices: which has the upper eight of the span, which the upper eight of k.
    const uint32_t span = HALF_BY_ROW ? low : high, deep = HALF_BY_ROW ? high : low;
    const uint32_t row = lane % 8 + 8 * (ALONG ? span : deep);
#pragma unroll
    for (int p = 0; p < PLACES; ++p)
      offset[p] = opaque(ALONG ? swizzled<PIECES>(row, 2 * p + deep) + warp_first * PIECES * 16
                               : swizzled<PIECES>(row, warp_first / 8 + 2 * p + span));
  }

  /// The fragment of 16 of the span (block `i` of the warp's) by 16 of k (step `s`).
  __device__ __forceinline__ void load(uint32_t (&r)[4], const char *tile, int i, int s) const {
    if (ALONG)
      ldmatrix(r, tile + offset[s] + i * (16 * PIECES * 16));
    else
      ldmatrix_transposed(r, tile + offset[i] + s * (16 * PIECES * 16));
  }
};

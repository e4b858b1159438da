// The product on tensor cores: a and b of one 16-bit dtype, sums in f32.
//
// A block makes BM × BN of y, a warp WM × WN of that, from tiles of BK of k that copies bring
// STAGES - 1 ahead. Every element is one chain of m16n8k16 products, k ascending, whatever the
// tile: which tile is taken changes no bit.
#pragma once

#include "entry.cuh"
#include "epilogue.cuh"
#include "operand.cuh"

enum Form { NT, NN, TN };

/// Row blocks that stand together in the order of blocks, so that what runs at one time shares rows
/// of a and of b in L2.
constexpr uint32_t GROUP = 16;

/// The low-rank tail as a few more columns of k, in bf16 whatever T is. A value of f32 is three
/// bf16 (`three_parts`), of f16 two, of bf16 one; products of parts that f32 cannot tell from zero
/// are left out. Eight of the rank are a piece of 16 bytes, what a rank lacks of eight is zero, and
/// piece c·groups + g holds pair c of parts of group g of z and factor.
template <class TILE>
struct LowRankTail {
  static constexpr uint32_t DEEP = TAIL_DEPTH, PIECES = DEEP / 8;
  static constexpr int BYTES = (TILE::BM + TILE::BN) * DEEP * 2;
  uint32_t pairs, groups, width;

  __device__ __forceinline__ explicit LowRankTail(const Epilogue &f)
      : pairs(f.kind_of_z() == DTYPE_BF16 || f.choices >> SUMS_OF_Z ? 3
              : f.kind_of_z() == DTYPE_F16                          ? 5
                                                                    : 6),
        groups((f.rank + 7) / 8),
        width(pairs * groups * 8) {}

  /// Pair 0, 1, 2: part 0 of z with part 0, 1, 2 of the factor. Pair 3, 4: part 1 with 0, 1. Pair
  /// 5: part 2 with 0.
  template <bool Z>
  __device__ __forceinline__ void put(char *tile, uint32_t row, uint32_t group, uint32_t from,
                                      const float (&v)[RUN]) const {
    Sixteen part[3];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      uint32_t words[3];
      three_parts(words, v[2 * i], v[2 * i + 1]);
#pragma unroll
      for (int p = 0; p < 3; ++p) part[p].word[i] = words[p];
    }
    uint32_t piece = group - from / 8;
#pragma unroll
    for (uint32_t pair = 0; pair < 6; ++pair, piece += groups) {
      const uint32_t which = Z ? (pair < 3   ? 0
                                  : pair < 5 ? 1
                                             : 2)
                               : (pair < 3   ? pair
                                  : pair < 5 ? pair - 3
                                             : 0);
      if (pair < pairs && piece < PIECES) store16(tile + swizzled<PIECES>(row, piece), part[which]);
    }
    // The last step of 16 has one piece more where they are odd.
    const uint32_t last = (width - from) / 8;
    if (group == 0 && last % 2 == 1 && last < PIECES)
      store16(tile + swizzled<PIECES>(row, last), Sixteen{{0, 0, 0, 0}});
  }

  /// Columns from .. from + DEEP of both operands: a thread takes a group of a row, neighbours
  /// neighbouring rows, which meet no bank twice; rows of z and then those of the factor. Two at a
  /// time, so that what they read is under way at once.
  __device__ __forceinline__ void stage(char *room, const Epilogue &f, uint32_t m, uint32_t row0,
                                        uint32_t column0, uint32_t from) const {
    constexpr uint32_t TOGETHER = 2;
    char *left = room, *right = room + TILE::BM * DEEP * 2;
    const uint32_t of_z = TILE::BM * groups, all = of_z + TILE::BN * groups;
    for (uint32_t first = threadIdx.x; first < all; first += TOGETHER * TILE::THREADS) {
      float v[TOGETHER][RUN];
#pragma unroll
      for (uint32_t t = 0; t < TOGETHER; ++t) {
        const uint32_t e = first + t * TILE::THREADS;
        if (e < of_z) {
          const uint32_t row = row0 + e % TILE::BM, group = e / TILE::BM;
          f.load_z(v[t], m, row, group * 8, row < m ? f.rank - group * 8 : 0);
        } else if (e < all) {
          const uint32_t column = column0 + (e - of_z) % TILE::BN, group = (e - of_z) / TILE::BN;
          f.load_factor(v[t], column, group * 8, column < f.n ? f.rank - group * 8 : 0);
        }
      }
#pragma unroll
      for (uint32_t t = 0; t < TOGETHER; ++t) {
        const uint32_t e = first + t * TILE::THREADS;
        if (e < of_z) {
          put<true>(left, e % TILE::BM, e / TILE::BM, from, v[t]);
        } else if (e < all) {
#pragma unroll
          for (uint32_t i = 0; i < RUN; ++i) v[t][i] *= f.low_rank_scale;
          put<false>(right, (e - of_z) % TILE::BN, (e - of_z) / TILE::BN, from, v[t]);
        }
      }
    }
  }
};

/// y = epilogue(a·b). Shared memory: STAGES tiles of a and b and the low-rank tail, or the warps'
/// sums if these are more.
template <Form FORM, class T, class TILE, bool ALIGNED>
static __device__ void gemm(const Product args) {
  constexpr int BM = TILE::BM, BN = TILE::BN, BK = TILE::BK, WM = TILE::WM, WN = TILE::WN,
                STAGES = TILE::STAGES;
  constexpr int THREADS = TILE::THREADS, ROWS = WM / 16, COLUMNS = WN / 16, STEPS = BK / 16;
  constexpr bool A_ALONG = FORM != TN, B_ALONG = FORM == NT;
  using A = Operand<T, A_ALONG, BM, BK, THREADS, ALIGNED>;
  using B = Operand<T, B_ALONG, BN, BK, THREADS, ALIGNED>;
  using Tail = LowRankTail<TILE>;
  constexpr int STAGE = A::BYTES + B::BYTES;
  char *shared = shared_memory(), *tail_room = shared + STAGES * STAGE;

  // The order of blocks: GROUP rows of blocks at a time, column after column.
  const uint32_t blocks_m = (args.m + BM - 1) / BM, blocks_n = (args.n + BN - 1) / BN;
  const uint32_t group = blockIdx.x / (GROUP * blocks_n),
                 in_group = blockIdx.x % (GROUP * blocks_n);
  const uint32_t high = blocks_m - group * GROUP < GROUP ? blocks_m - group * GROUP : GROUP;
  const uint32_t row0 = (group * GROUP + in_group % high) * BM, column0 = in_group / high * BN;
  const uint32_t start = blockIdx.y * args.chunk,
                 length = args.k - start < args.chunk ? args.k - start : args.chunk;
  const uint32_t tiles = (length + BK - 1) / BK;

  const Epilogue epilogue(args, FORM == NT);
  const A from_a(args.a, row0, args.m, args.k, start);
  const B from_b(args.b, column0, args.n, args.k, start);
  const auto stage = [&](uint32_t tile, char *to) {
    const int32_t left = int32_t(length) - int32_t(tile * BK);
    from_a.stage(to, tile, left);
    from_b.stage(to + A::BYTES, tile, left);
    commit_copies();
  };
#pragma unroll
  for (int s = 0; s < STAGES - 1; ++s) stage(s, shared + s * STAGE);
  const Tail tail(epilogue);
  if (FORM != TN && args.rank > 0) tail.stage(tail_room, epilogue, args.m, row0, column0, 0);

  const uint32_t warp_row = warp_id() % TILE::WARPS_M * WM,
                 warp_column = warp_id() / TILE::WARPS_M * WN;
  const Lanes<A_ALONG, BM, BK, WM, true> lanes_a(warp_row);
  const Lanes<B_ALONG, BN, BK, WN, false> lanes_b(warp_column);
  float sum[ROWS][2 * COLUMNS][4];
#pragma unroll
  for (int i = 0; i < ROWS; ++i)
#pragma unroll
    for (int j = 0; j < 2 * COLUMNS; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[i][j][e] = 0.0f;

  // Fragments of one step of 16 are read while the tensor cores work on those of the step before.
  uint32_t x[2][ROWS][4], w[2][COLUMNS][4];
  const auto read = [&](int into, const char *tile, int step) {
#pragma unroll
    for (int i = 0; i < ROWS; ++i) lanes_a.load(x[into][i], tile, i, step);
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j) lanes_b.load(w[into][j], tile + A::BYTES, j, step);
  };
  wait_copies<STAGES - 2>();
  __syncthreads();
  read(0, shared, 0);
  for (uint32_t first = 0; first < tiles; first += STAGES) {
    // One turn of the ring, so that every place in it is a constant.
#pragma unroll
    for (int turn = 0; turn < STAGES; ++turn) {
      if (first + turn >= tiles) break;
#pragma unroll
      for (int s = 0; s < STEPS; ++s) {
        if (s + 1 < STEPS) {
          read((s + 1) % 2, shared + turn * STAGE, s + 1);
        } else {
          wait_copies<STAGES - 2>();
          __syncthreads();
          read((s + 1) % 2, shared + (turn + 1) % STAGES * STAGE, 0);
        }
        // The tile that was read up to the last barrier makes room.
        if (s == 0) stage(first + turn + STAGES - 1, shared + (turn + STAGES - 1) % STAGES * STAGE);
#pragma unroll
        for (int i = 0; i < ROWS; ++i)
#pragma unroll
          for (int j = 0; j < 2 * COLUMNS; ++j) {
            const uint32_t pair[2] = {w[s % 2][j / 2][j % 2 * 2], w[s % 2][j / 2][j % 2 * 2 + 1]};
            mma<T>(sum[i][j], x[s % 2][i], pair);
          }
      }
    }
  }
  wait_copies<0>();

#pragma unroll
  for (int i = 0; i < ROWS; ++i)
#pragma unroll
    for (int j = 0; j < 2 * COLUMNS; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[i][j][e] *= args.scale;
  if (FORM != TN && args.rank > 0) {
    const Lanes<true, BM, Tail::DEEP, WM, true> tail_a(warp_row);
    const Lanes<true, BN, Tail::DEEP, WN, false> tail_b(warp_column);
    for (uint32_t from = 0; from < tail.width; from += Tail::DEEP) {
      if (from > 0) {
        __syncthreads();
        tail.stage(tail_room, epilogue, args.m, row0, column0, from);
        __syncthreads();
      }
#pragma unroll
      for (uint32_t s = 0; s < Tail::DEEP / 16; ++s) {
        if (from + s * 16 >= tail.width) continue;
#pragma unroll
        for (int i = 0; i < ROWS; ++i) tail_a.load(x[0][i], tail_room, i, s);
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j)
          tail_b.load(w[0][j], tail_room + BM * Tail::DEEP * 2, j, s);
#pragma unroll
        for (int i = 0; i < ROWS; ++i)
#pragma unroll
          for (int j = 0; j < 2 * COLUMNS; ++j) {
            const uint32_t pair[2] = {w[0][j / 2][j % 2 * 2], w[0][j / 2][j % 2 * 2 + 1]};
            mma<bf16>(sum[i][j], x[0][i], pair);
          }
      }
    }
  }

  // Each warp turns its sums into rows through shared memory. The two pieces of 16 bytes of a run
  // stand in turned order in every other row and every other four runs: what a quarter of a warp
  // reads, runs of one row or of several, then meets no bank twice, nor do the eight rows, two
  // neighbours each, that it writes.
  constexpr int PITCH = tile_pitch(WN), LANES = WN / RUN;
  __syncthreads();
  float *room = reinterpret_cast<float *>(shared) + warp_id() * (WM * PITCH);
  const uint32_t lane = lane_id();
#pragma unroll
  for (int i = 0; i < ROWS; ++i)
#pragma unroll
    for (int j = 0; j < 2 * COLUMNS; ++j)
#pragma unroll
      for (int e = 0; e < 4; e += 2) {
        const uint32_t turned = ((j / 4) ^ (lane / 4)) % 2 * 4;
        store8(room + (16 * i + lane / 4 + e / 2 * 8) * PITCH + 8 * j + ((lane % 4 * 2) ^ turned),
               Eight{{float_to_bits(sum[i][j][e]), float_to_bits(sum[i][j][e + 1])}});
      }
  warp_barrier();
  // What a row reads beside its sum is under way while the rows before it are written.
  constexpr uint32_t STEP = 32 / LANES, AHEAD = WM / STEP > 2 ? 2 : WM / STEP - 1;
  constexpr bool SUM = FORM == TN;
  const uint32_t column = column0 + warp_column + lane % LANES * RUN;
  if (column >= args.n) return;
  const Epilogue::Columns of_columns = epilogue.columns<SUM>(column);
  const auto read_row = [&](Epilogue::Old &old, uint32_t r) {
    const uint32_t row = row0 + warp_row + r;
    if (r < WM && row < args.m) epilogue.read<SUM>(old, row, column);
  };
  Epilogue::Old old[AHEAD + 1];
#pragma unroll
  for (uint32_t i = 0; i < AHEAD; ++i) read_row(old[i], lane / LANES + i * STEP);
#pragma unroll 1
  for (uint32_t turn = 0; turn < WM / STEP; ++turn) {
    const uint32_t r = lane / LANES + turn * STEP, row = row0 + warp_row + r;
    if (row >= args.m) break;
    read_row(old[AHEAD], r + AHEAD * STEP);
    const float *at = room + r * PITCH + lane % LANES * RUN;
    const uint32_t turned = ((lane % LANES / 4) ^ r) % 2 * 4;
    const Sixteen one = load16(at + turned), other = load16(at + (turned ^ 4));
    float v[RUN];
#pragma unroll
    for (int e = 0; e < 4; ++e)
      v[e] = bits_to_float(one.word[e]), v[4 + e] = bits_to_float(other.word[e]);
    epilogue.write<SUM>(row, column, v, of_columns, old[0]);
#pragma unroll
    for (uint32_t i = 0; i < AHEAD; ++i) old[i] = old[i + 1];
  }
}

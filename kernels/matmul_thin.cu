// An adapter's products with bf16 rows on tensor cores: x·Aᵀ, and both that its backward makes of
// dy. The large operand is read once, whatever a factor of f32 costs: that is taken apart into
// three bf16, 8 bits each, so that nothing of it is lost.
//
// A block sums a chunk that is the same for every number of rows, so that few rows have many
// blocks and a row's bits depend on nothing beside it. Partial sums are f32, a matrix a chunk,
// which `split_k_reduce`, or who takes them, adds in the order of the chunks. Of a chunk of x·Aᵀ,
// stretches of THIN_MMA_CHAIN are chains of products, one for each part of the factor, added in
// their order: many rows walk from one to the next, few rows have a warp for each.
#include "entry.cuh"
#include "epilogue.cuh"
#include "operand.cuh"
#include "vector.cuh"

/// 16 bytes of a chunk in shared memory: eight of k of a row. Eight rows that one ldmatrix reads
/// meet no bank twice. Row r of the factor is part r / 8 of its column r % 8.
static __device__ __forceinline__ char *chunk_piece(char *chunk, uint32_t row, uint32_t piece) {
  return chunk + row * (THIN_MMA_CHUNK * 2) + ((piece ^ (row & 7u)) << 4);
}

/// Four of k from `deep` on, of column `column`, as the three parts that stand one under the other.
static __device__ __forceinline__ void put_parts(char *factor, uint32_t column, uint32_t deep,
                                                 const float (&v)[4]) {
  uint32_t one[3], other[3];
  three_parts(one, v[0], v[1]);
  three_parts(other, v[2], v[3]);
#pragma unroll
  for (uint32_t part = 0; part < 3; ++part)
    store8(chunk_piece(factor, part * THIN_COLUMNS + column, deep / 8) + deep % 8 * 2,
           Eight{{one[part], other[part]}});
}

/// Four of k from `deep` on, in the chunk that begins at `start`, of a column of the factor; zeros
/// where there are none.
template <bool ALIGNED>
static __device__ __forceinline__ void load_four(float (&v)[4], const Product &args,
                                                 uint32_t column, uint32_t start, uint32_t deep) {
  const uint32_t there = column < args.n ? at_least_zero(args.k - start, deep) : 0;
  const float *from = static_cast<const float *>(args.b) + uint64_t(column) * args.k + start + deep;
  if (ALIGNED && there >= 4) {
    load_many<4>(v, from);
  } else {
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) v[i] = i < there ? from[i] : 0.0f;
  }
}

/// The chains of 16 rows over a stretch of k.
struct Chains {
  float part[3][4];

  __device__ __forceinline__ Chains() : part{} {}

  /// 32 of k: two fragments of a, and the factor's from piece `piece` on.
  __device__ __forceinline__ void add(const uint32_t (&x)[2][4], char *factor, uint32_t piece) {
    const uint32_t lane = lane_id();
#pragma unroll
    for (uint32_t p = 0; p < 3; ++p) {
      // Two steps of 16 of k: matrices one under the other along k.
      uint32_t w[4];
      ldmatrix(w, chunk_piece(factor, p * THIN_COLUMNS + (lane & 7u), piece + lane / 8));
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        const uint32_t step[2] = {w[2 * s], w[2 * s + 1]};
        mma<bf16>(part[p], x[s], step);
      }
    }
  }

  /// What it comes to, the smallest first; the chains begin anew.
  __device__ __forceinline__ float take(int i) {
    const float sum = part[0][i] + (part[1][i] + part[2][i]);
    part[0][i] = part[1][i] = part[2][i] = 0.0f;
    return sum;
  }
};

/// y = a·bᵀ, y of few columns. Shared memory: the chunk of the factor, then stages of a.
template <bool ALIGNED>
static __device__ void thin_mma(const Product args) {
  constexpr uint32_t ROWS = THIN_MMA_ROWS, DEEP = THIN_MMA_DEPTH, STAGES = THIN_MMA_STAGES,
                     CHUNK = THIN_MMA_CHUNK, THREADS = THIN_MMA_THREADS;
  using A = Operand<bf16, true, ROWS, DEEP, THREADS, ALIGNED>;
  char *factor = shared_memory(), *tiles = factor + 3 * THIN_COLUMNS * CHUNK * 2;
  // Groups of columns of the same rows stand side by side: they share a in L2.
  const uint32_t groups = (args.n + THIN_COLUMNS - 1) / THIN_COLUMNS;
  const uint32_t row0 = blockIdx.x / groups * ROWS, column0 = blockIdx.x % groups * THIN_COLUMNS;
  const uint32_t start = blockIdx.y * CHUNK,
                 length = args.k - start < CHUNK ? args.k - start : CHUNK;
  const uint32_t count = (length + DEEP - 1) / DEEP;

  const A from_a(args.a, row0, args.m, args.k, start);
  const auto stage = [&](uint32_t tile) {
    from_a.stage(tiles + tile % STAGES * A::BYTES, tile, int32_t(length) - int32_t(tile * DEEP));
    commit_copies();
  };
#pragma unroll
  for (uint32_t s = 0; s < STAGES - 1; ++s) stage(s);
  // Neighbours have neighbouring places in memory; a few reads are under way at once.
  constexpr uint32_t TOGETHER = 4;
  const uint32_t along = count * (DEEP / 4), all = THIN_COLUMNS * along;
  for (uint32_t first = threadIdx.x; first < all; first += TOGETHER * THREADS) {
    float v[TOGETHER][4];
#pragma unroll
    for (uint32_t t = 0; t < TOGETHER; ++t) {
      const uint32_t e = first + t * THREADS, column = e < all ? column0 + e / along : args.n;
      load_four<ALIGNED>(v[t], args, column, start, e % along * 4);
    }
#pragma unroll
    for (uint32_t t = 0; t < TOGETHER; ++t) {
      const uint32_t e = first + t * THREADS;
      if (e < all) put_parts(factor, e / along, e % along * 4, v[t]);
    }
  }

  const uint32_t lane = lane_id(), warp_row = warp_id() * 16;
  const Lanes<true, ROWS, DEEP, 16, true> lanes_a(warp_row);
  static_assert(THIN_MMA_CHAIN % DEEP == 0, "chains are whole tiles");
  float sum[4] = {};
  Chains chains;
  for (uint32_t tile = 0; tile < count; ++tile) {
    wait_copies<STAGES - 2>();
    __syncthreads();
    stage(tile + STAGES - 1);
    const char *of_a = tiles + tile % STAGES * A::BYTES;
#pragma unroll
    for (uint32_t pair = 0; pair < DEEP / 32; ++pair) {
      uint32_t x[2][4];
#pragma unroll
      for (int s = 0; s < 2; ++s) lanes_a.load(x[s], of_a, 0, 2 * pair + s);
      chains.add(x, factor, (tile * DEEP + pair * 32) / 8);
    }
    if ((tile + 1) * DEEP % THIN_MMA_CHAIN == 0 || tile + 1 == count) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[i] += chains.take(i);
    }
  }
  wait_copies<0>();

  float *partial = static_cast<float *>(args.y) + uint64_t(blockIdx.y) * args.m * args.n;
#pragma unroll
  for (uint32_t half = 0; half < 2; ++half) {
    const uint32_t row = row0 + warp_row + lane / 4 + 8 * half;
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
      const uint32_t column = column0 + lane % 4 * 2 + i;
      if (row < args.m && column < args.n)
        partial[uint64_t(row) * args.n + column] = sum[2 * half + i];
    }
  }
}

/// The same of few rows: a and the factor of the whole chunk are asked for at once, and a warp has
/// each chain. Shared memory: the chunk of the factor, that of a, the chains' sums.
template <bool ALIGNED>
static __device__ void thin_few(const Product args) {
  constexpr uint32_t ROWS = THIN_FEW_ROWS, CHUNK = THIN_MMA_CHUNK, THREADS = THIN_FEW_THREADS,
                     PIECES = CHUNK / 8, OF_A = ROWS * PIECES / THREADS,
                     OF_B = THIN_COLUMNS * CHUNK / 4 / THREADS, SUMS = ROWS * THIN_COLUMNS;
  char *factor = shared_memory(), *rows = factor + 3 * THIN_COLUMNS * CHUNK * 2;
  float *sums = reinterpret_cast<float *>(rows + ROWS * CHUNK * 2);
  const uint32_t groups = (args.n + THIN_COLUMNS - 1) / THIN_COLUMNS;
  const uint32_t row0 = blockIdx.x / groups * ROWS, column0 = blockIdx.x % groups * THIN_COLUMNS;
  const uint32_t start = blockIdx.y * CHUNK,
                 length = args.k - start < CHUNK ? args.k - start : CHUNK;

  using Rows = Operand<bf16, true, ROWS, 64, 128, ALIGNED>;
  const bf16 *a = static_cast<const bf16 *>(args.a);
  Sixteen x[OF_A];
#pragma unroll
  for (uint32_t t = 0; t < OF_A; ++t) {
    const uint32_t e = threadIdx.x + t * THREADS, row = row0 + e / PIECES, at = e % PIECES * 8;
    const uint32_t there = row < args.m ? at_least_zero(length, at) : 0;
    const bf16 *from = a + uint64_t(row) * args.k + start + at;
    if (ALIGNED)
      x[t] = there > 0 ? load16(from) : Sixteen{{0, 0, 0, 0}};
    else
      x[t] = Rows::gathered(reinterpret_cast<const char *>(from), int32_t(there));
  }
  float v[OF_B][4];
#pragma unroll
  for (uint32_t t = 0; t < OF_B; ++t) {
    const uint32_t e = threadIdx.x + t * THREADS;
    load_four<ALIGNED>(v[t], args, column0 + e / (CHUNK / 4), start, e % (CHUNK / 4) * 4);
  }
#pragma unroll
  for (uint32_t t = 0; t < OF_A; ++t) {
    const uint32_t e = threadIdx.x + t * THREADS;
    store16(chunk_piece(rows, e / PIECES, e % PIECES), x[t]);
  }
#pragma unroll
  for (uint32_t t = 0; t < OF_B; ++t) {
    const uint32_t e = threadIdx.x + t * THREADS;
    put_parts(factor, e / (CHUNK / 4), e % (CHUNK / 4) * 4, v[t]);
  }
  __syncthreads();

  const uint32_t lane = lane_id();
  Chains chains;
#pragma unroll
  for (uint32_t pair = 0; pair < THIN_MMA_CHAIN / 32; ++pair) {
    const uint32_t piece = (warp_id() * THIN_MMA_CHAIN + pair * 32) / 8;
    uint32_t fragment[2][4];
#pragma unroll
    for (int s = 0; s < 2; ++s)
      ldmatrix(fragment[s], chunk_piece(rows, lane & 15u, piece + 2 * s + lane / 16));
    chains.add(fragment, factor, piece);
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float *to = sums + warp_id() * SUMS + (lane / 4 + 8 * half) * THIN_COLUMNS + lane % 4 * 2;
    const float one = chains.take(2 * half), other = chains.take(2 * half + 1);
    store8(to, Eight{{float_to_bits(one), float_to_bits(other)}});
  }
  __syncthreads();
  if (threadIdx.x >= SUMS) return;
  float sum = 0.0f;
#pragma unroll
  for (uint32_t w = 0; w < THREADS / 32; ++w) sum += sums[w * SUMS + threadIdx.x];
  const uint32_t row = row0 + threadIdx.x / THIN_COLUMNS,
                 column = column0 + threadIdx.x % THIN_COLUMNS;
  if (row < args.m && column < args.n)
    static_cast<float *>(args.y)[(uint64_t(blockIdx.y) * args.m + row) * args.n + column] = sum;
}

// thin_mma_nt: 128 threads, 64 registers, 48 KB, 3 blocks a processor
// bound by lsu (shared 76 %, l2 65 %, tensor 28 %)
// predicted on an A100: 86 % of the load units' rate, waits 10 %, if 54 % stays in L2
KERNEL(THIN_MMA_THREADS, thin_mma_nt, Product, thin_mma<true>)
KERNEL(THIN_MMA_THREADS, thin_mma_nt_any, Product, thin_mma<false>)

// thin_few_nt: 128 threads, 96 registers, 42 KB, 3 blocks a processor
// bound by lsu (l2 75 %, shared 72 %, tensor 21 %, issue 11 %)
// predicted on an A100: 88 % of the load units' rate, waits 7 %, if 61 % stays in L2
KERNEL(THIN_FEW_THREADS, thin_few_nt, Product, thin_few<true>)
KERNEL(THIN_FEW_THREADS, thin_few_nt_any, Product, thin_few<false>)

/// The first `count` of N neighbours, two or four: in one access where all are there and the
/// address allows it.
template <uint32_t N>
static __device__ __forceinline__ void store_first(float *to, uint32_t count, const float (&v)[N]) {
  if (count >= N && reinterpret_cast<uintptr_t>(to) % (4 * N) == 0) {
    if constexpr (N == 4)
      store16(to, Sixteen{{float_to_bits(v[0]), float_to_bits(v[1]), float_to_bits(v[2]),
                           float_to_bits(v[3])}});
    else
      store8(to, Eight{{float_to_bits(v[0]), float_to_bits(v[1])}});
  } else {
#pragma unroll
    for (uint32_t e = 0; e < N; ++e)
      if (e < count) to[e] = v[e];
  }
}

/// dz = dy·B and dB = dyᵀ·z, of eight of the rank, in one pass over the block's part of dy.
///
/// Warps stand side by side and keep what belongs to their columns in registers: the parts of B and
/// the sums of dB. Of 16 rows by 16 columns both fragments are read at the same addresses, for dz
/// as they stand and for dB transposed. Each warp's sum of dz, over its columns, goes through
/// shared memory to one warp (a stage later, each warp in turn), which adds them from left to
/// right.
template <bool ALIGNED>
static __device__ void low_rank(const LowRankBackward args) {
  constexpr uint32_t ROWS = LOW_RANK_ROWS, COLUMNS = LOW_RANK_COLUMNS, DEEP = LOW_RANK_DEPTH,
                     STAGES = LOW_RANK_STAGES, THREADS = LOW_RANK_THREADS, WARPS = THREADS / 32,
                     SUMS = LOW_RANK_SUMS, SPAN = COLUMNS / WARPS, STEPS = SPAN / 16;
  static_assert(DEEP == 16 && SPAN == 64, "a stage is one step of k; a warp has eight pieces");
  using Dy = Operand<bf16, false, COLUMNS, DEEP, THREADS, ALIGNED>;
  char *tiles = shared_memory(), *z = tiles + STAGES * Dy::BYTES;
  float *sums = reinterpret_cast<float *>(z + ROWS * RUN * 2);
  // Groups of the rank stand side by side: they share dy in L2.
  const uint32_t groups = (args.rank + RUN - 1) / RUN, across = blockIdx.x / groups;
  const uint32_t rank0 = blockIdx.x % groups * RUN, column0 = across * COLUMNS;
  const uint32_t row0 = blockIdx.y * ROWS, rows = args.m - row0 < ROWS ? args.m - row0 : ROWS;
  const uint32_t count = (rows + DEEP - 1) / DEEP;

  const Dy from_dy(args.dy, column0, args.n, args.m, row0);
  const auto stage = [&](uint32_t tile) {
    from_dy.stage(tiles + tile % STAGES * Dy::BYTES, tile, int32_t(rows) - int32_t(tile * DEEP));
    commit_copies();
  };
#pragma unroll
  for (uint32_t s = 0; s < STAGES - 1; ++s) stage(s);
  for (uint32_t r = threadIdx.x; r < count * DEEP; r += THREADS) {
    float v[RUN];
    load_run(v, args.z, DTYPE_BF16, uint64_t(row0 + r) * args.rank + rank0,
             r < rows ? args.rank - rank0 : 0);
    store16(z + r * (RUN * 2), Sixteen{{pack<bf16>(v[0], v[1]), pack<bf16>(v[2], v[3]),
                                        pack<bf16>(v[4], v[5]), pack<bf16>(v[6], v[7])}});
  }

  const uint32_t lane = lane_id(), warp = warp_id(), warp_column = column0 + warp * SPAN;
  uint32_t b[STEPS][3][2];
#pragma unroll
  for (uint32_t s = 0; s < STEPS; ++s)
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
      const uint32_t column = warp_column + s * 16 + half * 8 + lane % 4 * 2,
                     rank = rank0 + lane / 4;
      const float *from = args.b + uint64_t(column) * args.rank + rank;
      const bool inside = rank < args.rank;
      uint32_t part[3];
      three_parts(part, inside && column < args.n ? from[0] : 0.0f,
                  inside && column + 1 < args.n ? from[args.rank] : 0.0f);
#pragma unroll
      for (uint32_t p = 0; p < 3; ++p) b[s][p][half] = part[p];
    }

  float *partial = args.dz + (uint64_t(across) * args.m + row0) * args.rank + rank0;
  const auto add_up = [&](uint32_t tile) {
    if (warp != tile % WARPS) return;
    float v[4] = {};
#pragma unroll 2  // more at once want more registers than there are beside the rest
    for (uint32_t w = 0; w < WARPS; ++w) {
      const Sixteen x = load16(sums + (tile % 2 * WARPS + w) * SUMS + lane * 4);
#pragma unroll
      for (uint32_t e = 0; e < 4; ++e) v[e] += bits_to_float(x.word[e]);
    }
    const uint32_t row = tile * DEEP + lane / 2, at = lane % 2 * 4;
    if (row < rows)
      store_first<4>(partial + uint64_t(row) * args.rank + at, at_least_zero(args.rank, rank0 + at),
                     v);
  };

  const uint32_t piece = swizzled<Dy::PIECES>(lane % 16, warp * (SPAN / 8) + lane / 16);
  float of_b[STEPS][4] = {};
  for (uint32_t tile = 0; tile < count; ++tile) {
    wait_copies<STAGES - 2>();
    __syncthreads();
    stage(tile + STAGES - 1);
    if (tile > 0) add_up(tile - 1);
    const char *dy = tiles + tile % STAGES * Dy::BYTES;
    // 16 rows are half of what one ldmatrix reads: it reads them twice.
    uint32_t of_z[4];
    ldmatrix_transposed(of_z, z + (tile * DEEP + lane % 16) * (RUN * 2));
    const uint32_t right[2] = {of_z[0], of_z[1]};
    float sum[4] = {};
#pragma unroll
    for (uint32_t s = 0; s < STEPS; ++s) {
      const char *at = dy + (piece ^ s * 32);
      uint32_t x[4], turned[4];
      ldmatrix(x, at);
      ldmatrix_transposed(turned, at);
#pragma unroll
      for (uint32_t p = 0; p < 3; ++p) mma<bf16>(sum, x, b[s][p]);
      const uint32_t left[4] = {turned[0], turned[2], turned[1], turned[3]};
      mma<bf16>(of_b[s], left, right);
    }
    float *mine = sums + (tile % 2 * WARPS + warp) * SUMS + lane * 2;
    store8(mine, Eight{{float_to_bits(sum[0]), float_to_bits(sum[1])}});
    store8(mine + SUMS / 2, Eight{{float_to_bits(sum[2]), float_to_bits(sum[3])}});
  }
  wait_copies<0>();
  __syncthreads();
  add_up(count - 1);

  const uint32_t at = rank0 + lane % 4 * 2;
  float *d_b = args.d_b + uint64_t(blockIdx.y) * args.n * args.rank + at;
#pragma unroll
  for (uint32_t s = 0; s < STEPS; ++s)
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
      const uint32_t column = warp_column + s * 16 + half * 8 + lane / 4;
      const float v[2] = {of_b[s][2 * half], of_b[s][2 * half + 1]};
      if (column < args.n)
        store_first<2>(d_b + uint64_t(column) * args.rank, at_least_zero(args.rank, at), v);
    }
}

// low_rank_backward: 256 threads, 82 registers, 80 KB, 2 blocks a processor
// bound by lsu (shared 77 %, l2 60 %, tensor 40 %, issue 11 %)
// predicted on an A100: 91 % of the load units' rate, if 52 % stays in L2
KERNEL(LOW_RANK_THREADS, low_rank_backward, LowRankBackward, low_rank<true>)
KERNEL(LOW_RANK_THREADS, low_rank_backward_any, LowRankBackward, low_rank<false>)

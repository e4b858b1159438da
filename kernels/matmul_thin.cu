// Products of few columns on tensor cores: bf16 rows by a factor of f32 (x·Aᵀ and dy·B of an
// adapter). a is read once, whatever the factor costs: it is taken apart into three bf16, 8 bits
// each, so that nothing of it is lost.
//
// A block sums a chunk of k that is the same for every number of rows, so that few rows have many
// blocks and a row's bits depend on nothing beside it. Partial sums are [chunks, m, n] f32, which
// `split_k_reduce` adds in the order of their chunks.
#include "entry.cuh"
#include "epilogue.cuh"
#include "operand.cuh"
#include "vector.cuh"

enum Form { NT, NN };

/// 16 bytes of the factor in shared memory: eight of k of row `row`, which is part row / 8 of
/// column row % 8. Eight rows that one ldmatrix reads meet no bank twice.
static __device__ __forceinline__ char *factor_piece(char *factor, uint32_t row, uint32_t piece) {
  return factor + row * (THIN_MMA_CHUNK * 2) + ((piece ^ (row & 7u)) << 4);
}

/// Four of k from `deep` on, of column `column`, as the three parts that stand one under the other.
static __device__ __forceinline__ void put_parts(char *factor, uint32_t column, uint32_t deep,
                                                 const float (&v)[4]) {
  float x[4] = {v[0], v[1], v[2], v[3]};
#pragma unroll
  for (uint32_t part = 0; part < 3; ++part) {
    Eight words;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      words.word[i] = pack<bf16>(x[2 * i], x[2 * i + 1]);
      x[2 * i] -= low_half<bf16>(words.word[i]);
      x[2 * i + 1] -= high_half<bf16>(words.word[i]);
    }
    store8(factor_piece(factor, part * THIN_COLUMNS + column, deep / 8) + deep % 8 * 2, words);
  }
}

/// Shared memory: the chunk of the factor, then stages of a.
template <Form FORM, bool ALIGNED>
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
  const float *b = static_cast<const float *>(args.b);
  // Neighbours have neighbouring places in memory; a few reads are under way at once.
  constexpr uint32_t TOGETHER = 4;
  const uint32_t along = count * (DEEP / 4), all = THIN_COLUMNS * along;
  for (uint32_t first = threadIdx.x; first < all; first += TOGETHER * THREADS) {
    float v[TOGETHER][4];
#pragma unroll
    for (uint32_t t = 0; t < TOGETHER; ++t) {
      const uint32_t e = first + t * THREADS;
      const uint32_t column = FORM == NT ? e / along : e % THIN_COLUMNS;
      const uint32_t deep = (FORM == NT ? e % along : e / THIN_COLUMNS) * 4;
      const uint64_t at = FORM == NT ? uint64_t(column0 + column) * args.k + start + deep
                                     : uint64_t(start + deep) * args.n + column0 + column;
      const uint32_t there = e < all && column0 + column < args.n ? at_least_zero(length, deep) : 0;
      if (FORM == NT && ALIGNED && there >= 4) {
        load_many<4>(v[t], b + at);
      } else {
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i)
          v[t][i] = i < there ? b[at + (FORM == NT ? i : uint64_t(i) * args.n)] : 0.0f;
      }
    }
#pragma unroll
    for (uint32_t t = 0; t < TOGETHER; ++t) {
      const uint32_t e = first + t * THREADS;
      const uint32_t column = FORM == NT ? e / along : e % THIN_COLUMNS;
      if (e < all) put_parts(factor, column, (FORM == NT ? e % along : e / THIN_COLUMNS) * 4, v[t]);
    }
  }

  const uint32_t lane = lane_id(), warp_row = warp_id() * 16;
  const Lanes<true, ROWS, DEEP, 16, true> lanes_a(warp_row);
  float sum[4] = {};
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
#pragma unroll
      for (uint32_t part = 0; part < 3; ++part) {
        // Two steps of 16 of k: matrices one under the other along k.
        uint32_t w[4];
        ldmatrix(w, factor_piece(factor, part * THIN_COLUMNS + (lane & 7u),
                                 (tile * DEEP + pair * 32) / 8 + lane / 8));
#pragma unroll
        for (int s = 0; s < 2; ++s) {
          const uint32_t step[2] = {w[2 * s], w[2 * s + 1]};
          mma<bf16>(sum, x[s], step);
        }
      }
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

KERNEL(THIN_MMA_THREADS, thin_mma_nt, Product, thin_mma<NT, true>)
KERNEL(THIN_MMA_THREADS, thin_mma_nn, Product, thin_mma<NN, true>)
KERNEL(THIN_MMA_THREADS, thin_mma_nt_any, Product, thin_mma<NT, false>)
KERNEL(THIN_MMA_THREADS, thin_mma_nn_any, Product, thin_mma<NN, false>)

// What a launch and a kernel agree on: the parameters of every entry point, and the constants and
// formulas that decide grids and shared memory. Nothing of this is written anywhere else.
//
// build.rs reads this file and says the same in Rust (`kernels::interface`), so it holds only what
// build.rs knows: constants and one-line functions of uint32_t, structs of pointers, uint32_t,
// uint64_t, float and structs from above, with their size behind them. A size is the sum of the
// fields': both compilers then have each field at the same place. Rust has addresses for pointers
// and no templates.
#pragma once

#include <stdint.h>

#include "dtype.cuh"

// Elements that are told apart at run time, four bits each where there are several in a word.

constexpr uint32_t DTYPE_F32 = 0;
constexpr uint32_t DTYPE_F16 = 1;
constexpr uint32_t DTYPE_BF16 = 2;

/// Warps that a block has at most.
constexpr uint32_t MOST_WARPS = 32;
/// Bytes of shared memory for a sum over a block: a float a warp.
constexpr uint32_t REDUCE_SHARED = 4 * MOST_WARPS;

static constexpr __host__ __device__ uint32_t rounded_up(uint32_t n, uint32_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}
static constexpr __host__ __device__ uint32_t larger(uint32_t a, uint32_t b) {
  return a > b ? a : b;
}

// activation.cu

template <class T>
struct Blend {
  T *y;
  const T *x;
  uint64_t n;
  float alpha, beta;
};
static_assert(sizeof(Blend<float>) == 32, "");

template <class T>
struct Gelu {
  T *y;
  const T *x;
  uint64_t n;
};
static_assert(sizeof(Gelu<float>) == 24, "");

template <class T>
struct GeluBackward {
  T *dx;
  const T *dy, *x;
  uint64_t n;
};
static_assert(sizeof(GeluBackward<float>) == 32, "");

/// `places`, [rows, 3]: example low, example high, place in the example.
template <class T>
struct DropoutRows {
  T *y;
  const T *x;
  const uint32_t *places;
  uint32_t rows, cols, key0, key1, threshold;
  float kept;
  uint32_t add, unused;
};
static_assert(sizeof(DropoutRows<float>) == 56, "");

struct Cast {
  void *y;
  const void *x;
  uint64_t n;
};
static_assert(sizeof(Cast) == 24, "");

// ceiling.cu

/// Independent products a warp makes in a round: enough to fill the pipe.
constexpr uint32_t CEILING_PRODUCTS = 8;

struct Ceiling {
  float *y;
  uint32_t rounds, seed;
};
static_assert(sizeof(Ceiling) == 16, "");

// embed.cu

/// Bytes of shared memory of `embed_backward`: a float a warp, then a word of flags a warp.
constexpr uint32_t EMBED_SHARED = 2 * 4 * MOST_WARPS;

/// Rows of one dtype that ids name; none where `table` is null.
struct Table {
  const void *table;
  const uint32_t *ids;
  uint32_t rows, dtype;
};
static_assert(sizeof(Table) == 24, "");

template <class T>
struct Embed {
  T *y;
  Table tables[3];
  uint32_t rows, cols, add, unused;
};
static_assert(sizeof(Embed<float>) == 96, "");

template <class T>
struct EmbedBackward {
  float *d_table;
  const T *dy;
  const uint32_t *ids;
  uint32_t table_rows, rows, cols, unused;
};
static_assert(sizeof(EmbedBackward<float>) == 40, "");

// loss.cu

template <class T>
struct CrossEntropy {
  float *loss;
  T *logits;
  const uint32_t *targets;
  const float *weights;
  uint32_t rows, cols;
};
static_assert(sizeof(CrossEntropy<float>) == 40, "");

/// The place of the right choice of each row, or, where that is null, a share of each choice.
struct ChoiceLoss {
  float *loss, *logits;
  const uint32_t *first, *places;
  const float *shares, *weights;
  uint32_t rows;
  float temperature;
};
static_assert(sizeof(ChoiceLoss) == 56, "");

template <class T>
struct LogProbsAt {
  float *y;
  const T *logits;
  const uint32_t *first, *ids;
  uint32_t rows, cols;
};
static_assert(sizeof(LogProbsAt<float>) == 40, "");

struct ChoiceLogProbs {
  float *logits;
  const uint32_t *first;
  uint32_t rows;
  float temperature;
};
static_assert(sizeof(ChoiceLogProbs) == 24, "");

// norm.cu

/// Threads of a block that has a row.
constexpr uint32_t NORM_THREADS = 256;
/// Rows whose parameter gradients one block sums; fixed, so that the order of addition is.
constexpr uint32_t NORM_CHUNK = 64;

template <class T>
struct Layernorm {
  T *y;
  float *statistics;
  const T *x;
  const void *weight, *bias;
  uint32_t weight_dtype, bias_dtype, rows, cols;
  float epsilon;
  uint32_t unused;
};
static_assert(sizeof(Layernorm<float>) == 64, "");

template <class T>
struct LayernormBackward {
  T *dx;
  const T *dy, *x;
  const void *weight;
  const float *statistics;
  uint32_t weight_dtype, rows, cols, add;
};
static_assert(sizeof(LayernormBackward<float>) == 56, "");

template <class T>
struct LayernormParameters {
  float *partial;
  const T *dy, *x;
  const float *statistics;
  uint32_t rows, cols;
};
static_assert(sizeof(LayernormParameters<float>) == 40, "");

struct LayernormCollect {
  float *d_weight, *d_bias;
  const float *partial;
  uint32_t chunks, cols;
};
static_assert(sizeof(LayernormCollect) == 32, "");

// optim.cu

/// Elements whose squares one block sums; fixed, so that the order of addition is.
constexpr uint32_t SUM_SQUARES_CHUNK = 16384;

/// Bytes of shared memory of `sum_partial`: an f64 a thread.
static constexpr __host__ __device__ uint32_t sum_partial_shared(uint32_t threads) {
  return 8 * threads;
}

/// What depends on the step alone comes computed: `left` = 1 - β, `rate` = learning rate /
/// (1 - β1^t), `inverse_root` = 1/√(1 - β2^t), `decay` = 1 - learning rate·weight decay.
struct Adamw {
  float *parameter, *moment1, *moment2;
  const float *gradient;
  uint64_t n;
  float beta1, left1, beta2, left2, epsilon, rate, inverse_root, decay, gradient_scale;
  uint32_t unused;
};
static_assert(sizeof(Adamw) == 80, "");

struct SumSquares {
  float *partial;
  const float *x;
  uint64_t n;
};
static_assert(sizeof(SumSquares) == 24, "");

struct SumPartial {
  float *y;
  const float *partial;
  uint32_t count, unused;
};
static_assert(sizeof(SumPartial) == 24, "");

// select.cu

/// Threads of a block of `top_k`.
constexpr uint32_t TOP_K_THREADS = 256;
/// Places for what `top_k` finds in one go.
constexpr uint32_t TOP_K_FOUND = 1024;

/// Bytes of shared memory, eight each: the best of every thread, what is found, the bound, the
/// last, a count.
constexpr uint32_t TOP_K_SHARED = 8 * (TOP_K_THREADS + TOP_K_FOUND + 3);

template <class T>
struct TopK {
  float *values;
  uint32_t *columns;
  const T *x;
  uint32_t rows, cols, k, unused;
};
static_assert(sizeof(TopK<float>) == 40, "");

struct ChoiceTopK {
  float *values;
  uint32_t *places;
  const float *x;
  const uint32_t *first;
  uint32_t rows, k;
};
static_assert(sizeof(ChoiceTopK) == 40, "");

// sparse.cu

/// Threads of a block of `sparse_product`: few, so that a row with many terms has many blocks.
constexpr uint32_t SPARSE_THREADS = 64;

template <class T>
struct SampledProduct {
  float *y;
  const T *x, *table;
  const uint32_t *first, *ids;
  uint32_t rows, table_rows, count, cols;
};
static_assert(sizeof(SampledProduct<float>) == 56, "");

/// `places`: where in `weights`, which has so many, the weight of each id is.
template <class T>
struct SparseProduct {
  T *y;
  Table table;
  const uint32_t *first, *places;
  const float *weights;
  uint32_t rows, cols, many, unused;
};
static_assert(sizeof(SparseProduct<float>) == 72, "");

// attention*.cu

/// Columns of qkv from a part (query, key, value) to the next, and from a head to the next.
struct HeadStrides {
  uint32_t part, head;
};
static_assert(sizeof(HeadStrides) == 8, "");

/// Which probabilities are dropped; none where `rows`, [R, 3], is null. `kept` = 1/(1 - rate).
struct DropoutMask {
  const uint32_t *rows;
  uint32_t key0, key1, threshold;
  float kept;
};
static_assert(sizeof(DropoutMask) == 24, "");

/// Warps of a block that takes tiles of rows.
constexpr uint32_t ATTENTION_WARPS = 4;
constexpr uint32_t ATTENTION_THREADS = 32 * ATTENTION_WARPS;

/// Queries of a block on tensor cores, and keys of a tile that it walks over.
constexpr uint32_t ATTENTION_QUERIES = 128;
static constexpr __host__ __device__ uint32_t attention_keys(uint32_t size) {
  return size == 64 ? 64 : 32;
}
/// Bytes of shared memory: queries, and two stages of keys and of values.
static constexpr __host__ __device__ uint32_t attention_shared(uint32_t size) {
  return 2 * size * (ATTENTION_QUERIES + 4 * attention_keys(size));
}

/// Rows that a block on the plain cores owns, and rows of a tile that it walks over.
constexpr uint32_t ATTENTION_SIMT_OWN = 16;
constexpr uint32_t ATTENTION_SIMT_WALK = 32;
/// Bytes of shared memory: queries and sums, probabilities, values, and keys with a gap.
static constexpr __host__ __device__ uint32_t attention_simt_shared(uint32_t size) {
  return 4 * (2 * ATTENTION_SIMT_OWN * size + ATTENTION_SIMT_OWN * ATTENTION_SIMT_WALK +
              ATTENTION_SIMT_WALK * (2 * size + 1));
}

/// `work`: for each block start and rows of its sequence, the context, the block's first row.
template <class T>
struct Attention {
  T *y;
  float *log_sum_exp;
  const T *qkv;
  const Sixteen *work;
  DropoutMask dropout;
  uint32_t heads, size;
  HeadStrides layout;
  float scale;
  uint32_t unused;
};
static_assert(sizeof(Attention<float>) == 80, "");

template <class T>
struct AttentionStatistics {
  float *statistics;
  const T *dy, *y;
  const float *log_sum_exp;
  uint32_t rows, heads, size, unused;
};
static_assert(sizeof(AttentionStatistics<float>) == 48, "");

/// Rows that a block of the backward owns on tensor cores, and rows of a tile that it walks over.
static constexpr __host__ __device__ uint32_t backward_own(uint32_t size) {
  return size == 64 ? 128 : 64;
}
constexpr uint32_t BACKWARD_WALK = 32;
/// Words that a walked query brings: its statistics, and its example and place.
constexpr uint32_t BACKWARD_WORDS = 5;
/// Bytes of shared memory: owned rows of two matrices, two stages of walked rows of two and of
/// their words.
static constexpr __host__ __device__ uint32_t backward_shared(uint32_t size) {
  return 4 * size * (backward_own(size) + 2 * BACKWARD_WALK) + 8 * BACKWARD_WORDS * BACKWARD_WALK;
}
/// Bytes of shared memory on the plain cores: owned rows of two matrices and sums of two,
/// probabilities and scores, walked rows of two with a gap.
static constexpr __host__ __device__ uint32_t backward_simt_shared(uint32_t size) {
  return 4 * (4 * ATTENTION_SIMT_OWN * size + 2 * ATTENTION_SIMT_OWN * ATTENTION_SIMT_WALK +
              2 * ATTENTION_SIMT_WALK * (size + 1));
}

/// `batch` is the rows of all sequences.
template <class T>
struct AttentionBackward {
  T *d_qkv;
  const T *dy;
  const float *statistics;
  const T *qkv;
  const Sixteen *work;
  DropoutMask dropout;
  uint32_t batch, heads, size;
  HeadStrides layout;
  float scale;
};
static_assert(sizeof(AttentionBackward<float>) == 88, "");

/// Keys of one split of a prompt, how many splits there are at most (the last is without end), and
/// how many rows read a prompt together.
constexpr uint32_t CACHE_SPLIT = 512;
constexpr uint32_t CACHE_MOST_SPLITS = 4;
constexpr uint32_t CACHE_TOGETHER = 32;

/// Bytes of shared memory of `cache_store`: a word.
constexpr uint32_t CACHE_STORE_SHARED = 4;

/// Keys of a tile that a warp of `cache_prompt` walks over.
static constexpr __host__ __device__ uint32_t cache_keys(uint32_t size) {
  return size == 64 ? 32 : 16;
}
/// Bytes of shared memory: queries, for each warp two stages of keys and values, and what the warps
/// found of each row.
static constexpr __host__ __device__ uint32_t cache_prompt_shared(uint32_t size) {
  return 2 * size * (CACHE_TOGETHER + ATTENTION_WARPS * 4 * cache_keys(size)) +
         ATTENTION_WARPS * CACHE_TOGETHER * 2 * 4;
}
/// Keys of a step of `cache_paths`, one a lane, and bytes of shared memory of one of its warps:
/// where each key stands and its probability, the query, the sums.
constexpr uint32_t PATH_KEYS = 32;
static constexpr __host__ __device__ uint32_t cache_paths_warp(uint32_t size) {
  return rounded_up(PATH_KEYS * 12 + 8 * size, 16);
}
static constexpr __host__ __device__ uint32_t cache_paths_shared(uint32_t size) {
  return ATTENTION_WARPS * cache_paths_warp(size);
}

template <class T>
struct CacheStore {
  T *cache;
  const T *qkv;
  const uint32_t *slots;
  uint32_t rows, heads, size;
  HeadStrides layout;
  uint32_t unused;
};
static_assert(sizeof(CacheStore<float>) == 48, "");

/// `plan`: how many pieces there are, then pieces of (first row, split).
template <class T>
struct CachePrompt {
  float *sums, *statistics;
  const T *qkv, *prompt;
  const uint32_t *ranges, *plan;
  uint32_t rows, splits, heads;
  HeadStrides layout;
  float scale;
};
static_assert(sizeof(CachePrompt<float>) == 72, "");

template <class T>
struct CachePaths {
  T *y;
  const T *qkv, *prompt, *tail;
  const uint32_t *ranges, *path_start, *path;
  const float *sums, *statistics;
  uint32_t rows, splits, heads, size;
  HeadStrides layout;
  float scale;
  uint32_t unused;
};
static_assert(sizeof(CachePaths<float>) == 104, "");

/// `sign` -1 turns back.
template <class T>
struct Rotate {
  T *x;
  const float *cos, *sin;
  const uint32_t *positions0, *positions1;
  uint32_t rows, heads, pairs;
  HeadStrides layout;
  float sign;
};
static_assert(sizeof(Rotate<float>) == 64, "");

// matmul*.cu

/// Columns that the epilogue takes together.
constexpr uint32_t RUN = 8;
/// Of k, by which the low-rank tail is staged.
constexpr uint32_t TAIL_DEPTH = 32;

/// Threads of a block whose warps make `warp_rows` × `warp_columns` of its tile each.
static constexpr __host__ __device__ uint32_t tile_threads(uint32_t rows, uint32_t columns,
                                                           uint32_t warp_rows,
                                                           uint32_t warp_columns) {
  return 32 * (rows / warp_rows) * (columns / warp_columns);
}
/// Floats from a row of a warp's sums to the next in shared memory.
static constexpr __host__ __device__ uint32_t tile_pitch(uint32_t warp_columns) {
  return warp_columns + 8;
}
/// Bytes of shared memory: the stages and the low-rank tail, later the sums of the warps.
static constexpr __host__ __device__ uint32_t tile_shared(uint32_t rows, uint32_t columns,
                                                          uint32_t depth, uint32_t warp_rows,
                                                          uint32_t warp_columns, uint32_t stages) {
  return larger(2 * (rows + columns) * (stages * depth + TAIL_DEPTH),
                tile_threads(rows, columns, warp_rows, warp_columns) / 32 * warp_rows *
                    tile_pitch(warp_columns) * 4);
}

/// A tile of the product on tensor cores: of y by a block, of k in one of STAGES stages, of y by a
/// warp.
template <int BM_, int BN_, int BK_, int WM_, int WN_, int STAGES_>
struct Tile {
  static constexpr int BM = BM_, BN = BN_, BK = BK_, WM = WM_, WN = WN_, STAGES = STAGES_;
  static constexpr int WARPS_M = BM / WM, WARPS_N = BN / WN;
  static constexpr int THREADS = tile_threads(BM, BN, WM, WN);
  static constexpr int SHARED = tile_shared(BM, BN, BK, WM, WN, STAGES);
};
using Large = Tile<128, 256, 32, 64, 64, 4>;
using Medium = Tile<128, 128, 32, 64, 64, 4>;
using Half = Tile<128, 64, 32, 64, 32, 5>;
using Small = Tile<64, 64, 64, 32, 32, 4>;
using Low = Tile<48, 64, 64, 48, 16, 4>;
using Narrow = Tile<32, 32, 128, 16, 16, 4>;
using Few = Tile<16, 32, 128, 16, 16, 4>;
/// For operands that are gathered element by element: half of k at a time, so that what is under
/// way fits registers.
using Loose = Tile<64, 64, 32, 32, 32, 3>;

/// Of y by a block on the plain cores, and of k at a time.
constexpr uint32_t SIMT_SIDE = 64;
constexpr uint32_t SIMT_DEPTH = 16;
/// Floats from a step of k to the next in shared memory.
constexpr uint32_t SIMT_PITCH = SIMT_SIDE + 4;
constexpr uint32_t SIMT_SHARED = 2 * SIMT_DEPTH * SIMT_PITCH * 4;

/// Columns of y by a block of `thin`, and of k at a time.
constexpr uint32_t THIN_COLUMNS = 8;
constexpr uint32_t THIN_DEPTH = 2 * 32 * RUN;
constexpr uint32_t THIN_SHARED = THIN_COLUMNS * THIN_DEPTH * 4;

/// Rows of y by a block of `thin_mma`, its chunk of k, how much of that one chain of products sums,
/// and how many stages of which depth a has.
constexpr uint32_t THIN_MMA_ROWS = 64;
constexpr uint32_t THIN_MMA_CHUNK = 512;
constexpr uint32_t THIN_MMA_CHAIN = 128;
constexpr uint32_t THIN_MMA_DEPTH = 64;
constexpr uint32_t THIN_MMA_STAGES = 3;
constexpr uint32_t THIN_MMA_THREADS = 2 * THIN_MMA_ROWS;
/// Bytes of shared memory: three parts of the chunk of b, then the stages of a.
constexpr uint32_t THIN_MMA_SHARED =
    2 * (3 * THIN_COLUMNS * THIN_MMA_CHUNK + THIN_MMA_STAGES * THIN_MMA_ROWS * THIN_MMA_DEPTH);

/// Rows of y by a block of `thin_few`, a warp for each chain of its chunk, and bytes of shared
/// memory: three parts of the chunk of b, the chunk of a, the chains' sums.
constexpr uint32_t THIN_FEW_ROWS = 16;
constexpr uint32_t THIN_FEW_THREADS = 32 * THIN_MMA_CHUNK / THIN_MMA_CHAIN;
constexpr uint32_t THIN_FEW_SHARED = 2 * (3 * THIN_COLUMNS + THIN_FEW_ROWS) * THIN_MMA_CHUNK +
                                     4 * THIN_FEW_ROWS * THIN_COLUMNS * THIN_FEW_THREADS / 32;

/// Rows and columns of dy by a block of `low_rank_backward`, rows of a stage, how many there are. A
/// square has the fewest partial sums: one of dz for each block across, of dB for each down.
constexpr uint32_t LOW_RANK_ROWS = 512;
constexpr uint32_t LOW_RANK_COLUMNS = 512;
constexpr uint32_t LOW_RANK_DEPTH = 16;
constexpr uint32_t LOW_RANK_STAGES = 4;
constexpr uint32_t LOW_RANK_THREADS = 256;
/// Floats of a warp's sums of dz, of one stage.
constexpr uint32_t LOW_RANK_SUMS = LOW_RANK_DEPTH * RUN;
/// Bytes of shared memory: the stages of dy, z, the warps' sums of dz of two stages.
constexpr uint32_t LOW_RANK_SHARED =
    2 * (LOW_RANK_STAGES * LOW_RANK_DEPTH * LOW_RANK_COLUMNS + LOW_RANK_ROWS * RUN) +
    2 * 4 * LOW_RANK_SUMS * (LOW_RANK_THREADS / 32);

/// Bytes of shared memory of `thin_gradient`, which sums `rows` of k.
static constexpr __host__ __device__ uint32_t thin_gradient_shared(uint32_t rows) {
  return rows * RUN * 4;
}

/// Where in `kinds` the dtype of each tensor stands.
constexpr uint32_t KIND_OF_Y = 0;
constexpr uint32_t KIND_OF_BEFORE = 4;
constexpr uint32_t KIND_OF_BIAS = 8;
constexpr uint32_t KIND_OF_RESIDUAL = 12;
constexpr uint32_t KIND_OF_Z = 16;
constexpr uint32_t KIND_OF_FACTOR = 20;
constexpr uint32_t KIND_OF_A = 24;
constexpr uint32_t KIND_OF_B = 28;

/// Bits of `choices`.
constexpr uint32_t CHOICE_ADD = 1;
constexpr uint32_t CHOICE_GELU_TANH = 2;
constexpr uint32_t CHOICE_GELU_ERF = 4;
constexpr uint32_t CHOICE_SLOPE = 8;
/// From here on `choices` holds how many sums z is of: [sums, m, rank] f32, to be added in their
/// order and rounded to bf16; none where z is itself.
constexpr uint32_t SUMS_OF_Z = 8;

/// What every product takes. `before` receives what goes into GELU, or with CHOICE_SLOPE holds what
/// went into one, by whose slope there y is multiplied; `chunk`: the length of k that
/// one blockIdx.y sums.
struct Product {
  void *y, *before;
  const void *a, *b, *bias, *residual, *z, *factor;
  uint32_t m, n, k, chunk, rank, kinds, choices;
  float scale, low_rank_scale, residual_scale;
};
static_assert(sizeof(Product) == 104, "");

struct ThinGradient {
  float *partial;
  const void *a, *b;
  uint32_t m, n, k, rows, kinds, unused;
};
static_assert(sizeof(ThinGradient) == 48, "");

/// `dz` and `d_b` receive partial sums: [blocks across, m, rank] and [blocks down, n, rank].
struct LowRankBackward {
  float *dz, *d_b;
  const void *dy, *z;
  const float *b;
  uint32_t m, n, rank, unused;
};
static_assert(sizeof(LowRankBackward) == 56, "");

struct SumChunks {
  float *partial;
  const void *x;
  uint32_t n, k, rows, kind;
};
static_assert(sizeof(SumChunks) == 32, "");

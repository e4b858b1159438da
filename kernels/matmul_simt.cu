// Products in f32 arithmetic, for operands of any dtype at any address, and what joins partial
// sums.
//
// Every element of y is one chain of fmaf, k ascending (`thin`: 32 such chains, one a lane, added
// in one fixed order), so that a row's bits depend on nothing beside it.
#include "entry.cuh"
#include "epilogue.cuh"
#include "reduce.cuh"

enum Form { NT, NN, TN };

/// 64 × 64 of y by a block of 128 threads, 4 × 8 each; 16 of k at a time through shared memory, the
/// next 16 under way in registers.
template <Form FORM>
static __device__ void simt(const Product args) {
  constexpr uint32_t SIDE = SIMT_SIDE, DEEP = SIMT_DEPTH, PITCH = SIMT_PITCH;
  constexpr bool A_ALONG = FORM != TN, B_ALONG = FORM == NT;
  float *left = reinterpret_cast<float *>(shared_memory()), *right = left + DEEP * PITCH;
  const uint32_t blocks_n = (args.n + SIDE - 1) / SIDE;
  const uint32_t row0 = blockIdx.x / blocks_n * SIDE, column0 = blockIdx.x % blocks_n * SIDE;
  const uint32_t start = blockIdx.y * args.chunk,
                 end = args.k - start < args.chunk ? args.k : start + args.chunk;
  const uint32_t t = threadIdx.x;

  // A thread brings eight neighbours: of k where rows run along k, else of the other index.
  const auto fetch = [&](float (&v)[RUN], const void *x, uint32_t kind, bool along, uint32_t first,
                         uint32_t total, uint32_t at) {
    const uint32_t side = first + (along ? t / 2 : t % 8 * RUN),
                   deep = at + (along ? t % 2 * RUN : t / 8);
    const uint32_t count = along ? (side < total ? at_least_zero(end, deep) : 0)
                                 : (deep < end ? at_least_zero(total, side) : 0);
    load_run(v, x, kind, along ? uint64_t(side) * args.k + deep : uint64_t(deep) * total + side,
             count);
  };
  const auto put = [&](float *tile, bool along, const float (&v)[RUN]) {
#pragma unroll
    for (uint32_t e = 0; e < RUN; ++e)
      tile[along ? (t % 2 * RUN + e) * PITCH + t / 2 : t / 8 * PITCH + t % 8 * RUN + e] = v[e];
  };

  float sum[4][RUN], x[RUN], w[RUN];
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (uint32_t e = 0; e < RUN; ++e) sum[i][e] = 0.0f;
  const uint32_t my_row = t / 8 * 4, my_column = t % 8 * RUN;
  if (start < end) {
    fetch(x, args.a, args.kinds >> KIND_OF_A & 15, A_ALONG, row0, args.m, start);
    fetch(w, args.b, args.kinds >> KIND_OF_B & 15, B_ALONG, column0, args.n, start);
  }
  for (uint32_t at = start; at < end; at += DEEP) {
    put(left, A_ALONG, x);
    put(right, B_ALONG, w);
    __syncthreads();
    if (at + DEEP < end) {
      fetch(x, args.a, args.kinds >> KIND_OF_A & 15, A_ALONG, row0, args.m, at + DEEP);
      fetch(w, args.b, args.kinds >> KIND_OF_B & 15, B_ALONG, column0, args.n, at + DEEP);
    }
#pragma unroll
    for (uint32_t d = 0; d < DEEP; ++d) {
      const Sixteen p = load16(left + d * PITCH + my_row);
      const Sixteen q[2] = {load16(right + d * PITCH + my_column),
                            load16(right + d * PITCH + my_column + 4)};
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (uint32_t e = 0; e < RUN; ++e)
          sum[i][e] =
              fmaf(bits_to_float(p.word[i]), bits_to_float(q[e / 4].word[e % 4]), sum[i][e]);
    }
    __syncthreads();
  }

  const Epilogue epilogue(args, FORM == NT);
  const uint32_t row = opaque(row0 + my_row), column = opaque(column0 + my_column);
  if (column >= args.n) return;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (row + i < args.m) epilogue.write_sums(row + i, column, sum[i]);
}

// simt_nt: 64 x 64 x 16; 128 threads, 111 registers, 8,704 bytes, 4 blocks a processor
// bound by lsu (dram 68 %, shared 61 %, l2 35 %)
// predicted on an A100: 90 % of the load units' rate, waits 5 %
KERNEL(128, simt_nt, Product, simt<NT>)

// simt_nn: 64 x 64 x 16; 128 threads, 93 registers, 8,704 bytes, 5 blocks a processor
// bound by lsu (shared 70 %, dram 68 %, l2 35 %)
// predicted on an A100: 92 % of the load units' rate
KERNEL(128, simt_nn, Product, simt<NN>)

// simt_tn: 64 x 64 x 16; 128 threads, 89 registers, 8,704 bytes, 5 blocks a processor
// bound by lsu (shared 78 %, dram 68 %, l2 35 %)
// predicted on an A100: 92 % of the load units' rate
KERNEL(128, simt_tn, Product, simt<TN>)

/// to[0..4) = v[0..4), in one access.
static __device__ __forceinline__ void put4(float *to, const float *v) {
  store16(to, Sixteen{{float_to_bits(v[0]), float_to_bits(v[1]), float_to_bits(v[2]),
                       float_to_bits(v[3])}});
}

/// Few columns (x·Aᵀ and dy·B of an adapter): a is read once, b stands in shared memory. A warp
/// takes ROWS rows and eight columns (blockIdx.z); a lane takes eight neighbours of every 256 of k.
/// How many rows a warp takes changes no bit.
template <Form FORM, int ROWS>
static __device__ void thin(const Product args) {
  constexpr uint32_t STEP = 32 * RUN, DEEP = THIN_DEPTH, COLUMNS = THIN_COLUMNS;
  float *right = reinterpret_cast<float *>(shared_memory());  // [COLUMNS][DEEP]
  const uint32_t lane = lane_id(), column0 = blockIdx.z * COLUMNS;
  const uint32_t row0 = (blockIdx.x * (blockDim.x / 32) + warp_id()) * ROWS;
  const uint32_t kind_a = args.kinds >> KIND_OF_A & 15, kind_b = args.kinds >> KIND_OF_B & 15;

  // The eight of a lane stand as two times four, so that lanes read neighbouring 16 bytes; the
  // second half is turned by 16, so that neighbours of k are written to different banks.
  const auto place = [](uint32_t column, uint32_t deep) {
    const uint32_t half = deep % RUN / 4;
    return column * DEEP + deep / STEP * STEP + half * (STEP / 2) +
           ((deep % STEP / RUN * 4 + deep % 4) ^ (half * 16));
  };
  float sum[ROWS][COLUMNS];
#pragma unroll
  for (int r = 0; r < ROWS; ++r)
#pragma unroll
    for (uint32_t c = 0; c < COLUMNS; ++c) sum[r][c] = 0.0f;

  for (uint32_t at = 0; at < args.k; at += DEEP) {
    __syncthreads();
    for (uint32_t e = threadIdx.x * RUN; e < COLUMNS * DEEP; e += blockDim.x * RUN) {
      float v[RUN];
      const uint32_t c = FORM == NT ? e / DEEP : 0, d = FORM == NT ? e % DEEP : e / COLUMNS;
      if (FORM == NT) {
        const uint32_t count = column0 + c < args.n ? at_least_zero(args.k, at + d) : 0;
        load_run(v, args.b, kind_b, uint64_t(column0 + c) * args.k + at + d, count);
        put4(right + place(c, d), v);
        put4(right + place(c, d + 4), v + 4);
      } else {
        const uint32_t count = at + d < args.k ? at_least_zero(args.n, column0) : 0;
        load_run(v, args.b, kind_b, uint64_t(at + d) * args.n + column0, count);
#pragma unroll
        for (uint32_t i = 0; i < RUN; ++i) right[place(i, d)] = v[i];
      }
    }
    __syncthreads();
#pragma unroll
    for (uint32_t half = 0; half < DEEP; half += STEP) {
      const uint32_t deep = at + half + lane * RUN;
      float x[ROWS][RUN];
#pragma unroll
      for (int r = 0; r < ROWS; ++r)
        load_run(x[r], args.a, kind_a, uint64_t(row0 + r) * args.k + deep,
                 row0 + r < args.m ? at_least_zero(args.k, deep) : 0);
#pragma unroll
      for (uint32_t c = 0; c < COLUMNS; ++c) {
        const float *from = right + c * DEEP + half + lane * 4,
                    *turned = right + STEP / 2 + ((lane * 4) ^ 16);
        const Sixteen w[2] = {load16(from), load16(turned + (c * DEEP + half))};
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
#pragma unroll
          for (uint32_t e = 0; e < RUN; ++e)
            sum[r][c] = fmaf(x[r][e], bits_to_float(w[e / 4].word[e % 4]), sum[r][c]);
      }
    }
  }

  float mine[COLUMNS];
#pragma unroll
  for (int r = 0; r < ROWS; ++r)
#pragma unroll
    for (uint32_t c = 0; c < COLUMNS; ++c) {
      const float total = warp_sum(sum[r][c]);
      if (r == 0 || lane == uint32_t(r)) mine[c] = total;
    }
  const Epilogue epilogue(args, FORM == NT);
  if (lane < ROWS && row0 + lane < args.m) epilogue.write_sums(row0 + lane, column0, mine);
}

// thin_nt_4: 256 threads, 128 registers, 16 KB, 2 blocks a processor
// bound by dram (lsu 43 %, l2 31 %, shared 20 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, thin_nt_4, Product, thin<NT, 4>)

// thin_nn_4: 256 threads, 128 registers, 16 KB, 2 blocks a processor
// bound by dram (lsu 43 %, l2 31 %, shared 20 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, thin_nn_4, Product, thin<NN, 4>)

// thin_nt_1: 256 threads, 79 registers, 16 KB, 3 blocks a processor
// bound by dram (lsu 83 %, shared 57 %, l2 35 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, thin_nt_1, Product, thin<NT, 1>)

// thin_nn_1: 256 threads, 64 registers, 16 KB, 4 blocks a processor
// bound by dram (lsu 83 %, shared 57 %, l2 35 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, thin_nn_1, Product, thin<NN, 1>)

/// Partial sums of aᵀ·b where a or b has few columns (gradients of an adapter): `rows` of k for
/// each blockIdx.y, eight columns of the thin operand for each blockIdx.z, eight of the wide one
/// for each thread. partial is [chunks, m, n].
template <bool THIN_B>
static __device__ void thin_gradient(const ThinGradient args) {
  float *few = reinterpret_cast<float *>(shared_memory());  // [rows][RUN]
  const void *wide_one = THIN_B ? args.a : args.b, *thin_one = THIN_B ? args.b : args.a;
  const uint32_t kind_wide = args.kinds >> (THIN_B ? KIND_OF_A : KIND_OF_B) & 15,
                 kind_thin = args.kinds >> (THIN_B ? KIND_OF_B : KIND_OF_A) & 15;
  const uint32_t width = THIN_B ? args.m : args.n, thickness = THIN_B ? args.n : args.m;
  const uint32_t start = blockIdx.y * args.rows,
                 count = args.k - start < args.rows ? args.k - start : args.rows;
  // Halves of a row stand in turned order in every other four rows: eight rows that a quarter of a
  // warp writes meet no bank twice.
  const auto place = [](uint32_t r) { return r * RUN + r / 4 % 2 * 4; };
  const uint32_t thin0 = blockIdx.z * RUN, wide0 = (blockIdx.x * blockDim.x + threadIdx.x) * RUN;

  for (uint32_t r = threadIdx.x; r < count; r += blockDim.x) {
    float v[RUN];
    load_run(v, thin_one, kind_thin, uint64_t(start + r) * thickness + thin0,
             at_least_zero(thickness, thin0));
    put4(few + place(r), v);
    put4(few + (place(r) ^ 4), v + 4);
  }
  __syncthreads();
  if (wide0 >= width) return;

  float sum[RUN][RUN];  // [thin][wide]
#pragma unroll
  for (uint32_t i = 0; i < RUN; ++i)
#pragma unroll
    for (uint32_t e = 0; e < RUN; ++e) sum[i][e] = 0.0f;
#pragma unroll 4
  for (uint32_t r = 0; r < count; ++r) {
    float x[RUN];
    load_run(x, wide_one, kind_wide, uint64_t(start + r) * width + wide0,
             at_least_zero(width, wide0));
    const Sixteen w[2] = {load16(few + place(r)), load16(few + (place(r) ^ 4))};
#pragma unroll
    for (uint32_t i = 0; i < RUN; ++i)
#pragma unroll
      for (uint32_t e = 0; e < RUN; ++e)
        sum[i][e] = fmaf(x[e], bits_to_float(w[i / 4].word[i % 4]), sum[i][e]);
  }
  float *partial = args.partial + uint64_t(blockIdx.y) * args.m * args.n;
#pragma unroll
  for (uint32_t i = 0; i < RUN; ++i) {
    if (THIN_B) {
      // Column i of the wide operand: eight thin ones side by side.
      float v[RUN];
#pragma unroll
      for (uint32_t e = 0; e < RUN; ++e) v[e] = sum[e][i];
      if (wide0 + i < width)
        store_run(partial, DTYPE_F32, uint64_t(wide0 + i) * args.n + thin0,
                  at_least_zero(thickness, thin0), v);
    } else if (thin0 + i < thickness) {
      store_run(partial, DTYPE_F32, uint64_t(thin0 + i) * args.n + wide0,
                at_least_zero(width, wide0), sum[i]);
    }
  }
}

// thin_gradient_a: 128 threads, 88 registers, 8 KB, 5 blocks a processor
// bound by dram (l2 28 %, lsu 15 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(128, thin_gradient_a, ThinGradient, thin_gradient<false>)

// thin_gradient_b: 128 threads, 87 registers, 8 KB, 5 blocks a processor
// bound by dram (l2 28 %, lsu 18 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(128, thin_gradient_b, ThinGradient, thin_gradient<true>)

/// y = epilogue of the partial sums at `a`, [chunks, m, n] f32, added in the order of their chunks;
/// `k` is how many.
static __device__ void split_k_sum(const Product args) {
  const uint32_t runs = (args.n + RUN - 1) / RUN;
  const uint64_t at = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= uint64_t(args.m) * runs) return;
  const uint32_t row = uint32_t(at / runs), column = uint32_t(at % runs) * RUN;
  float sum[RUN] = {};
  for (uint32_t c = 0; c < args.k; ++c) {
    float x[RUN];
    load_run(x, args.a, DTYPE_F32, (uint64_t(c) * args.m + row) * args.n + column,
             at_least_zero(args.n, column));
#pragma unroll
    for (uint32_t e = 0; e < RUN; ++e) sum[e] += x[e];
  }
  const Epilogue epilogue(args, false);
  epilogue.write_sums(row, column, sum);
}

// split_k_reduce: 128 threads, 53 registers, 9 blocks a processor
// bound by dram (l2 26 %, lsu 17 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(128, split_k_reduce, Product, split_k_sum)

/// partial[c] = the sum of `rows` rows of x from row c·rows on, in order. partial is [chunks, n].
static __device__ void sum_chunk(const SumChunks args) {
  const uint32_t column = (blockIdx.x * blockDim.x + threadIdx.x) * RUN,
                 start = blockIdx.y * args.rows;
  const uint32_t end = args.k - start < args.rows ? args.k : start + args.rows;
  if (column >= args.n) return;
  float sum[RUN] = {};
#pragma unroll 4
  for (uint32_t r = start; r < end; ++r) {
    float v[RUN];
    load_run(v, args.x, args.kind, uint64_t(r) * args.n + column, at_least_zero(args.n, column));
#pragma unroll
    for (uint32_t e = 0; e < RUN; ++e) sum[e] += v[e];
  }
  store_run(args.partial, DTYPE_F32, uint64_t(blockIdx.y) * args.n + column,
            at_least_zero(args.n, column), sum);
}

// sum_chunks: 64 threads, 32 registers, 32 blocks a processor
// bound by dram (l2 26 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(64, sum_chunks, SumChunks, sum_chunk)

// Attention of sequences over themselves: softmax(scale·q·kᵀ + mask)·v, scores never leave
// registers.
#include "attention.cuh"

/// Tensor cores. A block has 64·TALL queries of one head, a warp 16·TALL of them; keys come in
/// tiles of KEYS, two stages of keys and two of values. scale > 0. Addresses and pitches are
/// multiples of 16 bytes. DROP: probabilities are dropped, which costs more than all else.
template <class T, int D, bool DROP>
static __device__ void attend(const Attention<T> args) {
  const Layout layout(args.layout);
  const Dropout dropout(args.dropout);
  constexpr int KEYS = attention_keys(D), QUERIES = ATTENTION_QUERIES;
  constexpr int TALL = QUERIES / (16 * WARPS), GROUPS = KEYS / 8, THREADS = 32 * WARPS;
  constexpr uint32_t BYTES = 2 * KEYS * D;
  const uint32_t head = blockIdx.x % args.heads, lane = lane_id(), group = lane >> 2,
                 place = lane & 3u;
  const Work work(args.work, blockIdx.x / args.heads);
  const uint64_t width = uint64_t(args.heads) * D, pitch = 3 * width;
  const T *rows = args.qkv + work.start * pitch;
  const T *key = rows + layout.column(KEY, head), *value = rows + layout.column(VALUE, head);

  char *query_tile = shared_memory();
  char *key_tile = query_tile + 2 * QUERIES * D, *value_tile = key_tile + 2 * BYTES;

  const uint32_t last =
      work.first + QUERIES < work.rows ? work.first + QUERIES : work.rows;  // one past
  const uint32_t keys = work.visible(last - 1), tiles = (keys + KEYS - 1) / KEYS;
  // Of this warp: its first query, one past its last, and how many keys any and all of them see.
  const uint32_t mine = 16 * TALL * warp_id(), begin = work.first + mine;
  const uint32_t end = begin + 16 * TALL < work.rows ? begin + 16 * TALL : work.rows;
  const uint32_t seen = begin < work.rows ? work.visible(end - 1) : 0,
                 seen_by_all = work.visible(begin);

  fetch<T, QUERIES, D, THREADS>(query_tile, rows + layout.column(QUERY, head), pitch, work.first,
                                work.rows, threadIdx.x);
  fetch<T, KEYS, D, THREADS>(key_tile, key, pitch, 0, work.rows, threadIdx.x);
  commit_copies();
  fetch<T, KEYS, D, THREADS>(value_tile, value, pitch, 0, work.rows, threadIdx.x);
  commit_copies();

  uint32_t example[TALL][3] = {};
  if (DROP) {
#pragma unroll
    for (int m = 0; m < TALL; ++m) {
      const uint32_t row = begin + 16 * m + group + 8 * (place & 1u);
      dropout.read(example[m], work.start + (row < work.rows ? row : work.rows - 1));
    }
  }

  const float factor = args.scale * LOG2_E;
  float o[TALL][D / 8][4] = {}, row_max[TALL][2], sum[TALL][2] = {};
#pragma unroll
  for (int m = 0; m < TALL; ++m) row_max[m][0] = row_max[m][1] = -infinity();

  for (uint32_t tile = 0; tile < tiles; ++tile) {
    const uint32_t first = tile * KEYS, stage = (tile & 1u) * BYTES, next = BYTES - stage;
    const bool computes = first < seen;
    wait_copies<1>();
    __syncthreads();
    if (tile + 1 < tiles)
      fetch<T, KEYS, D, THREADS>(key_tile + next, key, pitch, first + KEYS, work.rows, threadIdx.x);
    commit_copies();
    float s[TALL][GROUPS][4];
    if (computes) {
      scores<T, D, TALL, GROUPS>(s, query_tile, mine, key_tile + stage);
      if (first + KEYS > seen_by_all) {
#pragma unroll
        for (int m = 0; m < TALL; ++m)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const uint32_t visible = work.visible(begin + 16 * m + 8 * half + group);
#pragma unroll
            for (int n = 0; n < GROUPS; ++n)
#pragma unroll
              for (int i = 0; i < 2; ++i)
                if (first + 8 * n + 2 * place + i >= visible) s[m][n][2 * half + i] = -infinity();
          }
      }
      online_softmax_step<D, TALL, GROUPS>(s, row_max, sum, o, factor);
      if (DROP) {
#pragma unroll
        for (int m = 0; m < TALL; ++m)
#pragma unroll
          for (int n = 0; n < GROUPS; ++n) {
            const uint32_t kept_mask =
                kept_mask_in_row(dropout, head, first / 4 + 2 * n, example[m]);
#pragma unroll
            for (int i = 0; i < 4; ++i)
              if (!(kept_mask >> i & 1u)) s[m][n][i] = 0.0f;
          }
      }
    }
    wait_copies<1>();
    __syncthreads();
    if (tile + 1 < tiles)
      fetch<T, KEYS, D, THREADS>(value_tile + next, value, pitch, first + KEYS, work.rows,
                                 threadIdx.x);
    commit_copies();
    if (computes) accumulate<T, D, TALL, GROUPS>(o, s, value_tile + stage);
  }
  wait_copies<0>();

#pragma unroll
  for (int m = 0; m < TALL; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float total = sum[m][half];
      total += shuffle_xor(total, 1);
      total += shuffle_xor(total, 2);
      const float inverse = (DROP ? dropout.kept : 1.0f) / total;
#pragma unroll
      for (int n = 0; n < D / 8; ++n)
        o[m][n][2 * half] *= inverse, o[m][n][2 * half + 1] *= inverse;
      const uint32_t row = begin + 16 * m + 8 * half + group;
      if (place == 0 && row < work.rows)
        args.log_sum_exp[uint64_t(work.start + row) * args.heads + head] =
            fmaf(row_max[m][half], args.scale, logf(total));
    }
  store_rows<T, D, TALL>(args.y + work.start * width + uint64_t(head) * D, width, o, query_tile,
                         mine, work.first, work.rows);
}

/// Any head size and any scale, on the plain cores: a block has 16 queries of one head, a warp four
/// of them, a lane one key of a tile of 32.
template <class T>
static __device__ void attend_simt(const Attention<T> args) {
  const Layout layout(args.layout);
  const Dropout dropout(args.dropout);
  constexpr uint32_t QUERIES = ATTENTION_SIMT_OWN, TALL = QUERIES / WARPS;
  constexpr uint32_t KEYS = ATTENTION_SIMT_WALK;
  const uint32_t head = blockIdx.x % args.heads, lane = lane_id();
  const Work work(args.work, blockIdx.x / args.heads);
  const uint64_t width = uint64_t(args.heads) * args.size, pitch = 3 * width;
  const T *rows = args.qkv + work.start * pitch;
  const T *query = rows + layout.column(QUERY, head), *key = rows + layout.column(KEY, head),
          *value = rows + layout.column(VALUE, head);

  float *q = reinterpret_cast<float *>(shared_memory()), *o = q + QUERIES * args.size,
        *p = o + QUERIES * args.size;
  float *v = p + QUERIES * KEYS,
        *k = v + KEYS * args.size;  // keys with a gap, so that lanes meet different banks
  for (uint32_t i = threadIdx.x; i < QUERIES * args.size; i += blockDim.x) {
    const uint32_t row = work.first + i / args.size;
    q[i] = row < work.rows ? wide(query[row * pitch + i % args.size]) : 0.0f;
    o[i] = 0.0f;
  }
  const uint32_t mine = TALL * warp_id(), begin = work.first + mine;
  const uint32_t last = work.first + QUERIES < work.rows ? work.first + QUERIES : work.rows;
  const uint32_t keys = work.visible(last - 1);
  float row_max[TALL], sum[TALL] = {};
#pragma unroll
  for (uint32_t i = 0; i < TALL; ++i) row_max[i] = -infinity();

  for (uint32_t first = 0; first < keys; first += KEYS) {
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < KEYS * args.size; i += blockDim.x) {
      const uint32_t row = i / args.size, t = i % args.size;
      const bool inside = first + row < work.rows;
      k[row * (args.size + 1) + t] = inside ? wide(key[(first + row) * pitch + t]) : 0.0f;
      v[i] = inside ? wide(value[(first + row) * pitch + t]) : 0.0f;
    }
    __syncthreads();
    float s[TALL] = {}, rescale[TALL];
    for (uint32_t t = 0; t < args.size; ++t) {
      const float x = k[lane * (args.size + 1) + t];
#pragma unroll
      for (uint32_t i = 0; i < TALL; ++i) s[i] = fmaf(q[(mine + i) * args.size + t], x, s[i]);
    }
#pragma unroll
    for (uint32_t i = 0; i < TALL; ++i) {
      const uint32_t row = begin + i, at = first + lane;
      const float x = at < work.visible(row) ? s[i] * args.scale : -infinity();
      const float now = fmaxf(row_max[i], warp_max(x));
      rescale[i] = expf(row_max[i] - now);
      row_max[i] = now;
      float probability = expf(x - now);
      sum[i] = fmaf(sum[i], rescale[i], probability);
      if (dropout.any() && row < work.rows) {
        uint32_t example[3];
        dropout.read(example, work.start + row);
        if (!(dropout.kept_mask(head, at / 4, example) >> (at & 3u) & 1u)) probability = 0.0f;
      }
      p[(mine + i) * KEYS + lane] = probability;
    }
    warp_barrier();
    for (uint32_t t = lane; t < args.size; t += 32) {
      float sums[TALL];
#pragma unroll
      for (uint32_t i = 0; i < TALL; ++i) sums[i] = o[(mine + i) * args.size + t] * rescale[i];
      for (uint32_t j = 0; j < KEYS; ++j) {
        const float x = v[j * args.size + t];
#pragma unroll
        for (uint32_t i = 0; i < TALL; ++i) sums[i] = fmaf(p[(mine + i) * KEYS + j], x, sums[i]);
      }
#pragma unroll
      for (uint32_t i = 0; i < TALL; ++i) o[(mine + i) * args.size + t] = sums[i];
    }
  }

#pragma unroll
  for (uint32_t i = 0; i < TALL; ++i) {
    const float total = warp_sum(sum[i]);
    const uint32_t row = begin + i;
    if (row >= work.rows) continue;
    const uint64_t number = work.start + row;
    if (lane == 0) args.log_sum_exp[number * args.heads + head] = row_max[i] + logf(total);
    const float inverse = dropout.kept / total;
    for (uint32_t t = lane; t < args.size; t += 32)
      args.y[number * width + uint64_t(head) * args.size + t] =
          narrow<T>(o[(mine + i) * args.size + t] * inverse);
  }
}

// attention_64: 128 x 64; 128 threads, 255 registers, 48 KB, 2 blocks a processor
// bound by lsu (tensor 97 %, shared 81 %, exp 53 %, l2 49 %)
// predicted on an A100: 85 % of the load units' rate, waits 11 %, if 38 % stays in L2
KERNEL(ATTENTION_THREADS, attention_64_f16, Attention<f16>, attend<f16, 64, false>)
KERNEL(ATTENTION_THREADS, attention_64_f16_drop, Attention<f16>, attend<f16, 64, true>)
KERNEL(ATTENTION_THREADS, attention_64_bf16, Attention<bf16>, attend<bf16, 64, false>)
KERNEL(ATTENTION_THREADS, attention_64_bf16_drop, Attention<bf16>, attend<bf16, 64, true>)

// attention_128: 128 x 32; 128 threads, 254 registers, 64 KB, 2 blocks a processor
// bound by lsu (tensor 84 %, shared 83 %, l2 46 %, exp 24 %)
// predicted on an A100: 90 % of the load units' rate, waits 5 %, if 37 % stays in L2
KERNEL(ATTENTION_THREADS, attention_128_f16, Attention<f16>, attend<f16, 128, false>)
KERNEL(ATTENTION_THREADS, attention_128_f16_drop, Attention<f16>, attend<f16, 128, true>)
KERNEL(ATTENTION_THREADS, attention_128_bf16, Attention<bf16>, attend<bf16, 128, false>)
KERNEL(ATTENTION_THREADS, attention_128_bf16_drop, Attention<bf16>, attend<bf16, 128, true>)

// attention_any: 16 x 32; 128 threads, 72 registers, 14,464 bytes, 7 blocks a processor
// bound by lsu (shared 95 %, issue 27 %)
// predicted on an A100: 81 % of the load units' rate, waits 15 %
KERNEL(ATTENTION_THREADS, attention_any_f32, Attention<float>, attend_simt<float>)
KERNEL(ATTENTION_THREADS, attention_any_f16, Attention<f16>, attend_simt<f16>)
KERNEL(ATTENTION_THREADS, attention_any_bf16, Attention<bf16>, attend_simt<bf16>)

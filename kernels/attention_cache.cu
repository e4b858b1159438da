// Keys and values that are kept, and attention of rows over them: the prompt that neighbouring rows
// share is read once for up to 32 of them by tensor cores, then each row goes on over its own path.
//
// A prompt is cut at fixed places, whoever reads it: splits of CACHE_SPLIT keys, the last of
// CACHE_MOST_SPLITS without end, each a block's; in a split warp w has every fourth tile of keys
// from the w-th on. What the parts found is added in the order of warps, then of splits.
#include "attention.cuh"

static __device__ __forceinline__ uint32_t splits_of(uint32_t keys) {
  const uint32_t splits = (keys + CACHE_SPLIT - 1) / CACHE_SPLIT;
  return splits < CACHE_MOST_SPLITS ? splits : CACHE_MOST_SPLITS;
}

/// cache[slots[r]] = keys and values of qkv[r]; a block a row. Where a slot is named twice its
/// later row stays.
template <class T>
static __device__ void store(const CacheStore<T> args) {
  const Layout layout(args.layout);
  uint32_t *again = reinterpret_cast<uint32_t *>(shared_memory());
  const uint32_t row = blockIdx.x, slot = args.slots[row];
  if (threadIdx.x == 0) *again = 0;
  __syncthreads();
  for (uint32_t other = row + 1 + threadIdx.x; other < args.rows; other += blockDim.x)
    if (args.slots[other] == slot) *again = 1;
  __syncthreads();
  if (*again) return;
  const uint64_t width = uint64_t(args.heads) * args.size;
  const T *from = args.qkv + row * 3 * width;
  T *to = args.cache + slot * 2 * width;
  constexpr uint32_t WIDE = 16 / sizeof(T);
  const bool sixteens =
      args.size % WIDE == 0 &&
      (reinterpret_cast<uintptr_t>(args.cache) | reinterpret_cast<uintptr_t>(args.qkv)) % 16 == 0;
  const uint32_t wide = sixteens ? WIDE : 1, packs = args.size / wide;
  for (uint32_t i = threadIdx.x; i < 2 * args.heads * packs; i += blockDim.x) {
    const uint32_t part = i / (args.heads * packs), head = i / packs % args.heads,
                   t = i % packs * wide;
    const T *x = from + layout.column(part == 0 ? KEY : VALUE, head) + t;
    T *y = to + part * width + uint64_t(head) * args.size + t;
    if (sixteens)
      store16(y, load16(x));
    else
      *y = *x;
  }
}

/// For each piece of the plan (neighbouring rows with the same prompt, CACHE_TOGETHER at most, and
/// a split of it) and each head: sums[row, split, head] = Σ e^(score - max)·v over the split's
/// keys, statistics[row, split, head] = (max·log₂e, Σ e^(score - max)). scale > 0. Addresses and
/// pitches are multiples of 16 bytes.
template <class T, int D>
static __device__ void attend_prompts(const CachePrompt<T> args) {
  const Layout layout(args.layout);
  constexpr int KEYS = cache_keys(D), TALL = CACHE_TOGETHER / 16, GROUPS = KEYS / 8;
  constexpr uint32_t BYTES = 2 * KEYS * D, THREADS = 32 * WARPS;
  static_assert(4 * BYTES >= 4 * CACHE_TOGETHER * D,
                "what a warp found fits where its keys and values were");
  const uint32_t lane = lane_id(), group = lane >> 2, place = lane & 3u, warp = warp_id();
  const uint64_t width = uint64_t(args.heads) * D;
  char *query_tile = shared_memory();
  char *mine =
      query_tile + 2 * CACHE_TOGETHER * D + warp * 4 * BYTES;  // keys, keys, values, values
  float *found = reinterpret_cast<float *>(query_tile + 2 * CACHE_TOGETHER * D +
                                           WARPS * 4 * BYTES);  // [WARPS, CACHE_TOGETHER, 2]
  const float factor = args.scale * LOG2_E;

  const uint32_t work = args.plan[0] * args.heads;
  for (uint32_t number = blockIdx.x; number < work; number += gridDim.x) {
    const uint32_t head = number % args.heads, piece = number / args.heads;
    const uint32_t row = args.plan[1 + 2 * piece], split = args.plan[2 + 2 * piece];
    const uint32_t first = args.ranges[2 * row], end = args.ranges[2 * row + 1];
    // Rows of the group: up to the first that sees another prompt.
    const uint32_t other = row + lane;
    uint32_t count =
        other < args.rows && args.ranges[2 * other] == first && args.ranges[2 * other + 1] == end
            ? CACHE_TOGETHER
            : lane;
#pragma unroll
    for (uint32_t flip = 16; flip > 0; flip >>= 1) {
      const uint32_t theirs = shuffle_xor(count, flip);
      count = theirs < count ? theirs : count;
    }
    const uint32_t keys_begin = first + split * CACHE_SPLIT, whole = end - keys_begin;
    const uint32_t keys =
                       split + 1 < CACHE_MOST_SPLITS && whole > CACHE_SPLIT ? CACHE_SPLIT : whole,
                   tiles = (keys + KEYS - 1) / KEYS;
    const T *key = args.prompt + keys_begin * 2 * width + uint64_t(head) * D, *value = key + width;

    fetch<T, CACHE_TOGETHER, D, THREADS>(query_tile,
                                         args.qkv + row * 3 * width + layout.column(QUERY, head),
                                         3 * width, 0, count, threadIdx.x);
    commit_copies();
    const auto prefetch = [&](uint32_t tile, uint32_t stage) {
      fetch<T, KEYS, D, 32>(mine + stage * BYTES, key, 2 * width, tile * KEYS, keys, lane);
      fetch<T, KEYS, D, 32>(mine + (2 + stage) * BYTES, value, 2 * width, tile * KEYS, keys, lane);
    };
    if (warp < tiles) prefetch(warp, 0);
    commit_copies();
    wait_copies<1>();
    __syncthreads();

    float o[TALL][D / 8][4] = {}, row_max[TALL][2], sum[TALL][2] = {};
#pragma unroll
    for (int m = 0; m < TALL; ++m) row_max[m][0] = row_max[m][1] = -infinity();
    uint32_t stage = 0;
    for (uint32_t tile = warp; tile < tiles; tile += WARPS, stage ^= 1u) {
      if (tile + WARPS < tiles) prefetch(tile + WARPS, stage ^ 1u);
      commit_copies();
      wait_copies<1>();
      warp_barrier();
      float s[TALL][GROUPS][4];
      scores<T, D, TALL, GROUPS>(s, query_tile, 0, mine + stage * BYTES);
      if ((tile + 1) * KEYS > keys) {
#pragma unroll
        for (int m = 0; m < TALL; ++m)
#pragma unroll
          for (int n = 0; n < GROUPS; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i)
              if (tile * KEYS + 8 * n + 2 * place + (i & 1) >= keys) s[m][n][i] = -infinity();
      }
      online_softmax_step<D, TALL, GROUPS>(s, row_max, sum, o, factor);
      accumulate<T, D, TALL, GROUPS>(o, s, mine + (2 + stage) * BYTES);
      warp_barrier();
    }
    wait_copies<0>();
    warp_barrier();

    // [CACHE_TOGETHER, D], columns turned by eight from row to row: four rows that half a warp
    // writes meet no bank twice.
    float *theirs = reinterpret_cast<float *>(mine);
#pragma unroll
    for (int m = 0; m < TALL; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float total = sum[m][half];
        total += shuffle_xor(total, 1);
        total += shuffle_xor(total, 2);
        const uint32_t r = 16 * m + 8 * half + group;
        if (place == 0) {
          found[2 * (warp * CACHE_TOGETHER + r)] = row_max[m][half] * factor;
          found[2 * (warp * CACHE_TOGETHER + r) + 1] = total;
        }
#pragma unroll
        for (int n = 0; n < D / 8; ++n)
          store8(theirs + r * D + ((8 * n + 2 * place) ^ (r % 4 * 8)),
                 Eight{{float_to_bits(o[m][n][2 * half]), float_to_bits(o[m][n][2 * half + 1])}});
      }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < count * D; i += THREADS) {
      const uint32_t r = i / D, t = i % D;
      // Warp 0 has the first tile, so this is finite.
      float top = found[2 * r];
#pragma unroll
      for (uint32_t w = 1; w < WARPS; ++w) top = fmaxf(top, found[2 * (w * CACHE_TOGETHER + r)]);
      float all = 0.0f, total = 0.0f;
#pragma unroll
      for (uint32_t w = 0; w < WARPS; ++w) {
        const float weight = exp2_approx(found[2 * (w * CACHE_TOGETHER + r)] - top);
        const float *part =
            reinterpret_cast<const float *>(query_tile + 2 * CACHE_TOGETHER * D + w * 4 * BYTES);
        all = fmaf(weight, part[r * D + (t ^ (r % 4 * 8))], all);
        total = fmaf(weight, found[2 * (w * CACHE_TOGETHER + r) + 1], total);
      }
      const uint64_t to = (uint64_t(row + r) * args.splits + split) * args.heads + head;
      args.sums[to * D + t] = all;
      if (t == 0) {
        args.statistics[2 * to] = top;
        args.statistics[2 * to + 1] = total;
      }
    }
    __syncthreads();
  }
}

/// y of a row and head, a warp each: what was found in the splits of its prompt (or, with `splits`
/// 0, its prompt), then its path.
template <class T>
static __device__ void attend_paths(const CachePaths<T> args) {
  const Layout layout(args.layout);
  constexpr uint32_t KEYS = PATH_KEYS, WIDE = 16 / sizeof(T);
  const uint32_t lane = lane_id(), room = cache_paths_warp(args.size);
  char *mine = shared_memory() + warp_id() * room;
  uint64_t *where =
      reinterpret_cast<uint64_t *>(mine);  // elements from the cache's first to the key's
  float *p = reinterpret_cast<float *>(where + KEYS), *q = p + KEYS, *o = q + args.size;
  const uint64_t number = uint64_t(blockIdx.x) * WARPS + warp_id();
  if (number >= uint64_t(args.rows) * args.heads) return;
  const uint32_t row = uint32_t(number / args.heads), head = uint32_t(number % args.heads);
  const uint64_t width = uint64_t(args.heads) * args.size;
  const T *query = args.qkv + row * 3 * width + layout.column(QUERY, head);
  const uint32_t first = args.ranges[2 * row], shared = args.ranges[2 * row + 1] - first;
  const uint32_t *own = args.path + args.path_start[row];
  const uint32_t keys = shared + args.path_start[row + 1] - args.path_start[row];
  const float factor = args.scale * LOG2_E;
  for (uint32_t t = lane; t < args.size; t += 32) {
    q[t] = wide(query[t]);
    o[t] = 0.0f;
  }
  float row_max = -infinity(),
        sum = 0.0f;  // the sum of this lane's keys; lane 0 has that of the splits too
  const uint32_t found = args.splits > 0 ? splits_of(shared) : 0;
  for (uint32_t split = 0; split < found; ++split) {
    const uint64_t at = (uint64_t(row) * args.splits + split) * args.heads + head;
    const float now = fmaxf(row_max, args.statistics[2 * at]), rescale = exp2_approx(row_max - now),
                weight = exp2_approx(args.statistics[2 * at] - now);
    if (lane == 0) sum = fmaf(sum, rescale, weight * args.statistics[2 * at + 1]);
    for (uint32_t t = lane; t < args.size; t += 32)
      o[t] = fmaf(o[t], rescale, weight * args.sums[at * args.size + t]);
    row_max = now;
  }
  const bool sixteens =
      args.size % WIDE == 0 &&
      (reinterpret_cast<uintptr_t>(args.prompt) | reinterpret_cast<uintptr_t>(args.tail)) % 16 == 0;
  for (uint32_t begin = found > 0 ? shared : 0; begin < keys; begin += KEYS) {
    warp_barrier();
    const uint32_t at = begin + lane;
    const bool in_prompt = at < shared;
    float x = -infinity();
    if (at < keys) {
      const uint64_t element = uint64_t(in_prompt ? first + at : own[at - shared]) * 2 * width +
                               uint64_t(head) * args.size;
      where[lane] = element;
      const T *key = (in_prompt ? args.prompt : args.tail) + element;
      float s = 0.0f;
      if (sixteens) {
#pragma unroll 2
        for (uint32_t t = 0; t < args.size; t += WIDE) {
          union {
            Sixteen whole;
            T one[WIDE];
          } k;
          k.whole = load16(key + t);
#pragma unroll
          for (uint32_t i = 0; i < WIDE; ++i) s = fmaf(q[t + i], wide(k.one[i]), s);
        }
      } else {
        for (uint32_t t = 0; t < args.size; ++t) s = fmaf(q[t], wide(key[t]), s);
      }
      x = s * factor;
    }
    const float now = fmaxf(row_max, warp_max(x)), rescale = exp2_approx(row_max - now),
                probability = exp2_approx(x - now);
    row_max = now;
    sum = fmaf(sum, rescale, probability);
    p[lane] = probability;
    warp_barrier();
    const uint32_t count = keys - begin < KEYS ? keys - begin : KEYS;
    // Of these, keys of the prompt come first.
    const uint32_t prompts = begin < shared ? (shared - begin < count ? shared - begin : count) : 0;
    for (uint32_t t = lane; t < args.size; t += 32) {
      float all = o[t] * rescale;
#pragma unroll 4
      for (uint32_t j = 0; j < prompts; ++j)
        all = fmaf(p[j], wide(args.prompt[where[j] + width + t]), all);
#pragma unroll 4
      for (uint32_t j = prompts; j < count; ++j)
        all = fmaf(p[j], wide(args.tail[where[j] + width + t]), all);
      o[t] = all;
    }
  }
  const float inverse = 1.0f / warp_sum(sum);
  for (uint32_t t = lane; t < args.size; t += 32)
    args.y[row * width + uint64_t(head) * args.size + t] = narrow<T>(o[t] * inverse);
}

// cache_store: 256 threads, 32 registers, 4 bytes, 8 blocks a processor
// bound by dram (lsu 53 %, l2 44 %, issue 22 %, shared 21 %)
// predicted on an A100: 68 % of DRAM's rate, waits 58 %
KERNEL(256, cache_store_f32, CacheStore<float>, store<float>)
KERNEL(256, cache_store_f16, CacheStore<f16>, store<f16>)
KERNEL(256, cache_store_bf16, CacheStore<bf16>, store<bf16>)

// cache_prompt_64: 32 x 32; 128 threads, 163 registers, 69 KB, 2 blocks a processor
// bound by lsu (shared 80 %, l2 45 %, exp 30 %, tensor 26 %)
// predicted on an A100: 76 % of the load units' rate, waits 20 %, if 24 % stays in L2
KERNEL(ATTENTION_THREADS, cache_prompt_64_f16, CachePrompt<f16>, attend_prompts<f16, 64>)
KERNEL(ATTENTION_THREADS, cache_prompt_64_bf16, CachePrompt<bf16>, attend_prompts<bf16, 64>)

// cache_prompt_128: 32 x 16; 128 threads, 219 registers, 73 KB, 2 blocks a processor
// bound by lsu (shared 83 %, l2 42 %, tensor 25 %, exp 23 %)
// predicted on an A100: 85 % of the load units' rate, waits 11 %, if 28 % stays in L2
KERNEL(ATTENTION_THREADS, cache_prompt_128_f16, CachePrompt<f16>, attend_prompts<f16, 128>)
KERNEL(ATTENTION_THREADS, cache_prompt_128_bf16, CachePrompt<bf16>, attend_prompts<bf16, 128>)

// cache_paths: 128 threads, 56 registers, 2,560 bytes, 9 blocks a processor
// bound by lsu (shared 40 %, l2 33 %, issue 14 %, dram 14 %)
// predicted on an A100: 93 % of the load units' rate
KERNEL(ATTENTION_THREADS, cache_paths_f32, CachePaths<float>, attend_paths<float>)
KERNEL(ATTENTION_THREADS, cache_paths_f16, CachePaths<f16>, attend_paths<f16>)
KERNEL(ATTENTION_THREADS, cache_paths_bf16, CachePaths<bf16>, attend_paths<bf16>)

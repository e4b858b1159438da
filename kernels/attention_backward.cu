// The gradient of attention. Probabilities are made again from the kept log-sum-exp. With p the
// probabilities, m dropout's factors and D = Σ dy·y of a row: dv = (p∘m)ᵀ·dy, ds = p∘(m∘(dy·vᵀ) -
// D), dq = scale·ds·k, dk = scale·dsᵀ·q.
//
// Two walks instead of one with atomics: blocks that own keys walk over queries and make dk and dv,
// blocks that own queries walk over keys and make dq. Owned rows are the rows of the products' left
// side in both, so p and ds go from one product's result to the next one's left operand in
// registers.
#include "attention.cuh"

/// statistics[head, row] = (log_sum_exp·log₂e, Σ dy·y). A warp a row and head.
template <class T>
static __device__ void summarize(const AttentionStatistics<T> args) {
  const uint32_t row = blockIdx.x * (blockDim.x / 32) + warp_id(), head = blockIdx.y,
                 lane = lane_id();
  if (row >= args.rows) return;
  const uint64_t at = uint64_t(row) * args.heads + head;
  float sum = 0.0f;
  for (uint32_t t = lane; t < args.size; t += 32)
    sum = fmaf(wide(args.dy[at * args.size + t]), wide(args.y[at * args.size + t]), sum);
  sum = warp_sum(sum);
  if (lane == 0) {
    float *to = args.statistics + 2 * (uint64_t(head) * args.rows + row);
    to[0] = args.log_sum_exp[at] * LOG2_E;
    to[1] = sum;
  }
}

/// Tensor cores. A block owns 64·TALL rows of one head and walks over tiles of WALK rows in two
/// stages. Addresses and pitches are multiples of 16 bytes. Parameters by reference: by
/// value they would make some registers spill. DROP: probabilities are dropped.
template <class T, int D, bool KEYS, bool DROP>
static __device__ void gradient(const AttentionBackward<T> &args) {
  const Layout layout(args.layout);
  const Dropout dropout(args.dropout);
  // Asked at run time too: otherwise the masks' counters take registers that the loop lacks.
  const auto drops = [&] { return DROP && dropout.any(); };
  constexpr int OWN = backward_own(D), WALK = BACKWARD_WALK;
  constexpr int TALL = OWN / (16 * WARPS), GROUPS = WALK / 8, THREADS = 32 * WARPS;
  constexpr uint32_t BYTES = 2 * WALK * D;
  const uint32_t head = blockIdx.x % args.heads, lane = lane_id(), group = lane >> 2,
                 place = lane & 3u;
  const Work work(args.work, blockIdx.x / args.heads);
  const uint64_t width = uint64_t(args.heads) * D, pitch = 3 * width;

  // Scores are owned·walkedᵀ, and dy·vᵀ the same of the second pair.
  char *owned = shared_memory(), *owned2 = owned + 2 * OWN * D;
  char *walked = owned2 + 2 * OWN * D, *walked2 = walked + 2 * BYTES;
  float *walked_words =
      reinterpret_cast<float *>(walked2 + 2 * BYTES);  // [2][BACKWARD_WORDS][WALK]

  const uint32_t last = work.first + OWN < work.rows ? work.first + OWN : work.rows;  // one past
  uint32_t walk = 0, stop = work.rows;
  if (KEYS) {
    // The first tile with a query that sees the block's first key.
    if (work.first >= work.context) walk = work.first / WALK * WALK;
  } else {
    stop = work.visible(last - 1);
  }
  const uint32_t mine = 16 * TALL * warp_id(), begin = work.first + mine;
  const uint32_t end = begin + 16 * TALL < work.rows ? begin + 16 * TALL : work.rows;
  const bool any = begin < work.rows;

  // The statistics of the sequence's first query; two floats a query.
  const auto statistics_of = [&](uint32_t start, uint32_t head) {
    return args.statistics + 2 * (uint64_t(head) * args.batch + start);
  };
  const auto prefetch = [&](uint32_t first, uint32_t stage) {
    const uint32_t head_now = opaque(head), start = opaque(work.start),
                   thread = opaque(threadIdx.x);
    const T *rows = args.qkv + start * pitch,
            *dy_rows = args.dy + start * width + uint64_t(head_now) * D;
    const T *from = rows + layout.column(KEYS ? QUERY : KEY, head_now);
    const T *from2 = KEYS ? dy_rows : rows + layout.column(VALUE, head_now);
    fetch<T, WALK, D, THREADS>(walked + stage * BYTES, from, pitch, first, work.rows, thread);
    fetch<T, WALK, D, THREADS>(walked2 + stage * BYTES, from2, KEYS ? width : pitch, first,
                               work.rows, thread);
    if (KEYS && thread < WALK) {
      // Of a query that is none everything is zero, dy too: it adds zeros whatever its probability.
      const uint32_t row = first + thread;
      const int bytes = row < work.rows ? 4 : 0;
      const uint32_t there = bytes ? row : 0;
      const float *of = statistics_of(start, head_now) + 2 * uint64_t(there);
      float *to = walked_words + stage * BACKWARD_WORDS * WALK + thread;
#pragma unroll
      for (int i = 0; i < 2; ++i) copy4_async(to + i * WALK, of + i, bytes);
      if (drops()) {
        const uint32_t *example = dropout.rows + 3 * uint64_t(start + there);
#pragma unroll
        for (int i = 0; i < 3; ++i) copy4_async(to + (2 + i) * WALK, example + i, bytes);
      }
    }
  };

  {
    const T *rows = args.qkv + work.start * pitch,
            *dy_rows = args.dy + work.start * width + uint64_t(head) * D;
    fetch<T, OWN, D, THREADS>(owned, rows + layout.column(KEYS ? KEY : QUERY, head), pitch,
                              work.first, work.rows, threadIdx.x);
    const T *from2 = KEYS ? rows + layout.column(VALUE, head) : dy_rows;
    fetch<T, OWN, D, THREADS>(owned2, from2, KEYS ? pitch : width, work.first, work.rows,
                              threadIdx.x);
  }
  prefetch(walk, 0);
  commit_copies();

  float own_statistics[TALL][2][2];
  uint32_t example[TALL][3] = {};
  if (!KEYS) {
#pragma unroll
    for (int m = 0; m < TALL; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const uint32_t row = begin + 16 * m + 8 * half + group;
        const float *of = statistics_of(work.start, head) + 2 * uint64_t(row);
        own_statistics[m][half][0] = row < work.rows ? of[0] : infinity();
        own_statistics[m][half][1] = row < work.rows ? of[1] : 0.0f;
      }
      if (drops()) {
        const uint32_t row = begin + 16 * m + group + 8 * (place & 1u);
        dropout.read(example[m], work.start + (row < work.rows ? row : work.rows - 1));
      }
    }
  }

  const float factor = args.scale * LOG2_E;
  float o[TALL][D / 8][4] = {}, o2[KEYS ? TALL : 1][D / 8][4] = {};

  for (uint32_t tile = 0; walk < stop; walk += WALK, ++tile) {
    const uint32_t stage = tile & 1u;
    wait_copies<0>();
    __syncthreads();
    if (walk + WALK < stop) prefetch(walk + WALK, stage ^ 1u);
    commit_copies();
    const bool seen =
        KEYS ? begin < work.context || begin < walk + WALK : walk < work.visible(end - 1);
    if (any && seen) {
      char *tile1 = walked + stage * BYTES, *tile2 = walked2 + stage * BYTES;
      const float *words = walked_words + stage * BACKWARD_WORDS * WALK;
      float s[TALL][GROUPS][4];
      scores<T, D, TALL, GROUPS>(s, owned, mine, tile1);
      const uint32_t bottom = begin + 16 * TALL - 1;
      const bool whole =
          KEYS ? bottom < work.context || bottom <= walk : walk + WALK <= work.visible(begin);
#pragma unroll
      for (int m = 0; m < TALL; ++m)
#pragma unroll
        for (int n = 0; n < GROUPS; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const uint32_t row = begin + 16 * m + 8 * (i / 2) + group,
                           column = 8 * n + 2 * place + (i & 1);
            const float offset = KEYS ? words[column] : own_statistics[m][i / 2][0];
            s[m][n][i] = exp2_approx(fmaf(s[m][n][i], factor, -offset));
            if (!whole) {
              const uint32_t q = KEYS ? walk + column : row, k = KEYS ? row : walk + column;
              if (k >= work.visible(q)) s[m][n][i] = 0.0f;
            }
          }
          if (drops()) {
            // A probability that is dropped is kept as its negative: its own derivative still
            // counts.
            uint32_t kept_mask;
            if (KEYS) {
              const uint32_t column = 8 * n + 2 * place + (group & 1u);
              uint32_t of[3];
#pragma unroll
              for (int i = 0; i < 3; ++i) of[i] = float_to_bits(words[(2 + i) * WALK + column]);
              kept_mask = kept_mask_in_column(dropout, head, (begin + 16 * m) / 4, of);
            } else {
              kept_mask = kept_mask_in_row(dropout, head, (walk + 8 * n) / 4, example[m]);
            }
#pragma unroll
            for (int i = 0; i < 4; ++i)
              if (!(kept_mask >> i & 1u)) s[m][n][i] = -s[m][n][i];
          }
        }
      if constexpr (KEYS) accumulate<T, D, TALL, GROUPS, DROP>(o2, s, tile2);
      float d[TALL][GROUPS][4];
      scores<T, D, TALL, GROUPS>(d, owned2, mine, tile2);
#pragma unroll
      for (int m = 0; m < TALL; ++m)
#pragma unroll
        for (int n = 0; n < GROUPS; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float p = s[m][n][i], mean = KEYS ? words[WALK + 8 * n + 2 * place + (i & 1)]
                                                    : own_statistics[m][i / 2][1];
            const float x = DROP ? (p < 0.0f ? 0.0f : dropout.kept * d[m][n][i]) : d[m][n][i];
            d[m][n][i] = fabsf(p) * (x - mean);
          }
      accumulate<T, D, TALL, GROUPS>(o, d, tile1);
    }
  }
  wait_copies<0>();

#pragma unroll
  for (int m = 0; m < TALL; ++m)
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        o[m][n][i] *= args.scale;
        if constexpr (KEYS && DROP) o2[m][n][i] *= dropout.kept;
      }
  T *to = args.d_qkv + work.start * pitch;
  store_rows<T, D, TALL>(to + layout.column(KEYS ? KEY : QUERY, head), pitch, o, owned, mine,
                         work.first, work.rows);
  if constexpr (KEYS)
    store_rows<T, D, TALL>(to + layout.column(VALUE, head), pitch, o2, owned2, mine, work.first,
                           work.rows);
}

/// Any head size, on the plain cores: a block owns 16 rows of one head, a warp four of them, a lane
/// one row of a walked tile of 32.
template <class T, bool KEYS>
static __device__ void gradient_simt(const AttentionBackward<T> args) {
  const Layout layout(args.layout);
  const Dropout dropout(args.dropout);
  constexpr uint32_t OWN = ATTENTION_SIMT_OWN, TALL = OWN / WARPS, WALK = ATTENTION_SIMT_WALK;
  const uint32_t head = blockIdx.x % args.heads, lane = lane_id();
  const Work work(args.work, blockIdx.x / args.heads);
  const uint64_t width = uint64_t(args.heads) * args.size, pitch = 3 * width;
  const T *rows = args.qkv + work.start * pitch,
          *dy_rows = args.dy + work.start * width + uint64_t(head) * args.size;
  const T *query = rows + layout.column(QUERY, head), *key = rows + layout.column(KEY, head),
          *value = rows + layout.column(VALUE, head);
  const float *statistics_of = args.statistics + 2 * (uint64_t(head) * args.batch + work.start);
  const T *own = KEYS ? key : query, *own2 = KEYS ? value : dy_rows, *from = KEYS ? query : key,
          *from2 = KEYS ? dy_rows : value;
  const uint64_t own_pitch2 = KEYS ? pitch : width, pitch2 = KEYS ? width : pitch;

  float *a = reinterpret_cast<float *>(shared_memory()), *a2 = a + OWN * args.size;
  float *o = a2 + OWN * args.size, *o2 = o + OWN * args.size, *p = o2 + OWN * args.size,
        *d = p + OWN * WALK;
  float *b = d + OWN * WALK, *b2 = b + WALK * (args.size + 1);
  for (uint32_t i = threadIdx.x; i < OWN * args.size; i += blockDim.x) {
    const uint32_t row = work.first + i / args.size, t = i % args.size;
    const bool inside = row < work.rows;
    a[i] = inside ? wide(own[row * pitch + t]) : 0.0f;
    a2[i] = inside ? wide(own2[row * own_pitch2 + t]) : 0.0f;
    o[i] = o2[i] = 0.0f;
  }
  const uint32_t mine = TALL * warp_id(), begin = work.first + mine;
  const uint32_t last = work.first + OWN < work.rows ? work.first + OWN : work.rows;
  uint32_t walk = KEYS && work.first >= work.context ? work.first / WALK * WALK : 0;
  const uint32_t stop = KEYS ? work.rows : work.visible(last - 1);
  const float factor = args.scale * LOG2_E;

  for (; walk < stop; walk += WALK) {
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < WALK * args.size; i += blockDim.x) {
      const uint32_t row = i / args.size, t = i % args.size;
      const bool inside = walk + row < work.rows;
      b[row * (args.size + 1) + t] = inside ? wide(from[(walk + row) * pitch + t]) : 0.0f;
      b2[row * (args.size + 1) + t] = inside ? wide(from2[(walk + row) * pitch2 + t]) : 0.0f;
    }
    __syncthreads();
    float s[TALL] = {}, e[TALL] = {};
    for (uint32_t t = 0; t < args.size; ++t) {
      const float x = b[lane * (args.size + 1) + t], x2 = b2[lane * (args.size + 1) + t];
#pragma unroll
      for (uint32_t i = 0; i < TALL; ++i) {
        s[i] = fmaf(a[(mine + i) * args.size + t], x, s[i]);
        e[i] = fmaf(a2[(mine + i) * args.size + t], x2, e[i]);
      }
    }
#pragma unroll
    for (uint32_t i = 0; i < TALL; ++i) {
      const uint32_t q = KEYS ? walk + lane : begin + i, k = KEYS ? begin + i : walk + lane;
      float probability = 0.0f, score = 0.0f;
      if (q < work.rows && k < work.visible(q)) {
        probability = exp2f(fmaf(s[i], factor, -statistics_of[2 * uint64_t(q)]));
        float kept = dropout.kept;
        if (dropout.any()) {
          uint32_t example[3];
          dropout.read(example, work.start + q);
          if (!(dropout.kept_mask(head, k / 4, example) >> (k & 3u) & 1u)) kept = 0.0f;
        }
        score = probability * fmaf(kept, e[i], -statistics_of[2 * uint64_t(q) + 1]);
        probability *= kept;
      }
      p[(mine + i) * WALK + lane] = probability;
      d[(mine + i) * WALK + lane] = score;
    }
    warp_barrier();
    for (uint32_t t = lane; t < args.size; t += 32) {
#pragma unroll
      for (uint32_t i = 0; i < TALL; ++i) {
        const uint32_t at = (mine + i) * args.size + t;
        float sum = o[at], sum2 = o2[at];
        for (uint32_t j = 0; j < WALK; ++j) {
          sum = fmaf(d[(mine + i) * WALK + j], b[j * (args.size + 1) + t], sum);
          if (KEYS) sum2 = fmaf(p[(mine + i) * WALK + j], b2[j * (args.size + 1) + t], sum2);
        }
        o[at] = sum;
        o2[at] = sum2;
      }
    }
  }

  T *to = args.d_qkv + work.start * pitch;
  for (uint32_t i = 0; i < TALL; ++i) {
    const uint32_t row = begin + i;
    if (row >= work.rows) break;
    for (uint32_t t = lane; t < args.size; t += 32) {
      const uint32_t at = (mine + i) * args.size + t;
      to[row * pitch + layout.column(KEYS ? KEY : QUERY, head) + t] = narrow<T>(args.scale * o[at]);
      if (KEYS) to[row * pitch + layout.column(VALUE, head) + t] = narrow<T>(o2[at]);
    }
  }
}

// attention_statistics: 256 threads, 30 registers, 8 blocks a processor
// bound by dram (lsu 44 %, l2 42 %, issue 22 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, attention_statistics_f32, AttentionStatistics<float>, summarize<float>)
KERNEL(256, attention_statistics_f16, AttentionStatistics<f16>, summarize<f16>)
KERNEL(256, attention_statistics_bf16, AttentionStatistics<bf16>, summarize<bf16>)

// attention_keys_64: 128 x 32; 128 threads, 255 registers, 50,432 bytes, 2 blocks a processor
// bound by lsu (shared 89 %, tensor 76 %, l2 30 %, issue 22 %)
// predicted on an A100: 90 % of the load units' rate, if 3 % stays in L2
KERNEL(ATTENTION_THREADS, attention_keys_64_f16, AttentionBackward<f16>,
       gradient<f16, 64, true, false>)
KERNEL(ATTENTION_THREADS, attention_keys_64_f16_drop, AttentionBackward<f16>,
       gradient<f16, 64, true, true>)
KERNEL(ATTENTION_THREADS, attention_keys_64_bf16, AttentionBackward<bf16>,
       gradient<bf16, 64, true, false>)
KERNEL(ATTENTION_THREADS, attention_keys_64_bf16_drop, AttentionBackward<bf16>,
       gradient<bf16, 64, true, true>)

// attention_keys_128: 64 x 32; 128 threads, 254 registers, 66,816 bytes, 2 blocks a processor
// bound by lsu (shared 88 %, tensor 54 %, l2 32 %, issue 15 %)
// predicted on an A100: 92 % of the load units' rate, if 10 % stays in L2
KERNEL(ATTENTION_THREADS, attention_keys_128_f16, AttentionBackward<f16>,
       gradient<f16, 128, true, false>)
KERNEL(ATTENTION_THREADS, attention_keys_128_f16_drop, AttentionBackward<f16>,
       gradient<f16, 128, true, true>)
KERNEL(ATTENTION_THREADS, attention_keys_128_bf16, AttentionBackward<bf16>,
       gradient<bf16, 128, true, false>)
KERNEL(ATTENTION_THREADS, attention_keys_128_bf16_drop, AttentionBackward<bf16>,
       gradient<bf16, 128, true, true>)

// attention_keys_any: 16 x 32; 128 threads, 127 registers, 20,736 bytes, 4 blocks a processor
// bound by lsu (shared 96 %, issue 25 %)
// predicted on an A100: 75 % of the load units' rate, waits 21 %
KERNEL(ATTENTION_THREADS, attention_keys_any_f32, AttentionBackward<float>,
       gradient_simt<float, true>)
KERNEL(ATTENTION_THREADS, attention_keys_any_f16, AttentionBackward<f16>, gradient_simt<f16, true>)
KERNEL(ATTENTION_THREADS, attention_keys_any_bf16, AttentionBackward<bf16>,
       gradient_simt<bf16, true>)

// attention_queries_64: 128 x 32; 128 threads, 240 registers, 50,432 bytes, 2 blocks a processor
// bound by lsu (shared 86 %, tensor 85 %, l2 37 %, exp 28 %)
// predicted on an A100: 88 % of the load units' rate, waits 7 %, if 19 % stays in L2
KERNEL(ATTENTION_THREADS, attention_queries_64_f16, AttentionBackward<f16>,
       gradient<f16, 64, false, false>)
KERNEL(ATTENTION_THREADS, attention_queries_64_f16_drop, AttentionBackward<f16>,
       gradient<f16, 64, false, true>)
KERNEL(ATTENTION_THREADS, attention_queries_64_bf16, AttentionBackward<bf16>,
       gradient<bf16, 64, false, false>)
KERNEL(ATTENTION_THREADS, attention_queries_64_bf16_drop, AttentionBackward<bf16>,
       gradient<bf16, 64, false, true>)

// attention_queries_128: 64 x 32; 128 threads, 168 registers, 66,816 bytes, 2 blocks a processor
// bound by lsu (shared 87 %, tensor 54 %, l2 35 %, issue 14 %)
// predicted on an A100: 90 % of the load units' rate, if 19 % stays in L2
KERNEL(ATTENTION_THREADS, attention_queries_128_f16, AttentionBackward<f16>,
       gradient<f16, 128, false, false>)
KERNEL(ATTENTION_THREADS, attention_queries_128_f16_drop, AttentionBackward<f16>,
       gradient<f16, 128, false, true>)
KERNEL(ATTENTION_THREADS, attention_queries_128_bf16, AttentionBackward<bf16>,
       gradient<bf16, 128, false, false>)
KERNEL(ATTENTION_THREADS, attention_queries_128_bf16_drop, AttentionBackward<bf16>,
       gradient<bf16, 128, false, true>)

// attention_queries_any: 16 x 32; 128 threads, 96 registers, 20,736 bytes, 5 blocks a processor
// bound by lsu (shared 96 %, issue 25 %)
// predicted on an A100: 76 % of the load units' rate, waits 20 %
KERNEL(ATTENTION_THREADS, attention_queries_any_f32, AttentionBackward<float>,
       gradient_simt<float, false>)
KERNEL(ATTENTION_THREADS, attention_queries_any_f16, AttentionBackward<f16>,
       gradient_simt<f16, false>)
KERNEL(ATTENTION_THREADS, attention_queries_any_bf16, AttentionBackward<bf16>,
       gradient_simt<bf16, false>)

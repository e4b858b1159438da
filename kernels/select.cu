// The largest elements of rows, a block a row.
#include "entry.cuh"
#include "reduce.cuh"
#include "vector.cuh"

/// How many threads' best bound what is found in one go.
constexpr uint32_t WANTED = 128;

/// An element as one number, the greater the earlier: its value in the order of numbers, the zeros
/// being one and what is not a number being -∞, and then its column, the smaller the greater. No
/// two of a row are the same, and none is 0.
static __device__ __forceinline__ uint64_t rank_of(float value, uint32_t column) {
  const uint32_t bits = value == value ? float_to_bits(value + 0.0f) : 0xff800000u;
  const uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return uint64_t(ordered) << 32 | uint32_t(~column);
}

/// Calls work(rank) for this thread's elements.
template <class T, int V, class Work>
static __device__ __forceinline__ void each(const T *row, uint32_t cols, Work work) {
#pragma unroll 4
  for (uint32_t c = threadIdx.x * V; c < cols; c += TOP_K_THREADS * V) {
    float a[V];
    load_many<V>(a, row + c);
#pragma unroll
    for (int v = 0; v < V; ++v) work(rank_of(a[v], c + v));
  }
}

/// How many of `ranks` are greater than `mine`.
static __device__ __forceinline__ uint32_t ahead_of(uint64_t mine, const uint64_t *ranks,
                                                    uint32_t count) {
  uint32_t ahead = 0;
#pragma unroll 8
  for (uint32_t i = 0; i < count; ++i) ahead += ranks[i] > mine;
  return ahead;
}

/// values and columns of the first k of a row that has as many, in their order.
///
/// A round writes the next of them. Each thread looks for its best; of those the WANTED-th bounds
/// the round, for there are at least as many elements up to it. The second look gathers all that
/// are not behind the bound, in whatever order, and where one stands is how many of them are ahead
/// of it. Should they be more than there is room for, the bound is drawn nearer: the best of all
/// bounds one.
template <class T, int V>
static __device__ __forceinline__ void best_of_row(const T *row, uint32_t cols, uint32_t k,
                                                   float *values, uint32_t *columns) {
  uint64_t *best = reinterpret_cast<uint64_t *>(shared_memory()), *found = best + TOP_K_THREADS,
           *bound = found + TOP_K_FOUND, *last = bound + 1;
  uint32_t *count = reinterpret_cast<uint32_t *>(last + 1);
  uint64_t behind = ~uint64_t(0);
  for (uint32_t done = 0; done < k;) {
    uint64_t mine = 0;
    each<T, V>(row, cols,
               [&](uint64_t rank) { mine = rank < behind && rank > mine ? rank : mine; });
    best[threadIdx.x] = mine;
    __syncthreads();
    // Threads that have nothing left stand behind all others.
    const uint32_t place = mine ? ahead_of(mine, best, TOP_K_THREADS) : TOP_K_THREADS;
    uint32_t some = k - done < WANTED ? k - done : WANTED, here;
    for (;; some /= 2) {
      if (threadIdx.x == 0) {
        *count = 0;
        *bound = 1;
      }
      __syncthreads();
      if (place == some - 1) *bound = mine;
      __syncthreads();
      const uint64_t least = *bound;
      each<T, V>(row, cols, [&](uint64_t rank) {
        if (rank < behind && rank >= least) {
          const uint32_t to = count_one(count);
          if (to < TOP_K_FOUND) found[to] = rank;
        }
      });
      __syncthreads();
      here = *count;
      __syncthreads();
      if (here <= TOP_K_FOUND) break;
    }
    const uint32_t wanted = here < k - done ? here : k - done;
    for (uint32_t i = threadIdx.x; i < here; i += TOP_K_THREADS) {
      const uint64_t rank = found[i];
      const uint32_t at = ahead_of(rank, found, here), column = ~uint32_t(rank);
      if (at >= wanted) continue;
      const float value = wide(row[column]);
      values[done + at] = value == value ? value : bits_to_float(0xff800000u);
      columns[done + at] = column;
      if (at == wanted - 1) *last = rank;
    }
    __syncthreads();
    behind = *last;
    done += wanted;
  }
}

/// values and columns [rows, k] of the first k of each row.
template <class T, int V>
static __device__ void top_k(const TopK<T> args) {
  for (uint64_t r = blockIdx.x; r < args.rows; r += gridDim.x)
    best_of_row<T, V>(args.x + r * args.cols, args.cols, args.k, args.values + r * args.k,
                      args.columns + r * args.k);
}

/// values and places [rows, k] of the first k of x[first[r]..first[r + 1]] of each row r; -∞ and no
/// place where there are fewer.
static __device__ void top_k_among_few(const ChoiceTopK args) {
  for (uint64_t r = blockIdx.x; r < args.rows; r += gridDim.x) {
    const uint32_t from = args.first[r], cols = args.first[r + 1] - from;
    const uint32_t some = cols < args.k ? cols : args.k;
    float *values = args.values + r * args.k;
    uint32_t *places = args.places + r * args.k;
    best_of_row<float, 1>(args.x + from, cols, some, values, places);
    for (uint32_t i = some + threadIdx.x; i < args.k; i += TOP_K_THREADS) {
      values[i] = bits_to_float(0xff800000u);
      places[i] = ~uint32_t(0);
    }
  }
}

// top_k: 256 threads, 32 registers, 10,264 bytes, 8 blocks a processor
// bound by lsu (dram 100 %, shared 80 %, l2 52 %, issue 22 %)
// predicted on an A100: 94 % of the load units' rate
KERNEL(TOP_K_THREADS, top_k_f32, TopK<float>, top_k<float, 1>)
KERNEL(TOP_K_THREADS, top_k_f32_wide, TopK<float>, top_k<float, 4>)
KERNEL(TOP_K_THREADS, top_k_f16, TopK<f16>, top_k<f16, 1>)
KERNEL(TOP_K_THREADS, top_k_f16_wide, TopK<f16>, top_k<f16, 8>)
KERNEL(TOP_K_THREADS, top_k_bf16, TopK<bf16>, top_k<bf16, 1>)
KERNEL(TOP_K_THREADS, top_k_bf16_wide, TopK<bf16>, top_k<bf16, 8>)

// choice_top_k: 256 threads, 31 registers, 10,264 bytes, 8 blocks a processor
// bound by lsu (shared 96 %, issue 25 %, dram 15 %)
// predicted on an A100: 93 % of the load units' rate
KERNEL(TOP_K_THREADS, choice_top_k, ChoiceTopK, top_k_among_few)

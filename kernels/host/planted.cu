// Kernels for tests/chips/emulator.rs: each does one thing wrong, which the emulator must find, or
// one thing right, whose meaning is held against plain loops. They are in no image.
#include "../entry.cuh"
#include "../philox.cuh"
#include "../tile.cuh"
#include "planted.cuh"

#define PARAMETERS (float *y, const float *x, uint32_t n)
#define ARGUMENTS (y, x, n)

static float *shared_floats() { return reinterpret_cast<float *>(shared_memory()); }
static uint32_t thread_id() { return blockIdx.x * blockDim.x + threadIdx.x; }

// Orders. Every thread of one block; shared memory for one float each.

static void no_barrier(float *y, const float *, uint32_t) {
  shared_floats()[threadIdx.x] = float(threadIdx.x);
  y[threadIdx.x] = shared_floats()[(threadIdx.x + 32) % blockDim.x];
}
static void no_warp_barrier(float *y, const float *, uint32_t) {
  shared_floats()[threadIdx.x] = float(threadIdx.x);
  y[threadIdx.x] = shared_floats()[threadIdx.x ^ 1];
}
/// The second write may come before the read, and nothing is ever poison.
static void no_second_barrier(float *y, const float *, uint32_t) {
  shared_floats()[threadIdx.x] = 1.0f;
  __syncthreads();
  y[threadIdx.x] = shared_floats()[(threadIdx.x + 32) % blockDim.x];
  shared_floats()[threadIdx.x] = 2.0f;
  __syncthreads();
}
static void blocks_race(float *y, const float *, uint32_t) {
  if (threadIdx.x == 0) y[0] = float(blockIdx.x);
}
static void blocks_accumulate(float *y, const float *x, uint32_t) {
  if (threadIdx.x == 0) y[0] += x[blockIdx.x];
}
static void barriers_are_there(float *y, const float *x, uint32_t n) {
  float sum = block_sum(x[thread_id() % n], shared_floats());
  shared_floats()[threadIdx.x] = sum + float(threadIdx.x);
  __syncthreads();
  y[thread_id()] = shared_floats()[(threadIdx.x + 33) % blockDim.x];
}

// Memory. `n` floats in y and in x.

static void read_outside(float *y, const float *x, uint32_t n) { y[0] = x[n + threadIdx.x]; }
static void write_outside(float *y, const float *, uint32_t n) {
  if (threadIdx.x == 5) y[n] = 1.0f;
}
static void no_such_address(float *y, const float *, uint32_t) {
  y[0] = *reinterpret_cast<const float *>(0xfefefefefefefefcull);
}
static void shared_read_outside(float *y, const float *, uint32_t) { y[0] = shared_floats()[1000]; }
static void shared_write_behind(float *, const float *, uint32_t n) { shared_floats()[n] = 1.0f; }
static void shared_write_before(float *, const float *, uint32_t) { shared_floats()[-1] = 1.0f; }
static void shared_uninitialised(float *y, const float *, uint32_t) {
  y[threadIdx.x] = shared_floats()[threadIdx.x];
}
static void load_misaligned(float *y, const float *x, uint32_t) {
  y[0] = float(load16(x + 1).word[0]);
}
static void store_misaligned(float *y, const float *, uint32_t) { store16(y + 2, Sixteen{}); }
static void eight_load_misaligned(float *y, const float *x, uint32_t) {
  y[0] = float(load8(x + 1).word[0]);
}
static void eight_store_misaligned(float *y, const float *, uint32_t) { store8(y + 1, Eight{}); }
static void global_store_misaligned(float *y, const float *, uint32_t) {
  store16_global(y + 2, Sixteen{});
}
static void count_of_global(float *y, const float *, uint32_t) {
  count_one(reinterpret_cast<uint32_t *>(y));
}
static void pair_misaligned(float *y, const float *x, uint32_t) {
  y[0] = float(load4(reinterpret_cast<const char *>(x) + 2));
}
static void float_misaligned(float *y, const float *x, uint32_t n) {
  y[0] = *reinterpret_cast<const float *>(reinterpret_cast<const char *>(x) + 2 + n % 2);
}
static void ldmatrix_misaligned(float *y, const float *, uint32_t) {
  uint32_t r[4];
  ldmatrix(r, shared_floats() + lane_id() + 1);
  y[0] = float(r[0]);
}
static void ldmatrix_of_global(float *y, const float *x, uint32_t) {
  uint32_t r[4];
  ldmatrix(r, x);
  y[0] = float(r[0]);
}

// Divergence.

static void barrier_at_two_lines(float *y, const float *, uint32_t) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  y[0] = 1.0f;
}
static void barrier_after_return(float *y, const float *, uint32_t) {
  if (threadIdx.x == 7) return;
  __syncthreads();
  y[0] = 1.0f;
}
static void shuffle_without_a_lane(float *y, const float *, uint32_t) {
  if (lane_id() != 3) y[0] = shuffle(1.0f, 3);
}
static void shuffle_of_two_masks(float *y, const float *, uint32_t) {
  const float mine = 1.0f;
  emulator::exchange(&mine, sizeof mine, lane_id() < 5 ? 0x8000001fu : ALL_LANES, "shuffle");
  y[0] = mine;
}
static void shuffle_outside_its_mask(float *y, const float *, uint32_t) {
  const float mine = 1.0f;
  emulator::exchange(&mine, sizeof mine, 0xffffu, "shuffle");
  y[0] = mine;
}
static void shuffle_beside_ldmatrix(float *y, const float *, uint32_t) {
  uint32_t r[4];
  if (lane_id() < 9) {
    y[0] = shuffle(1.0f, 0);
  } else {
    ldmatrix(r, shared_memory());
  }
}
static void shuffle_at_barrier(float *y, const float *, uint32_t) {
  if (threadIdx.x < 8) {
    __syncthreads();
  } else {
    y[0] = shuffle(1.0f, 0);
  }
}

// Late copies.

static void copy_read_early(float *y, const float *x, uint32_t) {
  copy16_async(shared_floats() + 4 * threadIdx.x, x);
  commit_copies();
  y[threadIdx.x] = shared_floats()[4 * threadIdx.x];
  wait_copies<0>();
}
/// Waits one group too few.
static void copy_waits_short(float *y, const float *x, uint32_t) {
  copy16_async(shared_floats() + 4 * threadIdx.x, x);
  commit_copies();
  wait_copies<1>();
  y[threadIdx.x] = shared_floats()[4 * threadIdx.x];
  wait_copies<0>();
}
static void copy_left(float *, const float *x, uint32_t) {
  copy16_async(shared_floats() + 4 * threadIdx.x, x);
  commit_copies();
}
static void copy_uncommitted(float *, const float *x, uint32_t) {
  copy16_async(shared_floats() + 4 * threadIdx.x, x);
  wait_copies<0>();
}
static void copy_target_written(float *, const float *x, uint32_t) {
  copy16_async(shared_floats() + 4 * threadIdx.x, x);
  commit_copies();
  shared_floats()[4 * threadIdx.x + 1] = 1.0f;
  wait_copies<0>();
}
static void copy_source_written(float *y, const float *, uint32_t) {
  y[4 * threadIdx.x] = 1.0f;
  copy16_async(shared_floats() + 4 * threadIdx.x, y + 4 * threadIdx.x);
  commit_copies();
  y[4 * threadIdx.x] = 2.0f;
  wait_copies<0>();
}
static void copy_misaligned(float *, const float *x, uint32_t) {
  copy16_async(shared_floats() + 4 * threadIdx.x, x + 1);
}
static void copy4_misaligned(float *, const float *x, uint32_t) {
  copy4_async(shared_floats() + threadIdx.x, reinterpret_cast<const char *>(x) + 2);
}
static void copy4_too_long(float *, const float *x, uint32_t) {
  copy4_async(shared_floats() + threadIdx.x, x, 8);
}
static void copy4_read_early(float *y, const float *x, uint32_t) {
  copy4_async(shared_floats() + threadIdx.x, x);
  commit_copies();
  y[threadIdx.x] = shared_floats()[threadIdx.x];
  wait_copies<0>();
}
static void copy_outside_shared(float *y, const float *x, uint32_t) { copy16_async(y, x); }
static void copy_too_long(float *, const float *x, uint32_t) {
  copy16_async(shared_floats() + 4 * threadIdx.x, x, 20);
}
static void copy_beyond_source(float *, const float *x, uint32_t n) {
  copy16_async(shared_floats() + 4 * threadIdx.x, x + n);
}

// What C++ leaves undefined.

static uint32_t deeper(volatile char *above, uint32_t depth) {
  volatile char room[1024];
  room[depth % 1024] = above[0];
  return depth == 0 ? room[0] : deeper(room, depth - 1) + room[depth % 7];
}
static void stack_overflow(float *y, const float *, uint32_t n) {
  volatile char top = 0;
  y[0] = float(deeper(&top, 1000 + n));
}
static void divides_by_zero(float *y, const float *x, uint32_t n) {
  y[0] = float(n / uint32_t(x[0]));
}
static void shifts_too_far(float *y, const float *x, uint32_t n) {
  y[0] = float(n << (32 + uint32_t(x[0])));
}
static void index_outside_registers(float *y, const float *x, uint32_t n) {
  float r[4] = {1, 2, 3, 4};
  for (uint32_t i = 0; i <= 4 + uint32_t(x[0]); ++i) y[i % n] = r[i];
}
static void float_too_large(float *y, const float *x, uint32_t) {
  y[0] = float(uint32_t(x[0] - 1.0f));
}

PLANTED(256, planted_no_barrier, PARAMETERS, ARGUMENTS, no_barrier)
PLANTED(256, planted_no_warp_barrier, PARAMETERS, ARGUMENTS, no_warp_barrier)
PLANTED(256, planted_no_second_barrier, PARAMETERS, ARGUMENTS, no_second_barrier)
PLANTED(256, planted_blocks_race, PARAMETERS, ARGUMENTS, blocks_race)
PLANTED(256, planted_blocks_accumulate, PARAMETERS, ARGUMENTS, blocks_accumulate)
PLANTED(256, planted_barriers_are_there, PARAMETERS, ARGUMENTS, barriers_are_there)
PLANTED(256, planted_read_outside, PARAMETERS, ARGUMENTS, read_outside)
PLANTED(256, planted_write_outside, PARAMETERS, ARGUMENTS, write_outside)
PLANTED(256, planted_no_such_address, PARAMETERS, ARGUMENTS, no_such_address)
PLANTED(256, planted_shared_read_outside, PARAMETERS, ARGUMENTS, shared_read_outside)
PLANTED(256, planted_shared_write_behind, PARAMETERS, ARGUMENTS, shared_write_behind)
PLANTED(256, planted_shared_write_before, PARAMETERS, ARGUMENTS, shared_write_before)
PLANTED(256, planted_shared_uninitialised, PARAMETERS, ARGUMENTS, shared_uninitialised)
PLANTED(256, planted_load_misaligned, PARAMETERS, ARGUMENTS, load_misaligned)
PLANTED(256, planted_store_misaligned, PARAMETERS, ARGUMENTS, store_misaligned)
PLANTED(256, planted_eight_load_misaligned, PARAMETERS, ARGUMENTS, eight_load_misaligned)
PLANTED(256, planted_eight_store_misaligned, PARAMETERS, ARGUMENTS, eight_store_misaligned)
PLANTED(256, planted_global_store_misaligned, PARAMETERS, ARGUMENTS, global_store_misaligned)
PLANTED(256, planted_count_of_global, PARAMETERS, ARGUMENTS, count_of_global)
PLANTED(256, planted_pair_misaligned, PARAMETERS, ARGUMENTS, pair_misaligned)
PLANTED(256, planted_float_misaligned, PARAMETERS, ARGUMENTS, float_misaligned)
PLANTED(256, planted_ldmatrix_misaligned, PARAMETERS, ARGUMENTS, ldmatrix_misaligned)
PLANTED(256, planted_ldmatrix_of_global, PARAMETERS, ARGUMENTS, ldmatrix_of_global)
PLANTED(256, planted_barrier_at_two_lines, PARAMETERS, ARGUMENTS, barrier_at_two_lines)
PLANTED(256, planted_barrier_after_return, PARAMETERS, ARGUMENTS, barrier_after_return)
PLANTED(256, planted_shuffle_without_a_lane, PARAMETERS, ARGUMENTS, shuffle_without_a_lane)
PLANTED(256, planted_shuffle_of_two_masks, PARAMETERS, ARGUMENTS, shuffle_of_two_masks)
PLANTED(256, planted_shuffle_outside_its_mask, PARAMETERS, ARGUMENTS, shuffle_outside_its_mask)
PLANTED(256, planted_shuffle_beside_ldmatrix, PARAMETERS, ARGUMENTS, shuffle_beside_ldmatrix)
PLANTED(256, planted_shuffle_at_barrier, PARAMETERS, ARGUMENTS, shuffle_at_barrier)
PLANTED(256, planted_copy_read_early, PARAMETERS, ARGUMENTS, copy_read_early)
PLANTED(256, planted_copy_waits_short, PARAMETERS, ARGUMENTS, copy_waits_short)
PLANTED(256, planted_copy_left, PARAMETERS, ARGUMENTS, copy_left)
PLANTED(256, planted_copy_uncommitted, PARAMETERS, ARGUMENTS, copy_uncommitted)
PLANTED(256, planted_copy_target_written, PARAMETERS, ARGUMENTS, copy_target_written)
PLANTED(256, planted_copy_source_written, PARAMETERS, ARGUMENTS, copy_source_written)
PLANTED(256, planted_copy_misaligned, PARAMETERS, ARGUMENTS, copy_misaligned)
PLANTED(256, planted_copy4_misaligned, PARAMETERS, ARGUMENTS, copy4_misaligned)
PLANTED(256, planted_copy4_too_long, PARAMETERS, ARGUMENTS, copy4_too_long)
PLANTED(256, planted_copy4_read_early, PARAMETERS, ARGUMENTS, copy4_read_early)
PLANTED(256, planted_copy_outside_shared, PARAMETERS, ARGUMENTS, copy_outside_shared)
PLANTED(256, planted_copy_too_long, PARAMETERS, ARGUMENTS, copy_too_long)
PLANTED(256, planted_copy_beyond_source, PARAMETERS, ARGUMENTS, copy_beyond_source)
PLANTED(256, planted_stack_overflow, PARAMETERS, ARGUMENTS, stack_overflow)
PLANTED(256, planted_divides_by_zero, PARAMETERS, ARGUMENTS, divides_by_zero)
PLANTED(256, planted_shifts_too_far, PARAMETERS, ARGUMENTS, shifts_too_far)
PLANTED(256, planted_index_outside_registers, PARAMETERS, ARGUMENTS, index_outside_registers)
PLANTED(256, planted_float_too_large, PARAMETERS, ARGUMENTS, float_too_large)
PLANTED(32, planted_more_threads_than_named, PARAMETERS, ARGUMENTS, no_barrier)

// Meanings.

/// d (16×8) = a (16×16, rows) · b (given as 8 columns of 16) + d, one warp.
template <class T>
static void one_product(float *y, const T *a, const T *b) {
  const uint32_t group = lane_id() / 4, place = lane_id() % 4;
  const auto pair = [](const T *at) { return uint32_t(at[0].bits) | uint32_t(at[1].bits) << 16; };
  uint32_t x[4], z[2];
  for (uint32_t i = 0; i < 4; ++i)
    x[i] = pair(a + (group + i % 2 * 8) * 16 + 2 * place + i / 2 * 8);
  for (uint32_t i = 0; i < 2; ++i) z[i] = pair(b + group * 16 + 2 * place + i * 8);
  float d[4];
  for (uint32_t i = 0; i < 4; ++i) d[i] = y[(group + i / 2 * 8) * 8 + 2 * place + i % 2];
  mma<T>(d, x, z);
  for (uint32_t i = 0; i < 4; ++i) y[(group + i / 2 * 8) * 8 + 2 * place + i % 2] = d[i];
}
PLANTED(32, planted_mma_f16, (float *y, const f16 *a, const f16 *b), (y, a, b), one_product<f16>)
PLANTED(32, planted_mma_bf16, (float *y, const bf16 *a, const bf16 *b), (y, a, b),
        one_product<bf16>)

/// x is 32 rows of 16 bytes; y receives each lane's four registers.
static void matrices(uint32_t *y, const uint32_t *x, uint32_t transposed) {
  char *room = shared_memory() + 16 * lane_id();
  for (uint32_t i = 0; i < 4; ++i) store4(room + 4 * i, x[4 * lane_id() + i]);
  warp_barrier();
  uint32_t r[4];
  if (transposed) {
    ldmatrix_transposed(r, room);
  } else {
    ldmatrix(r, room);
  }
  for (uint32_t i = 0; i < 4; ++i) y[4 * lane_id() + i] = r[i];
}
PLANTED(32, planted_matrices, (uint32_t *y, const uint32_t *x, uint32_t transposed),
        (y, x, transposed), matrices)

/// Copies 16 bytes a thread in two groups, the second of which is waited for later, and a word with
/// each, that of the second only where `bytes` is 16: y receives what shared memory holds then.
static void copies(uint32_t *y, const uint32_t *x, uint32_t bytes) {
  char *room = shared_memory() + 48 * threadIdx.x;
  const uint32_t *from = x + 4 * threadIdx.x;
  copy16_async(room, from);
  copy4_async(room + 32, from + 3);
  commit_copies();
  copy16_async(room + 16, from, int(bytes));
  copy4_async(room + 36, from + 2, bytes == 16 ? 4 : 0);
  commit_copies();
  commit_copies();  // an empty group counts
  wait_copies<2>();
  const uint32_t early = load4(room + 16);
  for (uint32_t i = 0; i < 4; ++i) y[11 * threadIdx.x + i] = load4(room + 4 * i);
  y[11 * threadIdx.x + 9] = load4(room + 32);
  wait_copies<1>();
  for (uint32_t i = 0; i < 4; ++i) y[11 * threadIdx.x + 4 + i] = load4(room + 16 + 4 * i);
  y[11 * threadIdx.x + 8] = early;
  y[11 * threadIdx.x + 10] = load4(room + 36);
}
PLANTED(256, planted_copies, (uint32_t *y, const uint32_t *x, uint32_t bytes), (y, x, bytes),
        copies)

/// y: 32 values shuffled from lane `from` + own lane, 32 of lane ^ flip, the warp's sum and
/// maximum.
static void shuffles(float *y, const float *x, uint32_t from, uint32_t flip) {
  const float mine = x[lane_id()];
  y[lane_id()] = shuffle(mine, (from + lane_id()) % 32);
  y[32 + lane_id()] = shuffle_xor(mine, flip);
  const float sum = warp_sum(mine), most = warp_max(mine);
  y[64 + lane_id()] = sum;
  y[96 + lane_id()] = most;
}
PLANTED(32, planted_shuffles, (float *y, const float *x, uint32_t from, uint32_t flip),
        (y, x, from, flip), shuffles)

/// y: what the count was for each thread, then what it is in the end; then a pair of x, the thread
/// and 7, thread by thread; then the pairs alone.
static void counts(uint32_t *y, const uint32_t *x) {
  uint32_t *count = reinterpret_cast<uint32_t *>(shared_memory());
  if (threadIdx.x == 0) *count = 0;
  __syncthreads();
  y[threadIdx.x] = count_one(count);
  __syncthreads();
  if (threadIdx.x == 0) y[blockDim.x] = *count;
  const Eight pair = load8(x + 2 * threadIdx.x);
  store8(y + 1284 + 2 * threadIdx.x, pair);
  store16_global(y + 260 + 4 * threadIdx.x, Sixteen{{pair.word[0], pair.word[1], threadIdx.x, 7}});
}
PLANTED(256, planted_counts, (uint32_t *y, const uint32_t *x), (y, x), counts)

static void random_words(uint32_t *y, const uint32_t *x) {
  const uint32_t *c = x + 6 * threadIdx.x;
  const PhiloxBlock block = philox(c[0], c[1], c[2], c[3], c[4], c[5]);
  for (uint32_t i = 0; i < 4; ++i) y[4 * threadIdx.x + i] = block.word[i];
}
PLANTED(256, planted_philox, (uint32_t *y, const uint32_t *x), (y, x), random_words)

/// Where each thread thinks it is.
static void places(uint32_t *y) {
  const uint32_t block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  y[block * blockDim.x + threadIdx.x] = block * 1000 + warp_id() * 32 + lane_id();
}
PLANTED(1024, planted_places, (uint32_t *y), (y), places)

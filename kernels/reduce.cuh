// Shuffles, and sums of a warp or a block in one fixed order. Every lane of the mask must call;
// blocks are whole warps.
#pragma once

#include "dtype.cuh"

constexpr uint32_t ALL_LANES = 0xffffffffu;

static __device__ __forceinline__ uint32_t lane_id() { return threadIdx.x & 31u; }
static __device__ __forceinline__ uint32_t warp_id() { return threadIdx.x >> 5; }

static __device__ __forceinline__ void warp_barrier() {
#if defined(__CUDACC__)
  __syncwarp();
#else
  const int nothing = 0;
  emulator::exchange(&nothing, sizeof nothing, ALL_LANES, "__syncwarp");
#endif
}

/// The value of lane `from` (below 32). 4-byte T.
template <class T>
static __device__ __forceinline__ T shuffle(T x, uint32_t from) {
#if defined(__CUDACC__)
  return __shfl_sync(ALL_LANES, x, from);
#else
  static_assert(sizeof(T) == 4, "a shuffle moves 4 bytes");
  const unsigned char *slots = emulator::exchange(&x, sizeof x, ALL_LANES, "shuffle");
  if (from > 31) emulator::fail("shuffle: expected a lane below 32, got %u", from);
  memcpy(&x, slots + from * emulator::SLOT, sizeof x);
  return x;
#endif
}

/// The value of the lane whose number differs in the bits of `flip`.
template <class T>
static __device__ __forceinline__ T shuffle_xor(T x, uint32_t flip) {
#if defined(__CUDACC__)
  return __shfl_xor_sync(ALL_LANES, x, flip);
#else
  static_assert(sizeof(T) == 4, "a shuffle moves 4 bytes");
  const unsigned char *slots = emulator::exchange(&x, sizeof x, ALL_LANES, "shuffle_xor");
  if (flip > 31) emulator::fail("shuffle_xor: expected bits below 32, got %u", flip);
  memcpy(&x, slots + (lane_id() ^ flip) * emulator::SLOT, sizeof x);
  return x;
#endif
}

/// Bit l is what lane l brought.
static __device__ __forceinline__ uint32_t lanes_where(bool mine) {
#if defined(__CUDACC__)
  return __ballot_sync(ALL_LANES, mine);
#else
  const uint32_t word = mine;
  const unsigned char *slots = emulator::exchange(&word, sizeof word, ALL_LANES, "lanes_where");
  uint32_t bits = 0;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    uint32_t other;
    memcpy(&other, slots + lane * emulator::SLOT, sizeof other);
    bits |= other << lane;
  }
  return bits;
#endif
}

/// The place of the lowest bit that is set; x is not zero.
static __device__ __forceinline__ uint32_t lowest_bit(uint32_t x) {
#if defined(__CUDACC__)
  return __ffs(x) - 1;
#else
  return __builtin_ctz(x);
#endif
}

/// The sum over a warp, the same bits in every lane: a butterfly, so each lane adds the same pairs.
static __device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (uint32_t flip = 16; flip > 0; flip >>= 1) x += shuffle_xor(x, flip);
  return x;
}

static __device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (uint32_t flip = 16; flip > 0; flip >>= 1) x = fmaxf(x, shuffle_xor(x, flip));
  return x;
}

/// The sum over a block, in every thread; `room` is shared memory for one float a warp, free again
/// when this returns.
static __device__ __forceinline__ float block_sum(float x, float *room) {
  x = warp_sum(x);
  if (lane_id() == 0) room[warp_id()] = x;
  __syncthreads();
  float sum = 0.0f;
  for (uint32_t w = 0; w < blockDim.x / 32; ++w) sum += room[w];
  __syncthreads();
  return sum;
}

static __device__ __forceinline__ float block_max(float x, float *room) {
  x = warp_max(x);
  if (lane_id() == 0) room[warp_id()] = x;
  __syncthreads();
  float most = room[0];
  for (uint32_t w = 1; w < blockDim.x / 32; ++w) most = fmaxf(most, room[w]);
  __syncthreads();
  return most;
}

/// Adds one to a count in shared memory and returns what it was. A count is the same in every order
/// of threads, what it was is not.
static __device__ __forceinline__ uint32_t count_one(uint32_t *count) {
#if defined(__CUDACC__)
  return atomicAdd(count, 1u);
#else
  emulator::in_shared(count, sizeof *count, "count_one");
  return (*count)++;
#endif
}

// Kernels for tests/chips/profile.rs: each wastes one thing, which the profiler must find and must
// put into numbers, or wastes nothing. One warp unless said otherwise; they are in no image.
#include "../entry.cuh"
#include "../tile.cuh"
#include "planted.cuh"

#define PARAMETERS (float *y, const float *x, uint32_t n)
#define ARGUMENTS (y, x, n)

static float *shared_floats() { return reinterpret_cast<float *>(shared_memory()); }

/// Neighbours read and write neighbours.
static void thrifty(float *y, const float *x, uint32_t) {
  shared_floats()[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = exp2_approx(shared_floats()[threadIdx.x ^ 1]);
}
/// Words n apart: as many lanes meet at a bank as n and 32 have in common.
static void conflict(float *y, const float *, uint32_t n) {
  shared_floats()[threadIdx.x * n] = 1.0f;
  warp_barrier();
  y[threadIdx.x] = shared_floats()[threadIdx.x * n];
}
/// Sixteen bytes a lane, n bytes apart.
static void conflict16(float *y, const float *, uint32_t n) {
  store16(shared_memory() + threadIdx.x * n, Sixteen{});
  warp_barrier();
  y[threadIdx.x] = float(load16(shared_memory() + threadIdx.x * n).word[0]);
}
/// Eight bytes a lane, n bytes apart.
static void conflict8(float *y, const float *, uint32_t n) {
  store8(shared_memory() + threadIdx.x * n, Eight{});
  warp_barrier();
  y[threadIdx.x] = float(load8(shared_memory() + threadIdx.x * n).word[0]);
}
/// The rows of four matrices, n bytes apart.
static void conflict_of_matrices(float *y, const float *x, uint32_t n) {
  copy16_async(shared_memory() + threadIdx.x * n, x + 4 * threadIdx.x);
  commit_copies();
  wait_copies<0>();
  warp_barrier();
  uint32_t r[4];
  ldmatrix(r, shared_memory() + threadIdx.x * n);
  y[threadIdx.x] = float(r[0]);
}
/// Floats n apart: a sector each where n is 8 or more.
static void scattered(float *y, const float *x, uint32_t n) {
  y[threadIdx.x * n] = x[threadIdx.x * n];
}
/// x is read n times.
static void again(float *y, const float *x, uint32_t n) {
  float sum = 0.0f;
  for (uint32_t i = 0; i < n; ++i) sum += x[(threadIdx.x + i) % 32];
  y[threadIdx.x] = sum;
}
/// Every load is waited for before the next.
static void one_by_one(float *y, const float *x, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) y[32 * i + threadIdx.x] = x[32 * i + threadIdx.x];
}
/// Eight at a time.
static void together(float *y, const float *x, uint32_t n) {
  for (uint32_t i = 0; i < n; i += 8) {
    float v[8];
    for (uint32_t j = 0; j < 8; ++j) v[j] = x[32 * (i + j) + threadIdx.x];
    for (uint32_t j = 0; j < 8; ++j) y[32 * (i + j) + threadIdx.x] = v[j];
  }
}
/// Half of the lanes go another way: what they do there is a request of its own.
static void divided(float *y, const float *x, uint32_t) {
  if (threadIdx.x < 16)
    y[threadIdx.x] = x[threadIdx.x];
  else
    y[threadIdx.x] = x[threadIdx.x] + 1.0f;
}

PLANTED(256, wasteful_nothing, PARAMETERS, ARGUMENTS, thrifty)
PLANTED(32, wasteful_conflict, PARAMETERS, ARGUMENTS, conflict)
PLANTED(32, wasteful_conflict16, PARAMETERS, ARGUMENTS, conflict16)
PLANTED(32, wasteful_conflict8, PARAMETERS, ARGUMENTS, conflict8)
PLANTED(32, wasteful_matrices, PARAMETERS, ARGUMENTS, conflict_of_matrices)
PLANTED(32, wasteful_scattered, PARAMETERS, ARGUMENTS, scattered)
PLANTED(32, wasteful_again, PARAMETERS, ARGUMENTS, again)
PLANTED(32, wasteful_one_by_one, PARAMETERS, ARGUMENTS, one_by_one)
PLANTED(32, wasteful_together, PARAMETERS, ARGUMENTS, together)
PLANTED(32, wasteful_divided, PARAMETERS, ARGUMENTS, divided)

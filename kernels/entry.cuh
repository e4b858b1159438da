// What every kernel source begins with: the names it is reached by.
//
//   template <class T> __device__ void scale(T *y, const T *x, float factor, uint64_t n) { … }
//   KERNEL(256, scale_f32, (float *y, const float *x, float factor, uint64_t n), (y, x, factor, n),
//   scale<float>)
//
// makes an entry point `scale_f32` that is launched with blocks of at most 256 threads. build.rs
// finds entry points by this word, so it stands at the beginning of a line and its first two
// arguments on that line.
#pragma once

#include <stdint.h>

#if defined(__CUDACC__)
#define KERNEL(threads, name, parameters, arguments, ...) \
  extern "C" __global__ void __launch_bounds__(threads) name parameters { __VA_ARGS__ arguments; }

/// The dynamic shared memory of the block; a kernel uses no other.
static __device__ __forceinline__ char *shared_memory() {
  extern __shared__ __align__(128) char engine_shared[];
  return engine_shared;
}
#else
#define KERNEL(threads, name, parameters, arguments, ...)         \
  static void name##_kernel parameters { __VA_ARGS__ arguments; } \
  extern "C" void engine_emulated_##name(void **values) {         \
    emulator::invoke(name##_kernel, values, threads);             \
  }

static inline char *shared_memory() { return emulator::shared_memory(); }
#endif

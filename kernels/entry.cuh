// What every kernel source begins with: the names it is reached by.
//
//   template <class T> static __device__ void scale(const Scale<T> args) { … }
//   KERNEL(256, scale_f32, Scale<float>, scale<float>)
//
// makes an entry point `scale_f32` that is launched with blocks of 256 threads and takes one value,
// of a struct in interface.cuh. build.rs finds entry points by this word, so it stands at the
// beginning of a line, with its first three arguments on that line; `threads` is a
// number, a constant of interface.cuh or the THREADS of a tile there.
#pragma once

#include <stdint.h>

#include "interface.cuh"

/// How an entry point holds its parameters; it decides registers and nothing else. A family whose
/// kernels use all that there are has them stay in constant memory: `__grid_constant__`, which it
/// defines before it includes this.
#if !defined(ENTRY_PARAMETERS)
#define ENTRY_PARAMETERS
#endif

#if defined(__CUDACC__)
#define KERNEL(threads, name, Parameters, ...)          \
  extern "C" __global__ void __launch_bounds__(threads) \
      name(const ENTRY_PARAMETERS Parameters args) {    \
    __VA_ARGS__(args);                                  \
  }

/// The dynamic shared memory of the block; a kernel uses no other.
static __device__ __forceinline__ char *shared_memory() {
  extern __shared__ __align__(128) char engine_shared[];
  return engine_shared;
}
#else
#define KERNEL(threads, name, Parameters, ...)                      \
  static void name##_kernel(Parameters args) { __VA_ARGS__(args); } \
  extern "C" void engine_emulated_##name(void **values) {           \
    emulator::invoke(name##_kernel, values, threads);               \
  }

static inline char *shared_memory() { return emulator::shared_memory(); }
#endif

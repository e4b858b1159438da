// Several elements at once: 16 bytes where addresses and lengths allow, one element elsewhere.
#pragma once

#include "dtype.cuh"

/// Elements of T in 16 bytes.
template <class T>
struct PerVector {
  static constexpr int COUNT = 16 / sizeof(T);
};

/// x[0..V) = from[0..V), V being 1 or PerVector<T>::COUNT.
template <int V, class T>
static __device__ __forceinline__ void load_many(float (&x)[V], const T *from) {
  if (V == 1) {
    x[0] = wide(from[0]);
  } else {
    const Sixteen raw = load16(from);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (sizeof(T) == 4) {
        x[i] = bits_to_float(raw.word[i % 4]);
      } else {
        const uint32_t pair = raw.word[i / 2 % 4];
        x[i] = wide_bits<T>(i % 2 ? pair >> 16 : pair);
      }
    }
  }
}

template <int V, class T>
static __device__ __forceinline__ void store_many(T *to, const float (&x)[V]) {
  if (V == 1) {
    to[0] = narrow<T>(x[0]);
  } else {
    Sixteen raw;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (sizeof(T) == 4) {
        raw.word[i] = float_to_bits(x[i % V]);
      } else {
        raw.word[i] = narrow_bits<T>(x[2 * i % V]) | narrow_bits<T>(x[(2 * i + 1) % V]) << 16;
      }
    }
    store16(to, raw);
  }
}

/// Element i of an array whose dtype is known at run time: 0 f32, 1 f16, 2 bf16. For what is read once, beside much else.
static __device__ __forceinline__ float load_any(const void *from, uint64_t i, uint32_t dtype) {
  if (dtype == 0) return static_cast<const float *>(from)[i];
  if (dtype == 1) return wide(static_cast<const f16 *>(from)[i]);
  return wide(static_cast<const bf16 *>(from)[i]);
}

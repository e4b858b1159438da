// Several elements at once: 16 bytes where addresses and lengths allow, one element elsewhere.
#pragma once

#include "dtype.cuh"

/// Elements of T in 16 bytes.
template <class T>
struct PerVector {
  static constexpr int COUNT = 16 / sizeof(T);
};

static __device__ __forceinline__ uint32_t bits_of(float x) { return float_to_bits(x); }
static __device__ __forceinline__ uint32_t bits_of(f16 x) { return x.bits; }
static __device__ __forceinline__ uint32_t bits_of(bf16 x) { return x.bits; }

/// x[0..V) = from[0..V): one element, or 8 bytes or multiples of 16 in whole accesses.
template <int V, class T>
static __device__ __forceinline__ void load_many(float (&x)[V], const T *from) {
  constexpr int BYTES = V * int(sizeof(T));
  static_assert(V == 1 || BYTES == 8 || BYTES % 16 == 0, "an access is one element, 8 or 16 bytes");
  if (V == 1) {
    x[0] = wide(from[0]);
    return;
  }
  uint32_t word[(BYTES + 3) / 4];
  if (BYTES == 8) {
    const Eight raw = load8(from);
    for (int i = 0; i < 2; ++i) word[i % ((BYTES + 3) / 4)] = raw.word[i];
  } else {
#pragma unroll
    for (int part = 0; part < BYTES / 16; ++part) {
      const Sixteen raw = load16(reinterpret_cast<const char *>(from) + 16 * part);
#pragma unroll
      for (int i = 0; i < 4; ++i) word[4 * part + i] = raw.word[i];
    }
  }
#pragma unroll
  for (int i = 0; i < V; ++i) {
    if (sizeof(T) == 4) {
      x[i] = bits_to_float(word[i % ((BYTES + 3) / 4)]);
    } else {
      x[i] = wide_bits<T>(i % 2 ? word[i / 2] >> 16 : word[i / 2]);
    }
  }
}

template <int V, class T>
static __device__ __forceinline__ void store_many(T *to, const float (&x)[V]) {
  constexpr int BYTES = V * int(sizeof(T));
  static_assert(V == 1 || BYTES == 8 || BYTES % 16 == 0, "an access is one element, 8 or 16 bytes");
  if (V == 1) {
    to[0] = narrow<T>(x[0]);
    return;
  }
  uint32_t word[(BYTES + 3) / 4];
#pragma unroll
  for (int i = 0; i < (BYTES + 3) / 4; ++i) {
    if (sizeof(T) == 4) {
      word[i] = float_to_bits(x[i]);
    } else {
      word[i] = narrow_bits<T>(x[2 * i % V]) | narrow_bits<T>(x[(2 * i + 1) % V]) << 16;
    }
  }
  if (BYTES == 8) {
    store8(to, Eight{{word[0], word[1 % ((BYTES + 3) / 4)]}});
  } else {
#pragma unroll
    for (int part = 0; part < BYTES / 16; ++part)
      store16(reinterpret_cast<char *>(to) + 16 * part, Sixteen{{word[4 * part], word[4 * part + 1], word[4 * part + 2], word[4 * part + 3]}});
  }
}

/// x = row[c..c + V) as far as there are columns, then `beyond`. WIDE: there are, and the address allows 16 bytes. Both forms give a
/// thread the same elements, so a sum over a row has the same order wherever the row stands.
template <bool WIDE, int V, class T>
static __device__ __forceinline__ void load_part(float (&x)[V], const T *row, uint64_t c, uint64_t cols, float beyond) {
  if (WIDE) {
    load_many<V>(x, row + c);
  } else {
#pragma unroll
    for (int v = 0; v < V; ++v) x[v] = c + v < cols ? wide(row[c + v]) : beyond;
  }
}

template <bool WIDE, int V, class T>
static __device__ __forceinline__ void store_part(T *row, uint64_t c, uint64_t cols, const float (&x)[V]) {
  if (WIDE) {
    store_many<V>(row + c, x);
  } else {
#pragma unroll
    for (int v = 0; v < V; ++v)
      if (c + v < cols) row[c + v] = narrow<T>(x[v]);
  }
}

/// Element i of an array whose dtype is known at run time: 0 f32, 1 f16, 2 bf16. For what is read once, beside much else.
static __device__ __forceinline__ float load_any(const void *from, uint64_t i, uint32_t dtype) {
  if (dtype == 0) return static_cast<const float *>(from)[i];
  if (dtype == 1) return wide(static_cast<const f16 *>(from)[i]);
  return wide(static_cast<const bf16 *>(from)[i]);
}

/// The same of V elements; WIDE and `beyond` as in load_part.
template <bool WIDE, int V>
static __device__ __forceinline__ void load_part_any(float (&x)[V], const void *from, uint64_t c, uint64_t cols, uint32_t dtype, float beyond) {
  if (dtype == 0) return load_part<WIDE>(x, static_cast<const float *>(from), c, cols, beyond);
  if (dtype == 1) return load_part<WIDE>(x, static_cast<const f16 *>(from), c, cols, beyond);
  load_part<WIDE>(x, static_cast<const bf16 *>(from), c, cols, beyond);
}

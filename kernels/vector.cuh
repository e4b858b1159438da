// Several elements at once: 16 bytes where addresses and lengths allow, one element elsewhere.
#pragma once

#include "interface.cuh"

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
  if constexpr (V == 1) {
    x[0] = wide(from[0]);
  } else {
    constexpr int BYTES = V * int(sizeof(T));
    static_assert(BYTES == 8 || BYTES % 16 == 0, "an access is one element, 8 or 16 bytes");
    uint32_t word[BYTES / 4];
    if constexpr (BYTES == 8) {
      const Eight raw = load8(from);
      word[0] = raw.word[0];
      word[1] = raw.word[1];
    } else {
#pragma unroll
      for (int part = 0; part < BYTES / 16; ++part) {
        const Sixteen raw = load16(reinterpret_cast<const char *>(from) + 16 * part);
#pragma unroll
        for (int i = 0; i < 4; ++i) word[4 * part + i] = raw.word[i];
      }
    }
#pragma unroll
    for (int v = 0; v < V; ++v) {
      if constexpr (sizeof(T) == 4)
        x[v] = bits_to_float(word[v]);
      else
        x[v] = v % 2 ? high_half<T>(word[v / 2]) : low_half<T>(word[v / 2]);
    }
  }
}

/// to[0..V) = x: one element, or multiples of 16 bytes.
template <int V, class T>
static __device__ __forceinline__ void store_many(T *to, const float (&x)[V]) {
  if constexpr (V == 1) {
    to[0] = narrow<T>(x[0]);
  } else {
    constexpr int BYTES = V * int(sizeof(T));
    static_assert(BYTES % 16 == 0, "an access is one element or 16 bytes");
#pragma unroll
    for (int part = 0; part < BYTES / 16; ++part) {
      Sixteen raw;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int word = 4 * part + i;
        if constexpr (sizeof(T) == 4)
          raw.word[i] = float_to_bits(x[word]);
        else
          raw.word[i] = pack<T>(x[2 * word], x[2 * word + 1]);
      }
      store16_global(reinterpret_cast<char *>(to) + 16 * part, raw);
    }
  }
}

/// x = row[c..c + V) as far as there are columns, then `beyond`. WIDE: there are, and the address
/// allows 16 bytes. Both forms give a thread the same elements, so a sum over a row has the same
/// order wherever the row stands.
template <bool WIDE, int V, class T>
static __device__ __forceinline__ void load_part(float (&x)[V], const T *row, uint64_t c,
                                                 uint64_t cols, float beyond) {
  if constexpr (WIDE) {
    load_many<V>(x, row + c);
  } else {
#pragma unroll
    for (int v = 0; v < V; ++v) x[v] = c + v < cols ? wide(row[c + v]) : beyond;
  }
}

template <bool WIDE, int V, class T>
static __device__ __forceinline__ void store_part(T *row, uint64_t c, uint64_t cols,
                                                  const float (&x)[V]) {
  if constexpr (WIDE) {
    store_many<V>(row + c, x);
  } else {
#pragma unroll
    for (int v = 0; v < V; ++v)
      if (c + v < cols) row[c + v] = narrow<T>(x[v]);
  }
}

/// load_part from an array whose dtype is known at run time.
template <bool WIDE, int V>
static __device__ __forceinline__ void load_part_any(float (&x)[V], const void *from, uint64_t c,
                                                     uint64_t cols, uint32_t dtype, float beyond) {
  if (dtype == DTYPE_F32)
    return load_part<WIDE>(x, static_cast<const float *>(from), c, cols, beyond);
  if (dtype == DTYPE_F16)
    return load_part<WIDE>(x, static_cast<const f16 *>(from), c, cols, beyond);
  load_part<WIDE>(x, static_cast<const bf16 *>(from), c, cols, beyond);
}

/// x = the columns from c on of the row of the table that id number i names; an id that it does not
/// have reads as NaN, never as memory beside it.
template <int V>
static __device__ __forceinline__ void load_row(float (&x)[V], const Table &table, uint64_t i,
                                                uint32_t cols, uint32_t c) {
  const uint32_t id = table.ids[i];
#pragma unroll
  for (int v = 0; v < V; ++v) x[v] = bits_to_float(0x7fc00000u);
  const uint64_t at = uint64_t(id) * cols + c;
  if (id < table.rows) load_part_any<(V > 1)>(x, table.table, at, at + V, table.dtype, 0.0f);
}

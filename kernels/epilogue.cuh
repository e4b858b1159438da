// What follows a sum of products before it is stored, on eight neighbouring columns of one row at a
// time.
//
// Arithmetic is spelled with fmaf where a product is added, so that no compiler decides differently
// in two kernels; reads and writes take 16 bytes where the address allows it and single elements
// elsewhere, which changes no bit.
#pragma once

#include "gelu.cuh"
#include "interface.cuh"

/// One element of a tensor of any float dtype.
static __device__ __forceinline__ float element(const void *x, uint32_t kind, uint64_t i) {
  if (kind == DTYPE_F32) return static_cast<const float *>(x)[i];
  if (kind == DTYPE_F16) return wide(static_cast<const f16 *>(x)[i]);
  return wide(static_cast<const bf16 *>(x)[i]);
}

static __device__ __forceinline__ uint32_t at_least_zero(uint64_t end, uint64_t at) {
  return end > at ? uint32_t(end - at) : 0;
}

/// Elements i to i + 8; those from `count` on are 0 and not touched.
static __device__ __forceinline__ void load_run(float (&v)[RUN], const void *x, uint32_t kind,
                                                uint64_t i, uint32_t count) {
  const char *address = static_cast<const char *>(x) + i * (kind == DTYPE_F32 ? 4 : 2);
  if (count >= RUN && reinterpret_cast<uintptr_t>(address) % 16 == 0) {
    const Sixteen first = load16(address);
    if (kind == DTYPE_F32) {
      const Sixteen second = load16(address + 16);
#pragma unroll
      for (int e = 0; e < 4; ++e)
        v[e] = bits_to_float(first.word[e]), v[4 + e] = bits_to_float(second.word[e]);
    } else if (kind == DTYPE_F16) {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        v[2 * e] = low_half<f16>(first.word[e]), v[2 * e + 1] = high_half<f16>(first.word[e]);
    } else {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        v[2 * e] = low_half<bf16>(first.word[e]), v[2 * e + 1] = high_half<bf16>(first.word[e]);
    }
  } else {
#pragma unroll
    for (uint32_t e = 0; e < RUN; ++e) v[e] = e < count ? element(x, kind, i + e) : 0.0f;
  }
}

/// The first `count` of eight values, rounded to the dtype.
static __device__ __forceinline__ void store_run(void *y, uint32_t kind, uint64_t i, uint32_t count,
                                                 const float (&v)[RUN]) {
  char *address = static_cast<char *>(y) + i * (kind == DTYPE_F32 ? 4 : 2);
  const bool together = count >= RUN && reinterpret_cast<uintptr_t>(address) % 16 == 0;
  if (kind == DTYPE_F32) {
    if (together) {
      Sixteen first, second;
#pragma unroll
      for (int e = 0; e < 4; ++e)
        first.word[e] = float_to_bits(v[e]), second.word[e] = float_to_bits(v[4 + e]);
      store16(address, first);
      store16(address + 16, second);
    } else {
#pragma unroll
      for (uint32_t e = 0; e < RUN; ++e)
        if (e < count) static_cast<float *>(y)[i + e] = v[e];
    }
    return;
  }
  Sixteen x;
#pragma unroll
  for (int e = 0; e < 4; ++e)
    x.word[e] =
        kind == DTYPE_F16 ? pack<f16>(v[2 * e], v[2 * e + 1]) : pack<bf16>(v[2 * e], v[2 * e + 1]);
  if (together) {
    store16(address, x);
  } else {
#pragma unroll
    for (uint32_t e = 0; e < RUN; ++e)
      if (e < count) static_cast<uint16_t *>(y)[i + e] = uint16_t(x.word[e / 2] >> (e % 2 * 16));
  }
}

/// The eight as a tensor of this dtype holds them.
static __device__ __forceinline__ void round_run(float (&v)[RUN], uint32_t kind) {
#pragma unroll
  for (uint32_t e = 0; e < RUN; ++e) {
    if (kind == DTYPE_F16) v[e] = wide(narrow<f16>(v[e]));
    if (kind == DTYPE_BF16) v[e] = wide(narrow<bf16>(v[e]));
  }
}

/// The part of a product's parameters that its epilogue keeps: see `Epilogue` in engine/device.
struct Epilogue {
  void *y, *before;
  const void *bias, *residual, *z, *factor;
  uint32_t n, rank, kinds, choices;
  float scale, low_rank_scale, residual_scale;
  /// Whether the factor is [n, rank], else [rank, n].
  bool factor_by_column;

  /// Each blockIdx.y has a y of its own: with more than one they are f32 and summed later.
  __device__ __forceinline__ Epilogue(const Product &p, bool by_column)
      : y(static_cast<float *>(p.y) + (blockIdx.y ? uint64_t(blockIdx.y) * p.m * p.n : 0)),
        before(p.before),
        bias(p.bias),
        residual(p.residual),
        z(p.z),
        factor(p.factor),
        n(p.n),
        rank(p.rank),
        kinds(p.kinds),
        choices(p.choices),
        scale(p.scale),
        low_rank_scale(p.low_rank_scale),
        residual_scale(p.residual_scale),
        factor_by_column(by_column) {}

  __device__ __forceinline__ uint32_t kind_of_y() const { return kinds >> KIND_OF_Y & 15; }
  __device__ __forceinline__ uint32_t kind_of_before() const {
    return kinds >> KIND_OF_BEFORE & 15;
  }
  __device__ __forceinline__ uint32_t kind_of_bias() const { return kinds >> KIND_OF_BIAS & 15; }
  __device__ __forceinline__ uint32_t kind_of_residual() const {
    return kinds >> KIND_OF_RESIDUAL & 15;
  }
  __device__ __forceinline__ uint32_t kind_of_z() const { return kinds >> KIND_OF_Z & 15; }
  __device__ __forceinline__ uint32_t kind_of_factor() const {
    return kinds >> KIND_OF_FACTOR & 15;
  }

  /// Eight of the rank from `at` on, of one of m rows of z; those from `count` on are 0 and not
  /// touched. Some sums are under way at once.
  __device__ __forceinline__ void load_z(float (&v)[RUN], uint32_t m, uint32_t row, uint32_t at,
                                         uint32_t count) const {
    const uint32_t sums = choices >> SUMS_OF_Z;
    if (sums == 0) return load_run(v, z, kind_of_z(), uint64_t(row) * rank + at, count);
    constexpr uint32_t TOGETHER = 8;
#pragma unroll
    for (uint32_t e = 0; e < RUN; ++e) v[e] = 0.0f;
    for (uint32_t first = 0; first < sums; first += TOGETHER) {
      float x[TOGETHER][RUN];
#pragma unroll
      for (uint32_t t = 0; t < TOGETHER; ++t)
        load_run(x[t], z, DTYPE_F32, (uint64_t(first + t) * m + row) * rank + at,
                 first + t < sums ? count : 0);
#pragma unroll
      for (uint32_t t = 0; t < TOGETHER; ++t)
#pragma unroll
        for (uint32_t e = 0; e < RUN; ++e) v[e] += x[t][e];
    }
    round_run(v, DTYPE_BF16);
  }

  __device__ __forceinline__ float factor_at(uint32_t column, uint32_t at) const {
    return element(factor, kind_of_factor(),
                   factor_by_column ? uint64_t(column) * rank + at : uint64_t(at) * n + column);
  }
  /// Eight of the rank from `at` on, of one column; those from `count` on are 0 and not touched.
  __device__ __forceinline__ void load_factor(float (&v)[RUN], uint32_t column, uint32_t at,
                                              uint32_t count) const {
    if (factor_by_column)
      return load_run(v, factor, kind_of_factor(), uint64_t(column) * rank + at, count);
#pragma unroll
    for (uint32_t e = 0; e < RUN; ++e) v[e] = e < count ? factor_at(column, at + e) : 0.0f;
  }

  // SUM: nothing comes between the sum and y, as the door has it of the gradient of a weight.

  /// What is the same for every row of eight columns: their bias.
  struct Columns {
    float bias[RUN];
  };
  template <bool SUM = false>
  __device__ __forceinline__ Columns columns(uint32_t column) const {
    Columns x = {};
    if (!SUM && bias) load_run(x.bias, bias, kind_of_bias(), column, at_least_zero(n, column));
    return x;
  }

  /// What eight elements of a row read beside their sum: the residual or the argument of the GELU
  /// whose slope they take, of which there is one at most, and what stood in y.
  struct Old {
    float other[RUN], y[RUN];
  };
  template <bool SUM = false>
  __device__ __forceinline__ void read(Old &x, uint32_t row, uint32_t column) const {
    const uint32_t count = at_least_zero(n, column);
    const uint64_t i = uint64_t(row) * n + column;
    if (!SUM && residual) load_run(x.other, residual, kind_of_residual(), i, count);
    if (!SUM && choices & CHOICE_SLOPE) load_run(x.other, before, kind_of_before(), i, count);
    if (choices & CHOICE_ADD) load_run(x.y, y, kind_of_y(), i, count);
  }

  /// v, which is scale·a·b + low_rank, becomes y of this row from `column` on.
  template <bool SUM = false>
  __device__ __forceinline__ void write(uint32_t row, uint32_t column, float (&v)[RUN],
                                        const Columns &of_columns, const Old &old) const {
    const uint32_t count = at_least_zero(n, column);
    const uint64_t i = uint64_t(row) * n + column;
    if (SUM) return add_and_store(i, count, v, old);
    if (bias) {
#pragma unroll
      for (uint32_t e = 0; e < RUN; ++e) v[e] += of_columns.bias[e];
    }
    if (choices & CHOICE_SLOPE) {
#pragma unroll
      for (uint32_t e = 0; e < RUN; ++e)
        v[e] *= choices & CHOICE_GELU_ERF ? gelu_slope<true>(old.other[e])
                                          : gelu_slope<false>(old.other[e]);
      return add_and_store(i, count, v, old);
    }
    if (before) store_run(before, kind_of_before(), i, count, v);
    if (choices & (CHOICE_GELU_TANH | CHOICE_GELU_ERF)) {
      // Of the sum as y's dtype holds it: then it can be computed again from what was kept.
      round_run(v, kind_of_y());
#pragma unroll
      for (uint32_t e = 0; e < RUN; ++e)
        v[e] = choices & CHOICE_GELU_ERF ? gelu_of<true>(v[e]) : gelu_of<false>(v[e]);
    }
    if (residual) {
#pragma unroll
      for (uint32_t e = 0; e < RUN; ++e) v[e] = fmaf(residual_scale, old.other[e], v[e]);
    }
    add_and_store(i, count, v, old);
  }

  __device__ __forceinline__ void add_and_store(uint64_t i, uint32_t count, float (&v)[RUN],
                                                const Old &old) const {
    if (choices & CHOICE_ADD) {
#pragma unroll
      for (uint32_t e = 0; e < RUN; ++e) v[e] += old.y[e];
    }
    store_run(y, kind_of_y(), i, count, v);
  }

  /// The same from the bare sums of a·b, the low-rank tail in f32.
  __device__ __forceinline__ void write_sums(uint32_t row, uint32_t column, float (&v)[RUN]) const {
    const uint32_t count = at_least_zero(n, column);
#pragma unroll
    for (uint32_t e = 0; e < RUN; ++e) v[e] *= scale;
    for (uint32_t at = 0; at < rank; ++at) {
      const float x = low_rank_scale * element(z, kind_of_z(), uint64_t(row) * rank + at);
#pragma unroll
      for (uint32_t e = 0; e < RUN; ++e)
        if (e < count) v[e] = fmaf(x, factor_at(column + e, at), v[e]);
    }
    Old old;
    read(old, row, column);
    write(row, column, v, columns(column), old);
  }
};

// Rotary positions: turns query and key parts in place, each half of a head's columns by a position
// of its own.
#include "entry.cuh"
#include "tile.cuh"

/// With D = size/2 columns in a half and D/2 pairs: low = x[j]·cos - x[j + D/2]·sin, high = x[j +
/// D/2]·cos + x[j]·sin. A thread has WIDE neighbouring pairs, read at once where WIDE > 1: then
/// `pairs` is a multiple of WIDE and x of 16 bytes. `sign` -1 turns back.
template <class T, int WIDE>
static __device__ void rotate(T *x, const float *cos, const float *sin, const uint32_t *positions0,
                              const uint32_t *positions1, uint32_t rows, uint32_t heads,
                              uint32_t pairs, uint32_t part, uint32_t head, float sign) {
  const uint32_t packs = pairs / WIDE,
                 turns = 4 * heads * packs;  // of a row: two parts, two halves
  const uint64_t total = uint64_t(rows) * turns, pitch = uint64_t(12) * heads * pairs;
  for (uint64_t number = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; number < total;
       number += uint64_t(gridDim.x) * blockDim.x) {
    const uint64_t row = number / turns;
    uint32_t rest = uint32_t(number % turns);
    const uint32_t first = rest % packs * WIDE;
    rest /= packs;
    const uint32_t half = rest & 1u, is_key = rest >> 1 & 1u, h = rest >> 2;
    T *low = x + row * pitch + is_key * part + uint64_t(h) * head + half * 2 * pairs + first,
      *high = low + pairs;
    const uint64_t angle = uint64_t((half ? positions1 : positions0)[row]) * pairs + first;
    union {
      Sixteen whole;
      T element[WIDE];
    } a, b;
    if (WIDE > 1) {
      a.whole = load16(low);
      b.whole = load16(high);
    } else {
      a.element[0] = *low;
      b.element[0] = *high;
    }
#pragma unroll
    for (int i = 0; i < WIDE; ++i) {
      const float u = wide(a.element[i]), v = wide(b.element[i]), c = cos[angle + i],
                  s = sign * sin[angle + i];
      a.element[i] = narrow<T>(fmaf(u, c, -(v * s)));
      b.element[i] = narrow<T>(fmaf(v, c, u * s));
    }
    if (WIDE > 1) {
      store16(low, a.whole);
      store16(high, b.whole);
    } else {
      *low = a.element[0];
      *high = b.element[0];
    }
  }
}

#define ROTATE_PARAMETERS(T)                                                                 \
  (T * x, const float *cos, const float *sin, const uint32_t *positions0,                    \
   const uint32_t *positions1, uint32_t rows, uint32_t heads, uint32_t pairs, uint32_t part, \
   uint32_t head, float sign)
#define ROTATE_ARGUMENTS (x, cos, sin, positions0, positions1, rows, heads, pairs, part, head, sign)

KERNEL(256, rotate_one_f32, ROTATE_PARAMETERS(float), ROTATE_ARGUMENTS, rotate<float, 1>)
KERNEL(256, rotate_one_f16, ROTATE_PARAMETERS(f16), ROTATE_ARGUMENTS, rotate<f16, 1>)
KERNEL(256, rotate_one_bf16, ROTATE_PARAMETERS(bf16), ROTATE_ARGUMENTS, rotate<bf16, 1>)
KERNEL(256, rotate_wide_f32, ROTATE_PARAMETERS(float), ROTATE_ARGUMENTS, rotate<float, 4>)
KERNEL(256, rotate_wide_f16, ROTATE_PARAMETERS(f16), ROTATE_ARGUMENTS, rotate<f16, 8>)
KERNEL(256, rotate_wide_bf16, ROTATE_PARAMETERS(bf16), ROTATE_ARGUMENTS, rotate<bf16, 8>)

// Rotary positions: turns query and key parts in place, each half of a head's columns by a position
// of its own.
#include "entry.cuh"
#include "tile.cuh"

/// With D = size/2 columns in a half and D/2 pairs: low = x[j]·cos - x[j + D/2]·sin, high = x[j +
/// D/2]·cos + x[j]·sin. A thread has WIDE neighbouring pairs, read at once where WIDE > 1: then
/// `pairs` is a multiple of WIDE and x of 16 bytes. `sign` -1 turns back.
template <class T, int WIDE>
static __device__ void rotate(const Rotate<T> args) {
  const uint32_t packs = args.pairs / WIDE,
                 turns = 4 * args.heads * packs;  // of a row: two parts, two halves
  const uint64_t total = uint64_t(args.rows) * turns,
                 pitch = uint64_t(12) * args.heads * args.pairs;
  for (uint64_t number = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; number < total;
       number += uint64_t(gridDim.x) * blockDim.x) {
    const uint64_t row = number / turns;
    uint32_t rest = uint32_t(number % turns);
    const uint32_t first = rest % packs * WIDE;
    rest /= packs;
    const uint32_t half = rest & 1u, is_key = rest >> 1 & 1u, h = rest >> 2;
    T *low = args.x + row * pitch + is_key * args.layout.part + uint64_t(h) * args.layout.head +
             half * 2 * args.pairs + first,
      *high = low + args.pairs;
    const uint64_t angle =
        uint64_t((half ? args.positions1 : args.positions0)[row]) * args.pairs + first;
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
      const float u = wide(a.element[i]), v = wide(b.element[i]), c = args.cos[angle + i],
                  s = args.sign * args.sin[angle + i];
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

// rotate: 256 threads, 32 registers, 8 blocks a processor
// bound by dram (lsu 28 %, l2 26 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, rotate_one_f32, Rotate<float>, rotate<float, 1>)
KERNEL(256, rotate_one_f16, Rotate<f16>, rotate<f16, 1>)
KERNEL(256, rotate_one_bf16, Rotate<bf16>, rotate<bf16, 1>)
KERNEL(256, rotate_wide_f32, Rotate<float>, rotate<float, 4>)
KERNEL(256, rotate_wide_f16, Rotate<f16>, rotate<f16, 8>)
KERNEL(256, rotate_wide_bf16, Rotate<bf16>, rotate<bf16, 8>)

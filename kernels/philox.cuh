// Philox 4x32-10, twin of engine/base/rng.rs: a value is a function of key and counter alone.
#pragma once

#include <stdint.h>

struct PhiloxBlock {
  uint32_t word[4];
};

static __device__ __forceinline__ PhiloxBlock philox(uint32_t key0, uint32_t key1, uint32_t c0,
                                                     uint32_t c1, uint32_t c2, uint32_t c3) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(c0) * 0xD2511F53u;
    const uint64_t p1 = uint64_t(c2) * 0xCD9E8D57u;
    const uint32_t n0 = uint32_t(p1 >> 32) ^ c1 ^ key0, n2 = uint32_t(p0 >> 32) ^ c3 ^ key1;
    c0 = n0;
    c1 = uint32_t(p1);
    c2 = n2;
    c3 = uint32_t(p0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return PhiloxBlock{{c0, c1, c2, c3}};
}

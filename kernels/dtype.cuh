// Elements as they are stored. Arithmetic is f32 everywhere: wide() in, narrow() out (to nearest
// even).
#pragma once

#include <stdint.h>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#else
#include <immintrin.h>
#endif

struct f16 {
  uint16_t bits;
};
struct bf16 {
  uint16_t bits;
};

static __device__ __forceinline__ float bits_to_float(uint32_t bits) {
#if defined(__CUDACC__)
  return __uint_as_float(bits);
#else
  float x;
  memcpy(&x, &bits, 4);
  return x;
#endif
}

static __device__ __forceinline__ uint32_t float_to_bits(float x) {
#if defined(__CUDACC__)
  return __float_as_uint(x);
#else
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
#endif
}

static __device__ __forceinline__ float wide(float x) { return x; }
static __device__ __forceinline__ float wide(bf16 x) {
  return bits_to_float(uint32_t(x.bits) << 16);
}
static __device__ __forceinline__ float wide(f16 x) {
#if defined(__CUDACC__)
  return __half2float(__ushort_as_half(x.bits));
#else
  return _cvtsh_ss(x.bits);
#endif
}

template <class T>
static __device__ __forceinline__ T narrow(float x);
template <>
__device__ __forceinline__ float narrow<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bf16 narrow<bf16>(float x) {
#if defined(__CUDACC__)
  return bf16{__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#else
  const uint32_t bits = float_to_bits(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bf16{uint16_t(bits >> 16 | 0x40u)};
  return bf16{uint16_t((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
#endif
}
template <>
__device__ __forceinline__ f16 narrow<f16>(float x) {
#if defined(__CUDACC__)
  return f16{__half_as_ushort(__float2half_rn(x))};
#else
  return f16{uint16_t(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT))};
#endif
}

/// Two neighbours in one register, the first in the low half: how mma and 32-bit stores want 16-bit
/// elements.
template <class T>
static __device__ __forceinline__ uint32_t pack(float low, float high) {
  return uint32_t(narrow<T>(low).bits) | uint32_t(narrow<T>(high).bits) << 16;
}
template <class T>
static __device__ __forceinline__ float low_half(uint32_t pair) {
  return wide(T{uint16_t(pair)});
}
template <class T>
static __device__ __forceinline__ float high_half(uint32_t pair) {
  return wide(T{uint16_t(pair >> 16)});
}

/// Two neighbours of f32 as three parts of bf16 each, packed: a part has 8 bits, and the rest of
/// each rounding goes to the next, so that together they lose nothing.
static __device__ __forceinline__ void three_parts(uint32_t (&part)[3], float low, float high) {
#pragma unroll
  for (int p = 0; p < 3; ++p) {
    part[p] = pack<bf16>(low, high);
    low -= low_half<bf16>(part[p]);
    high -= high_half<bf16>(part[p]);
  }
}

/// Sixteen bytes of global or shared memory in one access; the address must be a multiple of 16.
struct __align__(16) Sixteen {
  uint32_t word[4];
};

static __device__ __forceinline__ Sixteen load16(const void *address) {
#if !defined(__CUDACC__)
  emulator::aligned(address, 16, "16-byte load");
  Sixteen x;
  memcpy(&x, address, 16);
  return x;
#else
  const uint4 x = *static_cast<const uint4 *>(address);
  return Sixteen{{x.x, x.y, x.z, x.w}};
#endif
}

static __device__ __forceinline__ void store16(void *address, const Sixteen &x) {
#if !defined(__CUDACC__)
  emulator::aligned(address, 16, "16-byte store");
  memcpy(address, &x, 16);
#else
  *static_cast<uint4 *>(address) = make_uint4(x.word[0], x.word[1], x.word[2], x.word[3]);
#endif
}

static __device__ __forceinline__ void store4(void *address, uint32_t x) {
#if !defined(__CUDACC__)
  emulator::aligned(address, 4, "4-byte store");
  memcpy(address, &x, 4);
#else
  *static_cast<uint32_t *>(address) = x;
#endif
}

static __device__ __forceinline__ uint32_t load4(const void *address) {
#if !defined(__CUDACC__)
  emulator::aligned(address, 4, "4-byte load");
  uint32_t x;
  memcpy(&x, address, 4);
  return x;
#else
  return *static_cast<const uint32_t *>(address);
#endif
}

/// Eight bytes in one access; the address must be a multiple of 8.
struct __align__(8) Eight {
  uint32_t word[2];
};

static __device__ __forceinline__ Eight load8(const void *address) {
#if !defined(__CUDACC__)
  emulator::aligned(address, 8, "8-byte load");
  Eight x;
  memcpy(&x, address, 8);
  return x;
#else
  const uint2 x = *static_cast<const uint2 *>(address);
  return Eight{{x.x, x.y}};
#endif
}

static __device__ __forceinline__ void store8(void *address, const Eight &x) {
#if !defined(__CUDACC__)
  emulator::aligned(address, 8, "8-byte store");
  memcpy(address, &x, 8);
#else
  *static_cast<uint2 *>(address) = make_uint2(x.word[0], x.word[1]);
#endif
}

/// store16 to global memory alone. One access wherever it stands: a plain one is split into words
/// where paths of control meet before it.
static __device__ __forceinline__ void store16_global(void *address, const Sixteen &x) {
#if !defined(__CUDACC__)
  store16(address, x);
#else
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(address)),
               "r"(x.word[0]), "r"(x.word[1]), "r"(x.word[2]), "r"(x.word[3])
               : "memory");
#endif
}

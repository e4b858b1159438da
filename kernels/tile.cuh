// What the tensor cores and the copy engine of sm_80 do, each with its plain meaning beside it.
//
// Fragments of mma.sync.m16n8k16, for lane = 4·group + place (PTX ISA, "Matrix Fragments for
// mma.m16n8k16"):
//   a[0]        row group, columns 2·place, +1
//   a[1]        row group + 8, same columns
//   a[2], a[3]  the same, columns + 8
//   b[0]        column group, rows (k) 2·place, +1
//   b[1]        the same, rows + 8
//   d[0], d[1]  row group, columns 2·place, +1
//   d[2], d[3]  row group + 8
#pragma once

#include "reduce.cuh"

/// d += a·b for a 16×16 (row-major), b 16×8 (column-major), T f16 or bf16, sums in f32.
template <class T>
static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4],
                                           const uint32_t (&b)[2]);

#if defined(__CUDACC__)

template <>
__device__ __forceinline__ void mma<bf16>(float (&d)[4], const uint32_t (&a)[4],
                                          const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <>
__device__ __forceinline__ void mma<f16>(float (&d)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ __forceinline__ uint32_t shared_address(const void *p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

/// Four 8×8 matrices of 16-bit elements. Lane l gives the address of row l % 8 of matrix l / 8 (16
/// bytes, aligned); r[i] of lane l receives the elements 2·(l % 4) and + 1 of row l / 4 of matrix
/// i.
static __device__ __forceinline__ void ldmatrix(uint32_t (&r)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

/// The same, each matrix transposed: r[i] receives the elements l / 4 of rows 2·(l % 4) and + 1.
static __device__ __forceinline__ void ldmatrix_transposed(uint32_t (&r)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

/// Begins to copy 16 bytes from global to shared memory, past L1; `bytes` (0 to 16) of them are
/// read, the rest becomes zero.
static __device__ __forceinline__ void copy16_async(void *shared, const void *global,
                                                    int bytes = 16) {
  asm volatile(
      "cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
      "l"(global), "r"(bytes)
      : "memory");
}

/// The same of 4 bytes, `bytes` of which (0 or 4) are read.
static __device__ __forceinline__ void copy4_async(void *shared, const void *global,
                                                   int bytes = 4) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(bytes)
               : "memory");
}

/// Closes the group of copies begun since the last one.
static __device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/// Waits until at most PENDING groups of this thread are under way. Others see what arrived after a
/// barrier.
template <int PENDING>
static __device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

#else

/// What a lane brings to an mma and takes away.
struct MmaLane {
  uint32_t a[4], b[2];
  float d[4];
};

template <class T>
static inline __m256 wide8(__m128i x);
template <>
inline __m256 wide8<f16>(__m128i x) {
  return _mm256_cvtph_ps(x);
}
template <>
inline __m256 wide8<bf16>(__m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}

/// The whole product of a warp, once all lanes have come: k ascending into each sum, fused.
template <class T>
static inline void multiply(unsigned char *slots) {
  const auto of = [&](uint32_t lane) {
    return reinterpret_cast<MmaLane *>(slots + lane * emulator::SLOT);
  };
  alignas(32) float a[16][16], b[16][8], d[16][8];
  for (uint32_t group = 0; group < 8; ++group) {
    const MmaLane *const lane[4] = {of(4 * group), of(4 * group + 1), of(4 * group + 2),
                                    of(4 * group + 3)};
    for (uint32_t part = 0; part < 4; ++part) {
      const __m128i x =
          _mm_setr_epi32(lane[0]->a[part], lane[1]->a[part], lane[2]->a[part], lane[3]->a[part]);
      _mm256_store_ps(&a[group + 8 * (part & 1)][8 * (part >> 1)], wide8<T>(x));
    }
    for (uint32_t half = 0; half < 2; ++half) {
      alignas(32) float column[8];
      const __m128i x =
          _mm_setr_epi32(lane[0]->b[half], lane[1]->b[half], lane[2]->b[half], lane[3]->b[half]);
      _mm256_store_ps(column, wide8<T>(x));
      for (uint32_t k = 0; k < 8; ++k) b[8 * half + k][group] = column[k];
    }
    for (uint32_t place = 0; place < 4; ++place) {
      memcpy(&d[group][2 * place], lane[place]->d, 8);
      memcpy(&d[group + 8][2 * place], lane[place]->d + 2, 8);
    }
  }
  for (uint32_t rows = 0; rows < 16; rows += 8) {
    __m256 sum[8];
    for (uint32_t row = 0; row < 8; ++row) sum[row] = _mm256_load_ps(d[rows + row]);
    for (uint32_t k = 0; k < 16; ++k) {
      const __m256 x = _mm256_load_ps(b[k]);
      for (uint32_t row = 0; row < 8; ++row)
        sum[row] = _mm256_fmadd_ps(_mm256_broadcast_ss(&a[rows + row][k]), x, sum[row]);
    }
    for (uint32_t row = 0; row < 8; ++row) _mm256_store_ps(d[rows + row], sum[row]);
  }
  for (uint32_t group = 0; group < 8; ++group) {
    for (uint32_t place = 0; place < 4; ++place) {
      memcpy(of(4 * group + place)->d, &d[group][2 * place], 8);
      memcpy(of(4 * group + place)->d + 2, &d[group + 8][2 * place], 8);
    }
  }
}

template <class T>
static inline void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  static_assert(sizeof(T) == 2, "mma takes 16-bit elements");
  const MmaLane mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}, {d[0], d[1], d[2], d[3]}};
  const unsigned char *slots =
      emulator::exchange(&mine, sizeof mine, ALL_LANES, "mma", multiply<T>);
  memcpy(d, slots + lane_id() * emulator::SLOT + offsetof(MmaLane, d), sizeof d);
}

/// Every lane brings the 16 bytes of its row, as they are at this moment.
static inline const unsigned char *matrix_rows(const void *row) {
  emulator::aligned(row, 16, "ldmatrix");
  emulator::in_shared(row, 16, "ldmatrix");
  return emulator::exchange(row, 16, ALL_LANES, "ldmatrix");
}

static inline uint16_t matrix_element(const unsigned char *slots, uint32_t matrix, uint32_t row,
                                      uint32_t column) {
  uint16_t x;
  memcpy(&x, slots + (8 * matrix + row) * emulator::SLOT + 2 * column, sizeof x);
  return x;
}

static inline void ldmatrix(uint32_t (&r)[4], const void *row) {
  const unsigned char *slots = matrix_rows(row);
  const uint32_t at = lane_id() / 4, column = 2 * (lane_id() % 4);
  for (uint32_t i = 0; i < 4; ++i)
    r[i] = matrix_element(slots, i, at, column) | uint32_t(matrix_element(slots, i, at, column + 1))
                                                      << 16;
}

static inline void ldmatrix_transposed(uint32_t (&r)[4], const void *row) {
  const unsigned char *slots = matrix_rows(row);
  const uint32_t column = lane_id() / 4, at = 2 * (lane_id() % 4);
  for (uint32_t i = 0; i < 4; ++i)
    r[i] = matrix_element(slots, i, at, column) | uint32_t(matrix_element(slots, i, at + 1, column))
                                                      << 16;
}

static inline void copy16_async(void *shared, const void *global, int bytes = 16) {
  emulator::copy_later(shared, global, 16, bytes);
}
static inline void copy4_async(void *shared, const void *global, int bytes = 4) {
  emulator::copy_later(shared, global, 4, bytes);
}
static inline void commit_copies() { emulator::commit_copies(); }
template <int PENDING>
static inline void wait_copies() {
  emulator::wait_copies(PENDING);
}

#endif

constexpr float LOG2_E = 1.4426950408889634f;

/// 2^x, to 2^-22 of it; results below the normal numbers become zero. 2^-∞ = 0.
static __device__ __forceinline__ float exp2_approx(float x) {
#if defined(__CUDACC__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

/// a / b to two units in the last place; 0 where b is beyond 2^126.
static __device__ __forceinline__ float divide_approx(float a, float b) {
#if defined(__CUDACC__)
  return __fdividef(a, b);
#else
  return fabsf(b) > 0x1p126f ? a * 0.0f : a / b;
#endif
}

/// x, of which the compiler knows nothing from here on: it neither computes the value anew at each
/// use nor moves what is computed from it out of a loop that lacks the registers.
static __device__ __forceinline__ uint32_t opaque(uint32_t x) {
#if defined(__CUDACC__)
  asm volatile("" : "+r"(x));
#endif
  return x;
}

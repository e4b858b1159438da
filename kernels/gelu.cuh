// GELU and its slope, one formula each: a product's epilogue and a pass over elements give the same
// bits for the same argument, so that what is computed again is what was.
#pragma once

#include "tile.cuh"

// 2·√(2/π), and that times 0.044715: 0.5·(1 + tanh u) is the logistic of 2u.
constexpr float GELU_LINEAR = 1.5957691216f;
constexpr float GELU_CUBIC = 0.07135481627f;
constexpr float ROOT_HALF = 0.7071067811865476f;
constexpr float INVERSE_ROOT_TWO_PI = 0.3989422804014327f;

/// The binary logarithm of e^-2u, where 1 / (1 + e^-2u) is the logistic for the argument x.
static __device__ __forceinline__ float gelu_exponent(float x) {
  return x * fmaf(x * x, GELU_CUBIC, GELU_LINEAR) * -LOG2_E;
}

/// x·Φ(x) if ERF, else the form with tanh as x·logistic(2u): the same without the cancellation near
/// -1.
template <bool ERF>
static __device__ __forceinline__ float gelu_of(float x) {
  if (ERF) {
    const float half = 0.5f * x;
    return fmaf(half, erff(x * ROOT_HALF), half);
  }
  return divide_approx(x, 1.0f + exp2_approx(gelu_exponent(x)));
}

/// The derivative: Φ(x) + x·φ(x), or s + x·s·(1 - s)·u' where s is the logistic.
template <bool ERF>
static __device__ __forceinline__ float gelu_slope(float x) {
  if (ERF)
    return 0.5f * (1.0f + erff(x * ROOT_HALF)) + x * INVERSE_ROOT_TWO_PI * expf(-0.5f * x * x);
  // 1 - s as decay·s keeps its digits where s is close to one; decay must stay finite.
  const float decay = exp2_approx(fminf(gelu_exponent(x), 115.0f)),
              s = divide_approx(1.0f, 1.0f + decay);
  return fmaf(x * s * (decay * s), fmaf(x * x, 3.0f * GELU_CUBIC, GELU_LINEAR), s);
}

// What this device can do at most: tensor-core products of registers with registers, and nothing
// else. A product kernel is judged by its share of this, measured in the same run, since clocks and
// power limits differ between hosts.
#include "entry.cuh"
#include "tile.cuh"

constexpr int PRODUCTS = CEILING_PRODUCTS;

/// y[thread] receives a sum that depends on every product, so none is left out.
template <class T>
static __device__ void ceiling(const Ceiling args) {
  float d[PRODUCTS][4] = {};
  uint32_t a[4], b[2];
  for (int i = 0; i < 4; ++i)
    a[i] = pack<T>(1.0f + 0.001f * ((args.seed + threadIdx.x + i) & 15), -1.0f);
  for (int i = 0; i < 2; ++i) b[i] = pack<T>(0.5f, 0.001f * ((args.seed + threadIdx.x + i) & 7));
  for (uint32_t round = 0; round < args.rounds; ++round) {
#pragma unroll
    for (int p = 0; p < PRODUCTS; ++p) mma<T>(d[p], a, b);
  }
  float sum = 0.0f;
  for (int p = 0; p < PRODUCTS; ++p)
    for (int i = 0; i < 4; ++i) sum += d[p][i];
  args.y[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

// ceiling: 256 threads, 44 registers, 5 blocks a processor
// bound by tensor (issue 13 %)
// predicted on an A100: 95 % of the tensor cores' rate
KERNEL(256, ceiling_f16, Ceiling, ceiling<f16>)
KERNEL(256, ceiling_bf16, Ceiling, ceiling<bf16>)

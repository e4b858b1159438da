// Element by element: no thread knows another, so nothing here depends on a grid. V elements a
// step, see vector.cuh.
#include "entry.cuh"
#include "gelu.cuh"
#include "philox.cuh"
#include "vector.cuh"

/// Calls `work(i)` for the first element of every group of V this thread is to do.
template <int V, class Work>
static __device__ __forceinline__ void each(uint64_t n, Work work) {
  const uint64_t stride = uint64_t(gridDim.x) * blockDim.x * V;
  for (uint64_t i = (uint64_t(blockIdx.x) * blockDim.x + threadIdx.x) * V; i < n; i += stride)
    work(i);
}

/// y = alpha·x + beta·y; with beta 0 what stood in y does not count, NaN or not.
template <class T, int V>
static __device__ void blend(const Blend<T> args) {
  each<V>(args.n, [=](uint64_t i) {
    float a[V], b[V];
    load_many<V>(a, args.x + i);
    if (args.beta != 0.0f) load_many<V>(b, static_cast<const T *>(args.y + i));
#pragma unroll
    for (int v = 0; v < V; ++v)
      a[v] = args.beta == 0.0f ? args.alpha * a[v] : fmaf(args.alpha, a[v], args.beta * b[v]);
    store_many<V>(args.y + i, a);
  });
}

template <class T, int V, bool ERF>
static __device__ void gelu(const Gelu<T> args) {
  each<V>(args.n, [=](uint64_t i) {
    float a[V];
    load_many<V>(a, args.x + i);
#pragma unroll
    for (int v = 0; v < V; ++v) a[v] = gelu_of<ERF>(a[v]);
    store_many<V>(args.y + i, a);
  });
}

template <class T, int V, bool ERF>
static __device__ void gelu_backward(const GeluBackward<T> args) {
  each<V>(args.n, [=](uint64_t i) {
    float a[V], b[V];
    load_many<V>(a, args.x + i);
    load_many<V>(b, args.dy + i);
#pragma unroll
    for (int v = 0; v < V; ++v) a[v] = b[v] * gelu_slope<ERF>(a[v]);
    store_many<V>(args.dx + i, a);
  });
}

/// Column c takes word c mod 4 of the counter (c / 4, place, example low, example high). GROUP
/// columns a thread, a Philox block each four; WIDE reads and writes them at once.
template <class T, bool WIDE>
static __device__ void dropout(const DropoutRows<T> args) {
  constexpr int GROUP = WIDE ? PerVector<T>::COUNT : 4;
  const uint32_t groups = (args.cols + GROUP - 1) / GROUP;
  const uint64_t n = uint64_t(args.rows) * groups, stride = uint64_t(gridDim.x) * blockDim.x;
  for (uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
    const uint32_t row = uint32_t(i / groups), c = uint32_t(i % groups) * GROUP;
    const uint32_t *place = args.places + 3 * uint64_t(row);
    const uint32_t number = place[2], low = place[0], high = place[1];
    const T *from = args.x + uint64_t(row) * args.cols;
    T *to = args.y + uint64_t(row) * args.cols;
    float a[GROUP], b[GROUP];
    load_part<WIDE>(a, from, c, args.cols, 0.0f);
    if (args.add) load_part<WIDE>(b, static_cast<const T *>(to), c, args.cols, 0.0f);
#pragma unroll
    for (int four = 0; four < GROUP; four += 4) {
      const PhiloxBlock block = philox(args.key0, args.key1, (c + four) / 4, number, low, high);
#pragma unroll
      for (int v = 0; v < 4; ++v) {
        const float factor = block.word[v] < args.threshold ? 0.0f : args.kept;
        a[four + v] = args.add ? fmaf(a[four + v], factor, b[four + v]) : a[four + v] * factor;
      }
    }
    store_part<WIDE>(to, c, args.cols, a);
  }
}

template <class S, class T, int V>
static __device__ void cast(const Cast args) {
  each<V>(args.n, [=](uint64_t i) {
    float a[V];
    load_many<V>(a, static_cast<const S *>(args.x) + i);
    store_many<V>(static_cast<T *>(args.y) + i, a);
  });
}

// blend: 256 threads, 29 registers, 8 blocks a processor
// bound by dram (l2 26 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, blend_f32, Blend<float>, blend<float, 1>)
KERNEL(256, blend_f16, Blend<f16>, blend<f16, 1>)
KERNEL(256, blend_bf16, Blend<bf16>, blend<bf16, 1>)
KERNEL(256, blend_f32_wide, Blend<float>, blend<float, 4>)
KERNEL(256, blend_f16_wide, Blend<f16>, blend<f16, 8>)
KERNEL(256, blend_bf16_wide, Blend<bf16>, blend<bf16, 8>)

// gelu_tanh: 256 threads, 26 registers, 8 blocks a processor
// bound by dram (l2 26 %, exp 19 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, gelu_tanh_f32, Gelu<float>, gelu<float, 1, false>)
KERNEL(256, gelu_tanh_f16, Gelu<f16>, gelu<f16, 1, false>)
KERNEL(256, gelu_tanh_bf16, Gelu<bf16>, gelu<bf16, 1, false>)
KERNEL(256, gelu_tanh_f32_wide, Gelu<float>, gelu<float, 4, false>)
KERNEL(256, gelu_tanh_f16_wide, Gelu<f16>, gelu<f16, 8, false>)
KERNEL(256, gelu_tanh_bf16_wide, Gelu<bf16>, gelu<bf16, 8, false>)

// gelu_erf: 256 threads, 32 registers, 8 blocks a processor
// bound by dram (exp 38 %, l2 26 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, gelu_erf_f32, Gelu<float>, gelu<float, 1, true>)
KERNEL(256, gelu_erf_f16, Gelu<f16>, gelu<f16, 1, true>)
KERNEL(256, gelu_erf_bf16, Gelu<bf16>, gelu<bf16, 1, true>)
KERNEL(256, gelu_erf_f32_wide, Gelu<float>, gelu<float, 4, true>)
KERNEL(256, gelu_erf_f16_wide, Gelu<f16>, gelu<f16, 8, true>)
KERNEL(256, gelu_erf_bf16_wide, Gelu<bf16>, gelu<bf16, 8, true>)

// gelu_backward_tanh: 256 threads, 32 registers, 8 blocks a processor
// bound by dram (l2 26 %, exp 13 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, gelu_backward_tanh_f32, GeluBackward<float>, gelu_backward<float, 1, false>)
KERNEL(256, gelu_backward_tanh_f16, GeluBackward<f16>, gelu_backward<f16, 1, false>)
KERNEL(256, gelu_backward_tanh_bf16, GeluBackward<bf16>, gelu_backward<bf16, 1, false>)
KERNEL(256, gelu_backward_tanh_f32_wide, GeluBackward<float>, gelu_backward<float, 4, false>)
KERNEL(256, gelu_backward_tanh_f16_wide, GeluBackward<f16>, gelu_backward<f16, 8, false>)
KERNEL(256, gelu_backward_tanh_bf16_wide, GeluBackward<bf16>, gelu_backward<bf16, 8, false>)

// gelu_backward_erf: 256 threads, 40 registers, 6 blocks a processor
// bound by dram (exp 38 %, l2 26 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, gelu_backward_erf_f32, GeluBackward<float>, gelu_backward<float, 1, true>)
KERNEL(256, gelu_backward_erf_f16, GeluBackward<f16>, gelu_backward<f16, 1, true>)
KERNEL(256, gelu_backward_erf_bf16, GeluBackward<bf16>, gelu_backward<bf16, 1, true>)
KERNEL(256, gelu_backward_erf_f32_wide, GeluBackward<float>, gelu_backward<float, 4, true>)
KERNEL(256, gelu_backward_erf_f16_wide, GeluBackward<f16>, gelu_backward<f16, 8, true>)
KERNEL(256, gelu_backward_erf_bf16_wide, GeluBackward<bf16>, gelu_backward<bf16, 8, true>)

// dropout: 256 threads, 38 registers, 6 blocks a processor
// bound by dram (l2 27 %, lsu 13 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, dropout_f32, DropoutRows<float>, dropout<float, false>)
KERNEL(256, dropout_f32_wide, DropoutRows<float>, dropout<float, true>)
KERNEL(256, dropout_f16, DropoutRows<f16>, dropout<f16, false>)
KERNEL(256, dropout_f16_wide, DropoutRows<f16>, dropout<f16, true>)
KERNEL(256, dropout_bf16, DropoutRows<bf16>, dropout<bf16, false>)
KERNEL(256, dropout_bf16_wide, DropoutRows<bf16>, dropout<bf16, true>)

// cast: 256 threads, 21 registers, 8 blocks a processor
// bound by dram (l2 26 %)
// predicted on an A100: 92 % of DRAM's rate
KERNEL(256, cast_f32_f32, Cast, cast<float, float, 1>)
KERNEL(256, cast_f32_f32_wide, Cast, cast<float, float, 4>)
KERNEL(256, cast_f32_f16, Cast, cast<float, f16, 1>)
KERNEL(256, cast_f32_f16_wide, Cast, cast<float, f16, 8>)
KERNEL(256, cast_f32_bf16, Cast, cast<float, bf16, 1>)
KERNEL(256, cast_f32_bf16_wide, Cast, cast<float, bf16, 8>)
KERNEL(256, cast_f16_f32, Cast, cast<f16, float, 1>)
KERNEL(256, cast_f16_f32_wide, Cast, cast<f16, float, 4>)
KERNEL(256, cast_f16_f16, Cast, cast<f16, f16, 1>)
KERNEL(256, cast_f16_f16_wide, Cast, cast<f16, f16, 8>)
KERNEL(256, cast_f16_bf16, Cast, cast<f16, bf16, 1>)
KERNEL(256, cast_f16_bf16_wide, Cast, cast<f16, bf16, 8>)
KERNEL(256, cast_bf16_f32, Cast, cast<bf16, float, 1>)
KERNEL(256, cast_bf16_f32_wide, Cast, cast<bf16, float, 4>)
KERNEL(256, cast_bf16_f16, Cast, cast<bf16, f16, 1>)
KERNEL(256, cast_bf16_f16_wide, Cast, cast<bf16, f16, 8>)
KERNEL(256, cast_bf16_bf16, Cast, cast<bf16, bf16, 1>)
KERNEL(256, cast_bf16_bf16_wide, Cast, cast<bf16, bf16, 8>)

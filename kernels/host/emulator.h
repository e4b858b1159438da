// What a CUDA block is, on a CPU. Included before every kernel source when it is compiled for the
// host.
//
// The threads of a block are fibers on one thread of the operating system. A barrier, a shuffle, an
// ldmatrix or an mma is a rendezvous: a fiber that arrives gives way to another until all have
// arrived. So every run of a block is one legal order of its threads, and a result that depends on
// the order is a bug of the kernel. The seed of a launch decides the order:
//   3k + 1, 3k + 2   mirror images: whatever two threads or two blocks do without a rendezvous
//                    between them happens in one order under the first seed and in the other order
//                    under the second
//   3k               drawn at every step, warps in between one another
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#if defined(EMULATOR_PROFILED)
// A place of the source is one place of the code for each kernel, as on a GPU.
#define __forceinline__ inline __attribute__((always_inline))
#else
#define __forceinline__ inline
#endif
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

namespace emulator {

struct Dim3 {
  uint32_t x, y, z;
};

/// A thread of the block that is being run.
struct Thread {
  Dim3 thread, block, block_size, grid;
  uint32_t number;  // in the block, x fastest
};

/// What is being run now. Only meaningful inside a kernel. (`__thread`: no question at each use
/// whether it must be made first.)
extern __thread Thread *current;
inline const Thread &self() { return *current; }

/// Ends the kernel with an error: kernel, block, thread and these words.
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

/// Dynamic shared memory of the block. Poisoned (all bits one) when the block begins.
char *shared_memory();

/// Refuses an address that is not in the block's shared memory.
void in_shared(const void *address, size_t bytes, const char *what);

/// __syncthreads: every thread of the block, at the same line. A thread that has returned never
/// arrives.
void block_barrier(const char *file, int line);

/// A rendezvous of the lanes of `mask` in the caller's warp. Each brings `bytes` bytes (at most
/// SLOT); the answer holds those of lane i at i * SLOT, for the lanes of the mask, until the
/// caller's next rendezvous. `kind` names what the lanes are doing: all must agree. Once all have
/// come, and before any goes on, `combine` may work on what they brought.
constexpr size_t SLOT = 64;
const unsigned char *exchange(const void *mine, size_t bytes, uint32_t mask, const char *kind,
                              void (*combine)(unsigned char *) = nullptr);

/// cp.async: arrives as late as allowed. Until then the destination is poisoned and neither end may
/// be written.
void copy_later(void *shared, const void *global, int bytes, int bytes_read);
void commit_copies();
/// Carries out all but the newest `pending` committed groups of this thread.
void wait_copies(int pending);

/// Refuses an address that is no multiple of `alignment`.
inline void aligned(const void *address, size_t alignment, const char *what) {
  if (reinterpret_cast<uintptr_t>(address) % alignment != 0)
    fail("%s: expected an address that is a multiple of %zu, got %p", what, alignment, address);
}

/// One entry point with its arguments unpacked from an array of pointers, as a driver receives
/// them.
template <class... A, size_t... I>
inline void call(void (*kernel)(A...), void **arguments, std::integer_sequence<size_t, I...>) {
  kernel(*static_cast<std::remove_const_t<A> *>(arguments[I])...);
}

/// What an entry point takes: the most threads a block, and the size of each argument.
struct Signature {
  uint32_t threads, count, bytes[32];
};

/// `threads`: the most that the entry point was compiled for. Outside of a launch it runs nothing:
/// `arguments` is a `Signature` then, which is filled in.
template <class... A>
inline void invoke(void (*kernel)(A...), void **arguments, uint32_t threads) {
  if (!current) {
    static_assert(sizeof...(A) <= 32, "an entry point has at most 32 arguments");
    *reinterpret_cast<Signature *>(arguments) = {threads, sizeof...(A), {uint32_t(sizeof(A))...}};
    return;
  }
  const Dim3 block = self().block_size;
  if (block.x * block.y * block.z > threads)
    fail("launch: expected at most the %u threads a block that KERNEL names, got %u", threads,
         block.x * block.y * block.z);
  call(kernel, arguments, std::make_integer_sequence<size_t, sizeof...(A)>{});
}
}  // namespace emulator

#define threadIdx (emulator::self().thread)
#define blockIdx (emulator::self().block)
#define blockDim (emulator::self().block_size)
#define gridDim (emulator::self().grid)
#define __syncthreads() emulator::block_barrier(__FILE__, __LINE__)

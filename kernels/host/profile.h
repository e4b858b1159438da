// What a profiler of a GPU would count, counted by the emulator. Only the objects of the profiled
// library are built with EMULATOR_PROFILED; in all others the emulator's calls are empty.
//
// Two sources of events, and no word in a kernel: the emulator's own functions (ldmatrix, mma,
// cp.async, shuffles, barriers) call what is declared here, and every other access of memory is
// reported by the compiler, -fsanitize=thread, whose functions profile.cpp defines. What touches
// neither the block's shared memory nor a buffer of the device (stacks, the emulator's own) is
// dropped.
//
// A GPU does an access for a whole warp at once. What the lanes of a warp do at the same place of
// the code for the n-th time is one request.
#pragma once

#include "emulator.h"

namespace profile {

/// How a request moves memory, or what it computes.
enum Way : uint32_t { LDMATRIX, COPY_TO, COPY_FROM, LOAD, STORE, EXPONENTIAL, SPECIAL };

/// Sums over the blocks that ran. Requests and instructions are of warps.
struct Counts {
  uint64_t blocks, warps;
  uint64_t mma, ldmatrix, copies, exponentials, specials, shuffles, barriers;
  /// Requests of shared memory and of global memory.
  uint64_t shared_loads, shared_stores, loads, stores;
  /// Of shared memory by ldmatrix, cp.async, loads, stores: wavefronts (a step in which each of 32
  /// banks gives or takes a word) and as many as there would be without a conflict.
  uint64_t wavefronts[4], wavefronts_ideal[4];
  /// Of global memory by cp.async, loads, stores: sectors of 32 bytes that requests touch (loads: a
  /// warp's in one round each once, L1 has them then), and those that as many bytes in one piece
  /// would.
  uint64_t sectors[3], sectors_ideal[3];
  /// Lines of 128 bytes that requests of global memory touch.
  uint64_t lines;
  /// The most rounds of a thread: runs of loads from global memory between which it neither stores
  /// nor meets others. A round waits for memory at least once; loads whose address another one of
  /// the same run brings are not told apart.
  uint64_t rounds;
};

/// One place in the code: where it is in the library, how and how wide it moves memory.
struct Place {
  uint64_t at, way, bytes, in_shared, requests, moved, ideal;
};

/// What of a buffer was touched: sectors, each once, and the bytes from the first to the end of
/// the last.
struct Touched {
  uint64_t address, bytes;
  uint64_t read, read_from, read_to, written, written_from, written_to;
};

#if defined(EMULATOR_PROFILED)
/// Whether block number `block` of `blocks` is one of those that run.
bool takes(uint64_t block, uint64_t blocks);
void begin_block(const void *shared, size_t bytes, uint32_t threads);
void end_block();
/// The calling thread comes to a rendezvous of its warp.
void comes(const char *kind, const void *brings, const void *site);
/// All of a warp have come.
void met(const char *kind);
void comes_to_barrier();
void copies(const void *to, const void *from, int bytes, int bytes_read, const void *site);
#else
inline bool takes(uint64_t, uint64_t) { return true; }
inline void begin_block(const void *, size_t, uint32_t) {}
inline void end_block() {}
inline void comes(const char *, const void *, const void *) {}
inline void met(const char *) {}
inline void comes_to_barrier() {}
inline void copies(const void *, const void *, int, int, const void *) {}
#endif

}  // namespace profile

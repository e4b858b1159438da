// What the emulator keeps: fibers, warps, and the room they run in. Only emulator.cpp includes
// this.
#pragma once

#include <memory>
#include <sys/mman.h>
#include <vector>

#include "emulator.h"

namespace emulator {

constexpr uint32_t WARP = 32;
constexpr size_t PAGE = 4096;
constexpr size_t STACK = 96 << 10;
constexpr size_t PITCH = STACK + PAGE;  // a page that nobody may touch below each stack
constexpr size_t MAX_SHARED = 227 << 10;
constexpr size_t SHARED_ROOM = (MAX_SHARED + PAGE - 1) / PAGE * PAGE;
constexpr uint32_t MAX_THREADS = 1024;
constexpr unsigned char POISON = 0xff;

enum class State : uint8_t { Ready, AtBarrier, AtWarp, Done };

struct Copy {
  unsigned char *to;
  const unsigned char *from;
  int bytes, bytes_read;
  unsigned char data[16];
};

/// What a thread has under way: copies in the order begun, and for each committed group where it
/// ends among them.
struct Queue {
  std::vector<Copy> copies;
  std::vector<size_t> ends;
  size_t arrived = 0, waited = 0;  // copies carried out, groups waited for
};

struct Warp;

struct Fiber {
  Thread thread;
  State state;
  int line;
  const char *where;  // the kind of rendezvous, or the file of a barrier
  void *stack_pointer;
  Warp *warp;
};

/// A permutation of 32 numbers: at rank r stands r · times + plus.
struct Order {
  uint32_t times, inverse, plus;
  explicit Order(uint64_t drawn = 1) {
    times = static_cast<uint32_t>(drawn) | 1;
    inverse = times * (2 - times * times);  // right in the low 3 bits, then 6
    inverse *= 2 - times * inverse;
    plus = static_cast<uint32_t>(drawn >> 32);
  }
  uint32_t at(uint32_t rank) const { return (rank * times + plus) & 31; }
  uint32_t rank_of(uint32_t number) const { return ((number - plus) * inverse) & 31; }
};

struct Warp {
  uint32_t ready;  // lanes that can go on, by rank
  Order order;
  uint32_t number, arrived, mask, rendezvous;
  uint32_t unread[2];  // lanes that may not have read a generation yet
  const char *kind;
  // Two generations: no lane reaches the next rendezvous but one before all have read this one.
  alignas(64) unsigned char slots[2][WARP * SLOT];
};

inline uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ x >> 27) * 0x94D049BB133111EBull;
  return x ^ x >> 31;
}

/// All that one thread of the operating system needs to run blocks.
struct Machine {
  const char *kernel = "";
  void (*entry)(void **) = nullptr;
  void **arguments = nullptr;
  Fiber *running = nullptr;
  void *home = nullptr;      // stack pointer of the launcher
  uint32_t ready_warps = 0;  // by rank
  Order order;               // of warps
  bool mixed = false, backwards = false, failed = false;
  uint64_t drawn_from = 1, random = 1;
  uint32_t threads = 0, done = 0;
  uint32_t at_barrier = 0, barriers = 0;
  const Fiber *first_at_barrier = nullptr;
  Dim3 block = {};
  std::vector<Fiber> fibers;
  std::vector<Queue> queues;
  std::unique_ptr<Warp[]> warps;
  char *stacks = nullptr, *shared_room = nullptr, *signal_stack = nullptr;
  uint32_t stacks_open = 0;
  unsigned char *shared = nullptr;  // the end; a launch goes back by what it asked for
  size_t shared_bytes = 0, shared_asked = 0;
  char words[1024] = {};

  ~Machine() {
    if (stacks) munmap(stacks, MAX_THREADS * PITCH);
    if (shared_room) munmap(shared_room, SHARED_ROOM + 2 * PAGE);
    if (signal_stack) munmap(signal_stack, 64 << 10);
  }

  uint32_t draw() {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    return static_cast<uint32_t>(random >> 32);
  }

  /// For events that mirrored runs have in another order: a function of the event alone.
  Order order_of(uint64_t event) const { return Order(mix(drawn_from + event)); }
};

static __thread Machine *machine =
    nullptr;  // of this thread of the operating system, owned by launch

inline char *reserve(size_t bytes, int protection) {
  void *p = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : static_cast<char *>(p);
}

/// Makes room for a launch. False when the operating system has none.
inline bool make_room(Machine &m, uint32_t threads, size_t shared_bytes) {
  if (!m.stacks) m.stacks = reserve(MAX_THREADS * PITCH, PROT_NONE);
  if (!m.shared_room) m.shared_room = reserve(SHARED_ROOM + 2 * PAGE, PROT_NONE);
  if (!m.signal_stack) m.signal_stack = reserve(64 << 10, PROT_READ | PROT_WRITE);
  if (!m.warps) m.warps.reset(new Warp[MAX_THREADS / WARP]);
  if (!m.stacks || !m.shared_room || !m.signal_stack) return false;
  for (; m.stacks_open < threads; ++m.stacks_open)
    if (mprotect(m.stacks + m.stacks_open * PITCH + PAGE, STACK, PROT_READ | PROT_WRITE) != 0)
      return false;
  if (m.fibers.size() < threads) m.fibers.resize(threads);
  if (m.queues.size() < threads) m.queues.resize(threads);
  // Shared memory ends against a page that nobody may touch; below it, all whole pages are as
  // forbidden.
  const size_t bytes = (shared_bytes + 127) / 128 * 128;
  if (!m.shared || bytes != m.shared_bytes) {
    char *low = m.shared_room + PAGE;
    const size_t closed = (SHARED_ROOM - bytes) / PAGE * PAGE;
    if (closed > 0 && mprotect(low, closed, PROT_NONE) != 0) return false;
    if (closed < SHARED_ROOM &&
        mprotect(low + closed, SHARED_ROOM - closed, PROT_READ | PROT_WRITE) != 0)
      return false;
    m.shared = reinterpret_cast<unsigned char *>(low + SHARED_ROOM);
    m.shared_bytes = bytes;
  }
  m.shared_asked = shared_bytes;
  return true;
}

}  // namespace emulator

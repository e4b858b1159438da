// The emulator's core: fibers, their rendezvous, late copies, and what is said when a kernel does wrong.
#include "emulator.h"

#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <sys/mman.h>
#include <vector>

namespace emulator {

thread_local Thread *current = nullptr;

namespace {

constexpr int WARP = 32;
constexpr size_t STACK = 96 << 10;
constexpr size_t PAGE = 4096;
constexpr size_t MAX_SHARED = 227 << 10;
constexpr uint32_t MAX_THREADS = 1024;

enum class State { Ready, AtBlockBarrier, AtWarp, Done };

struct Copy {
  void *to;
  int bytes;
  unsigned char data[16];
};

struct Fiber {
  Thread thread;
  void *stack_pointer;
  State state;
  const char *where;  // the kind of rendezvous, or the file of a barrier
  int line;
  uint32_t mask;
  std::vector<std::vector<Copy>> groups;  // committed, oldest first
  std::vector<Copy> open;
};

struct Warp {
  uint32_t arrived = 0;
  unsigned parity = 0;
  const char *kind = nullptr;
  uint32_t mask = 0;
  // Two generations: no lane reaches the next rendezvous but one before all have read this one.
  alignas(16) unsigned char slots[2][WARP * SLOT];
};

extern "C" void engine_emulator_switch(void **save, void *load);

// Saves what the System V ABI wants kept, changes stacks, restores.
asm(R"(
.text
.globl engine_emulator_switch
.type engine_emulator_switch, @function
engine_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size engine_emulator_switch, .-engine_emulator_switch
.section .note.GNU-stack,"",@progbits
.text
)");

/// All that one thread of the operating system needs to run blocks.
struct Machine {
  const char *kernel = "";
  void (*entry)(void **) = nullptr;
  void **arguments = nullptr;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::vector<uint32_t> ready;
  uint32_t threads = 0, done = 0, at_barrier = 0;
  uint32_t running = 0;
  void *home = nullptr;  // stack pointer of the launcher
  char *stacks = nullptr;
  unsigned char *shared = nullptr;
  size_t shared_bytes = 0;
  uint64_t random = 1;
  bool inside = false, failed = false;
  char words[1024] = {};
  sigjmp_buf escape;

  uint32_t draw(uint32_t below) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    return static_cast<uint32_t>((random >> 33) % below);
  }
};

thread_local Machine *machine = nullptr;

unsigned char *reserve(size_t bytes) {
  void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) abort();
  return static_cast<unsigned char *>(p);
}

Machine &here() {
  if (!machine) {
    machine = new Machine;
    const size_t pitch = STACK + PAGE;
    machine->stacks = reinterpret_cast<char *>(reserve(MAX_THREADS * pitch));
    for (size_t i = 0; i < MAX_THREADS; ++i) mprotect(machine->stacks + i * pitch, PAGE, PROT_NONE);
    // Shared memory ends against a page that nobody may touch, and begins behind one.
    unsigned char *room = reserve(MAX_SHARED + 3 * PAGE);
    mprotect(room, PAGE, PROT_NONE);
    const size_t whole = (MAX_SHARED + PAGE - 1) / PAGE * PAGE;
    mprotect(room + PAGE + whole, PAGE, PROT_NONE);
    machine->shared = room + PAGE + whole;  // the end; a launch goes back by what it asked for
  }
  return *machine;
}

void say(Machine &m, const char *format, va_list list) {
  int used = 0;
  if (current) {
    const Thread &t = *current;
    used = snprintf(m.words, sizeof m.words, "%s: block (%u, %u, %u) thread %u: ", m.kernel, t.block.x, t.block.y, t.block.z, t.number);
  } else {
    used = snprintf(m.words, sizeof m.words, "%s: ", m.kernel);
  }
  vsnprintf(m.words + used, sizeof m.words - used, format, list);
  m.failed = true;
}

const char *name_of(State state) {
  switch (state) {
    case State::Ready: return "running";
    case State::AtBlockBarrier: return "at a barrier";
    case State::AtWarp: return "at a rendezvous of its warp";
    case State::Done: return "returned";
  }
  return "";
}

[[noreturn]] void give_up() {
  Machine &m = *machine;
  current = nullptr;
  void *unused;
  engine_emulator_switch(&unused, m.home);
  abort();
}

/// Runs another fiber; comes back when this one is chosen again.
void give_way() {
  Machine &m = *machine;
  const uint32_t mine = m.running;
  if (m.ready.empty()) {
    // Nobody can go on: say who waits where.
    Fiber *first = nullptr, *other = nullptr;
    for (uint32_t i = 0; i < m.threads; ++i) {
      Fiber &f = m.fibers[i];
      if (!first) {
        first = &f;
      } else if (f.state != first->state || f.line != first->line || f.where != first->where) {
        other = &f;
        break;
      }
    }
    if (other)
      fail("divergence: thread %u is %s (%s:%d) while thread %u is %s (%s:%d)", first->thread.number, name_of(first->state),
           first->where ? first->where : "-", first->line, other->thread.number, name_of(other->state),
           other->where ? other->where : "-", other->line);
    fail("divergence: all threads wait %s", name_of(first->state));
  }
  const uint32_t at = m.draw(static_cast<uint32_t>(m.ready.size()));
  const uint32_t next = m.ready[at];
  m.ready[at] = m.ready.back();
  m.ready.pop_back();
  m.running = next;
  current = &m.fibers[next].thread;
  if (next != mine) engine_emulator_switch(&m.fibers[mine].stack_pointer, m.fibers[next].stack_pointer);
}

void finished() {
  Machine &m = *machine;
  Fiber &f = m.fibers[m.running];
  if (!f.open.empty() || !f.groups.empty()) fail("returned with copies under way: wait for every committed group");
  f.state = State::Done;
  f.where = nullptr;
  f.line = 0;
  if (++m.done == m.threads) give_up();
  give_way();
  abort();
}

void body() {
  Machine &m = *machine;
  m.entry(m.arguments);
  finished();
}

extern "C" void engine_emulator_start() { body(); }

void prepare(Machine &m, uint32_t i) {
  Fiber &f = m.fibers[i];
  char *top = m.stacks + (i + 1) * (STACK + PAGE);
  void **sp = reinterpret_cast<void **>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t{15});
  *--sp = nullptr;  // keeps the stack of the first call as the ABI wants it
  *--sp = reinterpret_cast<void *>(&engine_emulator_start);
  for (int r = 0; r < 6; ++r) *--sp = nullptr;
  f.stack_pointer = sp;
  f.state = State::Ready;
  f.where = nullptr;
  f.line = 0;
  f.mask = 0;
  f.groups.clear();
  f.open.clear();
}

struct sigaction previous_segv, previous_bus;

void on_fault(int signal, siginfo_t *info, void *context) {
  Machine *m = machine;
  if (m && m->inside && current) {
    const Thread &t = *current;
    snprintf(m->words, sizeof m->words, "%s: block (%u, %u, %u) thread %u: memory: access outside every buffer at address %p", m->kernel,
             t.block.x, t.block.y, t.block.z, t.number, info->si_addr);
    m->failed = true;
    siglongjmp(m->escape, 1);
  }
  // Not ours: as if this handler had never been here.
  struct sigaction &previous = signal == SIGSEGV ? previous_segv : previous_bus;
  if (previous.sa_flags & SA_SIGINFO) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
    sigaction(signal, &previous, nullptr);
  } else {
    previous.sa_handler(signal);
  }
}

/// Faults are answered on a stack of their own: the fiber's may be what ran out.
struct Handler {
  Handler() {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &previous_segv);
    sigaction(SIGBUS, &action, &previous_bus);
  }
};

struct SignalStack {
  stack_t before = {};
  SignalStack() {
    static thread_local unsigned char *room = reserve(64 << 10);
    stack_t stack = {};
    stack.ss_sp = room;
    stack.ss_size = 64 << 10;
    sigaltstack(&stack, &before);
  }
  ~SignalStack() { sigaltstack(&before, nullptr); }
};

void run_block(Machine &m, Dim3 block, Dim3 block_size, Dim3 grid) {
  memset(m.shared - m.shared_bytes, 0xff, m.shared_bytes);
  m.done = m.at_barrier = 0;
  m.ready.clear();
  for (Warp &w : m.warps) w.arrived = 0;
  for (uint32_t i = 0; i < m.threads; ++i) {
    prepare(m, i);
    const uint32_t x = i % block_size.x, y = i / block_size.x % block_size.y, z = i / block_size.x / block_size.y;
    m.fibers[i].thread = Thread{{x, y, z}, block, block_size, grid, i};
    m.ready.push_back(i);
  }
  const uint32_t at = m.draw(m.threads);
  const uint32_t first = m.ready[at];
  m.ready[at] = m.ready.back();
  m.ready.pop_back();
  m.running = first;
  current = &m.fibers[first].thread;
  engine_emulator_switch(&m.home, m.fibers[first].stack_pointer);
  current = nullptr;
}

}  // namespace

void fail(const char *format, ...) {
  va_list list;
  va_start(list, format);
  say(*machine, format, list);
  va_end(list);
  give_up();
}

char *shared_memory() {
  Machine &m = *machine;
  return reinterpret_cast<char *>(m.shared - m.shared_bytes);
}

void block_barrier(const char *file, int line) {
  Machine &m = *machine;
  Fiber &f = m.fibers[m.running];
  f.state = State::AtBlockBarrier;
  f.where = file;
  f.line = line;
  if (++m.at_barrier < m.threads) return give_way();
  m.at_barrier = 0;
  for (uint32_t i = 0; i < m.threads; ++i) {
    Fiber &other = m.fibers[i];
    if (other.line != line || strcmp(other.where, file) != 0)
      fail("divergence: at the barrier of %s:%d while thread %u is at that of %s:%d", file, line, i, other.where, other.line);
  }
  for (uint32_t i = 0; i < m.threads; ++i) {
    m.fibers[i].state = State::Ready;
    m.ready.push_back(i);
  }
  give_way();
}

const unsigned char *exchange(const void *mine, size_t bytes, uint32_t mask, const char *kind) {
  Machine &m = *machine;
  Fiber &f = m.fibers[m.running];
  const uint32_t lane = f.thread.number % WARP;
  Warp &w = m.warps[f.thread.number / WARP];
  if (bytes > SLOT) fail("%s: expected at most %zu bytes a lane, got %zu", kind, SLOT, bytes);
  if (!(mask >> lane & 1)) fail("%s: the mask %08x does not hold the calling lane %u", kind, mask, lane);
  if (w.arrived == 0) {
    w.parity ^= 1;
    w.kind = kind;
    w.mask = mask;
    // Lanes that bring nothing are poison.
    memset(w.slots[w.parity], 0xff, sizeof w.slots[0]);
  } else if (w.kind != kind && strcmp(w.kind, kind) != 0) {
    fail("divergence: %s while another lane of the warp is at %s", kind, w.kind);
  } else if (w.mask != mask) {
    fail("%s: mask %08x while another lane of the warp has %08x", kind, mask, w.mask);
  }
  unsigned char *slots = w.slots[w.parity];
  memcpy(slots + lane * SLOT, mine, bytes);
  w.arrived |= 1u << lane;
  f.state = State::AtWarp;
  f.where = kind;
  f.line = 0;
  f.mask = mask;
  if (w.arrived == mask) {
    w.arrived = 0;
    const uint32_t first = f.thread.number / WARP * WARP;
    for (uint32_t i = 0; i < WARP; ++i) {
      if (!(mask >> i & 1)) continue;
      m.fibers[first + i].state = State::Ready;
      m.ready.push_back(first + i);
    }
  }
  give_way();
  return slots;
}

void copy_later(void *shared, const void *global, int bytes, int bytes_read) {
  Machine &m = *machine;
  if (bytes != 4 && bytes != 8 && bytes != 16) fail("cp.async: expected 4, 8 or 16 bytes, got %d", bytes);
  if (bytes_read < 0 || bytes_read > bytes) fail("cp.async: expected 0 to %d bytes to read, got %d", bytes, bytes_read);
  aligned(shared, bytes, "cp.async: shared memory");
  if (bytes_read > 0) aligned(global, bytes, "cp.async: global memory");
  const unsigned char *low = m.shared - m.shared_bytes, *to = static_cast<unsigned char *>(shared);
  if (to < low || to + bytes > m.shared) fail("cp.async: destination %p is not in shared memory", shared);
  Copy copy = {shared, bytes, {}};
  // Read now: nothing may change the source meanwhile. Written late: nobody may look before it has arrived.
  if (bytes_read > 0) memcpy(copy.data, global, bytes_read);
  memset(shared, 0xff, bytes);
  m.fibers[m.running].open.push_back(copy);
}

void commit_copies() {
  Fiber &f = machine->fibers[machine->running];
  f.groups.push_back(std::move(f.open));
  f.open.clear();
}

void wait_copies(int pending) {
  Fiber &f = machine->fibers[machine->running];
  while (f.groups.size() > static_cast<size_t>(pending)) {
    for (const Copy &copy : f.groups.front()) memcpy(copy.to, copy.data, copy.bytes);
    f.groups.erase(f.groups.begin());
  }
}

}  // namespace emulator

/// Runs a grid. Returns 0, or 1 with a sentence in `words`.
extern "C" int engine_emulator_launch(const char *kernel, void (*entry)(void **), const uint32_t grid[3], const uint32_t block[3],
                                      size_t shared_bytes, void **arguments, uint64_t seed, char *words, size_t words_bytes) {
  using namespace emulator;
  static Handler handler;
  Machine &m = here();
  SignalStack stack;
  auto refuse = [&](const char *what, unsigned long long got) {
    snprintf(words, words_bytes, "%s: launch: expected %s, got %llu", kernel, what, got);
    return 1;
  };
  const uint64_t threads = uint64_t{block[0]} * block[1] * block[2];
  const uint64_t blocks = uint64_t{grid[0]} * grid[1] * grid[2];
  if (threads == 0 || threads > MAX_THREADS) return refuse("1 to 1024 threads a block", threads);
  if (threads % WARP != 0) return refuse("whole warps", threads);
  if (blocks == 0 || grid[0] > 0x7fffffffu || grid[1] > 65535 || grid[2] > 65535) return refuse("a grid that a device takes", blocks);
  if (shared_bytes > MAX_SHARED) return refuse("at most 227 KiB of shared memory", shared_bytes);
  m.kernel = kernel;
  m.entry = entry;
  m.arguments = arguments;
  m.threads = static_cast<uint32_t>(threads);
  // Rounded so that what a kernel carves from it is aligned as on a device.
  m.shared_bytes = (shared_bytes + 127) / 128 * 128;
  m.random = seed * 0x9E3779B97F4A7C15ull + 0x2545F4914F6CDD1Dull;
  if (m.random == 0) m.random = 1;
  if (m.fibers.size() < threads) m.fibers.resize(threads);
  m.warps.resize(threads / WARP);
  m.failed = false;
  m.inside = true;
  if (sigsetjmp(m.escape, 1) == 0) {
    // An order of blocks that no kernel may depend on: from a drawn one on, forwards or backwards.
    const uint64_t first = seed == 0 ? 0 : m.draw(static_cast<uint32_t>(blocks > 0xffffffffu ? 0xffffffffu : blocks));
    const bool back = seed != 0 && m.draw(2) == 1;
    for (uint64_t i = 0; i < blocks && !m.failed; ++i) {
      const uint64_t b = (first + (back ? blocks - i : i)) % blocks;
      const Dim3 at = {static_cast<uint32_t>(b % grid[0]), static_cast<uint32_t>(b / grid[0] % grid[1]),
                       static_cast<uint32_t>(b / grid[0] / grid[1])};
      run_block(m, at, {block[0], block[1], block[2]}, {grid[0], grid[1], grid[2]});
    }
  }
  m.inside = false;
  current = nullptr;
  if (!m.failed) return 0;
  snprintf(words, words_bytes, "%s", m.words);
  return 1;
}

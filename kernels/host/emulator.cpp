// The emulator's core: the order of fibers, their rendezvous, late copies, and what is said when a
// kernel does wrong.
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <ucontext.h>

#include "machine.h"
#include "profile.h"

namespace emulator {

__thread Thread *current = nullptr;

namespace {

extern "C" void engine_emulator_switch(void **save, void *load);
extern "C" const char
    engine_emulator_resume;  // with the saved stack pointer, goes on as a switch does

// Saves what the System V ABI wants kept, changes stacks, restores.
asm(R"(
.text
.globl engine_emulator_switch, engine_emulator_resume
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
engine_emulator_resume:
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

const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

void describe(char *words, size_t size, const Fiber &f) {
  const uint32_t n = f.thread.number;
  switch (f.state) {
    case State::Ready: snprintf(words, size, "thread %u can go on", n); break;
    case State::AtBarrier:
      snprintf(words, size, "thread %u is at the barrier of %s:%d", n, base_name(f.where), f.line);
      break;
    case State::AtWarp:
      snprintf(words, size, "thread %u is at a %s of its warp", n, f.where);
      break;
    case State::Done: snprintf(words, size, "thread %u has returned", n); break;
  }
}

void begin_words(Machine &m) {
  m.failed = true;
  const Dim3 &b = m.block;
  int used = snprintf(m.words, sizeof m.words, "%s: block (%u, %u, %u)", m.kernel, b.x, b.y, b.z);
  if (current && used > 0 && size_t(used) < sizeof m.words)
    used += snprintf(m.words + used, sizeof m.words - used, " thread %u", current->number);
  if (used > 0 && size_t(used) < sizeof m.words)
    snprintf(m.words + used, sizeof m.words - used, ": ");
}

void add_words(Machine &m, const char *format, va_list list) {
  const size_t used = strlen(m.words);
  vsnprintf(m.words + used, sizeof m.words - used, format, list);
}

[[noreturn]] void give_up() {
  current = nullptr;
  void *unused;
  engine_emulator_switch(&unused, machine->home);
  abort();
}

/// Nobody can go on: says who waits where.
[[noreturn, gnu::cold]] void stuck(Machine &m) {
  const Fiber *first = &m.fibers[0], *other = nullptr;
  for (uint32_t i = 1; i < m.threads && !other; ++i) {
    const Fiber &f = m.fibers[i];
    if (f.state != first->state || f.line != first->line || f.where != first->where) other = &f;
  }
  char one[160], two[160];
  describe(one, sizeof one, *first);
  describe(two, sizeof two, other ? *other : *first);
  fail("divergence: %s while %s", one, two);
}

inline uint32_t lowest(uint32_t bits) { return static_cast<uint32_t>(__builtin_ctz(bits)); }

/// The set bit whose turn it is.
inline uint32_t choose(Machine &m, uint32_t bits) {
  if (m.mixed) {
    const uint32_t turn = m.draw() & 31;
    return (lowest(bits >> turn | (bits << (31 - turn)) << 1) + turn) & 31;
  }
  return m.backwards ? 31 - static_cast<uint32_t>(__builtin_clz(bits)) : lowest(bits);
}

/// Takes the next fiber: of this warp while it has some, so that its data stay near.
inline Fiber *take_next(Machine &m, Warp *w) {
  if (w->ready == 0 || (m.mixed && (m.draw() & 15) == 0)) {
    if (m.ready_warps == 0) stuck(m);
    w = &m.warps[m.order.at(choose(m, m.ready_warps))];
  }
  const uint32_t rank = choose(m, w->ready);
  w->ready &= ~(1u << rank);
  if (w->ready == 0) m.ready_warps &= ~(1u << m.order.rank_of(w->number));
  return &m.fibers[w->number * WARP + w->order.at(rank)];
}

/// Runs another fiber; comes back when this one is chosen again.
inline void give_way(Machine &m, Fiber *mine) {
  Fiber *next = take_next(m, mine->warp);
  if (next == mine) return;
  m.running = next;
  current = &next->thread;
  engine_emulator_switch(&mine->stack_pointer, next->stack_pointer);
}

/// Lets the lanes of a mask go on, in a new order.
inline void release(Machine &m, Warp &w, uint32_t mask) {
  const Order before = w.order;
  w.order = m.order_of((uint64_t{w.number} + 1) << 32 | ++w.rendezvous);
  if (mask != 0xffffffffu) {
    uint32_t lanes = mask;
    for (uint32_t rank = 0; rank < WARP; ++rank)
      if (w.ready >> rank & 1) lanes |= 1u << before.at(rank);
    mask = 0;
    for (uint32_t lane = 0; lane < WARP; ++lane)
      if (lanes >> lane & 1) mask |= 1u << w.order.rank_of(lane);
  }
  w.ready = mask;
  m.ready_warps |= 1u << m.order.rank_of(w.number);
}

/// A lane that comes to a rendezvous is done with the answers of earlier ones.
inline void has_read(Warp &w, uint32_t lane) {
  w.unread[0] &= ~(1u << lane);
  w.unread[1] &= ~(1u << lane);
}

void release_block(Machine &m) {
  m.order = m.order_of(++m.barriers);
  m.ready_warps = 0;
  for (uint32_t w = 0; w < m.threads / WARP; ++w) release(m, m.warps[w], 0xffffffffu);
}

extern "C" void engine_emulator_start() {
  Machine &m = *machine;
  m.entry(m.arguments);
  Fiber *f = m.running;
  Queue &queue = m.queues[f->thread.number];
  if (queue.arrived < queue.copies.size())
    fail("cp.async: returned with copies under way: wait for every one");
  queue.ends.clear();
  queue.waited = 0;
  has_read(*f->warp, f->thread.number % WARP);
  f->state = State::Done;
  f->where = nullptr;
  f->line = 0;
  if (++m.done == m.threads) give_up();
  give_way(m, f);
  abort();
}

void prepare(Machine &m, uint32_t i) {
  Fiber &f = m.fibers[i];
  // Stacks begin at different cache sets.
  char *top = m.stacks + (i + 1) * PITCH - i * 5 % 32 * 128;
  void **sp = reinterpret_cast<void **>(top);
  *--sp = nullptr;  // keeps the stack of the first call as the ABI wants it
  *--sp = reinterpret_cast<void *>(&engine_emulator_start);
  for (int r = 0; r < 6; ++r) *--sp = nullptr;
  f.stack_pointer = sp;
  f.state = State::Ready;
  f.where = nullptr;
  f.line = 0;
  f.warp = &m.warps[i / WARP];
}

/// Whoever wrote between what the launch asked for and the nearest forbidden pages did it in this
/// block.
void check_shared(Machine &m) {
  const unsigned char *begin = m.shared - m.shared_bytes;
  const unsigned char *low = reinterpret_cast<unsigned char *>(uintptr_t(begin) / PAGE * PAGE);
  for (const unsigned char *p = low; p < begin; ++p) {
    if (*p == POISON) continue;
    begin_words(m);
    const size_t used = strlen(m.words);
    snprintf(m.words + used, sizeof m.words - used,
             "shared memory: something wrote %td bytes before its beginning", begin - p);
    return;
  }
  for (const unsigned char *p = begin + m.shared_asked; p < m.shared; ++p) {
    if (*p == POISON) continue;
    begin_words(m);
    const size_t used = strlen(m.words);
    snprintf(m.words + used, sizeof m.words - used,
             "shared memory: something wrote at byte %td, the launch asked for %zu bytes",
             p - begin, m.shared_asked);
    return;
  }
}

void run_block(Machine &m, Dim3 block, Dim3 block_size, Dim3 grid, uint64_t seed) {
  unsigned char *begin = m.shared - m.shared_bytes;
  unsigned char *low = reinterpret_cast<unsigned char *>(uintptr_t(begin) / PAGE * PAGE);
  memset(low, POISON, static_cast<size_t>(m.shared - low));
  m.block = block;
  m.done = m.at_barrier = m.barriers = 0;
  m.drawn_from = seed;
  m.random = mix(seed) | 1;
  for (uint32_t w = 0; w < m.threads / WARP; ++w) {
    m.warps[w].number = w;
    m.warps[w].ready = m.warps[w].arrived = m.warps[w].rendezvous = 0;
    m.warps[w].unread[0] = m.warps[w].unread[1] = 0;
  }
  Dim3 at = {0, 0, 0};
  for (uint32_t i = 0; i < m.threads; ++i) {
    prepare(m, i);
    m.fibers[i].thread = Thread{at, block, block_size, grid, i};
    if (++at.x == block_size.x) at.x = 0, ++at.y;
    if (at.y == block_size.y) at.y = 0, ++at.z;
  }
  profile::begin_block(begin, m.shared_asked, m.threads);
  release_block(m);
  m.running = take_next(m, &m.warps[m.order.at(choose(m, m.ready_warps))]);
  current = &m.running->thread;
  engine_emulator_switch(&m.home, m.running->stack_pointer);
  current = nullptr;
  profile::end_block();
  if (!m.failed) check_shared(m);
}

struct sigaction previous_segv, previous_bus, previous_fpe;

/// What lies at an address that a kernel may not use.
void explain(const Machine &m, char *words, size_t size, int signal, const siginfo_t *info,
             bool write) {
  const char *does = write ? "write" : "read";
  const char *at = static_cast<const char *>(info->si_addr);
  if (signal == SIGFPE) {
    snprintf(words, size, "integer division by zero or overflow");
  } else if (info->si_code == SI_KERNEL) {
    snprintf(words, size,
             "memory: access at an address that no memory can have, or a misaligned one");
  } else if (at >= m.stacks && at < m.stacks + MAX_THREADS * PITCH) {
    snprintf(words, size, "stack overflow: local variables and calls need more than %zu bytes",
             STACK);
  } else if (at >= m.shared_room && at < m.shared_room + SHARED_ROOM + 2 * PAGE) {
    const ptrdiff_t offset = at - reinterpret_cast<const char *>(m.shared - m.shared_bytes);
    snprintf(words, size, "shared memory: %s at byte %td, the launch asked for %zu bytes", does,
             offset, m.shared_asked);
  } else {
    snprintf(words, size, "memory: %s outside every buffer at address %p", does, info->si_addr);
  }
}

void on_fault(int signal, siginfo_t *info, void *raw) {
  Machine *m = machine;
  if (m && current && info->si_code > 0) {
    auto *context = static_cast<ucontext_t *>(raw);
    begin_words(*m);
    const size_t used = strlen(m->words);
    const bool write = context->uc_mcontext.gregs[REG_ERR] & 2;
    explain(*m, m->words + used, sizeof m->words - used, signal, info, write);
    current = nullptr;
    // Goes on in the launcher, with its mask of signals, as if the fiber had given up.
    context->uc_mcontext.gregs[REG_RSP] = reinterpret_cast<greg_t>(m->home);
    context->uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(&engine_emulator_resume);
    return;
  }
  // Not ours: as if this handler had never been here.
  const struct sigaction &previous = signal == SIGSEGV  ? previous_segv
                                     : signal == SIGBUS ? previous_bus
                                                        : previous_fpe;
  if (previous.sa_flags & SA_SIGINFO) {
    previous.sa_sigaction(signal, info, raw);
  } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
    // The instruction is tried again and then meets the default.
    sigaction(signal, &previous, nullptr);
    if (info->si_code <= 0) raise(signal);
  } else {
    previous.sa_handler(signal);
  }
}

struct Handler {
  Handler() {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &previous_segv);
    sigaction(SIGBUS, &action, &previous_bus);
    sigaction(SIGFPE, &action, &previous_fpe);
  }
};

/// Faults are answered on a stack of their own: the fiber's may be what ran out.
struct SignalStack {
  stack_t before = {};
  explicit SignalStack(const Machine &m) {
    stack_t stack = {};
    stack.ss_sp = m.signal_stack;
    stack.ss_size = 64 << 10;
    sigaltstack(&stack, &before);
  }
  ~SignalStack() { sigaltstack(&before, nullptr); }
};

}  // namespace

void fail(const char *format, ...) {
  begin_words(*machine);
  va_list list;
  va_start(list, format);
  add_words(*machine, format, list);
  va_end(list);
  give_up();
}

char *shared_memory() {
  Machine &m = *machine;
  return reinterpret_cast<char *>(m.shared - m.shared_bytes);
}

void in_shared(const void *address, size_t bytes, const char *what) {
  const Machine &m = *machine;
  const ptrdiff_t offset =
      static_cast<const unsigned char *>(address) - (m.shared - m.shared_bytes);
  if (offset < 0 || static_cast<size_t>(offset) + bytes > m.shared_asked)
    fail("%s: expected an address in the %zu bytes of shared memory, got byte %td", what,
         m.shared_asked, offset);
}

void block_barrier(const char *file, int line) {
  Machine &m = *machine;
  Fiber *f = m.running;
  has_read(*f->warp, f->thread.number % WARP);
  profile::comes_to_barrier();
  f->state = State::AtBarrier;
  f->where = file;
  f->line = line;
  if (m.at_barrier == 0) {
    m.first_at_barrier = f;
  } else if (const Fiber *first = m.first_at_barrier;
             first->line != line || (first->where != file && strcmp(first->where, file) != 0)) {
    fail("divergence: at the barrier of %s:%d while thread %u is at that of %s:%d", base_name(file),
         line, first->thread.number, base_name(first->where), first->line);
  }
  if (++m.at_barrier == m.threads) {
    m.at_barrier = 0;
    release_block(m);
  }
  give_way(m, f);
}

const unsigned char *exchange(const void *mine, size_t bytes, uint32_t mask, const char *kind,
                              void (*combine)(unsigned char *)) {
  Machine &m = *machine;
  Fiber *f = m.running;
  const uint32_t lane = f->thread.number % WARP;
  Warp &w = *f->warp;
  unsigned char *slots = w.slots[w.rendezvous & 1];
  has_read(w, lane);
  if (bytes > SLOT) fail("%s: expected at most %zu bytes a lane, got %zu", kind, SLOT, bytes);
  if (!(mask >> lane & 1))
    fail("%s: the mask %08x does not hold the calling lane %u", kind, mask, lane);
  if (w.arrived == 0) {
    w.kind = kind;
    w.mask = mask;
    const uint32_t unread = w.unread[w.rendezvous & 1];
    if (unread != 0)
      fail(
          "%s of mask %08x: lanes %08x are between two others: masks side by side are not emulated",
          kind, mask, unread);
    // Lanes that bring nothing are poison.
    if (mask != 0xffffffffu) memset(slots, POISON, WARP * SLOT);
  } else if (w.kind != kind && strcmp(w.kind, kind) != 0) {
    fail("divergence: at a %s while another lane of the warp is at a %s", kind, w.kind);
  } else if (w.mask != mask) {
    fail("divergence: %s of mask %08x while another lane of the warp has %08x", kind, mask, w.mask);
  }
  unsigned char *slot = slots + lane * SLOT;
  if (bytes == 4) {
    memcpy(slot, mine, 4);
  } else if (bytes == 16) {
    memcpy(slot, mine, 16);
  } else {
    memcpy(slot, mine, bytes);
  }
  f->state = State::AtWarp;
  f->where = kind;
  w.arrived |= 1u << lane;
  profile::comes(kind, mine, __builtin_return_address(0));
  if (w.arrived == mask) {
    profile::met(kind);
    w.unread[w.rendezvous & 1] = mask;
    if (combine) combine(slots);
    w.arrived = 0;
    release(m, w, mask);
  }
  give_way(m, f);
  return slots;
}

void copy_later(void *shared, const void *global, int bytes, int bytes_read) {
  Machine &m = *machine;
  if (bytes != 4 && bytes != 8 && bytes != 16)
    fail("cp.async: expected 4, 8 or 16 bytes, got %d", bytes);
  if (bytes_read < 0 || bytes_read > bytes)
    fail("cp.async: expected 0 to %d bytes to read, got %d", bytes, bytes_read);
  aligned(shared, bytes, "cp.async: shared memory");
  aligned(global, bytes, "cp.async: global memory");
  in_shared(shared, bytes, "cp.async");
  Copy copy = {static_cast<unsigned char *>(shared),
               static_cast<const unsigned char *>(global),
               bytes,
               bytes_read,
               {}};
  if (bytes_read > 0) memcpy(copy.data, global, bytes_read);
  profile::copies(shared, global, bytes, bytes_read, __builtin_return_address(0));
  memset(shared, POISON, bytes);
  m.queues[m.running->thread.number].copies.push_back(copy);
}

void commit_copies() {
  Queue &queue = machine->queues[machine->running->thread.number];
  queue.ends.push_back(queue.copies.size());
}

void wait_copies(int pending) {
  Queue &queue = machine->queues[machine->running->thread.number];
  for (; queue.ends.size() - queue.waited > static_cast<size_t>(pending); ++queue.waited) {
    for (; queue.arrived < queue.ends[queue.waited]; ++queue.arrived) {
      const Copy &copy = queue.copies[queue.arrived];
      for (int i = 0; i < copy.bytes; ++i)
        if (copy.to[i] != POISON)
          fail("cp.async: its destination was written while the copy was under way");
      if (memcmp(copy.data, copy.from, copy.bytes_read) != 0)
        fail("cp.async: its source was written while the copy was under way");
      memcpy(copy.to, copy.data, copy.bytes);
    }
  }
  if (queue.waited < 32) return;
  // What is over is forgotten, so that the queue stays as long as what is under way; its memory is
  // kept.
  queue.copies.erase(queue.copies.begin(),
                     queue.copies.begin() + static_cast<ptrdiff_t>(queue.arrived));
  queue.ends.erase(queue.ends.begin(), queue.ends.begin() + static_cast<ptrdiff_t>(queue.waited));
  for (size_t &end : queue.ends) end -= queue.arrived;
  queue.arrived = queue.waited = 0;
}

}  // namespace emulator

// What -fsanitize=alignment,bounds,shift-exponent,integer-divide-by-zero,float-cast-overflow calls
// where a kernel does what C++ leaves undefined and a GPU refuses or answers otherwise. The first
// thing that each points to is the place in the source.
struct Place {
  const char *file;
  uint32_t line, column;
};
#define ENGINE_EMULATOR_UNDEFINED(name, words)                                     \
  extern "C" [[noreturn]] void __ubsan_handle_##name##_abort(const Place *place,   \
                                                             uintptr_t value) {    \
    emulator::fail("%s:%u: " words, emulator::base_name(place->file), place->line, \
                   (unsigned long)value);                                          \
  }
ENGINE_EMULATOR_UNDEFINED(type_mismatch_v1,
                          "misaligned access: its type wants another address than %#lx")
ENGINE_EMULATOR_UNDEFINED(out_of_bounds, "index %ld is outside of the array")
ENGINE_EMULATOR_UNDEFINED(shift_out_of_bounds, "shift of %#lx by as many bits as it has, or more")
ENGINE_EMULATOR_UNDEFINED(divrem_overflow, "integer division of %ld by zero")
ENGINE_EMULATOR_UNDEFINED(float_cast_overflow,
                          "a float has no place in the integer it becomes (value at %#lx)")

/// Runs a grid. Returns 0, or 1 with a sentence in `words`.
extern "C" int engine_emulator_launch(const char *kernel, void (*entry)(void **),
                                      const uint32_t grid[3], const uint32_t block[3],
                                      size_t shared_bytes, void **arguments, uint64_t seed,
                                      char *words, size_t words_bytes) {
  using namespace emulator;
  static Handler handler;
  // A library that is opened later has room for some words of a thread's own, not for a machine.
  thread_local std::unique_ptr<Machine> own(new Machine);
  machine = own.get();
  Machine &m = *own;
  auto refuse = [&](const char *what, unsigned long long got) {
    snprintf(words, words_bytes, "%s: launch: expected %s, got %llu", kernel, what, got);
    return 1;
  };
  const uint64_t threads = uint64_t{block[0]} * block[1] * block[2];
  if (threads == 0 || threads > MAX_THREADS) return refuse("1 to 1024 threads a block", threads);
  if (threads % WARP != 0) return refuse("whole warps", threads);
  if (grid[0] == 0 || grid[0] > 0x7fffffffu) return refuse("1 to 2^31 - 1 blocks in x", grid[0]);
  for (int i = 1; i < 3; ++i)
    if (grid[i] == 0 || grid[i] > 65535) return refuse("1 to 65535 blocks in y and z", grid[i]);
  if (shared_bytes > MAX_SHARED) return refuse("at most 227 KiB of shared memory", shared_bytes);
  if (!make_room(m, static_cast<uint32_t>(threads), shared_bytes))
    return refuse("memory for the threads of a block", threads);
  SignalStack stack(m);
  m.kernel = kernel;
  m.entry = entry;
  m.arguments = arguments;
  m.threads = static_cast<uint32_t>(threads);
  m.failed = false;
  m.mixed = seed % 3 == 0;
  m.backwards = seed % 3 == 2;
  const uint64_t from = mix(seed / 3), blocks = uint64_t{grid[0]} * grid[1] * grid[2];
  // Mixed: from a drawn block on, around, forwards or backwards.
  const uint64_t first = m.mixed ? from % blocks : 0;
  const bool back = m.mixed ? from >> 63 : m.backwards;
  for (uint64_t i = 0; i < blocks && !m.failed; ++i) {
    const uint64_t b = (first + (back ? blocks - 1 - i : i)) % blocks;
    if (!profile::takes(b, blocks)) continue;
    const Dim3 at = {static_cast<uint32_t>(b % grid[0]),
                     static_cast<uint32_t>(b / grid[0] % grid[1]),
                     static_cast<uint32_t>(b / grid[0] / grid[1])};
    run_block(m, at, {block[0], block[1], block[2]}, {grid[0], grid[1], grid[2]}, mix(from + b));
  }
  if (!m.failed) return 0;
  for (Queue &queue : m.queues) queue = Queue();
  snprintf(words, words_bytes, "%s", m.words);
  return 1;
}

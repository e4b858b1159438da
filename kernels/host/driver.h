// What the stand-in for the driver (driver.cpp, which alone includes this) keeps: contexts and what
// was made in them, and the work that streams were asked for and that is not done yet.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "emulator.h"

extern "C" int engine_emulator_launch(const char *kernel, void (*entry)(void **),
                                      const uint32_t grid[3], const uint32_t block[3],
                                      size_t shared_bytes, void **arguments, uint64_t seed,
                                      char *words, size_t words_bytes);

namespace {

struct Entry {
  const char *name, *family;
  void (*body)(void **);
};
struct Image {
  const char *family, *target;
  uint64_t bytes, hash;
};
// Made by build.rs: the entry points that have an image, and what those images are.
#include "driver_table.inc"

enum Code : int {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  NO_BINARY_FOR_GPU = 209,
  UNSUPPORTED_PTX_VERSION = 222,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  ILLEGAL_ADDRESS = 700,
  LAUNCH_FAILED = 719,
  SYSTEM_DRIVER_MISMATCH = 803,
  UNKNOWN = 999,
};
struct Words {
  int code;
  const char *name, *text;
};
constexpr Words WORDS[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU",
     "no kernel image is available for execution on the device"},
    {UNSUPPORTED_PTX_VERSION, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
     "the provided PTX was compiled with an unsupported toolchain."},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {SYSTEM_DRIVER_MISMATCH, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
     "system has unsupported display driver / cuda driver combination"},
    {UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

// What it pretends to be.

uint64_t pretend(const char *name, uint64_t otherwise) {
  const char *value = getenv((std::string("ENGINE_STAND_IN_") + name).c_str());
  return value && *value ? strtoull(value, nullptr, 10) : otherwise;
}
/// 80 for 8.0.
int capability() {
  int major = 8, minor = 0;
  if (const char *value = getenv("ENGINE_STAND_IN_CAPABILITY"))
    sscanf(value, "%d.%d", &major, &minor);
  return 10 * major + minor;
}
/// Bytes of shared memory that a block may have at most, as NVIDIA's tables have it.
int most_shared() {
  switch (capability()) {
    case 75: return 64 << 10;
    case 80:
    case 87: return 163 << 10;
    case 90:
    case 100:
    case 103: return 227 << 10;
    default: return 99 << 10;
  }
}
uint64_t total_memory() { return pretend("MEMORY", uint64_t{80} << 30); }
/// As few as the emulated device has.
constexpr int PROCESSORS = 4;
constexpr size_t WITHOUT_ASKING = 48 << 10, PAGE = 4096, ALIGNMENT = 16, QUARANTINE = 256;
constexpr int POISON = 0xff;

// What there is.

/// Memory that ends against a page that nobody may touch and begins behind one; all poison.
struct Room {
  char *map = nullptr;
  size_t pages = 0, bytes = 0;

  static size_t padded(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }
  static bool make(Room &room, size_t bytes) {
    room.bytes = bytes;
    room.pages = (bytes + PAGE - 1) / PAGE * PAGE;
    void *map = mmap(nullptr, room.pages + 2 * PAGE, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return false;
    room.map = static_cast<char *>(map);
    if (mprotect(room.map + PAGE, room.pages, PROT_READ | PROT_WRITE) != 0) return false;
    memset(room.map + PAGE, POISON, room.pages);
    return true;
  }
  char *begin() const { return map + PAGE + pages - padded(bytes); }
  uint64_t address() const { return reinterpret_cast<uint64_t>(begin()); }
  bool holds(uint64_t from, size_t length) const {
    return from >= address() && length <= bytes && from - address() <= bytes - length;
  }
  /// Whether something wrote between the forbidden pages and the bytes that were asked for.
  bool trespassed() const {
    const auto written = [](const char *from, const char *to) {
      for (; from < to; ++from)
        if (static_cast<unsigned char>(*from) != POISON) return true;
      return false;
    };
    return written(map + PAGE, begin()) || written(begin() + bytes, map + PAGE + pages);
  }
};

struct Buffer {
  Room room;
  uint64_t stream;  // of cuMemAllocAsync; 0 of cuMemAlloc
  bool freed;       // asked for, perhaps not yet done
};
/// Memory that the pool holds: free for what the same stream asks for next, for others when its
/// work is done.
struct Idle {
  uint64_t stream, work;
};
struct Pinned {
  Room room;
  int under_way;  // copies
};
struct Work {
  const char *call;
  std::function<Code()> run;
};
struct Stream {
  std::deque<Work> queue;
  uint64_t asked = 0, done = 0;
};
struct Event {
  uint64_t stream, work;
};
struct Function {
  uint64_t module;
  const Entry *entry;
  emulator::Signature takes;
  size_t shared;
  int share;  // of a processor's memory for cache and blocks, in per cent; -1 as the driver likes
};

struct Context {
  explicit Context(int device) : device(device) {}
  int device, holders = 1;
  Code failed = SUCCESS;
  uint64_t launches = 0, of_broken = 0, pool_reserved = 0, pool_used = 0, threshold = 0, others = 0;
  std::map<uint64_t, Buffer> buffers;
  std::multimap<size_t, Idle> idle;
  std::map<uint64_t, Pinned> pinned;
  std::map<uint64_t, Stream> streams;
  std::map<uint64_t, Event> events;
  std::map<uint64_t, const char *> modules;  // the family
  std::map<uint64_t, Function> functions;
  std::deque<Room> quarantine;
};

struct Machine {
  std::recursive_mutex lock;
  bool initialised = false;
  uint64_t handles = 0x57a0000000;
  std::map<uint64_t, std::unique_ptr<Context>> contexts;
  std::map<std::string, uint64_t> calls;
  const char *call = "";
  ~Machine();
};
Machine machine;
/// Of this thread; 0 = none.
thread_local uint64_t current_context = 0;

uint64_t new_handle() { return machine.handles += 64; }

__attribute__((format(printf, 2, 3))) Code wrong(Code code, const char *format, ...) {
  char words[1200];
  va_list list;
  va_start(list, format);
  vsnprintf(words, sizeof words, format, list);
  va_end(list);
  fprintf(stderr, "stand-in: %s: %s\n", machine.call, words);
  return code;
}

/// Every function begins here: counts the call and fails it where that was asked for.
template <class Body>
int api(const char *name, Body body) {
  std::lock_guard<std::recursive_mutex> guard(machine.lock);
  machine.call = name;
  const uint64_t count = ++machine.calls[name];
  if (const char *fails = getenv("ENGINE_STAND_IN_FAILS")) {
    char which[64] = {};
    unsigned long long number = 0;
    int code = 0;
    if (sscanf(fails, "%63s %llu %d", which, &number, &code) == 3 && count == number &&
        strcmp(which, name) == 0)
      return code;
  }
  return body();
}

/// Those that need the driver.
template <class Body>
int started(const char *name, Body body) {
  return api(name, [&]() -> int {
    return machine.initialised ? body() : wrong(NOT_INITIALIZED, "cuInit was not called");
  });
}

/// Those that need a context on the calling thread. Once a kernel has failed nothing works any
/// more.
template <class Body>
int inside(const char *name, Body body) {
  return started(name, [&]() -> int {
    const auto found = machine.contexts.find(current_context);
    if (found == machine.contexts.end())
      return wrong(INVALID_CONTEXT, "no context is current on this thread");
    return found->second->failed ? found->second->failed : body(*found->second);
  });
}

/// Carries out what a stream was asked for, up to number `work`.
Code run_until(Context &c, Stream &s, uint64_t work) {
  while (s.done < work && !s.queue.empty()) {
    Work next = std::move(s.queue.front());
    s.queue.pop_front();
    ++s.done;
    const char *asked = machine.call;
    machine.call = next.call;
    const Code code = c.failed ? c.failed : next.run();
    machine.call = asked;
    if (code) c.failed = code;
  }
  return c.failed;
}
Code run_all(Context &c) {
  for (auto &[handle, s] : c.streams) run_until(c, s, s.asked);
  return c.failed;
}
template <class Run>
Code later(Stream &s, Run run) {
  s.queue.push_back({machine.call, std::move(run)});
  ++s.asked;
  return SUCCESS;
}

template <class T>
T *find(std::map<uint64_t, T> &all, const void *handle) {
  const auto found = all.find(reinterpret_cast<uint64_t>(handle));
  return found == all.end() ? nullptr : &found->second;
}
Code unknown(const char *what, const void *handle) {
  return wrong(INVALID_HANDLE, "%p is no %s of the current context, or was given back", handle,
               what);
}
/// The buffer, or pinned memory, that holds a whole range.
template <class T>
T *holder(std::map<uint64_t, T> &all, uint64_t from, size_t bytes) {
  auto after = all.upper_bound(from);
  if (after == all.begin()) return nullptr;
  T &last = std::prev(after)->second;
  return last.room.holds(from, bytes) ? &last : nullptr;
}
/// Refuses a range that is not in one living buffer.
Code in_buffer(Context &c, uint64_t from, size_t bytes, const char *what) {
  const Buffer *b = holder(c.buffers, from, bytes);
  if (!b)
    return wrong(INVALID_VALUE, "%s: %zu bytes at %#lx are not in one buffer", what, bytes, from);
  if (b->freed)
    return wrong(INVALID_VALUE, "%s: the buffer at %#lx was freed before", what, b->room.address());
  return SUCCESS;
}

/// Takes a buffer's pages away; they stay forbidden for a while, so that a late use is seen.
Code bury(Context &c, uint64_t address) {
  const Room room = c.buffers.at(address).room;
  c.buffers.erase(address);
  const bool trespassed = room.trespassed();
  madvise(room.map + PAGE, room.pages, MADV_DONTNEED);
  mprotect(room.map, room.pages + 2 * PAGE, PROT_NONE);
  c.quarantine.push_back(room);
  if (c.quarantine.size() > QUARANTINE) {
    munmap(c.quarantine.front().map, c.quarantine.front().pages + 2 * PAGE);
    c.quarantine.pop_front();
  }
  return trespassed
             ? wrong(LAUNCH_FAILED, "something wrote outside of the buffer of %zu bytes at %#lx",
                     room.bytes, address)
             : SUCCESS;
}

/// Gives idle memory of the pool back to the system until `keep` bytes are held; only what is no
/// longer in use can go.
void trim(Context &c, uint64_t keep) {
  for (auto at = c.idle.begin(); at != c.idle.end() && c.pool_reserved > keep;) {
    const auto stream = c.streams.find(at->second.stream);
    const bool over = stream == c.streams.end() || stream->second.done >= at->second.work;
    if (over) c.pool_reserved -= at->first;
    at = over ? c.idle.erase(at) : std::next(at);
  }
}

uint64_t free_memory(const Context &c) { return total_memory() - c.pool_reserved - c.others; }

uint64_t hash_of(const unsigned char *bytes, size_t count) {
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i < count; ++i) hash = (hash ^ bytes[i]) * 0x100000001b3;
  return hash;
}
template <class T>
T field(const void *image, size_t at) {
  T value;
  memcpy(&value, static_cast<const char *>(image) + at, sizeof value);
  return value;
}

/// Bytes of machine code: an ELF file, whose tables say where the last of it ends.
inline uint64_t bytes_of_elf(const void *image) {
  const auto end_of_table = [&](size_t offset, size_t size, size_t count) {
    return field<uint64_t>(image, offset) +
           uint64_t(field<uint16_t>(image, size)) * field<uint16_t>(image, count);
  };
  uint64_t end = std::max(end_of_table(32, 54, 56), end_of_table(40, 58, 60));
  const uint64_t sections = field<uint64_t>(image, 40), bytes = field<uint16_t>(image, 58);
  for (uint64_t i = 0; i < field<uint16_t>(image, 60); ++i) {
    const uint64_t at = sections + i * bytes;
    const bool in_file = field<uint32_t>(image, at + 4) != 8;
    if (in_file)
      end = std::max(end, field<uint64_t>(image, at + 24) + field<uint64_t>(image, at + 32));
  }
  return end;
}

/// What a driver does with machine code, which it takes if it was made for the device, or PTX,
/// which it compiles if the device is no older.
Code read_image(const void *image, const char *&family) {
  if (reinterpret_cast<uintptr_t>(image) % 8 != 0)
    return wrong(INVALID_IMAGE, "an image begins at a multiple of 8, got %p", image);
  const bool code = memcmp(image, "\177ELF", 4) == 0;
  const uint64_t bytes = code ? bytes_of_elf(image) : strlen(static_cast<const char *>(image)) + 1;
  const Image *found = nullptr;
  for (const Image &known : IMAGES)
    if (known.family && known.bytes == bytes &&
        known.hash == hash_of(static_cast<const unsigned char *>(image), bytes))
      found = &known;
  if (!found)
    return wrong(INVALID_IMAGE, "an image of %lu bytes that is none of those that were built",
                 bytes);
  family = found->family;
  if (pretend("DRIVER_TOO_OLD", 0)) return UNSUPPORTED_PTX_VERSION;
  // Machine code runs on later devices of the same major number (that for 9.0 is of 9.0a: there
  // alone), PTX of 8.0 on all later ones.
  const uint32_t here = static_cast<uint32_t>(capability());
  const bool runs = strcmp(found->target, "sm_80") == 0    ? here / 10 == 8
                    : strcmp(found->target, "sm_90a") == 0 ? here == 90
                                                           : here >= 80;
  return runs ? SUCCESS : NO_BINARY_FOR_GPU;
}

/// Says what is left of a context; the number of things.
uint64_t left_over(Context &c) {
  uint64_t left = 0, under_way = 0;
  const auto say = [&](const char *what, uint64_t count) {
    left += count;
    if (count) wrong(UNKNOWN, "left behind: %lu %s", count, what);
  };
  for (const auto &[handle, s] : c.streams) under_way += s.queue.size();
  uint64_t alive = 0, bytes = 0;
  for (const auto &[address, b] : c.buffers)
    if (!b.freed) ++alive, bytes += b.room.bytes;
  say("pieces of work under way", under_way);
  say("buffers", alive);
  if (alive) wrong(UNKNOWN, "left behind: %lu bytes in buffers", bytes);
  say("pieces of pinned memory", c.pinned.size());
  say("events", c.events.size());
  say("modules", c.modules.size());
  say("streams", c.streams.size());
  return left;
}

void close(Context &c) {
  for (auto &[address, b] : c.buffers) munmap(b.room.map, b.room.pages + 2 * PAGE);
  for (auto &[address, p] : c.pinned) munmap(p.room.map, p.room.pages + 2 * PAGE);
  for (Room &room : c.quarantine) munmap(room.map, room.pages + 2 * PAGE);
}

Machine::~Machine() {
  call = "end of the process";
  for (auto &[handle, c] : contexts) {
    wrong(UNKNOWN, "the context of device %d is still retained", c->device);
    left_over(*c);
  }
  const char *path = getenv("ENGINE_STAND_IN_CALLS");
  // The library is opened and closed once before it is used.
  if (FILE *file = path && !calls.empty() ? fopen(path, "a") : nullptr) {
    for (const auto &[name, count] : calls) fprintf(file, "%s %lu\n", name.c_str(), count);
    fclose(file);
  }
}

bool is_device(int device) {
  return device >= 0 && static_cast<uint64_t>(device) < pretend("DEVICES", 1);
}

/// Those that name a device.
template <class Body>
int of_device(const char *name, int device, Body body) {
  return started(name, [&]() -> int {
    return is_device(device) ? body() : wrong(INVALID_DEVICE, "there is no device %d", device);
  });
}

template <class T>
int fill(Context &c, uint64_t to, T value, size_t count, void *stream) {
  Stream *s = find(c.streams, stream);
  if (!s) return unknown("stream", stream);
  if (to % sizeof(T) != 0)
    return wrong(INVALID_VALUE, "expected an address that is a multiple of %zu, got %#lx",
                 sizeof(T), to);
  if (Code code = in_buffer(c, to, count * sizeof(T), "destination")) return code;
  return later(*s, [=]() {
    for (size_t i = 0; i < count; ++i) reinterpret_cast<T *>(to)[i] = value;
    return SUCCESS;
  });
}

}  // namespace

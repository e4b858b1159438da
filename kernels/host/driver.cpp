// A stand-in for libcuda.so.1, for tests: the part of the CUDA driver API that engine/device/cuda/real.rs calls, on host memory,
// with kernels run by the emulator. It is a stricter judge than a driver:
//   late     what a stream is asked for happens when somebody waits for it and no sooner, in order: pinned memory is read then and
//            compared with what it held when the copy was asked for; the target of a copy to the host is poison until then
//   exact    a handle is known, alive and of the current context; a range lies in one buffer; a buffer is freed once; whatever is
//            in a buffer's room beyond its bytes stays as it was; a freed buffer's pages may not be touched
//   counted  when the context goes, everything made in it must have gone before
// What a program did wrong is refused with a driver's code and said on standard error in a line that begins with "stand-in:".
// What the machine cannot do (no memory, no device …) is refused with the code alone.
//
// What it pretends to be, by environment, with ENGINE_STAND_IN_ before each name:
//   DEVICES=1  CAPABILITY=8.0  MEMORY=bytes  INIT_FAILS=code  DRIVER_TOO_OLD=1
//   FAILS="cuMemHostAlloc 3 2"   the third call of that function ends with code 2
//   CALLS=file                   receives how often each function was called, when the process ends
#include <sys/mman.h>

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

extern "C" int engine_emulator_launch(const char *kernel, void (*entry)(void **), const uint32_t grid[3], const uint32_t block[3],
                                      size_t shared_bytes, void **arguments, uint64_t seed, char *words, size_t words_bytes);

namespace {

struct Entry {
  const char *name, *family;
  void (*body)(void **);
};
struct Image {
  const char *family;
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
    {NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {UNSUPPORTED_PTX_VERSION, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {SYSTEM_DRIVER_MISMATCH, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
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
  if (const char *value = getenv("ENGINE_STAND_IN_CAPABILITY")) sscanf(value, "%d.%d", &major, &minor);
  return 10 * major + minor;
}
/// Bytes of shared memory that a block may have at most, as NVIDIA's tables have it.
int most_shared() {
  switch (capability()) {
    case 75: return 64 << 10;
    case 80: case 87: return 163 << 10;
    case 90: case 100: case 103: return 227 << 10;
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
    void *map = mmap(nullptr, room.pages + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return false;
    room.map = static_cast<char *>(map);
    if (mprotect(room.map + PAGE, room.pages, PROT_READ | PROT_WRITE) != 0) return false;
    memset(room.map + PAGE, POISON, room.pages);
    return true;
  }
  char *begin() const { return map + PAGE + pages - padded(bytes); }
  uint64_t address() const { return reinterpret_cast<uint64_t>(begin()); }
  bool holds(uint64_t from, size_t length) const { return from >= address() && length <= bytes && from - address() <= bytes - length; }
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
/// Memory that the pool holds: free for what the same stream asks for next, for others when its work is done.
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
};

struct Context {
  int device, holders = 0;
  Code failed = SUCCESS;
  uint64_t launches = 0, pool_reserved = 0, pool_used = 0, threshold = 0, others = 0;
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
    if (sscanf(fails, "%63s %llu %d", which, &number, &code) == 3 && count == number && strcmp(which, name) == 0) return code;
  }
  return body();
}

/// Those that need the driver.
template <class Body>
int started(const char *name, Body body) {
  return api(name, [&]() -> int { return machine.initialised ? body() : wrong(NOT_INITIALIZED, "cuInit was not called"); });
}

/// Those that need a context on the calling thread. Once a kernel has failed nothing works any more.
template <class Body>
int inside(const char *name, Body body) {
  return started(name, [&]() -> int {
    const auto found = machine.contexts.find(current_context);
    if (found == machine.contexts.end()) return wrong(INVALID_CONTEXT, "no context is current on this thread");
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
  return wrong(INVALID_HANDLE, "%p is no %s of the current context, or was given back", handle, what);
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
  if (!b) return wrong(INVALID_VALUE, "%s: %zu bytes at %#lx are not in one buffer", what, bytes, from);
  if (b->freed) return wrong(INVALID_VALUE, "%s: the buffer at %#lx was freed before", what, b->room.address());
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
  return trespassed ? wrong(LAUNCH_FAILED, "something wrote outside of the buffer of %zu bytes at %#lx", room.bytes, address) : SUCCESS;
}

/// Gives idle memory of the pool back to the system until `keep` bytes are held; only what is no longer in use can go.
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

/// What a driver does with a fatbin as nvcc writes it: finds the machine code or the PTX that the device can run.
Code read_image(const void *image, const char *&family) {
  if (reinterpret_cast<uintptr_t>(image) % 8 != 0) return wrong(INVALID_IMAGE, "a fatbin begins at a multiple of 8, got %p", image);
  if (field<uint32_t>(image, 0) != 0xba55ed50) return wrong(INVALID_IMAGE, "not a fatbin: it begins with %#x", field<uint32_t>(image, 0));
  const uint64_t head = field<uint16_t>(image, 6), bytes = head + field<uint64_t>(image, 8);
  family = nullptr;
  for (const Image &known : IMAGES)
    if (known.family && known.bytes == bytes && known.hash == hash_of(static_cast<const unsigned char *>(image), bytes)) family = known.family;
  if (!family) return wrong(INVALID_IMAGE, "a fatbin of %lu bytes that is none of those that were built", bytes);
  if (pretend("DRIVER_TOO_OLD", 0)) return UNSUPPORTED_PTX_VERSION;
  const uint32_t here = static_cast<uint32_t>(capability());
  for (uint64_t at = head; at < bytes; at += field<uint32_t>(image, at + 4) + field<uint64_t>(image, at + 8)) {
    const uint32_t made_for = field<uint32_t>(image, at + 28);
    const bool code = field<uint16_t>(image, at) == 2;
    // Machine code runs on later devices of the same major number (that for 9.0 is of 9.0a: there alone), PTX on all later ones.
    if (code ? made_for == here || (made_for != 90 && made_for / 10 == here / 10 && made_for <= here) : made_for <= here) return SUCCESS;
  }
  return NO_BINARY_FOR_GPU;
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

bool is_device(int device) { return device >= 0 && static_cast<uint64_t>(device) < pretend("DEVICES", 1); }

/// Those that name a device.
template <class Body>
int of_device(const char *name, int device, Body body) {
  return started(name, [&]() -> int { return is_device(device) ? body() : wrong(INVALID_DEVICE, "there is no device %d", device); });
}

template <class T>
int fill(Context &c, uint64_t to, T value, size_t count, void *stream) {
  Stream *s = find(c.streams, stream);
  if (!s) return unknown("stream", stream);
  if (to % sizeof(T) != 0) return wrong(INVALID_VALUE, "expected an address that is a multiple of %zu, got %#lx", sizeof(T), to);
  if (Code code = in_buffer(c, to, count * sizeof(T), "destination")) return code;
  return later(*s, [=]() {
    for (size_t i = 0; i < count; ++i) reinterpret_cast<T *>(to)[i] = value;
    return SUCCESS;
  });
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default"))) int

// Errors.

template <class Pick>
static int say_error(int code, const char **words, Pick pick) {
  for (const Words &known : WORDS)
    if (known.code == code) return *words = pick(known), SUCCESS;
  *words = nullptr;
  return INVALID_VALUE;
}
EXPORT cuGetErrorName(int code, const char **words) {
  return api("cuGetErrorName", [&] { return say_error(code, words, [](const Words &w) { return w.name; }); });
}
EXPORT cuGetErrorString(int code, const char **words) {
  return api("cuGetErrorString", [&] { return say_error(code, words, [](const Words &w) { return w.text; }); });
}

// Devices and contexts.

EXPORT cuInit(unsigned flags) {
  return api("cuInit", [&]() -> int {
    if (flags != 0) return wrong(INVALID_VALUE, "expected flags 0, got %u", flags);
    if (const uint64_t code = pretend("INIT_FAILS", 0)) return static_cast<int>(code);
    // As a driver does.
    if (pretend("DEVICES", 1) == 0) return NO_DEVICE;
    machine.initialised = true;
    return SUCCESS;
  });
}
EXPORT cuDriverGetVersion(int *version) {
  return api("cuDriverGetVersion", [&] { return *version = pretend("DRIVER_TOO_OLD", 0) ? 11020 : 13000, SUCCESS; });
}
EXPORT cuDeviceGetCount(int *count) {
  return started("cuDeviceGetCount", [&] { return *count = static_cast<int>(pretend("DEVICES", 1)), SUCCESS; });
}
EXPORT cuDeviceGet(int *device, int ordinal) {
  return of_device("cuDeviceGet", ordinal, [&] { return *device = ordinal, SUCCESS; });
}
EXPORT cuDeviceGetName(char *name, int length, int device) {
  return of_device("cuDeviceGetName", device, [&] { return snprintf(name, static_cast<size_t>(length), "Stand-in"), SUCCESS; });
}
EXPORT cuDeviceTotalMem_v2(size_t *bytes, int device) {
  return of_device("cuDeviceTotalMem_v2", device, [&] { return *bytes = total_memory(), SUCCESS; });
}
EXPORT cuDeviceGetAttribute(int *value, int attribute, int device) {
  return of_device("cuDeviceGetAttribute", device, [&]() -> int {
    switch (attribute) {
      case 1: return *value = 1024, SUCCESS;              // threads a block
      case 8: return *value = WITHOUT_ASKING, SUCCESS;    // shared memory a block
      case 10: return *value = 32, SUCCESS;               // warp
      case 16: return *value = PROCESSORS, SUCCESS;
      case 75: return *value = capability() / 10, SUCCESS;
      case 76: return *value = capability() % 10, SUCCESS;
      case 97: return *value = most_shared(), SUCCESS;    // shared memory a block, if asked for
      case 115: return *value = 1, SUCCESS;               // memory pools
      default: return wrong(INVALID_VALUE, "attribute %d is not known here", attribute);
    }
  });
}
EXPORT cuDevicePrimaryCtxRetain(void **context, int device) {
  return of_device("cuDevicePrimaryCtxRetain", device, [&] {
    for (auto &[handle, c] : machine.contexts)
      if (c->device == device) return ++c->holders, *context = reinterpret_cast<void *>(handle), SUCCESS;
    const uint64_t handle = new_handle();
    machine.contexts[handle].reset(new Context{device, 1});
    *context = reinterpret_cast<void *>(handle);
    return SUCCESS;
  });
}
EXPORT cuDevicePrimaryCtxRelease_v2(int device) {
  return of_device("cuDevicePrimaryCtxRelease_v2", device, [&]() -> int {
    for (auto at = machine.contexts.begin(); at != machine.contexts.end(); ++at) {
      Context &c = *at->second;
      if (c.device != device) continue;
      if (--c.holders > 0) return SUCCESS;
      // After a failed kernel nothing can be given back.
      const uint64_t left = c.failed ? 0 : left_over(c);
      close(c);
      machine.contexts.erase(at);
      return left ? UNKNOWN : SUCCESS;
    }
    return wrong(INVALID_CONTEXT, "the context of device %d is not retained", device);
  });
}
EXPORT cuCtxSetCurrent(void *context) {
  return started("cuCtxSetCurrent", [&]() -> int {
    const uint64_t handle = reinterpret_cast<uint64_t>(context);
    if (context && !machine.contexts.count(handle)) return wrong(INVALID_CONTEXT, "%p is no context, or was released", context);
    current_context = handle;
    return SUCCESS;
  });
}
EXPORT cuCtxGetCurrent(void **context) {
  return started("cuCtxGetCurrent", [&] { return *context = reinterpret_cast<void *>(current_context), SUCCESS; });
}

// Streams and events.

EXPORT cuStreamCreate(void **stream, unsigned flags) {
  return inside("cuStreamCreate", [&](Context &c) -> int {
    if (flags > 1) return wrong(INVALID_VALUE, "flags %u are not known", flags);
    const uint64_t handle = new_handle();
    c.streams[handle];
    *stream = reinterpret_cast<void *>(handle);
    return SUCCESS;
  });
}
EXPORT cuStreamSynchronize(void *stream) {
  return inside("cuStreamSynchronize", [&](Context &c) -> int {
    Stream *s = find(c.streams, stream);
    if (!s) return unknown("stream", stream);
    const Code code = run_until(c, *s, s->asked);
    trim(c, c.threshold);
    return code;
  });
}
EXPORT cuStreamDestroy_v2(void *stream) {
  return inside("cuStreamDestroy_v2", [&](Context &c) -> int {
    Stream *s = find(c.streams, stream);
    if (!s) return unknown("stream", stream);
    const Code code = run_until(c, *s, s->asked);
    c.streams.erase(reinterpret_cast<uint64_t>(stream));
    return code;
  });
}
EXPORT cuEventCreate(void **event, unsigned flags) {
  return inside("cuEventCreate", [&](Context &c) -> int {
    if (flags > 3) return wrong(INVALID_VALUE, "flags %u are not known", flags);
    const uint64_t handle = new_handle();
    c.events[handle] = {0, 0};
    *event = reinterpret_cast<void *>(handle);
    return SUCCESS;
  });
}
EXPORT cuEventRecord(void *event, void *stream) {
  return inside("cuEventRecord", [&](Context &c) -> int {
    Event *e = find(c.events, event);
    Stream *s = find(c.streams, stream);
    if (!e) return unknown("event", event);
    if (!s) return unknown("stream", stream);
    *e = {reinterpret_cast<uint64_t>(stream), s->asked};
    return SUCCESS;
  });
}
EXPORT cuEventSynchronize(void *event) {
  return inside("cuEventSynchronize", [&](Context &c) -> int {
    const Event *e = find(c.events, event);
    if (!e) return unknown("event", event);
    // One that was never recorded, or whose stream is gone, has nothing to wait for.
    Stream *s = find(c.streams, reinterpret_cast<void *>(e->stream));
    return s ? run_until(c, *s, e->work) : SUCCESS;
  });
}
EXPORT cuEventDestroy_v2(void *event) {
  return inside("cuEventDestroy_v2", [&](Context &c) -> int {
    return c.events.erase(reinterpret_cast<uint64_t>(event)) ? SUCCESS : unknown("event", event);
  });
}

// Memory.

static int make_buffer(Context &c, uint64_t *address, size_t bytes, uint64_t stream) {
  Buffer b = {{}, stream, false};
  if (!Room::make(b.room, bytes)) return OUT_OF_MEMORY;
  c.buffers[*address = b.room.address()] = b;
  return SUCCESS;
}
EXPORT cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  return inside("cuMemAlloc_v2", [&](Context &c) -> int {
    if (bytes == 0) return wrong(INVALID_VALUE, "0 bytes");
    if (bytes > free_memory(c)) return OUT_OF_MEMORY;
    c.others += bytes;
    return make_buffer(c, address, bytes, 0);
  });
}
EXPORT cuMemFree_v2(uint64_t address) {
  return inside("cuMemFree_v2", [&](Context &c) -> int {
    const auto found = c.buffers.find(address);
    if (found == c.buffers.end() || found->second.freed) return wrong(INVALID_VALUE, "%#lx is no buffer, or was freed before", address);
    if (found->second.stream) return wrong(INVALID_VALUE, "%#lx is of the pool: expected cuMemFreeAsync", address);
    if (Code code = run_all(c)) return code;
    c.others -= found->second.room.bytes;
    return bury(c, address);
  });
}
/// The pool is as unhelpful as one may be: freed memory serves again for the same size alone, until it is trimmed.
EXPORT cuMemAllocAsync(uint64_t *address, size_t bytes, void *stream) {
  return inside("cuMemAllocAsync", [&](Context &c) -> int {
    if (!find(c.streams, stream)) return unknown("stream", stream);
    if (bytes == 0) return wrong(INVALID_VALUE, "0 bytes");
    auto [at, end] = c.idle.equal_range(bytes);
    while (at != end && at->second.stream != reinterpret_cast<uint64_t>(stream)) ++at;
    if (at != end) {
      c.idle.erase(at);
    } else if (bytes > free_memory(c)) {
      return OUT_OF_MEMORY;
    } else {
      c.pool_reserved += bytes;
    }
    c.pool_used += bytes;
    return make_buffer(c, address, bytes, reinterpret_cast<uint64_t>(stream));
  });
}
EXPORT cuMemFreeAsync(uint64_t address, void *stream) {
  return inside("cuMemFreeAsync", [&](Context &c) -> int {
    Stream *s = find(c.streams, stream);
    if (!s) return unknown("stream", stream);
    Buffer *b = find(c.buffers, reinterpret_cast<void *>(address));
    if (!b || b->freed) return wrong(INVALID_VALUE, "%#lx is no buffer, or was freed before", address);
    if (b->stream != reinterpret_cast<uint64_t>(stream)) return wrong(INVALID_VALUE, "%#lx is not of the pool and this stream", address);
    b->freed = true;
    c.pool_used -= b->room.bytes;
    later(*s, [&c, address] { return bury(c, address); });
    c.idle.insert({b->room.bytes, {b->stream, s->asked}});
    return SUCCESS;
  });
}
EXPORT cuMemGetInfo_v2(size_t *free, size_t *total) {
  return inside("cuMemGetInfo_v2", [&](Context &c) { return *free = free_memory(c), *total = total_memory(), SUCCESS; });
}
/// The pool of device N is N + 1.
EXPORT cuDeviceGetDefaultMemPool(void **pool, int device) {
  return of_device("cuDeviceGetDefaultMemPool", device, [&] { return *pool = reinterpret_cast<void *>(uint64_t(device) + 1), SUCCESS; });
}
template <class Body>
static int of_pool(const char *name, void *pool, Body body) {
  return inside(name, [&](Context &c) -> int {
    return reinterpret_cast<uint64_t>(pool) == uint64_t(c.device) + 1 ? body(c) : unknown("memory pool", pool);
  });
}
EXPORT cuMemPoolSetAttribute(void *pool, int attribute, void *value) {
  return of_pool("cuMemPoolSetAttribute", pool, [&](Context &c) -> int {
    if (attribute != 4) return wrong(INVALID_VALUE, "attribute %d is not known here", attribute);
    return c.threshold = field<uint64_t>(value, 0), SUCCESS;
  });
}
EXPORT cuMemPoolGetAttribute(void *pool, int attribute, void *value) {
  return of_pool("cuMemPoolGetAttribute", pool, [&](Context &c) -> int {
    switch (attribute) {
      case 4: return memcpy(value, &c.threshold, 8), SUCCESS;
      case 5: return memcpy(value, &c.pool_reserved, 8), SUCCESS;
      case 7: return memcpy(value, &c.pool_used, 8), SUCCESS;
      default: return wrong(INVALID_VALUE, "attribute %d is not known here", attribute);
    }
  });
}
EXPORT cuMemPoolTrimTo(void *pool, size_t keep) {
  return of_pool("cuMemPoolTrimTo", pool, [&](Context &c) { return trim(c, keep), SUCCESS; });
}
EXPORT cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
  return inside("cuMemHostAlloc", [&](Context &c) -> int {
    if (bytes == 0 || flags > 7) return wrong(INVALID_VALUE, "%zu bytes, flags %u", bytes, flags);
    Pinned p = {{}, 0};
    if (!Room::make(p.room, bytes)) return OUT_OF_MEMORY;
    c.pinned[p.room.address()] = p;
    *memory = p.room.begin();
    return SUCCESS;
  });
}
EXPORT cuMemFreeHost(void *memory) {
  return inside("cuMemFreeHost", [&](Context &c) -> int {
    Pinned *p = find(c.pinned, memory);
    if (!p) return wrong(INVALID_VALUE, "%p is no pinned memory, or was freed before", memory);
    if (p->under_way) return wrong(INVALID_VALUE, "%d copies of this memory are under way", p->under_way);
    munmap(p->room.map, p->room.pages + 2 * PAGE);
    c.pinned.erase(reinterpret_cast<uint64_t>(memory));
    return SUCCESS;
  });
}

// Copies. Those from and to the host are of pinned memory: no other is read or written behind the caller's back.

EXPORT cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
  return inside("cuMemcpyHtoDAsync_v2", [&](Context &c) -> int {
    Stream *s = find(c.streams, stream);
    if (!s) return unknown("stream", stream);
    Pinned *p = holder(c.pinned, reinterpret_cast<uint64_t>(from), bytes);
    if (!p) return wrong(INVALID_VALUE, "source: %zu bytes at %p are not in one piece of pinned memory", bytes, from);
    if (Code code = in_buffer(c, to, bytes, "destination")) return code;
    ++p->under_way;
    const char *source = static_cast<const char *>(from);
    return later(*s, [=, then = std::vector<char>(source, source + bytes)] {
      --p->under_way;
      memcpy(reinterpret_cast<void *>(to), source, bytes);
      return memcmp(source, then.data(), bytes) == 0 ? SUCCESS : wrong(LAUNCH_FAILED, "pinned memory was written while it was being copied");
    });
  });
}
EXPORT cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
  return inside("cuMemcpyDtoHAsync_v2", [&](Context &c) -> int {
    Stream *s = find(c.streams, stream);
    if (!s) return unknown("stream", stream);
    Pinned *p = holder(c.pinned, reinterpret_cast<uint64_t>(to), bytes);
    if (!p) return wrong(INVALID_VALUE, "destination: %zu bytes at %p are not in one piece of pinned memory", bytes, to);
    if (Code code = in_buffer(c, from, bytes, "source")) return code;
    ++p->under_way;
    memset(to, POISON, bytes);
    return later(*s, [=] {
      --p->under_way;
      const unsigned char *target = static_cast<const unsigned char *>(to);
      bool poison = true;
      for (size_t i = 0; i < bytes; ++i) poison &= target[i] == POISON;
      memcpy(to, reinterpret_cast<const void *>(from), bytes);
      return poison ? SUCCESS : wrong(LAUNCH_FAILED, "pinned memory was written while a copy to it was under way");
    });
  });
}
EXPORT cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
  return inside("cuMemcpyDtoDAsync_v2", [&](Context &c) -> int {
    Stream *s = find(c.streams, stream);
    if (!s) return unknown("stream", stream);
    if (Code code = in_buffer(c, to, bytes, "destination")) return code;
    if (Code code = in_buffer(c, from, bytes, "source")) return code;
    if (to < from + bytes && from < to + bytes) return wrong(INVALID_VALUE, "source and destination overlap");
    return later(*s, [=] { return memcpy(reinterpret_cast<void *>(to), reinterpret_cast<const void *>(from), bytes), SUCCESS; });
  });
}
EXPORT cuMemsetD8Async(uint64_t to, unsigned char value, size_t count, void *stream) {
  return inside("cuMemsetD8Async", [&](Context &c) { return fill(c, to, value, count, stream); });
}
EXPORT cuMemsetD32Async(uint64_t to, unsigned value, size_t count, void *stream) {
  return inside("cuMemsetD32Async", [&](Context &c) { return fill(c, to, value, count, stream); });
}

// Kernels.

EXPORT cuModuleLoadData(void **module, const void *image) {
  return inside("cuModuleLoadData", [&](Context &c) -> int {
    const char *family = nullptr;
    if (Code code = read_image(image, family)) return code;
    const uint64_t handle = new_handle();
    c.modules[handle] = family;
    *module = reinterpret_cast<void *>(handle);
    return SUCCESS;
  });
}
EXPORT cuModuleUnload(void *module) {
  return inside("cuModuleUnload", [&](Context &c) -> int {
    if (!find(c.modules, module)) return unknown("module", module);
    for (const auto &[handle, s] : c.streams)
      for (const Work &work : s.queue)
        if (strcmp(work.call, "cuLaunchKernel") == 0) return wrong(INVALID_VALUE, "kernels are under way");
    c.modules.erase(reinterpret_cast<uint64_t>(module));
    for (auto at = c.functions.begin(); at != c.functions.end();)
      at = at->second.module == reinterpret_cast<uint64_t>(module) ? c.functions.erase(at) : std::next(at);
    return SUCCESS;
  });
}
EXPORT cuModuleGetFunction(void **function, void *module, const char *name) {
  return inside("cuModuleGetFunction", [&](Context &c) -> int {
    const char **family = find(c.modules, module);
    if (!family) return unknown("module", module);
    for (const Entry &entry : ENTRIES) {
      if (!entry.name || strcmp(entry.name, name) != 0 || strcmp(entry.family, *family) != 0) continue;
      Function f = {reinterpret_cast<uint64_t>(module), &entry, {}, WITHOUT_ASKING};
      entry.body(reinterpret_cast<void **>(&f.takes));
      const uint64_t handle = new_handle();
      c.functions[handle] = f;
      *function = reinterpret_cast<void *>(handle);
      return SUCCESS;
    }
    return NOT_FOUND;
  });
}
EXPORT cuFuncSetAttribute(void *function, int attribute, int value) {
  return inside("cuFuncSetAttribute", [&](Context &c) -> int {
    Function *f = find(c.functions, function);
    if (!f) return unknown("function", function);
    if (attribute != 8) return wrong(INVALID_VALUE, "attribute %d is not known here", attribute);
    if (value < 0 || value > most_shared()) return wrong(INVALID_VALUE, "expected at most %d bytes of shared memory, got %d", most_shared(), value);
    return f->shared = static_cast<size_t>(value), SUCCESS;
  });
}
EXPORT cuFuncGetAttribute(int *value, int attribute, void *function) {
  return inside("cuFuncGetAttribute", [&](Context &c) -> int {
    const Function *f = find(c.functions, function);
    if (!f) return unknown("function", function);
    switch (attribute) {
      case 0: return *value = static_cast<int>(f->takes.threads), SUCCESS;
      case 1: return *value = 0, SUCCESS;  // static shared memory
      case 8: return *value = static_cast<int>(f->shared), SUCCESS;
      default: return wrong(INVALID_VALUE, "attribute %d is not known here", attribute);
    }
  });
}
EXPORT cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *stream, void **arguments, void **extra) {
  return inside("cuLaunchKernel", [&](Context &c) -> int {
    Stream *s = find(c.streams, stream);
    if (!s) return unknown("stream", stream);
    const Function *f = find(c.functions, function);
    if (!f) return unknown("function", function);
    const char *name = f->entry->name;
    if (extra) return wrong(INVALID_VALUE, "%s: expected arguments one by one", name);
    if (gx == 0 || gx > 0x7fffffffu || gy == 0 || gy > 65535 || gz == 0 || gz > 65535) return wrong(INVALID_VALUE, "%s: grid %u, %u, %u", name, gx, gy, gz);
    const uint64_t threads = uint64_t{bx} * by * bz;
    if (threads == 0 || threads > f->takes.threads) return wrong(INVALID_VALUE, "%s: expected 1 to %u threads a block, got %lu", name, f->takes.threads, threads);
    if (shared > f->shared) return wrong(INVALID_VALUE, "%s: expected at most %zu bytes of shared memory, got %u", name, f->shared, shared);
    // The values are taken now: the caller's may be gone when the kernel runs.
    std::vector<std::vector<char>> values;
    for (uint32_t i = 0; i < f->takes.count; ++i) {
      const char *value = static_cast<const char *>(arguments[i]);
      values.emplace_back(value, value + f->takes.bytes[i]);
    }
    // Each launch has another order of threads.
    const uint64_t seed = c.launches++;
    return later(*s, [=, entry = f->entry, values = std::move(values)]() mutable {
      std::vector<void *> pointers;
      for (auto &value : values) pointers.push_back(value.data());
      const uint32_t grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
      char words[1024];
      const int failed = engine_emulator_launch(entry->name, entry->body, grid, block, shared, pointers.data(), seed, words, sizeof words);
      const bool address = strstr(words, ": memory: ") != nullptr;
      return failed ? wrong(address ? ILLEGAL_ADDRESS : LAUNCH_FAILED, "%s", words) : SUCCESS;
    });
  });
}

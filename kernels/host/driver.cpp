// A stand-in for libcuda.so.1, for tests: the part of the CUDA driver API that
// engine/device/cuda/real.rs calls, on host memory, with kernels run by the emulator. It is a
// stricter judge than a driver:
//   late     what a stream is asked for happens when somebody waits for it and no sooner, in order:
//            pinned memory is read then and compared with what it held when the copy was asked for;
//            the target of a copy to the host is poison until then
//   exact    a handle is known, alive and of the current context; a range lies in one buffer; a
//            buffer is freed once; whatever is in a buffer's room beyond its bytes stays as it was;
//            a freed buffer's pages may not be touched
//   counted  when the context goes, everything made in it must have gone before
// What a program did wrong is refused with a driver's code and said on standard error in a line
// that begins with "stand-in:". What the machine cannot do (no memory, no device …) is refused with
// the code alone.
//
// What it pretends to be, by environment, with ENGINE_STAND_IN_ before each name:
//   DEVICES=1  CAPABILITY=8.0  MEMORY=bytes  INIT_FAILS=code  DRIVER_TOO_OLD=1
//   VERSION=13000                what cuDriverGetVersion answers
//   PARAMETERS="blend_f32 28"    says of a kernel that it takes so many bytes
//   FAILS="cuMemHostAlloc 3 2"   the third call of that function ends with code 2
//   BREAKS="blend_f32 3 700"     the third launch of that kernel ends with code 700 when it runs,
//                                and with it everything after
//   CALLS=file                   receives how often each function was called, when the process ends
#include "driver.h"

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
  return api("cuGetErrorName",
             [&] { return say_error(code, words, [](const Words &w) { return w.name; }); });
}
EXPORT cuGetErrorString(int code, const char **words) {
  return api("cuGetErrorString",
             [&] { return say_error(code, words, [](const Words &w) { return w.text; }); });
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
  return api("cuDriverGetVersion",
             [&] { return *version = static_cast<int>(pretend("VERSION", 13000)), SUCCESS; });
}
EXPORT cuDeviceGetCount(int *count) {
  return started("cuDeviceGetCount",
                 [&] { return *count = static_cast<int>(pretend("DEVICES", 1)), SUCCESS; });
}
EXPORT cuDeviceGet(int *device, int ordinal) {
  return of_device("cuDeviceGet", ordinal, [&] { return *device = ordinal, SUCCESS; });
}
EXPORT cuDeviceGetName(char *name, int length, int device) {
  return of_device("cuDeviceGetName", device, [&] {
    return snprintf(name, static_cast<size_t>(length), "Stand-in"), SUCCESS;
  });
}
EXPORT cuDeviceTotalMem_v2(size_t *bytes, int device) {
  return of_device("cuDeviceTotalMem_v2", device, [&] { return *bytes = total_memory(), SUCCESS; });
}
EXPORT cuDeviceGetAttribute(int *value, int attribute, int device) {
  return of_device("cuDeviceGetAttribute", device, [&]() -> int {
    switch (attribute) {
      case 1: return *value = 1024, SUCCESS;            // threads a block
      case 8: return *value = WITHOUT_ASKING, SUCCESS;  // shared memory a block
      case 10: return *value = 32, SUCCESS;             // warp
      case 16: return *value = PROCESSORS, SUCCESS;
      case 75: return *value = capability() / 10, SUCCESS;
      case 76: return *value = capability() % 10, SUCCESS;
      case 97: return *value = most_shared(), SUCCESS;  // shared memory a block, if asked for
      case 115: return *value = 1, SUCCESS;             // memory pools
      default: return wrong(INVALID_VALUE, "attribute %d is not known here", attribute);
    }
  });
}
EXPORT cuDevicePrimaryCtxRetain(void **context, int device) {
  return of_device("cuDevicePrimaryCtxRetain", device, [&] {
    for (auto &[handle, c] : machine.contexts)
      if (c->device == device)
        return ++c->holders, *context = reinterpret_cast<void *>(handle), SUCCESS;
    const uint64_t handle = new_handle();
    machine.contexts[handle].reset(new Context(device));
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
    if (context && !machine.contexts.count(handle))
      return wrong(INVALID_CONTEXT, "%p is no context, or was released", context);
    current_context = handle;
    return SUCCESS;
  });
}
EXPORT cuCtxGetCurrent(void **context) {
  return started("cuCtxGetCurrent",
                 [&] { return *context = reinterpret_cast<void *>(current_context), SUCCESS; });
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
  c.buffers[ *address = b.room.address()] = b;
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
    if (found == c.buffers.end() || found->second.freed)
      return wrong(INVALID_VALUE, "%#lx is no buffer, or was freed before", address);
    if (found->second.stream)
      return wrong(INVALID_VALUE, "%#lx is of the pool: expected cuMemFreeAsync", address);
    if (Code code = run_all(c)) return code;
    c.others -= found->second.room.bytes;
    return bury(c, address);
  });
}
/// The pool is as unhelpful as one may be: freed memory serves again for the same size alone, until
/// it is trimmed.
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
    if (!b || b->freed)
      return wrong(INVALID_VALUE, "%#lx is no buffer, or was freed before", address);
    if (b->stream != reinterpret_cast<uint64_t>(stream))
      return wrong(INVALID_VALUE, "%#lx is not of the pool and this stream", address);
    b->freed = true;
    c.pool_used -= b->room.bytes;
    later(*s, [&c, address] { return bury(c, address); });
    c.idle.insert({b->room.bytes, {b->stream, s->asked}});
    return SUCCESS;
  });
}
EXPORT cuMemGetInfo_v2(size_t *free, size_t *total) {
  return inside("cuMemGetInfo_v2", [&](Context &c) {
    return *free = free_memory(c), *total = total_memory(), SUCCESS;
  });
}
/// The pool of device N is N + 1.
EXPORT cuDeviceGetDefaultMemPool(void **pool, int device) {
  return of_device("cuDeviceGetDefaultMemPool", device,
                   [&] { return *pool = reinterpret_cast<void *>(uint64_t(device) + 1), SUCCESS; });
}
template <class Body>
static int of_pool(const char *name, void *pool, Body body) {
  return inside(name, [&](Context &c) -> int {
    return reinterpret_cast<uint64_t>(pool) == uint64_t(c.device) + 1
               ? body(c)
               : unknown("memory pool", pool);
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
    if (p->under_way)
      return wrong(INVALID_VALUE, "%d copies of this memory are under way", p->under_way);
    munmap(p->room.map, p->room.pages + 2 * PAGE);
    c.pinned.erase(reinterpret_cast<uint64_t>(memory));
    return SUCCESS;
  });
}

// Copies. Those from and to the host are of pinned memory: no other is read or written behind the
// caller's back.

EXPORT cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
  return inside("cuMemcpyHtoDAsync_v2", [&](Context &c) -> int {
    Stream *s = find(c.streams, stream);
    if (!s) return unknown("stream", stream);
    Pinned *p = holder(c.pinned, reinterpret_cast<uint64_t>(from), bytes);
    if (!p)
      return wrong(INVALID_VALUE, "source: %zu bytes at %p are not in one piece of pinned memory",
                   bytes, from);
    if (Code code = in_buffer(c, to, bytes, "destination")) return code;
    ++p->under_way;
    const char *source = static_cast<const char *>(from);
    return later(*s, [=, then = std::vector<char>(source, source + bytes)] {
      --p->under_way;
      memcpy(reinterpret_cast<void *>(to), source, bytes);
      return memcmp(source, then.data(), bytes) == 0
                 ? SUCCESS
                 : wrong(LAUNCH_FAILED, "pinned memory was written while it was being copied");
    });
  });
}
EXPORT cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
  return inside("cuMemcpyDtoHAsync_v2", [&](Context &c) -> int {
    Stream *s = find(c.streams, stream);
    if (!s) return unknown("stream", stream);
    Pinned *p = holder(c.pinned, reinterpret_cast<uint64_t>(to), bytes);
    if (!p)
      return wrong(INVALID_VALUE,
                   "destination: %zu bytes at %p are not in one piece of pinned memory", bytes, to);
    if (Code code = in_buffer(c, from, bytes, "source")) return code;
    ++p->under_way;
    memset(to, POISON, bytes);
    return later(*s, [=] {
      --p->under_way;
      const unsigned char *target = static_cast<const unsigned char *>(to);
      bool poison = true;
      for (size_t i = 0; i < bytes; ++i) poison &= target[i] == POISON;
      memcpy(to, reinterpret_cast<const void *>(from), bytes);
      return poison ? SUCCESS
                    : wrong(LAUNCH_FAILED,
                            "pinned memory was written while a copy to it was under way");
    });
  });
}
EXPORT cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
  return inside("cuMemcpyDtoDAsync_v2", [&](Context &c) -> int {
    Stream *s = find(c.streams, stream);
    if (!s) return unknown("stream", stream);
    if (Code code = in_buffer(c, to, bytes, "destination")) return code;
    if (Code code = in_buffer(c, from, bytes, "source")) return code;
    if (to < from + bytes && from < to + bytes)
      return wrong(INVALID_VALUE, "source and destination overlap");
    return later(*s, [=] {
      return memcpy(reinterpret_cast<void *>(to), reinterpret_cast<const void *>(from), bytes),
             SUCCESS;
    });
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
        if (strcmp(work.call, "cuLaunchKernel") == 0)
          return wrong(INVALID_VALUE, "kernels are under way");
    c.modules.erase(reinterpret_cast<uint64_t>(module));
    for (auto at = c.functions.begin(); at != c.functions.end();)
      at = at->second.module == reinterpret_cast<uint64_t>(module) ? c.functions.erase(at)
                                                                   : std::next(at);
    return SUCCESS;
  });
}
EXPORT cuModuleGetFunction(void **function, void *module, const char *name) {
  return inside("cuModuleGetFunction", [&](Context &c) -> int {
    const char **family = find(c.modules, module);
    if (!family) return unknown("module", module);
    for (const Entry &entry : ENTRIES) {
      if (!entry.name || strcmp(entry.name, name) != 0 || strcmp(entry.family, *family) != 0)
        continue;
      Function f = {reinterpret_cast<uint64_t>(module), &entry, {}, WITHOUT_ASKING, -1};
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
    if (attribute == 9) {
      if (value < -1 || value > 100)
        return wrong(INVALID_VALUE, "expected -1 to 100 per cent, got %d", value);
      return f->share = value, SUCCESS;
    }
    if (attribute != 8) return wrong(INVALID_VALUE, "attribute %d is not known here", attribute);
    if (value < 0 || value > most_shared())
      return wrong(INVALID_VALUE, "expected at most %d bytes of shared memory, got %d",
                   most_shared(), value);
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
EXPORT cuFuncGetParamInfo(void *function, size_t index, size_t *offset, size_t *bytes) {
  return inside("cuFuncGetParamInfo", [&](Context &c) -> int {
    const Function *f = find(c.functions, function);
    if (!f) return unknown("function", function);
    if (index >= f->takes.count) return INVALID_VALUE;
    *offset = 0;
    for (size_t i = 0; i <= index; ++i) {
      // A parameter stands at a multiple of its alignment; what is larger than a word has that of
      // one.
      *bytes = f->takes.bytes[i];
      const size_t alignment = *bytes < 8 ? *bytes : 8;
      *offset = (*offset + alignment - 1) / alignment * alignment;
      if (i < index) *offset += *bytes;
    }
    if (const char *value = getenv("ENGINE_STAND_IN_PARAMETERS")) {
      char which[64] = {};
      unsigned long long other = 0;
      if (sscanf(value, "%63s %llu", which, &other) == 2 && strcmp(which, f->entry->name) == 0)
        *bytes = other;
    }
    return SUCCESS;
  });
}
/// How the launch of a kernel that was just asked for is to end.
static Code broken(Context &c, const char *name) {
  char which[64] = {};
  unsigned long long number = 0;
  int code = 0;
  const char *breaks = getenv("ENGINE_STAND_IN_BREAKS");
  if (!breaks || sscanf(breaks, "%63s %llu %d", which, &number, &code) != 3 ||
      strcmp(which, name) != 0)
    return SUCCESS;
  return ++c.of_broken == number ? static_cast<Code>(code) : SUCCESS;
}
EXPORT cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                      unsigned by, unsigned bz, unsigned shared, void *stream, void **arguments,
                      void **extra) {
  return inside("cuLaunchKernel", [&](Context &c) -> int {
    Stream *s = find(c.streams, stream);
    if (!s) return unknown("stream", stream);
    const Function *f = find(c.functions, function);
    if (!f) return unknown("function", function);
    const char *name = f->entry->name;
    if (extra) return wrong(INVALID_VALUE, "%s: expected arguments one by one", name);
    if (gx == 0 || gx > 0x7fffffffu || gy == 0 || gy > 65535 || gz == 0 || gz > 65535)
      return wrong(INVALID_VALUE, "%s: grid %u, %u, %u", name, gx, gy, gz);
    const uint64_t threads = uint64_t{bx} * by * bz;
    if (threads == 0 || threads > f->takes.threads)
      return wrong(INVALID_VALUE, "%s: expected 1 to %u threads a block, got %lu", name,
                   f->takes.threads, threads);
    if (shared > f->shared)
      return wrong(INVALID_VALUE, "%s: expected at most %zu bytes of shared memory, got %u", name,
                   f->shared, shared);
    if (shared >= WITHOUT_ASKING && f->share != 100)
      return wrong(INVALID_VALUE,
                   "%s: %u bytes of shared memory: expected that it is preferred to cache, got %d "
                   "per cent",
                   name, shared, f->share);
    // The values are taken now: the caller's may be gone when the kernel runs.
    std::vector<std::vector<char>> values;
    for (uint32_t i = 0; i < f->takes.count; ++i) {
      const char *value = static_cast<const char *>(arguments[i]);
      values.emplace_back(value, value + f->takes.bytes[i]);
    }
    // Each launch has another order of threads.
    const uint64_t seed = c.launches++;
    const Code breaks = broken(c, name);
    return later(*s, [=, entry = f->entry, values = std::move(values)]() mutable {
      if (breaks) return breaks;
      std::vector<void *> pointers;
      for (auto &value : values) pointers.push_back(value.data());
      const uint32_t grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
      char words[1024];
      const int failed = engine_emulator_launch(entry->name, entry->body, grid, block, shared,
                                                pointers.data(), seed, words, sizeof words);
      const bool address = strstr(words, ": memory: ") != nullptr;
      return failed ? wrong(address ? ILLEGAL_ADDRESS : LAUNCH_FAILED, "%s", words) : SUCCESS;
    });
  });
}

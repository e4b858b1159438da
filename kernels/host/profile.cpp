// Counts requests of warps: see profile.h. Rules of the memories are those of sm_80 and sm_90 as
// NVIDIA documents them and its profiler shows them.
#include "profile.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <deque>
#include <dlfcn.h>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace profile {
namespace {

constexpr uint32_t WARP = 32, EVERY_LANE = 0xffffffffu;
constexpr uint64_t SECTOR = 32, LINE = 128, PAGE = 4096, BANKS = 32;

/// What the lanes of a warp do at one place for the n-th time.
struct Request {
  uint32_t lanes = 0, bytes = 0, round = 0;
  uint64_t at[WARP];
};

/// Requests of one warp at one place that not all lanes have made yet.
struct Window {
  uint32_t first = 0;  // what number the front is
  std::deque<Request> open;
};

struct Site {
  uint64_t at;
  Way way;
  bool in_shared;
  uint32_t bytes = 0;
  uint64_t requests = 0, moved = 0, ideal = 0;
  std::vector<uint32_t> times;  // by thread of the block
  std::vector<Window> windows;  // by warp
};

/// Which sectors of a page were touched.
struct Sectors {
  uint64_t bits[PAGE / SECTOR / 64] = {};
};

struct Buffer {
  uint64_t address, end;
  std::unordered_map<uint64_t, Sectors> read, written;
};

struct Recording {
  Counts counts = {};
  std::vector<Buffer> buffers;  // by address
  uint64_t sample = 0;
  std::unordered_map<uint64_t, uint32_t> numbers;  // of sites
  std::vector<std::unique_ptr<Site>> sites;
  uint64_t shared = 0, shared_end = 0;
  uint32_t threads = 0;
  std::vector<uint8_t> waits;    // whether a thread has loads under way
  std::vector<uint32_t> rounds;  // of a thread
  // By warp: round and sector of what was loaded.
  std::vector<std::unordered_set<uint64_t>> loaded;
  size_t last_buffer = 0;
  uint64_t barrier_arrivals = 0;
};

// Of this thread of the operating system, as the emulator's machine is. Null: nothing is counted.
__thread Recording *recording = nullptr;

/// The buffer that holds an address, or none.
Buffer *buffer_of(Recording &r, uint64_t at) {
  if (r.last_buffer < r.buffers.size()) {
    Buffer &last = r.buffers[r.last_buffer];
    if (at >= last.address && at < last.end) return &last;
  }
  const auto after = std::upper_bound(r.buffers.begin(), r.buffers.end(), at,
                                      [](uint64_t x, const Buffer &b) { return x < b.address; });
  if (after == r.buffers.begin()) return nullptr;
  Buffer &found = *(after - 1);
  if (at >= found.end) return nullptr;
  r.last_buffer = static_cast<size_t>(&found - r.buffers.data());
  return &found;
}

/// The words that lanes want of each bank, each once.
struct Banks {
  uint32_t count[BANKS] = {}, words = 0, steps = 0;
  uint32_t word[BANKS][WARP];

  void add(uint64_t at) {
    const uint32_t x = uint32_t(at);
    const uint32_t bank = x % BANKS;
    for (uint32_t i = 0; i < count[bank]; ++i)
      if (word[bank][i] == x) return;
    word[bank][count[bank]++] = x;
    ++words;
    steps = std::max(steps, count[bank]);
  }
};

/// What two lanes want of one bank is one after the other, unless it is the same word. Sixteen
/// bytes a lane go by quarters of a warp, eight by halves: a step each without a conflict. A part
/// that needs no steps beside those of the parts before it goes with them (a broadcast of sixteen
/// bytes is one step and not four); the four matrices of an ldmatrix are always apart.
void count_shared(const Recording &r, const Request &request, bool apart, uint64_t &steps,
                  uint64_t &ideal) {
  const uint32_t lanes = request.bytes >= 16 ? 8 : request.bytes == 8 ? 16 : 32;
  const auto add = [&](Banks &banks, uint32_t begin) {
    for (uint32_t lane = begin; lane < begin + lanes; ++lane) {
      if (!(request.lanes >> lane & 1)) continue;
      const uint64_t first = (request.at[lane] - r.shared) / 4,
                     last = (request.at[lane] + request.bytes - 1 - r.shared) / 4;
      for (uint64_t word = first; word <= last; ++word) banks.add(word);
    }
  };
  Banks all, open;
  for (uint32_t begin = 0; begin < WARP; begin += lanes) {
    Banks part, both = open;
    add(all, begin);
    add(part, begin);
    add(both, begin);
    if (!apart && open.words > 0 && both.steps == std::max(open.steps, part.steps)) {
      open = both;
      continue;
    }
    steps += open.steps;
    open = part;
  }
  steps += open.steps;
  ideal += apart ? WARP / 8 : (all.words + BANKS - 1) / BANKS;
}

void touch(std::unordered_map<uint64_t, Sectors> &pages, uint64_t sector) {
  const uint64_t in_page = sector % (PAGE / SECTOR);
  pages[sector / (PAGE / SECTOR)].bits[in_page / 64] |= uint64_t{1} << in_page % 64;
}

/// Counts what was touched.
void sum_up(const std::unordered_map<uint64_t, Sectors> &pages, uint64_t &count, uint64_t &from,
            uint64_t &to) {
  from = ~uint64_t{0};
  for (const auto &[page, sectors] : pages) {
    for (uint64_t s = 0; s < PAGE / SECTOR; ++s) {
      if (!(sectors.bits[s / 64] >> s % 64 & 1)) continue;
      ++count;
      from = std::min(from, page * PAGE + s * SECTOR);
      to = std::max(to, page * PAGE + (s + 1) * SECTOR);
    }
  }
  if (count == 0) from = 0;
}

/// Sectors and lines of a request, and how many sectors as many bytes in one piece from the lowest
/// address on have: where a row begins is the caller's matter, how lanes share it the kernel's.
void count_global(Recording &r, const Request &request, Way way, uint32_t warp, uint64_t &sectors,
                  uint64_t &ideal) {
  const bool writes = way == STORE;
  std::pair<uint64_t, uint64_t> spans[WARP];
  uint32_t count = 0;
  for (uint32_t lane = 0; lane < WARP; ++lane)
    if (request.lanes >> lane & 1)
      spans[count++] = {request.at[lane], request.at[lane] + request.bytes};
  std::sort(spans, spans + count);
  uint64_t bytes = 0, end = 0, next_sector = 0, next_line = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const auto [from, to] = spans[i];
    bytes += to > end ? to - std::max(from, end) : 0;
    end = std::max(end, to);
    for (uint64_t s = std::max(from / SECTOR, next_sector); s <= (to - 1) / SECTOR; ++s) {
      next_sector = s + 1;
      if (way != LOAD || r.loaded[warp].insert(uint64_t(request.round) << 40 ^ s).second) ++sectors;
      if (Buffer *buffer = buffer_of(r, std::max(from, s * SECTOR)))
        touch(writes ? buffer->written : buffer->read, s);
    }
    for (uint64_t l = std::max(from / LINE, next_line); l <= (to - 1) / LINE; ++l) {
      ++r.counts.lines;
      next_line = l + 1;
    }
  }
  const uint64_t begin = spans[0].first % SECTOR;
  ideal += (begin + bytes + SECTOR - 1) / SECTOR;
}

void count(Recording &r, Site &site, const Request &request, uint32_t warp) {
  Counts &c = r.counts;
  if (site.way == EXPONENTIAL) return void(++c.exponentials);
  if (site.way == SPECIAL) return void(++c.specials);
  if (site.way == COPY_TO) ++c.copies;
  site.bytes = std::max(site.bytes, request.bytes);
  ++site.requests;
  uint64_t moved = 0, ideal = 0;
  if (site.in_shared) {
    count_shared(r, request, site.way == LDMATRIX, moved, ideal);
    const uint32_t kind = site.way == LDMATRIX  ? 0
                          : site.way == COPY_TO ? 1
                          : site.way == LOAD    ? 2
                                                : 3;
    c.wavefronts[kind] += moved;
    c.wavefronts_ideal[kind] += ideal;
    if (site.way == LOAD) ++c.shared_loads;
    if (site.way == STORE) ++c.shared_stores;
  } else {
    count_global(r, request, site.way, warp, moved, ideal);
    const uint32_t kind = site.way == COPY_FROM ? 0 : site.way == LOAD ? 1 : 2;
    c.sectors[kind] += moved;
    c.sectors_ideal[kind] += ideal;
    if (site.way == LOAD) ++c.loads;
    if (site.way == STORE) ++c.stores;
  }
  site.moved += moved;
  site.ideal += ideal;
}

Site &site_of(Recording &r, uint64_t at, Way way, bool in_shared) {
  const uint64_t key = at << 4 | uint64_t(way) << 1 | uint64_t(in_shared);
  const auto [found, is_new] = r.numbers.try_emplace(key, uint32_t(r.sites.size()));
  if (is_new) {
    r.sites.emplace_back(new Site{at, way, in_shared});
    r.sites.back()->times.resize(r.threads);
    r.sites.back()->windows.resize(r.threads / WARP);
  }
  return *r.sites[found->second];
}

/// The calling thread has used what it loaded.
void uses(Recording &r, uint32_t thread) {
  r.rounds[thread] += r.waits[thread];
  r.waits[thread] = 0;
}

void note(Recording &r, Way way, bool in_shared, uint64_t at, uint32_t bytes, uint64_t place) {
  const uint32_t thread = emulator::self().number, lane = thread % WARP;
  Site &site = site_of(r, place, way, in_shared);
  if (way == STORE) uses(r, thread);
  if (way == LOAD && !in_shared) r.waits[thread] = 1;
  Window &window = site.windows[thread / WARP];
  const uint32_t place_in = site.times[thread]++ - window.first;
  if (place_in >= window.open.size()) window.open.resize(place_in + 1);
  Request &request = window.open[place_in];
  if (request.lanes == 0) request.round = r.rounds[thread];
  request.lanes |= 1u << lane;
  request.bytes = std::max(request.bytes, bytes);
  request.at[lane] = at;
  while (!window.open.empty() && window.open.front().lanes == EVERY_LANE) {
    count(r, site, window.open.front(), thread / WARP);
    window.open.pop_front();
    ++window.first;
  }
}

void access(Way way, const void *address, uint32_t bytes, const void *site) {
  Recording *r = recording;
  if (!r || !emulator::current) return;
  const uint64_t at = reinterpret_cast<uint64_t>(address);
  const bool in_shared = at >= r->shared && at < r->shared_end;
  if (in_shared || buffer_of(*r, at))
    note(*r, way, in_shared, at, bytes, reinterpret_cast<uint64_t>(site));
}

uint64_t kind_number(const char *kind) { return uint64_t(kind[0]) << 8 | uint64_t(kind[1]); }

constexpr uint64_t named(const char *kind) { return uint64_t(kind[0]) << 8 | uint64_t(kind[1]); }

}  // namespace

bool takes(uint64_t block, uint64_t blocks) {
  const Recording *r = recording;
  if (!r || r->sample == 0 || r->sample >= blocks) return true;
  // Evenly, the middle of each part: costly blocks come first.
  const uint64_t part = block * r->sample / blocks;
  return block == (2 * part + 1) * blocks / (2 * r->sample);
}

void begin_block(const void *shared, size_t bytes, uint32_t threads) {
  Recording *r = recording;
  if (!r) return;
  r->shared = reinterpret_cast<uint64_t>(shared);
  r->shared_end = r->shared + bytes;
  r->threads = threads;
  r->waits.assign(threads, 0);
  r->rounds.assign(threads, 0);
  r->loaded.assign(threads / WARP, {});
  ++r->counts.blocks;
  r->counts.warps += threads / WARP;
}

void end_block() {
  Recording *r = recording;
  if (!r) return;
  for (auto &site : r->sites) {
    for (uint32_t warp = 0; warp < site->windows.size(); ++warp) {
      Window &window = site->windows[warp];
      for (const Request &request : window.open)
        if (request.lanes) count(*r, *site, request, warp);
      window.open.clear();
      window.first = 0;
    }
    std::fill(site->times.begin(), site->times.end(), 0);
  }
  for (uint32_t thread = 0; thread < r->threads; ++thread) {
    uses(*r, thread);
    r->counts.rounds = std::max<uint64_t>(r->counts.rounds, r->rounds[thread]);
  }
}

void comes(const char *kind, const void *brings, const void *site) {
  Recording *r = recording;
  if (!r) return;
  uses(*r, emulator::self().number);
  if (kind_number(kind) == named("ldmatrix"))
    note(*r, LDMATRIX, true, reinterpret_cast<uint64_t>(brings), 16,
         reinterpret_cast<uint64_t>(site));
}

void met(const char *kind) {
  Recording *r = recording;
  if (!r) return;
  switch (kind_number(kind)) {
    case named("mma"): ++r->counts.mma; break;
    case named("ldmatrix"): ++r->counts.ldmatrix; break;
    case named("__syncwarp"): break;
    default: ++r->counts.shuffles;
  }
}

void comes_to_barrier() {
  Recording *r = recording;
  if (!r) return;
  const uint32_t thread = emulator::self().number;
  uses(*r, thread);
  if (thread % WARP == 0) ++r->counts.barriers;
}

void computes(Way way, const void *site) {
  Recording *r = recording;
  if (!r || !emulator::current) return;
  note(*r, way, false, 0, 0, reinterpret_cast<uint64_t>(site));
}

void copies(const void *to, const void *from, int bytes, int bytes_read, const void *site) {
  Recording *r = recording;
  if (!r) return;
  const uint64_t place = reinterpret_cast<uint64_t>(site);
  note(*r, COPY_TO, true, reinterpret_cast<uint64_t>(to), uint32_t(bytes), place);
  if (bytes_read > 0)
    note(*r, COPY_FROM, false, reinterpret_cast<uint64_t>(from), uint32_t(bytes_read), place);
}

}  // namespace profile

// What the compiler calls for every access.
#define ACCESS(bytes)                                                       \
  extern "C" void __tsan_read##bytes(void *p) {                             \
    profile::access(profile::LOAD, p, bytes, __builtin_return_address(0));  \
  }                                                                         \
  extern "C" void __tsan_write##bytes(void *p) {                            \
    profile::access(profile::STORE, p, bytes, __builtin_return_address(0)); \
  }
#define WIDE_ACCESS(bytes)                                                  \
  ACCESS(bytes)                                                             \
  extern "C" void __tsan_unaligned_read##bytes(void *p) {                   \
    profile::access(profile::LOAD, p, bytes, __builtin_return_address(0));  \
  }                                                                         \
  extern "C" void __tsan_unaligned_write##bytes(void *p) {                  \
    profile::access(profile::STORE, p, bytes, __builtin_return_address(0)); \
  }
ACCESS(1)
WIDE_ACCESS(2)
WIDE_ACCESS(4)
WIDE_ACCESS(8)
WIDE_ACCESS(16)
extern "C" void __tsan_read_range(void *p, size_t bytes) {
  profile::access(profile::LOAD, p, uint32_t(bytes), __builtin_return_address(0));
}
extern "C" void __tsan_write_range(void *p, size_t bytes) {
  profile::access(profile::STORE, p, uint32_t(bytes), __builtin_return_address(0));
}
extern "C" void __tsan_init() {}

// Functions of the mathematical library that a GPU makes on its special-function unit; the linker
// sends their calls here (--wrap).
#define SPECIAL_FUNCTION(name, way)                               \
  extern "C" float __real_##name(float);                          \
  extern "C" float __wrap_##name(float x) {                       \
    profile::computes(profile::way, __builtin_return_address(0)); \
    return __real_##name(x);                                      \
  }
SPECIAL_FUNCTION(exp2f, EXPONENTIAL)
SPECIAL_FUNCTION(expf, EXPONENTIAL)
SPECIAL_FUNCTION(tanhf, SPECIAL)
SPECIAL_FUNCTION(erff, SPECIAL)
SPECIAL_FUNCTION(logf, SPECIAL)

extern "C" int engine_emulator_launch(const char *kernel, void (*entry)(void **),
                                      const uint32_t grid[3], const uint32_t block[3],
                                      size_t shared_bytes, void **arguments, uint64_t seed,
                                      char *words, size_t words_bytes);

/// What engine_profile_launch is asked for and finds. `buffers` are by address.
struct Profile {
  const uint64_t (*buffers)[2];  // address and bytes
  uint64_t buffers_count, sample;
  profile::Counts counts;
  profile::Touched *touched;  // as many as buffers
  profile::Place *places;
  uint64_t places_room, places_count;
};

/// engine_emulator_launch, counted. `sample`: how many of the blocks run; 0 is all.
extern "C" int engine_profile_launch(const char *kernel, void (*entry)(void **),
                                     const uint32_t grid[3], const uint32_t block[3],
                                     size_t shared_bytes, void **arguments, uint64_t seed,
                                     char *words, size_t words_bytes, Profile *profile) {
  using namespace profile;
  Recording own;
  own.sample = profile->sample;
  for (uint64_t i = 0; i < profile->buffers_count; ++i) {
    const auto [address, bytes] = profile->buffers[i];
    own.buffers.push_back(Buffer{address, address + bytes, {}, {}});
  }
  recording = &own;
  const int failed = engine_emulator_launch(kernel, entry, grid, block, shared_bytes, arguments,
                                            seed, words, words_bytes);
  recording = nullptr;
  profile->counts = own.counts;
  for (uint64_t i = 0; i < profile->buffers_count; ++i) {
    const Buffer &buffer = own.buffers[i];
    Touched &t = profile->touched[i];
    t = {buffer.address, buffer.end - buffer.address};
    sum_up(buffer.read, t.read, t.read_from, t.read_to);
    sum_up(buffer.written, t.written, t.written_from, t.written_to);
  }
  Dl_info library = {};
  dladdr(reinterpret_cast<const void *>(&engine_profile_launch), &library);
  for (const auto &site : own.sites) {
    if (site->way == EXPONENTIAL || site->way == SPECIAL) continue;
    if (profile->places_count < profile->places_room)
      profile->places[profile->places_count++] = {
          site->at - reinterpret_cast<uint64_t>(library.dli_fbase),
          site->way,
          site->bytes,
          site->in_shared,
          site->requests,
          site->moved,
          site->ideal};
  }
  return failed;
}

// The part of Metal that this project's kernels use, as C++, and a scheduler that runs each thread
// of a threadgroup as a fiber. Threadgroups run one after the other, SIMD groups have 32 lanes.
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

typedef unsigned int uint;

struct uint3 {
  uint x, y, z;
};

struct float3 {
  float x, y, z;
  float3() = default;
  explicit float3(float all) : x(all), y(all), z(all) {}
};
inline float3 operator+(float3 a, float3 b) {
  a.x += b.x, a.y += b.y, a.z += b.z;
  return a;
}

template <typename To, typename From>
To as_type(From from) {
  static_assert(sizeof(To) == sizeof(From), "as_type keeps the size");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

struct bfloat16_t {
  uint16_t bits;
  explicit bfloat16_t(float f) {
    const uint u = as_type<uint>(f);
    bits = f != f ? 0x7fc0 : (u + 0x7fff + (u >> 16 & 1)) >> 16;
  }
  operator float() const { return as_type<float>(uint(bits) << 16); }
};

struct float16_t {
  uint16_t bits;
  explicit float16_t(float f) {  // nearest, ties to even: scaled to where float32 rounds like half
    const uint sign = as_type<uint>(f) >> 16 & 0x8000;
    const float size = std::fabs(f);
    uint half;
    if (f != f) {
      half = 0x7e00;
    } else if (size >= 65520.0f) {
      half = 0x7c00;
    } else if (size < 0x1p-14f) {
      half = uint(std::nearbyint(size * 0x1p24f));
    } else {
      const uint u = as_type<uint>(size);
      half = (u + 0xfff + (u >> 13 & 1) - (112u << 23)) >> 13;
    }
    bits = sign | half;
  }
  operator float() const {
    const uint exponent = bits >> 10 & 31, fraction = bits & 1023;
    float size = exponent == 0    ? std::ldexp(float(fraction), -24)
                 : exponent == 31 ? (fraction ? NAN : INFINITY)
                                  : std::ldexp(float(1024 + fraction), int(exponent) - 25);
    return bits & 0x8000 ? -size : size;
  }
};

#define FLT_MAX 3.40282346638528859812e+38f

// ---- threads --------------------------------------------------------------------------------
namespace run {

enum Status { READY, IN_SIMD, AT_BARRIER, DONE };

struct Fiber {
  jmp_buf where;
  Status status;
  uint index, rounds, awaited;
};

struct Team {  // a SIMD group: what its lanes have handed in, and how many reductions are complete
  alignas(16) char values[32][16], result[2][16];
  uint size, arrived, complete;
};

constexpr uint MOST = 1024, STACK = (64 << 10) + 320;  // not a power of 2: that thrashes caches
Fiber fibers[MOST];
Team teams[MOST / 32];
Fiber* now;
jmp_buf scheduler;
uint3 group, group_size, groups;  // threadgroup's position, threads in it, number of them
void (*kernel)();
char error[200];

struct Region {
  char* start;
  size_t size;
};
std::vector<Region> shared_memory;

void pause(Status status) {
  Fiber* self = now;
  self->status = status;
  if (!_setjmp(self->where)) _longjmp(scheduler, 1);
}

void resume(Fiber& fiber) {
  now = &fiber;
  if (!_setjmp(scheduler)) _longjmp(fiber.where, 1);
}

ucontext_t main_context, fiber_context;

void live(uint index) {
  Fiber* self = &fibers[index];
  if (!_setjmp(self->where)) setcontext(&main_context);
  for (;;) {
    kernel();
    pause(DONE);
  }
}

void make_fibers() {
  static bool made = false;
  if (made) return;
  made = true;
  for (uint i = 0; i < MOST; i++) {
    fibers[i].index = i;
    getcontext(&fiber_context);
    fiber_context.uc_stack.ss_sp = new char[STACK];
    fiber_context.uc_stack.ss_size = STACK;
    fiber_context.uc_link = nullptr;
    makecontext(&fiber_context, (void (*)())live, 1, i);
    swapcontext(&main_context, &fiber_context);
  }
}

bool run_team(Team& team, uint first, std::vector<uint>& lanes) {
  for (bool waiting = true; waiting;) {
    bool moved = false;
    waiting = false;
    for (uint lane : lanes) {
      if (lane >= team.size) continue;
      Fiber& f = fibers[first + lane];
      if (f.status == READY || (f.status == IN_SIMD && f.awaited != team.complete)) {
        resume(f);
        moved = true;
      }
      waiting |= f.status == IN_SIMD;
    }
    if (waiting && !moved) return false;
  }
  return true;
}

// `seed` 0 runs all threads in order, 1 in reverse; others shuffle anew between barriers.
bool run_group(uint threads, uint seed, std::mt19937& random) {
  for (Region& region : shared_memory) memset(region.start, 0xff, region.size);
  std::vector<uint> order((threads + 31) / 32), lanes(32);
  for (uint i = 0; i < order.size(); i++) {
    order[i] = i;
    teams[i].size = std::min(32u, threads - 32 * i);
    teams[i].arrived = teams[i].complete = 0;
  }
  for (uint i = 0; i < 32; i++) lanes[i] = i;
  for (uint i = 0; i < threads; i++) fibers[i].status = READY, fibers[i].rounds = 0;
  if (seed == 1) {
    std::reverse(order.begin(), order.end());
    std::reverse(lanes.begin(), lanes.end());
  }
  for (;;) {
    if (seed > 1) {
      std::shuffle(order.begin(), order.end(), random);
      std::shuffle(lanes.begin(), lanes.end(), random);
    }
    for (uint i : order) {
      if (!run_team(teams[i], 32 * i, lanes)) {
        snprintf(error, sizeof error, "only some lanes of SIMD group %u reach a reduction", i);
        return false;
      }
    }
    uint done = 0;
    for (uint i = 0; i < threads; i++) done += fibers[i].status == DONE;
    if (done == threads) return true;
    if (done) {
      snprintf(error, sizeof error, "a barrier that %u of %u threads do not reach", done, threads);
      return false;
    }
    for (uint i = 0; i < threads; i++) fibers[i].status = READY;
  }
}

template <typename T, typename F>
T reduce(T value, F join) {
  static_assert(sizeof(T) <= 16, "too large");
  Team& team = teams[now->index / 32];
  char* result = team.result[now->rounds++ & 1];
  memcpy(team.values[now->index % 32], &value, sizeof value);
  if (++team.arrived == team.size) {
    memcpy(&value, team.values[0], sizeof value);
    for (uint i = 1; i < team.size; i++) {
      T other;
      memcpy(&other, team.values[i], sizeof other);
      value = join(value, other);
    }
    memcpy(result, &value, sizeof value);
    team.arrived = 0;
    team.complete++;
  } else {
    now->awaited = team.complete;
    pause(IN_SIMD);
    memcpy(&value, result, sizeof value);
  }
  return value;
}

// Threadgroup memory: poisoned before each threadgroup runs.
template <typename T, int LINE>
T& shared() {
  static T memory;
  static bool known = false;
  if (!known) {
    known = true;
    shared_memory.push_back({(char*)&memory, sizeof memory});
    memset((void*)&memory, 0xff, sizeof memory);
  }
  return memory;
}

uint3 in_threadgroup() {
  const uint i = now->index, x = group_size.x, y = group_size.y;
  return {i % x, i / x % y, i / (x * y)};
}

uint3 in_grid(uint3 full) {
  const uint3 at = in_threadgroup();
  return {group.x * full.x + at.x, group.y * full.y + at.y, group.z * full.z + at.z};
}

}  // namespace run

namespace metal {
enum class mem_flags { mem_threadgroup, mem_device };
inline void threadgroup_barrier(mem_flags) { run::pause(run::AT_BARRIER); }
inline float3 simd_sum(float3 v) {
  return run::reduce(v, [](float3 a, float3 b) { return a + b; });
}
inline uint simd_max(uint v) {
  return run::reduce(v, [](uint a, uint b) { return a > b ? a : b; });
}
using std::floor;
using std::fma;
using std::isnan;
using std::max;
using std::min;
namespace precise {
using std::exp;
using std::log;
using std::sqrt;
}  // namespace precise
}  // namespace metal

#define device
#define constant
#define threadgroup
#define thread

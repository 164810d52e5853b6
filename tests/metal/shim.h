// The part of Metal that this project's kernels use, as C++. runtime.cpp runs the threads.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef unsigned int uint;

struct uint2 {
  uint x, y;
  uint2(uint x, uint y) : x(x), y(y) {}
};

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
    const float size = fabsf(f);
    uint half;
    if (f != f) {
      half = 0x7e00;
    } else if (size >= 65520.0f) {
      half = 0x7c00;
    } else if (size < 0x1p-14f) {
      half = uint(nearbyintf(size * 0x1p24f));
    } else {
      const uint u = as_type<uint>(size);
      half = (u + 0xfff + (u >> 13 & 1) - (112u << 23)) >> 13;
    }
    bits = sign | half;
  }
  operator float() const {
    const uint exponent = bits >> 10 & 31, fraction = bits & 1023;
    float size = exponent == 0    ? ldexpf(float(fraction), -24)
                 : exponent == 31 ? (fraction ? NAN : INFINITY)
                                  : ldexpf(float(1024 + fraction), int(exponent) - 25);
    return bits & 0x8000 ? -size : size;
  }
};

#define FLT_MAX 3.40282346638528859812e+38f

// ---- threads: SIMD groups have 32 lanes -----------------------------------------------------
namespace run {

#define VISIBLE __attribute__((visibility("default")))

struct Team {  // a SIMD group: what its lanes have handed in, and how many reductions are complete
  alignas(16) char values[32][16], result[2][16];
  uint size, arrived, complete;
};

VISIBLE uint thread_index();
VISIBLE uint next_round();  // counts the reductions of this thread
VISIBLE Team& my_team();
VISIBLE void wait_for_team();
VISIBLE void wait_at_barrier();
VISIBLE void add_shared_memory(void* start, size_t size);
VISIBLE uint3 in_threadgroup();
VISIBLE uint3 in_grid();
VISIBLE uint3 group();   // the threadgroup's position
VISIBLE uint3 groups();  // number of threadgroups

template <typename T, typename F>
T reduce(T value, F join) {
  static_assert(sizeof(T) <= 16, "too large");
  Team& team = my_team();
  char* result = team.result[next_round() & 1];
  memcpy(team.values[thread_index() % 32], &value, sizeof value);
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
    wait_for_team();
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
    add_shared_memory(&memory, sizeof memory);
  }
  return memory;
}

}  // namespace run

namespace metal {
enum class mem_flags { mem_threadgroup, mem_device };
inline void threadgroup_barrier(mem_flags) { run::wait_at_barrier(); }
// Metal fixes no order for it: here it is that of the lanes.
inline float3 simd_sum(float3 v) {
  return run::reduce(v, [](float3 a, float3 b) { return a + b; });
}
inline float simd_sum(float v) {
  return run::reduce(v, [](float a, float b) { return a + b; });
}
inline uint simd_max(uint v) {
  return run::reduce(v, [](uint a, uint b) { return a > b ? a : b; });
}
inline float simd_shuffle_xor(float v, uint mask) {
  static float held[2][1024];
  static uint turns[1024];
  const uint self = run::thread_index(), turn = turns[self]++ & 1;
  held[turn][self] = v;
  run::reduce(0u, [](uint a, uint) { return a; });  // until all lanes are here
  return held[turn][self ^ mask];
}
inline float floor(float x) { return floorf(x); }
inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
inline bool isnan(float x) { return x != x; }
template <typename T>
T max(T a, T b) {
  return a < b ? b : a;
}
template <typename T>
T min(T a, T b) {
  return b < a ? b : a;
}
namespace precise {
inline float exp(float x) { return expf(x); }
inline float log(float x) { return logf(x); }
inline float sqrt(float x) { return sqrtf(x); }
inline float sin(float x) { return sinf(x); }
inline float cos(float x) { return cosf(x); }
}  // namespace precise
}  // namespace metal

#define device
#define constant
#define threadgroup
#define thread

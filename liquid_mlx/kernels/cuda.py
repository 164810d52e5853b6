"""The Metal sources of the kernels as CUDA, for MLX's CUDA backend.

The text is the same: a header gives Metal's words their meaning, and a few words are replaced that
no header can. Both sides run a kernel's threads in SIMD groups of 32 in step.
"""

from __future__ import annotations

import re

# Metal's vectors, attributes and functions, as far as the kernels use them.
HEADER = """
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef FLT_MAX
#define FLT_MAX __int_as_float(0x7f7fffff)
#endif
typedef unsigned int uint;
#define float3 Float3
#define uint2 Uint2
#define thread_position_in_threadgroup threadIdx
#define threadgroup_position_in_grid blockIdx
#define threadgroups_per_grid gridDim
#define thread_index_in_simdgroup (threadIdx.x % 32)
#define simdgroup_index_in_threadgroup (threadIdx.x / 32)
#define thread_position_in_grid                                               \\
  (dim3(blockIdx.x * blockDim.x + threadIdx.x, blockIdx.y * blockDim.y + threadIdx.y, \\
        blockIdx.z * blockDim.z + threadIdx.z))

struct Float3 {
  float x, y, z;
  Float3() = default;
  __device__ explicit Float3(float all) : x(all), y(all), z(all) {}
};

struct Uint2 {
  uint x, y;
  __device__ Uint2(uint x, uint y) : x(x), y(y) {}
};

template <typename T, typename U>
__device__ T as_type(U value) {
  static_assert(sizeof(T) == sizeof(U), "as_type changes no bits");
  T bits;
  memcpy(&bits, &value, sizeof(T));
  return bits;
}

namespace metal {
enum class mem_flags { mem_threadgroup };
__device__ inline void threadgroup_barrier(mem_flags) { __syncthreads(); }
__device__ inline int min(int a, int b) { return a < b ? a : b; }
__device__ inline uint min(uint a, uint b) { return a < b ? a : b; }
__device__ inline float min(float a, float b) { return fminf(a, b); }
__device__ inline int max(int a, int b) { return a > b ? a : b; }
__device__ inline uint max(uint a, uint b) { return a > b ? a : b; }
__device__ inline float max(float a, float b) { return fmaxf(a, b); }
__device__ inline float fma(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline float floor(float a) { return floorf(a); }
__device__ inline bool isnan(float a) { return a != a; }
template <typename T>
__device__ T simd_shuffle_xor(T a, int apart) {
  return __shfl_xor_sync(0xffffffffu, a, apart);
}
__device__ inline float simd_sum(float a) {
  for (int apart = 16; apart > 0; apart /= 2) {
    a += simd_shuffle_xor(a, apart);
  }
  return a;
}
__device__ inline Float3 simd_sum(Float3 a) {
  a.x = simd_sum(a.x);
  a.y = simd_sum(a.y);
  a.z = simd_sum(a.z);
  return a;
}
__device__ inline uint simd_max(uint a) {
  for (int apart = 16; apart > 0; apart /= 2) {
    a = max(a, simd_shuffle_xor(a, apart));
  }
  return a;
}
namespace precise {
__device__ inline float exp(float a) { return expf(a); }
__device__ inline float log(float a) { return logf(a); }
__device__ inline float sqrt(float a) { return sqrtf(a); }
__device__ inline float cos(float a) { return cosf(a); }
__device__ inline float sin(float a) { return sinf(a); }
}  // namespace precise
}  // namespace metal
"""

_WORDS = (
    (r"#pragma METAL fp contract\(off\)\n", ""),  # where it decides, the text contracts nothing
    (r"clang loop unroll\(full\)", "unroll"),
    (r"\bthreadgroup (\w+ \w+\[)", r"__shared__ \1"),  # a variable
    (r"\b(threadgroup|thread|device) ", ""),  # the address space of a pointer or reference
)


def translated(text: str) -> str:
    """A kernel's source or header in CUDA."""
    for word, other in _WORDS:
        text = re.sub(word, other, text)
    return text

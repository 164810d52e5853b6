// The part of Metal that this project's kernels use, as C++ for OpenCL: clang knows its address
// spaces, and without a generic one it refuses a pointer that names none or another.
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#define device __global
#define threadgroup __local
#define thread __private
#define constant __constant
typedef unsigned int uint;
typedef unsigned int uint32_t;
typedef int int32_t;
typedef long int64_t;
typedef unsigned long size_t;
typedef half float16_t;
typedef half bfloat16_t;
typedef float float3 __attribute__((ext_vector_type(3)));
typedef uint uint2 __attribute__((ext_vector_type(2)));
typedef uint uint3 __attribute__((ext_vector_type(3)));
#define float3(x) ((float3)(x))
#define uint2(a, b) ((uint2)(a, b))
#define INFINITY (__builtin_inff())
#define FLT_MAX 3.402823466e+38f
template <typename T, typename U>
inline T as_type(U x) {
  return __builtin_bit_cast(T, x);
}
namespace metal {
enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
void threadgroup_barrier(mem_flags);
float min(float, float);
uint min(uint, uint);
int min(int, int);
float max(float, float);
uint max(uint, uint);
int max(int, int);
float fma(float, float, float);
bool isnan(float);
float floor(float);
uint simd_max(uint);
float3 simd_sum(float3);
float simd_sum(float);
float simd_shuffle_xor(float, unsigned short);
namespace precise {
float exp(float);
float log(float);
float sqrt(float);
float cos(float);
float sin(float);
}  // namespace precise
}  // namespace metal
using namespace metal;

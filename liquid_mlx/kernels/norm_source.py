"""The Metal source of the residual sum with RMS norm: a threadgroup per row."""

THREADS = 256  # few enough for any pipeline; the order of the sums depends on it

HEADER = """
#pragma METAL fp contract(off)
"""

# A thread takes every 256th value, and keeps what it has read. Sums are made in a fixed order; that
# of simd_sum may differ from chip to chip.
_BODY = f"""
  threadgroup float sums[{THREADS // 32}];
  const int self = thread_position_in_threadgroup.x;
  const size_t base = size_t(threadgroup_position_in_grid.y) * WIDTH;
  float held[(WIDTH + {THREADS - 1}) / {THREADS}];
  float sum = 0.0f;
  for (int i = self, j = 0; i < WIDTH; i += {THREADS}, j++) {{
    READ
    held[j] = float(value);
    sum += held[j] * held[j];
  }}
  for (int apart = 16; apart > 0; apart /= 2) {{
    sum += metal::simd_shuffle_xor(sum, apart);
  }}
  if (thread_index_in_simdgroup == 0) {{
    sums[simdgroup_index_in_threadgroup] = sum;
  }}
  metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
  sum = 0.0f;
  for (int group = 0; group < {THREADS // 32}; group++) {{
    sum += sums[group];
  }}
  const float scale = 1.0f / metal::precise::sqrt(sum / float(WIDTH) + eps[0]);
  for (int i = self, j = 0; i < WIDTH; i += {THREADS}, j++) {{
    norm[base + i] = T(held[j] * scale * float(weight[i]));
  }}
"""

SOURCE = {
    False: _BODY.replace("READ", "const T value = x[base + i];"),
    True: _BODY.replace(
        "READ",
        "const T value = T(float(x[base + i]) + float(branch[base + i]));\n"
        "    total[base + i] = value;",
    ),
}

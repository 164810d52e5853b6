"""The Metal source of GroupNorm + SiLU; README.md explains the three passes."""

HEADER = """
#pragma METAL fp contract(off)
"""

# Mean and sum of squared deviations of each group in one chunk of a picture's pixels. A place reads
# one channel of every LANES-th pixel and shifts by its first value against cancellation; then one
# thread per group merges (Chan, Golub, LeVeque, 1979). A thread takes one place, or several where
# it may not have so many threads: the sums are the same.
MOMENTS = """
  threadgroup float means[LANES * C];
  threadgroup float squares[LANES * C];
  const int pixels = x_shape[1] * x_shape[2];
  const int chunk = threadgroup_position_in_grid.y;
  const int chunks = threadgroups_per_grid.y;
  const int batch = threadgroup_position_in_grid.z;
  const int self = thread_position_in_threadgroup.x;
  const int length = (pixels + chunks - 1) / chunks;
  const int first = chunk * length;
  const int count = metal::min(length, pixels - first);
  const size_t base = (size_t(batch) * pixels + first) * C;

  for (int place = self; place < LANES * C; place += THREADS) {
    float shift = 0.0f;
    float sum = 0.0f;
    float square = 0.0f;
    int read = 0;
    for (int p = place / C; p < count; p += LANES) {
      const float value = float(x[base + uint(p * C + place % C)]);
      shift = read == 0 ? value : shift;
      sum += value - shift;
      square += (value - shift) * (value - shift);
      read++;
    }
    const float mean = read > 0 ? sum / float(read) : 0.0f;
    means[place] = shift + mean;
    squares[place] = metal::max(square - sum * mean, 0.0f);
  }
  metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);

  for (int group = self; group < G; group += THREADS) {
    float whole = 0.0f;
    for (int lane = 0; lane < LANES; lane++) {
      const float weight = float((count - lane + LANES - 1) / LANES);
      for (int c = group * (C / G); c < (group + 1) * (C / G); c++) {
        whole += weight * means[lane * C + c];
      }
    }
    const float centre = whole / float(count * (C / G));
    float spread = 0.0f;
    for (int lane = 0; lane < LANES; lane++) {
      const float weight = float((count - lane + LANES - 1) / LANES);
      for (int c = group * (C / G); c < (group + 1) * (C / G); c++) {
        const float off = means[lane * C + c] - centre;
        spread += squares[lane * C + c] + weight * off * off;
      }
    }
    const size_t at = (size_t(batch) * chunks + chunk) * G + group;
    moments[2 * at] = centre;
    moments[2 * at + 1] = spread;
  }
"""

# Per picture and channel the factor and summand that do GroupNorm: one thread each.
FACTORS = """
  const int channel = thread_position_in_grid.x;
  if (channel >= C) {
    return;  // CUDA fills the last threadgroup
  }
  const int batch = thread_position_in_grid.y;
  const int chunks = moments_shape[1];
  const int length = (PIXELS + chunks - 1) / chunks;
  const size_t base = size_t(batch) * chunks * G + channel / (C / G);
  float whole = 0.0f;
  for (int chunk = 0; chunk < chunks; chunk++) {
    const float pixels = float(metal::min(length, PIXELS - chunk * length));
    whole += pixels * moments[2 * (base + size_t(chunk) * G)];
  }
  const float mean = whole / float(PIXELS);
  float spread = 0.0f;
  for (int chunk = 0; chunk < chunks; chunk++) {
    const float pixels = float(metal::min(length, PIXELS - chunk * length));
    const size_t at = 2 * (base + size_t(chunk) * G);
    const float off = moments[at] - mean;
    spread += moments[at + 1] + pixels * float(C / G) * off * off;
  }
  const float variance = spread / (float(PIXELS) * float(C / G));
  const float factor = float(weight[channel]) / metal::precise::sqrt(variance + eps[0]);
  const size_t to = 2 * (size_t(batch) * C + channel);
  factors[to] = factor;
  factors[to + 1] = float(bias[channel]) - mean * factor;
"""

# x * factor + summand, then SiLU.
APPLY = """
  const uint picture = uint(x_shape[1]) * uint(x_shape[2]) * uint(C);
  const uint batch = thread_position_in_grid.y;
  const size_t base = size_t(batch) * picture;
  const uint first = thread_position_in_grid.x * ITEMS;
  for (uint i = first; i < metal::min(first + ITEMS, picture); i++) {
    const uint at = 2 * (batch * C + i % C);
    float y = float(x[base + i]) * factors[at] + factors[at + 1];
    if (SILU) {
      y = y / (1.0f + metal::precise::exp(-y));
    }
    out[base + i] = T(y);
  }
"""

"""The Metal source of the sampler; README.md explains the algorithm and the layout of threads."""

HEADER = """
#pragma METAL fp contract(off)

// Integers in the order of the floats. -0 is 0; nothing but 0 itself lies below the key of -inf.
inline uint ordered(float z) {
  uint bits = as_type<uint>(z);
  bits = bits == 0x80000000u ? 0u : bits;
  return (bits & 0x80000000u) ? ~bits : (bits | 0x80000000u);
}

inline float unordered(uint key) {
  return as_type<float>((key & 0x80000000u) ? (key & 0x7fffffffu) : ~key);
}

// exp(z - top), and 0 for -inf and for places behind the row's end.
inline float weigh(uint key, float top) {
  float z = unordered(key);
  return z > -INFINITY ? metal::precise::exp(z - top) : 0.0f;
}

// Where a thread stands. `turn` alternates between two halves of the threadgroup memory, so that
// one barrier per reduction is enough: nobody can be two reductions ahead.
struct Place {
  uint self, lane, team, teams, turn;
};

// Sums over the threadgroup, for all threads, always in the same order.
inline float3 total(float3 part, threadgroup float3* sums, thread Place& at) {
  threadgroup float3* slots = sums + 32 * (at.turn++ & 1);
  part = metal::simd_sum(part);
  if (at.lane == 0) {
    slots[at.team] = part;
  }
  metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
  return metal::simd_sum(at.lane < at.teams ? slots[at.lane] : float3(0.0f));
}

inline uint greatest(uint part, threadgroup uint* peaks, thread Place& at) {
  threadgroup uint* slots = peaks + 32 * (at.turn++ & 1);
  part = metal::simd_max(part);
  if (at.lane == 0) {
    slots[at.team] = part;
  }
  metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
  return metal::simd_max(at.lane < at.teams ? slots[at.lane] : 0u);
}

// The smallest key with at most `limit` of mass strictly above it, two bits at a time from the top.
// `above` is that mass. BY_INDEX: the keys are the complements of the indices, and every value
// whose own key is `tau` has mass 1, so the lowest indices come first.
template <bool BY_INDEX, int VALUES, int THREADS, int STRIDE, typename Keys, typename Masses>
uint find(Keys key, Masses mass, uint tau, float limit, thread float& above,
          threadgroup float3* sums, thread Place& at) {
  uint found = 0;
  above = 0.0f;
  for (int shift = 30; shift >= 0; shift -= 2) {
    const uint step = 1u << shift;
    const uint pivot = found + (step - 1);
    float3 part = float3(0.0f);
    UNROLL
    for (int j = 0; j < VALUES; j++) {
      uint k = key[j * STRIDE];
      if (BY_INDEX) {
        k = k == tau ? ~(j * THREADS + at.self) : 0u;
      }
      if (k > pivot) {
        const float m = BY_INDEX ? 1.0f : mass[j * STRIDE];
        part.x += m;
        part.y += k > pivot + step ? m : 0.0f;
        part.z += k > pivot + 2 * step ? m : 0.0f;
      }
    }
    const float3 sum = total(part, sums, at);
    const uint digit = uint(sum.x > limit) + uint(sum.y > limit) + uint(sum.z > limit);
    found += digit * step;
    above = digit == 0 ? sum.x : digit == 1 ? sum.y : digit == 2 ? sum.z : above;
  }
  return found;
}

// What is left to draw from after top-k and top-p: keys above x, and those equal to x up to the
// index y.
template <int N, int VALUES, int THREADS, int STRIDE, typename Keys, typename Masses>
uint2 keep(Keys key, Masses mass, uint best, float top_k, float top_p, threadgroup float3* sums,
          thread Place& at) {
  uint2 kept = uint2(0u, 0xffffffffu);
  float above;
  if (top_k >= 1.0f && top_k < float(N)) {
    kept.x = find<false, VALUES, THREADS, STRIDE>(key, mass, 0u, top_k - 1.0f, above, sums, at);
  }
  if (top_p < 1.0f) {
    const float top = unordered(best);
    float3 part = float3(0.0f);
    UNROLL
    for (int j = 0; j < VALUES; j++) {
      const uint k = key[j * STRIDE];
      const float m = k >= kept.x ? weigh(k, top) : 0.0f;
      mass[j * STRIDE] = m;
      part.x += m;
    }
    const float limit = top_p * total(part, sums, at).x;
    const uint tau =
        find<false, VALUES, THREADS, STRIDE>(key, mass, 0u, limit, above, sums, at);
    if (tau < kept.x) {
      return kept;
    }
    kept.x = tau;
    part = float3(0.0f);
    UNROLL
    for (int j = 0; j < VALUES; j++) {
      part.x += key[j * STRIDE] == tau ? 1.0f : 0.0f;
    }
    const float ties = total(part, sums, at).x;
    const float room = metal::floor((limit - above) / weigh(tau, top)) + 1.0f;
    if (room < ties) {
      const float before = metal::max(room, 1.0f) - 1.0f;
      kept.y = ~find<true, VALUES, THREADS, STRIDE>(key, mass, tau, before, above, sums, at);
    }
  }
  return kept;
}

// One row: settings are guidance, temperature, top-k, top-p. `key` and `mass` hold VALUES entries
// of this thread, STRIDE apart; the row's value j of thread t is number j * THREADS + t.
template <bool GUIDED, int N, int VALUES, int THREADS, int STRIDE, typename Logits,
          typename Others, typename Noise, typename Settings, typename Keys, typename Masses>
uint draw(Logits conditional, Others unconditional, Noise noise, Settings settings, Keys key,
          Masses mass, threadgroup float3* sums, threadgroup uint* peaks, thread Place& at) {
  const float temperature = settings[1];
  uint best = 0;
  UNROLL
  for (int j = 0; j < VALUES; j++) {
    const int i = j * THREADS + int(at.self);
    uint k = 0;
    if (i < N) {
      float z = float(conditional[i]);
      if (GUIDED) {
        const float u = float(unconditional[i]);
        z = u + metal::fma(z - u, settings[0], 0.0f);  // rounded before the sum
      }
      z = metal::isnan(z) ? -INFINITY : metal::min(z, FLT_MAX);
      if (temperature > 0.0f) {
        z = metal::min(z / metal::max(temperature, 1e-5f), FLT_MAX);
      }
      k = ordered(z);
    }
    key[j * STRIDE] = k;
    mass[j * STRIDE] = 1.0f;  // as top-k counts
    best = metal::max(best, k);
  }
  best = greatest(best, peaks, at);

  uint2 kept = uint2(best, 0xffffffffu);
  if (temperature > 0.0f) {
    kept = keep<N, VALUES, THREADS, STRIDE>(key, mass, best, settings[2], settings[3], sums, at);
  }
  uint score = 0;
  uint id = 0;
  UNROLL
  for (int j = 0; j < VALUES; j++) {
    const int i = j * THREADS + int(at.self);
    const uint k = key[j * STRIDE];
    if (i < N && (k > kept.x || (k == kept.x && uint(i) <= kept.y))) {
      uint s = k;
      if (temperature > 0.0f) {
        s = ordered(unordered(k) - metal::precise::log(-metal::precise::log(noise[i])));
      }
      if (s > score) {
        score = s;
        id = uint(i);
      }
    }
  }
  best = greatest(score, peaks, at);
  return ~greatest(score == best ? ~id : 0u, peaks, at);
}
"""

# `sums` and `peaks` hold two halves of one slot per SIMD group.
_BODY = """
  threadgroup float3 sums[64];
  threadgroup uint peaks[64];
  const size_t row = threadgroup_position_in_grid.y;
  Place at = {thread_position_in_threadgroup.x, thread_index_in_simdgroup,
              simdgroup_index_in_threadgroup, uint(THREADS / 32), 0u};
  STORAGE
  const uint id = draw<GUIDED, N, VALUES, THREADS, STRIDE>(
      conditional + row * N, unconditional + row * N, noise + row * N, settings, key, mass, sums,
      peaks, at);
  if (at.self == 0) {
    ids[row] = id;
  }
"""

# Up to 16 values per thread: everything stays in registers.
HELD_HEADER = '#define UNROLL _Pragma("clang loop unroll(full)")\n' + HEADER
HELD = _BODY.replace("STORAGE", "uint key[VALUES];\n  float mass[VALUES];").replace("STRIDE", "1")

# Longer rows: keys and masses lie in scratch outputs; each thread uses nothing but its own.
STREAMED_HEADER = "#define UNROLL\n" + HEADER
STREAMED = _BODY.replace(
    "STORAGE",
    "const size_t own = row * (VALUES * THREADS) + at.self;\n"
    "  device uint* key = keys + own;\n"
    "  device float* mass = masses + own;",
).replace("STRIDE", "THREADS")

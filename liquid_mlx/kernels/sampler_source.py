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

// Where a thread stands. A row has TEAMS teams of 32 places with VALUES values each; SIMD group
// `group` of GROUPS plays the teams group, group + GROUPS, ..., one a pass: sums are the same
// however many threads there are. `turn` alternates between two halves of the threadgroup memory,
// so that one barrier per reduction is enough: nobody can be two reductions ahead.
struct Place {
  uint lane, group, turn;
};

// The parts of a sum, team by team, and the sum for all threads, always in the same order.
inline threadgroup float3* slots_of(threadgroup float3* sums, thread Place& at) {
  return sums + 32 * (at.turn++ & 1);
}

inline void put(float3 part, uint team, threadgroup float3* slots, thread Place& at) {
  part = metal::simd_sum(part);
  if (at.lane == 0) {
    slots[team] = part;
  }
}

template <int TEAMS>
float3 total(threadgroup float3* slots, thread Place& at) {
  metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
  return metal::simd_sum(at.lane < TEAMS ? slots[at.lane] : float3(0.0f));
}

template <int GROUPS>
uint greatest(uint part, threadgroup uint* peaks, thread Place& at) {
  threadgroup uint* slots = peaks + 32 * (at.turn++ & 1);
  part = metal::simd_max(part);
  if (at.lane == 0) {
    slots[at.group] = part;
  }
  metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
  return metal::simd_max(at.lane < GROUPS ? slots[at.lane] : 0u);
}

// The smallest key with at most `limit` of mass strictly above it, two bits at a time from the top.
// `above` is that mass. BY_INDEX: the keys are the complements of the indices, and every value
// whose own key is `tau` has mass 1, so the lowest indices come first.
template <bool BY_INDEX, int VALUES, int TEAMS, int GROUPS, int STRIDE, typename Keys,
          typename Masses>
uint find(Keys key, Masses mass, uint tau, float limit, thread float& above,
          threadgroup float3* sums, thread Place& at) {
  uint found = 0;
  above = 0.0f;
  for (int shift = 30; shift >= 0; shift -= 2) {
    const uint step = 1u << shift;
    const uint pivot = found + (step - 1);
    threadgroup float3* slots = slots_of(sums, at);
    EACH_TEAM {
      float3 part = float3(0.0f);
      EACH_VALUE {
        uint k = key[VALUE * STRIDE];
        if (BY_INDEX) {
          k = k == tau ? ~uint(INDEX) : 0u;
        }
        if (k > pivot) {
          const float m = BY_INDEX ? 1.0f : mass[VALUE * STRIDE];
          part.x += m;
          part.y += k > pivot + step ? m : 0.0f;
          part.z += k > pivot + 2 * step ? m : 0.0f;
        }
      }
      put(part, TEAM, slots, at);
    }
    const float3 sum = total<TEAMS>(slots, at);
    const uint digit = uint(sum.x > limit) + uint(sum.y > limit) + uint(sum.z > limit);
    found += digit * step;
    above = digit == 0 ? sum.x : digit == 1 ? sum.y : digit == 2 ? sum.z : above;
  }
  return found;
}

// What is left to draw from after top-k and top-p: keys above x, and those equal to x up to the
// index y.
template <int N, int VALUES, int TEAMS, int GROUPS, int STRIDE, typename Keys, typename Masses>
uint2 keep(Keys key, Masses mass, uint best, float top_k, float top_p, threadgroup float3* sums,
          thread Place& at) {
  uint2 kept = uint2(0u, 0xffffffffu);
  float above;
  if (top_k >= 1.0f && top_k < float(N)) {
    const float others = top_k - 1.0f;
    kept.x = find<false, VALUES, TEAMS, GROUPS, STRIDE>(key, mass, 0u, others, above, sums, at);
  }
  if (top_p < 1.0f) {
    const float top = unordered(best);
    threadgroup float3* slots = slots_of(sums, at);
    EACH_TEAM {
      float3 part = float3(0.0f);
      EACH_VALUE {
        const uint k = key[VALUE * STRIDE];
        const float m = k >= kept.x ? weigh(k, top) : 0.0f;
        mass[VALUE * STRIDE] = m;
        part.x += m;
      }
      put(part, TEAM, slots, at);
    }
    const float limit = top_p * total<TEAMS>(slots, at).x;
    const uint tau =
        find<false, VALUES, TEAMS, GROUPS, STRIDE>(key, mass, 0u, limit, above, sums, at);
    if (tau < kept.x) {
      return kept;
    }
    kept.x = tau;
    slots = slots_of(sums, at);
    EACH_TEAM {
      float3 part = float3(0.0f);
      EACH_VALUE {
        part.x += key[VALUE * STRIDE] == tau ? 1.0f : 0.0f;
      }
      put(part, TEAM, slots, at);
    }
    const float ties = total<TEAMS>(slots, at).x;
    const float room = metal::floor((limit - above) / weigh(tau, top)) + 1.0f;
    if (room < ties) {
      const float before = metal::max(room, 1.0f) - 1.0f;
      kept.y = ~find<true, VALUES, TEAMS, GROUPS, STRIDE>(key, mass, tau, before, above, sums, at);
    }
  }
  return kept;
}

// One row: settings are guidance, temperature, top-k, top-p. `key` and `mass` hold the entries of
// this thread, STRIDE apart.
template <bool GUIDED, int N, int VALUES, int TEAMS, int GROUPS, int STRIDE, typename Logits,
          typename Others, typename Noise, typename Settings, typename Keys, typename Masses>
uint draw(Logits conditional, Others unconditional, Noise noise, Settings settings, Keys key,
          Masses mass, threadgroup float3* sums, threadgroup uint* peaks, thread Place& at) {
  const float temperature = settings[1];
  uint best = 0;
  EACH_TEAM {
    EACH_VALUE {
      const int i = INDEX;
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
      key[VALUE * STRIDE] = k;
      mass[VALUE * STRIDE] = 1.0f;  // as top-k counts
      best = metal::max(best, k);
    }
  }
  best = greatest<GROUPS>(best, peaks, at);

  uint2 kept = uint2(best, 0xffffffffu);
  if (temperature > 0.0f) {
    kept = keep<N, VALUES, TEAMS, GROUPS, STRIDE>(key, mass, best, settings[2], settings[3], sums,
                                                  at);
  }
  uint score = 0;
  uint id = 0;
  EACH_TEAM {
    EACH_VALUE {
      const int i = INDEX;
      const uint k = key[VALUE * STRIDE];
      if (i < N && (k > kept.x || (k == kept.x && uint(i) <= kept.y))) {
        uint s = k;
        if (temperature > 0.0f) {
          s = ordered(unordered(k) - metal::precise::log(-metal::precise::log(noise[i])));
        }
        // A thread's indices do not ascend from team to team.
        if (s > score || (s == score && uint(i) < id)) {
          score = s;
          id = uint(i);
        }
      }
    }
  }
  best = greatest<GROUPS>(score, peaks, at);
  return ~greatest<GROUPS>(score == best ? ~id : 0u, peaks, at);
}
"""

# `sums` and `peaks` hold two halves of one slot per SIMD group.
_BODY = """
  threadgroup float3 sums[64];
  threadgroup uint peaks[64];
  const size_t row = threadgroup_position_in_grid.y;
  Place at = {thread_index_in_simdgroup, simdgroup_index_in_threadgroup, 0u};
  STORAGE
  const uint id = draw<GUIDED, N, VALUES, TEAMS, GROUPS, STRIDE>(
      conditional + row * N, unconditional + row * N, noise + row * N, settings, key, mass, sums,
      peaks, at);
  if (at.lane == 0 && at.group == 0) {
    ids[row] = id;
  }
"""

# Loops over what belongs to a thread: its teams (the same for a whole SIMD group), their values.
# VALUE numbers them within the thread, INDEX within the row.
_LOOPS = """
#define EACH_TEAM UNROLL for (int pass = 0; pass < PASSES; pass++) if (TEAM < TEAMS)
#define EACH_VALUE UNROLL for (int j = 0; j < VALUES; j++)
#define PASSES ((TEAMS + GROUPS - 1) / GROUPS)
#define TEAM (int(at.group) + pass * GROUPS)
#define VALUE (pass * VALUES + j)
#define INDEX ((j * TEAMS + TEAM) * 32 + int(at.lane))
"""

# Up to 16 values per thread: everything stays in registers.
HELD_HEADER = '#define UNROLL _Pragma("clang loop unroll(full)")' + _LOOPS + HEADER
HELD = _BODY.replace(
    "STORAGE", "uint key[PASSES * VALUES];\n  float mass[PASSES * VALUES];"
).replace("STRIDE", "1")

# Longer rows: keys and masses lie in scratch outputs; each thread uses nothing but its own.
STREAMED_HEADER = "#define UNROLL" + _LOOPS + HEADER
STREAMED = _BODY.replace(
    "STORAGE",
    "const size_t own = row * (PASSES * VALUES * GROUPS * 32) + thread_position_in_threadgroup.x;\n"
    "  device uint* key = keys + own;\n"
    "  device float* mass = masses + own;",
).replace("STRIDE", "GROUPS * 32")

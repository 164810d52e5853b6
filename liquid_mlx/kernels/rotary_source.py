"""The Metal source that takes joined projections apart and rotates queries and keys."""

HEADER = """
#pragma METAL fp contract(off)
"""

# A thread takes one pair of one head of one token. `entries` holds the keys of all rows, then their
# values.
SOURCE = """
  const int pair = thread_position_in_grid.x;
  const int head = thread_position_in_grid.y;
  const int token = thread_position_in_grid.z;
  if (pair >= WIDTH / 2 || head >= HEADS + 2 * KV_HEADS || token >= joined_shape[0]) {
    return;  // CUDA fills the last threadgroups
  }
  const int rows = start_shape[0];
  const int length = joined_shape[0] / rows;
  const int row = token / length;
  const int at = token % length;
  const size_t from = (size_t(token) * (HEADS + 2 * KV_HEADS) + head) * WIDTH + pair;
  T low = joined[from];
  T high = joined[from + WIDTH / 2];
  if (head < HEADS + KV_HEADS) {
    const float angle = float(start[row] + at) / freqs[pair];
    const float c = metal::precise::cos(angle);
    const float s = metal::precise::sin(angle);
    const float x = float(low);
    const float y = float(high);
    low = T(x * c - y * s);
    high = T(y * c + x * s);
  }
  if (head < HEADS) {
    const size_t to = ((size_t(row) * HEADS + head) * length + at) * WIDTH + pair;
    queries[to] = low;
    queries[to + WIDTH / 2] = high;
  } else {
    const int entry = (head - HEADS) / KV_HEADS * rows + row;
    const int place = (head - HEADS) % KV_HEADS;
    const size_t to = ((size_t(entry) * KV_HEADS + place) * length + at) * WIDTH + pair;
    entries[to] = low;
    entries[to + WIDTH / 2] = high;
  }
"""

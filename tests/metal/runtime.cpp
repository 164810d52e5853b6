// A scheduler that runs each thread of a threadgroup as a fiber; threadgroups run one by one.
#include <setjmp.h>
#include <stdio.h>
#include <ucontext.h>

#include <algorithm>
#include <random>
#include <vector>

#include "shim.h"

namespace run {

enum Status { READY, IN_SIMD, AT_BARRIER, DONE };

struct Fiber {
  jmp_buf where;
  Status status;
  uint index, rounds, awaited;
};

constexpr uint MOST = 1024, STACK = (64 << 10) + 320;  // not a power of 2: that thrashes caches
Fiber fibers[MOST];
Team teams[MOST / 32];
Fiber* now;
jmp_buf scheduler;
uint3 position, size, full_size, count;  // of the threadgroup: where, threads, of all, how many
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

// ---- what kernels call ----------------------------------------------------------------------
uint thread_index() { return now->index; }
uint next_round() { return now->rounds++; }
Team& my_team() { return teams[now->index / 32]; }
void wait_for_team() {
  now->awaited = my_team().complete;
  pause(IN_SIMD);
}
void wait_at_barrier() { pause(AT_BARRIER); }
void add_shared_memory(void* start, size_t bytes) {
  shared_memory.push_back({(char*)start, bytes});
  memset(start, 0xff, bytes);
}
uint3 in_threadgroup() {
  const uint i = now->index, x = size.x, y = size.y;
  return {i % x, i / x % y, i / (x * y)};
}

uint3 in_grid() {
  const uint3 at = in_threadgroup();
  return {position.x * full_size.x + at.x, position.y * full_size.y + at.y,
          position.z * full_size.z + at.z};
}
uint3 group() { return position; }
uint3 groups() { return count; }

}  // namespace run

using namespace run;

// Runs a kernel over `grid` threads in threadgroups of `t`; -> what went wrong, or an empty text.
extern "C" VISIBLE const char* launch(void (*entry)(), const uint* grid, const uint* t, uint seed) {
  make_fibers();
  kernel = entry;
  error[0] = 0;
  full_size = {t[0], t[1], t[2]};
  count = {(grid[0] - 1) / t[0] + 1, (grid[1] - 1) / t[1] + 1, (grid[2] - 1) / t[2] + 1};
  std::mt19937 random(seed);
  for (uint i = 0; i < count.x * count.y * count.z; i++) {
    position = {i % count.x, i / count.x % count.y, i / (count.x * count.y)};
    size = {std::min(t[0], grid[0] - position.x * t[0]), std::min(t[1], grid[1] - position.y * t[1]),
            std::min(t[2], grid[2] - position.z * t[2])};
    if (!run_group(size.x * size.y * size.z, seed, random)) break;
  }
  return error;
}

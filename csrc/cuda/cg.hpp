// cg on a CUDA device: launchers and, as plain host code that needs no GPU, the shape of their launches.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>

#include "cuda/device.hpp"
#include "pyasr/cg.hpp"

namespace pyasr::cuda {

struct CgOptions {
  double rtol, atol, damping, martens_eps;
  long long maxiter;
  CgStored stored;
  bool martens, scale_by_k, flexible, verify;
};

// What a solution leaves on the device. The code of an A whose triangles disagree is the device's own.
struct CgReport {
  long long info, iterations;
};
constexpr long long cg_asymmetric = -5;

template <class T>
struct CgArgs {
  const T* A;        // [B,n,n] or [B,n(n+1)/2], as `stored` says
  const T* M;        // [B,n,n] or null
  const void* b;     // [B,n] float or double
  const void* x0;    // [B,n] float or double, or null
  void* x;           // [B,n] out; float where T and b are, else double
  CgReport* report;  // [B] out
  int n, systems;
  bool b_is_double, x0_is_double;
  CgOptions options;
};

// Blocks that solve one system together hold r and p, all of it, each; x and its like belong to the owner of the rows.
// The rest are the bytes of what lies, in this order, in shared memory and in the workspace.
struct CgPlan {
  int blocks;                        // that solve one system; with one, every block of the grid has a system of its own
  int threads;                       // of a block
  int rows;                          // of A that a block owns; of the last block fewer
  int kept;                          // of these in its shared memory, where A is resident
  int panels;                        // of four rows that a block multiplies, where A is not resident
  int padded;                        // n, up to a multiple of 4
  int energies;                      // that Martens' rule looks back on
  bool resident;                     // the block multiplies by its rows of A, not by panels of a triangle in memory
  bool on_chip;                      // so do r, p and A p, and the products' partial sums
  std::size_t wide, narrow;          // a vector of doubles, one of T
  std::size_t sums, parts, vectors;  // of a block: partial sums of its warps, those of its products, its r, p and A p
  std::size_t rest;                  // of a block: its rows that are not kept
  std::size_t slots, history;        // of a system: the sums of its blocks, its energies
  std::size_t shared_bytes;          // of a block
  std::size_t workspace_bytes;       // of one system under way
};

// Matrix-free: so that a number of products is enough whatever the device decides.
constexpr int cg_most_restarts = 6;
constexpr std::size_t cg_layout_bytes = 512, cg_scalar_bytes = 256;  // in shared memory
constexpr std::size_t cg_line(std::size_t bytes) { return (bytes + 127) / 128 * 128; }

constexpr int cg_energies(const CgOptions& o) {
  if (!o.martens) return 0;
  if (o.maxiter >= 10 * longest_look_back) return longest_look_back + 1;
  return o.maxiter <= 100 ? 11 : static_cast<int>((o.maxiter + 9) / 10 + 1);
}

// Most threads of a block. Where the matrix comes from memory, and for entries of 8 bytes, a thread has more registers.
constexpr int cg_most(std::size_t entry, bool resident) { return entry == 8 ? 256 : resident ? 512 : 384; }

// Four entries per thread and round: more warps only make the barriers dearer.
constexpr int cg_threads(int n, std::size_t entry, bool resident) {
  int threads = 64;
  while (threads < 512 && 4 * threads < n) threads *= 2;
  return threads < cg_most(entry, resident) ? threads : cg_most(entry, resident);
}

// Partial sums of so many rows: four rows at a time, each by a warp or by several.
constexpr int cg_parts(int rows, int threads) {
  const int whole = (rows + 3) / 4 * 4;
  return whole > threads / 8 ? whole : threads / 8;
}

constexpr CgPlan plan_cg_with(int n, std::size_t entry, const CgOptions& o, int blocks, std::size_t shared,
                              bool resident) {
  CgPlan p{};
  p.threads = cg_threads(n, entry, resident);
  p.rows = (n + blocks - 1) / blocks;
  if (resident && blocks > 1 && p.rows < 4) p.rows = 4;
  p.blocks = resident && blocks > 1 ? (n + p.rows - 1) / p.rows : blocks;
  const int panels = (n + 3) / 4, pairs = (panels + 1) / 2, warps = p.threads / 32;
  p.panels = 2 * ((pairs + p.blocks - 1) / p.blocks);
  p.padded = 4 * panels;
  p.energies = cg_energies(o);
  p.resident = resident;
  int parts = cg_parts(p.rows, p.threads) + 2 * cg_parts(0, p.threads);  // of what is kept and of the rest
  if (!resident && parts < p.threads) parts = p.threads;
  if (!resident && parts < 4 * p.panels * warps) parts = 4 * p.panels * warps;
  p.wide = cg_line(static_cast<std::size_t>(p.padded) * sizeof(double));
  p.narrow = cg_line(static_cast<std::size_t>(p.padded) * entry);
  p.sums = cg_line(3 * sizeof(double) * static_cast<std::size_t>(warps));
  p.parts = cg_line(sizeof(double) * static_cast<std::size_t>(parts));
  p.vectors = static_cast<std::size_t>(o.flexible ? 4 : 3) * p.narrow;
  p.slots = cg_line(6 * sizeof(double) * static_cast<std::size_t>(p.blocks));
  p.history = cg_line(sizeof(double) * static_cast<std::size_t>(p.energies));

  const std::size_t row = static_cast<std::size_t>(p.padded) * entry;
  const std::size_t least = cg_layout_bytes + cg_scalar_bytes + p.sums, most = least + p.parts + p.vectors;
  const std::size_t fit = most < shared ? (shared - most) / row : 0, rows = static_cast<std::size_t>(p.rows);
  p.kept = !resident ? 0 : fit < rows ? static_cast<int>(fit) : p.rows;
  p.rest = resident ? cg_line((rows - static_cast<std::size_t>(p.kept)) * row) : 0;
  p.on_chip = resident || most <= shared;
  p.shared_bytes = (p.on_chip ? most : least) + static_cast<std::size_t>(p.kept) * row;
  const std::size_t each = p.wide + (resident ? p.rest : p.wide) + (p.on_chip ? 0 : p.parts + p.vectors);
  p.workspace_bytes = 5 * p.wide + 3 * p.narrow + p.slots + p.history + static_cast<std::size_t>(p.blocks) * each;
  return p;
}

// A block per system where the matrix fits into its shared memory, or where there are as many systems as blocks run at
// once; else all blocks together. These keep in shared memory as many of their rows as fit there. The others they read
// once per iteration, in which the grid meets once; where that would be more than half of the matrix, it is one
// triangle that is read, and the grid meets twice. `blocks` is what the device runs at once, one per multiprocessor.
constexpr CgPlan plan_cg(int n, std::size_t entry, const CgOptions& o, int systems, int blocks, std::size_t shared) {
  const CgPlan alone = plan_cg_with(n, entry, o, 1, shared, true);
  if (alone.kept == alone.rows) return alone;
  if (systems >= blocks) return plan_cg_with(n, entry, o, 1, shared, false);
  const CgPlan together = plan_cg_with(n, entry, o, blocks, shared, true);
  if (2 * together.kept >= together.rows) return together;
  return plan_cg_with(n, entry, o, blocks, shared, false);
}

// The plan on the current device, and in `groups` how many systems are under way at once: so many workspaces it takes.
template <class T>
cudaError_t cg_plan(int n, int systems, const CgOptions& options, CgPlan* plan, int* groups);

// Queues the solution of all systems on the stream and returns at once. args and workspace point to device memory of
// the current device; the workspace is free again when the stream has passed this call.
template <class T>
cudaError_t cg(const CgArgs<T>& args,
               void* workspace,  // groups times workspace_bytes of the plan, aligned to 128
               cudaStream_t stream);

// Matrix-free: the caller multiplies, and a launch does everything between two products. Which product is wanted next
// is decided on the device, which writes the vector to multiply, so the host can go on without knowing; once the
// solution is over, further steps leave it as it is.
template <class T>
struct CgStepArgs {
  const void* answer;  // [n] the product with the v of the step before, float or double; null for the first step
  const T* b;          // [n]
  const void* x0;      // [n] float or double, or null
  T* v;                // [n] out: what is to be multiplied
  T* x;                // [n] out, when the solution is over
  CgReport* report;    // [1] out; info is cg_under_way until then
  int n;
  bool answer_is_double, x0_is_double;
  CgOptions options;
};
constexpr long long cg_under_way = -6;

struct CgStepPlan {
  int blocks, rows;  // entries that a block owns
  int energies;
  std::size_t wide, narrow, slots, history, workspace_bytes;  // as in CgPlan
};

constexpr int cg_step_threads = 256;
// So many products, and the solution is over: the first residual, those of the verifications, that of the smallest
// residual's x.
constexpr long long cg_most_products(long long maxiter) { return maxiter + cg_most_restarts + 2; }

constexpr CgStepPlan plan_cg_step(int n, std::size_t entry, const CgOptions& o, int resident) {
  CgStepPlan p{};
  const int wanted = (n - 1) / (4 * cg_step_threads) + 1;
  p.blocks = wanted < resident ? wanted : resident > 0 ? resident : 1;
  p.rows = (n - 1) / p.blocks + 1;
  p.energies = cg_energies(o);
  p.wide = cg_line(static_cast<std::size_t>(n) * sizeof(double));
  p.narrow = cg_line(static_cast<std::size_t>(n) * entry);
  p.slots = cg_line(6 * sizeof(double) * static_cast<std::size_t>(p.blocks));
  p.history = cg_line(sizeof(double) * static_cast<std::size_t>(p.energies));
  p.workspace_bytes = cg_scalar_bytes + 5 * p.wide + (o.flexible ? 3 : 2) * p.narrow + p.slots + p.history;
  return p;
}

template <class T>
cudaError_t cg_step_plan(int n, const CgOptions& options, CgStepPlan* plan);

// Queues a step on the stream and returns at once. The workspace, workspace_bytes aligned to 128, belongs to the
// solution and keeps what the next step needs.
template <class T>
cudaError_t cg_step(const CgStepArgs<T>& args, void* workspace, cudaStream_t stream);

}  // namespace pyasr::cuda

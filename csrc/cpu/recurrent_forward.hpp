// Forward over one part of the ranks: the input product of a chunk of steps into the saved gates, then step by step
// gates += h w_hhᵀ and the cell, in place. Chunks keep the gates in cache between the two.
//
// Flops: 2 * frames * G*H * (D + H). Bytes per step beyond the chunk: the recurrent weights, G*H*H; every panel is read
// once per step, by all rows of the part, while it lies in the second-level cache.
#pragma once
#include "cpu/recurrent.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr long forward_chunk = 256;  // rows; more where one step has more

// The steps [first, last) of ranks [r0, r1) that make up one chunk, and the rows among them.
struct Chunk {
  long first, last = 0, rows = 0;
  template <class K>
  Chunk(const K& k, long step, long r0, long r1, long limit) : first(step), last(step) {
    while (last < k.T_) {
      const long n = least(k.rows(last), r1) - r0;
      if (n <= 0 || (rows && rows + n > limit)) break;
      rows += n;
      ++last;
    }
  }
};

// Scratch of one worker of forward or jvp.
template <class T>
struct ChunkScratch {
  long* row;   // [rows] where each row of the chunk goes
  T* slivers;  // [rows,K]
  T* pre;      // [rows,Gp] jvp only
  ChunkScratch(Pieces& p, long rows, long K, long pre_columns)
      : row(p.take<long>(rows + Tile<T>::rows)),
        slivers(p.take<T>(slivers_size<T>(rows, K))),
        pre(p.take<T>(rows * pre_columns)) {}
};

template <class T, class Cell>
struct ForwardPass {
  using K = Saved<T, Cell>;
  static constexpr int G = Cell::gates, L = lanes<T>;
  const K& k;
  const RecurrentForward<T>& a;
  const Runtime& runtime;

  void pack(long i) const {
    const long panels = divide_up(k.Gp, Tile<T>::columns);
    const int d = static_cast<int>(i / (2 * panels));
    const Direction<T>& to = k.direction[d];
    const T* w_ih = a.w_ih + d * G * k.H * k.D;
    const T* w_hh = a.w_hh + d * G * k.H * k.H;
    const T* bias = a.bias + d * G * k.H;
    const long panel = i % (2 * panels);
    if (panel < panels) {
      const long c = panel * Tile<T>::columns, width = panel_width<T>(c, k.Gp);
      T* in = to.w_ih + c * (k.D + 1);
      pack_forward<T, G>(in, c, width, w_ih, k.D, k.H);
      pack_forward<T, G>(in + k.D * width, c, width, bias, 1, k.H);
      pack_forward<T, G>(to.w_hh + c * k.H, c, width, w_hh, k.H, k.H);
      return;
    }
    for (long n = (panel - panels) * Tile<T>::columns; n < k.D || n < k.H; n += panels * Tile<T>::columns) {
      if (n < k.D) pack_backward<T, G>(to.w_ih_back + n * k.Gp, n, panel_width<T>(n, k.D), w_ih, k.D, k.H, k.Gp);
      if (n < k.H) pack_backward<T, G>(to.w_hh_back + n * k.Gp, n, panel_width<T>(n, k.H), w_hh, k.H, k.H, k.Gp);
    }
  }

  void input_product(int d, const Chunk& chunk, long r0, long r1, const ChunkScratch<T>& scratch) const {
    long i = 0;
    for (long s = chunk.first; s < chunk.last; ++s)
      for (long r = r0; r < r1 && r < k.rows(s); ++r, ++i) {
        scratch.row[i] = (k.begin[s] + r) * k.Gp;
        *spread(sliver_row(scratch.slivers, i, k.D + 1), a.x + k.frame(d, s, r) * k.D, k.D) = 1;
      }
    const Direction<T>& to = k.direction[d];
    slivers_times_panels(i, k.D + 1, k.Gp, scratch.slivers, to.w_ih, to.gates, scratch.row, false);
  }

  void step(int d, long s, long r0, long n) const {
    const Direction<T>& to = k.direction[d];
    const long at = k.begin[s] + r0;
    const T* h_before = k.before(to.h, to.h_init, s, r0);
    const T* c_before = G == 4 ? k.before(to.c, to.c_init, s, r0) : nullptr;
    for (long g = 0; g < k.Gp; g += group_columns<T, G>) {
      const long end = least(g + group_columns<T, G>, k.Gp);
      for (long c = g; c < end; c += Tile<T>::columns)
        rows_times_panel(n, k.H, h_before, k.Hp, to.w_hh + c * k.H, panel_width<T>(c, k.Gp), to.gates + at * k.Gp + c,
                         k.Gp, true);
      for (long i = 0; i < n; ++i)
        for (long u = g / G; u < end / G; u += L) {
          T* gates = to.gates + (at + i) * k.Gp + u * G;
          const long state = (at + i) * k.Hp + u;
          Cell::forward(gates, G == 4 ? c_before + i * k.Hp + u : nullptr, G == 4 ? to.c + state : nullptr,
                        to.h + state);
        }
    }
    for (long i = 0; i < n; ++i)
      __builtin_memcpy(a.y + (k.frame(d, s, r0 + i) * k.S + d) * k.H, to.h + (at + i) * k.Hp,
                       static_cast<std::size_t>(k.H) * sizeof(T));
  }

  // The states behind the last step of each sequence, and zeros behind its last frame.
  void finish(int d, long r0, long r1) const {
    const Direction<T>& from = k.direction[d];
    const auto bytes = static_cast<std::size_t>(k.H) * sizeof(T);
    for (long r = r0; r < r1; ++r) {
      const long b = k.order[r], length = k.length[b], state = (d * k.B + b) * k.H;
      __builtin_memcpy(a.hn + state, k.before(from.h, from.h_init, length, r), bytes);
      if constexpr (G == 4) __builtin_memcpy(a.cn + state, k.before(from.c, from.c_init, length, r), bytes);
      for (long t = length; t < k.T_; ++t) __builtin_memset(a.y + ((t * k.B + b) * k.S + d) * k.H, 0, bytes);
    }
  }

  void part(int d, long r0, long r1, const ChunkScratch<T>& scratch) const {
    for (long s = 0; s < k.T_;) {
      const Chunk chunk(k, s, r0, r1, forward_chunk);
      if (!chunk.rows) break;
      input_product(d, chunk, r0, r1, scratch);
      for (; s < chunk.last; ++s) {
        step(d, s, r0, least(k.rows(s), r1) - r0);
        if (runtime.stop(runtime.self)) return;
      }
    }
    finish(d, r0, r1);
  }
};

template <class T, class Cell>
struct ForwardScratch {
  static constexpr long most_rows(long B) { return B > forward_chunk ? B : forward_chunk; }
  static std::size_t bytes(const RecurrentShape& s, int threads) noexcept {
    Pieces p{nullptr};
    for (int i = 0; i < threads; ++i) ChunkScratch<T>(p, most_rows(s.B), s.D + 1, 0);
    return p.used;
  }
};

template <class T, class Cell>
std::size_t saved_bytes(const RecurrentShape& shape) noexcept {
  return Saved<T, Cell>(shape, nullptr).bytes;
}

template <class T, class Cell>
void forward(const RecurrentShape& shape, const RecurrentForward<T>& a, void* workspace,
             const Runtime& runtime) noexcept {
  Saved<T, Cell> k(shape, a.saved);
  k.rank(a.lengths);
  const ForwardPass<T, Cell> pass{k, a, runtime};
  parallel_for(runtime, k.S * 2 * divide_up(k.Gp, Tile<T>::columns), [&](long i, int) { pass.pack(i); });
  for (int d = 0; d < k.S; ++d) {
    by_rank(k, a.h0 ? a.h0 + d * k.B * k.H : nullptr, k.direction[d].h_init);
    if constexpr (Cell::gates == 4) by_rank(k, a.c0 ? a.c0 + d * k.B * k.H : nullptr, k.direction[d].c_init);
  }
  if (runtime.stop(runtime.self)) return;
  const Parts parts(k, runtime.threads);
  const std::size_t each = ForwardScratch<T, Cell>::bytes(shape, 1);
  parallel_for(runtime, k.S * parts.count, [&](long i, int worker) {
    Pieces p{static_cast<char*>(workspace) + static_cast<std::size_t>(worker) * each};
    const ChunkScratch<T> scratch(p, ForwardScratch<T, Cell>::most_rows(k.B), k.D + 1, 0);
    const long part = i / k.S;
    pass.part(static_cast<int>(i % k.S), parts.bound(part), parts.bound(part + 1), scratch);
  });
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA

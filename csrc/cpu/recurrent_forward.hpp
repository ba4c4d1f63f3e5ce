// Forward over one part of the ranks, step by step: gates = [x | 1] w_ihᵀ + h w_hhᵀ and the cell, for the units of a
// panel and a tile of rows at a time. With few inputs both products go into a block in the first-level cache; with many
// the product with the inputs is that of a whole chunk of steps, so that w_ih is not read at every one, and waits in
// the saved gates (in scratch for inference, which saves nothing but the states of two steps). The bits are the same.
//
// Flops: 2 * frames * G*H * (D + R). Bytes per step: the recurrent weights, G*H*R; every panel is read once per step,
// by all rows of the part, while it lies in the second-level cache.
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
  T* pre;      // [rows,Gp] jvp and inference
  T* h;        // [B,Rp] the state behind its mask
  T* x;        // [B,D+1] forward only: the inputs of a step, and 1
  T* m;        // [B,Hp] jvp only: the tangent of what the projection takes
  ChunkScratch(Pieces& p, long rows, long K, long pre_columns, long states, long inputs, long cells)
      : row(p.take<long>(rows + Tile<T>::rows)),
        slivers(p.take<T>(slivers_size<T>(rows, K))),
        pre(p.take<T>(rows * pre_columns)),
        h(p.take<T>(states)),
        x(p.take<T>(inputs)),
        m(p.take<T>(cells)) {}
};

// The panels of one direction; panel i of 2 * divide_up(Gp, columns), of which the later half is the projection's.
template <class T, class Cell, class W>
void pack_panels(const RecurrentShape& shape, const RecurrentWeights<T>& from, const Packed<T, Cell, W>& to, int d,
                 long panel) {
  const long D = shape.D, H = shape.H, R = shape.R, Hp = round_up(H, lanes<T>), Gp = Cell::gates * Hp;
  const long c = panel * Tile<T>::columns, width = panel_width<T>(c, Gp), rows = Cell::weight_rows * H;
  const auto& k = to.direction[d];
  W* in = k.w_ih + c * (D + 1);
  pack_columns<T, Input<Cell>>(in, c, width, from.w_ih + d * rows * D, D, H);
  pack_columns<T, Bias<Cell>>(in + D * width, c, width, from.bias + d * Cell::gates * H, 1, H);
  pack_columns<T, State<Cell>>(k.w_hh + c * R, c, width, from.w_hh + d * rows * R, R, H);
  if (k.w_hr)
    for (long n = c; n < R; n += round_up(Gp, Tile<T>::columns))
      pack_columns<T, One>(k.w_hr + n * H, n, panel_width<T>(n, R), from.projection + d * R * H, H, R);
  if (k.peephole && panel == 0)
    for (long q = 0; q < 3; ++q)
      for (long u = 0; u < Hp; ++u) k.peephole[q * Hp + u] = u < H ? from.peephole[(d * 3 + q) * H + u] : T(0);
}

template <class T, class Cell, class W>
void pack_all(const RecurrentShape& shape, const RecurrentWeights<T>& from, const Packed<T, Cell, W>& to,
              const Runtime& runtime) {
  const long panels = divide_up(Cell::gates * round_up(shape.H, lanes<T>), Tile<T>::columns);
  parallel_for(runtime, shape.S * panels,
               [&](long i, int) { pack_panels(shape, from, to, static_cast<int>(i / panels), i % panels); });
}

template <class T, class Cell, class W>
struct ForwardPass {
  using K = Saved<T, Cell, W>;
  static constexpr int G = Cell::gates, L = lanes<T>;
  const K& k;
  const RecurrentForward<T>& a;
  const Runtime& runtime;
  const Masks<T> masks;
  const bool options;

  ForwardPass(const RecurrentShape& shape, const K& saved, const RecurrentForward<T>& args, const Runtime& runtime_)
      : k(saved),
        a(args),
        runtime(runtime_),
        masks{args.masks},
        options(Cell::options && (shape.peephole || shape.projected || masks.any())) {}

  // The gates of a step's first rank: saved, or those of row i of the chunk.
  T* gates_of(int d, long s, long r0, long i, const ChunkScratch<T>& scratch) const {
    return k.frozen ? scratch.pre + i * k.Gp : k.direction[d].gates + (k.begin[s] + r0) * k.Gp;
  }

  void input_product(int d, const Chunk& chunk, long r0, long r1, const ChunkScratch<T>& scratch) const {
    T* const base = gates_of(d, 0, 0, 0, scratch);
    long i = 0;
    for (long s = chunk.first; s < chunk.last; ++s)
      for (long r = r0; r < r1 && r < k.rows(s); ++r, ++i) {
        scratch.row[i] = gates_of(d, s, r, i, scratch) - base;
        *spread(sliver_row(scratch.slivers, i, k.D + 1), a.x + k.frame(d, s, r) * k.D, k.D) = 1;
      }
    slivers_times_panels(i, k.D + 1, k.Gp, scratch.slivers, k.weights.direction[d].w_ih, base, scratch.row, false);
  }

  // The cell of row i of a step, units [u, u + lanes), from what stands before the nonlinearities.
  void cell(int d, long s, long r, long u, const T* pre, T* gates) const {
    const Direction<T>& to = k.direction[d];
    const long state = k.state_row(s, r) * k.Hp + u;
    const T* c_before = Cell::carries ? k.c_before(d, s, r) + u : nullptr;
    if constexpr (Cell::options) {
      if (options) {
        const int real = static_cast<int>(least(L, k.H - u));
        Cell::forward(
            pre, gates, c_before, to.c + state, to.m + state,
            options_of(k.weights.direction[d].peephole, k.Hp, a.masks.cell_clip, masks.keep_c(k, d, s, r), u, real));
        return;
      }
    }
    Cell::forward(pre, gates, c_before, Cell::own_cell ? to.c + state : nullptr, to.h + state);
  }

  // Rows of [x | 1] of a step.
  const T* inputs(int d, long s, long r0, long n, T* to) const {
    for (long i = 0; i < n; ++i) {
      T* row = to + i * (k.D + 1);
      __builtin_memcpy(row, a.x + k.frame(d, s, r0 + i) * k.D, static_cast<std::size_t>(k.D) * sizeof(T));
      row[k.D] = 1;
    }
    return to;
  }

  // The units of the gate columns [g, end) for n rows from r on, at most a tile. x: their inputs, or null where their
  // product stands in gates [n,Gp] already.
  void tile_of_cells(int d, long s, long r, long n, long g, long end, const T* x, const T* h, T* gates) const {
    constexpr long columns = group_columns<T, G>, most = Tile<T>::rows;
    alignas(64) T block[most * columns];
    long row[most];
    T* const pre = x ? block : gates + g;
    const long ld = x ? columns : k.Gp;
    for (long i = 0; i < most; ++i) row[i] = i * ld;
    const auto& weights = k.weights.direction[d];
    for (long c = g; c < end; c += Tile<T>::columns) {
      const auto tile = tile_for<T, W, false>(n, panel_width<T>(c, k.Gp));
      if (x) tile(k.D + 1, x, k.D + 1, weights.w_ih + c * (k.D + 1), pre + (c - g), row, false);
      tile(k.R, h, k.Rp, weights.w_hh + c * k.R, pre + (c - g), row, true);
    }
    for (long i = 0; i < n; ++i)
      for (long u = 0; u < (end - g) / G; u += L) {
        T* const in = pre + i * ld + u * G;
        cell(d, s, r + i, g / G + u, in, x && !k.frozen ? gates + i * k.Gp + g + u * G : in);
      }
  }

  // gates: [n,Gp] of this step, with the product of the inputs unless `joined`
  void step(int d, long s, long r0, long n, T* gates, bool joined, const ChunkScratch<T>& scratch) const {
    const Direction<T>& to = k.direction[d];
    const auto& weights = k.weights.direction[d];
    const long at = k.state_row(s, r0);
    const T* before = k.h_before(d, s, r0);
    const T* h = options ? masks.masked(k, d, r0, n, before, scratch.h) : before;
    const T* x = joined ? inputs(d, s, r0, n, scratch.x) : nullptr;
    for (long g = 0; g < k.Gp; g += group_columns<T, G>) {
      const long end = least(g + group_columns<T, G>, k.Gp);
      long m = 0;
      for (long left = divide_up(n, Tile<T>::rows); left > 0; --left) {  // spread evenly: see rows_times_panel
        const long some = divide_up(n - m, left);
        tile_of_cells(d, s, r0 + m, some, g, end, x ? x + m * (k.D + 1) : nullptr, h + m * k.Rp, gates + m * k.Gp);
        m += some;
      }
    }
    if (options) {
      if (weights.w_hr)
        for (long c = 0; c < k.R; c += Tile<T>::columns)
          rows_times_panel(n, k.H, to.m + at * k.Hp, k.Hp, weights.w_hr + c * k.H, panel_width<T>(c, k.R),
                           to.h + at * k.Rp + c, k.Rp, false);
      masks.mix(k, d, s, r0, n, before, to.h + at * k.Rp);
    }
    for (long i = 0; i < n; ++i)
      __builtin_memcpy(a.y + (k.frame(d, s, r0 + i) * k.S + d) * k.R, to.h + (at + i) * k.Rp,
                       static_cast<std::size_t>(k.R) * sizeof(T));
  }

  // The states behind the last step of each sequence, and zeros behind its last frame.
  void finish(int d, long r0, long r1) const {
    const auto h_bytes = static_cast<std::size_t>(k.R) * sizeof(T), c_bytes = static_cast<std::size_t>(k.H) * sizeof(T);
    for (long r = r0; r < r1; ++r) {
      const long b = k.order[r], length = k.length[b];
      __builtin_memcpy(a.hn + (d * k.B + b) * k.R, k.h_before(d, length, r), h_bytes);
      if constexpr (Cell::own_cell) __builtin_memcpy(a.cn + (d * k.B + b) * k.H, k.c_before(d, length, r), c_bytes);
      for (long t = length; t < k.T_; ++t) __builtin_memset(a.y + ((t * k.B + b) * k.S + d) * k.R, 0, h_bytes);
    }
  }

  void part(int d, long r0, long r1, const ChunkScratch<T>& scratch) const {
    for (long s = 0; s < k.T_;) {
      const Chunk chunk(k, s, r0, r1, forward_chunk);
      if (!chunk.rows) break;
      // Few rows are bound by reading weights, and those of the inputs would be read at every step.
      const bool joined = (k.D + 1) * (least(k.rows(s), r1) - r0 < 4 ? 8 : 2) <= k.R;
      if (!joined) input_product(d, chunk, r0, r1, scratch);
      for (long i = 0; s < chunk.last; ++s) {
        const long n = least(k.rows(s), r1) - r0;
        step(d, s, r0, n, gates_of(d, s, r0, i, scratch), joined, scratch);
        i += n;
        if (runtime.stop(runtime.self)) return;
      }
    }
    finish(d, r0, r1);
  }
};

template <class T, class Cell>
ChunkScratch<T> forward_scratch(Pieces& p, const RecurrentShape& s) {
  const long rows = s.B > forward_chunk ? s.B : forward_chunk;
  const long gates = s.frozen ? Cell::gates * round_up(s.H, lanes<T>) : 0;
  return ChunkScratch<T>(p, rows, s.D + 1, gates, s.B * round_up(s.R, lanes<T>), s.B * (s.D + 1), 0);
}
template <class T, class Cell>
std::size_t forward_bytes(const RecurrentShape& shape, int threads) noexcept {
  Pieces p{nullptr};
  for (int i = 0; i < threads; ++i) forward_scratch<T, Cell>(p, shape);
  return p.used;
}

template <class T, class Cell>
std::size_t saved_bytes(const RecurrentShape& shape) noexcept {
  return Saved<T, Cell>(shape, nullptr).bytes;
}
template <class T, class Cell, class W>
std::size_t packed_bytes(const RecurrentShape& shape) noexcept {
  Pieces p{nullptr};
  Packed<T, Cell, W>(shape, p);
  return p.used;
}
template <class T, class Cell, class W>
void pack(const RecurrentShape& shape, const RecurrentWeights<T>& weights, void* packed,
          const Runtime& runtime) noexcept {
  Pieces p{static_cast<char*>(packed)};
  pack_all(shape, weights, Packed<T, Cell, W>(shape, p), runtime);
}

template <class T, class Cell, class W>
void forward(const RecurrentShape& shape, const RecurrentForward<T>& a, void* workspace,
             const Runtime& runtime) noexcept {
  Saved<T, Cell, W> k(shape, a.saved, a.packed);
  k.rank(a.lengths);
  if (!shape.frozen) pack_all(shape, a.weights, k.weights, runtime);
  for (int d = 0; d < k.S; ++d) {
    by_rank(k, a.h0 ? a.h0 + d * k.B * k.R : nullptr, k.R, k.direction[d].h_init, k.Rp);
    if constexpr (Cell::own_cell) by_rank(k, a.c0 ? a.c0 + d * k.B * k.H : nullptr, k.H, k.direction[d].c_init, k.Hp);
  }
  if (runtime.stop(runtime.self)) return;
  const ForwardPass<T, Cell, W> pass(shape, k, a, runtime);
  const Parts parts(k, runtime.threads);
  const std::size_t each = forward_bytes<T, Cell>(shape, 1);
  parallel_for(runtime, k.S * parts.count, [&](long i, int worker) {
    Pieces p{static_cast<char*>(workspace) + static_cast<std::size_t>(worker) * each};
    const ChunkScratch<T> scratch = forward_scratch<T, Cell>(p, shape);
    const long part = i / k.S;
    pass.part(static_cast<int>(i % k.S), parts.bound(part), parts.bound(part + 1), scratch);
  });
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA

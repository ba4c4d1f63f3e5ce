// Tangents (the R-operator): forward once more with tangents in place of values. Everything that does not depend on the
// tangent of h is one product per chunk, [dx | x | h_before | 1] [w_ih | dw_ih | dw_hh | dbias]ᵀ; tangents that are
// null have no columns in it. Then step by step pre += dh w_hhᵀ with the saved weights, the tangent of the cell and,
// with a projection, two products with it.
//
// Tangents are linear, so large ones (an entry of 3e38 would overflow in the products, though the result may be small)
// are scaled down by a power of two, which changes no bits, and their results up again.
//
// Flops: 4 * frames * G*H * (D + H) when everything has a tangent: twice forward.
#pragma once
#include "cpu/recurrent_forward.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

template <class T>
bool any_large(const T* v, long n) {
  constexpr T limit = sizeof(T) == 4 ? T(0x1p64) : T(0x1p512);
  bool large = false;
  for (long i = 0; v && i < n; ++i) large |= v[i] > limit || v[i] < -limit;
  return large;
}
template <class T>
void scale(T* v, long n, T by) {
  if (by != 1)
    for (long i = 0; i < n; ++i) v[i] *= by;
}

template <class T, class Cell>
struct JvpScratch {
  long inner;  // columns of [dx | x | h_before | 1] in use
  struct {
    T* weights;     // panels of [inner,Gp]
    T* dh[2];       // [B,Rp] by rank, before and after the step at hand
    T* dc;          // [B,Hp]
    T* projection;  // panels of [H,R]; where the projection has a tangent, else null
    T* peephole;    // [3,Hp] likewise
  } direction[2];
  std::size_t per_worker;
  char* workers;
  std::size_t bytes;

  JvpScratch(const RecurrentShape& shape, long inner_, bool projection, bool peephole, int threads, void* block)
      : inner(inner_) {
    Pieces p{static_cast<char*>(block)};
    const long Hp = round_up(shape.H, lanes<T>), Rp = round_up(shape.R, lanes<T>), Gp = Cell::gates * Hp;
    for (int d = 0; d < shape.S; ++d) {
      direction[d].weights = p.take<T>(panels_size<T>(inner, Gp));
      direction[d].dh[0] = p.take<T>(shape.B * Rp);
      direction[d].dh[1] = p.take<T>(shape.B * Rp);
      direction[d].dc = p.take<T>(shape.B * Hp);
      direction[d].projection = projection ? p.take<T>(panels_size<T>(shape.H, shape.R)) : nullptr;
      direction[d].peephole = peephole ? p.take<T>(3 * Hp) : nullptr;
    }
    Pieces one{nullptr};
    worker_at(one, shape);
    per_worker = one.used;
    workers = p.take<char>(static_cast<long>(per_worker) * threads);
    bytes = p.used;
  }
  ChunkScratch<T> worker(const RecurrentShape& shape, int i) const {
    Pieces p{workers + per_worker * static_cast<std::size_t>(i)};
    return worker_at(p, shape);
  }

 private:
  ChunkScratch<T> worker_at(Pieces& p, const RecurrentShape& s) const {
    const long Hp = round_up(s.H, lanes<T>), rows = s.B > forward_chunk ? s.B : forward_chunk;
    return ChunkScratch<T>(p, rows, inner, Cell::gates * Hp, s.B * round_up(s.R, lanes<T>), 0,
                           s.projected ? s.B * Hp : 0);
  }
};

template <class T, class Cell>
struct JvpPass {
  using K = Saved<T, Cell>;
  static constexpr int G = Cell::gates, L = lanes<T>;
  const RecurrentShape& shape;
  const K& k;
  const RecurrentJvp<T>& a;
  const JvpScratch<T, Cell>& w;
  const Runtime& runtime;
  const Masks<T> masks;
  const T unit;  // factor of every tangent inside, 1 or a negative power of two
  const bool options;

  JvpPass(const RecurrentShape& shape_, const K& saved, const RecurrentJvp<T>& args, const JvpScratch<T, Cell>& scratch,
          const Runtime& runtime_, T unit_)
      : shape(shape_),
        k(saved),
        a(args),
        w(scratch),
        runtime(runtime_),
        masks{args.masks},
        unit(unit_),
        options(Cell::options && (shape.peephole || shape.projected || masks.any())) {}

  void pack(int d, long panel) const {
    const long c = panel * Tile<T>::columns, width = panel_width<T>(c, k.Gp), rows = Cell::weight_rows * k.H;
    const RecurrentWeights<T>& dw = a.weights;
    const auto& to = w.direction[d];
    T* at = to.weights + c * w.inner;
    if (a.dx) {
      const T* from = k.weights.direction[d].w_ih + c * (k.D + 1);
      __builtin_memcpy(at, from, static_cast<std::size_t>(k.D * width) * sizeof(T));
      at += k.D * width;
    }
    if (dw.w_ih) {
      pack_columns<T, Input<Cell>>(at, c, width, dw.w_ih + d * rows * k.D, k.D, k.H, unit);
      at += k.D * width;
    }
    if (dw.w_hh) {
      pack_columns<T, State<Cell>>(at, c, width, dw.w_hh + d * rows * k.R, k.R, k.H, unit);
      at += k.R * width;
    }
    if (dw.bias) pack_columns<T, Bias<Cell>>(at, c, width, dw.bias + d * G * k.H, 1, k.H, unit);
    if (to.projection)
      for (long n = c; n < k.R; n += round_up(k.Gp, Tile<T>::columns))
        pack_columns<T, One>(to.projection + n * k.H, n, panel_width<T>(n, k.R), dw.projection + d * k.R * k.H, k.H,
                             k.R, unit);
    if (to.peephole && panel == 0)
      for (long q = 0; q < 3; ++q)
        for (long u = 0; u < k.Hp; ++u)
          to.peephole[q * k.Hp + u] = u < k.H ? unit * dw.peephole[(d * 3 + q) * k.H + u] : T(0);
  }

  void input_product(int d, const Chunk& chunk, long r0, long r1, const ChunkScratch<T>& scratch) const {
    long i = 0;
    for (long s = chunk.first; s < chunk.last; ++s)
      for (long r = r0; r < r1 && r < k.rows(s); ++r, ++i) {
        scratch.row[i] = i * k.Gp;
        T* to = sliver_row(scratch.slivers, i, w.inner);
        const long frame = k.frame(d, s, r) * k.D;
        if (a.dx) {
          T* const tangents = to;
          to = spread(to, a.dx + frame, k.D);
          if (unit != 1)
            for (long j = 0; j < k.D; ++j) tangents[j * Tile<T>::rows] *= unit;
        }
        if (a.weights.w_ih) to = spread(to, a.x + frame, k.D);
        if (a.weights.w_hh) {
          const T* h = k.h_before(d, s, r);
          to = spread(to, options ? masks.masked(k, d, r, 1, h, scratch.h) : h, k.R);
        }
        if (a.weights.bias) *to = 1;
      }
    slivers_times_panels(i, w.inner, k.Gp, scratch.slivers, w.direction[d].weights, scratch.pre, scratch.row, false);
  }

  // The cell of one row of a step, units [u, u + lanes): its tangent before the projection goes to dm.
  void cell(int d, long s, long r, long u, const T* pre, T* dm) const {
    const Direction<T>& from = k.direction[d];
    const long row = k.begin[s] + r;
    const T* gates = from.gates + row * k.Gp + u * G;
    const T* c_before = Cell::carries ? k.c_before(d, s, r) + u : nullptr;
    T* dc = w.direction[d].dc + r * k.Hp + u;
    if constexpr (Cell::options) {
      if (options) {
        const int real = static_cast<int>(least(L, k.H - u));
        Cell::jvp(
            gates, pre, c_before, dc, dm,
            options_of(k.weights.direction[d].peephole, k.Hp, a.masks.cell_clip, masks.keep_c(k, d, s, r), u, real),
            options_of<T>(w.direction[d].peephole, k.Hp, 0, nullptr, u, real));
        return;
      }
    }
    Cell::jvp(gates, pre, c_before, Cell::own_cell ? from.c + row * k.Hp + u : nullptr, dc, dm);
  }

  // dh [n,Rp] from dm [n,Hp], through the projection and the mixture with the h before.
  void project(int d, long s, long r0, long n, const T* dm, const T* before, T* dh) const {
    const T* m = k.direction[d].m + (k.begin[s] + r0) * k.Hp;
    const T* w_hr = k.weights.direction[d].w_hr;
    for (long c = 0; w_hr && c < k.R; c += Tile<T>::columns) {
      const long width = panel_width<T>(c, k.R);
      rows_times_panel(n, k.H, dm, k.Hp, w_hr + c * k.H, width, dh + c, k.Rp, false);
      if (const T* dw = w.direction[d].projection)
        rows_times_panel(n, k.H, m, k.Hp, dw + c * k.H, width, dh + c, k.Rp, true);
    }
    masks.mix(k, d, s, r0, n, before, dh);
  }

  // pre: [n,Gp] of this step
  void step(int d, long s, long r0, long n, T* pre, const ChunkScratch<T>& scratch) const {
    const auto& weights = k.weights.direction[d];
    const T* before = w.direction[d].dh[s % 2] + r0 * k.Rp;
    T* dh = w.direction[d].dh[(s + 1) % 2] + r0 * k.Rp;
    T* dm = weights.w_hr ? scratch.m : dh;
    const T* dh_in = options ? masks.masked(k, d, r0, n, before, scratch.h) : before;
    for (long g = 0; g < k.Gp; g += group_columns<T, G>) {
      const long end = least(g + group_columns<T, G>, k.Gp);
      for (long c = g; c < end; c += Tile<T>::columns)
        rows_times_panel(n, k.R, dh_in, k.Rp, weights.w_hh + c * k.R, panel_width<T>(c, k.Gp), pre + c, k.Gp, true);
      for (long i = 0; i < n; ++i)
        for (long u = g / G; u < end / G; u += L) cell(d, s, r0 + i, u, pre + i * k.Gp + u * G, dm + i * k.Hp + u);
    }
    if (options) project(d, s, r0, n, dm, before, dh);
    const auto bytes = static_cast<std::size_t>(k.R) * sizeof(T);
    for (long i = 0; i < n; ++i) {
      const long r = r0 + i, b = k.order[r];
      __builtin_memcpy(a.dy + (k.frame(d, s, r) * k.S + d) * k.R, dh + i * k.Rp, bytes);
      if (k.length[b] == s + 1) __builtin_memcpy(a.dhn + (d * k.B + b) * k.R, dh + i * k.Rp, bytes);
    }
  }

  // Undoes `unit` in the results of a sequence.
  void unscale(int d, long b) const {
    scale(a.dhn + (d * k.B + b) * k.R, k.R, 1 / unit);
    if constexpr (Cell::own_cell) scale(a.dcn + (d * k.B + b) * k.H, k.H, 1 / unit);
    for (long t = 0; t < k.length[b]; ++t) scale(a.dy + ((t * k.B + b) * k.S + d) * k.R, k.R, 1 / unit);
  }

  void part(int d, long r0, long r1, const ChunkScratch<T>& scratch) const {
    const auto h_bytes = static_cast<std::size_t>(k.R) * sizeof(T), c_bytes = static_cast<std::size_t>(k.H) * sizeof(T);
    for (long s = 0; s < k.T_;) {
      const Chunk chunk(k, s, r0, r1, forward_chunk);
      if (!chunk.rows) break;
      input_product(d, chunk, r0, r1, scratch);
      for (T* pre = scratch.pre; s < chunk.last; ++s) {
        const long n = least(k.rows(s), r1) - r0;
        step(d, s, r0, n, pre, scratch);
        pre += n * k.Gp;
        if (runtime.stop(runtime.self)) return;
      }
    }
    for (long r = r0; r < r1; ++r) {
      const long b = k.order[r], length = k.length[b];
      if (length == 0) __builtin_memcpy(a.dhn + (d * k.B + b) * k.R, w.direction[d].dh[0] + r * k.Rp, h_bytes);
      if constexpr (Cell::own_cell)
        __builtin_memcpy(a.dcn + (d * k.B + b) * k.H, w.direction[d].dc + r * k.Hp, c_bytes);
      for (long t = length; t < k.T_; ++t) __builtin_memset(a.dy + ((t * k.B + b) * k.S + d) * k.R, 0, h_bytes);
      unscale(d, b);
    }
  }
};

template <class T, class Cell>
std::size_t jvp_bytes(const RecurrentShape& s, int threads) noexcept {
  return JvpScratch<T, Cell>(s, 2 * s.D + s.R + 1, s.projected, s.peephole, threads, nullptr).bytes;
}

template <class T, class Cell>
void jvp(const RecurrentShape& shape, const RecurrentJvp<T>& a, void* workspace, const Runtime& runtime) noexcept {
  const Saved<T, Cell> k(shape, const_cast<void*>(a.saved));
  const RecurrentWeights<T>& dw = a.weights;
  const long inner = (a.dx ? k.D : 0) + (dw.w_ih ? k.D : 0) + (dw.w_hh ? k.R : 0) + (dw.bias ? 1 : 0);
  const JvpScratch<T, Cell> w(shape, inner, dw.projection, dw.peephole, runtime.threads, workspace);
  const long units = k.S * k.H, rows = Cell::weight_rows * units;
  const bool large = any_large(a.dx, k.T_ * k.B * k.D) || any_large(dw.w_ih, rows * k.D) ||
                     any_large(dw.w_hh, rows * k.R) || any_large(dw.bias, Cell::gates * units) ||
                     any_large(dw.peephole, 3 * units) || any_large(dw.projection, units * k.R) ||
                     any_large(a.dh0, k.S * k.B * k.R) || any_large(a.dc0, k.B * units);
  const T unit = !large ? T(1) : sizeof(T) == 4 ? T(0x1p-64) : T(0x1p-512);
  const JvpPass<T, Cell> pass(shape, k, a, w, runtime, unit);
  const long panels = divide_up(k.Gp, Tile<T>::columns);
  parallel_for(runtime, k.S * panels, [&](long i, int) { pass.pack(static_cast<int>(i / panels), i % panels); });
  for (int d = 0; d < k.S; ++d) {
    const T* dh0 = a.dh0 ? a.dh0 + d * k.B * k.R : nullptr;
    by_rank(k, dh0, k.R, w.direction[d].dh[0], k.Rp);
    scale(w.direction[d].dh[0], k.B * k.Rp, unit);
    if constexpr (Cell::carries) {
      by_rank(k, Cell::own_cell ? (a.dc0 ? a.dc0 + d * k.B * k.H : nullptr) : dh0, k.H, w.direction[d].dc, k.Hp);
      scale(w.direction[d].dc, k.B * k.Hp, unit);
    }
  }
  if (runtime.stop(runtime.self)) return;
  const Parts parts(k, runtime.threads);
  parallel_for(runtime, k.S * parts.count, [&](long i, int worker) {
    const long part = i / k.S;
    pass.part(static_cast<int>(i % k.S), parts.bound(part), parts.bound(part + 1), w.worker(shape, worker));
  });
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA

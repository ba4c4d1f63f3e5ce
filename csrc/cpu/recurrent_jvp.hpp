// Tangents (the R-operator): forward once more with tangents in place of values. Everything that does not depend on the
// tangent of h is one product per chunk, [dx | x | h_before | 1] [w_ih | dw_ih | dw_hh | dbias]ᵀ; tangents that are
// null have no columns in it. Then step by step pre += dh w_hhᵀ with the saved weights, and the tangent of the cell.
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
    T* weights;  // panels of [inner,Gp]
    T* dh[2];    // [B,Hp] by rank, before and after the step at hand
    T* dc;       // [B,Hp]
  } direction[2];
  std::size_t per_worker;
  char* workers;
  std::size_t bytes;

  static long most_rows(long B) { return B > forward_chunk ? B : forward_chunk; }
  JvpScratch(const Saved<T, Cell>& k, long inner_, int threads, void* block) : inner(inner_) {
    Pieces p{static_cast<char*>(block)};
    for (int d = 0; d < k.S; ++d) {
      direction[d].weights = p.take<T>(panels_size<T>(inner, k.Gp));
      direction[d].dh[0] = p.take<T>(k.B * k.Hp);
      direction[d].dh[1] = p.take<T>(k.B * k.Hp);
      direction[d].dc = p.take<T>(k.B * k.Hp);
    }
    Pieces one{nullptr};
    ChunkScratch<T>(one, most_rows(k.B), inner, k.Gp);
    per_worker = one.used;
    workers = p.take<char>(static_cast<long>(per_worker) * threads);
    bytes = p.used;
  }
  ChunkScratch<T> worker(const Saved<T, Cell>& k, int i) const {
    Pieces p{workers + per_worker * static_cast<std::size_t>(i)};
    return ChunkScratch<T>(p, most_rows(k.B), inner, k.Gp);
  }
};

template <class T, class Cell>
struct JvpPass {
  using K = Saved<T, Cell>;
  static constexpr int G = Cell::gates, L = lanes<T>;
  const K& k;
  const RecurrentJvp<T>& a;
  const JvpScratch<T, Cell>& w;
  const Runtime& runtime;
  T unit;  // factor of every tangent inside, 1 or a negative power of two

  void pack(int d, long panel) const {
    const long c = panel * Tile<T>::columns, width = panel_width<T>(c, k.Gp);
    T* to = w.direction[d].weights + c * w.inner;
    if (a.dx) {
      __builtin_memcpy(to, k.direction[d].w_ih + c * (k.D + 1), static_cast<std::size_t>(k.D * width) * sizeof(T));
      to += k.D * width;
    }
    T* const tangents = to;
    if (a.dw_ih) {
      pack_forward<T, G>(to, c, width, a.dw_ih + d * G * k.H * k.D, k.D, k.H);
      to += k.D * width;
    }
    if (a.dw_hh) {
      pack_forward<T, G>(to, c, width, a.dw_hh + d * G * k.H * k.H, k.H, k.H);
      to += k.H * width;
    }
    if (a.dbias) pack_forward<T, G>(to, c, width, a.dbias + d * G * k.H, 1, k.H);
    scale(tangents, (w.inner - (a.dx ? k.D : 0)) * width, unit);
  }

  void input_product(int d, const Chunk& chunk, long r0, long r1, const ChunkScratch<T>& scratch) const {
    const Direction<T>& from = k.direction[d];
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
        if (a.dw_ih) to = spread(to, a.x + frame, k.D);
        if (a.dw_hh) to = spread(to, k.before(from.h, from.h_init, s, r), k.H);
        if (a.dbias) *to = 1;
      }
    slivers_times_panels(i, w.inner, k.Gp, scratch.slivers, w.direction[d].weights, scratch.pre, scratch.row, false);
  }

  // pre: [n,Gp] of this step
  void step(int d, long s, long r0, long n, T* pre) const {
    const Direction<T>& from = k.direction[d];
    const T* dh_before = w.direction[d].dh[s % 2] + r0 * k.Hp;
    T* dh = w.direction[d].dh[(s + 1) % 2] + r0 * k.Hp;
    T* dc = w.direction[d].dc + r0 * k.Hp;
    for (long g = 0; g < k.Gp; g += group_columns<T, G>) {
      const long end = least(g + group_columns<T, G>, k.Gp);
      for (long c = g; c < end; c += Tile<T>::columns)
        rows_times_panel(n, k.H, dh_before, k.Hp, from.w_hh + c * k.H, panel_width<T>(c, k.Gp), pre + c, k.Gp, true);
      for (long i = 0; i < n; ++i) {
        const long row = k.begin[s] + r0 + i;
        const T* c_before = G == 4 ? k.before(from.c, from.c_init, s, r0 + i) : nullptr;
        for (long u = g / G; u < end / G; u += L)
          Cell::jvp(from.gates + row * k.Gp + u * G, pre + i * k.Gp + u * G, G == 4 ? c_before + u : nullptr,
                    G == 4 ? from.c + row * k.Hp + u : nullptr, dc + i * k.Hp + u, dh + i * k.Hp + u);
      }
    }
    const auto bytes = static_cast<std::size_t>(k.H) * sizeof(T);
    for (long i = 0; i < n; ++i) {
      const long r = r0 + i, b = k.order[r];
      __builtin_memcpy(a.dy + (k.frame(d, s, r) * k.S + d) * k.H, dh + i * k.Hp, bytes);
      if (k.length[b] == s + 1) __builtin_memcpy(a.dhn + (d * k.B + b) * k.H, dh + i * k.Hp, bytes);
    }
  }

  // Undoes `unit` in the results of a sequence.
  void unscale(int d, long b) const {
    const long state = (d * k.B + b) * k.H;
    scale(a.dhn + state, k.H, 1 / unit);
    if constexpr (G == 4) scale(a.dcn + state, k.H, 1 / unit);
    for (long t = 0; t < k.length[b]; ++t) scale(a.dy + ((t * k.B + b) * k.S + d) * k.H, k.H, 1 / unit);
  }

  void part(int d, long r0, long r1, const ChunkScratch<T>& scratch) const {
    const auto bytes = static_cast<std::size_t>(k.H) * sizeof(T);
    for (long s = 0; s < k.T_;) {
      const Chunk chunk(k, s, r0, r1, forward_chunk);
      if (!chunk.rows) break;
      input_product(d, chunk, r0, r1, scratch);
      for (T* pre = scratch.pre; s < chunk.last; ++s) {
        const long n = least(k.rows(s), r1) - r0;
        step(d, s, r0, n, pre);
        pre += n * k.Gp;
        if (runtime.stop(runtime.self)) return;
      }
    }
    for (long r = r0; r < r1; ++r) {
      const long b = k.order[r], length = k.length[b], state = (d * k.B + b) * k.H;
      if (length == 0) __builtin_memcpy(a.dhn + state, w.direction[d].dh[0] + r * k.Hp, bytes);
      if constexpr (G == 4) __builtin_memcpy(a.dcn + state, w.direction[d].dc + r * k.Hp, bytes);
      for (long t = length; t < k.T_; ++t) __builtin_memset(a.dy + ((t * k.B + b) * k.S + d) * k.H, 0, bytes);
      unscale(d, b);
    }
  }
};

template <class T, class Cell>
std::size_t jvp_bytes(const RecurrentShape& shape, int threads) noexcept {
  return JvpScratch<T, Cell>(Saved<T, Cell>(shape, nullptr), 2 * shape.D + shape.H + 1, threads, nullptr).bytes;
}

template <class T, class Cell>
void jvp(const RecurrentShape& shape, const RecurrentJvp<T>& a, void* workspace, const Runtime& runtime) noexcept {
  const Saved<T, Cell> k(shape, const_cast<void*>(a.saved));
  const long inner = (a.dx ? k.D : 0) + (a.dw_ih ? k.D : 0) + (a.dw_hh ? k.H : 0) + (a.dbias ? 1 : 0);
  const JvpScratch<T, Cell> w(k, inner, runtime.threads, workspace);
  const long gate_rows = k.S * Cell::gates * k.H, states = k.S * k.B * k.H;
  const bool large = any_large(a.dx, k.T_ * k.B * k.D) || any_large(a.dw_ih, gate_rows * k.D) ||
                     any_large(a.dw_hh, gate_rows * k.H) || any_large(a.dbias, gate_rows) || any_large(a.dh0, states) ||
                     any_large(a.dc0, states);
  const T unit = !large ? T(1) : sizeof(T) == 4 ? T(0x1p-64) : T(0x1p-512);
  const JvpPass<T, Cell> pass{k, a, w, runtime, unit};
  const long panels = divide_up(k.Gp, Tile<T>::columns);
  parallel_for(runtime, k.S * panels, [&](long i, int) { pass.pack(static_cast<int>(i / panels), i % panels); });
  for (int d = 0; d < k.S; ++d) {
    by_rank(k, a.dh0 ? a.dh0 + d * k.B * k.H : nullptr, w.direction[d].dh[0]);
    scale(w.direction[d].dh[0], k.B * k.Hp, unit);
    if constexpr (Cell::gates == 4) {
      by_rank(k, a.dc0 ? a.dc0 + d * k.B * k.H : nullptr, w.direction[d].dc);
      scale(w.direction[d].dc, k.B * k.Hp, unit);
    }
  }
  if (runtime.stop(runtime.self)) return;
  const Parts parts(k, runtime.threads);
  parallel_for(runtime, k.S * parts.count, [&](long i, int worker) {
    const long part = i / k.S;
    pass.part(static_cast<int>(i % k.S), parts.bound(part), parts.bound(part + 1), w.worker(k, worker));
  });
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA

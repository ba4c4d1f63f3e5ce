// Backward, a chunk of steps at a time from the last to the first: the recurrence fills the chunk's dgates, then two
// products take them up while they are in cache, [x | h_before | 1]ᵀ dgates for the weights and dgates w_ih for dx.
// With options there are a third, mᵀ dr for the projection, and the sums for the peephole.
//
// Flops: 4 * frames * G*H * (D + R), dx included. The weight gradients are summed per chunk, in registers and then in a
// buffer, and added to the caller's arrays at the very end by one thread: an interrupted call leaves them as they were.
#pragma once
#include "cpu/recurrent_gradients.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

template <class T, class Cell>
struct BackwardPass {
  using K = Saved<T, Cell>;
  static constexpr int G = Cell::gates, L = lanes<T>;
  const K& k;
  const RecurrentBackward<T>& a;
  const BackwardScratch<T, Cell>& w;
  const Runtime& runtime;
  const Masks<T> masks;
  const bool options;

  BackwardPass(const RecurrentShape& shape, const K& saved, const RecurrentBackward<T>& args,
               const BackwardScratch<T, Cell>& scratch, const Runtime& runtime_)
      : k(saved),
        a(args),
        w(scratch),
        runtime(runtime_),
        masks{args.masks},
        options(Cell::options && (shape.peephole || shape.projected || masks.any())) {}

  // The panels that the way back multiplies with, from those of forward.
  void pack(int d, long panel, long panels) const {
    const auto& from = k.weights.direction[d];
    const auto& to = w.direction[d];
    for (long n = panel * Tile<T>::columns; n < k.D || n < k.R || n < k.H; n += panels * Tile<T>::columns) {
      if (n < k.D && a.dx)
        pack_transposed(to.w_ih + n * k.Gp, n, panel_width<T>(n, k.D), from.w_ih, k.D, k.D + 1, k.Gp);
      if (n < k.R) pack_transposed(to.w_hh + n * k.Gp, n, panel_width<T>(n, k.R), from.w_hh, k.R, k.R, k.Gp);
      if (n < k.H && from.w_hr)
        pack_transposed(to.w_hr + n * k.Rp, n, panel_width<T>(n, k.H), from.w_hr, k.H, k.H, k.Rp);
    }
  }

  // dr of n rows: the gradient of what the projection gave, or of m. What goes straight to the h before stays in dh.
  void mixed(int d, long s, long r0, long n, T* dr) const {
    T* dh = w.direction[d].dh + r0 * k.Rp;
    for (long i = 0; i < n; ++i) {
      const T* dy = a.dy + (k.frame(d, s, r0 + i) * k.S + d) * k.R;
      const T* keep = masks.a.keep_h ? masks.keep_h(k, d, s, r0 + i) : nullptr;
      for (long u = 0; u < k.R; ++u) {
        const T total = dh[i * k.Rp + u] + dy[u];
        dr[i * k.Rp + u] = keep ? (1 - keep[u]) * total : total;
        dh[i * k.Rp + u] = keep ? keep[u] * total : T(0);
      }
      for (long u = k.R; u < k.Rp; ++u) dr[i * k.Rp + u] = 0;
    }
  }

  // dh for the step before: that of the gates behind the mask, beside what mixed() left.
  void unmasked(int d, long r0, long n, const T* product) const {
    T* dh = w.direction[d].dh + r0 * k.Rp;
    for (long i = 0; i < n; ++i) {
      const T* mask = masks.a.state ? masks.state(k, d, r0 + i) : nullptr;
      for (long u = 0; u < k.R; ++u) dh[i * k.Rp + u] += mask ? mask[u] * product[i * k.Rp + u] : product[i * k.Rp + u];
    }
  }

  // The cells of row i of a step: dh of its units (behind the projection: dm) to dgates.
  void cells(int d, long s, long r, Vec<T> dh, long u, int real, T* dgates) const {
    const Direction<T>& from = k.direction[d];
    const long row = k.begin[s] + r;
    const T* gates = from.gates + row * k.Gp + u * G;
    const T* c_before = Cell::carries ? k.c_before(d, s, r) + u : nullptr;
    T* dc = w.direction[d].dc + r * k.Hp + u;
    if constexpr (Cell::options) {
      if (options) {
        const T* keep = masks.keep_c(k, d, s, r);
        Cell::backward(gates, c_before, dh, dc, dgates,
                       options_of(k.weights.direction[d].peephole, k.Hp, a.masks.cell_clip, keep, u, real));
        return;
      }
    }
    Cell::backward(gates, c_before, Cell::own_cell ? from.c + row * k.Hp + u : nullptr, dh, dc, dgates);
  }

  // The steps [first, last) for ranks [r0, r1): dgates of every row, dh and dc carried along.
  void recurrence(int d, long first, long last, long r0, long r1) const {
    const auto& to = w.direction[d];
    for (long s = last - 1; s >= first; --s) {
      const long n = least(k.rows(s), r1) - r0;
      if (n <= 0) continue;
      const long at = k.begin[s] - k.begin[first] + r0;
      T* dgates = to.dgates + at * w.ldg;
      T* dr = options ? to.dr + at * k.Rp : nullptr;
      if (options) {
        mixed(d, s, r0, n, dr);
        if (to.w_hr)
          for (long c = 0; c < k.Hp; c += Tile<T>::columns)
            rows_times_panel(n, k.Rp, dr, k.Rp, to.w_hr + c * k.Rp, panel_width<T>(c, k.H), to.dm + r0 * k.Hp + c, k.Hp,
                             false);
      }
      for (long i = 0; i < n; ++i) {
        const long r = r0 + i;
        const T* dy = a.dy + (k.frame(d, s, r) * k.S + d) * k.R;
        const T* dm = to.w_hr ? to.dm + r * k.Hp : dr + i * k.Rp;
        for (long u = 0; u < k.Hp; u += L) {
          const int real = static_cast<int>(least(L, k.H - u));
          Vec<T> dh;
          if (options)
            dh = load(dm + u);
          else
            dh = load(to.dh + r * k.Hp + u) + (real == L ? load(dy + u) : load_part(dy + u, real));
          T* out = dgates + i * w.ldg + u * G;
          cells(d, s, r, dh, u, real, out);
          // Saved gates of padded units may hold NaN that x brought in: their rows must not reach dh and dx.
          if (real < L)
            for (int q = 0; q < G; ++q)
              for (int j = real; j < L; ++j) out[q * L + j] = 0;
        }
      }
      T* product = options ? to.dh_in + r0 * k.Rp : to.dh + r0 * k.Rp;
      for (long c = 0; c < k.Rp; c += Tile<T>::columns)
        rows_times_panel(n, k.Gp, dgates, w.ldg, to.w_hh + c * k.Gp, panel_width<T>(c, k.R), product + c, k.Rp, false);
      if (options) unmasked(d, r0, n, product);
      if (runtime.stop(runtime.self)) return;
    }
  }

  // The gradients of h0 and c0 by rank. What was carried past the gates of a cell without c belongs to h.
  void finish(int d) const {
    const auto& from = w.direction[d];
    if constexpr (Cell::carries && !Cell::own_cell)
      for (long i = 0; i < k.B * k.Rp; ++i) from.dh[i] += from.dc[i];
    by_sequence(k, from.dh, k.Rp, a.dh0 + d * k.B * k.R, k.R);
    if constexpr (Cell::own_cell) by_sequence(k, from.dc, k.Hp, a.dc0 + d * k.B * k.H, k.H);
  }
};

template <class T, class Cell>
std::size_t backward_bytes(const RecurrentShape& shape, int threads) noexcept {
  return BackwardScratch<T, Cell>(shape, Saved<T, Cell>(shape, nullptr), threads, nullptr).bytes;
}

template <class T, class Cell>
void backward(const RecurrentShape& shape, const RecurrentBackward<T>& a, void* workspace,
              const Runtime& runtime) noexcept {
  const Saved<T, Cell> k(shape, const_cast<void*>(a.saved));
  const BackwardScratch<T, Cell> w(shape, k, runtime.threads, workspace);
  const BackwardPass<T, Cell> pass(shape, k, a, w, runtime);
  const GradientPass<T, Cell> gradients{k, a, w, pass.masks};
  const Parts parts(k, runtime.threads);
  const long panels = divide_up(k.Gp, Tile<T>::columns);
  parallel_for(runtime, k.S * panels,
               [&](long i, int) { pass.pack(static_cast<int>(i / panels), i % panels, panels); });
  for (int d = 0; d < k.S; ++d) {
    by_rank(k, a.dhn ? a.dhn + d * k.B * k.R : nullptr, k.R, w.direction[d].dh, k.Rp);
    if constexpr (Cell::carries) by_rank(k, a.dcn ? a.dcn + d * k.B * k.H : nullptr, k.H, w.direction[d].dc, k.Hp);
  }
  if (a.dx) __builtin_memset(a.dx, 0, static_cast<std::size_t>(k.T_ * k.B * k.D) * sizeof(T));

  long steps = k.T_;
  while (steps > 0 && k.rows(steps - 1) == 0) --steps;
  bool add = false;
  for (long last = steps, first; last > 0; last = first) {
    long rows = 0;
    for (first = last; first > 0 && (rows == 0 || rows + k.rows(first - 1) <= backward_chunk); --first)
      rows += k.rows(first - 1);
    parallel_for(runtime, k.S * parts.count, [&](long i, int) {
      const long part = i / k.S;
      pass.recurrence(static_cast<int>(i % k.S), first, last, parts.bound(part), parts.bound(part + 1));
    });
    gradients.chunk(runtime, first, last, rows, add);
    add = true;
    if (runtime.stop(runtime.self)) return;
  }
  for (int d = 0; d < k.S; ++d) pass.finish(d);
  if (add)
    for (int d = 0; d < k.S; ++d) gradients.add_weights(d);
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA

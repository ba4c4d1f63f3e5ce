// Backward, a chunk of steps at a time from the last to the first: the recurrence fills the chunk's dgates, then two
// products take them up while they are in cache, [x | h_before | 1]ᵀ dgates for the weights and dgates w_ih for dx.
//
// Flops: 4 * frames * G*H * (D + H), dx included. The weight gradients are summed per chunk, in registers and then in a
// buffer, and added to the caller's arrays at the very end by one thread: an interrupted call leaves them as they were.
#pragma once
#include "cpu/recurrent.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr long backward_chunk = 256;  // rows, and the longest inner dimension of a weight product
constexpr long dx_block = 48;         // rows of dx per work item

template <class T, class Cell>
struct BackwardScratch {
  long most;  // rows of a chunk
  long ldg;   // elements from one row of dgates to the next: odd in cache lines, so that rows do not share a set
  long M;     // rows of the weight product: D inputs, H states, the bias
  long Dp;
  std::size_t per_worker;
  struct {
    T* dh;        // [B,Hp] by rank
    T* dc;        // [B,Hp]
    T* dgates;    // [most,ldg]
    T* product;   // [M,Gp] gradients of w_ih, w_hh and bias, transposed
    T* slivers;   // [backward_chunk,M] as A
    long* frame;  // [most] of x for each row
  } direction[2];
  long* row;      // [M + Tile::rows] m*Gp
  char* workers;  // [threads][per_worker]
  std::size_t bytes;

  BackwardScratch(const Saved<T, Cell>& k, int threads, void* block) {
    Pieces p{static_cast<char*>(block)};
    most = k.B > backward_chunk ? k.B : backward_chunk;
    ldg = round_up(k.Gp, 2 * lanes<T>) + lanes<T>;
    M = k.D + k.H + 1;
    Dp = round_up(k.D, lanes<T>);
    for (int d = 0; d < k.S; ++d) {
      direction[d].dh = p.take<T>(k.B * k.Hp);
      direction[d].dc = p.take<T>(k.B * k.Hp);
      direction[d].dgates = p.take<T>(most * ldg);
      direction[d].product = p.take<T>(M * k.Gp);
      direction[d].slivers = p.take<T>(slivers_size<T>(M, backward_chunk));
      direction[d].frame = p.take<long>(most);
    }
    row = p.take<long>(M + Tile<T>::rows);
    // A worker holds either a panel of dgates or a block of dx.
    const long elements =
        backward_chunk * Tile<T>::columns > dx_block * Dp ? backward_chunk * Tile<T>::columns : dx_block * Dp;
    per_worker = static_cast<std::size_t>(round_up(elements * static_cast<long>(sizeof(T)), 64));
    workers = p.take<char>(static_cast<long>(per_worker) * threads);
    bytes = p.used;
  }
};

template <class T, class Cell>
struct BackwardPass {
  using K = Saved<T, Cell>;
  static constexpr int G = Cell::gates, L = lanes<T>;
  const K& k;
  const RecurrentBackward<T>& a;
  const BackwardScratch<T, Cell>& w;
  const Runtime& runtime;

  // The steps [first, last) for ranks [r0, r1): dgates of every row, dh and dc carried along.
  void recurrence(int d, long first, long last, long r0, long r1) const {
    const Direction<T>& from = k.direction[d];
    const auto& to = w.direction[d];
    for (long s = last - 1; s >= first; --s) {
      const long n = least(k.rows(s), r1) - r0;
      if (n <= 0) continue;
      T* dgates = to.dgates + (k.begin[s] - k.begin[first] + r0) * w.ldg;
      for (long i = 0; i < n; ++i) {
        const long r = r0 + i, row = k.begin[s] + r;
        const T* dy = a.dy + (k.frame(d, s, r) * k.S + d) * k.H;
        const T* c_before = G == 4 ? k.before(from.c, from.c_init, s, r) : nullptr;
        for (long u = 0; u < k.Hp; u += L) {
          const int real = static_cast<int>(least(L, k.H - u));
          const Vec<T> dyv = real == L ? load(dy + u) : load_part(dy + u, real);
          const Vec<T> dh = load(to.dh + r * k.Hp + u) + dyv;
          T* out = dgates + i * w.ldg + u * G;
          Cell::backward(from.gates + row * k.Gp + u * G, G == 4 ? c_before + u : nullptr,
                         G == 4 ? from.c + row * k.Hp + u : nullptr, dh, to.dc + r * k.Hp + u, out);
          // Saved gates of padded units may hold NaN that x brought in: their rows must not reach dh and dx.
          if (real < L)
            for (int q = 0; q < G; ++q)
              for (int j = real; j < L; ++j) out[q * L + j] = 0;
        }
      }
      for (long c = 0; c < k.Hp; c += Tile<T>::columns)
        rows_times_panel(n, k.Gp, dgates, w.ldg, from.w_hh_back + c * k.Gp, panel_width<T>(c, k.H),
                         to.dh + r0 * k.Hp + c, k.Hp, false);
      if (runtime.stop(runtime.self)) return;
    }
  }

  void find_frames(int d, long first, long last) const {
    long i = 0;
    for (long s = first; s < last; ++s)
      for (long r = 0; r < k.rows(s); ++r) w.direction[d].frame[i++] = k.frame(d, s, r);
  }

  // Rows [i0, i1) of [x | h_before | 1] into slivers whose inner dimension, depth rows from row i_first on, is the row.
  void pack_inputs(int d, long first, long last, long i_first, long depth, long i0, long i1) const {
    constexpr long R = Tile<T>::rows;
    const Direction<T>& from = k.direction[d];
    long i = 0, s = first;
    while (s < last && i + k.rows(s) <= i0) i += k.rows(s++);
    for (i = i0; s < last && i < i1; ++s)
      for (long r = i - (k.begin[s] - k.begin[first]); r < k.rows(s) && i < i1; ++r, ++i) {
        const T* x = a.x + w.direction[d].frame[i] * k.D;
        const T* h = k.before(from.h, from.h_init, s, r);
        T* to = w.direction[d].slivers + (i - i_first) * R;
        long m = 0;
        auto put = [&](const T* v, long n) {
          while (n > 0) {
            const long in = m % R, some = least(R - in, n);
            T* p = to + m / R * R * depth + in;
            if (some == R)
              for (long j = 0; j < R; ++j) p[j] = v[j];
            else
              for (long j = 0; j < some; ++j) p[j] = v[j];
            v += some;
            n -= some;
            m += some;
          }
        };
        const T one = 1;
        put(x, k.D);
        put(h, k.H);
        put(&one, 1);
      }
  }

  // product[:, panel] (+)= [x | h_before | 1]ᵀ dgates[:, panel] over rows [i0, i0 + depth) of the chunk.
  void weight_product(int d, long panel, long i0, long depth, bool add, int worker) const {
    const auto& to = w.direction[d];
    const long c = panel * Tile<T>::columns, width = panel_width<T>(c, k.Gp);
    T* b = reinterpret_cast<T*>(w.workers + w.per_worker * static_cast<std::size_t>(worker));
    for (long i = 0; i < depth; ++i)
      for (long j = 0; j < width; j += L) store(b + i * width + j, load(to.dgates + (i0 + i) * w.ldg + c + j));
    slivers_times_panel(w.M, depth, to.slivers, b, width, to.product + c, w.row, add);
  }

  // dx of rows [i0, i0 + n) of the chunk. With two directions each adds its own into zeros: the sum of two does not
  // depend on their order.
  void input_gradient(int d, long i0, long n, int worker) const {
    T* block = reinterpret_cast<T*>(w.workers + w.per_worker * static_cast<std::size_t>(worker));
    for (long c = 0; c < w.Dp; c += Tile<T>::columns)
      rows_times_panel(n, k.Gp, w.direction[d].dgates + i0 * w.ldg, w.ldg, k.direction[d].w_ih_back + c * k.Gp,
                       panel_width<T>(c, k.D), block + c, w.Dp, false);
    for (long i = 0; i < n; ++i) {
      T* to = a.dx + w.direction[d].frame[i0 + i] * k.D;
      for (long j = 0; j < k.D; ++j) to[j] += block[i * w.Dp + j];
    }
  }

  void add_weights(int d) const {
    constexpr long tile = 16;  // rows of the product whose lines stay in cache while a unit block is transposed
    const T* product = w.direction[d].product;
    T* dw_ih = a.dw_ih + d * G * k.H * k.D;
    T* dw_hh = a.dw_hh + d * G * k.H * k.H;
    T* dbias = a.dbias + d * G * k.H;
    for (long c = 0; c < k.Gp; c += L) {
      const Column<T, G> at(c);
      const long n = least(L, k.H - at.u), first = at.q * k.H + at.u;
      for (long m0 = 0; m0 < w.M; m0 += tile)
        for (long j = 0; j < n; ++j)
          for (long m = m0; m < least(m0 + tile, w.M); ++m) {
            T* to = m < k.D         ? dw_ih + (first + j) * k.D + m
                    : m < k.D + k.H ? dw_hh + (first + j) * k.H + m - k.D
                                    : dbias + first + j;
            *to += product[m * k.Gp + c + j];
          }
    }
  }
};

template <class T, class Cell>
std::size_t backward_bytes(const RecurrentShape& shape, int threads) noexcept {
  return BackwardScratch<T, Cell>(Saved<T, Cell>(shape, nullptr), threads, nullptr).bytes;
}

template <class T, class Cell>
void backward(const RecurrentShape& shape, const RecurrentBackward<T>& a, void* workspace,
              const Runtime& runtime) noexcept {
  const Saved<T, Cell> k(shape, const_cast<void*>(a.saved));
  const BackwardScratch<T, Cell> w(k, runtime.threads, workspace);
  const BackwardPass<T, Cell> pass{k, a, w, runtime};
  const Parts parts(k, runtime.threads);
  for (long m = 0; m < w.M + Tile<T>::rows; ++m) w.row[m] = m * k.Gp;
  for (int d = 0; d < k.S; ++d) {
    by_rank(k, a.dhn ? a.dhn + d * k.B * k.H : nullptr, w.direction[d].dh);
    if constexpr (Cell::gates == 4) by_rank(k, a.dcn ? a.dcn + d * k.B * k.H : nullptr, w.direction[d].dc);
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
    for (int d = 0; d < k.S; ++d) pass.find_frames(d, first, last);
    for (long i0 = 0; i0 < rows; i0 += backward_chunk) {
      const long depth = least(backward_chunk, rows - i0), pieces = divide_up(depth, dx_block);
      parallel_for(runtime, k.S * pieces, [&](long i, int) {
        const long from = i0 + i / k.S * dx_block;
        pass.pack_inputs(static_cast<int>(i % k.S), first, last, i0, depth, from, least(from + dx_block, i0 + depth));
      });
      parallel_for(runtime, k.S * divide_up(k.Gp, Tile<T>::columns), [&](long i, int worker) {
        pass.weight_product(static_cast<int>(i % k.S), i / k.S, i0, depth, add, worker);
      });
      add = true;
    }
    if (a.dx)
      for (int d = 0; d < k.S; ++d)
        parallel_for(runtime, divide_up(rows, dx_block), [&](long i, int worker) {
          pass.input_gradient(d, i * dx_block, least(dx_block, rows - i * dx_block), worker);
        });
    if (runtime.stop(runtime.self)) return;
  }
  for (int d = 0; d < k.S; ++d) {
    by_sequence(k, w.direction[d].dh, a.dh0 + d * k.B * k.H);
    if constexpr (Cell::gates == 4) by_sequence(k, w.direction[d].dc, a.dc0 + d * k.B * k.H);
  }
  if (add)
    for (int d = 0; d < k.S; ++d) pass.add_weights(d);
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA

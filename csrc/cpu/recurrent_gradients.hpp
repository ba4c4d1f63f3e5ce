// The weight gradients and dx of one chunk of backward, from its dgates.
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
  long M;     // rows of the weight product: D inputs, R states, the bias
  long Dp;
  std::size_t per_worker;
  struct {
    T* w_ih;                // panels of [Gp,D]
    T* w_hh;                // panels of [Gp,R]
    T* w_hr;                // panels of [Rp,H]; with a projection, else null
    T* dh;                  // [B,Rp] by rank
    T* dc;                  // [B,Hp]
    T* dgates;              // [most,ldg]
    T* product;             // [M,Gp] gradients of w_ih, w_hh and bias, transposed
    T* slivers;             // [backward_chunk,M] as A
    long* frame;            // [most] of x for each row
    T* dr;                  // [most,Rp] gradient of what the projection gave; with options, as all below
    T* dh_in;               // [B,Rp] that of h behind its mask
    T* dm;                  // [B,Hp] with a projection
    T* projection;          // [H,Rp] gradient of the projection, transposed; with one
    T* projection_slivers;  // [backward_chunk,H] as A
    T* peephole;            // [3,Hp] with peepholes, else null
  } direction[2];
  long* row;             // [M + Tile::rows] m*Gp
  long* projection_row;  // [H + Tile::rows] m*Rp
  char* workers;         // [threads][per_worker]
  std::size_t bytes;

  BackwardScratch(const RecurrentShape& shape, const Saved<T, Cell>& k, int threads, void* block) {
    Pieces p{static_cast<char*>(block)};
    most = k.B > backward_chunk ? k.B : backward_chunk;
    ldg = round_up(k.Gp, 2 * lanes<T>) + lanes<T>;
    M = k.D + k.R + 1;
    Dp = round_up(k.D, lanes<T>);
    for (int d = 0; d < k.S; ++d) {
      auto& to = direction[d];
      to.w_ih = p.take<T>(panels_size<T>(k.Gp, k.D));
      to.w_hh = p.take<T>(panels_size<T>(k.Gp, k.R));
      to.w_hr = shape.projected ? p.take<T>(panels_size<T>(k.Rp, k.H)) : nullptr;
      to.dh = p.take<T>(k.B * k.Rp);
      to.dc = p.take<T>(k.B * k.Hp);
      to.dgates = p.take<T>(most * ldg);
      to.product = p.take<T>(M * k.Gp);
      to.slivers = p.take<T>(slivers_size<T>(M, backward_chunk));
      to.frame = p.take<long>(most);
      to.dr = Cell::options ? p.take<T>(most * k.Rp) : nullptr;
      to.dh_in = Cell::options ? p.take<T>(k.B * k.Rp) : nullptr;
      to.dm = shape.projected ? p.take<T>(k.B * k.Hp) : nullptr;
      to.projection = shape.projected ? p.take<T>(k.H * k.Rp) : nullptr;
      to.projection_slivers = shape.projected ? p.take<T>(slivers_size<T>(k.H, backward_chunk)) : nullptr;
      to.peephole = shape.peephole ? p.take<T>(3 * k.Hp) : nullptr;
    }
    row = p.take<long>(M + Tile<T>::rows);
    projection_row = p.take<long>(k.H + Tile<T>::rows);
    // A worker holds a panel of dgates, a block of dx, or a row of h behind its mask.
    long elements = backward_chunk * Tile<T>::columns;
    if (elements < dx_block * Dp) elements = dx_block * Dp;
    if (elements < k.Rp) elements = k.Rp;
    per_worker = static_cast<std::size_t>(round_up(elements * static_cast<long>(sizeof(T)), 64));
    workers = p.take<char>(static_cast<long>(per_worker) * threads);
    bytes = p.used;
    if (!block) return;
    for (long m = 0; m < M + Tile<T>::rows; ++m) row[m] = m * k.Gp;
    for (long m = 0; m < k.H + Tile<T>::rows; ++m) projection_row[m] = m * k.Rp;
  }
  T* worker(int i) const { return reinterpret_cast<T*>(workers + per_worker * static_cast<std::size_t>(i)); }
};

// Appends to column `i` of slivers whose inner dimension is `depth`.
template <class T>
struct SliverColumn {
  T* column;
  long depth, m = 0;
  void put(const T* v, long n) {
    constexpr long R = Tile<T>::rows;
    while (n > 0) {
      const long in = m % R, some = least(R - in, n);
      T* p = column + m / R * R * depth + in;
      if (some == R)
        for (long j = 0; j < R; ++j) p[j] = v[j];
      else
        for (long j = 0; j < some; ++j) p[j] = v[j];
      v += some;
      n -= some;
      m += some;
    }
  }
};

template <class T, class Cell>
struct GradientPass {
  using K = Saved<T, Cell>;
  static constexpr int G = Cell::gates, L = lanes<T>;
  const K& k;
  const RecurrentBackward<T>& a;
  const BackwardScratch<T, Cell>& w;
  const Masks<T>& masks;

  void find_frames(int d, long first, long last) const {
    long i = 0;
    for (long s = first; s < last; ++s)
      for (long r = 0; r < k.rows(s); ++r) w.direction[d].frame[i++] = k.frame(d, s, r);
  }

  // Rows [i0, i1) of [x | h_before | 1], and of m, into slivers whose inner dimension, depth rows from row i_first on,
  // is the row.
  void pack_inputs(int d, long first, long last, long i_first, long depth, long i0, long i1, int worker) const {
    constexpr long R = Tile<T>::rows;
    const auto& to = w.direction[d];
    long i = 0, s = first;
    while (s < last && i + k.rows(s) <= i0) i += k.rows(s++);
    for (i = i0; s < last && i < i1; ++s)
      for (long r = i - (k.begin[s] - k.begin[first]); r < k.rows(s) && i < i1; ++r, ++i) {
        const T one = 1;
        SliverColumn<T> column{to.slivers + (i - i_first) * R, depth};
        column.put(a.x + to.frame[i] * k.D, k.D);
        const T* h = k.h_before(d, s, r);
        column.put(Cell::options ? masks.masked(k, d, r, 1, h, w.worker(worker)) : h, k.R);
        column.put(&one, 1);
        if (to.projection) {
          SliverColumn<T> cells{to.projection_slivers + (i - i_first) * R, depth};
          cells.put(k.direction[d].m + (k.begin[s] + r) * k.Hp, k.H);
        }
      }
  }

  // product[:, c...] (+)= slivers[M, depth] from[depth rows, c...] for one panel.
  void weight_product(const T* from, long ld, long c, long width, const T* slivers, long M, long depth, T* product,
                      const long* row, bool add, int worker) const {
    T* b = w.worker(worker);
    for (long i = 0; i < depth; ++i)
      for (long j = 0; j < width; j += L) store(b + i * width + j, load(from + i * ld + c + j));
    slivers_times_panel(M, depth, slivers, b, width, product + c, row, add);
  }

  // The gradient of the peephole of the units [u, u + lanes), over all rows of the chunk in their order.
  void peephole(int d, long first, long last, long u, bool add) const {
    const auto& from = w.direction[d];
    Vec<T> sum[3];
    for (int q = 0; q < 3; ++q) sum[q] = add ? load(from.peephole + q * k.Hp + u) : Vec<T>{};
    const T clip = a.masks.cell_clip;
    const Vec<T> limit = splat(clip > 0 ? clip : static_cast<T>(__builtin_inf()));
    long i = 0;
    for (long s = first; s < last; ++s)
      for (long r = 0; r < k.rows(s); ++r, ++i) {
        const T* gates = k.direction[d].gates + (k.begin[s] + r) * k.Gp + u * 4;
        const T* dgates = from.dgates + i * w.ldg + u * 4;
        const Vec<T> c_before = load(k.c_before(d, s, r) + u);
        const Vec<T> n = math::within(load(gates + L) * c_before + load(gates) * load(gates + 2 * L), limit);
        sum[0] += load(dgates) * c_before;
        sum[1] += load(dgates + L) * c_before;
        sum[2] += load(dgates + 3 * L) * n;
      }
    for (int q = 0; q < 3; ++q) store(from.peephole + q * k.Hp + u, sum[q]);
  }

  // dx of rows [i0, i0 + n) of the chunk. With two directions each adds its own into zeros: the sum of two does not
  // depend on their order.
  void input_gradient(int d, long i0, long n, int worker) const {
    T* block = w.worker(worker);
    for (long c = 0; c < w.Dp; c += Tile<T>::columns)
      rows_times_panel(n, k.Gp, w.direction[d].dgates + i0 * w.ldg, w.ldg, w.direction[d].w_ih + c * k.Gp,
                       panel_width<T>(c, k.D), block + c, w.Dp, false);
    for (long i = 0; i < n; ++i) {
      T* to = a.dx + w.direction[d].frame[i0 + i] * k.D;
      for (long j = 0; j < k.D; ++j) to[j] += block[i * w.Dp + j];
    }
  }

  void chunk(const Runtime& runtime, long first, long last, long rows, bool add) const {
    for (int d = 0; d < k.S; ++d) find_frames(d, first, last);
    const long gate_panels = divide_up(k.Gp, Tile<T>::columns);
    const long projection_panels = w.direction[0].projection ? divide_up(k.R, Tile<T>::columns) : 0;
    for (long i0 = 0; i0 < rows; i0 += backward_chunk) {
      const long depth = least(backward_chunk, rows - i0), pieces = divide_up(depth, dx_block);
      const bool more = add || i0;
      parallel_for(runtime, k.S * pieces, [&](long i, int worker) {
        const long from = i0 + i / k.S * dx_block, to = least(from + dx_block, i0 + depth);
        pack_inputs(static_cast<int>(i % k.S), first, last, i0, depth, from, to, worker);
      });
      parallel_for(runtime, k.S * (gate_panels + projection_panels), [&](long i, int worker) {
        const auto& of = w.direction[i % k.S];
        const long panel = i / k.S, c = panel * Tile<T>::columns, p = c - gate_panels * Tile<T>::columns;
        if (panel < gate_panels)
          weight_product(of.dgates + i0 * w.ldg, w.ldg, c, panel_width<T>(c, k.Gp), of.slivers, w.M, depth, of.product,
                         w.row, more, worker);
        else
          weight_product(of.dr + i0 * k.Rp, k.Rp, p, panel_width<T>(p, k.R), of.projection_slivers, k.H, depth,
                         of.projection, w.projection_row, more, worker);
      });
    }
    if constexpr (Cell::options)
      if (w.direction[0].peephole)
        parallel_for(runtime, k.S * (k.Hp / L),
                     [&](long i, int) { peephole(static_cast<int>(i % k.S), first, last, i / k.S * L, add); });
    if (a.dx)
      for (int d = 0; d < k.S; ++d)
        parallel_for(runtime, divide_up(rows, dx_block), [&](long i, int worker) {
          input_gradient(d, i * dx_block, least(dx_block, rows - i * dx_block), worker);
        });
  }

  // Adds rows [m, m + count) of the product, gate column by gate column, to the rows of `to` that lead to its gates.
  // `tile` rows of the product at a time: their lines stay in cache while a unit block is transposed.
  template <class Map>
  void add_rows(const T* product, T* to, long count) const {
    constexpr long tile = 16;
    for (long c = 0; c < k.Gp; c += L) {
      const Column<T, G> at(c);
      if (Map::row(at.q) < 0) continue;
      const long n = least(L, k.H - at.u), first = Map::row(at.q) * k.H + at.u;
      for (long m0 = 0; m0 < count; m0 += tile)
        for (long j = 0; j < n; ++j)
          for (long m = m0; m < least(m0 + tile, count); ++m) to[(first + j) * count + m] += product[m * k.Gp + c + j];
    }
  }

  void add_weights(int d) const {
    const auto& from = w.direction[d];
    const long rows = Cell::weight_rows * k.H;
    add_rows<Input<Cell>>(from.product, a.weights.w_ih + d * rows * k.D, k.D);
    add_rows<State<Cell>>(from.product + k.D * k.Gp, a.weights.w_hh + d * rows * k.R, k.R);
    add_rows<Bias<Cell>>(from.product + (k.D + k.R) * k.Gp, a.weights.bias + d * G * k.H, 1);
    if (from.projection)
      for (long m = 0; m < k.H; ++m)
        for (long p = 0; p < k.R; ++p) a.weights.projection[(d * k.R + p) * k.H + m] += from.projection[m * k.Rp + p];
    if (from.peephole)
      for (long q = 0; q < 3; ++q)
        for (long u = 0; u < k.H; ++u) a.weights.peephole[(d * 3 + q) * k.H + u] += from.peephole[q * k.Hp + u];
  }
};

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA

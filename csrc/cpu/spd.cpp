// spd: Cholesky. Small systems `lanes` at a time (spd_small.hpp); a large one by blocks of 64 columns, left to right: a
// block is A less the product of all columns before it, from the tiles of gemm.hpp, which reads and writes every entry
// of A once. n^3 / 3 flops; the multiply-adds are the limit from n = 200 or so on.
#include "pyasr/spd.hpp"

#include "cpu/gemm.hpp"
#include "cpu/spd_small.hpp"
#include "cpu/symmetric.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr long largest_small = 64;
constexpr long width = 64;  // columns of a block: a multiple of quad and of Tile::columns
constexpr long chunk = 96;  // rows of a work item

constexpr std::size_t lines(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

// The workspace of one large system.
template <class T>
struct Large {
  long n, ld;
  T* L;             // [n,ld] the factor, row by row, left of and in the diagonal blocks
  T* panels;        // the rows of each block as panels of -L' over the columns before it
  Narrow<T>* wide;  // what spd_small.hpp needs of the diagonal block: one lane is used
  T* block;         // its factor, laid out as there
  T* inverse;       // [width] 1 / l_jj

  static std::size_t bytes(long n) {
    const long blocks = divide_up(n, width);
    return lines(static_cast<std::size_t>(n * round_up(n, lanes<T>)) * sizeof(T)) +
           lines(static_cast<std::size_t>(width * width / 2 * blocks * (blocks - 1)) * sizeof(T)) +
           lines(static_cast<std::size_t>(group_size(width)) * sizeof(Narrow<T>)) +
           lines(static_cast<std::size_t>(quad_begin(quads(width)) + width) * sizeof(T));
  }
  Large(long n_, void* work) : n(n_), ld(round_up(n_, lanes<T>)) {
    const long blocks = divide_up(n, width);
    char* p = static_cast<char*>(work);
    L = reinterpret_cast<T*>(p);
    p += lines(static_cast<std::size_t>(n * ld) * sizeof(T));
    panels = reinterpret_cast<T*>(p);
    p += lines(static_cast<std::size_t>(width * width / 2 * blocks * (blocks - 1)) * sizeof(T));
    wide = reinterpret_cast<Narrow<T>*>(p);
    p += lines(static_cast<std::size_t>(group_size(width)) * sizeof(Narrow<T>));
    block = reinterpret_cast<T*>(p);
    inverse = block + quad_begin(quads(width));
  }
  // The panel of the rows from `row` on, a multiple of Tile::columns: [row / width * width][its rows, rounded up].
  T* panel(long row) const {
    const long q = row / width;
    return panels + width * width / 2 * q * (q - 1) + (row - q * width) * q * width;
  }
};

// to[c][r] = from[r][c] for a square of lanes.
template <class T>
PYASR_INLINE void transpose_square(const T* from, long from_ld, T* to, long to_ld) {
  constexpr int V = lanes<T>;
  if constexpr (sizeof(T) == 4) {
    Vf v[V];
#pragma GCC unroll 16
    for (int r = 0; r < V; ++r) v[r] = load(from + r * from_ld);
    transpose(v);
#pragma GCC unroll 16
    for (int r = 0; r < V; ++r) store(to + r * to_ld, v[r]);
  } else {
    for (int c = 0; c < V; ++c) {
      Vec<T> v;
#pragma GCC unroll 8
      for (int r = 0; r < V; ++r) v[r] = from[r * from_ld + c];
      store(to + c * to_ld, v);
    }
  }
}

// Rows of the block of columns from J on, less the product of what is left of it.
template <class T>
void subtract_left(const Large<T>& w, long J, long begin, long end) {
  for (long c = J; c < w.n && c < J + width; c += Tile<T>::columns)
    rows_times_panel<T, T>(end - begin, J, w.L + begin * w.ld, w.ld, w.panel(c), panel_width<T>(c, w.n),
                           w.L + begin * w.ld + c, w.ld, true);
}

// The diagonal block at J: 0, or the order of the leading minor that is not positive.
template <class T>
long factor_block(const Large<T>& w, long J) {
  const long n = least(width, w.n - J), Q = quads(n);
  Narrow<T>*const inverse = w.wide + quad_begin(Q), *const pivot = inverse + quad * Q;
  for (long i = 0; i < quad * Q; ++i)
    for (long j = 0; j < quad * (i / quad + 1); ++j)
      w.wide[row_begin(i) + j] = Narrow<T>{} + (i < n && j <= i ? w.L[(J + i) * w.ld + J + j] : static_cast<T>(i == j));
  factor(w.wide, inverse, pivot, Q);
  for (long i = 0; i < n; ++i) {
    if (!is_pivot(pivot[i][0])) return J + i + 1;
    w.inverse[i] = inverse[i][0];
    for (long j = 0; j <= i; ++j) w.L[(J + i) * w.ld + J + j] = w.block[row_begin(i) + j] = w.wide[row_begin(i) + j][0];
  }
  return 0;
}

// Rows [row, row + NV * lanes) of the block of columns J, below the diagonal one: X L_JJ' = C, in the place of C, and
// -X' into the rows' panel.
template <class T, int NV>
void solve_panel(const Large<T>& w, long J, long row) {
  constexpr long V = lanes<T>, P = NV * V;
  T solved[width * P] __attribute__((aligned(64)));  // [width][P]
  T* const to = w.panel(row) + J * P;
  const long rows = least(P, w.n - row);
  for (long r = 0; r < P; r += V)
    for (long c = 0; c < width; c += V) {
      if (r + V <= rows) {
        transpose_square(w.L + (row + r) * w.ld + J + c, w.ld, solved + c * P + r, P);
      } else {
        for (long i = 0; i < V; ++i)
          for (long j = 0; j < V; ++j)
            solved[(c + j) * P + r + i] = r + i < rows ? w.L[(row + r + i) * w.ld + J + c + j] : 0;
      }
    }
  for (long j = 0; j < width; j += quad) {
    const T* const l = w.block + row_begin(j);
    const long stride = j + quad;
    Vec<T> s[quad][NV];
#pragma GCC unroll 4
    for (int c = 0; c < quad; ++c)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) s[c][v] = load(solved + (j + c) * P + v * V);
    for (long d = 0; d < j; ++d)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        const Vec<T> x = load(solved + d * P + v * V);
#pragma GCC unroll 4
        for (int c = 0; c < quad; ++c) s[c][v] -= x * l[c * stride + d];
      }
#pragma GCC unroll 4
    for (int c = 0; c < quad; ++c)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        for (int d = 0; d < c; ++d) s[c][v] -= s[d][v] * l[c * stride + j + d];
        s[c][v] *= w.inverse[j + c];
        store(solved + (j + c) * P + v * V, s[c][v]);
        store(to + (j + c) * P + v * V, -s[c][v]);
      }
  }
  for (long r = 0; r < rows; r += V)
    for (long c = 0; c < width; c += V) {
      if (r + V <= rows) {
        transpose_square(solved + c * P + r, P, w.L + (row + r) * w.ld + J + c, w.ld);
      } else {
        for (long i = 0; i < rows - r; ++i)
          for (long j = 0; j < V; ++j) w.L[(row + r + i) * w.ld + J + c + j] = solved[(c + j) * P + r + i];
      }
    }
}

template <class T>
void solve_rows(const Large<T>& w, long J, long row) {
  switch (panel_width<T>(row, w.n) / lanes<T>) {
    case 1:
      return solve_panel<T, 1>(w, J, row);
    case 2:
      return solve_panel<T, 2>(w, J, row);
    case 3:
      return solve_panel<T, 3>(w, J, row);
    default:
      return solve_panel<T, 4>(w, J, row);
  }
}

// L L' x = b with L in rows.
template <class T>
void substitute_rows(const Large<T>& w, const T* b, T* x) {
  constexpr long V = lanes<T>;
  for (long i = 0; i < w.n; ++i) {
    const T* const l = w.L + i * w.ld;
    Vec<T> s[4] = {};
    T tail = 0;
    long k = 0;
    for (; k + 4 * V <= i; k += 4 * V)
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) s[u] += load(l + k + u * V) * load(x + k + u * V);
    for (; k < i; ++k) tail += l[k] * x[k];
    x[i] = (b[i] - (sum_lanes<T>((s[0] + s[1]) + (s[2] + s[3])) + tail)) / l[i];
  }
  for (long i = w.n - 1; i >= 0; --i) {
    const T* const l = w.L + i * w.ld;
    const T xi = x[i] /= l[i];
    long k = 0;
    for (; k + V <= i; k += V) store(x + k, load(x + k) - load(l + k) * xi);
    for (; k < i; ++k) x[k] -= l[k] * xi;
  }
}

template <class T>
std::int64_t solve_large(const T* A, const T* b, T* x, long n, void* work, const Runtime& runtime) {
  const Large<T> w(n, work);
  parallel_for(runtime, divide_up(n, width), [&](long q, int) {
    const long end = least((q + 1) * width, n), right = least((q + 1) * width, w.ld);
    for (long i = q * width; i < end; ++i) {
      __builtin_memcpy(w.L + i * w.ld, A + i * n, static_cast<std::size_t>(i + 1) * sizeof(T));
      __builtin_memset(w.L + i * w.ld + i + 1, 0, static_cast<std::size_t>(right - i - 1) * sizeof(T));
    }
  });
  for (long J = 0; J < n; J += width) {
    if (J)
      parallel_for(runtime, divide_up(n - J, chunk), [&](long k, int) {
        if (!runtime.stop(runtime.self)) subtract_left(w, J, J + k * chunk, least(J + (k + 1) * chunk, n));
      });
    if (runtime.stop(runtime.self)) return 0;
    if (const long minor = factor_block(w, J)) return minor;
    const long below = J + width;
    if (below < n)
      parallel_for(runtime, divide_up(n - below, Tile<T>::columns),
                   [&](long k, int) { solve_rows(w, J, below + k * Tile<T>::columns); });
  }
  substitute_rows(w, b, x);
  return 0;
}

template <class T>
std::size_t group_bytes(std::size_t n) {
  return static_cast<std::size_t>(group_size(static_cast<long>(n))) * register_bytes;
}

template <class T>
std::size_t workspace_bytes(std::size_t B, std::size_t n, int threads) noexcept {
  const std::size_t workers = B > 1 ? static_cast<std::size_t>(threads) : 1;
  if (n > largest_small) return workers * Large<T>::bytes(static_cast<long>(n));
  return static_cast<std::size_t>(threads) * lines(group_bytes<T>(n));
}

template <class T>
void solve(const SpdArgs<T>& a, void* workspace, const Runtime& runtime) noexcept {
  const long B = static_cast<long>(a.B), n = static_cast<long>(a.n);
  char* const work = static_cast<char*>(workspace);
  if (n > largest_small) {
    auto one = [&](long i, int worker) {
      a.minor[i] = solve_large(a.A + i * n * n, a.b + i * n, a.x + i * n, n,
                               work + static_cast<std::size_t>(worker) * Large<T>::bytes(n), runtime);
    };
    if (B == 1)
      one(0, 0);
    else
      parallel_for(runtime, B, one);
    return;
  }
  constexpr long L = lanes<T>;
  const std::size_t each = lines(group_bytes<T>(a.n));
  parallel_for(runtime, divide_up(B, L), [&](long g, int worker) {
    if (runtime.stop(runtime.self)) return;
    void* const mine = work + static_cast<std::size_t>(worker) * each;
    const long first = g * L, count = least(L, B - first);
    if (count > narrow_lanes<T>)
      solve_group<T, Vec<T>, L>(a, first, count, static_cast<Vec<T>*>(mine));
    else
      solve_group<T, Narrow<T>, narrow_lanes<T>>(a, first, count, static_cast<Narrow<T>*>(mine));
  });
}

template <class T>
constexpr SpdOf<T> column = {workspace_bytes<T>, solve<T>};

}  // namespace

extern const Spd spd;
const Spd spd = {column<float>, column<double>};

}  // namespace pyasr::cpu::PYASR_ISA

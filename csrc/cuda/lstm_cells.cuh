// What the passes of lstm.hpp do with a cell, one unit of one sequence in one frame. A Pass says
//
//   source(k, s)             the rows [B,inner], LstmProduct::row apart, that the product of step k multiplies; null:
//   there is none weight(s, k, unit, j)    entry k of the inner dimension, of column j of a unit load(cell, k, s, b, u)
//   everything that does not depend on other blocks, before they are waited for step(cell, sums)         the arithmetic
//   publish(cell)            what other blocks wait for
//   keep(cell)               the rest
//
// Step k is the k-th frame in the order of the pass.
#pragma once
#include "cuda/launch.cuh"
#include "cuda/lstm.hpp"
#include "math/recurrent_cell.hpp"

namespace pyasr::cuda {
namespace {

template <class T>
PYASR_MATH T hyperbolic_tangent(T x) {
  return tanh(x);
}
struct ScalarMath {
  template <class T>
  PYASR_MATH static T sigmoid(T x) {
    return 1 / (1 + exp(-x));
  }
  template <class T>
  PYASR_MATH static T forget(T x) {
    return sigmoid(x);  // exp reaches infinity, so this reaches 0
  }
  template <class T>
  PYASR_MATH static T tanh(T x) {
    return hyperbolic_tangent(x);
  }
};

// One cell in one frame; addresses that the passes share.
template <class T>
struct LstmCell {
  long t, u;
  std::size_t unit, sequence, frame, gate, before, after, h_after;  // offsets: [S,H], [S,B,H], [T,B,S*H], gates, slots
  bool active, final;                                               // final: no frame comes behind it
  math::LstmGates<T> gates;
  math::LstmOptions<T> with;
  T c, h, keep_h;

  __device__ void find(const LstmModel<T>& m, long frame_number, bool backwards, int s, long b, long unit_number) {
    const LstmShape& n = m.shape;
    const auto H = static_cast<std::size_t>(n.units), B = static_cast<std::size_t>(n.batch);
    const auto S = static_cast<std::size_t>(n.directions), T_ = static_cast<std::size_t>(n.frames);
    t = frame_number;
    u = unit_number;
    const auto at_t = static_cast<std::size_t>(t), at_b = static_cast<std::size_t>(b),
               at_s = static_cast<std::size_t>(s);
    const auto at_u = static_cast<std::size_t>(u);
    active = t < m.lengths[b];
    final = t == (backwards ? 0 : n.frames - 1);
    unit = at_s * H + at_u;
    sequence = (at_s * B + at_b) * H + at_u;
    frame = (at_t * B + at_b) * S * H + unit;
    gate = ((at_s * T_ + at_t) * B + at_b) * 4 * H + at_u;
    before = ((at_s * (T_ + 1) + at_t + backwards) * B + at_b) * H + at_u;
    after = ((at_s * (T_ + 1) + at_t + !backwards) * B + at_b) * H + at_u;
    h_after = after - at_u + (after - at_u) / H * (static_cast<std::size_t>(m.h_row) - H) + at_u;
  }
  __device__ void load_options(const LstmModel<T>& m) {
    with.p_i = with.p_f = with.p_o = 0;
    if (m.peephole) peepholes(m.peephole, m.shape.units, &with);
    with.clip = m.cell_clip;
    with.keep_c = m.keep_c ? m.keep_c[frame] : 0;
    keep_h = m.keep_h ? m.keep_h[frame] : 0;
  }
  __device__ void peepholes(const T* p /* [S,3*H] */, long H, math::LstmOptions<T>* out) const {
    const std::size_t first = (unit - static_cast<std::size_t>(u)) * 3 + static_cast<std::size_t>(u);
    out->p_i = p[first];
    out->p_f = p[first + static_cast<std::size_t>(H)];
    out->p_o = p[first + 2 * static_cast<std::size_t>(H)];
  }
  __device__ void load_gates(const T* p, long units, math::LstmGates<T>* out) const {
    const auto H = static_cast<std::size_t>(units);
    *out = {p[gate], p[gate + H], p[gate + 2 * H], p[gate + 3 * H]};
  }
  __device__ void add_bias(const T* bias /* [S,4*H] */, long units, math::LstmGates<T>* out) const {
    const auto H = static_cast<std::size_t>(units),
               first = (unit - static_cast<std::size_t>(u)) * 4 + static_cast<std::size_t>(u);
    out->i += bias[first];
    out->f += bias[first + H];
    out->g += bias[first + 2 * H];
    out->o += bias[first + 3 * H];
  }
};

template <class T>
__device__ bool runs_backwards(const LstmModel<T>& m, int s) {
  return m.shape.reverse || s == 1;
}
template <class T>
__device__ const T* slot(const LstmModel<T>& m, const T* states, int s, long number) {
  return states + ((s * (m.shape.frames + 1) + number) * m.shape.batch) * m.h_row;
}
// What the product of the next frame takes of a state.
template <class T>
__device__ void publish_state(const LstmModel<T>& m, const LstmCell<T>& cell, T* states) {
  dev::store_cg(states + cell.h_after, m.state_mask ? m.state_mask[cell.sequence] * cell.h : cell.h);
}
template <class T>
__device__ void add(math::LstmGates<T>& gates, const T (&sum)[4]) {
  gates.i += sum[0];
  gates.f += sum[1];
  gates.g += sum[2];
  gates.o += sum[3];
}

template <class T>
struct LstmForwardPass {
  using Number = T;
  using Cell = LstmCell<T>;
  static constexpr bool backward = false;
  LstmModel<T> model;
  LstmForwardArgs<T> args;

  __device__ long frame(long k, int s) const { return runs_backwards(model, s) ? model.shape.frames - 1 - k : k; }
  __device__ const T* source(long k, int s) const {
    return slot(model, model.h, s, frame(k, s) + runs_backwards(model, s));
  }
  __device__ T weight(int s, long k, long unit, int gate) const {
    const long H = model.shape.units;
    return model.w_hh[((s * 4 + gate) * H + unit) * H + k];
  }
  __device__ void load(Cell& cell, long k, int s, long b, long u) const {
    cell.find(model, frame(k, s), runs_backwards(model, s), s, b, u);
    cell.load_gates(model.gates, model.shape.units, &cell.gates);
    cell.add_bias(args.bias, model.shape.units, &cell.gates);
    cell.c = model.c[cell.before];
    cell.h = args.hn[cell.sequence];
    cell.load_options(model);
  }
  __device__ void step(Cell& cell, const T (&sum)[4]) const {
    if (!cell.active) return;
    add(cell.gates, sum);
    const T m = math::lstm_forward<ScalarMath>(cell.gates, cell.c, cell.with);
    cell.h = cell.keep_h * cell.h + (1 - cell.keep_h) * m;
  }
  __device__ void publish(const Cell& cell) const { publish_state(model, cell, model.h); }
  __device__ void keep(const Cell& cell) const {
    model.c[cell.after] = cell.c;
    args.y[cell.frame] = cell.active ? cell.h : 0;
    if (cell.active) {
      T* const g = model.gates + cell.gate;
      const auto H = static_cast<std::size_t>(model.shape.units);
      g[0] = cell.gates.i;
      g[H] = cell.gates.f;
      g[2 * H] = cell.gates.g;
      g[3 * H] = cell.gates.o;
    }
    args.hn[cell.sequence] = cell.h;
    if (cell.final) args.cn[cell.sequence] = cell.c;
  }
};

// Runs against the order of forward, one step further than there are frames: the last has the product alone. What of dh
// does not come through the product is carried in dh0, dc in dc0.
template <class T>
struct LstmBackwardPass {
  using Number = T;
  struct Cell : LstmCell<T> {
    bool product;  // of the dgates of the step before, where the sequence had it
    bool last;
    T dy, dc, dh, mask;
  };
  static constexpr bool backward = true;
  LstmModel<T> model;
  LstmBackwardArgs<T> args;

  __device__ long frame(long k, int s) const { return runs_backwards(model, s) ? k : model.shape.frames - 1 - k; }
  __device__ const T* source(long k, int s) const {
    if (k == 0) return nullptr;
    return args.dgates + ((s * model.shape.frames + frame(k - 1, s)) * model.shape.batch) * 4 * model.shape.units;
  }
  __device__ T weight(int s, long k, long unit, int) const {
    return model.w_hh[(s * 4 * model.shape.units + k) * model.shape.units + unit];
  }
  __device__ void load(Cell& cell, long k, int s, long b, long u) const {
    cell.last = k == model.shape.frames;
    cell.product = k > 0 && frame(k - 1, s) < model.lengths[b];
    cell.find(model, frame(cell.last ? 0 : k, s), runs_backwards(model, s), s, b, u);
    cell.mask = model.state_mask ? model.state_mask[cell.sequence] : 1;
    cell.dh = args.dh0[cell.sequence];
    if (cell.last) return;
    cell.dc = args.dc0[cell.sequence];
    cell.load_gates(model.gates, model.shape.units, &cell.gates);
    cell.c = model.c[cell.before];
    cell.load_options(model);
    cell.dy = args.dy[cell.frame];
  }
  __device__ void step(Cell& cell, const T (&sum)[1]) const {
    if (cell.product) cell.dh += cell.mask * sum[0];
    if (cell.last) return;
    if (!cell.active) {
      cell.gates = {0, 0, 0, 0};
      return;
    }
    const T dh = cell.dh + cell.dy;
    cell.gates = math::lstm_backward<ScalarMath>(cell.gates, cell.c, (1 - cell.keep_h) * dh, cell.dc, cell.with);
    cell.dh = cell.keep_h * dh;
  }
  __device__ void publish(const Cell& cell) const {
    if (cell.last) return;
    T* const d = args.dgates + cell.gate;
    const auto H = static_cast<std::size_t>(model.shape.units);
    dev::store_cg(d, cell.gates.i);
    dev::store_cg(d + H, cell.gates.f);
    dev::store_cg(d + 2 * H, cell.gates.g);
    dev::store_cg(d + 3 * H, cell.gates.o);
  }
  __device__ void keep(const Cell& cell) const {
    args.dh0[cell.sequence] = cell.dh;
    if (!cell.last) args.dc0[cell.sequence] = cell.dc;
  }
};

// In the order of forward. dc is carried in dcn.
template <class T>
struct LstmJvpPass {
  using Number = T;
  struct Cell : LstmCell<T> {
    math::LstmGates<T> pre;
    math::LstmOptions<T> tangents;
    T dc;
  };
  static constexpr bool backward = false;
  LstmModel<T> model;
  LstmJvpArgs<T> args;

  __device__ long frame(long k, int s) const { return runs_backwards(model, s) ? model.shape.frames - 1 - k : k; }
  __device__ const T* source(long k, int s) const {
    return slot(model, args.dh, s, frame(k, s) + runs_backwards(model, s));
  }
  __device__ T weight(int s, long k, long unit, int gate) const {
    const long H = model.shape.units;
    return model.w_hh[((s * 4 + gate) * H + unit) * H + k];
  }
  __device__ void load(Cell& cell, long k, int s, long b, long u) const {
    cell.find(model, frame(k, s), runs_backwards(model, s), s, b, u);
    cell.load_gates(model.gates, model.shape.units, &cell.gates);
    cell.load_gates(args.pre, model.shape.units, &cell.pre);
    if (args.dbias) cell.add_bias(args.dbias, model.shape.units, &cell.pre);
    cell.tangents = {0, 0, 0, 0, 0};
    if (args.dpeephole) cell.peepholes(args.dpeephole, model.shape.units, &cell.tangents);
    cell.c = model.c[cell.before];
    cell.h = args.dhn[cell.sequence];
    cell.dc = args.dcn[cell.sequence];
    cell.load_options(model);
  }
  __device__ void step(Cell& cell, const T (&sum)[4]) const {
    if (!cell.active) return;
    add(cell.pre, sum);
    const T dm = math::lstm_jvp<ScalarMath>(cell.gates, cell.pre, cell.c, cell.dc, cell.with, cell.tangents);
    cell.h = cell.keep_h * cell.h + (1 - cell.keep_h) * dm;
  }
  __device__ void publish(const Cell& cell) const { publish_state<T>(model, cell, args.dh); }
  __device__ void keep(const Cell& cell) const {
    args.dcn[cell.sequence] = cell.dc;
    args.dy[cell.frame] = cell.active ? cell.h : 0;
    args.dhn[cell.sequence] = cell.h;
  }
};

}  // namespace
}  // namespace pyasr::cuda

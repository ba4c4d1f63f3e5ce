// Point-wise mathematics of the recurrent cells: one source for CPU vectors and CUDA scalars. V is the number type, M
// brings M::sigmoid(V) and M::tanh(V), and M::forget(V), a sigmoid that reaches 0: a peephole can make the f
// of a c of 1e38 as small as 1/c. Everything is inlined by force, so nothing here becomes a symbol.
#pragma once

#if defined(__CUDACC__)
#define PYASR_MATH __host__ __device__ __forceinline__
#else
#define PYASR_MATH [[gnu::always_inline]] inline
#endif

namespace pyasr::math {

template <class V>
struct LstmGates {
  V i, f, g, o;
};

// gates: in, what stands before the nonlinearities; out, what stands behind them. c: in, before; out, after.
template <class M, class V>
PYASR_MATH V lstm_forward(LstmGates<V>& gates, V& c) {
  gates.i = M::sigmoid(gates.i);
  gates.f = M::sigmoid(gates.f);
  gates.g = M::tanh(gates.g);
  gates.o = M::sigmoid(gates.o);
  c = gates.f * c + gates.i * gates.g;
  return gates.o * M::tanh(c);
}

// dc: in, the gradient of this step's c that the next step hands back; out, that of the step before.
// Returns the gradients before the nonlinearities. tanh(c) is computed again: cheaper than to store it.
template <class M, class V>
PYASR_MATH LstmGates<V> lstm_backward(const LstmGates<V>& gates, V c_before, V c, V dh, V& dc) {
  const V th = M::tanh(c);
  const V d = dc + dh * gates.o * (1 - th * th);
  dc = d * gates.f;
  return {d * gates.g * gates.i * (1 - gates.i), d * c_before * gates.f * (1 - gates.f),
          d * gates.i * (1 - gates.g * gates.g), dh * th * gates.o * (1 - gates.o)};
}

// pre: tangents before the nonlinearities. dc: in, the tangent of c before; out, after. Returns the tangent of h.
template <class M, class V>
PYASR_MATH V lstm_jvp(const LstmGates<V>& gates, const LstmGates<V>& pre, V c_before, V c, V& dc) {
  const V th = M::tanh(c);
  const V di = pre.i * gates.i * (1 - gates.i);
  const V df = pre.f * gates.f * (1 - gates.f);
  const V dg = pre.g * (1 - gates.g * gates.g);
  const V d_o = pre.o * gates.o * (1 - gates.o);
  dc = df * c_before + gates.f * dc + di * gates.g + gates.i * dg;
  return d_o * th + gates.o * (1 - th * th) * dc;
}

// The options of lstm.hpp for one unit; each has a value that does nothing: 0, 0, 0, infinity, 0.
template <class V>
struct LstmOptions {
  V p_i, p_f, p_o, clip, keep_c;
};

template <class V>
PYASR_MATH V within(V x, V limit) {
  return x > limit ? limit : x < -limit ? -limit : x;  // NaN passes through
}

// As lstm_forward; what it returns is still to be projected and mixed with the h before.
template <class M, class V>
PYASR_MATH V lstm_forward(LstmGates<V>& gates, V& c, const LstmOptions<V>& with) {
  gates.i = M::sigmoid(gates.i + with.p_i * c);
  gates.f = M::forget(gates.f + with.p_f * c);
  gates.g = M::tanh(gates.g);
  const V n = within(gates.f * c + gates.i * gates.g, with.clip);
  gates.o = M::sigmoid(gates.o + with.p_o * n);
  c = with.keep_c * c + (1 - with.keep_c) * n;
  return gates.o * M::tanh(n);
}

// As lstm_backward; dm is the gradient of what lstm_forward returned. n is computed again. A clipped cell hands nothing
// back.
template <class M, class V>
PYASR_MATH LstmGates<V> lstm_backward(const LstmGates<V>& gates, V c_before, V dm, V& dc, const LstmOptions<V>& with) {
  const V free = gates.f * c_before + gates.i * gates.g;
  const V n = within(free, with.clip);
  const V th = M::tanh(n);
  const V d_o = dm * th * gates.o * (1 - gates.o);
  const V dn = dm * gates.o * (1 - th * th) + (1 - with.keep_c) * dc + with.p_o * d_o;
  const V d = (free == n) | (free != free) ? dn : V{};
  const V di = d * gates.g * gates.i * (1 - gates.i);
  const V df = d * c_before * gates.f * (1 - gates.f);
  dc = with.keep_c * dc + d * gates.f + with.p_i * di + with.p_f * df;
  return {di, df, d * gates.i * (1 - gates.g * gates.g), d_o};
}

// As lstm_jvp; of dp only the peephole counts, its tangents.
template <class M, class V>
PYASR_MATH V lstm_jvp(const LstmGates<V>& gates, const LstmGates<V>& pre, V c_before, V& dc, const LstmOptions<V>& with,
                      const LstmOptions<V>& dp) {
  const V free = gates.f * c_before + gates.i * gates.g;
  const V n = within(free, with.clip);
  const V th = M::tanh(n);
  const V di = (pre.i + with.p_i * dc + dp.p_i * c_before) * gates.i * (1 - gates.i);
  const V df = (pre.f + with.p_f * dc + dp.p_f * c_before) * gates.f * (1 - gates.f);
  const V dg = pre.g * (1 - gates.g * gates.g);
  const V d = df * c_before + gates.f * dc + di * gates.g + gates.i * dg;
  const V dn = (free == n) | (free != free) ? d : V{};
  const V d_o = (pre.o + with.p_o * dn + dp.p_o * n) * gates.o * (1 - gates.o);
  dc = with.keep_c * dc + (1 - with.keep_c) * dn;
  return d_o * th + gates.o * (1 - th * th) * dn;
}

// r, z, n behind their nonlinearities, and what r multiplies.
template <class V>
struct GruGates {
  V r, z, n, hidden;
};

template <class M, class V>
PYASR_MATH V gru_forward(GruGates<V>& gates, V h_before) {
  gates.r = M::sigmoid(gates.r);
  gates.z = M::sigmoid(gates.z);
  gates.n = M::tanh(gates.n + gates.r * gates.hidden);
  return gates.n + gates.z * (h_before - gates.n);
}

// through: in, the part of the gradient of h that did not come through the gates of the step after; out, that for the
// step before.
template <class V>
PYASR_MATH GruGates<V> gru_backward(const GruGates<V>& gates, V h_before, V dh, V& through) {
  const V d = dh + through;
  through = d * gates.z;
  const V dn = d * (1 - gates.z) * (1 - gates.n * gates.n);
  return {dn * gates.hidden * gates.r * (1 - gates.r), d * (h_before - gates.n) * gates.z * (1 - gates.z), dn,
          dn * gates.r};
}

// dh: the tangent of h before.
template <class V>
PYASR_MATH V gru_jvp(const GruGates<V>& gates, const GruGates<V>& pre, V h_before, V dh) {
  const V dr = pre.r * gates.r * (1 - gates.r);
  const V dz = pre.z * gates.z * (1 - gates.z);
  const V dn = (pre.n + dr * gates.hidden + gates.r * pre.hidden) * (1 - gates.n * gates.n);
  return dn + dz * (h_before - gates.n) + gates.z * (dh - dn);
}

// d tanh: the gradient or tangent d behind the nonlinearity to that before it, and the other way round.
template <class V>
PYASR_MATH V rnn_slope(V h, V d) {
  return d * (1 - h * h);
}

}  // namespace pyasr::math

// Point-wise mathematics of the recurrent cells: one source for CPU vectors and CUDA scalars. V is the number type, M
// brings M::sigmoid(V) and M::tanh(V). Everything is inlined by force, so nothing here becomes a symbol.
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

// d tanh: the gradient or tangent d behind the nonlinearity to that before it, and the other way round.
template <class V>
PYASR_MATH V rnn_slope(V h, V d) {
  return d * (1 - h * h);
}

}  // namespace pyasr::math

// The LSTM cell on registers; the passes over time are in recurrent_*.hpp.
#include "cpu/recurrent_backward.hpp"
#include "cpu/recurrent_forward.hpp"
#include "cpu/recurrent_jvp.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

// One unit block of one row: gates [4][lanes], everything else [lanes].
struct LstmCell {
  static constexpr int gates = 4;

  template <class T>
  PYASR_INLINE math::LstmGates<Vec<T>> load_gates(const T* p) {
    constexpr int L = lanes<T>;
    return {load(p), load(p + L), load(p + 2 * L), load(p + 3 * L)};
  }
  template <class T>
  PYASR_INLINE void store_gates(T* p, const math::LstmGates<Vec<T>>& g) {
    constexpr int L = lanes<T>;
    store(p, g.i);
    store(p + L, g.f);
    store(p + 2 * L, g.g);
    store(p + 3 * L, g.o);
  }

  template <class T>
  PYASR_INLINE void forward(T* gates, const T* c_before, T* c, T* h) {
    auto g = load_gates(gates);
    Vec<T> state = load(c_before);
    store(h, math::lstm_forward<VectorMath>(g, state));
    store(c, state);
    store_gates<T>(gates, g);
  }
  template <class T>
  PYASR_INLINE void backward(const T* gates, const T* c_before, const T* c, Vec<T> dh, T* dc, T* dgates) {
    Vec<T> carried = load(dc);
    store_gates<T>(dgates, math::lstm_backward<VectorMath>(load_gates(gates), load(c_before), load(c), dh, carried));
    store(dc, carried);
  }
  template <class T>
  PYASR_INLINE void jvp(const T* gates, const T* pre, const T* c_before, const T* c, T* dc, T* dh) {
    Vec<T> carried = load(dc);
    store(dh, math::lstm_jvp<VectorMath>(load_gates(gates), load_gates(pre), load(c_before), load(c), carried));
    store(dc, carried);
  }
};

template <class T>
constexpr Recurrent<T> kernels = {saved_bytes<T, LstmCell>,
                                  ForwardScratch<T, LstmCell>::bytes,
                                  backward_bytes<T, LstmCell>,
                                  jvp_bytes<T, LstmCell>,
                                  forward<T, LstmCell>,
                                  backward<T, LstmCell>,
                                  jvp<T, LstmCell>};

}  // namespace

extern const Lstm lstm;
const Lstm lstm = {kernels<float>, kernels<double>};

}  // namespace pyasr::cpu::PYASR_ISA

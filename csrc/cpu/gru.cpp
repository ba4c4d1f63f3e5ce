// The GRU cell on registers; the passes over time are in recurrent_*.hpp. The fourth block of its gates is what r
// multiplies, w_hh_n h_{t-1} + bias_hn; so a quarter of each product is with zeros, and the passes stay those of the
// LSTM. Its c is its h.
#include "pyasr/gru.hpp"

#include "cpu/recurrent_family.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

struct GruCell {
  static constexpr int gates = 4, weight_rows = 3;
  static constexpr int input_gate[] = {0, 1, 2, -1}, state_gate[] = {0, 1, -1, 2};
  static constexpr bool own_cell = false, carries = true, options = false;

  template <class T>
  PYASR_INLINE math::GruGates<Vec<T>> load_gates(const T* p) {
    constexpr int L = lanes<T>;
    return {load(p), load(p + L), load(p + 2 * L), load(p + 3 * L)};
  }
  template <class T>
  PYASR_INLINE void store_gates(T* p, const math::GruGates<Vec<T>>& g) {
    constexpr int L = lanes<T>;
    store(p, g.r);
    store(p + L, g.z);
    store(p + 2 * L, g.n);
    store(p + 3 * L, g.hidden);
  }

  template <class T>
  PYASR_INLINE void forward(const T* pre, T* gates, const T* h_before, T*, T* h) {
    auto g = load_gates(pre);
    store(h, math::gru_forward<VectorMath>(g, load(h_before)));
    store_gates<T>(gates, g);
  }
  template <class T>
  PYASR_INLINE void backward(const T* gates, const T* h_before, const T*, Vec<T> dh, T* through, T* dgates) {
    Vec<T> carried = load(through);
    store_gates<T>(dgates, math::gru_backward(load_gates(gates), load(h_before), dh, carried));
    store(through, carried);
  }
  // carried: the tangent of h, which the next step needs beside the one that goes through w_hh
  template <class T>
  PYASR_INLINE void jvp(const T* gates, const T* pre, const T* h_before, const T*, T* carried, T* dh) {
    const Vec<T> d = math::gru_jvp(load_gates(gates), load_gates(pre), load(h_before), load(carried));
    store(carried, d);
    store(dh, d);
  }
};

}  // namespace

extern const Gru gru;
const Gru gru = family<GruCell>;

}  // namespace pyasr::cpu::PYASR_ISA

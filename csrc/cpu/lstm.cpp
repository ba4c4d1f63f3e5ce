// The LSTM cell on registers; the passes over time are in recurrent_*.hpp.
#include "cpu/recurrent_family.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

// One unit block of one row: gates [4][lanes], everything else [lanes].
struct LstmCell {
  static constexpr int gates = 4, weight_rows = 4;
  static constexpr int input_gate[] = {0, 1, 2, 3}, state_gate[] = {0, 1, 2, 3};
  static constexpr bool own_cell = true, carries = true, options = true;

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
  PYASR_INLINE void forward(const T* pre, T* gates, const T* c_before, T* c, T* h) {
    auto g = load_gates(pre);
    Vec<T> state = load(c_before);
    store(h, math::lstm_forward<VectorMath>(g, state));
    store(c, state);
    store_gates<T>(gates, g);
  }
  template <class T>
  PYASR_INLINE void forward(const T* pre, T* gates, const T* c_before, T* c, T* m,
                            const math::LstmOptions<Vec<T>>& with) {
    auto g = load_gates(pre);
    Vec<T> state = load(c_before);
    store(m, math::lstm_forward<VectorMath>(g, state, with));
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
  PYASR_INLINE void backward(const T* gates, const T* c_before, Vec<T> dm, T* dc, T* dgates,
                             const math::LstmOptions<Vec<T>>& with) {
    Vec<T> carried = load(dc);
    store_gates<T>(dgates, math::lstm_backward<VectorMath>(load_gates(gates), load(c_before), dm, carried, with));
    store(dc, carried);
  }
  template <class T>
  PYASR_INLINE void jvp(const T* gates, const T* pre, const T* c_before, const T* c, T* dc, T* dh) {
    Vec<T> carried = load(dc);
    store(dh, math::lstm_jvp<VectorMath>(load_gates(gates), load_gates(pre), load(c_before), load(c), carried));
    store(dc, carried);
  }
  template <class T>
  PYASR_INLINE void jvp(const T* gates, const T* pre, const T* c_before, T* dc, T* dm,
                        const math::LstmOptions<Vec<T>>& with, const math::LstmOptions<Vec<T>>& tangents) {
    Vec<T> carried = load(dc);
    store(dm, math::lstm_jvp<VectorMath>(load_gates(gates), load_gates(pre), load(c_before), carried, with, tangents));
    store(dc, carried);
  }
};

}  // namespace

extern const Lstm lstm;
const Lstm lstm = family<LstmCell>;

}  // namespace pyasr::cpu::PYASR_ISA

// The tanh cell on registers; the passes over time are in recurrent_*.hpp. Its one gate is its state: gates and h are
// the same array, but in inference.
#include "pyasr/rnn.hpp"

#include "cpu/recurrent_family.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

struct RnnCell {
  static constexpr int gates = 1, weight_rows = 1;
  static constexpr int input_gate[] = {0}, state_gate[] = {0};
  static constexpr bool own_cell = false, carries = false, options = false;

  template <class T>
  PYASR_INLINE void forward(const T* pre, T*, const T*, T*, T* h) {
    store(h, vtanh(load(pre)));
  }
  template <class T>
  PYASR_INLINE void backward(const T* gates, const T*, const T*, Vec<T> dh, T*, T* dgates) {
    store<T>(dgates, math::rnn_slope(load(gates), dh));
  }
  template <class T>
  PYASR_INLINE void jvp(const T* gates, const T* pre, const T*, const T*, T*, T* dh) {
    store<T>(dh, math::rnn_slope(load(gates), load(pre)));
  }
};

}  // namespace

extern const Rnn rnn;
const Rnn rnn = family<RnnCell>;

}  // namespace pyasr::cpu::PYASR_ISA

// The tanh cell on registers; the passes over time are in recurrent_*.hpp. Its one gate is its state: gates and h are
// the same array.
#include "pyasr/rnn.hpp"

#include "cpu/recurrent_backward.hpp"
#include "cpu/recurrent_forward.hpp"
#include "cpu/recurrent_jvp.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

struct RnnCell {
  static constexpr int gates = 1;

  template <class T>
  PYASR_INLINE void forward(T* gates, const T*, T*, T*) {
    store(gates, vtanh(load(gates)));
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

template <class T>
constexpr Recurrent<T> kernels = {saved_bytes<T, RnnCell>,
                                  ForwardScratch<T, RnnCell>::bytes,
                                  backward_bytes<T, RnnCell>,
                                  jvp_bytes<T, RnnCell>,
                                  forward<T, RnnCell>,
                                  backward<T, RnnCell>,
                                  jvp<T, RnnCell>};

}  // namespace

extern const Rnn rnn;
const Rnn rnn = {kernels<float>, kernels<double>};

}  // namespace pyasr::cpu::PYASR_ISA

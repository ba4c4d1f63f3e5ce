// rnn: one tanh layer over ragged sequences, one or two directions; forward, backward and tangents.
//
//   h_t = tanh(w_ih x_t + w_hh h_{t-1} + bias)
//
// Arguments and rules are those of lstm.hpp with G = 1; pointers to c are null.
#pragma once
#include "pyasr/lstm.hpp"

namespace pyasr {

struct Rnn {
  Recurrent<float> f32;
  Recurrent<double> f64;
};

}  // namespace pyasr

// rnn: one tanh layer over ragged sequences, one or two directions; forward, backward and tangents.
//
//   h_t = tanh(w_ih x_t + w_hh h_{t-1} + bias)
//
// Arguments and rules are those of lstm.hpp with G = Gb = 1; pointers to c are null, and there are no options.
#pragma once
#include "pyasr/lstm.hpp"

namespace pyasr {

using Rnn = RecurrentFamily;

}  // namespace pyasr

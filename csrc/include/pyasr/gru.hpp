// gru: one GRU layer over ragged sequences, one or two directions; forward, backward and tangents.
//
//   r, z = sigmoid of  w_ih x_t + w_hh h_{t-1} + bias
//   n = tanh(w_ih_n x_t + bias_n + r (w_hh_n h_{t-1} + bias_hn))
//   h_t = (1 - z) n + z h_{t-1}
//
// Arguments and rules are those of lstm.hpp with G = 3 (r z n) and Gb = 4 (r z n hn); pointers to c are null, and there
// are no options.
#pragma once
#include "pyasr/lstm.hpp"

namespace pyasr {

using Gru = RecurrentFamily;

}  // namespace pyasr

// adam: clip a gradient and take one step of Adam, in place. What is common to all updates is in update.hpp.
//
//   m += (1 - beta1) * (g - m)      s = beta2 * s + (1 - beta2) * g^2      most = max(most, s)
//   rule(g) = m / (1 - beta1^step) / (sqrt(most / (1 - beta2^step)) + eps)      most = s without amsgrad
#pragma once
#include "pyasr/update.hpp"

namespace pyasr {

struct AdamRule {  // state[0]: m, state[1]: s, state[2]: most, or null
  double beta1, beta2, eps;
  double unbias1, unbias2;  // 1 / (1 - beta1^step) and 1 / sqrt(1 - beta2^step)
};

using Adam = Update<AdamRule>;

}  // namespace pyasr

// rmsprop: clip a gradient and take one step of RMSprop, in place. What is common to all updates is in update.hpp.
//
//   s = alpha * s + (1 - alpha) * g^2      mean += (1 - alpha) * (g - mean)      d = g / (sqrt(s - mean^2) + eps)
//   m = momentum * m + d      rule(g) = m; d without momentum; mean is 0 where it is not kept
#pragma once
#include "pyasr/update.hpp"

namespace pyasr {

struct RmspropRule {  // state[0]: s, state[1]: m or null, state[2]: mean or null
  double alpha, eps, momentum;
};

using Rmsprop = Update<RmspropRule>;

}  // namespace pyasr

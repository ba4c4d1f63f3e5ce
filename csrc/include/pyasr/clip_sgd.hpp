// clip_sgd: clip a gradient and take one step of SGD with momentum, in place. What is common to all updates is in
// update.hpp.
//
//   m = first ? g : momentum * m + (1 - dampening) * g      rule(g) = nesterov ? g + momentum * m : m
#pragma once
#include "pyasr/update.hpp"

namespace pyasr {

struct ClipSgdRule {  // state[0]: the momentum buffer, not looked at where momentum is 0
  double momentum, dampening;
  bool nesterov;
  bool first;  // the buffer holds nothing yet: it becomes g, without dampening
};

using ClipSgd = Update<ClipSgdRule>;

}  // namespace pyasr

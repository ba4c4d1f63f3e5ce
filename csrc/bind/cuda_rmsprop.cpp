#include "bind/cuda_update.hpp"
#include "cuda/rmsprop.hpp"

namespace pyasr::bind {

PYASR_CUDA_FAMILY(rmsprop) {
  m.def("rmsprop", [](const py::kwargs& k) {
    RmspropRule r{};
    r.alpha = keyword<double>(k, "alpha");
    r.eps = keyword<double>(k, "rule_eps");
    r.momentum = keyword<double>(k, "momentum");
    queue_update("rmsprop", k, [&](const auto& v, const cuda::UpdateCall& call) { return cuda::rmsprop(v, call, r); });
  });
}

}  // namespace pyasr::bind

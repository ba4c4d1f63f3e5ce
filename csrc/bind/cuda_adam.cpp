#include "bind/cuda_update.hpp"
#include "cuda/adam.hpp"

namespace pyasr::bind {

PYASR_CUDA_FAMILY(adam) {
  m.def("adam", [](const py::kwargs& k) {
    AdamRule r{};
    r.beta1 = keyword<double>(k, "beta1");
    r.beta2 = keyword<double>(k, "beta2");
    r.eps = keyword<double>(k, "rule_eps");
    r.unbias1 = keyword<double>(k, "unbias1");
    r.unbias2 = keyword<double>(k, "unbias2");
    queue_update("adam", k, [&](const auto& v, const cuda::UpdateCall& call) { return cuda::adam(v, call, r); });
  });
}

}  // namespace pyasr::bind

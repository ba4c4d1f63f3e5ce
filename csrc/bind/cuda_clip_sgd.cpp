#include "bind/cuda_update.hpp"
#include "cuda/clip_sgd.hpp"

namespace pyasr::bind {

using namespace py::literals;

PYASR_CUDA_FAMILY(clip_sgd) {
  m.def("update_workspace_bytes", &cuda::update_workspace_bytes, "slots"_a);
  m.def(
      "update_plan",
      [](std::size_t n, int resident_blocks) {
        const auto p = cuda::plan_update(n, resident_blocks);
        return py::make_tuple(p.slot_size, p.slots, p.blocks);
      },
      "n"_a, "resident_blocks"_a, "The launch for n parameters without segments: (slot_size, slots, blocks).");
  m.def("clip_sgd", [](const py::kwargs& k) {
    ClipSgdRule r{};
    r.momentum = keyword<double>(k, "momentum");
    r.dampening = keyword<double>(k, "dampening");
    r.nesterov = keyword<bool>(k, "nesterov");
    r.first = keyword<bool>(k, "first");
    queue_update("clip_sgd", k,
                 [&](const auto& v, const cuda::UpdateCall& call) { return cuda::clip_sgd(v, call, r); });
  });
}

}  // namespace pyasr::bind

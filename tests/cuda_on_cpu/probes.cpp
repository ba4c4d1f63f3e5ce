// The probes for tests.
#include "probes.hpp"

#include "bind/cuda_family.hpp"

PYASR_CUDA_FAMILY(probes) {
  using namespace pyasr;
  using bind::Address, bind::at, bind::queue;
  const auto size = [](const pybind11::tuple& t) {
    return dim3(t[0].cast<unsigned>(), t[1].cast<unsigned>(), t[2].cast<unsigned>());
  };
  m.def("probe_indices", [size](Address out, const pybind11::tuple& grid, const pybind11::tuple& block) {
    const dim3 g = size(grid), b = size(block);
    queue("probe", [&] { return cuda::probe_indices(at<int>(out), g, b); });
  });
  m.def("probe_warp_operations", [](Address out, int threads) {
    queue("probe", [&] { return cuda::probe_warp_operations(at<int>(out), threads); });
  });
  m.def("probe_block_exchange", [](Address out, int blocks, int threads) {
    queue("probe", [&] { return cuda::probe_block_exchange(at<int>(out), blocks, threads); });
  });
  m.def("probe_warp_exchange",
        [](Address out) { queue("probe", [&] { return cuda::probe_warp_exchange(at<int>(out)); }); });
  m.def("probe_grid_sum",
        [](Address out, int blocks) { queue("probe", [&] { return cuda::probe_grid_sum(at<int>(out), blocks); }); });
  m.def("probe_group_steps", [](Address out, Address counters, int groups, int steps) {
    queue("probe", [&] { return cuda::probe_group_steps(at<int>(out), at<unsigned>(counters), groups, steps); });
  });
  m.def("probe_atomics",
        [](Address out, int blocks) { queue("probe", [&] { return cuda::probe_atomics(at<int>(out), blocks); }); });
  m.def("probe_mistake", [](int which, Address out, Address counter) {
    queue("probe",
          [&] { return cuda::probe_mistake(static_cast<cuda::Mistake>(which), at<int>(out), at<unsigned>(counter)); });
  });
  m.def("probe_large_shared", [](Address out, std::size_t bytes) {
    queue("probe", [&] { return cuda::probe_large_shared(at<int>(out), bytes); });
  });
}

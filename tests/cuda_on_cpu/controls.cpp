// What tests set of the emulated device, as functions of the module that holds the emulated kernels.
#include "bind/cuda_family.hpp"

PYASR_CUDA_FAMILY(controls) {
  using namespace pybind11::literals;
  m.def(
      "schedule",
      [](int kind, unsigned seed) {
        emulation::schedule = static_cast<emulation::Schedule>(kind);
        emulation::seed = seed;
      },
      "kind"_a, "seed"_a, "Who goes first: 0 all in turn, 1 random priorities of blocks, 2 of warps.");
  m.def("skip", [](int id) { emulation::skip = id; }, "id"_a, "Leave out the barrier of this id; 0: none.");
  m.def(
      "resident", [](int blocks) { emulation::resident = blocks; }, "blocks"_a,
      "How many blocks the device holds at once; 0: as its properties say.");
  m.def(
      "plant", [](int error) { emulation::planted = error; }, "error"_a,
      "The next launch fails with this cudaError_t.");
  m.def("last_error", [] { return static_cast<int>(emulation::last); }, "What cudaGetLastError would return.");
  m.def(
      "select",
      [](int processors, int threads_per_processor, int shared_per_block, int shared_per_processor, int l2, int major,
         int minor) {
        emulation::devices.push_back(
            {processors, threads_per_processor, shared_per_block, shared_per_processor, l2, major, minor});
        emulation::device = static_cast<int>(emulation::devices.size()) - 1;
        return emulation::device;
      },
      pybind11::kw_only(), "processors"_a, "threads_per_processor"_a, "shared_per_block"_a, "shared_per_processor"_a,
      "l2"_a, "major"_a, "minor"_a, "Make a device with these properties the current one; its number.");
  m.def("select", [](int device) { emulation::device = device; }, "device"_a);
}

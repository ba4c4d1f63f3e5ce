// What tests set of the emulated device, as functions of the module that holds the emulated kernels.
#include <cstdlib>
#include <new>

#include "bind/cuda_family.hpp"

namespace {

// Aligned as CuPy's memory is, and not a byte longer than asked for: AddressSanitizer sees what lies behind.
struct Memory {
  explicit Memory(std::size_t bytes) : bytes(bytes) {
    if (posix_memalign(&address, 256, bytes ? bytes : 1) != 0) throw std::bad_alloc();
    std::memset(address, 0xff, bytes);
  }
  ~Memory() { std::free(address); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  void* address = nullptr;
  std::size_t bytes;
};

}  // namespace

PYASR_CUDA_FAMILY(controls) {
  namespace py = pybind11;
  using namespace pybind11::literals;
  py::class_<Memory>(m, "Memory", py::buffer_protocol(), py::module_local(), "Poisoned memory of the emulated device.")
      .def(py::init<std::size_t>(), "bytes"_a)
      .def_buffer([](Memory& own) {
        return py::buffer_info(own.address, 1, py::format_descriptor<unsigned char>::format(),
                               static_cast<py::ssize_t>(own.bytes));
      });
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
      "describe",
      [](int processors, int threads_per_processor, int shared_per_block, int shared_per_processor, int l2, int major,
         int minor) {
        emulation::devices.push_back(
            {processors, threads_per_processor, shared_per_block, shared_per_processor, l2, major, minor});
        return static_cast<int>(emulation::devices.size()) - 1;
      },
      py::kw_only(), "processors"_a, "threads_per_processor"_a, "shared_per_block"_a, "shared_per_processor"_a, "l2"_a,
      "major"_a, "minor"_a, "Add a device with these properties; its number.");
  m.def("select", [](int device) { emulation::device = device; }, "device"_a, "Make it the current one.");
}

// pyasr._cpu: every row of the op table under its own name, and what `pyasr info` asks about this build.
#include <pybind11/pybind11.h>

#include "bind/array.hpp"
#include "bind/capi.hpp"

namespace pyasr::bind {

void bind_probe(py::module_& m);
void bind_adam(py::module_& m);
void bind_cg(py::module_& m);
void bind_clip_sgd(py::module_& m);
void bind_align(py::module_& m);
void bind_beam(py::module_& m);
void bind_ctc(py::module_& m);
void bind_dropout(py::module_& m);
void bind_greedy(py::module_& m);
void bind_hmm(py::module_& m);
void bind_gru(py::module_& m);
void bind_rmsprop(py::module_& m);
void bind_rnn(py::module_& m);
void bind_softmax(py::module_& m);
void bind_spd(py::module_& m);
void bind_lstm(py::module_& m);
void bind_mfcc(py::module_& m);

}  // namespace pyasr::bind

PYBIND11_MODULE(_cpu, m) {
  namespace py = pybind11;
  using namespace pyasr;
  m.doc() = "Native CPU kernels of pyasr. Use them through pyasr.backend(\"cpp\").";
  m.attr("__version__") = PYASR_VERSION;
  bind::kernels();  // an unknown or unsupported PYASR_ISA is an error at import, not at the first call
  bind::bind_probe(m);
  bind::bind_adam(m);
  bind::bind_rmsprop(m);
  bind::bind_cg(m);
  bind::bind_clip_sgd(m);
  bind::bind_align(m);
  bind::bind_beam(m);
  bind::bind_ctc(m);
  bind::bind_dropout(m);
  bind::bind_greedy(m);
  bind::bind_hmm(m);
  bind::bind_lstm(m);
  bind::bind_gru(m);
  bind::bind_rnn(m);
  bind::bind_softmax(m);
  bind::bind_spd(m);
  bind::bind_mfcc(m);
  m.attr("api") = py::capsule(&bind::api(), PYASR_API_CAPSULE);
  m.def("isa", [] { return bind::kernels().isa; }, "The instruction set in use: v2, v3, v4 or neon.");
  m.def(
      "isas",
      [] {
        int count = 0;
        const cpu::Built* all = cpu::built(&count);
        py::dict out;
        for (int i = 0; i < count; ++i) out[all[i].table->isa] = all[i].supported;
        return out;
      },
      "Every instruction set in this build, best first, with whether this CPU runs it.");
  m.def("default_threads", &runtime::default_threads, "PYASR_NUM_THREADS, or the CPUs this process may use.");
}

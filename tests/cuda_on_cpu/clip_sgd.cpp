// csrc/cuda/clip_sgd.cu over the emulation, for ctypes.
#include "cuda/clip_sgd.cu"

using namespace pyasr;

template <class T>
static int run(void* value, const void* grad, void* buffer, std::size_t n, const ClipSgdOptions& options,
               double* report) {
  std::vector<double> workspace(cuda::clip_sgd_workspace_bytes / sizeof(double), NAN);
  const ClipSgdArgs<T> args{static_cast<T*>(value), static_cast<const T*>(grad), static_cast<T*>(buffer), n, options};
  return cuda::clip_sgd(args, workspace.data(), reinterpret_cast<cuda::ClipSgdReport*>(report), nullptr);
}

// clip: 0 none, 1 norm, 2 value. Returns 0, or an error of the grid.
extern "C" [[gnu::visibility("default")]] int clip_sgd(int is_double, void* value, const void* grad, void* buffer,
                                                       std::size_t n, double lr, double momentum, double dampening,
                                                       int nesterov, double weight_decay, int decoupled, int clip,
                                                       double limit, int first, int propagate, int resident,
                                                       unsigned seed, int skip, double* report) {
  emulation::resident = resident;
  emulation::seed = seed;
  emulation::skip = skip;
  ClipSgdOptions o{};
  o.lr = lr;
  o.momentum = momentum;
  o.dampening = dampening;
  o.weight_decay = weight_decay;
  o.limit = limit;
  o.grad_scale = 1;
  o.nesterov = nesterov;
  o.decoupled = decoupled;
  o.first = first;
  o.clip = static_cast<Clip>(clip);
  o.nonfinite = propagate ? NonFinite::propagate : NonFinite::skip;
  return is_double ? run<double>(value, grad, buffer, n, o, report) : run<float>(value, grad, buffer, n, o, report);
}

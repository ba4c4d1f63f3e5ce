// Fills the struct of pyasr/capi.h: the contracts behind scalar arguments and leased scratch.
#include "bind/capi.hpp"

#include <cmath>

#include "cpu/table.hpp"
#include "runtime/arena.hpp"
#include "runtime/pool.hpp"

namespace pyasr::bind {
namespace {

// Without a way to ask for Ctrl-C: the caller may not hold the GIL, and may have none.
Runtime runtime_for(runtime::Call& call, int threads) {
  return runtime::runtime(call, threads > 0 ? threads : runtime::default_threads());
}

double clip_sgd_f32(float* value, const float* grad, float* buffer, std::size_t n, double lr, double momentum,
                    double weight_decay, double clip_norm, int threads) {
  if ((n && (!value || !grad)) || (momentum != 0 && !buffer)) return -1;
  ClipSgdArgs<float> args{value, grad, buffer, n, {}};
  args.options.lr = lr;
  args.options.momentum = momentum;
  args.options.weight_decay = weight_decay;
  args.options.grad_scale = 1;
  args.options.limit = clip_norm;
  args.options.clip = std::isinf(clip_norm) ? Clip::none : Clip::norm;
  const ClipSgd& op = *cpu::active()->clip_sgd;
  const runtime::Lease scratch(op.workspace_bytes(n));
  if (!scratch.get()) return -1;
  runtime::Call call;
  return op.f32(args, scratch.get(), runtime_for(call, threads)).norm;
}

}  // namespace

const PyasrApi& api() noexcept {
  static const PyasrApi filled = {sizeof(PyasrApi), clip_sgd_f32};
  return filled;
}

}  // namespace pyasr::bind

// Fills the struct of pyasr/capi.h: the contracts behind scalar arguments and leased scratch.
#include "bind/capi.hpp"

#include <cmath>
#include <cstdint>
#include <limits>

#include "cpu/table.hpp"
#include "runtime/arena.hpp"
#include "runtime/pool.hpp"

namespace pyasr::bind {
namespace {

// Without a way to ask for Ctrl-C: the caller may not hold the GIL, and may have none.
Runtime runtime_for(runtime::Call& call, int threads) {
  return runtime::runtime(call, threads < 1 ? runtime::default_threads() : threads < 1024 ? threads : 1024);
}

double clip_sgd_f32(float* value, const float* grad, float* buffer, std::size_t n, double lr, double momentum,
                    double weight_decay, double clip_norm, int threads) {
  if ((n && (!value || !grad)) || (momentum != 0 && !buffer)) return -1;
  UpdatePiece<float> all{value, grad, {buffer}, nullptr, n, 1, n, lr, weight_decay, 0, HUGE_VAL, 0, 0, 0};
  UpdateArgs<float> args{&all, 1, {}};
  args.options.grad_scale = 1;
  args.options.limit = clip_norm;
  args.options.clip = std::isinf(clip_norm) ? Clip::none : Clip::norm;
  const ClipSgd& op = *cpu::active()->clip_sgd;
  const runtime::Lease scratch(op.workspace_f32(args));
  if (!scratch.get()) return -1;
  runtime::Call call;
  return op.f32(args, {momentum, 0, false, false}, scratch.get(), runtime_for(call, threads)).norm;
}

bool in_range(const CtcArgs<float>& a) {
  if (a.V < 1 || a.blank < 0 || a.blank >= a.V) return false;
  for (std::int64_t b = 0; b < a.B; ++b) {
    if (a.lengths[b] < 0 || a.lengths[b] > a.frames || a.label_lengths[b] < 0 || a.label_lengths[b] > a.U) return false;
    for (std::int64_t u = 0; u < a.label_lengths[b]; ++u) {
      const std::int32_t label = a.labels[b * a.U + u];
      if (label < 0 || label >= a.V || label == a.blank) return false;
    }
  }
  return true;
}

int ctc_loss_f32(const float* logits, const std::int32_t* lengths, const std::int32_t* labels,
                 const std::int32_t* label_lengths, float* loss, float* dlogits, std::size_t T, std::size_t B,
                 std::size_t V, std::size_t U, std::int32_t blank, int zero_infinity, int threads) {
  CtcArgs<float> a{logits, lengths, labels, label_lengths,     loss, dlogits, nullptr, 0, 0,
                   0,      0,       blank,  zero_infinity != 0};
  a.frames = static_cast<std::int64_t>(T);
  a.B = static_cast<std::int64_t>(B);
  a.V = static_cast<std::int64_t>(V);
  a.U = static_cast<std::int64_t>(U);
  if (!in_range(a)) return -2;
  std::int64_t frames = 0, longest = 0;
  for (std::int64_t b = 0; b < a.B; ++b) {
    if (lengths[b] > frames) frames = lengths[b];
    if (label_lengths[b] > longest) longest = label_lengths[b];
  }
  runtime::Call call;
  const Runtime runtime = runtime_for(call, threads);
  const Ctc& op = *cpu::active()->ctc;
  const runtime::Lease scratch(op.workspace_bytes(frames, longest, sizeof(float), runtime.threads));
  if (!scratch.get()) return -1;
  op.f32(a, scratch.get(), runtime);
  return 0;
}

std::int64_t cg_f32(const float* A, const float* b, float* x, std::size_t n, double rtol, double atol,
                    std::int64_t maxiter, int threads) {
  constexpr std::int64_t impossible = std::numeric_limits<std::int64_t>::min();
  if (n && (!A || !b || !x)) return impossible;
  CgState<float> s{};
  s.A = A;
  s.n = n;
  s.rtol = rtol;
  s.atol = atol;
  s.maxiter = maxiter;
  s.verify = true;
  s.returns_rounded = true;
  const CgOf<float>& op = cpu::active()->cg->f32;
  const runtime::Lease scratch(op.workspace_bytes(s));
  if (!scratch.get()) return impossible;
  op.lay_out(s, scratch.get());
  for (std::size_t i = 0; i < n; ++i) {
    s.b[i] = b[i];
    s.x[i] = x[i];
    if (x[i] != 0) s.guessed = true;  // NaN counts
  }
  runtime::Call call;
  op.solve(s, runtime_for(call, threads));
  if (s.unsymmetric) return impossible;
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(s.best[i]);
  return s.info;
}

}  // namespace

const PyasrApi& api() noexcept {
  static const PyasrApi filled = {sizeof(PyasrApi), clip_sgd_f32, ctc_loss_f32, cg_f32};
  return filled;
}

}  // namespace pyasr::bind

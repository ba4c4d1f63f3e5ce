// The launch of an update: what its kernel knows beforehand, how many blocks, whether they can meet and keep the
// gradient.
#pragma once
#include "cuda/update.cuh"

namespace pyasr::cuda {
namespace {

template <class T>
bool aligned(const UpdateVectors<T>& a) {
  auto bits = reinterpret_cast<std::size_t>(a.value) | reinterpret_cast<std::size_t>(a.grad) |
              reinterpret_cast<std::size_t>(a.average);
  for (const T* s : a.state) bits |= reinterpret_cast<std::size_t>(s);
  return bits % 16 == 0;
}

template <class T, class Rule, Layout Where>
cudaError_t launch_update(const UpdateVectors<T>& a, const UpdateCall& call, const Rule& rule) {
  const auto kernel = update_kernel<T, Rule, Where>;
  const UpdateOptions& p = call.numbers.options;
  int resident = 0;
  if (const cudaError_t e = resident_blocks(kernel, update_threads, 0, &resident)) return e;
  UpdateLaunch plan{call.table};
  if (!plan.table.slots) {
    const UpdatePlan vector = plan_update(a.n, resident);
    plan.table = {nullptr, vector.slots, vector.slots, vector.slot_size, true};
  }
  const int rows = Where == Layout::list ? plan.table.count - plan.table.whole : 0, whole = plan.table.count - rows;
  plan.bundle = update_bundle(rows);
  plan.items = whole + (rows ? (rows - 1) / plan.bundle + 1 : 0);
  const int blocks = update_blocks(plan.items, resident);
  const double known = sqrt(p.sum_squares) * fabs(p.grad_scale), largest = sizeof(T) == 4 ? double{FLT_MAX} : DBL_MAX;
  const bool unknown = call.numbers.grad_scale || call.numbers.sum_squares;
  plan.sums = !p.known || p.clip == Clip::adaptive || p.clip == Clip::max_change;
  plan.meet = plan.sums || a.count || (p.nonfinite != NonFinite::propagate && (unknown || known > largest / 2));
  if (!plan.meet) {
    return pyasr::cuda::launch(kernel, blocks, update_threads, 0, call.stream, a, call.numbers, rule, plan, call.norms,
                               call.report);
  }
  const std::size_t rounds = static_cast<std::size_t>((whole + blocks - 1) / blocks);
  std::size_t shared = plan.sums ? rounds * plan.table.slot_size * sizeof(T) : 0;
  int with = 0;
  if (const cudaError_t e = resident_blocks(kernel, update_threads, shared, &with)) return e;
  plan.keep = shared != 0 && with >= blocks;
  if (!plan.keep) shared = 0;
  return launch_grid(kernel, blocks, update_threads, shared, call.stream, a, call.numbers, rule, plan, call.norms,
                     call.report);
}

// What a rule's launcher calls.
template <class T, class Rule>
cudaError_t run_update(const UpdateVectors<T>& a, const UpdateCall& call, const Rule& rule) {
  if (a.list) return launch_update<T, Rule, Layout::list>(a, call, rule);
  const bool vectors = aligned(a) && (!call.table.slots || call.table.aligned);
  return vectors ? launch_update<T, Rule, Layout::aligned>(a, call, rule)
                 : launch_update<T, Rule, Layout::any>(a, call, rule);
}

}  // namespace
}  // namespace pyasr::cuda

// ctc_loss in four launches, none of which waits for the host:
//   rows      the whole grid, a warp or a block per frame: softmax into dlogits, the frame's norm, the emissions
//   lattice   two blocks per utterance, forward and backward at the same time up to the middle frame; a third one adds
//             the norms and links equal labels
//   lattice   both on from the middle: occupancies, and the loss
//   gradient  the whole grid, a warp per frame: occupancies, made to sum to one, leave the softmax
//
// Bytes per frame (float32): 8 V for rows, and 8 + 24 + 40 + 16 for each label. Of the lattice the latency counts. A
// step is one exchange of a cell (through shared memory with a barrier 60 cycles, by shuffles 25) and a chain of nine
// dependent operations (40): 0.06 us at 1.75 GHz, or 0.04, and T of them; a warp issues 60 to 90 instructions
// meanwhile. Predicted on an H200 for T=500 B=32 U=50 V=32: 500 * 0.06 us and four launches of 2 to 5 us, 45 us.
// torch 2.13 takes two passes of T steps, each with a trip to L2 and back for the row, taken as 0.5 us: 500 us. Not yet
// measured on a GPU.
#include "cuda/ctc.hpp"
#include "cuda/ctc_lattice.cuh"

namespace pyasr::cuda {
namespace {

template <class T, int Group, int Width>
__global__ void __launch_bounds__(row_threads, row_blocks<T>) ctc_rows(CtcArgs<T> a, CtcSpace<T> s, bool aligned) {
  PYASR_SHARED(T, maxima, row_threads / 32);
  PYASR_SHARED(T, sums, row_threads / 32);
  const std::int64_t at = own_row<Group>();
  if (at >= a.frames * a.B) return;
  const std::int64_t t = at / a.B, b = at % a.B;
  const T* x = a.logits + at * a.V;
  Row<T, Group, Width> row(x, a.V, aligned);
  if (t >= within(a.lengths[b], a.frames)) {
    row.fill(a.dlogits + at * a.V, T(0));
    return;
  }
  row.reduce(maxima, sums);
  row.write(a.dlogits + at * a.V, -1);
  const Frame<T> frame(row.max);
  const int rank = static_cast<int>(threadIdx.x) % Group;
  if (rank == 0) s.log_norms[b * a.frames + t] = log(static_cast<double>(row.sum) * static_cast<double>(frame.top));
  const std::int64_t slots = a.U + 1, n = within(a.label_lengths[b], a.U);
  Cell<T>* emissions = s.emissions + (b * a.frames + t) * slots;
  for (std::int64_t k = rank; k <= n; k += Group) {
    const std::int64_t symbol = k == 0 ? a.blank : a.labels[b * a.U + k - 1];
    emissions[k] = symbol < 0 || symbol >= a.V ? zero_cell<T>() : frame.emission(x[symbol]);
  }
}

template <class T, int Group, int Width>
__global__ void __launch_bounds__(row_threads) ctc_gradient(CtcArgs<T> a, CtcSpace<T> s, bool aligned) {
  static_assert(Group == 32);
  const std::int64_t at = own_row<32>();
  if (at >= a.frames * a.B) return;
  const std::int64_t t = at / a.B, b = at % a.B, frames = within(a.lengths[b], a.frames);
  if (t >= frames) return;
  T* g = a.dlogits + at * a.V;
  if (s.fates[b] != learns) {
    Row<T, 32, Width>(g, a.V, aligned).fill(g, s.fates[b] == lost ? nan_of<T>() : T(0));
    return;
  }
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t slots = a.U + 1, n = within(a.label_lengths[b], a.U);
  const auto* kept = reinterpret_cast<const Slot<T>*>(s.kept + (b * a.frames + t) * 2 * slots);
  const bool backward = t >= (frames + 1) / 2;  // kept by that direction, in its order
  auto occupancy = [&](std::int64_t u) { return kept[backward ? n - 1 - u : u].label.m; };
  T of_blank = 0, of_labels = 0;
  for (std::int64_t u = lane; u <= n; u += 32) {
    const Slot<T> here = kept[u];
    of_blank += here.blank.m;
    if (u < n) of_labels += here.label.m;
  }
  of_blank = warp_reduce(of_blank, Plus());
  of_labels = warp_reduce(of_labels, Plus());
  const T mass = of_blank + of_labels, share = mass > T(0) ? T(1) / mass : T(0);
  if (lane == 0) g[a.blank] -= of_blank * share;
  const std::int32_t* links = s.links + b * a.U;
  for (std::int64_t u = lane; u < n; u += 32) {
    std::int32_t link = links[u];
    if (link < 0) continue;  // its label came before
    T sum = occupancy(u);
    while (link != 0) {
      const std::int32_t v = link - 1;
      sum += occupancy(v);
      link = ~links[v];
    }
    g[a.labels[b * a.U + u]] -= sum * share;
  }
}

template <class T>
cudaError_t lattice(const CtcArgs<T>& a, const CtcSpace<T>& s, const CtcPlan& plan, cudaStream_t stream) {
  const bool one_warp = plan.threads == 32;
  const auto first = plan.wide  ? ctc_wide<T, false>
                     : one_warp ? ctc_narrow<T, false, true>
                                : ctc_narrow<T, false, false>;
  const auto second = plan.wide ? ctc_wide<T, true> : one_warp ? ctc_narrow<T, true, true> : ctc_narrow<T, true, false>;
  const auto blocks = static_cast<unsigned>(a.B), threads = static_cast<unsigned>(plan.threads);
  if (const cudaError_t e = launch(first, dim3(blocks, 3), threads, 0, stream, a, s)) return e;
  return launch(second, dim3(blocks, 2), threads, 0, stream, a, s);
}

}  // namespace

template <class T>
cudaError_t ctc_loss(const CtcArgs<T>& args, void* workspace, cudaStream_t stream) {
  if (args.B == 0) return cudaSuccess;
  const CtcPlan plan = plan_ctc(args.frames, args.B, args.U, sizeof(T));
  const CtcSpace<T> space(plan, workspace);
  const bool aligned = aligned_rows(args.logits, args.dlogits);
  const std::int64_t rows = args.frames * args.B;
  if (rows) {
    const cudaError_t e = for_rows<T>(rows, args.V, [&](auto group, auto width, unsigned grid) {
      return launch(ctc_rows<T, group(), width()>, grid, row_threads, 0, stream, args, space, aligned);
    });
    if (e) return e;
  }
  if (const cudaError_t e = lattice(args, space, plan, stream)) return e;
  if (!rows) return cudaSuccess;
  return for_rows<T>(rows, 1, [&](auto, auto, unsigned grid) {
    constexpr int wide = 16 / sizeof(T);
    const auto kernel = args.V % wide == 0 ? ctc_gradient<T, 32, wide> : ctc_gradient<T, 32, 1>;
    return launch(kernel, grid, row_threads, 0, stream, args, space, aligned);
  });
}

template cudaError_t ctc_loss(const CtcArgs<float>&, void*, cudaStream_t);
template cudaError_t ctc_loss(const CtcArgs<double>&, void*, cudaStream_t);

}  // namespace pyasr::cuda

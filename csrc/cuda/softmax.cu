// softmax_cross_entropy in one launch: a warp per row, or a block per row of more than 512 float32 (256 float64).
//
// Bytes per entry: read 4, write 4 (float32), once each up to 4096 (2048) entries of a row, so 8 N V bytes at the
// bandwidth of the memory is the bound: 16000 rows of 1024, 131 MB, 27 us at 4.8 TB/s; predicted:
// 33 us on an H200, the bound at 85 % of it. An exp and four flops per entry.
// Not yet measured on a GPU.
#include "cuda/softmax.hpp"
#include "cuda/softmax_row.cuh"

namespace pyasr::cuda {
namespace {

template <class T, int Group, int Width>
__global__ void __launch_bounds__(row_threads, row_blocks<T>) softmax_kernel(SoftmaxArgs<T> a, bool aligned) {
  PYASR_SHARED(T, maxima, row_threads / 32);
  PYASR_SHARED(T, sums, row_threads / 32);
  const std::int64_t n = own_row<Group>();
  if (n >= a.N) return;
  const int rank = static_cast<int>(threadIdx.x) % Group;
  const std::int64_t label = a.labels[n];
  const T* x = a.logits + n * a.V;
  T* y = a.dlogits + n * a.V;
  Row<T, Group, Width> row(x, a.V, aligned);
  if (label < 0 || label >= a.V) {
    const T value = label == -1 ? T(0) : nan_of<T>();
    if (rank == 0) a.loss[n] = value;
    row.fill(y, value);
    return;
  }
  row.reduce(maxima, sums);
  if (rank == 0) a.loss[n] = log(row.sum) - (x[label] - row.max);
  row.write(y, label);
}

}  // namespace

template <class T>
cudaError_t softmax_cross_entropy(const SoftmaxArgs<T>& args, cudaStream_t stream) {
  if (args.N == 0) return cudaSuccess;
  return for_rows<T>(args.N, args.V, [&](auto group, auto width, unsigned grid) {
    return launch(softmax_kernel<T, group(), width()>, grid, row_threads, 0, stream, args,
                  aligned_rows(args.logits, args.dlogits));
  });
}

template cudaError_t softmax_cross_entropy(const SoftmaxArgs<float>&, cudaStream_t);
template cudaError_t softmax_cross_entropy(const SoftmaxArgs<double>&, cudaStream_t);

}  // namespace pyasr::cuda

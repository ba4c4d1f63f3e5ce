// mfcc, fbank and spectrogram: samples to features in one launch, and a second one in float64 for the few frames, one
// in thirty of speech, with a filter so weak that float32 would show in its log. It finds them by marks, without the
// host.
//
// 256, 400, 512, 1024 and 2048 points take mfcc_tile.cuh, all other sizes mfcc_frame.cuh in float32, and those without
// a packed FFT (MfccTables::chirp) in float64. Device memory sees 2 S (int16) or 4 S bytes of samples in (9 % of them
// twice), 4 F bytes out and a mark: 320 + 52 B for 13 cepstra at 16 kHz from int16, 640 + 320 B for 80 filters from
// float32. At 4.3 TB/s that would be 11 and 4.5 G frames per second.
//
// Not yet measured on a GPU. Prediction for 13 cepstra at 16 kHz on an H200: 600 warp instructions a frame, of which a
// multiprocessor issues 4 a cycle; at half of that, from 24 warps (80 registers, 57 KB for 8 of them), 300 cycles, so
// 132 * 1.75 GHz / 300 = 0.77 G frames per second. Shared memory takes 120 cycles of them. The second launch adds a
// tenth on speech. By the same count, points for points, 256 take 335 (1.4 G frames per second), 400, of which four
// frames share a warp of 25 points a lane, 520 (0.9), 1024 1250 (0.37), 2048 2700 (0.17).
#include "cuda/launch.cuh"
#include "cuda/mfcc.hpp"
#include "cuda/mfcc_cmvn.cuh"
#include "cuda/mfcc_deltas.cuh"
#include "cuda/mfcc_frame.cuh"
#include "cuda/mfcc_tile.cuh"
#include "cuda/mfcc_wave.cuh"

namespace pyasr::cuda {
namespace {

MfccFramePlan plan_of(const MfccTables& t, std::size_t real, const DeviceProperties& device) {
  return plan_mfcc_frame(t.length, t.fft, t.points, t.chirp != nullptr, t.mels, real, device);
}

template <class R, bool Marked>
cudaError_t run_frames(const MfccOnDevice& plan, const MfccJob& job, const DeviceProperties& device,
                       cudaStream_t stream) {
  const MfccFramePlan p = plan_of(plan.t, sizeof(R), device);
  const auto kernel = mfcc_frame_kernel<R, Marked>;
  const int64_t items = Marked ? (job.frames + 15) / 16 : job.frames;
  int64_t blocks = mfcc_most_blocks(device);
  if (!p.memory) {
    int resident = 0;
    if (const cudaError_t e = resident_blocks(kernel, p.threads, p.shared, &resident)) return e;
    blocks = resident > 1 ? resident : 1;
  }
  if (items < blocks) blocks = items;
  return launch(kernel, static_cast<unsigned>(blocks), static_cast<unsigned>(p.threads), p.shared, stream, plan, job,
                p.memory);
}

using TileKernel = void (*)(MfccOnDevice, MfccJob, MfccTilePlan);
TileKernel tile_kernel(int fft) {
  switch (fft) {
    case 256:
      return mfcc_tile_kernel<256>;
    case 400:
      return mfcc_tile_kernel<400>;
    case 512:
      return mfcc_tile_kernel<512>;
    case 1024:
      return mfcc_tile_kernel<1024>;
    default:
      return mfcc_tile_kernel<2048>;
  }
}

unsigned rows_of(std::int64_t count) { return static_cast<unsigned>(count < 65535 ? count : 65535); }

// What every frame has in itself.
cudaError_t run(const MfccOnDevice& plan, const MfccJob& job, const DeviceProperties& device, cudaStream_t stream) {
  const MfccTables& t = plan.t;
  if (t.chirp) return run_frames<double, false>(plan, job, device, stream);
  const MfccTilePlan tile = plan_mfcc_tile(t.fft, t.length, t.shift, t.mels, t.features, device);
  if (const cudaError_t e = tile.shared ? launch(tile_kernel(t.fft), static_cast<unsigned>(job.tiles),
                                                 mfcc_tile_threads, tile.shared, stream, plan, job, tile)
                                        : run_frames<float, false>(plan, job, device, stream))
    return e;
  return run_frames<double, true>(plan, job, device, stream);
}

}  // namespace

cudaError_t mfcc_memory_bytes(const MfccTables& t, std::size_t* bytes) {
  DeviceProperties device;
  if (const cudaError_t e = device_properties(&device)) return e;
  *bytes = plan_of(t, 8, device).memory * static_cast<std::size_t>(mfcc_most_blocks(device));
  return cudaSuccess;
}

cudaError_t mfcc(const MfccOnDevice& plan, const MfccJob& given, cudaStream_t stream) {
  if (!given.frames) return cudaSuccess;
  MfccJob job = given;
  job.each = mfcc_frames_each(plan.t.fft);
  DeviceProperties device;
  if (const cudaError_t e = device_properties(&device)) return e;
  const MfccTables& t = plan.t;
  const bool apart = mfcc_needs_bands(t);
  MfccOnDevice first = plan;
  MfccJob logs = job;
  if (apart) {
    first.t.kind = FeatureKind::fbank;
    first.t.features = t.mels;
    logs.out = job.bands;
    logs.dense = true;
  }
  if (const cudaError_t e = run(first, logs, device, stream)) return e;
  const auto tiles = static_cast<unsigned>(job.tiles);
  if (t.dynamic_range <= 1.7976931348623157e308) {
    if (const cudaError_t e =
            cudaMemsetAsync(job.peaks, 0x80, static_cast<std::size_t>(job.count) * sizeof(int), stream))
      return e;
    if (const cudaError_t e = launch(mfcc_peak_kernel, tiles, wave_threads, 0, stream, first.t, logs)) return e;
    if (const cudaError_t e = launch(mfcc_limit_kernel, tiles, wave_threads, 0, stream, t, job, first.t, logs))
      return e;
  }
  if (t.normalize == Normalize::none) return cudaSuccess;
  const int groups = t.normalize == Normalize::all_features ? 1 : (t.features + 31) / 32;
  return launch(mfcc_normalize_kernel, dim3(static_cast<unsigned>(groups), rows_of(job.count)), wave_threads, 0, stream,
                t, job);
}

cudaError_t mfcc_check(const MfccJob& job, unsigned long long* worst, cudaStream_t stream) {
  if (const cudaError_t e =
          cudaMemsetAsync(worst, 0, static_cast<std::size_t>(job.count) * 2 * sizeof(unsigned long long), stream))
    return e;
  DeviceProperties device;
  if (const cudaError_t e = device_properties(&device)) return e;
  const std::int64_t each = 4 * device.processors / job.count + 1;
  return launch(mfcc_check_kernel, dim3(static_cast<unsigned>(each), rows_of(job.count)), wave_threads, 0, stream, job,
                worst);
}

namespace {
constexpr std::int64_t most_blocks = 0x7fffffff;
}

template <class T>
cudaError_t deltas(const DeltasArgs& args, const T* x, T* y, cudaStream_t stream) {
  if (!args.at.lines || !args.at.frames || !args.F) return cudaSuccess;
  DeviceProperties device;
  if (const cudaError_t e = device_properties(&device)) return e;
  const DeltasPlan plan = plan_deltas(args.F, args.window, args.order, args.repeated, device);
  if (!plan.frames) return cudaErrorInvalidConfiguration;
  const std::int64_t tiles = (args.at.frames + plan.frames - 1) / plan.frames;
  const std::int64_t blocks = args.at.lines * tiles * ((args.F + plan.columns - 1) / plan.columns);
  if (blocks > most_blocks) return cudaErrorInvalidConfiguration;
  return launch(deltas_kernel<T>, static_cast<unsigned>(blocks), after_threads, plan.shared, stream, args, plan, tiles,
                x, y);
}

template <class T>
cudaError_t cmvn(const FrameLayout& at, int F, bool variance, const T* x, T* y, cudaStream_t stream) {
  if (!at.utterances || !at.frames || !F) return cudaSuccess;
  const int groups = (F + cmvn_columns - 1) / cmvn_columns;
  if (at.utterances > most_blocks / groups) return cudaErrorInvalidConfiguration;
  return launch(cmvn_kernel<T>, static_cast<unsigned>(at.utterances * groups), cmvn_threads, 0, stream, at, F, groups,
                variance, x, y);
}

template cudaError_t deltas(const DeltasArgs&, const float*, float*, cudaStream_t);
template cudaError_t deltas(const DeltasArgs&, const double*, double*, cudaStream_t);
template cudaError_t cmvn(const FrameLayout&, int, bool, const float*, float*, cudaStream_t);
template cudaError_t cmvn(const FrameLayout&, int, bool, const double*, double*, cudaStream_t);

}  // namespace pyasr::cuda

// What depends on the whole wave: its worst samples, a floor relative to its largest log, and normalization.
#pragma once
#include "cuda/mfcc_bands.cuh"

namespace pyasr::cuda {
namespace {

constexpr int wave_threads = 256;

// ---- samples that do not count

// grid: blocks of a wave x waves. What is kept is n - i, so that the largest is the first one.
__global__ void __launch_bounds__(wave_threads) mfcc_check_kernel(MfccJob job, unsigned long long* worst) {
  for (int64_t b = blockIdx.y; b < job.count; b += gridDim.y) {
    const MfccPiece piece = job.pieces ? job.pieces[b] : job.one;
    unsigned long long strange = 0, large = 0;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * wave_threads + threadIdx.x; i < piece.n;
         i += static_cast<int64_t>(gridDim.x) * wave_threads) {
      const double x = job.type == WaveType::float32
                           ? static_cast<double>(static_cast<const float*>(job.samples)[piece.begin + i])
                           : static_cast<const double*>(job.samples)[piece.begin + i];
      if (fabs(x) <= job.largest) continue;
      const auto left = static_cast<unsigned long long>(piece.n - i);
      if (isfinite(x))
        large = large > left ? large : left;
      else
        strange = strange > left ? strange : left;
    }
    if (strange) dev::atomic_max(worst + 2 * b, strange);
    if (large) dev::atomic_max(worst + 2 * b + 1, large);
  }
}

// ---- a floor relative to the largest log

constexpr int no_number = 0x7fffffff;  // the peak of a wave with frames that are NaN

// Integers in the order of the numbers.
__device__ inline int ordered(float x) {
  union {
    float f;
    int i;
  } u{x};
  return u.i < 0 ? u.i ^ 0x7fffffff : u.i;
}
__device__ inline float number(int i) {
  union {
    int i;
    float f;
  } u{i < 0 ? i ^ 0x7fffffff : i};
  return u.f;
}

// A tile a block. The logs of a frame lie where features of `t` do. Peaks begin as 0x80808080, below every log.
__global__ void __launch_bounds__(wave_threads) mfcc_peak_kernel(MfccTables t, MfccJob job) {
  PYASR_SHARED(int, largest, wave_threads / 32);
  const Tile tile = tile_of(job, blockIdx.x);
  int most = 0x80808080;
  for (int i = static_cast<int>(threadIdx.x); i < tile.frames * t.features; i += wave_threads) {
    const int f = i / t.features;
    const float x = row_of(t, job, tile.piece, tile.f0 + f)[i - f * t.features];
    const int o = x == x ? ordered(x) : no_number;
    most = o > most ? o : most;
  }
  for (int k = 16; k > 0; k /= 2) {
    const int other = dev::shuffle_xor(most, k);
    most = other > most ? other : most;
  }
  if (threadIdx.x % 32 == 0) largest[threadIdx.x / 32] = most;
  PYASR_SYNC_BLOCK(420);
  if (threadIdx.x == 0) {
    for (int w = 1; w < wave_threads / 32; ++w) most = largest[w] > most ? largest[w] : most;
    dev::atomic_max(job.peaks + tile.piece.number, most);
  }
}

// From logs, where `from` and `logs` say, to features, where `to` and `t` do; the same place where there are no
// cepstra.
__global__ void __launch_bounds__(wave_threads)
    mfcc_limit_kernel(MfccTables t, MfccJob to, MfccTables logs, MfccJob from) {
  const Tile tile = tile_of(to, blockIdx.x);
  const int peak = to.peaks[tile.piece.number];
  const float least = static_cast<float>(static_cast<double>(number(peak)) - t.dynamic_range);
  for (int i = static_cast<int>(threadIdx.x); i < tile.frames * t.features; i += wave_threads) {
    const int f = i / t.features, k = i - f * t.features;
    const float* const row = row_of(logs, from, tile.piece, tile.f0 + f);
    float* const out = row_of(t, to, tile.piece, tile.f0 + f);
    if (peak == no_number)
      out[k] = NAN;
    else if (t.kind == FeatureKind::mfcc)
      out[cepstrum_column(t, k)] = cepstrum(t, row, 1, least, k);
    else
      out[k] = row[k] < least ? least : row[k];
  }
}

// ---- normalization

// grid: groups of 32 columns x waves; where all columns count as one, one group. 8 rows and 32 columns at a time.
__global__ void __launch_bounds__(wave_threads) mfcc_normalize_kernel(MfccTables t, MfccJob job) {
  PYASR_SHARED(double, part, wave_threads);
  const bool together = t.normalize == Normalize::all_features;
  const int lane = static_cast<int>(threadIdx.x) % 32, row = static_cast<int>(threadIdx.x) / 32;
  const int begin = together ? 0 : static_cast<int>(blockIdx.x) * 32;
  const int end = together || begin + 32 > t.features ? t.features : begin + 32;
  for (int64_t b = blockIdx.y; b < job.count; b += gridDim.y) {
    const MfccPiece piece = job.pieces ? job.pieces[b] : job.one;
    const double count = static_cast<double>(piece.frames) * (together ? t.features : 1);
    // The sum over rows, and over columns where they count as one, in a fixed order.
    auto sum = [&](double mine) {
      part[threadIdx.x] = mine;
      PYASR_SYNC_BLOCK(421);
      double s = 0;
      for (int k = together ? 0 : lane; k < wave_threads; k += together ? 1 : 32) s += part[k];
      PYASR_SYNC_BLOCK(422);
      return s;
    };
    double s = 0;
    for (int64_t f = row; f < piece.frames; f += wave_threads / 32)
      for (int c = begin + lane; c < end; c += 32) s += static_cast<double>(row_of(t, job, piece, f)[c]);
    const double mean = sum(s) / count;
    s = 0;
    for (int64_t f = row; f < piece.frames; f += wave_threads / 32)
      for (int c = begin + lane; c < end; c += 32) {
        const double d = static_cast<double>(row_of(t, job, piece, f)[c]) - mean;
        s += d * d;
      }
    const double spread = sqrt(sum(s) / (count > 1 ? count - 1 : 1)) + 1e-5;
    for (int64_t f = row; f < piece.frames; f += wave_threads / 32)
      for (int c = begin + lane; c < end; c += 32) {
        float& x = row_of(t, job, piece, f)[c];
        x = static_cast<float>((static_cast<double>(x) - mean) / spread);
      }
  }
}

}  // namespace
}  // namespace pyasr::cuda

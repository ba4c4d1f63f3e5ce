// Any size, float32 or float64: a block works on one frame after the other, its points in shared memory or, where they
// do not fit, in device memory. float64 is also the second try for frames that float32 leaves.
#pragma once
#include "cuda/mfcc_bands.cuh"
#include "cuda/mfcc_fft.cuh"

namespace pyasr::cuda {
namespace {

constexpr int most_threads = 256;

// The sum over the block by a fixed tree, known to every thread.
__device__ inline double block_sum(double s, double* part /* shared [most_threads] */) {
  const int threads = static_cast<int>(blockDim.x);
  part[threadIdx.x] = s;
  PYASR_SYNC_BLOCK(402);
  for (int n = threads; n > 1;) {
    const int half = (n + 1) / 2;
    if (static_cast<int>(threadIdx.x) < n - half) part[threadIdx.x] += part[threadIdx.x + half];
    n = half;
    PYASR_SYNC_BLOCK(403);
  }
  const double total = part[0];
  PYASR_SYNC_BLOCK(404);  // part may be written again
  return total;
}

template <class R>
struct FrameBuffers {
  double* samples;  // [L]
  Complex<R>* x;    // [points]
  Complex<R>* y;    // [points] of Bluestein's convolution
  float* power;     // [N/2 + 1]
  float* bands;     // [M]
};

template <class R>
__device__ FrameBuffers<R> buffers_of(const MfccTables& t, unsigned char* p) {
  auto take = [&](std::size_t bytes) {
    unsigned char* const at = p;
    p += (bytes + 15) / 16 * 16;
    return at;
  };
  FrameBuffers<R> b{};
  const auto points = static_cast<std::size_t>(t.points);
  b.samples = reinterpret_cast<double*>(take(static_cast<std::size_t>(t.length) * 8));
  b.x = reinterpret_cast<Complex<R>*>(take(points * sizeof(Complex<R>)));
  if (t.chirp) b.y = reinterpret_cast<Complex<R>*>(take(points * sizeof(Complex<R>)));
  b.power = reinterpret_cast<float*>(take(static_cast<std::size_t>(t.fft / 2 + 1) * 4));
  b.bands = reinterpret_cast<float*>(take(static_cast<std::size_t>(t.mels) * 4));
  return b;
}

// The tables in the precision of the transform.
template <class R>
struct Numbers;
template <>
struct Numbers<float> {
  static __device__ const float* twiddle(const MfccTables& t) { return t.twiddle; }
  static __device__ const float* split(const MfccTables& t) { return t.split; }
};
template <>
struct Numbers<double> {
  static __device__ const double* twiddle(const MfccTables& t) { return t.twiddle64; }
  static __device__ const double* split(const MfccTables& t) { return t.split64; }
};

// |X[k]|^2 of the windowed samples in b.x (packed) or b.y (Bluestein: the convolution with a chirp).
template <class R>
__device__ void spectrum(const MfccTables& t, const FrameBuffers<R>& b) {
  using C = Complex<R>;
  const int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x), n = t.points;
  const auto* const twiddle = reinterpret_cast<const C*>(Numbers<R>::twiddle(t));
  if (t.chirp) {
    fft(b.y, n, t.stages, t.radix, twiddle);
    const auto* const response = reinterpret_cast<const Complex<double>*>(t.response);
    for (int k = tid; k < n; k += threads) {
      const int at = t.order[k];
      const C z = b.y[at] * C{static_cast<R>(response[at].r), static_cast<R>(response[at].i)};
      b.x[k] = {z.r, -z.i};  // the inverse transform is the conjugate of the conjugate's transform
    }
    PYASR_SYNC_BLOCK(405);
  }
  fft(b.x, n, t.stages, t.radix, twiddle);
  auto put = [&](int k, R power) {
    const float p = static_cast<float>(power);
    b.power[k] = t.power ? p : sqrtf(p);
  };
  if (t.chirp) {
    for (int k = tid; k <= t.fft / 2; k += threads) {
      const C z = b.x[t.order[k]];
      put(k, fma(z.r, z.r, z.i * z.i));
    }
  } else {
    const auto* const w = reinterpret_cast<const C*>(Numbers<R>::split(t));
    for (int k = tid; k <= n / 2; k += threads) {
      R low, high;
      split(b.x[t.order[k]], b.x[t.order[k ? n - k : 0]], w[k], low, high);
      put(k, low);
      if (2 * k != n) put(n - k, high);
    }
  }
  PYASR_SYNC_BLOCK(406);
}

// Frame f of a wave. Returns whether float32 should not have the last word.
template <class R>
__device__ bool one_frame(const MfccTables& t, const MfccJob& job, const MfccPiece& piece, int64_t f,
                          const FrameBuffers<R>& b, double* part) {
  const int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int64_t begin = t.start + f * t.shift;
  double sum = 0;
  for (int n = tid; n < t.length; n += threads) sum += b.samples[n] = sample(t, job, piece, begin + n);
  sum = block_sum(sum, part);
  float* const out = row_of(t, job, piece, f);
  if (!isfinite(sum)) {
    for (int c = tid; c < t.features; c += threads) out[c] = NAN;
    return false;
  }
  const double mean = t.remove_dc ? sum / t.length : 0;
  const bool of_windowed = t.energy == FrameEnergy::windowed;
  double squares = 0;
  // Real numbers in pairs, or complex ones times the chirp; zeros behind them.
  const int reals = t.chirp ? t.points : 2 * t.points;
  for (int n = tid; n < reals; n += threads) {
    double v = 0;
    if (n < t.length) {
      const double x = b.samples[n] - mean;
      v = (x - t.preemph * (b.samples[n ? n - 1 : 0] - mean)) * t.window64[n];
      squares += of_windowed ? v * v : x * x;
    }
    if (t.chirp)
      b.y[n] = n < t.length ? Complex<R>{static_cast<R>(v * t.chirp[2 * n]), static_cast<R>(v * t.chirp[2 * n + 1])}
                            : Complex<R>{};
    else
      reinterpret_cast<R*>(b.x)[n] = static_cast<R>(v);
  }
  double energy = block_sum(squares, part) * static_cast<double>(of_windowed ? t.windowed_gain : t.raw_gain);
  spectrum(t, b);
  double power = 0;
  for (int k = tid; k <= t.fft / 2; k += threads) power += static_cast<double>(b.power[k]);
  power = block_sum(power, part);
  if (t.energy == FrameEnergy::spectral) energy = power;
  const float total = static_cast<float>(power);

  bool weak = false;
  if (t.kind == FeatureKind::spectrogram) {
    for (int k = tid; k < t.features; k += threads) {
      weak |= doubtful(t, total, t.bin_trust, b.power[k]);
      if (k || !with_energy(t)) out[k] = band(t, b.power[k]);
    }
  } else {
    const bool cepstra = t.kind == FeatureKind::mfcc;
    float* const to = cepstra ? b.bands : out + band_column(t, 0);
    for (int j = tid; j < t.mels; j += threads) {
      const float x = under_filter(t, b.power, j);
      weak |= doubtful(t, total, t.mel_trust[j], x);
      to[j] = band(t, fmaxf(x, t.mel_floor));
    }
    if (cepstra) {
      PYASR_SYNC_BLOCK(407);
      for (int k = tid; k < t.ceps; k += threads)
        if (k || !with_energy(t)) out[cepstrum_column(t, k)] = cepstrum(t, b.bands, 1, -INFINITY, k);
    }
  }
  if (tid == 0 && with_energy(t)) out[energy_column(t)] = log_energy(t, static_cast<float>(energy));
  return weak;
}

// All frames of the job, or those that are marked as weak. Frames are dealt to the blocks in runs of 16.
template <class R, bool Marked>
__global__ void __launch_bounds__(most_threads, 1)
    mfcc_frame_kernel(MfccOnDevice plan, MfccJob job, std::size_t memory) {
  PYASR_DYNAMIC_SHARED(unsigned char, shared);
  PYASR_SHARED(double, part, most_threads);
  const MfccTables& t = plan.t;
  unsigned char* const own = memory ? static_cast<unsigned char*>(job.memory) + blockIdx.x * memory : shared;
  const FrameBuffers<R> b = buffers_of<R>(t, own);
  constexpr int run = Marked ? 16 : 1;
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * run; first < job.frames;
       first += static_cast<int64_t>(gridDim.x) * run) {
    if (Marked) {
      const int4 marks = *reinterpret_cast<const int4*>(job.weak + first);
      if (!(marks.x | marks.y | marks.z | marks.w)) continue;
    }
    for (int64_t g = first; g < first + run && g < job.frames; ++g) {
      if (Marked && !job.weak[g]) continue;
      const MfccPiece piece = piece_of(job, g, [](const MfccPiece& p) { return p.first_frame; });
      const bool weak = one_frame<R>(t, job, piece, g - piece.first_frame, b, part);
      if (sizeof(R) == 4) {
        const bool any = block_sum(weak, part) != 0;
        if (threadIdx.x == 0) job.weak[g] = any;
      }
    }
  }
}

}  // namespace
}  // namespace pyasr::cuda

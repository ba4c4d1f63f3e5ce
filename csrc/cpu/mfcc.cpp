// mfcc, fbank, spectrogram: one kernel from samples to features, on tiles of 16 frames.
//
// Per tile: samples are converted and centered where they lie; a hop-polyphase transpose (row n % S, column f + n / S)
// preemphasizes them on the way and makes sample n of V consecutive frames one load, so that each sample is transposed
// once however many frames share it; then window, FFT, power, mel, log and DCT run with one frame per SIMD lane, and
// the result is transposed back. Scratch per worker at 16 kHz: 95 kB for 16 lanes, of which the FFT's 32 kB and the
// tile's 20 kB are in use together.
//
// Bytes per frame: 4 S in (2 S for int16), 4 F out. Flops: 11.5 k for MFCC-13 at 16 kHz (FFT 7.2 k, mel 1 k, sums,
// window and preemphasis 2 k, power 1.3 k, log and DCT 1 k), so the bound is arithmetic. One thread of a 2.6 GHz Zen 5
// EPYC takes 0.14 us per frame with AVX-512, 0.22 with AVX2, 0.50 with SSE.
//
// Accuracy: each sample loses the integer nearest to the mean of the stream's first frame before anything is rounded;
// frame sums and energies are float64 sums of hop blocks. Neither depends on the tiling, and lanes never mix: the same
// bits for any number of threads. Preemphasis of a mean is computed as that of a sample, so a constant frame is exactly
// zero. Frames with a filter so weak that float32 would show in its log, one in thirty of speech, are collected and
// computed once more in float64, 8 of them at a time; one alone costs as much as 12 others.
#include "pyasr/mfcc.hpp"

#include "cpu/mfcc_tile.hpp"
#include "cpu/mfcc_wave.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr int frames_each = 8 * mfcc_tile;  // of a work item, where they are not long

struct Task {
  const MfccTables& t;
  const MfccArgs& args;
  Layout layout;
  bool to_bands;
};

template <class T>
Stream<T> stream_of(const MfccTables& t, const MfccWave& w) {
  return {static_cast<const T*>(w.wave), w.n, w.scale, t.signal_preemph, t.padding, w.base};
}

// Where the results of a wave go now.
struct Target {
  float* out;
  std::int64_t stride;
};

Target target_of(const Task& task, const MfccWave& wave) {
  if (task.to_bands) return {wave.bands, task.t.mels};
  return {wave.out, wave.stride};
}

// Frames of a work item that are left to float64.
struct Deferred {
  int count = 0;
  std::int64_t frame[frames_each];
  float energy[frames_each];
};

void magnitudes(const MfccTables& t, float* power) {
  if (t.power) return;
  for (long i = 0; i < (t.fft / 2 + 1) * V; ++i) power[i] = __builtin_sqrtf(power[i]);
}

// Noise of the V frames from f on, and what it changes in their statistics.
void dither(const MfccTables& t, const Scratch& s, std::int64_t number, int f, int frames, double base, float* mean) {
  std::int64_t numbers[V];
  for (int i = 0; i < V; ++i) numbers[i] = number + i;
  draw(t, numbers, s.noise);
  for (int i = 0; i < V && f + i < frames; ++i)
    noisy_sums(t, s.y + (f + i) * static_cast<long>(t.shift), s.noise, i, base, mean[f + i], s.log_energy[f + i]);
  preemphasize(t, s.noise);
}

template <class T>
void run_tile(const Task& task, const MfccWave& wave, const Stream<T>& in, const Scratch& s, std::int64_t f0,
              Deferred& deferred) {
  const MfccTables& t = task.t;
  const Layout& l = task.layout;
  const std::int64_t left = wave.frames - f0;
  const int frames = left < mfcc_tile ? static_cast<int>(left) : mfcc_tile;

  const std::int64_t own = f0 * t.shift;
  const std::int64_t end = left <= mfcc_tile ? in.n : own + mfcc_tile * static_cast<std::int64_t>(t.shift);
  const std::uint64_t peak = own < end ? peak_bits(in.wave + own, end - own) : 0;
  auto* const most = reinterpret_cast<std::uint64_t*>(s.peak);
  if (peak > *most) *most = peak;
  if (frames <= 0) return;

  const long count = (frames - 1) * static_cast<long>(t.shift) + t.length;
  fill(in, t.start + own, count, l.line, s.y);
  s.y[-1] = 0;
  float mean[mfcc_tile];
  const double base = static_cast<double>(in.base);
  frame_sums(t, s, frames, base, mean);
  if (t.keep == 1)
    transpose_tile<false>(t, l, s);
  else
    transpose_tile<true>(t, l, s);

  const Target target = target_of(task, wave);
  for (int f = 0; f < frames; f += V) {
    if (s.noise) dither(t, s, task.args.first_frame + f0 + f, f, frames, base, mean);
    const Vf off = load(mean + f) * t.keep;
    if (t.energy == FrameEnergy::windowed) windowed_energy(t, s.tile + f, off, s.noise, s.log_energy + f);
    Vi weak = Vi{} - 1;
    if (!t.chirp) {
      power_spectrum(t, s.tile + f, off, s.noise, s.x, s.power);
      magnitudes(t, s.power);
      // What was rounded beside a mean: integers are not, but for their preemphasis.
      const Vf drift = sizeof(T) == 2 ? off : load(mean + f);
      weak = features(t, s.power, load(s.log_energy + f), drift, s.mel, s.result);
      lanes_to_rows(t.features, l.features, s.result, s.rows);
      emit(t.features, l.features, s.rows, frames - f < V ? frames - f : V, target.out + (f0 + f) * target.stride,
           target.stride);
    }
    for (int i = 0; i < V && f + i < frames; ++i)
      if (weak[i]) {
        deferred.energy[deferred.count] = s.log_energy[f + i];
        deferred.frame[deferred.count++] = f0 + f + i;
      }
  }
}

// The frames that were left: V at a time, wherever they lie.
template <class T>
void run_deferred(const Task& task, const MfccWave& wave, const Stream<T>& in, const Scratch& s, Deferred& deferred) {
  const MfccTables& t = task.t;
  const Layout& l = task.layout;
  const Target target = target_of(task, wave);
  for (int first = 0; first < deferred.count; first += V) {
    const std::int64_t* const frame = deferred.frame + first;
    const int count = deferred.count - first < V ? deferred.count - first : V;
    if (s.noise) {
      std::int64_t numbers[V];
      for (int i = 0; i < V; ++i) numbers[i] = task.args.first_frame + frame[i < count ? i : 0];
      draw(t, numbers, s.noise);
      preemphasize(t, s.noise);
    }
    for (int half = 0; half < count; half += D) {
      const int here = count - half < D ? count - half : D;
      for (int j = 0; j < here; ++j) {
        precise_frame(t, in, t.start + frame[half + j] * t.shift, s.noise ? s.noise + half + j : nullptr,
                      s.precise.samples, s.precise.rows + j * precise_stride(t), deferred.energy[first + half + j]);
      }
      precise_spectra(t, s.precise, here, half, s.power);
    }
    magnitudes(t, s.power);
    features(t, s.power, load_part(deferred.energy + first, count), Vf{}, s.mel, s.result);
    lanes_to_rows(t.features, l.features, s.result, s.rows);
    for (int i = 0; i < count; ++i)
      emit(t.features, l.features, s.rows + i * l.features, 1, target.out + frame[i] * target.stride, target.stride);
  }
}

// The integer nearest to the mean of the first frame; 0 where that is not finite.
template <class T>
float center(const MfccTables& t, const MfccWave& w) {
  const Stream<T> in = stream_of<T>(t, w);
  double sum = 0;
  for (int i = 0; i < t.length; ++i) sum += in.at(t.start + i);
  const float mean = static_cast<float>(__builtin_rint(sum / t.length));
  return __builtin_isfinite(mean) ? mean : 0;
}

// What f<T>() returns for the type of a wave.
template <class F>
PYASR_INLINE auto by_type(WaveType type, const F& f) {
  switch (type) {
    case WaveType::int16:
      return f(std::int16_t{});
    case WaveType::float32:
      return f(float{});
    default:
      return f(double{});
  }
}

// The wave that a work item belongs to.
const MfccWave& wave_of(const MfccArgs& args, std::int64_t item) {
  std::int64_t low = 0, high = args.count - 1;
  while (low < high) {
    const std::int64_t middle = (low + high + 1) / 2;
    if (args.waves[middle].first_item <= item)
      low = middle;
    else
      high = middle - 1;
  }
  return args.waves[low];
}

// All that frames have in themselves, to `bands` of their wave or to `out`.
double run_frames(const MfccTables& t, const MfccArgs& args, bool to_bands, void* workspace, const Runtime& runtime) {
  const Task task{t, args, layout_of(t), to_bands};
  const long tiles_each = t.fft > 4096 ? 1 : frames_each / mfcc_tile;
  std::int64_t items = 0;
  for (std::int64_t b = 0; b < args.count; ++b) {
    MfccWave& w = args.waves[b];
    w.base = w.frames == 0 ? 0 : by_type(w.type, [&](auto zero) { return center<decltype(zero)>(t, w); });
    w.first_item = items;
    const std::int64_t frames = mfcc_tile * tiles_each;
    items += w.frames == 0 ? 1 : (w.frames + frames - 1) / frames;
  }
  for (int w = 0; w < runtime.threads; ++w)
    *reinterpret_cast<std::uint64_t*>(scratch_of(t, task.layout, workspace, w).peak) = 0;
  parallel_for(runtime, static_cast<long>(items), [&](long item, int worker) {
    const MfccWave& wave = wave_of(args, item);
    const Scratch s = scratch_of(t, task.layout, workspace, worker);
    const std::int64_t first = (item - wave.first_item) * tiles_each;
    by_type(wave.type, [&](auto zero) {
      const auto in = stream_of<decltype(zero)>(t, wave);
      Deferred deferred;
      for (std::int64_t i = first; i < first + tiles_each && (i == 0 || i * mfcc_tile < wave.frames); ++i)
        run_tile(task, wave, in, s, i * mfcc_tile, deferred);
      run_deferred(task, wave, in, s, deferred);
    });
  });
  std::uint64_t most = 0;
  for (int w = 0; w < runtime.threads; ++w) {
    const auto bits = *reinterpret_cast<std::uint64_t*>(scratch_of(t, task.layout, workspace, w).peak);
    most = bits > most ? bits : most;
  }
  double peak;
  __builtin_memcpy(&peak, &most, 8);
  return peak;
}

std::size_t workspace_bytes(const MfccTables& t, int threads) noexcept {
  return layout_of(t).bytes * static_cast<std::size_t>(threads);
}

double run(const MfccTables& t, const MfccArgs& args, void* workspace, const Runtime& runtime) noexcept {
  const bool ranged = t.dynamic_range <= 1.7976931348623157e308, apart = mfcc_needs_bands(t);
  MfccTables bands = t;
  bands.kind = FeatureKind::fbank;
  bands.features = t.mels;
  const double peak = run_frames(apart ? bands : t, args, apart, workspace, runtime);
  for (std::int64_t b = 0; b < args.count; ++b) {
    const MfccWave& w = args.waves[b];
    if (w.frames == 0) continue;
    if (ranged) limit_range(t, w, static_cast<float*>(workspace), runtime);
    if (t.normalize != Normalize::none) normalize(t, w, runtime);
  }
  return peak;
}

}  // namespace

extern const Mfcc mfcc;
const Mfcc mfcc = {workspace_bytes, run};

}  // namespace pyasr::cpu::PYASR_ISA

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
// zero.
#include "pyasr/mfcc.hpp"

#include "cpu/mfcc_bands.hpp"
#include "cpu/mfcc_dither.hpp"
#include "cpu/mfcc_wave.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

// Sizes of a worker's scratch, in the order of Scratch.
struct Layout {
  long rows, columns, blocks, line, features, noise, points, samples;
  std::size_t bytes;
};

constexpr long round_up(long n, long to) { return (n + to - 1) / to * to; }

Layout layout_of(const MfccTables& t) {
  Layout l{};
  l.rows = mfcc_tile_rows(t.length, t.shift);
  l.columns = mfcc_tile_columns(t.length, t.shift);
  l.blocks = mfcc_tile + t.length / t.shift;
  l.line = round_up(l.blocks * t.shift + l.rows + 16, 16);
  l.features = round_up(t.features > t.mels ? t.features : t.mels, 16);
  l.noise = t.dither > 0 ? t.length + 2 : 0;
  l.points = t.chirp ? 0 : 2L * t.points > t.length + 1L ? 2L * t.points : t.length + 1L;
  l.samples = precise_samples(t);
  const long floats = l.line + 16 + (l.rows + 1) * l.columns + mfcc_tile + (l.noise + l.points) * V +
                      (t.fft / 2 + 1) * V + 3 * l.features * V;
  const long doubles = 16 + (l.blocks * 4 + l.samples + (t.chirp ? 2L * t.points : 0) + t.fft / 2 + 1) * D;
  l.bytes = static_cast<std::size_t>(floats) * 4 + static_cast<std::size_t>(doubles) * 8 + 16 * 64;
  l.bytes = l.bytes / 64 * 64;
  return l;
}

struct Scratch {
  double* peak;       // [1] of this worker: bits of the largest magnitude
  double* sums;       // [blocks, 4, D]: sum and sum of squares of the first L % S samples of a hop, and of all S
  float* y;           // [line] samples, centered, after the one before them
  float* tile;        // [rows + 1, columns] preemphasized and transposed; the last row holds each frame's first sample
  float* log_energy;  // [16]
  float* noise;       // [L + 2, V] where there is dither, else null
  float* x;           // [points, 2, V] of the packed FFT
  PreciseScratch precise;
  float* power;   // [N/2 + 1, V]
  float* mel;     // [M, V]
  float* result;  // [F, V]
  float* rows;    // [V, F rounded up]
};

Scratch scratch_of(const MfccTables& t, const Layout& l, void* workspace, int worker) {
  char* p = static_cast<char*>(workspace) + static_cast<std::size_t>(worker) * l.bytes;
  auto take = [&](long floats) {
    char* at = p;
    p += (static_cast<std::size_t>(floats) * 4 + 63) / 64 * 64;
    return reinterpret_cast<float*>(at);
  };
  Scratch s{};
  s.peak = reinterpret_cast<double*>(take(16));
  s.sums = reinterpret_cast<double*>(take(2 * l.blocks * 4 * D));
  s.y = take(l.line + 16) + 16;
  s.tile = take((l.rows + 1) * l.columns);
  s.log_energy = take(mfcc_tile);
  s.noise = l.noise ? take(l.noise * V) : nullptr;
  s.x = take(l.points * V);
  auto doubles = [&](long n) { return reinterpret_cast<double*>(take(2 * n)); };
  s.precise = {doubles(l.samples * D), doubles(t.chirp ? 2L * t.points * D : 0), doubles((t.fft / 2 + 1) * D)};
  s.power = take((t.fft / 2 + 1) * V);
  s.mel = take(l.features * V);
  s.result = take(l.features * V);
  s.rows = take(l.features * V);
  return s;
}

// ---- sums

// Float64 sums of every hop block, then of every frame: its mean's preemphasis and its energy.
void frame_sums(const MfccTables& t, const Scratch& s, int frames, double base, float* offset) {
  const long whole = t.length / t.shift, part = t.length % t.shift;
  for (long b = 0; b < frames + whole; ++b) {
    const float* const y = s.y + b * t.shift;
    double* const out = s.sums + b * 4 * D;
    Sums a;
    if (b >= whole) {
      accumulate(y, part, a);
      store(out, a.sum);
      store(out + D, a.squares);
    } else if (part) {
      accumulate(y, part, a);
    }
    if (whole && b + 1 < frames + whole) {
      accumulate(y + part, t.shift - part, a);
      store(out + 2 * D, a.sum);
      store(out + 3 * D, a.squares);
    }
  }
  for (int f = 0; f < mfcc_tile; ++f) {
    if (f >= frames) {
      offset[f] = 0;
      s.log_energy[f] = 1;
      continue;
    }
    const double* at = s.sums + f * 4 * D;
    Vd sum{}, squares{};
    for (long b = 0; b < whole; ++b, at += 4 * D) {
      sum += load(at + 2 * D);
      squares += load(at + 3 * D);
    }
    sum += load(at);
    squares += load(at + D);
    frame_statistics(t, sum_lanes<double>(sum), sum_lanes<double>(squares), base, offset[f], s.log_energy[f]);
  }
}

// ---- tile

// y[i] - p y[i-1] for V samples at i, with a difference that is exact for integers: an offset costs little precision.
template <bool preemph>
PYASR_INLINE Vf preemphasized(const float* y, Vf keep) {
  if constexpr (!preemph) return load(y);
  const Vf before = load(y - 1);
  return (load(y) - before) + keep * before;
}

// tile[r][c] = y[c S + r], preemphasized: whole squares, and the few columns beyond the 16th one by one.
template <bool preemph>
void transpose_tile(const MfccTables& t, const Layout& l, const Scratch& s) {
  const Vf keep = splat(t.keep);
  const long used = l.blocks;
  long c = 0;
  for (; used - c > V / 4; c += V)
    for (long r = 0; r < l.rows; r += V) {
      Vf v[V];
#pragma GCC unroll 16
      for (int i = 0; i < V; ++i)
        v[i] = c + i < used ? preemphasized<preemph>(s.y + (c + i) * t.shift + r, keep) : Vf{};
      transpose(v);
#pragma GCC unroll 16
      for (int i = 0; i < V; ++i) store(s.tile + (r + i) * l.columns + c, v[i]);
    }
  for (; c < used; ++c)
    for (long r = 0; r < l.rows; r += V) {
      float v[V];
      store(v, preemphasized<preemph>(s.y + c * t.shift + r, keep));
#pragma GCC unroll 16
      for (int i = 0; i < V; ++i) s.tile[(r + i) * l.columns + c] = v[i];
    }
  for (long f = 0; f < mfcc_tile; ++f) s.tile[l.rows * l.columns + f] = t.keep * s.y[f * t.shift];
}

// Energy of V windowed frames in float64.
void windowed_energy(const MfccTables& t, const float* tile, Vf offset, const float* noise, float* out) {
  double sum[V] = {};
  for (long e = 0; e < (t.length + 1) / 2; ++e) {
    const Complex<float> c = windowed(t, tile, offset, noise, e);
    for (int i = 0; i < V; ++i)
      sum[i] += static_cast<double>(c.r[i]) * static_cast<double>(c.r[i]) +
                static_cast<double>(c.i[i]) * static_cast<double>(c.i[i]);
  }
  for (int i = 0; i < V; ++i) out[i] = static_cast<float>(sum[i]) * t.windowed_gain;
}

// ---- driver

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

// Noise of the V frames from f on, and what it changes in their statistics.
void dither(const MfccTables& t, const Scratch& s, std::int64_t number, int f, int frames, double base, float* offset) {
  draw(t, number, s.noise);
  for (int i = 0; i < V && f + i < frames; ++i)
    noisy_sums(t, s.y + (f + i) * static_cast<long>(t.shift), s.noise, i, base, offset[f + i], s.log_energy[f + i]);
  preemphasize(t, s.noise);
}

// Spectra and result of the V frames from f of the tile on, the first of them at `begin` of the wave: those in float32
// that float32 is good enough for.
template <class T>
void spectrum_and_features(const MfccTables& t, const Stream<T>& in, std::int64_t begin, const Scratch& s, int f,
                           int frames, Vf offset) {
  const Vf energy = load(s.log_energy + f);
  int listed[V], count = 0;
  auto precise = [&](auto wanted) {
    for (int i = count = 0; i < V && f + i < frames; ++i)
      if (wanted(i)) listed[count++] = i;
    precise_spectra(t, in, begin, s.noise, listed, count, s.precise, s.power);
  };
  auto magnitudes = [&](auto wanted) {
    for (long i = 0; !t.power && i < (t.fft / 2 + 1) * V; ++i)
      if (wanted(static_cast<int>(i % V))) s.power[i] = __builtin_sqrtf(s.power[i]);
  };
  auto all = [](int) { return true; };
  if (t.chirp) {
    __builtin_memset(s.power, 0, static_cast<std::size_t>(t.fft / 2 + 1) * V * 4);
    precise(all);
  } else {
    power_spectrum(t, s.tile + f, offset, s.noise, s.x, s.power);
  }
  magnitudes(all);
  const Vi weak = features(t, s.power, energy, s.mel, s.result);
  bool any = false;
  for (int i = 0; i < V; ++i) any |= weak[i] != 0;
  if (!any || t.chirp) return;
  auto is_weak = [&](int i) { return weak[i] != 0; };
  precise(is_weak);
  magnitudes(is_weak);
  features(t, s.power, energy, s.mel, s.result);
}

template <class T>
void run_tile(const Task& task, const MfccWave& wave, const Stream<T>& in, const Scratch& s, std::int64_t f0) {
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
  float offset[mfcc_tile];
  const double base = static_cast<double>(in.base);
  frame_sums(t, s, frames, base, offset);
  if (t.keep == 1)
    transpose_tile<false>(t, l, s);
  else
    transpose_tile<true>(t, l, s);

  for (int f = 0; f < frames; f += V) {
    if (s.noise) dither(t, s, task.args.first_frame + f0 + f, f, frames, base, offset);
    const Vf off = load(offset + f);
    if (t.energy == FrameEnergy::windowed) windowed_energy(t, s.tile + f, off, s.noise, s.log_energy + f);
    spectrum_and_features(t, in, t.start + own + f * static_cast<std::int64_t>(t.shift), s, f, frames, off);
    const std::int64_t stride = task.to_bands ? t.mels : wave.stride;
    emit(t.features, l.features, s.result, s.rows, frames - f < V ? frames - f : V,
         (task.to_bands ? wave.bands : wave.out) + (f0 + f) * stride, stride);
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
  const long tiles_each = t.fft > 4096 ? 1 : 4;  // 64 frames per work item, 16 of the long ones
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
      for (std::int64_t i = first; i < first + tiles_each && (i == 0 || i * mfcc_tile < wave.frames); ++i)
        run_tile(task, wave, in, s, i * mfcc_tile);
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

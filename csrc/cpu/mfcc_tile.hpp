// A worker's scratch, and a tile in it: 16 frames of samples, transposed, with their sums.
#pragma once
#include "cpu/mfcc_bands.hpp"
#include "cpu/mfcc_dither.hpp"
#include "cpu/mfcc_samples.hpp"
#include "cpu/transpose.hpp"

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
  const long doubles =
      16 + D + precise_stride(t) +
      (l.blocks * 4 + precise_stride(t) + l.samples + (t.chirp ? 2L * t.points : 0) + t.fft / 2 + 1) * D;
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
  s.precise = {doubles(precise_stride(t) + D), doubles(precise_stride(t) * D), doubles(l.samples * D),
               doubles(t.chirp ? 2L * t.points * D : 0), doubles((t.fft / 2 + 1) * D)};
  s.power = take((t.fft / 2 + 1) * V);
  s.mel = take(l.features * V);
  s.result = take(l.features * V);
  s.rows = take(l.features * V);
  return s;
}

// ---- sums

// Float64 sums of every hop block, then of every frame: its mean and its energy.
void frame_sums(const MfccTables& t, const Scratch& s, int frames, double base, float* mean) {
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
      mean[f] = 0;
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
    frame_statistics(t, sum_lanes<double>(sum), sum_lanes<double>(squares), base, mean[f], s.log_energy[f]);
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

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA

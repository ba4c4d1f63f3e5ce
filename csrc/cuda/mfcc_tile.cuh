// Frames of 512 points, 32 to a block: samples once into shared memory; two frames a warp, 16 lanes with 16 complex
// points each, through 256 = 16 * 16 with one exchange; then a lane a frame through filters, logs and cosines.
#pragma once
#include "cuda/mfcc_bands.cuh"
#include "cuda/mfcc_fft.cuh"

namespace pyasr::cuda {
namespace {

// Sample s of the tile lies at s / 2 of plane s % 2, so that the lanes of a frame, which take every other one, read
// neighbors. Two frames of a warp are 16 apart: their words lie in the other 16 banks, here and in the spectra.
struct TileSamples {
  float* even;
  float* odd;
  __device__ void set(int64_t s, float x) const {
    float* const plane = s & 1 ? odd : even;
    plane[s >> 1] = x;
  }
};

// Samples [begin, begin + count) of the padded wave, and zeros up to `total`. 16 bytes a thread and load where they are
// those of the wave itself and no difference has to be taken.
__device__ inline void load_tile(const MfccTables& t, const MfccJob& job, const Tile& tile, const TileSamples& to,
                                 int64_t count, int64_t total) {
  const int64_t begin = t.start + tile.f0 * t.shift, n = tile.piece.n;
  const int64_t tid = threadIdx.x, threads = blockDim.x;
  int64_t low = 0, high = 0;  // of what comes in vectors
  if (t.signal_preemph == 0 && job.type != WaveType::float64) {
    const int wide = job.type == WaveType::int16 ? 8 : 4, bytes = 16 / wide;
    const auto address = static_cast<int64_t>(reinterpret_cast<std::uintptr_t>(job.samples) % 16) / bytes +
                         tile.piece.begin + begin;  // in samples
    low = begin < 0 ? -begin : 0;
    low += (wide - (address + low) % wide) % wide;
    high = n - begin < count ? n - begin : count;
    high = low < high ? low + (high - low) / wide * wide : low;
    const float scale = static_cast<float>(job.scale);
    for (int64_t s = low + tid * wide; s < high; s += threads * wide) {
      if (wide == 8) {
        const int4 v = *reinterpret_cast<const int4*>(static_cast<const std::int16_t*>(job.samples) + tile.piece.begin +
                                                      begin + s);
        const int words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          to.set(s + 2 * k, static_cast<float>(static_cast<std::int16_t>(words[k] & 0xffff)) * scale);
          to.set(s + 2 * k + 1, static_cast<float>(words[k] >> 16) * scale);
        }
      } else {
        const float4 v =
            *reinterpret_cast<const float4*>(static_cast<const float*>(job.samples) + tile.piece.begin + begin + s);
        const float x[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int k = 0; k < 4; ++k) to.set(s + k, static_cast<float>(allowed(job, x[k]) * job.scale));
      }
    }
  }
  for (int64_t s = tid; s < low && s < count; s += threads)
    to.set(s, static_cast<float>(sample(t, job, tile.piece, begin + s)));
  for (int64_t s = (high > low ? high : low) + tid; s < total; s += threads)
    to.set(s, s < count ? static_cast<float>(sample(t, job, tile.piece, begin + s)) : 0.f);
}

// The sum over the 16 lanes of a frame, known to all of them.
__device__ inline double frame_sum(double v) {
#pragma unroll
  for (int k = 8; k > 0; k /= 2) v += dev::shuffle_xor(v, k, 16);
  return v;
}

// What a frame leaves besides its spectrum.
struct TileNotes {
  float* energy;  // as the log wants it
  float* total;   // of the spectrum, for doubts
  int* bad;       // it sees a sample that does not count
};

// The spectrum of frame f of the tile to row[0 ... 256].
__device__ inline void tile_frame(const MfccOnDevice& plan, const MfccJob& job, const TileSamples& in, float* row,
                                  int f, const TileNotes& notes) {
  const MfccTables& t = plan.t;
  const int lane = static_cast<int>(threadIdx.x) & 15, length = t.length;
  const int64_t at = static_cast<int64_t>(f) * t.shift;
  const float* const first = (at & 1 ? in.odd : in.even) + (at >> 1);         // samples 0, 2, 4 ...
  const float* const second = (at & 1 ? in.even : in.odd) + ((at + 1) >> 1);  // samples 1, 3, 5 ...

  Complex<float> v[16];
  double sum = 0;
  float few = 0;  // 32 integers of 16 bits: exact
#pragma unroll
  for (int p = 0; p < 16; ++p) {
    const int e = lane + 16 * p;
    v[p].r = 2 * e < length ? first[e] : 0.f;
    v[p].i = 2 * e + 1 < length ? second[e] : 0.f;
    if (job.type == WaveType::int16 && job.scale == 1 && t.signal_preemph == 0)
      few += v[p].r + v[p].i;
    else
      sum += static_cast<double>(v[p].r) + static_cast<double>(v[p].i);
  }
  sum = frame_sum(sum + static_cast<double>(few));
  const double mean = t.remove_dc ? sum / length : 0;
  // An integer first, which is exact for integers, then what is left of the mean.
  const float whole = static_cast<float>(rint(mean)), rest = static_cast<float>(mean - static_cast<double>(whole));
  const bool flat = t.keep == 1;
  // Through a shuffle, so that the product is rounded like that of a sample: a constant frame is exactly zero.
  const float offset = dev::shuffle(flat ? rest : t.keep * rest, 0, 16);

  const bool of_windowed = t.energy == FrameEnergy::windowed;
  float squares = 0;
#pragma unroll
  for (int p = 0; p < 16; ++p) {
    const int e = lane + 16 * p;
    const float x0 = v[p].r - whole, x1 = v[p].i - whole;
    const float before = (e && 2 * e < length ? second[e - 1] : v[p].r) - whole;
    if (!of_windowed) {
      if (2 * e < length) squares = fmaf(x0 - rest, x0 - rest, squares);
      if (2 * e + 1 < length) squares = fmaf(x1 - rest, x1 - rest, squares);
    }
    const float2 w = reinterpret_cast<const float2*>(t.window)[e];
    v[p].r = ((flat ? x0 : fmaf(t.keep, before, x0 - before)) - offset) * w.x;
    v[p].i = ((flat ? x1 : fmaf(t.keep, x0, x1 - x0)) - offset) * w.y;
    if (of_windowed) squares = fmaf(v[p].i, v[p].i, fmaf(v[p].r, v[p].r, squares));
  }
  const double energy = frame_sum(static_cast<double>(squares));
  if (lane == 0) {  // now, so that it takes no registers below
    notes.energy[f] = static_cast<float>(energy) * (of_windowed ? t.windowed_gain : t.raw_gain);
    notes.total[f] = job.exact ? 0.f : static_cast<float>(mean);
    notes.bad[f] = !isfinite(sum);
  }

  butterfly(v);
#pragma unroll
  for (int q = 1; q < 16; ++q) {
    const float2 w = reinterpret_cast<const float2*>(plan.middle)[q * 16 + lane];
    v[q] = v[q] * Complex<float>{w.x, w.y};
  }
  // 16 by 16, transposed in the row of the spectrum: real parts, then imaginary ones.
#pragma unroll
  for (int q = 0; q < 16; ++q) row[q * 17 + lane] = v[q].r;
  PYASR_SYNC_WARP(410);
#pragma unroll
  for (int q = 0; q < 16; ++q) v[q].r = row[lane * 17 + q];
  PYASR_SYNC_WARP(411);
#pragma unroll
  for (int q = 0; q < 16; ++q) row[q * 17 + lane] = v[q].i;
  PYASR_SYNC_WARP(412);
#pragma unroll
  for (int q = 0; q < 16; ++q) v[q].i = row[lane * 17 + q];
  butterfly(v);

  // Lane q holds Z[q + 16 p]; 256 - q - 16 p is in lane 16 - q, but for lane 0, which has its own. What is given away
  // depends on all that was read, so the row may be written again.
  float total = 0;
  const int mirror = (16 - lane) & 15;
#pragma unroll
  for (int p = 0; p < 8; ++p) {
    const Complex<float> give = lane ? v[15 - p] : v[(16 - p) & 15];
    const Complex<float> b{dev::shuffle(give.r, mirror, 16), dev::shuffle(give.i, mirror, 16)};
    const int k = lane + 16 * p;
    const float2 w = reinterpret_cast<const float2*>(t.split)[k];
    float low, high;
    split(v[p], b, Complex<float>{w.x, w.y}, low, high);
    if (!t.power) low = sqrtf(low), high = sqrtf(high);
    row[k] = low;
    row[256 - k] = high;
    total += low + high;
  }
  if (lane == 0) {
    float middle = 4 * fmaf(v[8].r, v[8].r, v[8].i * v[8].i);
    if (!t.power) middle = sqrtf(middle);
    row[128] = middle;
    total += middle;
  }
  total = static_cast<float>(frame_sum(static_cast<double>(total)));
  if (lane == 0) {
    if (t.energy == FrameEnergy::spectral) notes.energy[f] = total;
    notes.total[f] = rounded_total(t, total, notes.total[f]);
  }
}

// Spectra to logs: they go out as they are.
__device__ inline void tile_spectrogram(const MfccTables& t, const MfccJob& job, const Tile& tile, const float* rows,
                                        const TileNotes& notes) {
  const int lane = static_cast<int>(threadIdx.x) & 31, warp = static_cast<int>(threadIdx.x) / 32;
  for (int f = warp; f < tile.frames; f += mfcc_tile_threads / 32) {
    const float* const row = rows + f * mfcc_tile_row;
    float* const out = row_of(t, job, tile.piece, tile.f0 + f);
    bool weak = false;
    for (int k = lane; k < t.features; k += 32) {
      weak |= doubtful(t, notes.total[f], t.bin_trust, row[k]);
      const float y = k == 0 && with_energy(t) ? log_energy(t, notes.energy[f]) : band(t, row[k]);
      out[k] = notes.bad[f] ? NAN : y;
    }
    weak = dev::any(weak);
    if (lane == 0) job.weak[tile.piece.first_frame + tile.f0 + f] = weak && !notes.bad[f];
  }
}

// Tiles of the job, 256 threads each. Per frame about 550 instructions of a warp up to its spectrum (the two transforms
// 190, samples 130, halves 100, exchange 35) and 60 behind it; 120 rows of 32 words to and from shared memory.
__global__ void __launch_bounds__(mfcc_tile_threads, 3)
    mfcc_tile_kernel(MfccOnDevice plan, MfccJob job, MfccTilePlan shape) {
  PYASR_DYNAMIC_SHARED(float, front);
  PYASR_SHARED(float, energies, mfcc_frames_each);
  PYASR_SHARED(float, totals, mfcc_frames_each);
  PYASR_SHARED(int, bad, mfcc_frames_each);
  PYASR_SHARED(unsigned char, doubts, mfcc_tile_threads);
  const MfccTables& t = plan.t;
  const int lane = static_cast<int>(threadIdx.x) & 31, warp = static_cast<int>(threadIdx.x) / 32;
  constexpr int warps = mfcc_tile_threads / 32;
  const TileNotes notes{energies, totals, bad};
  const Tile tile = tile_of(job, blockIdx.x);
  float* const rows = front + shape.front;
  const TileSamples samples{front, front + shape.plane};
  load_tile(t, job, tile, samples, (tile.frames - 1) * static_cast<int64_t>(t.shift) + t.length, 2 * shape.plane);
  PYASR_SYNC_BLOCK(414);
  for (int f = warp + lane / 16 * 16; f < warp + lane / 16 * 16 + 16; f += warps)
    tile_frame(plan, job, samples, rows + f * mfcc_tile_row, f, notes);
  PYASR_SYNC_BLOCK(415);
  if (t.kind == FeatureKind::spectrogram) {
    tile_spectrogram(t, job, tile, rows, notes);
    return;
  }

  // A lane a frame. The samples are not needed any more.
  float* const bands = front;                  // [M, 33], or where the columns are
  float* const columns = front + 33 * t.mels;  // [F, 33]
  const bool cepstra = t.kind == FeatureKind::mfcc;
  bool weak = false;
  for (int j = warp; j < t.mels; j += warps) {
    const float x = under_filter(t, rows + lane * mfcc_tile_row, j);
    weak |= doubtful(t, totals[lane], t.mel_trust[j], x);
    (cepstra ? bands + 33 * j : columns + 33 * band_column(t, j))[lane] = band(t, fmaxf(x, t.mel_floor));
  }
  doubts[threadIdx.x] = weak;
  if (warp == 0 && with_energy(t)) columns[33 * energy_column(t) + lane] = log_energy(t, energies[lane]);
  PYASR_SYNC_BLOCK(416);
  if (cepstra) {
    for (int k = warp; k < t.ceps; k += warps)
      if (k || !with_energy(t))
        columns[33 * cepstrum_column(t, k) + lane] = cepstrum(t, bands + lane, 33, -INFINITY, k);
    PYASR_SYNC_BLOCK(417);
  }
  if (warp == 0 && lane < tile.frames) {
    bool any = false;
    for (int w = 0; w < warps; ++w) any |= doubts[32 * w + lane] != 0;
    job.weak[tile.piece.first_frame + tile.f0 + lane] = any && !bad[lane];
  }
  for (int i = static_cast<int>(threadIdx.x); i < tile.frames * t.features; i += mfcc_tile_threads) {
    const int f = i / t.features, c = i - f * t.features;
    row_of(t, job, tile.piece, tile.f0 + f)[c] = bad[f] ? NAN : columns[33 * c + f];
  }
}

}  // namespace
}  // namespace pyasr::cuda

// Frames of 256, 400, 512, 1024 and 2048 points, 32 or 16 to a block: samples once into shared memory; one, two or four
// frames a warp, through 128 = 16 * 8, 200 = 25 * 8, 256 = 16 * 16, 512 = 32 * 16 or 1024 = 32 * 32 complex points in
// registers with one exchange; then a thread a frame through filters, logs and cosines.
#pragma once
#include "cuda/mfcc_bands.cuh"
#include "cuda/mfcc_fft.cuh"

namespace pyasr::cuda {
namespace {

// Sample s of the tile lies at s / 2 of plane s % 2, so that the lanes of a frame, which take every other one, read
// neighbors. The frames of a warp are neighbors, too: at 16 kHz the second one begins 80 words on, in the other 16
// banks.
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

// How a size is worked on: `lanes` of a warp to a frame, A of the N / 2 complex points to a lane.
template <int N>
struct TileShape {
  static constexpr int lanes = mfcc_tile_lanes(N), A = N / 2 / lanes;
  static constexpr int rounds = (A + lanes - 1) / lanes;  // transforms of `lanes` points that a lane does
  static constexpr int slots = rounds * lanes > A ? rounds * lanes : A;
  static constexpr int frames = mfcc_frames_each(N);
  static constexpr int together = mfcc_tile_rows_of(N).together, row = mfcc_tile_rows_of(N).frame;
  // Where the spectrum of frame f begins: MfccTileRows::at.
  static __device__ int row_at(int f) { return f / together * (together * row + 1) + f % together * row; }
};

// The sum over the lanes of a frame, known to all of them.
template <int lanes>
__device__ double frame_sum(double v) {
#pragma unroll
  for (int k = lanes / 2; k > 0; k /= 2) v += dev::shuffle_xor(v, k, lanes);
  return v;
}

// What a frame leaves besides its spectrum.
struct TileNotes {
  float* energy;  // as the log wants it
  float* total;   // of the spectrum, for doubts
  int* bad;       // it sees a sample that does not count
};

// The N / 2 points of a frame, p A lane, from point lane + lanes * p to Z[q + A * p] at v[r * lanes + p], q = lane +
// lanes * r: transforms of A points, one exchange in the row of the spectrum, transforms of `lanes` points.
template <int N>
__device__ void tile_fft(const MfccOnDevice& plan, Complex<float> (&v)[TileShape<N>::slots], float* row) {
  using Shape = TileShape<N>;
  constexpr int lanes = Shape::lanes, A = Shape::A, rounds = Shape::rounds;
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  {
    Complex<float> p[A];
#pragma unroll
    for (int q = 0; q < A; ++q) p[q] = v[q];
    butterfly(p);
    v[0] = p[0];
#pragma unroll
    for (int q = 1; q < A; ++q) {
      const float2 w = reinterpret_cast<const float2*>(plan.middle)[q * lanes + lane];
      v[q] = p[q] * Complex<float>{w.x, w.y};
    }
  }
  // A by lanes, transposed: real parts, then imaginary ones.
  // The row of q; lanes without one repeat the last, and nobody looks at what comes of it.
  auto at = [&](int r) { return (A % lanes == 0 || lane + lanes * r < A ? lane + lanes * r : A - 1) * (lanes + 1); };
#pragma unroll
  for (int q = 0; q < A; ++q) row[q * (lanes + 1) + lane] = v[q].r;
  PYASR_SYNC_WARP(410);
#pragma unroll
  for (int r = 0; r < rounds; ++r)
#pragma unroll
    for (int j = 0; j < lanes; ++j) v[r * lanes + j].r = row[at(r) + j];
  PYASR_SYNC_WARP(411);
#pragma unroll
  for (int q = 0; q < A; ++q) row[q * (lanes + 1) + lane] = v[q].i;
  PYASR_SYNC_WARP(412);
#pragma unroll
  for (int r = 0; r < rounds; ++r)
#pragma unroll
    for (int j = 0; j < lanes; ++j) v[r * lanes + j].i = row[at(r) + j];
#pragma unroll
  for (int r = 0; r < rounds; ++r) {
    Complex<float> p[lanes];
#pragma unroll
    for (int j = 0; j < lanes; ++j) p[j] = v[r * lanes + j];
    butterfly(p);
#pragma unroll
    for (int j = 0; j < lanes; ++j) v[r * lanes + j] = p[j];
  }
}

// From Z to |X[k]|^2 or |X[k]| at row[0 ... N / 2]; returns their sum over the lanes of the frame. Z[N / 2 - k] is in
// the lane that mirrors: it comes by shuffles, or where A is no multiple of the lanes through the row.
template <int N>
__device__ float tile_split(const MfccTables& t, Complex<float> (&v)[TileShape<N>::slots], float* row) {
  using Shape = TileShape<N>;
  constexpr int lanes = Shape::lanes, A = Shape::A, rounds = Shape::rounds, n = N / 2;
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  float total = 0;
  auto put = [&](int k, float low, float high) {
    if (!t.power) low = sqrtf(low), high = sqrtf(high);
    row[k] = low;
    row[n - k] = high;
    total += low + high;
  };
  auto put_middle = [&](Complex<float> z) {
    float middle = 4 * fmaf(z.r, z.r, z.i * z.i);
    if (!t.power) middle = sqrtf(middle);
    row[n / 2] = middle;
    total += middle;
  };
  auto turn = [&](int k) {
    const float2 w = reinterpret_cast<const float2*>(t.split)[k];
    return Complex<float>{w.x, w.y};
  };
  float low, high;
  if constexpr (A % lanes == 0) {
    static_assert(rounds <= 2);
    // Lane l >= 1 pairs slot p with slot A - 1 - p of lane `lanes` - l, but lane 0 has its pairs to itself.
    constexpr int half = lanes / 2;
    const int mirror = (lanes - lane) & (lanes - 1);
    const Complex<float> middle = v[half];
    if (rounds == 2 && lane == 0) {  // they are brought to where the others have them
      Complex<float> u[A];
#pragma unroll
      for (int k = 0; k < A; ++k) u[k] = v[k];
#pragma unroll
      for (int o = 0; o < half; ++o) {
        v[A - 1 - o] = u[(lanes - o) & (lanes - 1)];
        v[half + o] = u[A - 1 - o];
        v[A - 1 - half - o] = u[(lanes + o) % A];
      }
    }
    // What is given away depends on all that was read, so the row may be written again.
#pragma unroll
    for (int p = 0; p < A / 2; ++p) {
      const Complex<float> give = rounds == 2 || lane ? v[A - 1 - p] : v[(lanes - p) & (lanes - 1)];
      const Complex<float> other{dev::shuffle(give.r, mirror, lanes), dev::shuffle(give.i, mirror, lanes)};
      const bool behind = p >= half;  // the middle: the other one comes first
      const int k = !behind ? lane + A * p : lane ? n - lane - A * p : lanes + A * (p - half);
      split(behind ? other : v[p], behind ? v[p] : other, turn(k), low, high);
      put(k, low, high);
    }
    if (lane == 0) put_middle(middle);
  } else {
    constexpr int each = n / 2 / lanes + 1;  // of k = lane + lanes * m, k <= n / 2
    Complex<float> a[each], b[each];
    PYASR_SYNC_WARP(413);
#pragma unroll
    for (int r = 0; r < rounds; ++r)
#pragma unroll
      for (int p = 0; p < lanes; ++p)
        if (lane + lanes * r < A) row[lane + lanes * r + A * p] = v[r * lanes + p].r;
    PYASR_SYNC_WARP(418);
#pragma unroll
    for (int m = 0; m < each; ++m) {
      const int k = lane + lanes * m;
      a[m].r = k <= n / 2 ? row[k] : 0.f;
      b[m].r = k <= n / 2 ? row[k ? n - k : 0] : 0.f;
    }
    PYASR_SYNC_WARP(419);
#pragma unroll
    for (int r = 0; r < rounds; ++r)
#pragma unroll
      for (int p = 0; p < lanes; ++p)
        if (lane + lanes * r < A) row[lane + lanes * r + A * p] = v[r * lanes + p].i;
    PYASR_SYNC_WARP(423);
#pragma unroll
    for (int m = 0; m < each; ++m) {
      const int k = lane + lanes * m;
      a[m].i = k <= n / 2 ? row[k] : 0.f;
      b[m].i = k <= n / 2 ? row[k ? n - k : 0] : 0.f;
    }
    // A lane writes where it alone has read.
#pragma unroll
    for (int m = 0; m < each; ++m) {
      const int k = lane + lanes * m;
      if (k < n / 2) {
        split(a[m], b[m], turn(k), low, high);
        put(k, low, high);
      } else if (k == n / 2) {
        put_middle(a[m]);
      }
    }
  }
  return total;
}

// The spectrum of frame f of the tile to row[0 ... N / 2].
template <int N>
__device__ void tile_frame(const MfccOnDevice& plan, const MfccJob& job, const TileSamples& in, float* row, int f,
                           const TileNotes& notes) {
  using Shape = TileShape<N>;
  constexpr int lanes = Shape::lanes, A = Shape::A;
  const MfccTables& t = plan.t;
  const int lane = static_cast<int>(threadIdx.x) % lanes, length = t.length;
  const int64_t at = static_cast<int64_t>(f) * t.shift;
  const float* const first = (at & 1 ? in.odd : in.even) + (at >> 1);         // samples 0, 2, 4 ...
  const float* const second = (at & 1 ? in.even : in.odd) + ((at + 1) >> 1);  // samples 1, 3, 5 ...

  Complex<float> v[Shape::slots];
  double sum = 0;
  float few = 0;  // at most 64 integers of 16 bits: exact
#pragma unroll
  for (int p = 0; p < A; ++p) {
    const int e = lane + lanes * p;
    v[p].r = 2 * e < length ? first[e] : 0.f;
    v[p].i = 2 * e + 1 < length ? second[e] : 0.f;
    if (job.type == WaveType::int16 && job.scale == 1 && t.signal_preemph == 0)
      few += v[p].r + v[p].i;
    else
      sum += static_cast<double>(v[p].r) + static_cast<double>(v[p].i);
  }
  sum = frame_sum<lanes>(sum + static_cast<double>(few));
  const double mean = t.remove_dc ? sum / length : 0;
  // An integer first, which is exact for integers, then what is left of the mean.
  const float whole = static_cast<float>(rint(mean)), rest = static_cast<float>(mean - static_cast<double>(whole));
  const bool flat = t.keep == 1;
  // Through a shuffle, so that the product is rounded like that of a sample: a constant frame is exactly zero.
  const float offset = dev::shuffle(flat ? rest : t.keep * rest, 0, lanes);

  const bool of_windowed = t.energy == FrameEnergy::windowed;
  float squares = 0;
#pragma unroll
  for (int p = 0; p < A; ++p) {
    const int e = lane + lanes * p;
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
  const double energy = frame_sum<lanes>(static_cast<double>(squares));
  if (lane == 0) {  // now, so that it takes no registers below
    notes.energy[f] = static_cast<float>(energy) * (of_windowed ? t.windowed_gain : t.raw_gain);
    notes.total[f] = job.exact ? 0.f : static_cast<float>(mean);
    notes.bad[f] = !isfinite(sum);
  }
  tile_fft<N>(plan, v, row);
  const float total = static_cast<float>(frame_sum<lanes>(static_cast<double>(tile_split<N>(t, v, row))));
  if (lane == 0) {
    if (t.energy == FrameEnergy::spectral) notes.energy[f] = total;
    notes.total[f] = rounded_total(t, total, notes.total[f]);
  }
}

// Spectra to logs: they go out as they are.
template <int N>
__device__ void tile_spectrogram(const MfccTables& t, const MfccJob& job, const Tile& tile, const float* rows,
                                 const TileNotes& notes) {
  const int lane = static_cast<int>(threadIdx.x) & 31, warp = static_cast<int>(threadIdx.x) / 32;
  for (int f = warp; f < tile.frames; f += mfcc_tile_threads / 32) {
    const float* const row = rows + TileShape<N>::row_at(f);
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

// Tiles of the job, 256 threads each. Per frame of 512 points about 550 instructions of a warp up to its spectrum (the
// two transforms 190, samples 130, halves 100, exchange 35) and 60 behind it; 120 rows of 32 words to and from shared
// memory. A lane of the larger sizes and of 400 has 25 or 32 points, so that a multiprocessor holds two blocks, not
// three.
template <int N>
__global__ void __launch_bounds__(mfcc_tile_threads, TileShape<N>::slots <= 16 ? 3 : 2)
    mfcc_tile_kernel(MfccOnDevice plan, MfccJob job, MfccTilePlan shape) {
  using Shape = TileShape<N>;
  constexpr int frames = Shape::frames, together = Shape::together, stride = frames + 1;
  PYASR_DYNAMIC_SHARED(float, front);
  PYASR_SHARED(float, energies, frames);
  PYASR_SHARED(float, totals, frames);
  PYASR_SHARED(int, bad, frames);
  PYASR_SHARED(unsigned char, doubts, mfcc_tile_threads);
  const MfccTables& t = plan.t;
  const int tid = static_cast<int>(threadIdx.x), warp = tid / 32;
  constexpr int warps = mfcc_tile_threads / 32;
  const TileNotes notes{energies, totals, bad};
  const Tile tile = tile_of(job, blockIdx.x);
  float* const rows = front + shape.front;
  const TileSamples samples{front, front + shape.plane};
  load_tile(t, job, tile, samples, (tile.frames - 1) * static_cast<int64_t>(t.shift) + t.length, 2 * shape.plane);
  PYASR_SYNC_BLOCK(414);
#pragma unroll 1
  for (int f0 = 0; f0 < frames; f0 += warps * together) {
    const int f = f0 + warp * together + tid % 32 / Shape::lanes;
    tile_frame<N>(plan, job, samples, rows + Shape::row_at(f), f, notes);
  }
  PYASR_SYNC_BLOCK(415);
  if (t.kind == FeatureKind::spectrogram) {
    tile_spectrogram<N>(t, job, tile, rows, notes);
    return;
  }

  // A thread a frame, and what is left of the block a filter. The samples are not needed any more.
  constexpr int groups = mfcc_tile_threads / frames;
  const int own = tid % frames, group = tid / frames;
  float* const bands = front;                      // [M, stride], or where the columns are
  float* const columns = front + stride * t.mels;  // [F, stride]
  const bool cepstra = t.kind == FeatureKind::mfcc;
  bool weak = false;
  for (int j = group; j < t.mels; j += groups) {
    const float x = under_filter(t, rows + Shape::row_at(own), j);
    weak |= doubtful(t, totals[own], t.mel_trust[j], x);
    (cepstra ? bands + stride * j : columns + stride * band_column(t, j))[own] = band(t, fmaxf(x, t.mel_floor));
  }
  doubts[tid] = weak;
  if (group == 0 && with_energy(t)) columns[stride * energy_column(t) + own] = log_energy(t, energies[own]);
  PYASR_SYNC_BLOCK(416);
  if (cepstra) {
    for (int k = group; k < t.ceps; k += groups)
      if (k || !with_energy(t))
        columns[stride * cepstrum_column(t, k) + own] = cepstrum(t, bands + own, stride, -INFINITY, k);
    PYASR_SYNC_BLOCK(417);
  }
  if (tid < tile.frames) {
    bool any = false;
    for (int g = 0; g < groups; ++g) any |= doubts[frames * g + tid] != 0;
    job.weak[tile.piece.first_frame + tile.f0 + tid] = any && !bad[tid];
  }
  for (int i = tid; i < tile.frames * t.features; i += mfcc_tile_threads) {
    const int f = i / t.features, c = i - f * t.features;
    row_of(t, job, tile.piece, tile.f0 + f)[c] = bad[f] ? NAN : columns[stride * c + f];
  }
}

}  // namespace
}  // namespace pyasr::cuda

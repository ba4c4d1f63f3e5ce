// mfcc, fbank, spectrogram: features of one wave, in the dialect that the tables describe.
//
// Frame f covers samples f*S + start ... + L - 1 of the wave and its padding, preemphasized before where signal_preemph
// says so:
//   x += dither    x -= mean(x)    energy = log sum x^2    x[i] -= p x[i-1], x[0] -= p x[0]    x *= window
//   P = |FFT(x)|^2 or |FFT(x)|     M = gain log(mel P) + offset     C = dct M
// A spectrogram is log P, a filter bank M, cepstra C; energy takes the place of column 0, or a column of its own. Over
// the wave: M is at least its largest value minus dynamic_range; columns are normalized.
#pragma once
#include <cstddef>
#include <cstdint>

#include "pyasr/runtime.hpp"

namespace pyasr {

enum class FeatureKind : int { spectrogram, fbank, mfcc };
enum class FrameEnergy : int { none, raw, windowed, spectral };
enum class Padding : int { constant, reflect, symmetric, edge };  // zeros; -1 is 1; -1 is 0; the end sample
enum class LogFloor : int { max, add, zero };                     // max(x, floor); x + floor; x or, if 0, floor
enum class Normalize : int { none, per_feature, all_features };
enum class WaveType : int { int16, float32, float64 };

constexpr int mfcc_tile = 16;  // frames that are worked on together

// Rows and columns of a tile's samples, hop-polyphase: sample n of frame f lies in row n % S, column f + n / S.
inline int mfcc_tile_rows(int length, int shift) {
  const int rows = shift < length + 1 ? shift : length + 1;
  return (rows + 15) / 16 * 16;
}
inline int mfcc_tile_columns(int length, int shift) { return (mfcc_tile + length / shift + 15) / 16 * 16; }

// n samples have 0 frames if n = 0, few if n < least, else base + (n + add) / shift.
struct FrameRule {
  std::int64_t least, few, base, add;
};

// Immutable once built; any number of threads may use one.
struct MfccTables {
  FeatureKind kind;
  FrameEnergy energy;
  int length;          // L: samples of a frame, 2 ... 65536
  int shift;           // S: samples from frame to frame, >= 1
  std::int64_t start;  // of frame 0
  FrameRule rule;
  Padding padding;
  int fft;       // N: FFT points, L <= N <= 65536
  int mels;      // M: mel filters
  int ceps;      // C: coefficients
  int features;  // F: columns of the output
  bool remove_dc, htk_compat, power, log;
  double signal_preemph;  // of the wave
  float keep;             // 1 - p
  double preemph;         // p
  float dither;           // deviation at int16 scale, 0 for none
  std::uint64_t seed;     // of dither
  float mel_floor;        // 1 in HTK mode, else 0
  LogFloor floor;         // of the logs and the energy
  float log_floor;        // at least 2^-125
  float log_gain, log_offset;
  float energy_floor;       // at least 2^-125
  float raw_gain;           // brings a raw energy at int16 scale to the scale of the arithmetic
  float windowed_gain;      // brings the energy of a frame times `window` there
  double dynamic_range;     // in units of the result; infinite for none
  Normalize normalize;      // unbiased deviations, plus 1e-5
  const float* window;      // [L + 1] brings samples at int16 scale to those of the FFT; packed: times 1/2, which saves
                            // the real FFT's own factor; the last entry is 0
  const int* sample;        // [L + 1] place of sample n of frame 0 in a tile: row * columns + column
  int points;               // of the complex FFT: N/2 where chirp is null ("packed"), else Bluestein's
  int stages;               // of it
  const int* radix;         // [stages] 2, 3, 4, 5 or 8
  const float* twiddle;     // packed: stage after stage [m / r, r - 1, 2]: e^{-2 pi i j q / m}
  const int* order;         // [points] where the FFT leaves bin k
  const float* split;       // packed: [N/4 + 1, 2] e^{-2 pi i k / N}
  const double* window64;   // [L + 8] as window
  const double* twiddle64;  // as twiddle, for both
  const double* split64;    // packed
  const double* chirp;      // [L, 2] e^{-pi i n^2 / N}, or null
  const double* response;   // [points, 2] transform of 1 / chirp over points, where the FFT leaves it
  const int* mel_begin;     // [M] first bin of a filter
  const int* mel_offset;    // [M + 1] its weights in mel_weight
  const float* mel_weight;  // [mel_offset[M]]
  const float* mel_trust;   // [M] the least energy of a filter, in parts of the sum of the spectrum, that a float32 FFT
                            // gives to 2e-4; 0 where the result is no log
  float bin_trust;          // the same for a bin of a spectrogram
  float drift_trust;        // what an offset of 1 in rounded samples counts for in that sum
  const float* dct;         // [M, C], lifter folded in, and 16 floats more
};

inline std::int64_t mfcc_frames(const MfccTables& t, std::int64_t n) {
  const FrameRule& r = t.rule;
  return n == 0 ? 0 : n < r.least ? r.few : r.base + (n + r.add) / t.shift;
}

// The sample that stands at i, which may lie outside [0, n), n > 0; -1 for a zero.
static inline std::int64_t mfcc_padded(Padding padding, std::int64_t i, std::int64_t n) {
  if (i >= 0 && i < n) return i;
  if (padding == Padding::constant) return -1;
  if (padding == Padding::edge) return i < 0 ? 0 : n - 1;
  const std::int64_t twice = padding == Padding::symmetric ? 2 * n : n > 1 ? 2 * n - 2 : 1;
  i %= twice;
  if (i < 0) i += twice;
  return i < n ? i : padding == Padding::symmetric ? 2 * n - 1 - i : 2 * n - 2 - i;
}

// Cepstra of logs that depend on the whole wave: the logs of all frames have to lie somewhere.
inline bool mfcc_needs_bands(const MfccTables& t) {
  return t.kind == FeatureKind::mfcc && t.dynamic_range <= 1.7976931348623157e308;
}

// One wave of a call.
struct MfccWave {
  const void* wave;  // [n]
  WaveType type;
  std::int64_t n;
  double scale;         // brings samples to int16 scale
  std::int64_t frames;  // T
  float* bands;         // [T, M] scratch where mfcc_needs_bands
  float* out;           // frame f at out + f * stride, may not overlap a wave or another result
  std::int64_t stride;  // at least F
  // the kernel's notes
  float base;
  std::int64_t first_item;
};

struct MfccArgs {
  MfccWave* waves;  // [count], count >= 1
  std::int64_t count;
  std::int64_t first_frame;  // the number of frame 0, for dither
};

struct Mfcc {
  // Bytes of scratch, 64-byte aligned.
  std::size_t (*workspace_bytes)(const MfccTables& tables, int threads) noexcept;
  // Returns the largest magnitude of the floating waves before scale, inf when a sample is NaN or infinite; 0 for
  // int16. Frames that see a sample which is not finite are not valid; no others are touched by it, but for what
  // depends on the whole wave.
  double (*run)(const MfccTables& tables, const MfccArgs& args, void* workspace, const Runtime& runtime) noexcept;
};

}  // namespace pyasr

// mfcc, fbank, spectrogram: Kaldi's features of one wave.
//
// Frame f covers samples f*S + start ... + L - 1 (start = 0, or S/2 - L/2 with the wave mirrored at both ends):
//   x -= mean(x)    energy = log max(sum x^2, 2^-23)    x[i] -= p x[i-1], x[0] -= p x[0]    x *= window
//   P = |FFT(x)|^2 or |FFT(x)|    M = log max(mel P, 2^-23)    C = dct M
// A spectrogram is log P, a filter bank M, cepstra C; energy takes the place of column 0, or a column of its own.
#pragma once
#include <cstddef>
#include <cstdint>

#include "pyasr/runtime.hpp"

namespace pyasr {

enum class FeatureKind : int { spectrogram, fbank, mfcc };
enum class FrameEnergy : int { none, raw, windowed };
enum class WaveType : int { int16, float32, float64 };

constexpr int mfcc_tile = 16;  // frames that are worked on together

// Rows and columns of a tile's samples, hop-polyphase: sample n of frame f lies in row n % S, column f + n / S.
inline int mfcc_tile_rows(int length, int shift) {
  const int rows = shift < length + 1 ? shift : length + 1;
  return (rows + 15) / 16 * 16;
}
inline int mfcc_tile_columns(int length, int shift) { return (mfcc_tile + length / shift + 15) / 16 * 16; }

// Immutable once built; any number of threads may use one.
struct MfccTables {
  FeatureKind kind;
  FrameEnergy energy;
  int length;    // L: samples of a frame, 2 ... 65536
  int shift;     // S: samples from frame to frame, >= 1
  int fft;       // N: FFT points, even, L <= N <= 65536
  int mels;      // M: mel filters
  int ceps;      // C: coefficients
  int features;  // F: columns of the output
  bool snip_edges, remove_dc, htk_compat, power, log;
  float keep;               // 1 - p
  float mel_floor;          // 1 in HTK mode, else 0
  float energy_floor;       // at least 2^-23
  const float* window;      // [L + 1] times 1/2, which saves the real FFT's own factor; the last entry is 0
  const int* sample;        // [L + 1] place of sample n of frame 0 in a tile: row * columns + column
  int stages;               // of the complex FFT of N/2 points
  const int* radix;         // [stages]
  const float* twiddle;     // stage after stage [m / r, r - 1, 2]: e^{-2 pi i j q / m}
  const int* order;         // [N/2] where the FFT leaves bin k
  const float* split;       // [N/4 + 1, 2] e^{-2 pi i k / N}
  const int* mel_begin;     // [M] first bin of a filter
  const int* mel_offset;    // [M + 1] its weights in mel_weight
  const float* mel_weight;  // [mel_offset[M]]
  const float* dct;         // [M, C], lifter folded in
};

struct MfccArgs {
  const void* wave;  // [n]
  WaveType type;
  std::int64_t n;
  double scale;         // brings samples to int16 scale
  std::int64_t frames;  // T
  float* out;           // [T, F], may not overlap wave
};

struct Mfcc {
  // Bytes of scratch, 64-byte aligned.
  std::size_t (*workspace_bytes)(const MfccTables& tables, int threads) noexcept;
  // Returns the largest magnitude of a floating wave before scale, inf when a sample is NaN or infinite; 0 for int16.
  // The output is valid only if that is finite.
  double (*run)(const MfccTables& tables, const MfccArgs& args, void* workspace, const Runtime& runtime) noexcept;
};

}  // namespace pyasr

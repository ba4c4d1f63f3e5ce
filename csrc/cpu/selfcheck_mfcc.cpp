// mfcc: cepstra of noise against a plain discrete Fourier transform in float64. Window, filters and cosines are
// arbitrary numbers: the kernel reads them from tables.
#include "cpu/selfcheck.hpp"

namespace pyasr::selfcheck {

double mfcc(const cpu::Table& table, const Runtime& runtime, bool) {
  constexpr int L = 50, S = 20, N = 64, half = N / 2, M = 6, C = 5;
  constexpr std::int64_t samples = 1000, frames = 1 + (samples - L) / S;
  const double pi = std::acos(-1.0);
  const auto wave = random<float>(samples, 8);
  auto window = random<float>(L + 1, 9);
  const auto dct = random<float>(M * C, 10);
  window[L] = 0;

  // The FFT's tables for radices 4, 4, 2: stage after stage W_m^{jq}, and where bin k ends up.
  const int radix[] = {4, 4, 2};
  std::vector<float> twiddle, split;
  std::vector<int> order(half), rest(half);
  for (int k = 0; k < half; ++k) rest[k] = k;
  for (int m = half, s = 0; s < 3; ++s) {
    const int r = radix[s];
    for (int j = 0; j < m / r; ++j)
      for (int q = 1; q < r; ++q) {
        twiddle.push_back(static_cast<float>(std::cos(2 * pi * j * q / m)));
        twiddle.push_back(static_cast<float>(-std::sin(2 * pi * j * q / m)));
      }
    m /= r;
    for (int k = 0; k < half; ++k) {
      order[k] += rest[k] % r * m;
      rest[k] /= r;
    }
  }
  for (int k = 0; k <= half / 2; ++k) {
    split.push_back(static_cast<float>(std::cos(2 * pi * k / N)));
    split.push_back(static_cast<float>(-std::sin(2 * pi * k / N)));
  }
  const int columns = mfcc_tile_columns(L, S), rows = mfcc_tile_rows(L, S);
  std::vector<int> sample{rows * columns}, begin, offset{0};
  for (int n = 1; n <= L; ++n) sample.push_back(n % S * columns + n / S);
  for (int j = 0; j < M; ++j) {
    begin.push_back(1 + 4 * j);
    offset.push_back(offset.back() + 5 + j % 2);
  }
  auto weight = random<float>(static_cast<std::size_t>(offset[M]), 11);
  for (float& w : weight) w = std::fabs(w) + 0.1f;

  const std::vector<float> trust(M);  // float32 will do
  MfccTables t{};
  t.kind = FeatureKind::mfcc;
  t.energy = FrameEnergy::none;
  t.length = L;
  t.shift = S;
  t.fft = N;
  t.mels = M;
  t.ceps = t.features = C;
  t.remove_dc = t.power = t.log = true;
  t.keep = 1 - 0.97f;
  t.raw_gain = t.log_gain = 1;
  t.log_floor = t.energy_floor = 0x1p-23f;
  t.dynamic_range = std::numeric_limits<double>::infinity();
  t.points = half;
  t.window = window.data();
  t.sample = sample.data();
  t.stages = 3;
  t.radix = radix;
  t.twiddle = twiddle.data();
  t.order = order.data();
  t.split = split.data();
  t.mel_begin = begin.data();
  t.mel_offset = offset.data();
  t.mel_weight = weight.data();
  t.mel_trust = trust.data();
  t.dct = dct.data();
  std::vector<float> got(frames * C);
  Memory scratch(table.mfcc->workspace_bytes(t, runtime.threads));
  MfccWave one{wave.data(), WaveType::float32, samples, 32768.0, frames, nullptr, got.data(), C, 0, 0};
  table.mfcc->run(t, {&one, 1, 0}, scratch.get(), runtime);

  std::vector<double> want(frames * C);
  for (std::int64_t f = 0; f < frames; ++f) {
    double x[N] = {}, mean = 0;
    for (int n = 0; n < L; ++n) mean += 32768.0 * wave[f * S + n] / L;
    for (int n = 0; n < L; ++n) x[n] = 32768.0 * wave[f * S + n] - mean;
    for (int n = L - 1; n > 0; --n) x[n] -= 0.97f * x[n - 1];
    x[0] -= 0.97f * x[0];
    for (int n = 0; n < L; ++n) x[n] *= 2.0 * window[n];  // the table holds half of the window
    for (int j = 0; j < M; ++j) {
      double mel = 0;
      for (int i = offset[j]; i < offset[j + 1]; ++i) {
        const int k = begin[j] + i - offset[j];
        double re = 0, im = 0;
        for (int n = 0; n < N; ++n) {
          re += x[n] * std::cos(2 * pi * k * n / N);
          im -= x[n] * std::sin(2 * pi * k * n / N);
        }
        mel += weight[i] * (re * re + im * im);
      }
      for (int c = 0; c < C; ++c) want[f * C + c] += dct[j * C + c] * std::log(mel);
    }
  }
  return off(got, want);
}

}  // namespace pyasr::selfcheck

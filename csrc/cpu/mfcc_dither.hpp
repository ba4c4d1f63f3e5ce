// Dither: normal noise as a function of the seed, the frame's number and the sample's in it, one frame per lane.
//
// Philox4x32-10 (Salmon et al., SC 2011) with counter (sample / 4, frame, frame >> 32, 0); Box and Muller on its two
// pairs of words.
#pragma once
#include "cpu/mfcc_samples.hpp"
#include "pyasr/mfcc.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

struct Words {
  std::uint32_t w[lanes<float>];
};

inline void multiply(std::uint32_t by, const Words& x, Words& high, Words& low) {
  for (int i = 0; i < lanes<float>; ++i) {
    const std::uint64_t product = static_cast<std::uint64_t>(by) * x.w[i];
    high.w[i] = static_cast<std::uint32_t>(product >> 32);
    low.w[i] = static_cast<std::uint32_t>(product);
  }
}

inline void philox(Words (&c)[4], std::uint64_t seed) {
  auto k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    Words high0, low0, high1, low1;
    multiply(0xD2511F53u, c[0], high0, low0);
    multiply(0xCD9E8D57u, c[2], high1, low1);
    for (int i = 0; i < lanes<float>; ++i) {
      c[0].w[i] = high1.w[i] ^ c[1].w[i] ^ k0;
      c[2].w[i] = high0.w[i] ^ c[3].w[i] ^ k1;
    }
    c[1] = low1;
    c[3] = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// Two normal numbers a lane from two words.
inline void box_muller(const Words& a, const Words& b, Vf& x, Vf& y) {
  Vf u, turn;  // (0, 1) and [0, 1), both exact
  for (int i = 0; i < lanes<float>; ++i) {
    u[i] = (static_cast<float>(a.w[i] >> 9) + 0.5f) * 0x1p-23f;
    turn[i] = static_cast<float>(b.w[i] >> 8) * 0x1p-24f;
  }
  Vf radius = vlog(u) * -2.f;
  for (int i = 0; i < lanes<float>; ++i) radius[i] = __builtin_sqrtf(radius[i] > 0 ? radius[i] : 0);
  const Vf quarter = (turn * 4.f + 12582912.f) - 12582912.f;  // the nearest one; the rest is within an eighth turn
  const Vf r = (turn - quarter * 0.25f) * 6.28318530718f, s = r * r;
  Vf sine = splat(-1.9515295891e-4f);  // Cephes
  sine = sine * s + 8.3321608736e-3f;
  sine = sine * s - 1.6666654611e-1f;
  sine = r + r * (s * sine);
  Vf cosine = splat(2.443315711809948e-5f);
  cosine = cosine * s - 1.388731625493765e-3f;
  cosine = cosine * s + 4.166664568298827e-2f;
  cosine = 1.f - 0.5f * s + s * s * cosine;
  const Vi q = __builtin_convertvector(quarter, Vi) & 3;
  const Vf first = (q & 1) != 0 ? sine : cosine, second = (q & 1) != 0 ? cosine : sine;
  x = radius * (((q + 1) & 2) != 0 ? -first : first);
  y = radius * ((q & 2) != 0 ? -second : second);
}

// Noise of V frames by their numbers: [L + 2, V], a row of zeros and one of each frame's mean behind the L samples.
inline void draw(const MfccTables& t, const std::int64_t* numbers, float* noise) {
  constexpr int V = lanes<float>;
  for (long n = 0; n < t.length; n += 4) {
    Words c[4];
    for (int i = 0; i < V; ++i) {
      const auto frame = static_cast<std::uint64_t>(numbers[i]);
      c[0].w[i] = static_cast<std::uint32_t>(n / 4);
      c[1].w[i] = static_cast<std::uint32_t>(frame);
      c[2].w[i] = static_cast<std::uint32_t>(frame >> 32);
      c[3].w[i] = 0;
    }
    philox(c, t.seed);
    Vf z[4];
    box_muller(c[0], c[1], z[0], z[1]);
    box_muller(c[2], c[3], z[2], z[3]);
    for (long k = 0; k < 4 && n + k < t.length; ++k) store(noise + (n + k) * V, z[k] * t.dither);
  }
  Vf total{};
  for (long n = 0; n < t.length; ++n) total += load(noise + n * V);
  store(noise + static_cast<long>(t.length) * V, Vf{});
  store(noise + (t.length + 1L) * V, total / static_cast<float>(t.length));
}

// Preemphasis of the noise, which is added to samples that have theirs.
inline void preemphasize(const MfccTables& t, float* noise) {
  constexpr int V = lanes<float>;
  for (long n = t.length - 1; n >= 0; --n) {
    const Vf before = load(noise + (n ? n - 1 : 0) * V), x = load(noise + n * V);
    store(noise + n * V, (x - before) + before * t.keep);
  }
}

// Mean and energy of the noisy frame in lane i, which begins at y.
inline void noisy_sums(const MfccTables& t, const float* y, const float* noise, int i, double base, float& mean,
                       float& energy) {
  double total = 0, square = 0;
  for (long n = 0; n < t.length; ++n) {
    const double v = static_cast<double>(y[n]) + static_cast<double>(noise[n * lanes<float> + i]);
    total += v;
    square += v * v;
  }
  frame_statistics(t, total, square, base, mean, energy);
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA

// hmm_forward_backward and viterbi against plain loops over logarithms in float64.
#include <cmath>

#include "cpu/selfcheck.hpp"

namespace pyasr::selfcheck {

namespace {

using cpu::Table;

double log_add(double a, double b) {
  const double most = std::fmax(a, b);
  return most == -INFINITY ? most : most + std::log(std::exp(a - most) + std::exp(b - most));
}

// A model of N states and a batch of three; states apart by more than `band` have no arc.
template <class T>
double hmm_case(const Table& table, const Runtime& runtime, std::size_t N, std::size_t band) {
  constexpr std::size_t frames = 40, B = 3;
  const auto x = random<T>(frames * B * N, 21), initial = random<T>(N, 22), last = random<T>(N, 23);
  auto arcs = random<T>(N * N, 24);
  const std::int32_t lengths[B] = {40, 0, 29};
  HmmArgs<T> a{};
  a.highest = -1;
  a.lowest = 1;
  std::vector<std::int64_t> begin(N + 1);
  std::vector<std::int32_t> other;  // the band is symmetric: lists into and out of a state are the same
  for (std::size_t i = 0; i < N; ++i) {
    for (std::size_t j = 0; j < N; ++j) {
      T& arc = arcs[i * N + j];
      if (i > j + band || j > i + band) {
        arc = -std::numeric_limits<T>::infinity();
        continue;
      }
      other.push_back(static_cast<std::int32_t>(j));
      a.lowest = arc < a.lowest ? arc : a.lowest;
      a.highest = arc > a.highest ? arc : a.highest;
    }
    begin[i + 1] = static_cast<std::int64_t>(other.size());
  }
  std::vector<T> log_p(B), posteriors(frames * B * N), counts(N * N), best(B);
  std::vector<std::int32_t> path(frames * B);
  std::vector<double> want_p(B), want(frames * B * N), want_counts(N * N), want_best(B), got_best(B);
  for (std::size_t b = 0; b < B; ++b) {
    const auto n = static_cast<std::size_t>(lengths[b]);
    if (n == 0) continue;
    std::vector<double> alpha(n * N, -INFINITY), beta(n * N, -INFINITY), most(n * N, -INFINITY);
    auto e = [&](std::size_t t, std::size_t i) { return static_cast<double>(x[(t * B + b) * N + i]); };
    for (std::size_t t = 0; t < n; ++t)
      for (std::size_t j = 0; j < N; ++j) {
        double &sum = alpha[t * N + j], &way = most[t * N + j];
        if (t == 0) sum = way = static_cast<double>(initial[j]);
        for (std::size_t i = 0; t > 0 && i < N; ++i) {
          sum = log_add(sum, alpha[(t - 1) * N + i] + static_cast<double>(arcs[i * N + j]));
          way = std::fmax(way, most[(t - 1) * N + i] + static_cast<double>(arcs[i * N + j]));
        }
        sum += e(t, j);
        way += e(t, j);
      }
    want_p[b] = want_best[b] = -INFINITY;
    for (std::size_t i = 0; i < N; ++i) {
      beta[(n - 1) * N + i] = static_cast<double>(last[i]);
      want_p[b] = log_add(want_p[b], alpha[(n - 1) * N + i] + beta[(n - 1) * N + i]);
      want_best[b] = std::fmax(want_best[b], most[(n - 1) * N + i] + beta[(n - 1) * N + i]);
    }
    for (std::size_t t = n - 1; t > 0; --t)
      for (std::size_t i = 0; i < N; ++i)
        for (std::size_t j = 0; j < N; ++j) {
          const double arc = static_cast<double>(arcs[i * N + j]) + e(t, j) + beta[t * N + j];
          beta[(t - 1) * N + i] = log_add(beta[(t - 1) * N + i], arc);
          want_counts[i * N + j] += std::exp(alpha[(t - 1) * N + i] + arc - want_p[b]);
        }
    for (std::size_t t = 0; t < n; ++t)
      for (std::size_t i = 0; i < N; ++i)
        want[(t * B + b) * N + i] = std::exp(alpha[t * N + i] + beta[t * N + i] - want_p[b]);
  }
  a.emissions = x.data();
  a.lengths = lengths;
  a.initial = initial.data();
  a.transitions = arcs.data();
  a.final = last.data();
  a.into = a.out_of = {begin.data(), other.data()};
  a.log_p = log_p.data();
  a.posteriors = posteriors.data();
  a.counts = counts.data();
  a.path = path.data();
  a.frames = frames;
  a.B = B;
  a.N = static_cast<std::int64_t>(N);
  const HmmKernels<T>* op = nullptr;
  if constexpr (sizeof(T) == 4)
    op = &table.hmm->f32;
  else
    op = &table.hmm->f64;
  Memory scratch(op->forward_backward_bytes(a, runtime.threads));
  op->forward_backward(a, scratch.get(), runtime);
  const double sums = std::fmax(off(log_p, want_p), std::fmax(off(posteriors, want), off(counts, want_counts)));
  a.log_p = best.data();
  a.posteriors = nullptr;
  Memory ways(op->viterbi_bytes(a, runtime.threads));
  op->viterbi(a, ways.get(), runtime);
  for (std::size_t b = 0; b < B; ++b)  // of the path that was given
    for (std::size_t t = 0; t < static_cast<std::size_t>(lengths[b]); ++t) {
      const auto i = static_cast<std::size_t>(path[t * B + b]);
      const T step = t ? arcs[static_cast<std::size_t>(path[(t - 1) * B + b]) * N + i] : initial[i];
      got_best[b] += static_cast<double>(x[(t * B + b) * N + i]) + static_cast<double>(step);
      if (t + 1 == static_cast<std::size_t>(lengths[b])) got_best[b] += static_cast<double>(last[i]);
    }
  return std::fmax(sums, std::fmax(off(best, want_best), off(got_best, want_best)));
}

}  // namespace

double hmm(const Table& table, const Runtime& runtime, bool in_double) {
  double worst = 0;
  for (const std::size_t N : {1, 2, 15, 16, 37, 67})
    for (const std::size_t band : {N, std::size_t{1}, std::size_t{7}})
      worst = std::fmax(
          worst, in_double ? hmm_case<double>(table, runtime, N, band) : hmm_case<float>(table, runtime, N, band));
  return worst;
}

}  // namespace pyasr::selfcheck

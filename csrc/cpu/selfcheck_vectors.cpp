// clip_sgd, adam, rmsprop, softmax_cross_entropy, dropout, ctc_loss, cg and spd_solve against plain loops in float64.
#include "cpu/selfcheck.hpp"

namespace pyasr::selfcheck {
namespace {

using cpu::Table;

template <class T, class Rule>
UpdateResult updated(const Update<Rule>& op, const UpdateArgs<T>& args, const Rule& rule, const Runtime& runtime) {
  if constexpr (sizeof(T) == 4) {
    Memory scratch(op.workspace_f32(args));
    return op.f32(args, rule, scratch.get(), runtime);
  } else {
    Memory scratch(op.workspace_f64(args));
    return op.f64(args, rule, scratch.get(), runtime);
  }
}

template <class T>
double clip_sgd_of(const Table& table, const Runtime& runtime) {
  double worst = 0;
  for (const std::size_t n : {0u, 1u, 67u, 16385u, 100003u}) {
    auto value = random<T>(n, 1), buffer = random<T>(n, 2);
    const auto grad = random<T>(n, 3);
    std::vector<double> want(value.begin(), value.end());
    double squares = 0;
    for (const T g : grad) squares += static_cast<double>(g) * static_cast<double>(g);
    const double norm = std::sqrt(squares), scale = norm > 0.5 ? 0.5 / norm : 1;
    for (std::size_t i = 0; i < n; ++i) {
      const double g = scale * grad[i] + 0.01 * want[i], m = 0.9 * buffer[i] + g;
      want[i] -= 0.1 * (g + 0.9 * m);
    }
    const std::size_t half = n / 2;  // in two pieces of one group
    UpdatePiece<T> pieces[2] = {
        {value.data(), grad.data(), {buffer.data()}, nullptr, half, 1, half, 0.1, 0.01, 0, INFINITY, 0, 0, 0},
        {value.data() + half,
         grad.data() + half,
         {buffer.data() + half},
         nullptr,
         n - half,
         1,
         n - half,
         0.1,
         0.01,
         0,
         INFINITY,
         0,
         0,
         0}};
    UpdateArgs<T> args{pieces, 2, {}};
    args.options.limit = 0.5;
    args.options.grad_scale = 1;
    args.options.clip = Clip::norm;
    const UpdateResult r = updated(*table.clip_sgd, args, ClipSgdRule{0.9, 0, true, false}, runtime);
    worst = std::fmax(worst, std::fmax(off(value, want), std::fabs(r.norm - norm) / (norm + 1e-30)));
  }
  return worst;
}

// One piece, no clipping: adam with the largest squares, rmsprop with momentum and mean.
template <class T>
double adam_of(const Table& table, const Runtime& runtime) {
  constexpr std::size_t n = 1003;
  auto value = random<T>(n, 1), mean = random<T>(n, 2), square = random<T>(n, 3), largest = random<T>(n, 4);
  const auto grad = random<T>(n, 5);
  std::vector<double> want(n);
  for (std::size_t i = 0; i < n; ++i) {
    square[i] *= square[i];
    largest[i] *= largest[i];
    const double g = grad[i] + 0.01 * value[i], m = 0.9 * mean[i] + 0.1 * g, s = 0.99 * square[i] + 0.01 * g * g;
    want[i] = value[i] - 0.1 * (2 * m) / (3 * std::sqrt(std::fmax(s, static_cast<double>(largest[i]))) + 1e-3);
  }
  UpdatePiece<T> piece{value.data(),
                       grad.data(),
                       {mean.data(), square.data(), largest.data()},
                       nullptr,
                       n,
                       1,
                       n,
                       0.1,
                       0.01,
                       0,
                       INFINITY,
                       0,
                       0,
                       0};
  UpdateArgs<T> args{&piece, 1, {}};
  args.options.grad_scale = 1;
  updated(*table.adam, args, AdamRule{0.9, 0.99, 1e-3, 2, 3}, runtime);
  return off(value, want);
}

template <class T>
double rmsprop_of(const Table& table, const Runtime& runtime) {
  constexpr std::size_t n = 1003;
  auto value = random<T>(n, 1), square = random<T>(n, 2), buffer = random<T>(n, 3), mean = random<T>(n, 4);
  const auto grad = random<T>(n, 5);
  std::vector<double> want(n);
  for (std::size_t i = 0; i < n; ++i) {
    square[i] = square[i] * square[i] + 1;
    const double s = 0.9 * square[i] + 0.1 * grad[i] * grad[i], m = 0.9 * mean[i] + 0.1 * grad[i];
    want[i] = value[i] - 0.1 * (0.5 * buffer[i] + grad[i] / (std::sqrt(s - m * m) + 1e-3));
  }
  UpdatePiece<T> piece{value.data(),
                       grad.data(),
                       {square.data(), buffer.data(), mean.data()},
                       nullptr,
                       n,
                       1,
                       n,
                       0.1,
                       0,
                       0,
                       INFINITY,
                       0,
                       0,
                       0};
  UpdateArgs<T> args{&piece, 1, {}};
  args.options.grad_scale = 1;
  updated(*table.rmsprop, args, RmspropRule{0.9, 1e-3, 0.5}, runtime);
  return off(value, want);
}

template <class T>
double softmax_of(const Table& table, const Runtime& runtime) {
  constexpr std::int64_t N = 5, V = 37;
  const auto logits = random<T>(N * V, 4);
  const std::int32_t labels[N] = {0, 36, -1, 7, 7};
  std::vector<T> loss(N), dlogits(N * V);
  std::vector<double> want_loss(N), want(N * V);
  for (std::int64_t n = 0; n < N; ++n) {
    if (labels[n] < 0) continue;
    double sum = 0;
    for (std::int64_t v = 0; v < V; ++v) sum += std::exp(static_cast<double>(logits[n * V + v]));
    for (std::int64_t v = 0; v < V; ++v)
      want[n * V + v] = std::exp(static_cast<double>(logits[n * V + v])) / sum - (v == labels[n]);
    want_loss[n] = std::log(sum) - logits[n * V + labels[n]];
  }
  const SoftmaxArgs<T> args{logits.data(), labels, loss.data(), dlogits.data(), N, V};
  if constexpr (sizeof(T) == 4)
    table.softmax->f32(args, runtime);
  else
    table.softmax->f64(args, runtime);
  return std::fmax(off(loss, want_loss), off(dlogits, want));
}

// Philox4x64-10 as Salmon et al. write it: (L, R) -> (high(M R) ^ k ^ L, low(M R)) of two pairs.
template <class T>
double dropout_of(const Table& table, const Runtime& runtime) {
  __extension__ typedef unsigned __int128 Wide;
  constexpr std::size_t N = 1531;
  const std::uint64_t key[2] = {0x0123456789ABCDEFu, 0xFEDCBA9876543210u};
  const auto x = random<T>(N, 10);
  std::vector<T> y(N), factor(N);
  std::vector<double> want(N), want_factor(N);
  for (std::size_t block = 0; 8 * block < N; ++block) {
    std::uint64_t c[4] = {block + 1, 0, 0, 0}, k[2] = {key[0], key[1]};
    for (int round = 0; round < 10; ++round) {
      const Wide p = Wide{0xD2E7470EE14C6C93u} * c[0], q = Wide{0xCA5A826395121157u} * c[2];
      const std::uint64_t next[4] = {static_cast<std::uint64_t>(q >> 64) ^ c[1] ^ k[0], static_cast<std::uint64_t>(q),
                                     static_cast<std::uint64_t>(p >> 64) ^ c[3] ^ k[1], static_cast<std::uint64_t>(p)};
      for (int w = 0; w < 4; ++w) c[w] = next[w];
      k[0] += 0x9E3779B97F4A7C15u;
      k[1] += 0xBB67AE8584CAA73Bu;
    }
    for (std::size_t i = 8 * block; i < 8 * block + 8 && i < N; ++i) {
      const auto half = static_cast<std::uint32_t>(c[i % 8 / 2] >> (i % 2 ? 32 : 0));
      want_factor[i] = static_cast<float>(half >> 8) * 0x1p-24f >= 0.3f ? 1 / 0.7 : 0;
      want[i] = want_factor[i] * static_cast<double>(x[i]);
    }
  }
  const DropoutArgs<T> args{x.data(), y.data(), factor.data(), N, 0.3, {key[0], key[1]}};
  if constexpr (sizeof(T) == 4)
    table.dropout->f32(args, runtime);
  else
    table.dropout->f64(args, runtime);
  return std::fmax(off(y, want), off(factor, want_factor));
}

double log_add(double a, double b) {
  if (a == -INFINITY) return b;
  if (b == -INFINITY) return a;
  return a > b ? a + std::log1p(std::exp(b - a)) : b + std::log1p(std::exp(a - b));
}

// -log p of one utterance by the forward recursion over labels with blanks (0) between.
double ctc_plain(const std::vector<double>& logits /* [T,V] */, std::size_t T, std::size_t V,
                 const std::vector<int>& labels) {
  std::vector<int> path{0};
  for (const int l : labels) path.insert(path.end(), {l, 0});
  std::vector<double> alpha(path.size(), -INFINITY);
  for (std::size_t t = 0; t < T; ++t) {
    double sum = 0;
    for (std::size_t v = 0; v < V; ++v) sum += std::exp(logits[t * V + v]);
    std::vector<double> next(path.size());
    for (std::size_t i = 0; i < path.size(); ++i) {
      double a = t ? alpha[i] : (i < 2 ? 0 : -INFINITY);
      if (t && i > 0) a = log_add(a, alpha[i - 1]);
      if (t && i > 1 && path[i] != 0 && path[i] != path[i - 2]) a = log_add(a, alpha[i - 2]);
      next[i] = a + logits[t * V + static_cast<std::size_t>(path[i])] - std::log(sum);
    }
    alpha = next;
  }
  return -(labels.empty() ? alpha[0] : log_add(alpha[path.size() - 1], alpha[path.size() - 2]));
}

template <class T>
double ctc_of(const Table& table, const Runtime& runtime) {
  constexpr std::size_t frames = 12, B = 3, V = 6, U = 4;
  const auto logits = random<T>(frames * B * V, 5);
  const std::int32_t lengths[B] = {12, 9, 3}, label_lengths[B] = {4, 3, 0};
  const std::int32_t labels[B * U] = {1, 1, 2, 5, 3, 4, 3, 0, 0, 0, 0, 0};
  std::vector<T> loss(B), dlogits(frames * B * V);
  std::vector<double> want_loss(B), want(frames * B * V);
  for (std::size_t b = 0; b < B; ++b) {
    const auto T_b = static_cast<std::size_t>(lengths[b]);
    std::vector<double> own(T_b * V);
    for (std::size_t t = 0; t < T_b; ++t)
      for (std::size_t v = 0; v < V; ++v) own[t * V + v] = logits[(t * B + b) * V + v];
    const std::vector<int> path(labels + b * U, labels + b * U + label_lengths[b]);
    want_loss[b] = ctc_plain(own, T_b, V, path);
    for (std::size_t t = 0; t < T_b; ++t)
      for (std::size_t v = 0; v < V; ++v) {  // central differences: 1e-9 of the gradient
        const double middle = own[t * V + v], h = 1e-4;
        own[t * V + v] = middle + h;
        const double above = ctc_plain(own, T_b, V, path);
        own[t * V + v] = middle - h;
        want[(t * B + b) * V + v] = (above - ctc_plain(own, T_b, V, path)) / (2 * h);
        own[t * V + v] = middle;
      }
  }
  CtcArgs<T> args{};
  args.logits = logits.data();
  args.lengths = lengths;
  args.labels = labels;
  args.label_lengths = label_lengths;
  args.loss = loss.data();
  args.dlogits = dlogits.data();
  args.frames = frames;
  args.B = B;
  args.V = V;
  args.U = U;
  Memory scratch(table.ctc->workspace_bytes(frames, U, sizeof(T), runtime.threads));
  if constexpr (sizeof(T) == 4)
    table.ctc->f32(args, scratch.get(), runtime);
  else
    table.ctc->f64(args, scratch.get(), runtime);
  return std::fmax(off(loss, want_loss), off(dlogits, want));
}

// |b - A x| / |b|, and infinity where cg says that it failed.
template <class T>
double cg_of(const Table& table, const Runtime& runtime) {
  constexpr std::size_t n = 83;
  const auto root = random<T>(n * n, 6), b = random<T>(n, 7);
  std::vector<T> A(n * n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = i == j ? 1 : 0;
      for (std::size_t k = 0; k < n; ++k) sum += static_cast<double>(root[i * n + k]) * root[j * n + k] / n;
      A[i * n + j] = A[j * n + i] = static_cast<T>(sum);
    }
  CgState<T> s{};
  s.A = A.data();
  s.n = n;
  s.rtol = 1e-6;
  s.maxiter = 10 * n;
  s.verify = true;
  const CgOf<T>* op = nullptr;
  if constexpr (sizeof(T) == 4)
    op = &table.cg->f32;
  else
    op = &table.cg->f64;
  Memory scratch(op->workspace_bytes(s));
  op->lay_out(s, scratch.get());
  for (std::size_t i = 0; i < n; ++i) s.b[i] = b[i];
  op->solve(s, runtime);
  if (s.info != 0) return INFINITY;
  std::vector<double> product(n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) product[i] += static_cast<double>(A[i * n + j]) * s.best[j];
  return off(product, b);
}

// The largest |b - A x| / |b| of five systems, small and large, and infinity where one was not solved.
template <class T>
double spd_of(const Table& table, const Runtime& runtime) {
  const SpdOf<T>* op = nullptr;
  if constexpr (sizeof(T) == 4)
    op = &table.spd->f32;
  else
    op = &table.spd->f64;
  double worst = 0;
  for (const std::size_t n : {7, 64, 203}) {
    constexpr std::size_t B = 5;
    std::vector<T> A = random<T>(B * n * n, 8), x(B * n);
    const auto b = random<T>(B * n, 9);
    for (std::size_t i = 0; i < B * n; ++i) A[i * n + i % n] = static_cast<T>(2 * n);
    std::vector<std::int64_t> minor(B);
    SpdArgs<T> args{A.data(), b.data(), x.data(), minor.data(), B, n};
    Memory scratch(op->workspace_bytes(B, n, runtime.threads));
    op->solve(args, scratch.get(), runtime);
    std::vector<double> product(B * n);
    for (std::size_t s = 0; s < B; ++s) {
      if (minor[s] != 0) return INFINITY;
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j)
          product[s * n + i] += static_cast<double>(A[(s * n + (i < j ? j : i)) * n + (i < j ? i : j)]) * x[s * n + j];
    }
    worst = std::fmax(worst, off(product, b));
  }
  return worst;
}

}  // namespace

#define PYASR_BOTH(name)                                                                     \
  double name(const Table& table, const Runtime& runtime, bool in_double) {                  \
    return in_double ? name##_of<double>(table, runtime) : name##_of<float>(table, runtime); \
  }
PYASR_BOTH(clip_sgd)
PYASR_BOTH(adam)
PYASR_BOTH(rmsprop)
PYASR_BOTH(softmax)
PYASR_BOTH(dropout)
PYASR_BOTH(ctc)
PYASR_BOTH(cg)
PYASR_BOTH(spd)

}  // namespace pyasr::selfcheck

// lstm, gru and rnn: forward against a plain loop in float64, jvp against its central differences, backward by the
// adjoint identity <J u, v> = <u, J^T v>.
#include "cpu/selfcheck.hpp"

namespace pyasr::selfcheck {
namespace {

using cpu::Table;
using Numbers = std::vector<double>;

constexpr long T_ = 7, B_ = 3, D_ = 5, H_ = 19, S_ = 2;
constexpr std::int32_t lengths[B_] = {7, 0, 4};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Everything that forward takes or gives, in float64: inputs x, w_ih, w_hh, bias, h0, c0; outputs y, hn, cn.
struct Net {
  Numbers x, w_ih, w_hh, bias, h0, c0;
  Numbers* inputs(int i) {
    Numbers* const all[] = {&x, &w_ih, &w_hh, &bias, &h0, &c0};
    return all[i];
  }
};
struct Outputs {
  Numbers y, hn, cn;
};

// G is the rows of a weight per unit: 4 for the LSTM, 3 for the GRU, 1 for the RNN; the bias of a GRU has 4.
template <int G>
constexpr long bias_rows = G == 3 ? 4 : G;

template <int G>
Outputs plain(const Net& p) {
  Outputs out{Numbers(T_ * B_ * S_ * H_), Numbers(S_ * B_ * H_), Numbers(S_ * B_ * H_)};
  for (long s = 0; s < S_; ++s)
    for (long b = 0; b < B_; ++b) {
      Numbers h(p.h0.begin() + (s * B_ + b) * H_, p.h0.begin() + (s * B_ + b + 1) * H_);
      Numbers c(p.c0.begin() + (s * B_ + b) * H_, p.c0.begin() + (s * B_ + b + 1) * H_);
      for (long step = 0; step < lengths[b]; ++step) {
        const long t = s == 0 ? step : lengths[b] - 1 - step;
        Numbers from_x(G * H_), from_h(G * H_);
        const double* bias = p.bias.data() + s * bias_rows<G> * H_;
        for (long r = 0; r < G * H_; ++r) {
          from_x[r] = bias[r];
          for (long d = 0; d < D_; ++d) from_x[r] += p.w_ih[(s * G * H_ + r) * D_ + d] * p.x[(t * B_ + b) * D_ + d];
          for (long k = 0; k < H_; ++k) from_h[r] += p.w_hh[(s * G * H_ + r) * H_ + k] * h[k];
        }
        for (long k = 0; k < H_; ++k) {
          auto a = [&](long q) { return from_x[q * H_ + k] + from_h[q * H_ + k]; };
          if (G == 4) {
            c[k] = sigmoid(a(1)) * c[k] + sigmoid(a(0)) * std::tanh(a(2));
            h[k] = sigmoid(a(3)) * std::tanh(c[k]);
          } else if (G == 3) {
            const double z = sigmoid(a(1)), hidden = from_h[2 * H_ + k] + bias[3 * H_ + k];
            h[k] = (1 - z) * std::tanh(from_x[2 * H_ + k] + sigmoid(a(0)) * hidden) + z * h[k];
          } else {
            h[k] = std::tanh(a(0));
          }
          out.y[((t * B_ + b) * S_ + s) * H_ + k] = h[k];
        }
      }
      for (long k = 0; k < H_; ++k) {
        out.hn[(s * B_ + b) * H_ + k] = h[k];
        out.cn[(s * B_ + b) * H_ + k] = G == 4 ? c[k] : 0;
      }
    }
  return out;
}

template <int G>
Net some(std::uint64_t seed) {
  Net p{random<double>(T_ * B_ * D_, seed),         random<double>(S_ * G * H_ * D_, seed + 1),
        random<double>(S_ * G * H_ * H_, seed + 2), random<double>(S_ * bias_rows<G> * H_, seed + 3),
        random<double>(S_ * B_ * H_, seed + 4),     random<double>(S_ * B_ * H_, seed + 5)};
  for (double& w : p.w_hh) w *= 0.3;
  return p;
}

template <class T>
std::vector<T> as(const Numbers& v) {
  return {v.begin(), v.end()};
}

template <class A, class B>
double dot(const std::vector<A>& a, const std::vector<B>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

template <class T, int G>
double check(const Recurrent<T>& op, const Runtime& runtime) {
  RecurrentShape shape{};
  shape.T = T_, shape.B = B_, shape.D = D_, shape.H = shape.R = H_, shape.S = S_, shape.frames = 11;
  const Net p = some<G>(10), u = some<G>(20);
  const auto x = as<T>(p.x), w_ih = as<T>(p.w_ih), w_hh = as<T>(p.w_hh), bias = as<T>(p.bias), h0 = as<T>(p.h0),
             c0 = as<T>(p.c0);
  std::vector<T> y(T_ * B_ * S_ * H_), hn(S_ * B_ * H_), cn(hn.size());
  Memory saved(op.saved_bytes(shape)), forward(op.forward_bytes(shape, runtime.threads));
  const bool has_c = G == 4;
  op.forward(shape,
             {x.data(),
              lengths,
              {w_ih.data(), w_hh.data(), bias.data(), nullptr, nullptr},
              nullptr,
              h0.data(),
              has_c ? c0.data() : nullptr,
              {},
              y.data(),
              hn.data(),
              has_c ? cn.data() : nullptr,
              saved.get()},
             forward.get(), runtime);
  const Outputs want = plain<G>(p);
  double worst = std::fmax(off(y, want.y), off(hn, want.hn));
  if (has_c) worst = std::fmax(worst, off(cn, want.cn));

  // jvp: the direction u through every input at once
  const auto ux = as<T>(u.x), uw_ih = as<T>(u.w_ih), uw_hh = as<T>(u.w_hh), ubias = as<T>(u.bias), uh = as<T>(u.h0),
             uc = as<T>(u.c0);
  std::vector<T> dy(y.size()), dhn(hn.size()), dcn(hn.size());
  Memory jvp(op.jvp_bytes(shape, runtime.threads));
  op.jvp(shape,
         {saved.get(),
          x.data(),
          {},
          ux.data(),
          {uw_ih.data(), uw_hh.data(), ubias.data(), nullptr, nullptr},
          uh.data(),
          has_c ? uc.data() : nullptr,
          dy.data(),
          dhn.data(),
          has_c ? dcn.data() : nullptr},
         jvp.get(), runtime);
  Net above = p, below = p, along = u;
  for (int i = 0; i < 6; ++i)
    for (std::size_t k = 0; k < above.inputs(i)->size(); ++k) {
      (*above.inputs(i))[k] += 1e-5 * (*along.inputs(i))[k];
      (*below.inputs(i))[k] -= 1e-5 * (*along.inputs(i))[k];
    }
  const Outputs high = plain<G>(above), low = plain<G>(below);
  auto slope = [](const Numbers& a, const Numbers& b) {
    Numbers d(a.size());
    for (std::size_t i = 0; i < d.size(); ++i) d[i] = (a[i] - b[i]) / 2e-5;
    return d;
  };
  worst = std::fmax(worst, std::fmax(off(dy, slope(high.y, low.y)), off(dhn, slope(high.hn, low.hn))));
  if (has_c) worst = std::fmax(worst, off(dcn, slope(high.cn, low.cn)));

  // backward: v through every output; frames beyond a length do not count
  auto vy = random<T>(y.size(), 30);
  const auto vh = random<T>(hn.size(), 31), vc = random<T>(hn.size(), 32);
  std::vector<T> dw_ih(w_ih.size()), dw_hh(w_hh.size()), dbias(bias.size()), dx(x.size()), dh0(hn.size()),
      dc0(hn.size());
  Memory backward(op.backward_bytes(shape, runtime.threads));
  op.backward(shape,
              {saved.get(),
               x.data(),
               {},
               vy.data(),
               vh.data(),
               has_c ? vc.data() : nullptr,
               {dw_ih.data(), dw_hh.data(), dbias.data(), nullptr, nullptr},
               dx.data(),
               dh0.data(),
               has_c ? dc0.data() : nullptr},
              backward.get(), runtime);
  const double left = dot(dy, vy) + dot(dhn, vh) + (has_c ? dot(dcn, vc) : 0);
  const double right = dot(ux, dx) + dot(uw_ih, dw_ih) + dot(uw_hh, dw_hh) + dot(ubias, dbias) + dot(uh, dh0) +
                       (has_c ? dot(uc, dc0) : 0);
  const double size =
      std::sqrt((dot(dy, dy) + dot(dhn, dhn) + dot(dcn, dcn)) * (dot(vy, vy) + dot(vh, vh) + dot(vc, vc)));
  return std::fmax(worst, std::isfinite(left - right) ? std::fabs(left - right) / size : INFINITY);
}

}  // namespace

double lstm(const Table& table, const Runtime& runtime, bool in_double) {
  return in_double ? check<double, 4>(table.lstm->f64, runtime) : check<float, 4>(table.lstm->f32, runtime);
}

double gru(const Table& table, const Runtime& runtime, bool in_double) {
  return in_double ? check<double, 3>(table.gru->f64, runtime) : check<float, 3>(table.gru->f32, runtime);
}

double rnn(const Table& table, const Runtime& runtime, bool in_double) {
  return in_double ? check<double, 1>(table.rnn->f64, runtime) : check<float, 1>(table.rnn->f32, runtime);
}

}  // namespace pyasr::selfcheck

// FFTs: any length made of 2, 3 and 5, in memory that the threads of a block share, and 16 points in registers.
#pragma once
#include "cuda/launch.cuh"
#include "math/butterfly.hpp"

namespace pyasr::cuda {
namespace {

template <class R>
struct alignas(2 * sizeof(R)) Complex {
  using Real = R;
  R r, i;
};

template <class R>
PYASR_MATH Complex<R> operator+(Complex<R> a, Complex<R> b) {
  return {a.r + b.r, a.i + b.i};
}
template <class R>
PYASR_MATH Complex<R> operator-(Complex<R> a, Complex<R> b) {
  return {a.r - b.r, a.i - b.i};
}
template <class R>
PYASR_MATH Complex<R> operator*(Complex<R> a, R b) {
  return {a.r * b, a.i * b};
}
template <class R>
PYASR_MATH Complex<R> operator*(Complex<R> a, Complex<R> b) {
  return {fma(a.r, b.r, -(a.i * b.i)), fma(a.r, b.i, a.i * b.r)};
}
template <class R>
PYASR_MATH Complex<R> back(Complex<R> a) {  // times -i
  return {a.i, -a.r};
}

using math::butterfly;

// 4 times 4. 144 additions and 24 products: no table, all indices constants.
__device__ inline void butterfly(Complex<float> (&p)[16]) {
  constexpr float c = 0.92387953251128675613f, s = 0.38268343236508977173f, h = 0.70710678118654752440f;
  Complex<float> u[4][4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    Complex<float> v[4] = {p[i], p[i + 4], p[i + 8], p[i + 12]};
    butterfly(v);
#pragma unroll
    for (int q = 0; q < 4; ++q) u[q][i] = v[q];
  }
  // e^{-2 pi i q k / 16}
  u[1][1] = u[1][1] * Complex<float>{c, -s};
  u[1][2] = Complex<float>{u[1][2].r + u[1][2].i, u[1][2].i - u[1][2].r} * h;
  u[1][3] = u[1][3] * Complex<float>{s, -c};
  u[2][1] = Complex<float>{u[2][1].r + u[2][1].i, u[2][1].i - u[2][1].r} * h;
  u[2][2] = back(u[2][2]);
  u[2][3] = Complex<float>{u[2][3].i - u[2][3].r, -u[2][3].r - u[2][3].i} * h;
  u[3][1] = u[3][1] * Complex<float>{s, -c};
  u[3][2] = Complex<float>{u[3][2].i - u[3][2].r, -u[3][2].r - u[3][2].i} * h;
  u[3][3] = u[3][3] * Complex<float>{-c, s};
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    butterfly(u[q]);
#pragma unroll
    for (int k = 0; k < 4; ++k) p[q + 4 * k] = u[q][k];
  }
}

// A times B, of points in registers; the cosines and sines of e^{-2 pi i m / (A B)} are constants of the code.
template <int A, int B>
__device__ void two_butterflies(Complex<float> (&p)[A * B], const float (&c)[A * B], const float (&s)[A * B]) {
  Complex<float> u[A][B];
#pragma unroll
  for (int i = 0; i < B; ++i) {
    Complex<float> v[A];
#pragma unroll
    for (int q = 0; q < A; ++q) v[q] = p[i + B * q];
    butterfly(v);
#pragma unroll
    for (int q = 0; q < A; ++q) u[q][i] = i * q ? v[q] * Complex<float>{c[i * q], -s[i * q]} : v[q];
  }
#pragma unroll
  for (int q = 0; q < A; ++q) {
    butterfly(u[q]);
#pragma unroll
    for (int k = 0; k < B; ++k) p[q + A * k] = u[q][k];
  }
}
__device__ inline void butterfly(Complex<float> (&p)[25]) {
  constexpr float c[25] = {1,
                           0.968583161129f,
                           0.876306680044f,
                           0.728968627421f,
                           0.535826794979f,
                           0.309016994375f,
                           0.0627905195293f,
                           -0.187381314586f,
                           -0.425779291565f,
                           -0.637423989749f,
                           -0.809016994375f,
                           -0.929776485888f,
                           -0.992114701314f,
                           -0.992114701314f,
                           -0.929776485888f,
                           -0.809016994375f,
                           -0.637423989749f,
                           -0.425779291565f,
                           -0.187381314586f,
                           0.0627905195293f,
                           0.309016994375f,
                           0.535826794979f,
                           0.728968627421f,
                           0.876306680044f,
                           0.968583161129f};
  constexpr float s[25] = {0,
                           0.248689887165f,
                           0.481753674102f,
                           0.684547105929f,
                           0.844327925502f,
                           0.951056516295f,
                           0.998026728428f,
                           0.982287250729f,
                           0.904827052466f,
                           0.770513242776f,
                           0.587785252292f,
                           0.368124552685f,
                           0.125333233564f,
                           -0.125333233564f,
                           -0.368124552685f,
                           -0.587785252292f,
                           -0.770513242776f,
                           -0.904827052466f,
                           -0.982287250729f,
                           -0.998026728428f,
                           -0.951056516295f,
                           -0.844327925502f,
                           -0.684547105929f,
                           -0.481753674102f,
                           -0.248689887165f};
  two_butterflies<5, 5>(p, c, s);
}
__device__ inline void butterfly(Complex<float> (&p)[32]) {
  constexpr float c[32] = {1,
                           0.980785280403f,
                           0.923879532511f,
                           0.831469612303f,
                           0.707106781187f,
                           0.55557023302f,
                           0.382683432365f,
                           0.195090322016f,
                           0,
                           -0.195090322016f,
                           -0.382683432365f,
                           -0.55557023302f,
                           -0.707106781187f,
                           -0.831469612303f,
                           -0.923879532511f,
                           -0.980785280403f,
                           -1,
                           -0.980785280403f,
                           -0.923879532511f,
                           -0.831469612303f,
                           -0.707106781187f,
                           -0.55557023302f,
                           -0.382683432365f,
                           -0.195090322016f,
                           0,
                           0.195090322016f,
                           0.382683432365f,
                           0.55557023302f,
                           0.707106781187f,
                           0.831469612303f,
                           0.923879532511f,
                           0.980785280403f};
  constexpr float s[32] = {0,
                           0.195090322016f,
                           0.382683432365f,
                           0.55557023302f,
                           0.707106781187f,
                           0.831469612303f,
                           0.923879532511f,
                           0.980785280403f,
                           1,
                           0.980785280403f,
                           0.923879532511f,
                           0.831469612303f,
                           0.707106781187f,
                           0.55557023302f,
                           0.382683432365f,
                           0.195090322016f,
                           0,
                           -0.195090322016f,
                           -0.382683432365f,
                           -0.55557023302f,
                           -0.707106781187f,
                           -0.831469612303f,
                           -0.923879532511f,
                           -0.980785280403f,
                           -1,
                           -0.980785280403f,
                           -0.923879532511f,
                           -0.831469612303f,
                           -0.707106781187f,
                           -0.55557023302f,
                           -0.382683432365f,
                           -0.195090322016f};
  two_butterflies<4, 8>(p, c, s);
}

template <int r, class R>
__device__ void stage(Complex<R>* x,          // [n]
                      int n, int m,           // blocks of m points
                      const Complex<R>* w) {  // [m / r, r - 1]
  const int q = m / r;
  for (int b = static_cast<int>(threadIdx.x); b < n / r; b += static_cast<int>(blockDim.x)) {
    const int j = b % q, at = b / q * m + j;
    Complex<R> p[r];
#pragma unroll
    for (int k = 0; k < r; ++k) p[k] = x[at + k * q];
    butterfly(p);
    x[at] = p[0];
#pragma unroll
    for (int k = 1; k < r; ++k) x[at + k * q] = q == 1 ? p[k] : p[k] * w[j * (r - 1) + k - 1];
  }
}

// In place by decimation in frequency: X[k] ends at order[k]. The threads of the block have met when it returns.
template <class R>
__device__ void fft(Complex<R>* x, int n, int stages, const int* radix, const Complex<R>* w) {
  int m = n;
  for (int s = 0; s < stages; ++s) {
    const int r = radix[s];
    switch (r) {
      case 2:
        stage<2>(x, n, m, w);
        break;
      case 3:
        stage<3>(x, n, m, w);
        break;
      case 4:
        stage<4>(x, n, m, w);
        break;
      case 5:
        stage<5>(x, n, m, w);
        break;
      default:
        stage<8>(x, n, m, w);
    }
    w += m / r * (r - 1);
    m /= r;
    PYASR_SYNC_BLOCK(401);
  }
}

// |X[k]|^2 and |X[n - k]|^2, k <= n / 2, of the real signal whose even and odd samples, times 1/2, became a = Z[k] and
// b = Z[n - k]; w = e^{-2 pi i k / 2n}.
template <class R>
__device__ void split(Complex<R> a, Complex<R> b, Complex<R> w, R& low, R& high) {
  const R sr = a.r + b.r, si = a.i - b.i, dr = a.r - b.r, di = a.i + b.i;
  const R gr = fma(di, w.r, dr * w.i), gi = fma(di, w.i, -(dr * w.r));
  const R pr = sr + gr, pi = si + gi, qr = sr - gr, qi = si - gi;
  low = fma(pr, pr, pi * pi);
  high = fma(qr, qr, qi * qi);
}

}  // namespace
}  // namespace pyasr::cuda

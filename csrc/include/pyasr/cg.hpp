// cg: conjugate gradients for A x = b, A symmetric positive definite, with an optional preconditioner M ~ 1 / A.
//
//   r = b - A x, z = M r, p = z;  then  alpha = r.z / p.A p   x += alpha p   r -= alpha A p   z = M r
//                                       beta = new r.z / old r.z             p = z + beta p
//
// x is kept in float64. When the recursion says that it has converged, b - A x is formed with float64 sums for the x
// that would be returned; while that is too large the method starts again on the correction. A run is scaled by a power
// of two to a residual of about 1. Martens' rule ends the only run as it is. pyasr/ops/cg.py says the same in Python.
//
// The method is written once, as a state that asks its caller for what it needs next: products with a matrix in memory
// are answered here (solve), products that only Python knows in the binding.
#pragma once
#include <cstddef>

#include "pyasr/runtime.hpp"

namespace pyasr {

enum class CgNeeds : int {
  product,       // q = A p
  residual,      // res = b - A at, in float64
  precondition,  // z = M r
  nothing,       // an iteration has been done: x may be looked at
  done,          // the solution is in best, the outcome in info
};

// Martens' rule looks back over a tenth of the iterations, at least 10 and at most so many.
constexpr long long longest_look_back = 65536;

// What of A is in memory, and is read. `full` is read as `upper` and compared with the other triangle once.
enum class CgStored : int { full, lower, upper, packed };

enum CgInfo : int { cg_breakdown = -1, cg_negative_curvature = -2, cg_not_finite = -3, cg_indefinite_m = -4 };

template <class T>
struct CgState {
  // Set by the caller before lay_out().
  const T*
      A;  // [n,n] C-contiguous, symmetric; [n(n+1)/2], the rows of the upper triangle; or null: the caller multiplies
  const T* M;  // [n,n] C-contiguous or null
  CgStored stored;
  std::size_t n;
  double rtol, atol;
  long long maxiter;
  double damping;        // A + damping I is solved
  double martens_eps;    // of Martens' rule
  bool martens;          // that rule ends the solution, not the residual
  bool scale_by_k;       // of Martens' rule
  bool flexible;         // Polak and Ribiere's beta
  bool verify;           // the residual is formed afresh
  bool guessed;          // x is not zero
  bool preconditioned;   // z comes from M or from the caller
  bool returns_rounded;  // x is returned as float32
  // Set by lay_out(), inside the workspace; then the caller writes b, and a first guess into x, which is zero.
  double* b;       // [n]
  double* x;       // [n]
  double* best;    // [n] the best verified x
  double* res;     // [n] b - A at
  double* at;      // [n] where the residual is wanted: x, rounded to what is returned (matrix-free: to T)
  double* low_x;   // [n] x at the smallest residual of the run
  T* r;            // [n]
  T* p;            // [n]
  T* q;            // [n] A p
  T* z;            // [n] M r; r itself when there is no preconditioner
  T* before;       // [n] r of the iteration before, where flexible
  double* energy;  // [look-back + 1] x.A x / 2 - b.x of the last iterations, where Martens' rule is asked
  void* scratch;   // what the products use
  // The outcome, and the method's own bookkeeping.
  long long info, iterations;
  double tolerance, length, started, unit, target, rr, rz, low_rr, share, operator_norm;
  double first_length, best_length, best_energy;
  double length_in_m, steepest;   // p.M^-1 p, and the largest p.A p / p.M^-1 p so far
  double with_p, way_in_m, lift;  // of the way d of the run: d.M^-1 p, d.M^-1 d and d.A d
  int phase;
  bool stopped;      // the residual of the recursion is small enough, or Martens' rule says so
  bool unsymmetric;  // done, because the two triangles of A disagree
  bool symmetric;    // A has been tested, or one triangle of it is all there is
};

template <class T>
struct CgOf {
  // Bytes of workspace, 64-byte aligned.
  std::size_t (*workspace_bytes)(const CgState<T>& state) noexcept;
  // Lays out the workspace and fills x with zeros; the caller then writes b, and a first guess into x.
  void (*lay_out)(CgState<T>& state, void* workspace) noexcept;
  // What is needed next. Call it again when that is there.
  CgNeeds (*next)(CgState<T>& state, const Runtime& runtime) noexcept;
  // Answers of a matrix in memory: q = A p, res = b - A at and z = M r.
  void (*product)(CgState<T>& state, const Runtime& runtime) noexcept;
  void (*residual)(CgState<T>& state, const Runtime& runtime) noexcept;
  void (*precondition)(CgState<T>& state, const Runtime& runtime) noexcept;
  // The whole solution with A, and M if any, in memory. Returns early, not done, when the runtime says stop.
  void (*solve)(CgState<T>& state, const Runtime& runtime) noexcept;
};

struct Cg {
  CgOf<float> f32;
  CgOf<double> f64;
};

}  // namespace pyasr

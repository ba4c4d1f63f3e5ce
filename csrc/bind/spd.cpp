#include "pyasr/spd.hpp"

#include <limits>
#include <vector>

#include "bind/array.hpp"
#include "bind/function.hpp"
#include "pyasr/cg.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

enum Method : int { automatic, cholesky, conjugate_gradients };

// body(i, worker) for every system: in parallel over them, or with all threads for a single one.
template <class Body>
void over_systems(std::size_t systems, const Runtime& runtime, Body& body) {
  if (systems == 1) return body(0, 0);
  runtime.run(
      runtime.self, runtime.threads, static_cast<long>(systems),
      [](void* arg, long i, int worker) noexcept { (*static_cast<Body*>(arg))(i, worker); }, &body);
}

// Conjugate gradients; ended[i] is their outcome.
template <class T>
void iterate(const Door& door, const CgOf<T>& op, const SpdArgs<T>& a, double rtol, long long maxiter,
             std::vector<long long>& ended, int threads) {
  CgState<T> first{};
  first.A = a.A;
  first.stored = CgStored::lower;
  first.n = a.n;
  first.rtol = rtol;
  first.maxiter = maxiter;
  first.verify = true;
  first.returns_rounded = sizeof(T) == 4;
  const std::size_t n = a.n, each = (op.workspace_bytes(first) + 63) / 64 * 64;
  const std::int64_t workers = a.B > 1 ? threads : 1;
  const auto scratch = new_scratch(door.product({workers, static_cast<std::int64_t>(each)}));
  run_released(threads, [&](const Runtime& runtime) {
    auto body = [&](long k, int worker) {
      const std::size_t i = static_cast<std::size_t>(k);
      CgState<T> s = first;
      s.A += i * n * n;
      op.lay_out(s, static_cast<char*>(scratch.get()) + static_cast<std::size_t>(worker) * each);
      for (std::size_t j = 0; j < n; ++j) s.b[j] = static_cast<double>(a.b[i * n + j]);
      // What a diagonal that is not positive tells at once, b may not ask for.
      for (std::size_t j = 0; j < n && s.info != cg_not_finite; ++j) {
        const T d = s.A[j * (n + 1)];
        if (!(d > 0 && d - d == 0)) s.info = d - d == 0 ? cg_breakdown : cg_not_finite;
      }
      if (!s.info) op.solve(s, runtime);
      ended[i] = s.info;
      for (std::size_t j = 0; j < n; ++j) a.x[i * n + j] = static_cast<T>(s.best[j]);
    };
    over_systems(a.B, runtime, body);
  });
}

template <class T>
void factorize(const SpdOf<T>& op, const SpdArgs<T>& a, int threads) {
  const auto scratch = new_scratch(op.workspace_bytes(a.B, a.n, threads));
  run_released(threads, [&](const Runtime& runtime) { op.solve(a, scratch.get(), runtime); });
}

void refuse_indefinite(const Door& door, std::int64_t minor, const std::string& where) {
  if (minor)
    door.value_error("A must be positive definite, got a leading minor of order " + std::to_string(minor) +
                     " that is not positive and finite" + where);
}

void refuse_unsolved(const Door& door, long long info, const std::string& where) {
  if (info == cg_not_finite) door.value_error("A and b must be finite, got a NaN or an infinity" + where);
  if (info < 0) door.value_error("A must be positive definite, got one that is singular or indefinite" + where);
  if (info > 0)
    door.value_error("rtol must be within reach of conjugate gradients, got none in " + std::to_string(info) +
                     " iterations" + where);
}

template <class T>
py::array run(Door& door, const CgOf<T>& cg, const SpdOf<T>& spd, py::handle A, py::handle b, py::handle method_,
              py::handle rtol_, py::handle threads) {
  const bool batched = py::isinstance<py::array>(A) && py::reinterpret_borrow<py::array>(A).ndim() == 3;
  SpdArgs<T> a{};
  a.A = door.read<T>("A", A, batched ? "B P P" : "P P");
  a.b = door.read<T>("b", b, batched ? "B P" : "P");
  const int method = door.choice("method", method_, {"auto", "cholesky", "cg"});
  const double rtol = rtol_.is_none() ? (sizeof(T) == 4                  ? 1e-5
                                         : method == conjugate_gradients ? 1e-10
                                                                         : 1e-13)
                                      : door.real_in("rtol", rtol_, 0, std::numeric_limits<double>::max());
  const int workers = door.threads(threads);
  const std::int64_t n = door["P"], B = batched ? door["B"] : 1;
  a.n = static_cast<std::size_t>(n);
  a.B = static_cast<std::size_t>(B);
  py::array x = batched ? new_array<T>({B, n}) : new_array<T>({n});
  a.x = data<T>(x);
  auto where = [&](std::size_t i) { return batched ? " in system " + std::to_string(i) : std::string(); };

  std::vector<std::int64_t> minor(a.B, 0);
  a.minor = minor.data();
  if (method == cholesky || (method == automatic && n < spd_iterates_from)) {
    factorize(spd, a, workers);
    for (std::size_t i = 0; i < a.B; ++i) refuse_indefinite(door, minor[i], where(i));
    return x;
  }
  std::vector<long long> ended(a.B, 0);
  iterate(door, cg, a, rtol, method == automatic ? n / spd_size_per_iteration : 10 * n, ended, workers);
  for (std::size_t i = 0; i < a.B; ++i) {
    if (ended[i] == 0) continue;
    if (method == conjugate_gradients) refuse_unsolved(door, ended[i], where(i));
    SpdArgs<T> one = a;
    one.A += i * a.n * a.n;
    one.b += i * a.n;
    one.x += i * a.n;
    one.minor += i;
    one.B = 1;
    factorize(spd, one, workers);
    refuse_indefinite(door, minor[i], where(i));
  }
  return x;
}

py::array spd_solve(py::handle A, py::handle b, py::handle method, py::handle rtol, py::handle threads) {
  Door door("spd_solve");
  const cpu::Table& table = kernels();
  return door.float_type("b", b) == 'd' ? run(door, table.cg->f64, table.spd->f64, A, b, method, rtol, threads)
                                        : run(door, table.cg->f32, table.spd->f32, A, b, method, rtol, threads);
}

}  // namespace

void bind_spd(py::module_& m) {
  def(m, "spd_solve", &spd_solve,
      {"A"_a, "b"_a, py::kw_only(), "method"_a = "auto", "rtol"_a = py::none(), "threads"_a = py::none()});
}

}  // namespace pyasr::bind

#include "pyasr/cg.hpp"

#include <cstring>
#include <limits>
#include <type_traits>

#include "bind/array.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

constexpr double most = std::numeric_limits<double>::max();

// What the caller of cg gave for A or M: an array, or something that multiplies vectors.
struct Operator {
  const char* name;
  py::object call;  // v [n] -> its product [n]; null when it is an array or absent

  Operator(const Door& door, const char* name_, py::handle x) : name(name_) {
    if (py::isinstance<py::array>(x) || x.is_none()) {
      if (x.is_none() && name[0] == 'A') refuse(door, x);
    } else if (PyType_Check(x.ptr())) {
      refuse(door, x);
    } else if (py::hasattr(x, "matvec")) {
      call = x.attr("matvec");
    } else if (PyCallable_Check(x.ptr())) {
      call = py::reinterpret_borrow<py::object>(x);
    } else if (py::hasattr(x, "__matmul__")) {
      call = x.attr("__matmul__");
    } else {
      refuse(door, x);
    }
  }

  [[noreturn]] void refuse(const Door& door, py::handle x) const {
    door.type_error(std::string(name) + " must be a NumPy array, a callable or an object with matvec or @, got " +
                    py::cast<std::string>(py::type::of(x).attr("__name__")));
  }

  // The product with v [n], which the callee gets in an array of its own. body(const U* product) for U float or double.
  template <class T, class V, class Body>
  void multiply(const Door& door, const V* v, std::size_t n, const Body& body) const {
    auto argument = new_array<T>({static_cast<std::int64_t>(n)});
    T* to = data<T>(argument);
    for (std::size_t i = 0; i < n; ++i) to[i] = static_cast<T>(v[i]);
    static const py::handle asarray = py::object(py::module_::import("numpy").attr("ascontiguousarray")).release();
    const py::object returned = call(argument);
    auto array = py::isinstance<py::array>(returned)
                     ? py::reinterpret_borrow<py::array>(returned)
                     : py::reinterpret_borrow<py::array>(py::module_::import("numpy").attr("asarray")(returned));
    const char kind = array.dtype().kind();
    const auto bytes = array.itemsize();
    if (kind != 'f' || (bytes != 4 && bytes != 8) || array.dtype().byteorder() == '>')
      door.type_error(std::string(name) + " must return float32 or float64 numbers, got " +
                      py::cast<std::string>(array.dtype().attr(array.dtype().byteorder() == '>' ? "str" : "name")));
    if (array.ndim() != 1 || static_cast<std::size_t>(array.shape(0)) != n)
      door.value_error(std::string(name) + " must return shape (" + std::to_string(n) + ",), got " +
                       py::cast<std::string>(py::str(array.attr("shape"))));
    if (!(array.flags() & py::array::c_style) || !(array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_))
      array = py::reinterpret_borrow<py::array>(asarray(array.attr("copy")()));
    if (bytes == 4)
      body(static_cast<const float*>(array.data()));
    else
      body(static_cast<const double*>(array.data()));
  }
};

py::array vector_of(const double* x, std::size_t n, bool as_float) {
  py::array out = new_array(as_float ? 'f' : 'd', {static_cast<std::int64_t>(n)});
  if (as_float)
    for (std::size_t i = 0; i < n; ++i) data<float>(out)[i] = static_cast<float>(x[i]);
  else
    std::memcpy(out.mutable_data(), x, n * sizeof(double));
  return out;
}

// The loop of a solution in which Python is asked for products or told about iterations.
template <class T>
void solve_with_python(const Door& door, const CgOf<T>& op, CgState<T>& s, const Operator& A, const Operator& M,
                       py::handle callback, int threads) {
  for (;;) {
    CgNeeds needs = CgNeeds::done;
    run_released(threads, [&](const Runtime& runtime) {
      needs = op.next(s, runtime);
      if (needs == CgNeeds::product && s.A) op.product(s, runtime);
      if (needs == CgNeeds::residual && s.A) op.residual(s, runtime);
      if (needs == CgNeeds::precondition && s.M) op.precondition(s, runtime);
    });
    if (needs == CgNeeds::done) return;
    if (needs == CgNeeds::product && !s.A)
      A.multiply<T>(door, s.p, s.n, [&](const auto* y) {
        for (std::size_t i = 0; i < s.n; ++i) s.q[i] = static_cast<T>(y[i]);
      });
    if (needs == CgNeeds::residual && !s.A)
      A.multiply<T>(door, s.at, s.n, [&](const auto* y) {
        for (std::size_t i = 0; i < s.n; ++i) s.res[i] = static_cast<double>(s.b[i]) - static_cast<double>(y[i]);
      });
    if (needs == CgNeeds::precondition && !s.M)
      M.multiply<T>(door, s.r, s.n, [&](const auto* y) {
        for (std::size_t i = 0; i < s.n; ++i) s.z[i] = static_cast<T>(y[i]);
      });
    if (needs == CgNeeds::nothing && !callback.is_none()) callback(vector_of(s.x, s.n, s.returns_rounded));
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

template <class T>
py::tuple run(Door& door, const CgOf<T>& op, py::handle A_, py::handle b, py::handle x0, py::handle rtol,
              py::handle atol, py::handle maxiter, py::handle M_, py::handle callback, py::handle threads) {
  CgState<T> s{};
  s.b = door.read<T>("b", b, "P");
  const std::int64_t n = door["P"];
  s.n = static_cast<std::size_t>(n);
  const Operator A(door, "A", A_);
  if (!A.call) s.A = door.read<T>("A", A_, "P P");
  const bool wide_guess = !x0.is_none() && std::is_same_v<T, float> && door.type_of("x0", x0, "fd") == 'd';
  const T* guess = wide_guess ? nullptr : door.read_optional<T>("x0", x0, "P");
  const double* guess64 = wide_guess ? door.read<double>("x0", x0, "P") : nullptr;
  s.rtol = door.real_in("rtol", rtol, 0, most);
  s.atol = door.real_in("atol", atol, 0, most);
  s.maxiter =
      maxiter.is_none() ? 10 * n : door.integer_in("maxiter", maxiter, 1, std::numeric_limits<std::int64_t>::max());
  const Operator M(door, "M", M_);
  if (!M.call && !M_.is_none()) s.M = door.read<T>("M", M_, "P P");
  if (!callback.is_none() && (PyType_Check(callback.ptr()) || !PyCallable_Check(callback.ptr())))
    door.type_error("callback must be None or a callable, got " +
                    py::cast<std::string>(py::type::of(callback).attr("__name__")));
  const int workers = door.threads(threads);

  s.preconditioned = s.M || M.call;
  s.returns_rounded = std::is_same_v<T, float> && !wide_guess;
  s.guessed = !x0.is_none();
  const auto scratch = new_scratch(op.workspace_bytes(s.n, s.A != nullptr));
  op.lay_out(s, scratch.get());
  if (s.guessed)
    for (std::size_t i = 0; i < s.n; ++i) s.x[i] = wide_guess ? guess64[i] : static_cast<double>(guess[i]);
  if (A.call || M.call || !callback.is_none())
    solve_with_python(door, op, s, A, M, callback, workers);
  else
    run_released(workers, [&](const Runtime& runtime) { op.solve(s, runtime); });
  if (s.unsymmetric) door.value_error("A must be symmetric, got a matrix whose two triangles disagree");
  return py::make_tuple(vector_of(s.best, s.n, s.returns_rounded), s.info);
}

py::tuple cg(py::handle A, py::handle b, py::handle x0, py::handle rtol, py::handle atol, py::handle maxiter,
             py::handle M, py::handle callback, py::handle threads) {
  Door door("cg");
  const Cg& op = *kernels().cg;
  return door.float_type("b", b) == 'd' ? run(door, op.f64, A, b, x0, rtol, atol, maxiter, M, callback, threads)
                                        : run(door, op.f32, A, b, x0, rtol, atol, maxiter, M, callback, threads);
}

}  // namespace

void bind_cg(py::module_& m) {
  m.def("cg", &cg, "A"_a, "b"_a, "x0"_a = py::none(), py::kw_only(), "rtol"_a = 1e-5, "atol"_a = 0.0,
        "maxiter"_a = py::none(), "M"_a = py::none(), "callback"_a = py::none(), "threads"_a = py::none());
}

}  // namespace pyasr::bind

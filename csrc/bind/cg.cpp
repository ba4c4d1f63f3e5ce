#include "pyasr/cg.hpp"

#include <cstring>
#include <limits>
#include <type_traits>

#include "bind/array.hpp"
#include "bind/function.hpp"

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

// x as float32 or float64 from entry `begin` of an array.
void copy_as(const double* x, std::size_t n, bool as_float, void* out, std::size_t begin) {
  if (as_float)
    for (std::size_t i = 0; i < n; ++i) static_cast<float*>(out)[begin + i] = static_cast<float>(x[i]);
  else
    std::memcpy(static_cast<double*>(out) + begin, x, n * sizeof(double));
}

py::array vector_of(const double* x, std::size_t n, bool as_float) {
  py::array out = new_array(as_float ? 'f' : 'd', {static_cast<std::int64_t>(n)});
  copy_as(x, n, as_float, out.mutable_data(), 0);
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
        for (std::size_t i = 0; i < s.n; ++i) s.res[i] = s.b[i] - static_cast<double>(y[i]);
      });
    if (needs == CgNeeds::precondition && !s.M)
      M.multiply<T>(door, s.r, s.n, [&](const auto* y) {
        for (std::size_t i = 0; i < s.n; ++i) s.z[i] = static_cast<T>(y[i]);
      });
    if (needs == CgNeeds::nothing && !callback.is_none()) callback(vector_of(s.x, s.n, s.returns_rounded));
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

// The arguments as Python gave them.
struct Given {
  py::handle A, b, x0, rtol, atol, maxiter, M, callback, damping, stop, martens_eps, scale_by_k, flexible, verify,
      on_indefinite, threads;
};

// A vector of either float type.
struct Vector {
  const float* narrow = nullptr;
  const double* wide = nullptr;

  Vector() = default;
  Vector(Door& door, const char* name, py::handle x, const char* dims) {
    if (door.float_type(name, x) == 'd')
      wide = door.read<double>(name, x, dims);
    else
      narrow = door.read<float>(name, x, dims);
  }
  // n entries from the one at `begin`
  void copy_to(double* to, std::size_t n, std::size_t begin = 0) const {
    for (std::size_t i = 0; i < n; ++i) to[i] = wide ? wide[begin + i] : static_cast<double>(narrow[begin + i]);
  }
};

// The vectors of an operator are float64 where b is, or where its dtype, if it has one of real numbers, makes them so.
bool is_wide_over(py::handle A, const Vector& b) {
  const py::object dtype = b.wide ? py::none() : py::getattr(A, "dtype", py::none());
  if (!py::isinstance<py::dtype>(dtype) || !std::strchr("biuf", py::reinterpret_borrow<py::dtype>(dtype).kind()))
    return b.wide != nullptr;
  const py::object common = py::module_::import("numpy").attr("result_type")(dtype, py::dtype::of<float>());
  return !common.equal(py::dtype::of<float>());
}

void refuse_indefinite(const Door& door, long long info, const std::string& where) {
  if (info == cg_breakdown)
    door.value_error("A must be positive definite, got one that is singular or indefinite: p.Ap vanished" + where);
  if (info == cg_negative_curvature) door.value_error("A must be positive definite, got p.Ap < 0" + where);
  if (info == cg_indefinite_m) door.value_error("M must be positive definite, got r.Mr <= 0" + where);
}

[[noreturn]] void refuse_asymmetric(const Door& door, const std::string& where) {
  door.value_error(
      "A must be symmetric, or symmetric=\"upper\" or \"lower\" be chosen, got a matrix whose two triangles disagree" +
      where);
}

// Every system on its own, in parallel over the systems; `first` is the state of the first.
template <class T>
py::tuple solve_batch(const Door& door, const CgOf<T>& op, const CgState<T>& first, const Vector& b, const Vector& x0,
                      std::size_t systems, bool raises, int threads) {
  const std::size_t n = first.n, size = first.stored == CgStored::packed ? n * (n + 1) / 2 : n * n;
  py::array out =
      new_array(first.returns_rounded ? 'f' : 'd', {static_cast<std::int64_t>(systems), static_cast<std::int64_t>(n)});
  py::array info = new_array<std::int64_t>({static_cast<std::int64_t>(systems)});
  const std::size_t each = (op.workspace_bytes(first) + 63) / 64 * 64;
  if (static_cast<std::size_t>(threads) > systems) threads = systems ? static_cast<int>(systems) : 1;
  const auto scratch = new_scratch(door.product({threads, static_cast<std::int64_t>(each)}));
  constexpr std::int64_t asymmetric = std::numeric_limits<std::int64_t>::min();

  void* const x = out.mutable_data();
  std::int64_t* const ended = data<std::int64_t>(info);
  run_released(threads, [&](const Runtime& runtime) {
    auto body = [&](long k, int worker) {
      const std::size_t i = static_cast<std::size_t>(k);
      CgState<T> s = first;
      s.A += i * size;
      if (s.M) s.M += i * n * n;
      op.lay_out(s, static_cast<char*>(scratch.get()) + static_cast<std::size_t>(worker) * each);
      b.copy_to(s.b, n, i * n);
      if (s.guessed) x0.copy_to(s.x, n, i * n);
      op.solve(s, runtime);
      ended[i] = s.unsymmetric ? asymmetric : s.info;
      copy_as(s.best, n, s.returns_rounded, x, i * n);
    };
    runtime.run(
        runtime.self, runtime.threads, static_cast<long>(systems),
        [](void* arg, long k, int worker) noexcept { (*static_cast<decltype(body)*>(arg))(k, worker); }, &body);
  });
  for (std::size_t i = 0; i < systems; ++i) {
    const std::string where = " in system " + std::to_string(i);
    if (ended[i] == asymmetric) refuse_asymmetric(door, where);
    if (raises) refuse_indefinite(door, ended[i], where);
  }
  return py::make_tuple(out, info);
}

template <class T>
py::tuple run(Door& door, const CgOf<T>& op, const Given& g, CgStored stored, bool batched, const Vector& b,
              const Operator& A) {
  CgState<T> s{};
  const std::int64_t n = door["P"];
  s.n = static_cast<std::size_t>(n);
  s.stored = stored;
  if (!A.call && stored == CgStored::packed) {
    door.bind("Q", n * (n + 1) / 2, "P*(P+1)/2");
    s.A = door.read<T>("A", g.A, batched ? "B Q" : "Q");
  } else if (!A.call) {
    s.A = door.read<T>("A", g.A, batched ? "B P P" : "P P");
  }
  const Vector x0 = g.x0.is_none() ? Vector() : Vector(door, "x0", g.x0, batched ? "B P" : "P");
  s.rtol = door.real_in("rtol", g.rtol, 0, most);
  s.atol = door.real_in("atol", g.atol, 0, most);
  s.maxiter =
      g.maxiter.is_none() ? 10 * n : door.integer_in("maxiter", g.maxiter, 1, std::numeric_limits<std::int64_t>::max());
  if (batched && !g.M.is_none()) s.M = door.read<T>("M", g.M, "B P P");
  const Operator M(door, "M", g.M);
  if (!batched && !M.call && !g.M.is_none()) s.M = door.read<T>("M", g.M, "P P");
  if (!g.callback.is_none() && (batched || PyType_Check(g.callback.ptr()) || !PyCallable_Check(g.callback.ptr())))
    door.type_error(std::string("callback must be None") + (batched ? " with a batch of systems" : " or a callable") +
                    ", got " + type_name(g.callback));
  s.damping = door.real_in("damping", g.damping, 0, 1e30);
  s.martens = door.choice("stop", g.stop, {"residual", "martens"}) == 1;
  s.martens_eps = door.real_in("martens_eps", g.martens_eps, 0, most);
  s.scale_by_k = door.boolean("scale_by_k", g.scale_by_k);
  s.flexible = door.boolean("flexible", g.flexible);
  s.verify = door.boolean("verify", g.verify);
  const bool raises = door.choice("on_indefinite", g.on_indefinite, {"stop", "raise"}) == 1;
  const int workers = door.threads(g.threads);

  s.preconditioned = s.M || M.call;
  s.returns_rounded = std::is_same_v<T, float> && b.narrow;
  s.guessed = !g.x0.is_none();
  if (batched) return solve_batch(door, op, s, b, x0, static_cast<std::size_t>(door["B"]), raises, workers);
  const auto scratch = new_scratch(op.workspace_bytes(s));
  op.lay_out(s, scratch.get());
  b.copy_to(s.b, s.n);
  if (s.guessed) x0.copy_to(s.x, s.n);
  if (A.call || M.call || !g.callback.is_none())
    solve_with_python(door, op, s, A, M, g.callback, workers);
  else
    run_released(workers, [&](const Runtime& runtime) { op.solve(s, runtime); });
  if (s.unsymmetric) refuse_asymmetric(door, "");
  if (raises) refuse_indefinite(door, s.info, "");
  return py::make_tuple(vector_of(s.best, s.n, s.returns_rounded), s.info);
}

py::tuple cg(py::handle A, py::handle b, py::handle x0, py::handle rtol, py::handle atol, py::handle maxiter,
             py::handle M, py::handle callback, py::handle symmetric, py::handle damping, py::handle stop,
             py::handle martens_eps, py::handle scale_by_k, py::handle flexible, py::handle verify,
             py::handle on_indefinite, py::handle threads) {
  Door door("cg");
  const Given g{A,    b,           x0,         rtol,     atol,   maxiter,       M,      callback, damping,
                stop, martens_eps, scale_by_k, flexible, verify, on_indefinite, threads};
  const Cg& op = *kernels().cg;
  const auto stored = static_cast<CgStored>(door.choice("symmetric", symmetric, {"full", "lower", "upper", "packed"}));
  auto dims = [](py::handle x) {
    return py::isinstance<py::array>(x) ? py::reinterpret_borrow<py::array>(x).ndim() : -1;
  };
  const bool batched = dims(b) == 2 && dims(A) == (stored == CgStored::packed ? 2 : 3);
  const Vector right(door, "b", b, batched ? "B P" : "P");
  const Operator product(door, "A", A);
  const bool wide = product.call ? is_wide_over(A, right) : door.float_type("A", A) == 'd';
  return wide ? run(door, op.f64, g, stored, batched, right, product)
              : run(door, op.f32, g, stored, batched, right, product);
}

}  // namespace

void bind_cg(py::module_& m) {
  def(m, "cg", &cg,
      {"A"_a, "b"_a, "x0"_a = py::none(), py::kw_only(), "rtol"_a = 1e-5, "atol"_a = 0.0, "maxiter"_a = py::none(),
       "M"_a = py::none(), "callback"_a = py::none(), "symmetric"_a = "full", "damping"_a = 0.0, "stop"_a = "residual",
       "martens_eps"_a = 5e-4, "scale_by_k"_a = true, "flexible"_a = false, "verify"_a = true,
       "on_indefinite"_a = "stop", "threads"_a = py::none()});
}

}  // namespace pyasr::bind

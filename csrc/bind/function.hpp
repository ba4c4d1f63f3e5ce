// Functions of the module by Python's own fast calling convention. pybind11's dispatcher makes a string of every
// parameter's name in every call, which is half of a call that updates a small vector or takes 20 ms of audio.
// Parameters are plain objects, which the function's Door checks, so nothing is converted here.
#pragma once
#include <initializer_list>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "bind/array.hpp"

namespace pyasr::bind {

using Parameter = std::variant<py::arg, py::arg_v, py::kw_only>;

// What one function takes; lives as long as the module.
class Signature {
 public:
  using Invoke = PyObject* (*)(void (*target)(), PyObject* const* values);

  Signature(const char* name, void (*target)(), Invoke invoke, std::size_t count,
            std::initializer_list<Parameter> parameters);
  // Adds the function to the module; called once, on an object that is never freed.
  void add_to(py::module_& m);

 private:
  static PyObject* call(PyObject* self, PyObject* const* args, Py_ssize_t given, PyObject* names) noexcept;
  PyObject* run(PyObject* const* args, std::size_t given, PyObject* names) const;
  std::size_t place(PyObject* name) const;  // of the parameter of that name
  [[noreturn]] void refuse(const std::string& text) const { throw py::type_error(name_ + ": " + text); }

  std::string name_, text_;
  void (*target_)();
  Invoke invoke_;
  std::vector<py::object> names_, defaults_;  // interned; null: required
  std::size_t positional_ = 0;
  PyMethodDef method_{};
};

namespace detail {

template <class P>
P plain(PyObject* x) {
  static_assert(std::is_same_v<P, py::handle> || std::is_same_v<P, py::object>, "parameters are plain objects");
  if constexpr (std::is_same_v<P, py::object>)
    return py::reinterpret_borrow<py::object>(x);
  else
    return x;
}

template <class R, class... P, std::size_t... I>
void def(py::module_& m, const char* name, R (*f)(P...), std::index_sequence<I...>,
         std::initializer_list<Parameter> parameters) {
  const auto invoke = [](void (*target)(), PyObject* const* values) -> PyObject* {
    const auto function = reinterpret_cast<R (*)(P...)>(target);
    if constexpr (std::is_void_v<R>) {
      function(plain<P>(values[I])...);
      return py::none().release().ptr();
    } else {
      return py::object(function(plain<P>(values[I])...)).release().ptr();
    }
  };
  (new Signature(name, reinterpret_cast<void (*)()>(f), invoke, sizeof...(P), parameters))->add_to(m);
}

template <class R, class... P>
void def(py::module_& m, const char* name, R (*f)(P...), std::initializer_list<Parameter> parameters) {
  def(m, name, f, std::index_sequence_for<P...>{}, parameters);
}

}  // namespace detail

// As module_::def, for a function (or a lambda without captures) of py::handle:
//   def(m, "cg", &cg, {"A"_a, "b"_a, "x0"_a = py::none(), py::kw_only(), "rtol"_a = 1e-5});
template <class F>
void def(py::module_& m, const char* name, F f, std::initializer_list<Parameter> parameters) {
  detail::def(m, name, +f, parameters);
}

}  // namespace pyasr::bind

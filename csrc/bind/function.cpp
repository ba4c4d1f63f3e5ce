#include "bind/function.hpp"

#include <new>

namespace pyasr::bind {
namespace {

constexpr std::size_t most_parameters = 32;

}  // namespace

Signature::Signature(const char* name, void (*target)(), Invoke invoke, std::size_t count,
                     std::initializer_list<Parameter> parameters)
    : name_(name), target_(target), invoke_(invoke) {
  bool keyword_only = false;
  text_ = name_ + "(";
  for (const Parameter& p : parameters) {
    if (!names_.empty() || keyword_only) text_ += ", ";
    if (std::holds_alternative<py::kw_only>(p)) {
      keyword_only = true;
      text_ += "*";
      continue;
    }
    const auto* const optional = std::get_if<py::arg_v>(&p);
    const char* const parameter = optional ? optional->name : std::get<py::arg>(p).name;
    PyObject* const interned = PyUnicode_InternFromString(parameter);
    if (!interned) throw py::error_already_set();
    names_.push_back(py::reinterpret_steal<py::object>(interned));
    defaults_.push_back(optional ? optional->value : py::object());
    text_ += parameter;
    if (optional) text_ += "=" + py::cast<std::string>(py::repr(optional->value));
    if (!keyword_only) ++positional_;
  }
  text_ += ")\n--\n\n";  // from which Python makes __text_signature__
  if (names_.size() != count || count > most_parameters) throw std::logic_error(name_ + ": wrong number of names");
}

void Signature::add_to(py::module_& m) {
  method_ = {name_.c_str(), reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call)),
             METH_FASTCALL | METH_KEYWORDS, text_.c_str()};
  PyObject* const capsule = PyCapsule_New(this, nullptr, nullptr);
  if (!capsule) throw py::error_already_set();
  const auto self = py::reinterpret_steal<py::object>(capsule);
  PyObject* const function = PyCFunction_NewEx(&method_, self.ptr(), py::object(m.attr("__name__")).ptr());
  if (!function) throw py::error_already_set();
  m.attr(name_.c_str()) = py::reinterpret_steal<py::object>(function);
}

std::size_t Signature::place(PyObject* name) const {
  for (std::size_t i = 0; i < names_.size(); ++i)
    if (names_[i].ptr() == name) return i;  // literals in a caller's source are interned
  for (std::size_t i = 0; i < names_.size(); ++i)
    if (PyUnicode_Compare(names_[i].ptr(), name) == 0) return i;
  refuse("there is no argument " + py::cast<std::string>(py::repr(name)));
}

PyObject* Signature::run(PyObject* const* args, std::size_t given, PyObject* names) const {
  PyObject* values[most_parameters] = {};
  if (given > positional_)
    refuse("takes at most " + std::to_string(positional_) + " positional arguments, got " + std::to_string(given));
  for (std::size_t i = 0; i < given; ++i) values[i] = args[i];
  const Py_ssize_t keywords = names ? PyTuple_GET_SIZE(names) : 0;
  for (Py_ssize_t k = 0; k < keywords; ++k) {
    PyObject* const name = PyTuple_GET_ITEM(names, k);
    PyObject*& value = values[place(name)];
    if (value) refuse("got the argument " + py::cast<std::string>(name) + " twice");
    value = args[given + static_cast<std::size_t>(k)];
  }
  for (std::size_t i = 0; i < names_.size(); ++i) {
    if (!values[i]) values[i] = defaults_[i].ptr();
    if (!values[i]) refuse("needs the argument " + py::cast<std::string>(names_[i]));
  }
  return invoke_(target_, values);
}

PyObject* Signature::call(PyObject* self, PyObject* const* args, Py_ssize_t given, PyObject* names) noexcept {
  try {
    const auto* const signature = static_cast<const Signature*>(PyCapsule_GetPointer(self, nullptr));
    return signature->run(args, static_cast<std::size_t>(given), names);
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (const py::builtin_exception& e) {
    e.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
  return nullptr;
}

}  // namespace pyasr::bind

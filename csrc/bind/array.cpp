#include "bind/array.hpp"

#include <cxxabi.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace pyasr::bind {

std::string type_name(py::handle x) { return py::cast<std::string>(py::type::of(x).attr("__name__")); }

bool is_text(py::handle x, const char* text) {
  return PyUnicode_Check(x.ptr()) && PyUnicode_CompareWithASCIIString(x.ptr(), text) == 0;
}

bool is_plain(py::handle x) {
  if (x.get_type().ptr() == reinterpret_cast<PyObject*>(py::detail::npy_api::get().PyArray_Type_)) return true;
  if (!py::isinstance<py::array>(x) || py::isinstance(x, py::module_::import("numpy").attr("matrix"))) return false;
  const py::dict modules = py::module_::import("sys").attr("modules");
  return !modules.contains("numpy.ma") || !py::isinstance(x, modules["numpy.ma"].attr("MaskedArray"));
}

namespace {

// numpy.<name>, such as "integer", the parent of NumPy's integer scalars
py::object numpy_type(const char* name) { return py::module_::import("numpy").attr(name); }

// A Python number of that kind or a NumPy scalar; bool is neither.
bool is_number(py::handle x, const char* kind, bool python) {
  return !PyBool_Check(x.ptr()) && (python || py::isinstance(x, numpy_type(kind)));
}

const char* dtype_name(char type) {
  switch (type) {
    case 'f':
      return "float32";
    case 'd':
      return "float64";
    case 'h':
      return "int16";
    case 'i':
      return "int32";
    default:
      return "int64";
  }
}

// NumPy spells one type differently per platform ('l' and 'q' are both 8 bytes on Linux): compare kind and size.
char canonical(const py::dtype& d) {
  const char order = d.byteorder();
  if (order != '=' && order != '|') return '?';
  if (d.kind() == 'f') return d.itemsize() == 4 ? 'f' : d.itemsize() == 8 ? 'd' : '?';
  if (d.kind() == 'i') return d.itemsize() == 2 ? 'h' : d.itemsize() == 4 ? 'i' : d.itemsize() == 8 ? 'q' : '?';
  return '?';
}

std::string shape_text(const py::array& a) {
  std::string s = "(";
  for (py::ssize_t i = 0; i < a.ndim(); ++i) s += (i ? ", " : "") + std::to_string(a.shape(i));
  return s + (a.ndim() == 1 ? ",)" : ")");
}

struct Factor {
  std::int64_t times;
  std::string times_dim;  // the dim that gives `times`, as S in S*H; else empty
  std::string name;       // empty: a fixed size
};

bool digit(char c) { return c >= '0' && c <= '9'; }

std::vector<Factor> parse(const char* dims) {
  std::vector<Factor> out;
  for (const char* p = dims; *p;) {
    while (*p == ' ') ++p;
    if (!*p) break;
    const char* end = p;
    while (*end && *end != ' ') ++end;
    std::string word(p, end);
    Factor f{1, "", word};
    if (const auto star = word.find('*'); star != std::string::npos) {
      f.name = word.substr(star + 1);
      if (digit(word[0]))
        f.times = std::stoll(word.substr(0, star));
      else
        f.times_dim = word.substr(0, star);
    } else if (digit(word[0])) {
      f = {std::stoll(word), "", ""};
    }
    out.push_back(f);
    p = end;
  }
  return out;
}

std::string dims_text(const std::vector<Factor>& factors) {
  std::string s = "(";
  for (std::size_t i = 0; i < factors.size(); ++i) {
    if (i) s += ", ";
    if (factors[i].name.empty())
      s += std::to_string(factors[i].times);
    else
      s += (!factors[i].times_dim.empty() ? factors[i].times_dim + "*"
            : factors[i].times != 1       ? std::to_string(factors[i].times) + "*"
                                          : "") +
           factors[i].name;
  }
  return s + (factors.size() == 1 ? ",)" : ")");
}

}  // namespace

char Door::type_of(const char* name, py::handle x, const char* allowed) const {
  if (!is_plain(x)) type_error(std::string(name) + " must be a NumPy array, got " + type_name(x));
  const char type = canonical(py::reinterpret_borrow<py::array>(x).dtype());
  if (type != '?' && std::strchr(allowed, type)) return type;
  std::string wanted;
  for (const char* p = allowed; *p; ++p) wanted += (p == allowed ? "" : " or ") + std::string(dtype_name(*p));
  const auto dtype = py::reinterpret_borrow<py::array>(x).dtype();
  type_error(std::string(name) + " must have dtype " + wanted + ", got " +
             py::cast<std::string>(dtype.attr(dtype.byteorder() == '>' ? "str" : "name")));
}

void* Door::array(const char* name, py::handle x, const char* dims, char type, bool writes) {
  const char wanted_type[] = {type == 'l' ? 'q' : type, 0};
  type_of(name, x, wanted_type);
  auto a = py::reinterpret_borrow<py::array>(x);
  auto factors = parse(dims);
  for (Factor& f : factors)
    if (!f.times_dim.empty()) f.times = (*this)[f.times_dim.c_str()];
  bool fits = a.ndim() == static_cast<py::ssize_t>(factors.size());
  std::string known;
  if (fits)
    for (std::size_t i = 0; i < factors.size(); ++i) {
      const Factor& f = factors[i];
      const std::int64_t size = a.shape(static_cast<py::ssize_t>(i));
      if (f.name.empty()) {
        fits &= size == f.times;
        continue;
      }
      const Dim* bound = nullptr;
      for (const Dim& d : dims_)
        if (d.name == f.name) bound = &d;
      if (bound) {
        fits &= size == f.times * bound->size;
      } else if (size % f.times == 0) {
        dims_.push_back({f.name, size / f.times, name});
      } else {
        fits = false;
      }
    }
  if (!fits) {
    for (const Factor& f : factors)
      for (const Dim& d : dims_)
        if ((d.name == f.name || d.name == f.times_dim) && d.from != name &&
            known.find(d.name + " = ") == std::string::npos)
          known += (known.empty() ? " with " : ", ") + d.name + " = " + std::to_string(d.size) +
                   (d.from.empty() ? "" : " from " + d.from);
    value_error(std::string(name) + " must have shape " + dims_text(factors) + known + ", got " + shape_text(a));
  }
  if (!(a.flags() & py::array::c_style)) value_error(std::string(name) + " must be C-contiguous, got a strided array");
  if (!(a.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_))
    value_error(std::string(name) + " must be aligned, got an unaligned array");
  if (writes && !a.writeable()) value_error(std::string(name) + " must be writable, got a read-only array");
  const auto* begin = static_cast<const char*>(a.data());
  ranges_.push_back({name, begin, begin + a.nbytes()});
  return const_cast<void*>(a.data());
}

std::int64_t Door::operator[](const char* dim) const {
  for (const Dim& d : dims_)
    if (d.name == dim) return d.size;
  value_error(std::string("no argument has the dim ") + dim);
}

void Door::bind(const char* dim, std::int64_t size, const char* from) { dims_.push_back({dim, size, from}); }

double Door::real(const char* name, py::handle x) const {
  constexpr double most = std::numeric_limits<double>::max();
  return real_in(name, x, -most, most);
}

double Door::real_in(const char* name, py::handle x, double low, double high) const {
  if (!is_number(x, "floating", PyFloat_Check(x.ptr())) && !is_number(x, "integer", PyLong_Check(x.ptr())))
    type_error(std::string(name) + " must be a real number, got " + type_name(x));
  double v = PyFloat_AsDouble(x.ptr());
  if (v == -1 && PyErr_Occurred()) {  // an integer beyond the largest double
    PyErr_Clear();
    v = py::cast<bool>(x.attr("__lt__")(0)) ? -HUGE_VAL : HUGE_VAL;
  }
  if (v >= low && v <= high) return v;
  constexpr double most = std::numeric_limits<double>::max();
  auto text = [](double d) { return py::cast<std::string>(py::repr(py::float_(d))); };
  if (low == -most && high == most) value_error(std::string(name) + " must be finite, got " + text(v));
  if (high == most) value_error(std::string(name) + " must be at least " + text(low) + " and finite, got " + text(v));
  value_error(std::string(name) + " must lie in [" + text(low) + ", " + text(high) + "], got " + text(v));
}

py::object Door::index(const char* name, py::handle x) const {
  if (!is_number(x, "integer", PyLong_Check(x.ptr())))
    type_error(std::string(name) + " must be an integer, got " + type_name(x));
  auto index = py::reinterpret_steal<py::object>(PyNumber_Index(x.ptr()));
  if (!index) throw py::error_already_set();
  return index;
}

void Door::outside(const char* name, const py::object& index, const std::string& range) const {
  const auto bits = py::cast<std::int64_t>(index.attr("bit_length")());
  value_error(
      std::string(name) + " must lie in " + range + ", got " +
      (bits <= 64 ? py::cast<std::string>(py::str(index)) : std::string("one of ") + std::to_string(bits) + " bits"));
}

std::int64_t Door::integer_in(const char* name, py::handle x, std::int64_t low, std::int64_t high) const {
  const auto i = index(name, x);
  int overflow = 0;
  const long long v = PyLong_AsLongLongAndOverflow(i.ptr(), &overflow);
  if (!overflow && v >= low && v <= high) return v;
  outside(name, i, "[" + std::to_string(low) + ", " + std::to_string(high) + "]");
}

std::uint64_t Door::word(const char* name, py::handle x) const {
  const auto i = index(name, x);
  const unsigned long long v = PyLong_AsUnsignedLongLong(i.ptr());
  if (!PyErr_Occurred()) return v;
  PyErr_Clear();  // OverflowError
  outside(name, i, "[0, 18446744073709551615]");
}

bool Door::boolean(const char* name, py::handle x) const {
  if (PyBool_Check(x.ptr())) return x.ptr() == Py_True;
  if (py::isinstance(x, numpy_type("bool_"))) return PyObject_IsTrue(x.ptr()) == 1;
  type_error(std::string(name) + " must be True or False, got " + type_name(x));
}

int Door::choice(const char* name, py::handle x, std::initializer_list<const char*> choices) const {
  int i = 0;
  for (const char* c : choices) {
    if (is_text(x, c)) return i;
    ++i;
  }
  i = 0;
  std::string wanted = std::string(name) + " must be ";
  for (const char* c : choices) {
    wanted += (i == 0 ? "\"" : i + 1 == static_cast<int>(choices.size()) ? " or \"" : ", \"") + std::string(c) + "\"";
    ++i;
  }
  if (!py::isinstance<py::str>(x)) type_error(wanted + ", got " + type_name(x));
  value_error(wanted + ", got " + py::cast<std::string>(py::repr(x)));
}

int Door::threads(py::handle x) const {
  return x.is_none() ? runtime::default_threads() : static_cast<int>(integer_in("threads", x, 1, 1024));
}

void Door::lengths_within(const char* name, const std::int32_t* lengths, std::int64_t n, std::int64_t longest,
                          const char* longest_name) const {
  for (std::int64_t b = 0; b < n; ++b)
    if (lengths[b] < 0 || lengths[b] > longest)
      value_error(std::string(name) + " must lie in [0, " + longest_name + " = " + std::to_string(longest) + "], got " +
                  std::to_string(lengths[b]) + " at " + std::to_string(b));
}

void Door::no_overlap(const char* const* names, std::size_t count) const {
  std::vector<const Range*> found;
  for (std::size_t k = 0; k < count; ++k)
    for (const Range& r : ranges_)
      if (r.name == names[k] && r.begin != r.end) found.push_back(&r);
  for (std::size_t i = 0; i < found.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (found[i]->begin < found[j]->end && found[j]->begin < found[i]->end)
        value_error(found[j]->name + " and " + found[i]->name + " must not share memory");
}

std::size_t Door::product(std::initializer_list<std::int64_t> sizes) const {
  std::size_t total = 1;
  for (const std::int64_t s : sizes)
    if (__builtin_mul_overflow(total, static_cast<std::size_t>(s), &total) || total > (std::size_t{1} << 46))
      value_error("the arrays of this call would need more than 2^46 bytes");
  return total;
}

py::array new_array(char type, const std::vector<std::int64_t>& shape) {
  const py::dtype dtype{std::string(1, type)};
  std::size_t bytes = static_cast<std::size_t>(dtype.itemsize());
  for (const std::int64_t s : shape)
    if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(s), &bytes)) throw std::bad_alloc();
  runtime::Lease block(bytes);
  if (!block.get()) throw std::bad_alloc();
  py::capsule owner(block.get(), [](void* p) { runtime::release(p); });
  void* p = block.detach();
  return py::array(dtype, std::vector<py::ssize_t>(shape.begin(), shape.end()), p, owner);
}

runtime::Lease new_scratch(std::size_t bytes) {
  runtime::Lease block(bytes);
  if (!block.get()) throw std::bad_alloc();
  return block;
}

const cpu::Table& kernels() {
  const cpu::Table* table = cpu::active();
  if (!table) throw py::import_error(cpu::choice_error());
  return *table;
}

void Released::take() noexcept {
  try {
    PyEval_RestoreThread(state_);
  } catch (const abi::__forced_unwind&) {
    for (;;) pause();
  }
}

bool Released::signals_raised() noexcept {
  take();
  const bool raised = PyErr_CheckSignals() != 0;
  state_ = PyEval_SaveThread();
  return raised;
}

}  // namespace pyasr::bind

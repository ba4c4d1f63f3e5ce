#include "bind/update.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pyasr::bind {
namespace {

std::string repr_text(py::handle x) { return py::cast<std::string>(py::repr(x)); }
std::string repr_text(double x) { return repr_text(py::float_(x)); }

bool is_sequence(py::handle x) { return PyList_Check(x.ptr()) || PyTuple_Check(x.ptr()); }
py::handle item_of(py::handle list, std::size_t i) {
  const auto k = static_cast<py::ssize_t>(i);
  return PyList_Check(list.ptr()) ? PyList_GET_ITEM(list.ptr(), k) : PyTuple_GET_ITEM(list.ptr(), k);
}
std::size_t length_of(py::handle list) { return static_cast<std::size_t>(Py_SIZE(list.ptr())); }

std::string item_name(const char* name, std::size_t i) { return std::string(name) + "[" + std::to_string(i) + "]"; }

// One line of the table, laid out as pyasr.params.SEGMENT.
struct Segment {
  std::int64_t offset, length, rows, columns;
  double lr, decay;
  std::int64_t group;
};

std::vector<Segment> parse_segments(const Door& door, py::handle x, std::int64_t size) {
  if (!py::isinstance<py::array>(x))
    door.type_error("segments must be None or an array of pyasr.params.SEGMENT, got " + type_name(x));
  const auto table = py::reinterpret_borrow<py::array>(x);
  static const py::handle kind = py::object(py::module_::import("pyasr.ops._update").attr("SEGMENT")).release();
  if (!table.dtype().is(kind) && !table.dtype().equal(kind))
    door.type_error("segments must have dtype pyasr.params.SEGMENT, got " +
                    py::cast<std::string>(table.dtype().attr("name")));
  if (table.ndim() != 1) door.value_error("segments must have shape (S,), got " + repr_text(x.attr("shape")));
  if (!(table.flags() & py::array::c_style)) door.value_error("segments must be C-contiguous, got a strided array");
  if (!(table.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_))
    door.value_error("segments must be aligned, got an unaligned array");
  const auto* const first = static_cast<const Segment*>(table.data());
  const std::vector<Segment> found(first, first + table.shape(0));
  const auto count = static_cast<std::int64_t>(found.size());
  std::int64_t end = 0, product = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const Segment& s = found[i];
    const auto name = [i] { return item_name("segments", i) + " must "; };  // put together only when it is needed
    if (s.offset < end || s.offset > size || s.length < 0 || s.length > size - s.offset)
      door.value_error(name() + "lie within [" + std::to_string(end) + ", P = " + std::to_string(size) +
                       "], got offset " + std::to_string(s.offset) + " and length " + std::to_string(s.length));
    if (s.rows < 0 || s.columns < 0 || __builtin_mul_overflow(s.rows, s.columns, &product) || product != s.length)
      door.value_error(name() + "have rows * columns = length = " + std::to_string(s.length) + ", got " +
                       std::to_string(s.rows) + " * " + std::to_string(s.columns));
    if (!(s.lr >= 0 && s.lr <= UpdateDoor::largest && s.decay >= 0 && s.decay <= UpdateDoor::largest))
      door.value_error(name() + "have finite factors of at least 0, got lr " + repr_text(s.lr) + " and decay " +
                       repr_text(s.decay));
    if (s.group < 0 || s.group >= count)
      door.value_error(name() + "have a group in [0, " + std::to_string(count - 1) + "], got " +
                       std::to_string(s.group));
    end = s.offset + s.length;
  }
  return found;
}

// Item i of a list: an array of T and of the shape of the value in its place.
template <class T>
T* list_item(const Door& door, const char* name, std::size_t i, py::handle x, py::handle value, bool writes) {
  const auto a = py::reinterpret_borrow<py::array>(x);
  if (!is_plain(x) || a.dtype().char_() != (sizeof(T) == 4 ? 'f' : 'd') || a.dtype().byteorder() != '=')
    door.type_of(item_name(name, i).c_str(), x, sizeof(T) == 4 ? "f" : "d");
  const auto like = py::reinterpret_borrow<py::array>(value);
  if (!(a.ndim() == like.ndim() && std::equal(a.shape(), a.shape() + a.ndim(), like.shape())))
    door.value_error(item_name(name, i) + " must have shape " + repr_text(like.attr("shape")) + " from " +
                     item_name("value", i) + ", got " + repr_text(a.attr("shape")));
  if (!(a.flags() & py::array::c_style))
    door.value_error(item_name(name, i) + " must be C-contiguous, got a strided array");
  if (!(a.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_))
    door.value_error(item_name(name, i) + " must be aligned, got an unaligned array");
  if (writes && !a.writeable()) door.value_error(item_name(name, i) + " must be writable, got a read-only array");
  return static_cast<T*>(const_cast<void*>(a.data()));
}

}  // namespace

UpdateDoor::UpdateDoor(const char* op, py::handle value) : Door(op), is_list_(is_sequence(value)) {
  if (is_list_ && !length_of(value))
    value_error("value must be a NumPy array or hold at least one, got an empty " + type_name(value));
  is_double_ = (is_list_ ? float_type("value[0]", item_of(value, 0)) : float_type("value", value)) == 'd';
  value_limit_ = HUGE_VAL;
}

void UpdateDoor::common(const Common& c, py::handle decoupled, py::handle l1, py::handle proximal) {
  if (!c.sum_squares.is_none()) {
    const bool number = PyFloat_Check(c.sum_squares.ptr()) ||
                        py::isinstance(c.sum_squares, py::module_::import("numpy").attr("floating"));
    const double sum = number ? PyFloat_AsDouble(c.sum_squares.ptr()) : 0;
    options_.known = true;  // NaN and infinity: that is a gradient of such entries
    options_.sum_squares = std::isnan(sum) || sum == HUGE_VAL ? sum : real_in("sum_squares", c.sum_squares, 0, largest);
  }
  lr_ = factor("lr", c.lr);
  weight_decay_ = factor("weight_decay", c.weight_decay, 0, c.most_decay);
  if (l1) l1_ = factor("l1", l1, 0);
  options_.decoupled = boolean("decoupled", decoupled);
  options_.proximal = boolean("proximal", proximal);
  parse_clip(c.clip);
  options_.eps = real_in(c.eps_name, c.eps, 0, largest);
  options_.grad_scale = factor("grad_scale", c.grad_scale);
  options_.nonfinite = static_cast<NonFinite>(choice("nonfinite", c.nonfinite, {"skip", "raise", "propagate"}));
  options_.average_decay = real_in("average_decay", c.average_decay, 0, 1);
  asked_ = c.threads.is_none() ? 0 : threads(c.threads);
}

double UpdateDoor::fit(const std::string& name, double x) const {
  if (std::fabs(x) <= (is_double_ ? largest : static_cast<double>(std::numeric_limits<float>::max()))) return x;
  value_error(name + " must fit into " + (is_double_ ? "float64" : "float32") + ", got " + repr_text(x));
}

void UpdateDoor::parse_clip(py::handle clip) {
  if (clip.is_none()) return;
  auto wanted = [](const std::string& got) {  // put together only when it is needed
    return "clip must be None, (\"norm\", M), (\"value\", v), (\"value\", \"rsqrt_d\"), (\"value\", \"rsqrt_d\", d), "
           "(\"adaptive\", factor) or (\"max_change\", per, total), got " +
           got;
  };
  const py::ssize_t n = PyTuple_Check(clip.ptr()) ? PyTuple_GET_SIZE(clip.ptr()) : 0;
  if (n != 2 && n != 3) type_error(wanted(type_name(clip)));
  const py::handle kind = PyTuple_GET_ITEM(clip.ptr(), 0), first = PyTuple_GET_ITEM(clip.ptr(), 1);
  const py::handle second = n == 3 ? PyTuple_GET_ITEM(clip.ptr(), 2) : nullptr;
  if (!py::isinstance<py::str>(kind)) type_error(wanted("a tuple with " + type_name(kind)));
  const char* const kinds[] = {"norm", "value", "adaptive", "max_change"};
  for (int i = 0; i < 4; ++i)
    if (is_text(kind, kinds[i])) options_.clip = static_cast<Clip>(i + 1);
  if (options_.clip == Clip::none) value_error(wanted("a tuple with " + repr_text(kind)));
  if (options_.clip == Clip::value && py::isinstance<py::str>(first)) {
    if (!is_text(first, "rsqrt_d")) value_error("clip[1] must be a number or \"rsqrt_d\", got " + repr_text(first));
    root_of_ = second ? integer_in("clip[2]", second, 1, std::int64_t{1} << 62) : 0;
    return;
  }
  if (n != (options_.clip == Clip::max_change ? 3 : 2))
    type_error(wanted("\"" + py::cast<std::string>(kind) + "\" and " + std::to_string(n - 1) + " more"));
  const double limit = real_in("clip[1]", first, 0, largest);
  if (options_.clip == Clip::value)
    value_limit_ = limit;
  else
    options_.limit = limit;
  if (second) options_.total = real_in("clip[2]", second, 0, largest);
}

template <class T>
std::vector<UpdatePiece<T>> UpdateDoor::listed(py::handle value, py::handle grad, const std::vector<State>& states) {
  struct Span {
    const char *begin, *end, *name;
    std::size_t i;
    bool writes;
  };
  const std::size_t count = length_of(value);
  std::vector<UpdatePiece<T>> found(count);
  std::vector<Span> spans;
  spans.reserve(count * (2 + states.size()));
  const auto each = [&](const char* name, py::handle list, bool writes, auto&& take) {
    if (!is_sequence(list))
      type_error(std::string(name) + " must be a list of arrays, as value is, got " + type_name(list));
    if (length_of(list) != count)
      value_error(std::string(name) + " must hold " + std::to_string(count) + " arrays, as value does, got " +
                  std::to_string(length_of(list)));
    for (std::size_t i = 0; i < count; ++i) {
      const py::handle x = item_of(list, i);
      T* const p = list_item<T>(*this, name, i, x, item_of(value, i), writes);
      take(found[i], p, x);
      if (found[i].n)
        spans.push_back(
            {reinterpret_cast<const char*>(p), reinterpret_cast<const char*>(p + found[i].n), name, i, writes});
    }
  };
  each("value", value, true, [](UpdatePiece<T>& piece, T* p, py::handle x) {
    const auto a = py::reinterpret_borrow<py::array>(x);
    piece = {};
    piece.value = p;
    piece.n = static_cast<std::size_t>(a.size());
    piece.rows = a.ndim() > 1 ? static_cast<std::size_t>(a.shape(0)) : 1;
    piece.columns = piece.rows ? piece.n / piece.rows : 0;
    piece.lr = piece.decay = 1;
  });
  each("grad", grad, false, [](UpdatePiece<T>& piece, T* p, py::handle) { piece.grad = p; });
  for (std::size_t k = 0; k < states.size(); ++k)
    if (!states[k].optional || !states[k].x.is_none())
      each(states[k].name, states[k].x, true, [&](UpdatePiece<T>& piece, T* p, py::handle) {
        (k + 1 < states.size() ? piece.state[k] : piece.average) = p;
      });
  std::stable_sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; });
  const Span *furthest = nullptr, *written = nullptr;  // so far: what reaches furthest, and of what is written
  for (const Span& s : spans) {  // what is written, all but the gradients, shares no memory with anything
    const Span* const before = s.writes ? furthest : written;
    if (before && s.begin < before->end)
      value_error(item_name(before->name, before->i) + " and " + item_name(s.name, s.i) + " must not share memory");
    if (!furthest || furthest->end < s.end) furthest = &s;
    if (s.writes) written = &s;
  }
  return found;
}

// The options times the piece's factors. `segment` is its number, or -1.
template <class T>
void UpdateDoor::finish(UpdatePiece<T>& p, long segment) const {
  constexpr auto most = static_cast<double>(std::numeric_limits<T>::max());
  const auto fit_all = [&](const char* name, double x) {  // names are put together only when they are needed
    if (!(std::fabs(x) <= most))
      fit(name + (segment < 0 ? std::string() : " of " + item_name("segments", static_cast<std::size_t>(segment))), x);
    return x;
  };
  p.lr = fit_all("lr", lr_ * p.lr);
  const double decay = p.decay;
  p.decay = fit_all("weight_decay", weight_decay_ * decay);
  p.l1 = fit_all("l1", l1_ * decay);
  if (options_.decoupled) fit_all("lr * weight_decay", p.lr * p.decay);
  if (!p.n) p.rows = p.columns = 0;  // one side of nothing may be longer than memory
  const auto d = static_cast<double>(root_of_ ? root_of_ : static_cast<std::int64_t>(std::max<std::size_t>(p.n, 1)));
  p.limit = root_of_ < 0 ? value_limit_ : 1 / std::sqrt(d);
}

template <class T>
std::vector<UpdatePiece<T>> UpdateDoor::pieces(py::handle value, py::handle grad, const std::vector<State>& states,
                                               py::handle average, py::handle segments) {
  std::vector<State> all = states;
  all.push_back({"average", average});
  std::vector<UpdatePiece<T>> found;
  if (is_list_) {
    found = listed<T>(value, grad, all);
    if (!segments.is_none()) value_error("segments must be None with a list of arrays, got " + type_name(segments));
  } else {
    UpdatePiece<T> whole{};
    whole.value = write<T>("value", value, "P");
    whole.grad = read<T>("grad", grad, "P");
    for (std::size_t k = 0; k < states.size(); ++k)
      whole.state[k] = states[k].optional ? write_optional<T>(states[k].name, states[k].x, "P")
                                          : write<T>(states[k].name, states[k].x, "P");
    whole.average = write_optional<T>("average", average, "P");
    std::vector<const char*> names{"value", "grad"};
    for (const State& s : all) names.push_back(s.name);
    no_overlap(names.data(), names.size());
    whole.n = whole.columns = static_cast<std::size_t>((*this)["P"]);
    whole.rows = 1;
    whole.lr = whole.decay = 1;
    if (segments.is_none()) {
      found.push_back(whole);
    } else {
      const auto table = parse_segments(*this, segments, (*this)["P"]);
      bool several = false;
      found.reserve(table.size());
      for (const Segment& s : table) {
        UpdatePiece<T> p = whole;
        p.value += s.offset;
        p.grad += s.offset;
        for (T*& state : p.state) state = state ? state + s.offset : nullptr;
        p.average = p.average ? p.average + s.offset : nullptr;
        p.n = static_cast<std::size_t>(s.length);
        p.rows = static_cast<std::size_t>(s.rows);
        p.columns = static_cast<std::size_t>(s.columns);
        p.lr = s.lr;
        p.decay = s.decay;
        p.group = s.group;
        several |= s.group != table[0].group;
        found.push_back(p);
      }
      if (options_.known && options_.clip == Clip::norm && several)
        value_error("sum_squares must be None where segments have several groups, got a number");
    }
  }
  for (std::size_t i = 0; i < found.size(); ++i) finish(found[i], segments.is_none() ? -1 : static_cast<long>(i));
  if (needs_buffer) value_error("momentum needs a buffer, got None");
  return found;
}

py::object UpdateDoor::step_info(const UpdateResult& r) const {
  if (r.skipped && options_.nonfinite == NonFinite::raise)
    value_error("grad must be finite, got a norm of " + repr_text(r.norm));
  static const py::handle type = py::object(py::module_::import("pyasr.ops._update").attr("StepInfo")).release();
  // tuple.__new__ itself: the __new__ of a named tuple is Python code.
  const py::tuple fields = py::make_tuple(py::make_tuple(r.norm, r.scale, r.skipped));
  PyObject* made = PyTuple_Type.tp_new(reinterpret_cast<PyTypeObject*>(type.ptr()), fields.ptr(), nullptr);
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

template std::vector<UpdatePiece<float>> UpdateDoor::pieces(py::handle, py::handle, const std::vector<State>&,
                                                            py::handle, py::handle);
template std::vector<UpdatePiece<double>> UpdateDoor::pieces(py::handle, py::handle, const std::vector<State>&,
                                                             py::handle, py::handle);

}  // namespace pyasr::bind

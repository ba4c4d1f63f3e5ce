// Language models of ctc_beam: the tables of an NgramLm, and any object with start, score and perhaps end.
#pragma once
#include <cmath>
#include <exception>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "bind/array.hpp"
#include "pyasr/beam.hpp"

namespace pyasr::bind {
namespace {

// The tables of an NgramLm, which were checked when it was made and can not be written; this keeps them alive.
struct NativeNgram {
  NgramTables tables{};
  std::vector<py::object> kept;
};

template <class T>
const T* table(NativeNgram& n, py::handle owner, const char* name) {
  const auto a = py::cast<py::array_t<T, py::array::c_style>>(owner.attr(name));
  n.kept.push_back(a);
  return a.data();
}

inline NativeNgram* build_ngram(py::handle lm) {
  auto native = std::make_unique<NativeNgram>();
  NativeNgram& n = *native;
  const py::object t = lm.attr("tables");
  n.tables.backoff = table<double>(n, t, "backoff");
  n.tables.suffix = table<std::int32_t>(n, t, "suffix");
  n.tables.end = table<double>(n, t, "end");
  n.tables.arc_begin = table<std::int64_t>(n, t, "arc_begin");
  n.tables.arc_token = table<std::int32_t>(n, t, "arc_token");
  n.tables.arc_log_p = table<double>(n, t, "arc_log_p");
  n.tables.arc_next = table<std::int32_t>(n, t, "arc_next");
  n.tables.start = py::cast<std::int32_t>(t.attr("start"));
  n.tables.spell_begin = table<std::int64_t>(n, lm, "spell_begin");
  n.tables.spell_label = table<std::int32_t>(n, lm, "spell_label");
  n.tables.spell_next = table<std::int32_t>(n, lm, "spell_next");
  n.tables.spell_token = table<std::int32_t>(n, lm, "spell_token");
  n.tables.unknown = py::cast<std::int32_t>(lm.attr("unknown"));
  n.tables.unknown_log_p = py::cast<double>(lm.attr("unknown_log_p"));
  return native.release();
}

struct Model {
  std::int32_t delimiter = -1;
  bool asked = false;  // it is an object to call
  const NgramTables* ngram = nullptr;
  py::capsule owner;
};

inline Model read_model(const Door& door, py::handle lm, py::handle delimiter, std::int64_t blank) {
  static const py::handle type = py::object(py::module_::import("pyasr.ops._ngram").attr("NgramLm")).release();
  const std::int64_t V = door["V"];
  Model m;
  auto has = [&](const char* name) { return PyCallable_Check(py::getattr(lm, name, py::none()).ptr()); };
  if (!lm.is_none() && !(has("start") && has("score")))
    door.type_error("lm must be None or have start() and score(state, token), got " + type_name(lm));
  if (!delimiter.is_none()) {
    m.delimiter = static_cast<std::int32_t>(door.integer_in("delimiter", delimiter, 0, V - 1));
    if (lm.is_none() || m.delimiter == blank)
      door.value_error("delimiter must be a label other than blank = " + std::to_string(blank) + ", with an lm, got " +
                       std::to_string(m.delimiter));
  }
  m.asked = !lm.is_none();
  if (!py::type::of(lm).is(type)) return m;
  const bool over_words = py::cast<bool>(lm.attr("over_words"));
  if (over_words != (m.delimiter >= 0))
    door.value_error(std::string("lm must be an n-gram over words with a delimiter, else over labels, got one over ") +
                     (over_words ? "words" : "labels"));
  const auto labels = py::cast<std::int64_t>(lm.attr("labels")), own = py::cast<std::int64_t>(lm.attr("blank"));
  if (labels != V || own != blank)
    door.value_error("lm must be over V = " + std::to_string(V) + " labels with blank = " + std::to_string(blank) +
                     ", got one over " + std::to_string(labels) + " with " + std::to_string(own));
  const auto cache = py::cast<py::dict>(lm.attr("cache"));
  if (!cache.contains("cpp"))
    cache["cpp"] =
        py::capsule(build_ngram(lm), "pyasr.NgramTables", [](void* p) { delete static_cast<NativeNgram*>(p); });
  m.owner = py::cast<py::capsule>(cache["cpp"]);
  m.ngram = &static_cast<NativeNgram*>(m.owner.get_pointer())->tables;
  m.asked = false;
  return m;
}

// Asks an object, with the GIL: once for every prefix and token. What it raises is kept and thrown when the kernel has
// returned.
class Hook {
 public:
  Hook(py::handle lm, std::int32_t delimiter) : lm_(lm), delimiter_(delimiter) {}

  LmHook functions() {
    return {this, [](void* s) noexcept { return guarded(s, [](Hook& h) { h.begin(); }); },
            [](void* s, std::int64_t node, std::int64_t parent, std::int32_t label) noexcept {
              return guarded(s, [&](Hook& h) { h.extend(node, parent, label); });
            },
            [](void* s, std::int64_t node, const std::int32_t* wanted, std::int64_t count, double* log_p) noexcept {
              return guarded(s, [&](Hook& h) {
                for (std::int64_t k = 0; k < count; ++k)
                  if (std::isnan(log_p[wanted[k]])) log_p[wanted[k]] = h.ask(h.known_[h.at(node)], wanted[k]).log_p;
              });
            },
            [](void* s, std::int64_t node, double* word, double* end) noexcept {
              return guarded(s, [&](Hook& h) { h.finish(node, word, end); });
            }};
  }

  // work(runtime) on this thread, which keeps the GIL.
  template <class Work>
  void run(const Work& work) {
    runtime::Call call;
    call.interrupted = [](void*) noexcept { return PyErr_CheckSignals() != 0; };
    work(runtime::runtime(call, 1));
    if (raised_) std::rethrow_exception(raised_);
    if (call.stopped) throw py::error_already_set();
  }

 private:
  struct Scored {
    double log_p;
    py::object next;
  };
  struct Known {
    py::object state;
    std::vector<std::int32_t> word;
    std::unordered_map<std::int32_t, Scored> scored;  // by label
  };

  template <class Work>
  static bool guarded(void* self, const Work& work) noexcept {
    Hook& hook = *static_cast<Hook*>(self);
    if (hook.raised_) return false;
    try {
      work(hook);
      return true;
    } catch (...) {
      hook.raised_ = std::current_exception();
      return false;
    }
  }
  static std::size_t at(std::int64_t node) { return static_cast<std::size_t>(node); }

  void begin() {
    known_.clear();
    known_.push_back({lm_.attr("start")(), {}, {}});
    score_ = lm_.attr("score");
    end_ = py::getattr(lm_, "end", py::none());
  }

  void extend(std::int64_t node, std::int64_t parent, std::int32_t label) {
    if (known_.size() <= at(node)) known_.resize(at(node) + 1);
    Known& from = known_[at(parent)];
    Known& to = known_[at(node)];
    if (delimiter_ >= 0 && label != delimiter_) {
      to = {from.state, from.word, {}};
      to.word.push_back(label);
    } else if (delimiter_ < 0 || !from.word.empty()) {
      to = {ask(from, label).next, {}, {}};
    } else {
      to = {from.state, {}, {}};
    }
  }

  // The score of a label, or of the word that the delimiter ends.
  const Scored& ask(Known& from, std::int32_t label) {
    const auto found = from.scored.find(label);
    if (found != from.scored.end()) return found->second;
    py::object token = py::int_(label);
    if (delimiter_ >= 0) {
      py::tuple word(from.word.size());
      for (std::size_t i = 0; i < from.word.size(); ++i) word[i] = py::int_(from.word[i]);
      token = word;
    }
    const py::object got = score_(from.state, token);
    if (!py::isinstance<py::tuple>(got) || py::len(got) != 2)
      door_.type_error("lm.score must return (log probability, state), got " + type_name(got));
    const auto pair = py::reinterpret_borrow<py::tuple>(got);
    const double log_p = number("lm.score", pair[0]);
    return from.scored.emplace(label, Scored{log_p, pair[1]}).first->second;
  }

  void finish(std::int64_t node, double* word, double* end) {
    Known& known = known_[at(node)];
    *word = *end = 0;
    py::object state = known.state;
    if (!known.word.empty()) {
      const Scored& last = ask(known, delimiter_);
      *word = last.log_p;
      state = last.next;
    }
    if (!end_.is_none()) *end = number("lm.end", end_(state));
  }

  double number(const char* what, py::handle x) const {
    static constexpr double largest = 1e9;
    const auto numpy = py::module_::import("numpy");
    if (PyBool_Check(x.ptr()) ||
        !(PyFloat_Check(x.ptr()) || PyLong_Check(x.ptr()) || py::isinstance(x, numpy.attr("floating")) ||
          py::isinstance(x, numpy.attr("integer"))))
      door_.type_error(std::string(what) + " must give a log probability, got " + type_name(x));
    double v = PyFloat_AsDouble(x.ptr());
    if (v == -1 && PyErr_Occurred()) {  // an integer beyond the largest double
      PyErr_Clear();
      v = py::cast<bool>(x.attr("__lt__")(0)) ? -HUGE_VAL : HUGE_VAL;
    }
    if (!(v <= largest))
      door_.value_error(std::string(what) + " must give a log probability of at most 1000000000, got " +
                        py::cast<std::string>(py::repr(py::float_(v))));
    return v;
  }

  py::handle lm_;
  std::int32_t delimiter_;
  Door door_{"ctc_beam"};
  py::object score_, end_;
  std::vector<Known> known_;
  std::exception_ptr raised_;
};

}  // namespace
}  // namespace pyasr::bind

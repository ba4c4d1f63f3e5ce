// The door of clip_sgd, adam and rmsprop: their common arguments, and the arrays cut into pieces. The words are those
// of pyasr/ops/_update_door.py.
#pragma once
#include <limits>
#include <string>
#include <vector>

#include "bind/array.hpp"
#include "pyasr/update.hpp"

namespace pyasr::bind {

class UpdateDoor : public Door {
 public:
  UpdateDoor(const char* op, py::handle value);  // value: an array of float32 or float64, or a list of them

  struct Common {
    py::handle lr, weight_decay, clip, eps, grad_scale, nonfinite, sum_squares, average_decay, threads;
    const char* eps_name = "clip_eps";
    double most_decay = 1e6;  // of rules that square the gradient, which float32 could not hold
  };
  void common(const Common& c, py::handle decoupled = Py_False, py::handle l1 = {}, py::handle proximal = Py_False);
  // low <= x <= high, a number that is multiplied with entries: the type of value holds it.
  double factor(const char* name, py::handle x, double low = -largest, double high = largest) const {
    return fit(name, real_in(name, x, low, high));
  }
  static constexpr double largest = std::numeric_limits<double>::max();

  struct State {
    const char* name;
    py::handle x;  // an array, a list, or None
    bool optional = true;
  };
  // The update of the arrays by `op`. Returns StepInfo.
  template <class Rule>
  py::object run(const Update<Rule>& op, const Rule& rule, py::handle value, py::handle grad,
                 const std::vector<State>& states, py::handle average, py::handle segments) {
    return is_double_ ? run_as<double>(op, rule, value, grad, states, average, segments)
                      : run_as<float>(op, rule, value, grad, states, average, segments);
  }
  // What is checked last: raises where a momentum has no buffer.
  bool needs_buffer = false;

 private:
  void parse_clip(py::handle clip);
  double fit(const std::string& name, double x) const;
  template <class T>
  std::vector<UpdatePiece<T>> pieces(py::handle value, py::handle grad, const std::vector<State>& states,
                                     py::handle average, py::handle segments);
  template <class T>
  void finish(UpdatePiece<T>& piece, long segment) const;
  template <class T>
  std::vector<UpdatePiece<T>> listed(py::handle value, py::handle grad, const std::vector<State>& states);
  py::object step_info(const UpdateResult& r) const;

  template <class T, class Rule>
  py::object run_as(const Update<Rule>& op, const Rule& rule, py::handle value, py::handle grad,
                    const std::vector<State>& states, py::handle average, py::handle segments) {
    auto found = pieces<T>(value, grad, states, average, segments);
    const UpdateArgs<T> args{found.data(), found.size(), options_};
    std::size_t entries = 0;
    for (const UpdatePiece<T>& p : found) entries += p.n;
    UpdateResult result{};
    // No interruption: an update is never cut in half.
    if constexpr (sizeof(T) == 4) {
      const auto scratch = new_scratch(op.workspace_f32(args));
      released(entries, [&](const Runtime& runtime) { result = op.f32(args, rule, scratch.get(), runtime); });
    } else {
      const auto scratch = new_scratch(op.workspace_f64(args));
      released(entries, [&](const Runtime& runtime) { result = op.f64(args, rule, scratch.get(), runtime); });
    }
    return step_info(result);
  }
  template <class Work>
  void released(std::size_t entries, const Work& work) const {
    const Released released;
    runtime::Call call;
    // One work item needs no second thread, and counting the CPUs would cost a tenth of so small a call.
    work(runtime::runtime(call, asked_ ? asked_ : entries <= 16384 ? 1 : runtime::default_threads()));
  }

  bool is_list_, is_double_;
  UpdateOptions options_{};
  double lr_ = 0, weight_decay_ = 0, l1_ = 0;
  double value_limit_;         // of value clipping, else infinity
  std::int64_t root_of_ = -1;  // value clipping at 1 / sqrt of that; 0: of the entries of the piece; -1: not so
  int asked_ = 0;              // threads
};

}  // namespace pyasr::bind

#include "pyasr/clip_sgd.hpp"

#include <limits>

#include "bind/array.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

constexpr double most = std::numeric_limits<double>::max();

struct Limit {
  Clip clip = Clip::none;
  double limit = 0;
};

Limit parse_clip(const Door& door, py::handle clip) {
  if (clip.is_none()) return {};
  auto wanted = [](const std::string& got) {  // put together only when it is needed
    return "clip must be None, (\"norm\", M) or (\"value\", v), got " + got;
  };
  if (!PyTuple_Check(clip.ptr()) || PyTuple_GET_SIZE(clip.ptr()) != 2) door.type_error(wanted(type_name(clip)));
  const py::handle kind = PyTuple_GET_ITEM(clip.ptr(), 0);
  if (!py::isinstance<py::str>(kind)) door.type_error(wanted("a pair with " + type_name(kind)));
  const bool norm = is_text(kind, "norm");
  if (!norm && !is_text(kind, "value"))
    door.value_error(wanted("a pair with " + py::cast<std::string>(py::repr(kind))));
  const py::handle limit = PyTuple_GET_ITEM(clip.ptr(), 1);
  return {norm ? Clip::norm : Clip::value, door.real_in("clip[1]", limit, 0, most)};
}

template <class T>
ClipSgdResult run(Door& door, const ClipSgdOptions& options, py::handle value, py::handle grad, py::handle buffer,
                  int asked) {
  ClipSgdArgs<T> args{};
  args.options = options;
  args.value = door.write<T>("value", value, "P");
  args.grad = door.read<T>("grad", grad, "P");
  args.buffer = door.write_optional<T>("buffer", buffer, "P");
  args.n = static_cast<std::size_t>(door["P"]);
  door.no_overlap({"value", "grad", "buffer"});
  if (options.momentum != 0 && !args.buffer) door.value_error("momentum needs a buffer, got None");
  const ClipSgd& op = *kernels().clip_sgd;
  const auto scratch = new_scratch(op.workspace_bytes(args.n));
  ClipSgdResult result{};
  // No interruption: an update is never cut in half.
  {
    const Released released;
    runtime::Call call;
    // One work item needs no second thread, and counting the CPUs would cost a tenth of so small a call.
    const int threads = asked ? asked : args.n <= 16384 ? 1 : runtime::default_threads();
    const auto runtime = runtime::runtime(call, threads);
    if constexpr (sizeof(T) == 4)
      result = op.f32(args, scratch.get(), runtime);
    else
      result = op.f64(args, scratch.get(), runtime);
  }
  if (result.skipped && options.nonfinite == NonFinite::raise)
    door.value_error("grad must be finite, got a norm of " + py::cast<std::string>(py::repr(py::float_(result.norm))));
  return result;
}

py::object clip_sgd(py::handle value, py::handle grad, py::handle lr, py::handle momentum, py::handle buffer,
                    py::handle step, py::handle dampening, py::handle nesterov, py::handle weight_decay,
                    py::handle decoupled, py::handle clip, py::handle eps, py::handle grad_scale, py::handle nonfinite,
                    py::handle threads) {
  Door door("clip_sgd");
  ClipSgdOptions a{};
  const char type = door.float_type("value", value);
  a.lr = door.real("lr", lr);
  a.momentum = door.real_in("momentum", momentum, 0, most);
  a.dampening = door.real("dampening", dampening);
  a.weight_decay = door.real_in("weight_decay", weight_decay, 0, most);
  a.eps = door.real_in("eps", eps, 0, most);
  a.grad_scale = door.real("grad_scale", grad_scale);
  a.nesterov = door.boolean("nesterov", nesterov);
  a.decoupled = door.boolean("decoupled", decoupled);
  a.first = !step.is_none() && door.integer_in("step", step, 0, std::numeric_limits<std::int64_t>::max()) == 0;
  const Limit limit = parse_clip(door, clip);
  a.clip = limit.clip;
  a.limit = limit.limit;
  a.nonfinite = static_cast<NonFinite>(door.choice("nonfinite", nonfinite, {"skip", "raise", "propagate"}));
  if (a.nesterov && (a.momentum == 0 || a.dampening != 0))
    door.value_error("nesterov needs momentum above 0 and dampening 0");
  const int asked = threads.is_none() ? 0 : door.threads(threads);

  const ClipSgdResult r =
      type == 'd' ? run<double>(door, a, value, grad, buffer, asked) : run<float>(door, a, value, grad, buffer, asked);
  static const py::handle step_info = py::object(py::module_::import("pyasr.ops.clip_sgd").attr("StepInfo")).release();
  // tuple.__new__ itself: the __new__ of a named tuple is Python code.
  const py::tuple fields = py::make_tuple(py::make_tuple(r.norm, r.scale, r.skipped));
  PyObject* made = PyTuple_Type.tp_new(reinterpret_cast<PyTypeObject*>(step_info.ptr()), fields.ptr(), nullptr);
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

}  // namespace

void bind_clip_sgd(py::module_& m) {
  m.def("clip_sgd", &clip_sgd, "value"_a, "grad"_a, py::kw_only(), "lr"_a, "momentum"_a = 0.0, "buffer"_a = py::none(),
        "step"_a = py::none(), "dampening"_a = 0.0, "nesterov"_a = false, "weight_decay"_a = 0.0, "decoupled"_a = false,
        "clip"_a = py::none(), "eps"_a = 0.0, "grad_scale"_a = 1.0, "nonfinite"_a = "skip", "threads"_a = py::none());
}

}  // namespace pyasr::bind

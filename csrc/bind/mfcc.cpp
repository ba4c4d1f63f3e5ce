#include "pyasr/mfcc.hpp"

#include <pybind11/complex.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <memory>
#include <string>
#include <vector>

#include "bind/array.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

// A plan's tables as the kernels want them. Built and checked once per plan: kernels trust their indices.
struct NativePlan {
  MfccTables tables{};
  double scale = 0;     // 0: by the type of the wave
  double largest = 16;  // magnitude of a floating sample
  std::vector<float> window, twiddle, split, mel_weight, dct;
  std::vector<int> sample, radix, order, mel_begin, mel_offset;
};

std::vector<float> to_float(const double* p, std::int64_t n, double factor = 1) {
  std::vector<float> out(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) out[static_cast<std::size_t>(i)] = static_cast<float>(p[i] * factor);
  return out;
}

// complex128 [n] as float32 [n, 2]
std::vector<float> complex_to_float(const Door& door, const char* name, py::handle x, std::int64_t n) {
  using Complex = py::array_t<std::complex<double>, py::array::c_style>;
  if (!py::isinstance<Complex>(x) || py::reinterpret_borrow<py::array>(x).size() != n)
    door.value_error(std::string(name) + " must be complex128 with " + std::to_string(n) + " elements");
  return to_float(static_cast<const double*>(py::reinterpret_borrow<py::array>(x).data()), 2 * n);
}

std::vector<int> to_int(const Door& door, const char* name, const std::int32_t* p, std::int64_t n, std::int64_t low,
                        std::int64_t high) {
  for (std::int64_t i = 0; i < n; ++i)
    if (p[i] < low || p[i] > high)
      door.value_error(std::string(name) + " must lie in [" + std::to_string(low) + ", " + std::to_string(high) +
                       "], got " + std::to_string(p[i]) + " at " + std::to_string(i));
  return {p, p + n};
}

FrameEnergy energy_of(const Door& door, const std::string& name) {
  if (name == "none") return FrameEnergy::none;
  if (name == "raw") return FrameEnergy::raw;
  if (name == "windowed") return FrameEnergy::windowed;
  door.value_error("plan.options.energy must be none, raw or windowed, got " + name);
}

NativePlan* build(Door& door, py::handle plan) {
  auto native = std::make_unique<NativePlan>();
  NativePlan& p = *native;
  MfccTables& t = p.tables;
  const py::object o = plan.attr("options");
  auto flag = [&](const char* name) { return door.boolean(name, o.attr(name)); };
  auto size = [&](const char* name, std::int64_t low, std::int64_t high) {
    return static_cast<int>(door.integer_in(name, plan.attr(name), low, high));
  };
  const auto kind = py::cast<std::string>(plan.attr("kind"));
  t.kind = kind == "mfcc" ? FeatureKind::mfcc : kind == "fbank" ? FeatureKind::fbank : FeatureKind::spectrogram;
  t.energy = energy_of(door, py::cast<std::string>(o.attr("energy")));
  t.fft = size("fft_size", 2, 65536);
  t.length = size("length", 2, t.fft);
  // The FFT's first pass expects samples in the first half of its points.
  if (t.fft > 2 * t.length)
    door.value_error("plan.fft_size must be at most twice plan.length, got " + std::to_string(t.fft));
  t.shift = size("shift", 1, 65536);
  t.features = size("features", 1, 1 << 20);
  const int half = t.fft / 2;
  if (t.fft % 2) door.value_error("plan.fft_size must be even, got " + std::to_string(t.fft));
  t.snip_edges = flag("snip_edges");
  t.remove_dc = flag("remove_dc");
  t.htk_compat = flag("htk_compat");
  t.power = flag("use_power");
  t.log = flag("use_log_fbank");
  t.keep = static_cast<float>(1 - door.real_in("preemph", o.attr("preemph"), 0, 1));
  t.mel_floor = flag("htk_mode") ? 1 : 0;
  t.energy_floor =
      std::max(0x1p-23f, static_cast<float>(door.real_in("energy_floor", o.attr("energy_floor"), 0, 1e30)));
  if (!o.attr("scale").is_none()) {
    p.scale = door.real_in("scale", o.attr("scale"), 0x1p-24, 0x1p24);
    p.largest = 0x1p40 / p.scale;
  }

  door.bind("L", t.length);
  p.window = to_float(door.read<double>("plan.window", plan.attr("window"), "L"), t.length, 0.5);
  p.window.push_back(0);
  const int columns = mfcc_tile_columns(t.length, t.shift), rows = mfcc_tile_rows(t.length, t.shift);
  p.sample.push_back(rows * columns);
  for (int n = 1; n <= t.length; ++n) p.sample.push_back(n % t.shift * columns + n / t.shift);

  const auto* radices = door.read<std::int32_t>("plan.radices", plan.attr("radices"), "stages");
  t.stages = static_cast<int>(door["stages"]);
  p.radix = to_int(door, "plan.radices", radices, t.stages, 2, half);
  std::int64_t twiddles = 0;
  int m = half;
  for (const int r : p.radix) {
    if (m % r) door.value_error("plan.radices must multiply to " + std::to_string(half));
    m /= r;
    twiddles += static_cast<std::int64_t>(m) * (r - 1) + (r == 2 || r == 4 ? 0 : r);
  }
  if (m != 1) door.value_error("plan.radices must multiply to " + std::to_string(half));
  p.twiddle = complex_to_float(door, "plan.twiddle", plan.attr("twiddle"), twiddles);
  p.split = complex_to_float(door, "plan.split", plan.attr("split"), half / 2 + 1);
  door.bind("half", half);
  p.order =
      to_int(door, "plan.order", door.read<std::int32_t>("plan.order", plan.attr("order"), "half"), half, 0, half - 1);

  const auto* begin = door.read<std::int32_t>("plan.mel_begin", plan.attr("mel_begin"), "M");
  t.mels = static_cast<int>(door["M"]);
  door.bind("offsets", t.mels + 1);
  const auto* offset = door.read<std::int32_t>("plan.mel_offset", plan.attr("mel_offset"), "offsets");
  const auto* weight = door.read<double>("plan.mel_weight", plan.attr("mel_weight"), "weights");
  p.mel_begin = to_int(door, "plan.mel_begin", begin, t.mels, 0, half);
  p.mel_offset = to_int(door, "plan.mel_offset", offset, t.mels + 1, 0, door["weights"]);
  for (int j = 0; j < t.mels; ++j)
    if (offset[j + 1] < offset[j] || begin[j] + (offset[j + 1] - offset[j]) > half)
      door.value_error("plan.mel_offset must not decrease, nor lead beyond bin " + std::to_string(half - 1));
  p.mel_weight = to_float(weight, door["weights"]);
  const auto* dct = door.read<double>("plan.dct", plan.attr("dct"), "C M");
  t.ceps = static_cast<int>(door["C"]);
  for (int j = 0; j < t.mels; ++j)
    for (int k = 0; k < t.ceps; ++k)
      p.dct.push_back(static_cast<float>(dct[static_cast<std::int64_t>(k) * t.mels + j]));

  const int wanted = t.kind == FeatureKind::mfcc    ? t.ceps
                     : t.kind == FeatureKind::fbank ? t.mels + (t.energy != FrameEnergy::none)
                                                    : half + 1;
  if (t.features != wanted)
    door.value_error("plan.features must be " + std::to_string(wanted) + ", got " + std::to_string(t.features));
  t.window = p.window.data();
  t.sample = p.sample.data();
  t.radix = p.radix.data();
  t.twiddle = p.twiddle.data();
  t.order = p.order.data();
  t.split = p.split.data();
  t.mel_begin = p.mel_begin.data();
  t.mel_offset = p.mel_offset.data();
  t.mel_weight = p.mel_weight.data();
  t.dct = p.dct.data();
  return native.release();
}

// The native form of a plan, kept in plan.cache["cpp"]. Whoever uses it holds the capsule: building one may run Python
// code, and so another thread that puts a capsule of its own into the cache.
py::capsule native_plan(const char* op, py::handle plan) {
  static const py::handle type = py::object(py::module_::import("pyasr.ops._plan").attr("MfccPlan")).release();
  Door door(op);
  if (!py::isinstance(plan, type))
    door.type_error("plan must be an MfccPlan, got " + py::cast<std::string>(py::type::of(plan).attr("__name__")));
  const auto kind = py::cast<std::string>(plan.attr("kind"));
  if (kind != op) door.value_error(std::string("plan must be one for ") + op + ", got one for " + kind);
  const auto cache = py::cast<py::dict>(plan.attr("cache"));
  if (!cache.contains("cpp"))
    cache["cpp"] =
        py::capsule(build(door, plan), "pyasr.MfccTables", [](void* p) { delete static_cast<NativePlan*>(p); });
  return py::cast<py::capsule>(cache["cpp"]);
}

std::int64_t frame_count(const MfccTables& t, std::int64_t n) {
  if (t.snip_edges) return n < t.length ? 0 : 1 + (n - t.length) / t.shift;
  return (n + t.shift / 2) / t.shift;
}

// Says which sample it was. A wave with one that is not finite is named for that before one that is too large.
template <class T>
[[noreturn]] void refuse_samples(const Door& door, const T* wave, std::int64_t n, const NativePlan& p, bool finite) {
  std::int64_t i = 0;
  while (i + 1 < n && (finite ? std::abs(static_cast<double>(wave[i])) <= p.largest : std::isfinite(wave[i]))) ++i;
  auto text = [](double x) { return py::cast<std::string>(py::repr(py::float_(x))); };
  const std::string got = ", got " + text(static_cast<double>(wave[i])) + " at " + std::to_string(i);
  if (!finite) door.value_error("wave must be finite" + got);
  if (p.scale == 0) door.value_error("wave must lie in [-1, 1]" + got + ": pass scale=1 for samples at int16 scale");
  door.value_error("wave must lie within " + text(p.largest) + " for scale=" + text(p.scale) + got);
}

template <class T>
py::object compute(Door& door, const NativePlan& p, WaveType type, py::handle wave, py::handle out, int threads) {
  const MfccTables& t = p.tables;
  const T* samples = door.read<T>("wave", wave, "N");
  MfccArgs args{samples, type, door["N"], p.scale, 0, nullptr};
  if (p.scale == 0) args.scale = type == WaveType::int16 ? 1 : 32768;
  args.frames = frame_count(t, args.n);
  py::array result;
  if (out.is_none()) {
    result = new_array<float>({args.frames, t.features});
    args.out = data<float>(result);
  } else {
    door.bind("T", args.frames);
    door.bind("F", t.features);
    args.out = door.write<float>("out", out, "T F");
    door.no_overlap({"wave", "out"});
    result = py::reinterpret_borrow<py::array>(out);
  }
  const std::int64_t tiles = (args.frames + mfcc_tile - 1) / mfcc_tile;
  if (threads > tiles) threads = tiles ? static_cast<int>(tiles) : 1;
  const Mfcc& op = *kernels().mfcc;
  const auto scratch = new_scratch(op.workspace_bytes(t, threads));
  double peak = 0;
  run_released(threads, [&](const Runtime& runtime) { peak = op.run(t, args, scratch.get(), runtime); });
  if (!(peak <= p.largest)) refuse_samples(door, samples, args.n, p, std::isfinite(peak));
  return result;
}

py::object features(const char* op, py::handle wave, py::handle plan, py::handle out, py::handle threads) {
  const py::capsule kept = native_plan(op, plan);
  const NativePlan& p = *kept.get_pointer<NativePlan>();
  Door door(op);
  const int workers = door.threads(threads);
  switch (door.type_of("wave", wave, "hfd")) {
    case 'h':
      return compute<std::int16_t>(door, p, WaveType::int16, wave, out, workers);
    case 'f':
      return compute<float>(door, p, WaveType::float32, wave, out, workers);
    default:
      return compute<double>(door, p, WaveType::float64, wave, out, workers);
  }
}

}  // namespace

void bind_mfcc(py::module_& m) {
  auto add = [&m](auto function, const char* name) {
    m.def(name, function, "wave"_a, "plan"_a, py::kw_only(), "out"_a = py::none(), "threads"_a = py::none());
  };
  using H = py::handle;
  add([](H wave, H plan, H out, H threads) { return features("mfcc", wave, plan, out, threads); }, "mfcc");
  add([](H wave, H plan, H out, H threads) { return features("fbank", wave, plan, out, threads); }, "fbank");
  add([](H wave, H plan, H out, H threads) { return features("spectrogram", wave, plan, out, threads); },
      "spectrogram");
}

}  // namespace pyasr::bind

// The plan of a feature as the kernels want it: built and checked once per plan.
#pragma once
#include <pybind11/complex.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <memory>
#include <string>
#include <vector>

#include "bind/array.hpp"
#include "pyasr/mfcc.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

// A plan's tables as the kernels want them. Built and checked once per plan: kernels trust their indices.
struct NativePlan {
  MfccTables tables{};
  double scale = 0;     // 0: by the type of the wave
  double largest = 16;  // magnitude of a floating sample
  std::vector<float> window, twiddle, split, mel_weight, mel_trust, dct;
  std::vector<double> window64, twiddle64, split64, chirp, response;
  std::vector<int> sample, radix, order, mel_begin, mel_offset;
};

inline std::vector<float> to_float(const double* p, std::int64_t n, double factor = 1) {
  std::vector<float> out(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) out[static_cast<std::size_t>(i)] = static_cast<float>(p[i] * factor);
  return out;
}

// complex128 [n] as its 2 n numbers
inline const double* complex_of(const Door& door, const char* name, py::handle x, std::int64_t n) {
  using Complex = py::array_t<std::complex<double>, py::array::c_style>;
  if (!py::isinstance<Complex>(x) || py::reinterpret_borrow<py::array>(x).size() != n)
    door.value_error(std::string(name) + " must be complex128 with " + std::to_string(n) + " elements");
  return static_cast<const double*>(py::reinterpret_borrow<py::array>(x).data());
}

inline std::vector<int> to_int(const Door& door, const char* name, const std::int32_t* p, std::int64_t n,
                               std::int64_t low, std::int64_t high) {
  for (std::int64_t i = 0; i < n; ++i)
    if (p[i] < low || p[i] > high)
      door.value_error(std::string(name) + " must lie in [" + std::to_string(low) + ", " + std::to_string(high) +
                       "], got " + std::to_string(p[i]) + " at " + std::to_string(i));
  return {p, p + n};
}

// The place of an option's value among the words of an enumeration.
template <class E>
E word(const Door& door, const char* name, py::handle value, std::initializer_list<const char*> words) {
  const auto text = value.is_none() ? std::string("none") : py::cast<std::string>(value);
  int i = 0;
  for (const char* w : words) {
    if (text == w) return static_cast<E>(i);
    ++i;
  }
  door.value_error("plan.options." + std::string(name) + " is not one of its words: " + text);
}

// Samples: frames, padding, scales, the tile.
inline void build_frames(Door& door, py::handle plan, py::handle o, NativePlan& p) {
  MfccTables& t = p.tables;
  auto size = [&](const char* name, std::int64_t low, std::int64_t high) {
    return static_cast<int>(door.integer_in(name, plan.attr(name), low, high));
  };
  t.fft = size("fft_size", 2, 65536);
  t.length = size("length", 2, t.fft);
  t.shift = size("shift", 1, 65536);
  t.start = size("start", -65536, 65536);
  const auto rule = py::cast<py::tuple>(o.attr("frame_rule"));
  std::int64_t* const fields[] = {&t.rule.least, &t.rule.few, &t.rule.base, &t.rule.add};
  for (std::size_t i = 0; i < 4; ++i) *fields[i] = door.integer_in("frame_rule", rule[i], -(1 << 20), 1 << 20);
  t.padding = word<Padding>(door, "padding", o.attr("padding"), {"constant", "reflect", "symmetric", "edge"});
  t.remove_dc = door.boolean("remove_dc", o.attr("remove_dc"));
  const double preemph = door.real_in("preemph", o.attr("preemph"), 0, 1);
  const bool whole = door.boolean("preemph_signal", o.attr("preemph_signal"));
  t.signal_preemph = whole ? preemph : 0;
  t.preemph = whole ? 0 : preemph;
  t.keep = static_cast<float>(1 - t.preemph);
  if (!o.attr("scale").is_none()) {
    p.scale = door.real_in("scale", o.attr("scale"), 0x1p-24, 0x1p24);
    p.largest = 0x1p40 / p.scale;
  }
  const double gain = door.real_in("gain", plan.attr("gain"), 0x1p-40, 0x1p40);
  t.dither = static_cast<float>(door.real_in("dither", o.attr("dither"), 0, 1e6) / gain);
  t.seed = py::cast<std::uint64_t>(o.attr("dither_seed"));

  const double halves = py::len(plan.attr("chirp")) ? 1 : 0.5;  // see MfccTables::window
  const double spectrum = door.real_in("spectrum_gain", plan.attr("spectrum_gain"), 0x1p-40, 0x1p40);
  t.raw_gain = static_cast<float>(gain * gain);
  t.windowed_gain = static_cast<float>(1 / (halves * halves * spectrum * spectrum));
  door.bind("L", t.length);
  const double* const window = door.read<double>("plan.window", plan.attr("window"), "L");
  p.window = to_float(window, t.length, halves * gain * spectrum);
  for (int n = 0; n < t.length; ++n) p.window64.push_back(window[n] * (halves * gain * spectrum));
  p.window64.resize(p.window64.size() + 8);  // whole registers are read
  p.window.push_back(0);
  const int columns = mfcc_tile_columns(t.length, t.shift), rows = mfcc_tile_rows(t.length, t.shift);
  p.sample.push_back(rows * columns);
  for (int n = 1; n <= t.length; ++n) p.sample.push_back(n % t.shift * columns + n / t.shift);
}

inline void build_fft(Door& door, py::handle plan, NativePlan& p) {
  MfccTables& t = p.tables;
  const auto* order = door.read<std::int32_t>("plan.order", plan.attr("order"), "points");
  t.points = static_cast<int>(door.integer_in("plan.order's length", py::int_(door["points"]), 1, 1 << 18));
  p.order = to_int(door, "plan.order", order, t.points, 0, t.points - 1);
  const auto* radices = door.read<std::int32_t>("plan.radices", plan.attr("radices"), "stages");
  t.stages = static_cast<int>(door["stages"]);
  p.radix = to_int(door, "plan.radices", radices, t.stages, 2, 8);
  std::int64_t twiddles = 0;
  int m = t.points;
  for (const int r : p.radix) {
    if (m % r || (r > 5 && r != 8))
      door.value_error("plan.radices must be 2, 3, 4, 5 or 8 and multiply to " + std::to_string(t.points));
    m /= r;
    twiddles += static_cast<std::int64_t>(m) * (r - 1);
  }
  if (m != 1) door.value_error("plan.radices must multiply to " + std::to_string(t.points));
  const double* const twiddle = complex_of(door, "plan.twiddle", plan.attr("twiddle"), twiddles);
  p.twiddle64.assign(twiddle, twiddle + 2 * twiddles);
  if (py::len(plan.attr("chirp")) == 0) {
    if (t.fft != 2 * t.points) door.value_error("plan.order must have plan.fft_size / 2 elements without plan.chirp");
    const std::int64_t splits = t.points / 2 + 1;
    const double* const split = complex_of(door, "plan.split", plan.attr("split"), splits);
    p.twiddle = to_float(twiddle, 2 * twiddles);
    p.split = to_float(split, 2 * splits);
    p.split64.assign(split, split + 2 * splits);
    return;
  }
  if (t.points < t.length + t.fft / 2)
    door.value_error("plan.order must have at least length + fft_size / 2 elements, got " + std::to_string(t.points));
  const double* const chirp = complex_of(door, "plan.chirp", plan.attr("chirp"), t.length);
  const double* const response = complex_of(door, "plan.response", plan.attr("response"), t.points);
  p.chirp.assign(chirp, chirp + 2L * t.length);
  p.response.assign(response, response + 2L * t.points);
}

// Filters, logs, cepstra, energy, and what depends on the whole wave.
inline void build_bands(Door& door, py::handle plan, py::handle o, NativePlan& p) {
  MfccTables& t = p.tables;
  auto real = [&](const char* name, py::handle value, double low, double high) {
    return static_cast<float>(door.real_in(name, value, low, high));
  };
  t.kind = word<FeatureKind>(door, "kind", plan.attr("kind"), {"spectrogram", "fbank", "mfcc"});
  t.energy = word<FrameEnergy>(door, "energy", o.attr("energy"), {"none", "raw", "windowed", "spectral"});
  t.floor = word<LogFloor>(door, "floor_mode", o.attr("floor_mode"), {"max", "add", "zero"});
  t.normalize = word<Normalize>(door, "normalize", o.attr("normalize"), {"none", "per_feature", "all_features"});
  t.features = static_cast<int>(door.integer_in("features", plan.attr("features"), 1, 1 << 20));
  t.htk_compat = door.boolean("htk_compat", o.attr("htk_compat"));
  t.power = door.boolean("use_power", o.attr("use_power"));
  t.log = door.boolean("use_log_fbank", o.attr("use_log_fbank"));
  t.mel_floor = door.boolean("htk_mode", o.attr("htk_mode")) ? 1 : 0;
  t.log_floor = real("floor", o.attr("floor"), 0x1p-125, 1e30);
  t.log_gain = real("log_gain", plan.attr("log_gain"), 1e-9, 1e9);
  t.log_offset = real("log_offset", plan.attr("log_offset"), -1e9, 1e9);
  t.energy_floor = std::max(t.floor == LogFloor::max ? t.log_floor : 0x1p-125f,
                            real("energy_floor", o.attr("energy_floor"), 0, 1e30));
  t.dynamic_range = py::cast<double>(plan.attr("dynamic_range"));

  const int bins = t.fft / 2 + 1;
  const auto* begin = door.read<std::int32_t>("plan.mel_begin", plan.attr("mel_begin"), "M");
  t.mels = static_cast<int>(door["M"]);
  door.bind("offsets", t.mels + 1);
  const auto* offset = door.read<std::int32_t>("plan.mel_offset", plan.attr("mel_offset"), "offsets");
  const auto* weight = door.read<double>("plan.mel_weight", plan.attr("mel_weight"), "weights");
  p.mel_begin = to_int(door, "plan.mel_begin", begin, t.mels, 0, bins);
  p.mel_offset = to_int(door, "plan.mel_offset", offset, t.mels + 1, 0, door["weights"]);
  for (int j = 0; j < t.mels; ++j)
    if (offset[j + 1] < offset[j] || begin[j] + (offset[j + 1] - offset[j]) > bins)
      door.value_error("plan.mel_offset must not decrease, nor lead beyond bin " + std::to_string(bins - 1));
  p.mel_weight = to_float(weight, door["weights"]);
  // 49 dB under the mean of the spectrum
  const double trust = (t.power ? 1.25e-5 : 3.5e-3) / bins;
  for (int j = 0; j < t.mels; ++j) {
    double sum = 0;
    for (std::int32_t i = offset[j]; i < offset[j + 1]; ++i) sum += std::abs(weight[i]);
    p.mel_trust.push_back(t.log ? static_cast<float>(sum * trust) : 0);
  }
  t.bin_trust = t.log ? static_cast<float>(trust) : 0;
  double square = 0;  // of the window
  for (const double w : p.window64) square += w * w * (py::len(plan.attr("chirp")) ? 1 : 4);
  t.drift_trust = static_cast<float>(bins * (t.power ? 8 * square : std::sqrt(8 * square)));  // rounded three times
  const auto* dct = door.read<double>("plan.dct", plan.attr("dct"), "C M");
  t.ceps = static_cast<int>(door["C"]);
  for (int j = 0; j < t.mels; ++j)
    for (int k = 0; k < t.ceps; ++k)
      p.dct.push_back(static_cast<float>(dct[static_cast<std::int64_t>(k) * t.mels + j]));
  p.dct.resize(p.dct.size() + 16);

  const int wanted = t.kind == FeatureKind::mfcc    ? t.ceps
                     : t.kind == FeatureKind::fbank ? t.mels + (t.energy != FrameEnergy::none)
                                                    : bins;
  if (t.features != wanted)
    door.value_error("plan.features must be " + std::to_string(wanted) + ", got " + std::to_string(t.features));
}

inline NativePlan* build(Door& door, py::handle plan) {
  auto native = std::make_unique<NativePlan>();
  NativePlan& p = *native;
  MfccTables& t = p.tables;
  const py::object o = plan.attr("options");
  build_frames(door, plan, o, p);
  build_fft(door, plan, p);
  build_bands(door, plan, o, p);
  t.window = p.window.data();
  t.sample = p.sample.data();
  t.radix = p.radix.data();
  t.twiddle = p.twiddle.data();
  t.order = p.order.data();
  t.split = p.split.data();
  t.window64 = p.window64.data();
  t.twiddle64 = p.twiddle64.data();
  t.split64 = p.split64.data();
  t.chirp = p.chirp.empty() ? nullptr : p.chirp.data();
  t.response = p.response.data();
  t.mel_begin = p.mel_begin.data();
  t.mel_offset = p.mel_offset.data();
  t.mel_weight = p.mel_weight.data();
  t.mel_trust = p.mel_trust.data();
  t.dct = p.dct.data();
  return native.release();
}

// The native form of a plan, kept in plan.cache["cpp"]. Whoever uses it holds the capsule: building one may run Python
// code, and so another thread that puts a capsule of its own into the cache.
inline py::capsule native_plan(const char* op, py::handle plan) {
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

}  // namespace
}  // namespace pyasr::bind

#include "pyasr/mfcc.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "bind/function.hpp"
#include "bind/mfcc_plan.hpp"

namespace pyasr::bind {
namespace {

template <class F>
auto by_type(const MfccWave& w, const F& f) {
  switch (w.type) {
    case WaveType::int16:
      return f(static_cast<const std::int16_t*>(w.wave));
    case WaveType::float32:
      return f(static_cast<const float*>(w.wave));
    default:
      return f(static_cast<const double*>(w.wave));
  }
}

// Says which sample it was. A wave with one that is not finite is named for that before one that is too large.
template <class T>
[[noreturn]] void refuse_samples(const Door& door, const std::string& name, const T* wave, std::int64_t n,
                                 const NativePlan& p, bool finite) {
  std::int64_t i = 0;
  while (i + 1 < n && (finite ? !(std::abs(static_cast<double>(wave[i])) > p.largest) || !std::isfinite(wave[i])
                              : std::isfinite(wave[i])))
    ++i;
  auto text = [](double x) { return py::cast<std::string>(py::repr(py::float_(x))); };
  const std::string got = ", got " + text(static_cast<double>(wave[i])) + " at " + std::to_string(i);
  if (!finite) door.value_error(name + " must be finite" + got);
  if (p.scale == 0) door.value_error(name + " must lie in [-1, 1]" + got + ": pass scale=1 for samples at int16 scale");
  door.value_error(name + " must lie within " + text(p.largest) + " for scale=" + text(p.scale) + got);
}

// Whether all samples are finite, and the largest magnitude of those that are.
template <class T>
std::pair<bool, double> range_of(const T* wave, std::int64_t n) {
  bool finite = true;
  double most = 0;
  for (std::int64_t i = 0; i < n; ++i)
    if (std::isfinite(wave[i]))
      most = std::max(most, std::abs(static_cast<double>(wave[i])));
    else
      finite = false;
  return {finite, most};
}

// NaN in the frames that see a sample which is not finite.
template <class T>
void mark_frames(const MfccTables& t, const T* wave, const MfccWave& w) {
  // how many of the samples before i are not finite, as preemphasis spreads them
  std::vector<std::int64_t> before(static_cast<std::size_t>(w.n) + 1);
  auto bad = [&](std::int64_t i) {
    return !std::isfinite(wave[i]) || (t.signal_preemph != 0 && i > 0 && !std::isfinite(wave[i - 1]));
  };
  for (std::int64_t i = 0; i < w.n; ++i)
    before[static_cast<std::size_t>(i) + 1] = before[static_cast<std::size_t>(i)] + bad(i);
  std::vector<bool> marked(static_cast<std::size_t>(w.frames));
  bool any = false;
  for (std::int64_t f = 0; f < w.frames; ++f) {
    const std::int64_t first = t.start + f * t.shift, last = first + t.length;
    bool touched = false;
    if (first >= 0 && last <= w.n) {
      touched = before[static_cast<std::size_t>(last)] != before[static_cast<std::size_t>(first)];
    } else {
      for (std::int64_t i = first; i < last && !touched; ++i) {
        const std::int64_t at = mfcc_padded(t.padding, i, w.n);
        touched = at >= 0 && bad(at);
      }
    }
    marked[static_cast<std::size_t>(f)] = touched;
    any |= touched;
  }
  const bool whole = t.normalize != Normalize::none || std::isfinite(t.dynamic_range);
  for (std::int64_t f = 0; f < w.frames; ++f)
    if (marked[static_cast<std::size_t>(f)] || (any && whole))
      std::fill_n(w.out + f * w.stride, t.features, std::numeric_limits<float>::quiet_NaN());
}

// The samples of one wave, and how many frames they have.
MfccWave wave_of(Door& door, const char* name, py::handle wave, const NativePlan& p) {
  MfccWave w{};
  switch (door.type_of(name, wave, "hfd")) {
    case 'h':
      w.type = WaveType::int16;
      w.wave = door.read<std::int16_t>(name, wave, "N");
      break;
    case 'f':
      w.type = WaveType::float32;
      w.wave = door.read<float>(name, wave, "N");
      break;
    default:
      w.type = WaveType::float64;
      w.wave = door.read<double>(name, wave, "N");
  }
  w.n = door["N"];
  w.scale = p.scale != 0 ? p.scale : w.type == WaveType::int16 ? 1 : 32768;
  w.frames = mfcc_frames(p.tables, w.n);
  w.stride = p.tables.features;
  return w;
}

// Runs the kernel without the GIL and looks at the samples afterwards. name(b) is what errors call wave b.
template <class Name>
void compute(const Door& door, const NativePlan& p, std::vector<MfccWave>& waves, int threads, bool propagate,
             std::int64_t first_frame, const Name& name) {
  const MfccTables& t = p.tables;
  std::int64_t tiles = 0, frames = 0;
  for (const MfccWave& w : waves) {
    tiles += (w.frames + mfcc_tile - 1) / mfcc_tile;
    frames += w.frames;
  }
  if (threads > tiles) threads = tiles ? static_cast<int>(tiles) : 1;
  const Mfcc& op = *kernels().mfcc;
  const auto scratch = new_scratch(op.workspace_bytes(t, threads));
  runtime::Lease bands;
  if (mfcc_needs_bands(t)) {
    bands = new_scratch(door.product({frames, t.mels, 4}));
    auto* at = static_cast<float*>(static_cast<void*>(bands.get()));
    for (MfccWave& w : waves) {
      w.bands = at;
      at += w.frames * t.mels;
    }
  }
  const MfccArgs args{waves.data(), static_cast<std::int64_t>(waves.size()), first_frame};
  double peak = 0;
  run_released(threads, [&](const Runtime& runtime) { peak = op.run(t, args, scratch.get(), runtime); });
  if (peak <= p.largest) return;
  for (std::size_t b = 0; b < waves.size(); ++b) {
    if (waves[b].type == WaveType::int16) continue;
    by_type(waves[b], [&](const auto* samples) {
      const auto [finite, most] = range_of(samples, waves[b].n);
      if (!finite && !propagate) refuse_samples(door, name(b), samples, waves[b].n, p, false);
      if (most > p.largest) refuse_samples(door, name(b), samples, waves[b].n, p, true);
      if (!finite) mark_frames(t, samples, waves[b]);
    });
  }
}

struct Request {
  py::handle plan, threads, nan;
};

struct Opened {
  py::capsule kept;
  const NativePlan& plan;
  int threads;
  bool propagate;
};

Opened open(const Door& door, const char* op, const Request& r) {
  py::capsule kept = native_plan(op, r.plan);
  const NativePlan& plan = *kept.get_pointer<NativePlan>();
  const int threads = door.threads(r.threads);
  return {std::move(kept), plan, threads, door.choice("nan", r.nan, {"raise", "propagate"}) == 1};
}

py::object features(const char* op, py::handle wave, py::handle out, py::handle first_frame, const Request& request) {
  Door door(op);
  const Opened o = open(door, op, request);
  const std::int64_t number = door.integer_in("first_frame", first_frame, 0, std::int64_t{1} << 62);
  std::vector<MfccWave> waves{wave_of(door, "wave", wave, o.plan)};
  MfccWave& w = waves[0];
  py::array result;
  if (out.is_none()) {
    result = new_array<float>({w.frames, w.stride});
    w.out = data<float>(result);
  } else {
    door.bind("T", w.frames);
    door.bind("F", w.stride);
    w.out = door.write<float>("out", out, "T F");
    door.no_overlap({"wave", "out"});
    result = py::reinterpret_borrow<py::array>(out);
  }
  compute(door, o.plan, waves, o.threads, o.propagate, number, [](std::size_t) { return std::string("wave"); });
  return result;
}

// What features.batch calls: frame f of wave b becomes row first[b] + f * step of out [R, F].
void batch(const std::string& op, const py::list& list, py::handle out, py::handle first, std::int64_t step,
           const Request& request) {
  Door door("features.batch");
  const Opened o = open(door, op.c_str(), request);
  const std::int64_t features = o.plan.tables.features;
  door.bind("F", features);
  door.bind("B", static_cast<std::int64_t>(list.size()));
  float* const rows = door.write<float>("out", out, "R F");
  const auto* places = door.read<std::int64_t>("first", first, "B");
  auto name = [](std::size_t b) { return "waves[" + std::to_string(b) + "]"; };
  std::vector<MfccWave> waves;
  for (std::size_t b = 0; b < list.size(); ++b) {
    Door one("features.batch");
    MfccWave w = wave_of(one, name(b).c_str(), list[b], o.plan);
    const std::int64_t last = w.frames ? places[b] + (w.frames - 1) * step : 0;
    if (step < 1 || places[b] < 0 || (w.frames && last >= door["R"]))
      door.value_error("first and step must lead to rows of out, got " + std::to_string(places[b]) + " and " +
                       std::to_string(step));
    w.out = rows + (w.frames ? places[b] * features : 0);
    w.stride = step * features;
    waves.push_back(w);
  }
  if (!waves.empty()) compute(door, o.plan, waves, o.threads, o.propagate, 0, name);
}

}  // namespace

void bind_mfcc(py::module_& m) {
  auto add = [&m](auto function, const char* name) {
    def(m, name, function,
        {"wave"_a, "plan"_a, py::kw_only(), "out"_a = py::none(), "threads"_a = py::none(), "nan"_a = "raise",
         "first_frame"_a = 0});
  };
  using H = py::handle;
  add([](H wave, H plan, H out, H threads, H nan,
         H first) { return features("mfcc", wave, out, first, {plan, threads, nan}); },
      "mfcc");
  add([](H wave, H plan, H out, H threads, H nan,
         H first) { return features("fbank", wave, out, first, {plan, threads, nan}); },
      "fbank");
  add([](H wave, H plan, H out, H threads, H nan,
         H first) { return features("spectrogram", wave, out, first, {plan, threads, nan}); },
      "spectrogram");
  m.def("_batch", [](const std::string& op, const py::list& waves, H plan, H out, H first, std::int64_t step, H threads,
                     H nan) { batch(op, waves, out, first, step, {plan, threads, nan}); });
}

}  // namespace pyasr::bind

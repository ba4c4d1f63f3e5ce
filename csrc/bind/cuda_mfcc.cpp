#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <string>

#include "bind/cuda_family.hpp"
#include "cuda/mfcc.hpp"
#include "cuda/mfcc_after.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

// A plan on a device: numbers by the names of MfccTables, and where its tables lie, which the caller keeps.
std::unique_ptr<cuda::MfccOnDevice> on_device(const py::dict& numbers, const py::dict& tables) {
  auto plan = std::make_unique<cuda::MfccOnDevice>();
  MfccTables& t = plan->t;
  auto set = [&numbers](const char* name, auto& field) {
    using T = std::remove_reference_t<decltype(field)>;
    const py::object value = numbers[name];
    if constexpr (std::is_enum_v<T>)
      field = static_cast<T>(py::cast<int>(value));
    else
      field = py::cast<T>(value);
  };
  set("kind", t.kind), set("energy", t.energy), set("length", t.length), set("shift", t.shift), set("start", t.start);
  set("padding", t.padding), set("fft", t.fft), set("mels", t.mels), set("ceps", t.ceps), set("features", t.features);
  set("remove_dc", t.remove_dc), set("htk_compat", t.htk_compat), set("power", t.power), set("log", t.log);
  set("signal_preemph", t.signal_preemph), set("keep", t.keep), set("preemph", t.preemph);
  set("mel_floor", t.mel_floor), set("floor", t.floor), set("log_floor", t.log_floor), set("log_gain", t.log_gain);
  set("log_offset", t.log_offset), set("energy_floor", t.energy_floor), set("raw_gain", t.raw_gain);
  set("windowed_gain", t.windowed_gain), set("dynamic_range", t.dynamic_range), set("normalize", t.normalize);
  set("points", t.points), set("stages", t.stages), set("bin_trust", t.bin_trust), set("drift_trust", t.drift_trust);
  auto point = [&tables](const char* name, auto& field) {
    field = reinterpret_cast<std::remove_reference_t<decltype(field)>>(py::cast<Address>(tables[name]));
  };
  point("window", t.window), point("radix", t.radix), point("twiddle", t.twiddle), point("order", t.order);
  point("split", t.split), point("window64", t.window64), point("twiddle64", t.twiddle64), point("split64", t.split64);
  point("chirp", t.chirp), point("response", t.response), point("mel_begin", t.mel_begin);
  point("mel_offset", t.mel_offset), point("mel_weight", t.mel_weight), point("mel_trust", t.mel_trust);
  point("dct", t.dct), point("middle", plan->middle);
  return plan;
}

// One wave (pieces = 0) or a table of `count`.
cuda::MfccJob job_of(Address samples, int type, double scale, double largest, bool exact, Address pieces,
                     std::array<std::int64_t, 4> sizes) {
  const auto [count, n, frames, tiles] = sizes;
  cuda::MfccJob job{};
  job.samples = at<const void>(samples);
  job.pieces = at<const cuda::MfccPiece>(pieces);
  job.one.n = n;
  job.one.frames = frames;
  job.count = count;
  job.frames = frames;
  job.tiles = tiles;
  job.step = 1;
  job.type = static_cast<WaveType>(type);
  job.scale = scale;
  job.largest = largest;
  job.exact = exact;
  return job;
}

cuda::FrameLayout layout_of(std::array<std::int64_t, 5> sizes, Address lengths, Address offsets) {
  const auto [lines, frames, line, step, utterances] = sizes;
  return {lines, frames, line, step, utterances, at<const std::int32_t>(lengths), at<const std::int64_t>(offsets)};
}

// work(T()) for the dtype of an array.
template <class Work>
cudaError_t for_floats(bool is_double, Work&& work) {
  return is_double ? work(double{}) : work(float{});
}

}  // namespace

PYASR_CUDA_FAMILY(mfcc) {
  py::class_<cuda::MfccOnDevice>(m, "MfccPlan", py::module_local())
      .def(py::init(&on_device), "numbers"_a, "tables"_a)
      .def_property_readonly(
          "memory_bytes",
          [](const cuda::MfccOnDevice& plan) {
            std::size_t bytes = 0;
            check("mfcc", cuda::mfcc_memory_bytes(plan.t, &bytes));
            return bytes;
          },
          "Of device memory, for frames that do not fit into shared memory.");
  m.def("mfcc_frames_each", &cuda::mfcc_frames_each, "fft"_a, "Frames of a tile.");
  m.def("mfcc_tile_lanes", &cuda::mfcc_tile_lanes, "fft"_a, "Lanes of a frame; 0 where frames have blocks.");
  m.def(
      "mfcc_plans",
      [](int fft, int length, int shift, int mels, int features, int points) {
        cuda::DeviceProperties device;
        check("mfcc_plans", cuda::device_properties(&device));
        const bool chirp = fft != 2 * points;
        const auto tile = cuda::plan_mfcc_tile(fft, length, shift, mels, features, device);
        const auto single = cuda::plan_mfcc_frame(length, fft, points, chirp, mels, 4, device);
        const auto precise = cuda::plan_mfcc_frame(length, fft, points, chirp, mels, 8, device);
        return py::dict("tile"_a = tile.shared, "float32_shared"_a = single.shared, "float32_memory"_a = single.memory,
                        "float64_shared"_a = precise.shared, "float64_memory"_a = precise.memory);
      },
      "fft"_a, "length"_a, "shift"_a, "mels"_a, "features"_a, "points"_a,
      "Bytes that a block of each kernel takes on the current device; tile: 0 where it does not take the plan.");
  using Sizes = std::array<std::int64_t, 4>;
  m.def(
      "mfcc",
      [](const char* op, const cuda::MfccOnDevice& plan, Address samples, int type, double scale, double largest,
         bool exact, Address pieces, Sizes sizes, std::int64_t step, Address out, Address weak, Address bands,
         Address peaks, Address memory, Address stream) {
        cuda::MfccJob job = job_of(samples, type, scale, largest, exact, pieces, sizes);
        job.step = step;
        job.out = at<float>(out);
        job.weak = at<unsigned char>(weak);
        job.bands = at<float>(bands);
        job.peaks = at<int>(peaks);
        job.memory = at<void>(memory);
        queue(op, [&] { return cuda::mfcc(plan, job, stream_at(stream)); });
      },
      py::kw_only(), "op"_a, "plan"_a, "samples"_a, "type"_a, "scale"_a, "largest"_a, "exact"_a, "pieces"_a, "sizes"_a,
      "step"_a, "out"_a, "weak"_a, "bands"_a, "peaks"_a, "memory"_a, "stream"_a);
  m.def(
      "mfcc_check",
      [](const char* op, Address samples, int type, double largest, Address pieces, Sizes sizes, Address worst,
         Address stream) {
        const cuda::MfccJob job = job_of(samples, type, 1, largest, false, pieces, sizes);
        queue(op, [&] { return cuda::mfcc_check(job, at<unsigned long long>(worst), stream_at(stream)); });
      },
      py::kw_only(), "op"_a, "samples"_a, "type"_a, "largest"_a, "pieces"_a, "sizes"_a, "worst"_a, "stream"_a);
  m.def(
      "mfcc_clear",
      [](Address p, std::size_t bytes, Address stream) {
        queue("mfcc", [&] { return cudaMemsetAsync(at<void>(p), 0, bytes, stream_at(stream)); });
      },
      "address"_a, "nbytes"_a, "stream"_a, "Zeros.");
  m.def(
      "mfcc_fetch",
      [](Address to, Address from, std::size_t bytes, Address stream) {
        queue("mfcc", [&] {
          return cudaMemcpyAsync(at<void>(to), at<const void>(from), bytes, cudaMemcpyDeviceToDevice,
                                 stream_at(stream));
        });
      },
      "to"_a, "from_"_a, "nbytes"_a, "stream"_a, "A copy within the device.");
  using Layout = std::array<std::int64_t, 5>;
  m.def(
      "deltas_fit",
      [](int F, int window, int order, bool repeated) {
        cuda::DeviceProperties device;
        check("deltas", cuda::device_properties(&device));
        return cuda::plan_deltas(F, window, order, repeated, device).frames > 0;
      },
      "F"_a, "window"_a, "order"_a, "repeated"_a, "Whether a tile of it fits into shared memory.");
  m.def(
      "deltas",
      [](Address x, Address y, bool is_double, int F, int window, int order, bool repeated, Address taps, Layout sizes,
         Address lengths, Address offsets, Address stream) {
        const cuda::DeltasArgs args{
            layout_of(sizes, lengths, offsets), F, window, order, repeated, at<const double>(taps)};
        queue("deltas", [&] {
          return for_floats(
              is_double, [&]<class T>(T) { return cuda::deltas(args, at<const T>(x), at<T>(y), stream_at(stream)); });
        });
      },
      py::kw_only(), "x"_a, "y"_a, "is_double"_a, "F"_a, "window"_a, "order"_a, "repeated"_a, "taps"_a, "sizes"_a,
      "lengths"_a, "offsets"_a, "stream"_a);
  m.def(
      "cmvn",
      [](Address x, Address y, bool is_double, int F, bool variance, Layout sizes, Address lengths, Address offsets,
         Address stream) {
        const cuda::FrameLayout layout = layout_of(sizes, lengths, offsets);
        queue("cmvn", [&] {
          return for_floats(is_double, [&]<class T>(T) {
            return cuda::cmvn(layout, F, variance, at<const T>(x), at<T>(y), stream_at(stream));
          });
        });
      },
      py::kw_only(), "x"_a, "y"_a, "is_double"_a, "F"_a, "variance"_a, "sizes"_a, "lengths"_a, "offsets"_a, "stream"_a);
}

}  // namespace pyasr::bind

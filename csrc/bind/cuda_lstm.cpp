#include "bind/cuda_family.hpp"
#include "cuda/lstm.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

cuda::LstmShape shape_of(const py::tuple& shape) {
  return {shape[0].cast<long>(), shape[1].cast<long>(), shape[2].cast<long>(), shape[3].cast<int>(),
          shape[4].cast<bool>()};
}

// What the three passes share: addresses by their name in LstmModel.
template <class T>
cuda::LstmModel<T> model_of(const py::dict& m) {
  const auto address = [&](const char* name) { return m[name].cast<Address>(); };
  cuda::LstmModel<T> out{};
  out.shape = shape_of(m["shape"]);
  out.lengths = at<const std::int32_t>(address("lengths"));
  out.w_hh = at<const T>(address("w_hh"));
  out.peephole = at<const T>(address("peephole"));
  out.state_mask = at<const T>(address("state_mask"));
  out.keep_h = at<const T>(address("keep_h"));
  out.keep_c = at<const T>(address("keep_c"));
  out.cell_clip = static_cast<T>(m["cell_clip"].cast<double>());
  out.gates = at<T>(address("gates"));
  out.h = at<T>(address("h"));
  out.c = at<T>(address("c"));
  out.h_row = cuda::lstm_row(out.shape.units, sizeof(T));
  return out;
}

template <class F>
void by_type(const py::dict& model, F&& f) {
  if (model["is_double"].cast<bool>())
    f(double{});
  else
    f(float{});
}

void forward(const py::dict& model, Address bias, Address h0, Address c0, Address y, Address hn, Address cn,
             Address workspace, Address stream) {
  by_type(model, [&](auto number) {
    using T = decltype(number);
    const cuda::LstmForwardArgs<T> args{model_of<T>(model), at<const T>(bias), at<const T>(h0), at<const T>(c0),
                                        at<T>(y),           at<T>(hn),         at<T>(cn)};
    queue("lstm_forward", [&] { return cuda::lstm_forward(args, at<void>(workspace), stream_at(stream)); });
  });
}

void backward(const py::dict& model, Address dy, Address dhn, Address dcn, Address dgates, Address dh0, Address dc0,
              Address workspace, Address stream) {
  by_type(model, [&](auto number) {
    using T = decltype(number);
    const cuda::LstmBackwardArgs<T> args{model_of<T>(model), at<const T>(dy), at<const T>(dhn), at<const T>(dcn),
                                         at<T>(dgates),      at<T>(dh0),      at<T>(dc0)};
    queue("lstm_backward", [&] { return cuda::lstm_backward(args, at<void>(workspace), stream_at(stream)); });
  });
}

void jvp(const py::dict& model, Address dbias, Address dpeephole, Address dh0, Address dc0, Address pre, Address dh,
         Address dy, Address dhn, Address dcn, Address workspace, Address stream) {
  by_type(model, [&](auto number) {
    using T = decltype(number);
    cuda::LstmJvpArgs<T> args{};
    args.model = model_of<T>(model);
    args.dbias = at<const T>(dbias);
    args.dpeephole = at<const T>(dpeephole);
    args.dh0 = at<const T>(dh0);
    args.dc0 = at<const T>(dc0);
    args.pre = at<const T>(pre);
    args.dh = at<T>(dh);
    args.dy = at<T>(dy);
    args.dhn = at<T>(dhn);
    args.dcn = at<T>(dcn);
    queue("lstm_jvp", [&] { return cuda::lstm_jvp(args, at<void>(workspace), stream_at(stream)); });
  });
}

void sums(const py::dict& model, Address dgates, Address partial, Address dbias, Address dpeephole, Address stream) {
  by_type(model, [&](auto number) {
    using T = decltype(number);
    const cuda::LstmSumsArgs<T> args{model_of<T>(model), at<const T>(dgates), at<T>(partial), at<T>(dbias),
                                     at<T>(dpeephole)};
    queue("lstm_backward", [&] { return cuda::lstm_sums(args, stream_at(stream)); });
  });
}

void clean(const py::dict& model, Address x, long width, Address out, Address stream) {
  by_type(model, [&](auto number) {
    using T = decltype(number);
    const auto m = model_of<T>(model);
    queue("lstm_backward", [&] {
      return cuda::lstm_clean(at<const T>(x), m.lengths, m.shape.frames, m.shape.batch, width, at<T>(out),
                              stream_at(stream));
    });
  });
}

void add(bool is_double, Address target, Address addend, std::size_t n, Address target2, Address addend2,
         std::size_t n2, Address stream) {
  const auto run = [&](auto number) {
    using T = decltype(number);
    queue("lstm_backward", [&] {
      return cuda::lstm_add(at<T>(target), at<const T>(addend), n, at<T>(target2), at<const T>(addend2), n2,
                            stream_at(stream));
    });
  };
  is_double ? run(double{}) : run(float{});
}

// A plan for a described device: persistent, units, rows per thread, groups, blocks, rows of a group, shared bytes.
py::tuple plan(const py::tuple& device, const py::tuple& shape, bool backward, bool is_double) {
  const cuda::DeviceProperties d{device[0].cast<int>(),         device[1].cast<int>(),
                                 device[2].cast<std::size_t>(), device[3].cast<std::size_t>(),
                                 device[4].cast<std::size_t>(), device[5].cast<int>(),
                                 device[6].cast<int>()};
  const auto s = shape_of(shape);
  const auto p = cuda::plan_lstm(d, s, backward, is_double ? 8 : 4);
  return py::make_tuple(p.persistent, p.units, p.batch, p.groups, p.blocks(s.directions), p.rows, p.shared_bytes);
}

}  // namespace

PYASR_CUDA_FAMILY(lstm) {
  m.attr("lstm_threads") = cuda::lstm_threads;
  m.def(
      "lstm_plan", &plan, "device"_a, "shape"_a, "backward"_a, "is_double"_a,
      "The launch of a pass over time on a device (processors, threads and shared bytes of one, L2, major, minor) for "
      "(T, B, H, directions, reverse): (persistent, units, rows per thread, groups, blocks, rows, shared bytes).");
  m.def(
      "lstm_workspace_bytes",
      [](const py::tuple& shape, bool backward, bool is_double) {
        return cuda::lstm_workspace_bytes(shape_of(shape), backward, is_double ? 8 : 4);
      },
      "shape"_a, "backward"_a, "is_double"_a);
  m.def(
      "lstm_partial_sums", [](const py::tuple& shape) { return cuda::lstm_partial_sums(shape_of(shape)); }, "shape"_a);
  m.def("lstm_forward", &forward, py::kw_only(), "model"_a, "bias"_a, "h0"_a, "c0"_a, "y"_a, "hn"_a, "cn"_a,
        "workspace"_a, "stream"_a);
  m.def("lstm_backward", &backward, py::kw_only(), "model"_a, "dy"_a, "dhn"_a, "dcn"_a, "dgates"_a, "dh0"_a, "dc0"_a,
        "workspace"_a, "stream"_a);
  m.def("lstm_jvp", &jvp, py::kw_only(), "model"_a, "dbias"_a, "dpeephole"_a, "dh0"_a, "dc0"_a, "pre"_a, "dh"_a, "dy"_a,
        "dhn"_a, "dcn"_a, "workspace"_a, "stream"_a);
  m.def("lstm_sums", &sums, py::kw_only(), "model"_a, "dgates"_a, "partial"_a, "dbias"_a, "dpeephole"_a, "stream"_a);
  m.def("lstm_clean", &clean, py::kw_only(), "model"_a, "x"_a, "width"_a, "out"_a, "stream"_a);
  m.def("lstm_add", &add, py::kw_only(), "is_double"_a, "target"_a, "addend"_a, "n"_a, "target2"_a, "addend2"_a, "n2"_a,
        "stream"_a);
}

}  // namespace pyasr::bind

// What the bindings of clip_sgd, adam and rmsprop on a CUDA device share: the keywords that pyasr/ops/_cuda/_update.py
// gives.
#pragma once
#include <string>

#include "bind/cuda_family.hpp"
#include "cuda/update.hpp"

namespace pyasr::bind {

template <class T>
T keyword(const py::kwargs& k, const char* name) {
  return py::cast<T>(k[name]);
}

template <class T>
cuda::UpdateVectors<T> update_vectors(const py::kwargs& k) {
  cuda::UpdateVectors<T> v{};
  v.value = at<T>(keyword<Address>(k, "value"));
  v.grad = at<const T>(keyword<Address>(k, "grad"));
  int i = 0;
  for (const py::handle state : keyword<py::tuple>(k, "states")) v.state[i++] = at<T>(py::cast<Address>(state));
  v.average = at<T>(keyword<Address>(k, "average"));
  v.n = keyword<std::size_t>(k, "n");
  v.count = at<T>(keyword<Address>(k, "count"));
  v.list = at<const cuda::UpdateArrays<T>>(keyword<Address>(k, "list"));
  return v;
}

inline cuda::UpdateCall update_call(const py::kwargs& k) {
  cuda::UpdateCall c{};
  UpdateOptions& o = c.numbers.options;
  c.numbers.lr = keyword<double>(k, "lr");
  c.numbers.weight_decay = keyword<double>(k, "weight_decay");
  c.numbers.l1 = keyword<double>(k, "l1");
  c.numbers.root = keyword<bool>(k, "root");
  c.numbers.grad_scale = at<const double>(keyword<Address>(k, "grad_scale_at"));
  c.numbers.sum_squares = at<const double>(keyword<Address>(k, "sum_squares_at"));
  o.limit = keyword<double>(k, "limit");
  o.total = keyword<double>(k, "total");
  o.eps = keyword<double>(k, "eps");
  o.grad_scale = keyword<double>(k, "grad_scale");
  o.known = !k["sum_squares"].is_none();
  o.sum_squares = o.known ? keyword<double>(k, "sum_squares") : 0;
  o.average_decay = keyword<double>(k, "average_decay");
  o.decoupled = keyword<bool>(k, "decoupled");
  o.proximal = keyword<bool>(k, "proximal");
  const auto clip = keyword<std::string>(k, "clip");
  o.clip = clip == "norm"         ? Clip::norm
           : clip == "value"      ? Clip::value
           : clip == "adaptive"   ? Clip::adaptive
           : clip == "max_change" ? Clip::max_change
                                  : Clip::none;
  o.nonfinite = keyword<bool>(k, "propagate") ? NonFinite::propagate : NonFinite::skip;
  c.table = {at<const cuda::UpdateSlot>(keyword<Address>(k, "table")), keyword<int>(k, "slots"),
             keyword<int>(k, "whole"), keyword<std::size_t>(k, "slot_size"), keyword<bool>(k, "aligned")};
  c.norms = at<double>(keyword<Address>(k, "workspace"));
  c.report = at<cuda::UpdateReport>(keyword<Address>(k, "report"));
  c.stream = stream_at(keyword<Address>(k, "stream"));
  return c;
}

// Queues launcher(vectors, call) for the dtype of the vectors.
template <class Launcher>
void queue_update(const char* op, const py::kwargs& k, const Launcher& launcher) {
  const cuda::UpdateCall call = update_call(k);
  if (keyword<bool>(k, "is_double")) {
    const auto vectors = update_vectors<double>(k);
    queue(op, [&] { return launcher(vectors, call); });
  } else {
    const auto vectors = update_vectors<float>(k);
    queue(op, [&] { return launcher(vectors, call); });
  }
}

}  // namespace pyasr::bind

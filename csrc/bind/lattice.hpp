// The arguments that ops on the lattice of labels and frames share.
#pragma once
#include <string>

#include "bind/array.hpp"

namespace pyasr::bind {

template <class T>
void check_labels(const Door& door, const T& a) {
  for (std::int64_t b = 0; b < a.B; ++b)
    for (std::int64_t u = 0; u < a.label_lengths[b]; ++u) {
      const std::int32_t label = a.labels[b * a.U + u];
      if (label < 0 || label >= a.V || label == a.blank)
        door.value_error("the first label_lengths[" + std::to_string(b) + "] = " + std::to_string(a.label_lengths[b]) +
                         " of labels[" + std::to_string(b) + "] must lie in [0, V = " + std::to_string(a.V) +
                         ") and differ from blank = " + std::to_string(a.blank) + ", got " + std::to_string(label) +
                         " at (" + std::to_string(b) + ", " + std::to_string(u) + ")");
    }
}

// What every op over the frames of a batch reads; lengths are looked at by lengths_within.
template <class T, class Args>
void read_frames(Door& door, py::handle logits, py::handle lengths, py::handle blank, Args& a) {
  a.logits = door.read<T>("logits", logits, "T B V");
  a.lengths = door.read<std::int32_t>("lengths", lengths, "B");
  a.frames = door["T"];
  a.B = door["B"];
  a.V = door["V"];
  if (a.V == 0) door.value_error("logits must have at least one symbol, got V = 0");
  a.blank = static_cast<std::int32_t>(door.integer_in("blank", blank, 0, a.V - 1));
}

// The lattice's arguments into CtcArgs or AlignArgs, all checked.
struct Lattice {
  py::handle logits, lengths, labels, label_lengths, blank;
};

template <class T, class Args>
void read_lattice(Door& door, const Lattice& x, Args& a) {
  a.logits = door.read<T>("logits", x.logits, "T B V");
  a.lengths = door.read<std::int32_t>("lengths", x.lengths, "B");
  a.labels = door.read<std::int32_t>("labels", x.labels, "B U");
  a.label_lengths = door.read<std::int32_t>("label_lengths", x.label_lengths, "B");
  a.frames = door["T"];
  a.B = door["B"];
  a.V = door["V"];
  a.U = door["U"];
  if (a.V == 0) door.value_error("logits must have at least one symbol, got V = 0");
  a.blank = static_cast<std::int32_t>(door.integer_in("blank", x.blank, 0, a.V - 1));
}
template <class Args>
void check_lattice(const Door& door, const Args& a) {
  door.lengths_within("lengths", a.lengths, a.B, a.frames, "T");
  door.lengths_within("label_lengths", a.label_lengths, a.B, a.U, "U");
  check_labels(door, a);
}

// The largest of n lengths.
inline std::int64_t longest(const std::int32_t* lengths, std::int64_t n) {
  std::int64_t most = 0;
  for (std::int64_t b = 0; b < n; ++b) most = lengths[b] > most ? lengths[b] : most;
  return most;
}

}  // namespace pyasr::bind

// The labels of a lattice: every one that is read lies in [0, V) and is no blank.
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

}  // namespace pyasr::bind

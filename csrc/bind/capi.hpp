#pragma once
#include "pyasr/capi.h"

namespace pyasr::bind {

const PyasrApi& api() noexcept;

}  // namespace pyasr::bind

// All kernels of the family of a cell.
#pragma once
#include "cpu/recurrent_backward.hpp"
#include "cpu/recurrent_forward.hpp"
#include "cpu/recurrent_jvp.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

template <class T, class Cell>
constexpr Recurrent<T> kernels = {saved_bytes<T, Cell>, forward_bytes<T, Cell>, backward_bytes<T, Cell>,
                                  jvp_bytes<T, Cell>,   forward<T, Cell, T>,    backward<T, Cell>,
                                  jvp<T, Cell>};

template <class Cell, class W>
constexpr Frozen frozen = {packed_bytes<float, Cell, W>, pack<float, Cell, W>, saved_bytes<float, Cell>,
                           forward_bytes<float, Cell>, forward<float, Cell, W>};

template <class Cell>
constexpr RecurrentFamily family = {kernels<float, Cell>, kernels<double, Cell>, frozen<Cell, float>,
                                    frozen<Cell, Bfloat16>};

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA

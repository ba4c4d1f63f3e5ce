// lstm: one LSTM layer over ragged sequences, one or two directions; forward, backward and tangents.
//
//   i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of  w_ih x_t + w_hh h_{t-1} + bias
//   c_t = f c_{t-1} + i g          h_t = o tanh(c_t)
//
// Time-major. Direction 1, or the only one where `reverse` is set, begins at each sequence's own last frame. y beyond a
// sequence is exact zeros; hn and cn are the states behind a sequence's last step, h0 and c0 where its length is 0.
// rnn.hpp has the same functions with one gate and no c; here G is 4, there 1.
#pragma once
#include <cstddef>
#include <cstdint>

#include "pyasr/runtime.hpp"

namespace pyasr {

struct RecurrentShape {
  long T, B, D, H;
  int S;         // directions, 1 or 2
  bool reverse;  // S = 1 only
  long frames;   // sum of the lengths
};

template <class T>
struct RecurrentForward {
  const T* x;                   // [T,B,D] frames beyond a length are not read
  const std::int32_t* lengths;  // [B] in [0, T]
  const T* w_ih;                // [S,G*H,D] gates i f g o
  const T* w_hh;                // [S,G*H,H]
  const T* bias;                // [S,G*H]
  const T* h0;                  // [S,B,H] or null: zeros
  const T* c0;                  // [S,B,H] or null: zeros; LSTM only
  T* y;                         // [T,B,S*H]
  T* hn;                        // [S,B,H]
  T* cn;                        // [S,B,H] LSTM only
  void* saved;                  // saved_bytes(), 64-byte aligned: order, packed weights, activations
};

template <class T>
struct RecurrentBackward {
  const void* saved;  // of a forward call with the same shape; only read
  const T* x;         // [T,B,D] that of forward
  const T* dy;        // [T,B,S*H] frames beyond a length are not read
  const T* dhn;       // [S,B,H] or null
  const T* dcn;       // [S,B,H] or null; LSTM only
  T* dw_ih;           // [S,G*H,D] added into, by the calling thread and in one go once everything else is done
  T* dw_hh;           // [S,G*H,H]
  T* dbias;           // [S,G*H]
  T* dx;              // [T,B,D] or null
  T* dh0;             // [S,B,H]
  T* dc0;             // [S,B,H] LSTM only
};

template <class T>
struct RecurrentJvp {
  const void* saved;  // of a forward call with the same shape; only read
  const T* x;         // [T,B,D] that of forward
  const T* dx;        // [T,B,D] tangents in; each may be null: zeros
  const T* dw_ih;     // [S,G*H,D]
  const T* dw_hh;     // [S,G*H,H]
  const T* dbias;     // [S,G*H]
  const T* dh0;       // [S,B,H]
  const T* dc0;       // [S,B,H] LSTM only
  T* dy;              // [T,B,S*H] tangents out
  T* dhn;             // [S,B,H]
  T* dcn;             // [S,B,H] LSTM only
};

// Workspaces are 64-byte aligned. Results have the same bits for any number of threads, and those of a sequence (all
// but the weight gradients) do not depend on the other sequences of the batch.
template <class T>
struct Recurrent {
  std::size_t (*saved_bytes)(const RecurrentShape& shape) noexcept;
  std::size_t (*forward_bytes)(const RecurrentShape& shape, int threads) noexcept;
  std::size_t (*backward_bytes)(const RecurrentShape& shape, int threads) noexcept;
  std::size_t (*jvp_bytes)(const RecurrentShape& shape, int threads) noexcept;
  void (*forward)(const RecurrentShape& shape, const RecurrentForward<T>& args, void* workspace,
                  const Runtime& runtime) noexcept;
  void (*backward)(const RecurrentShape& shape, const RecurrentBackward<T>& args, void* workspace,
                   const Runtime& runtime) noexcept;
  void (*jvp)(const RecurrentShape& shape, const RecurrentJvp<T>& args, void* workspace,
              const Runtime& runtime) noexcept;
};

struct Lstm {
  Recurrent<float> f32;
  Recurrent<double> f64;
};

}  // namespace pyasr

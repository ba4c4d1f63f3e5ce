// lstm: one LSTM layer over ragged sequences, one or two directions; forward, backward and tangents.
//
//   i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of  w_ih x_t + w_hh h_{t-1} + bias
//   c_t = f c_{t-1} + i g          h_t = o tanh(c_t)
//
// and with all options (p peephole, m mask, k keep_h and keep_c; every product of two vectors is by element)
//
//   i, f, g from  w_ih x_t + w_hh (m h_{t-1}) + bias + (p_i c_{t-1}, p_f c_{t-1}, 0)
//   n = f c_{t-1} + i g, held within +-cell_clip;  o = sigmoid(... + p_o n)
//   c_t = k_c c_{t-1} + (1 - k_c) n                h_t = k_h h_{t-1} + (1 - k_h) projection (o tanh(n))
//
// Time-major. Direction 1, or the only one where `reverse` is set, begins at each sequence's own last frame. y beyond a
// sequence is exact zeros; hn and cn are the states behind a sequence's last step, h0 and c0 where its length is 0.
// gru.hpp and rnn.hpp have the same functions for cells without c and without options. G is the rows of a weight per
// unit (4; GRU 3, RNN 1), Gb those of the bias (4; GRU 4, RNN 1), R the size of h: H, or the rows of the projection.
#pragma once
#include <cstddef>
#include <cstdint>

#include "pyasr/runtime.hpp"

namespace pyasr {

struct RecurrentShape {
  long T, B, D, H, R;
  int S;           // directions, 1 or 2
  bool reverse;    // S = 1 only
  long frames;     // sum of the lengths
  bool peephole;   // LSTM only, as all below
  bool projected;  // R is not H but the rows of a projection
  bool frozen;     // forward takes weights packed by pack(), and nothing takes what it saved
};

// The options of a call that are no weights; all null and zero: none. Not copied by forward, so backward and jvp get
// them again.
template <class T>
struct RecurrentMasks {
  const T* state;   // [S,B,R] factor of h_{t-1} in w_hh h_{t-1}
  const T* keep_h;  // [T,B,S*R] share of h_{t-1} in h_t
  const T* keep_c;  // [T,B,S*H] share of c_{t-1} in c_t
  T cell_clip;      // 0: none
};

template <class T>
struct RecurrentWeights {
  const T* w_ih;        // [S,G*H,D] gates i f g o
  const T* w_hh;        // [S,G*H,R]
  const T* bias;        // [S,Gb*H]
  const T* peephole;    // [S,3*H] i f o, or null
  const T* projection;  // [S,R,H] or null
};

template <class T>
struct RecurrentGradients {
  T* w_ih;  // shapes as in RecurrentWeights; null where forward had none
  T* w_hh;
  T* bias;
  T* peephole;
  T* projection;
};

template <class T>
struct RecurrentForward {
  const T* x;                   // [T,B,D] frames beyond a length are not read
  const std::int32_t* lengths;  // [B] in [0, T]
  RecurrentWeights<T> weights;  // of a frozen shape all null
  const void* packed;           // weights packed by pack(); null unless the shape is frozen
  const T* h0;                  // [S,B,R] or null: zeros
  const T* c0;                  // [S,B,H] or null: zeros; LSTM only
  RecurrentMasks<T> masks;
  T* y;         // [T,B,S*R]
  T* hn;        // [S,B,R]
  T* cn;        // [S,B,H] LSTM only
  void* saved;  // saved_bytes(), 64-byte aligned: order, packed weights, activations
};

template <class T>
struct RecurrentBackward {
  const void* saved;              // of a forward call with the same shape; only read
  const T* x;                     // [T,B,D] that of forward
  RecurrentMasks<T> masks;        // those of forward
  const T* dy;                    // [T,B,S*R] frames beyond a length are not read
  const T* dhn;                   // [S,B,R] or null
  const T* dcn;                   // [S,B,H] or null; LSTM only
  RecurrentGradients<T> weights;  // added into, by the calling thread and in one go once everything else is done
  T* dx;                          // [T,B,D] or null
  T* dh0;                         // [S,B,R]
  T* dc0;                         // [S,B,H] LSTM only
};

template <class T>
struct RecurrentJvp {
  const void* saved;        // of a forward call with the same shape; only read
  const T* x;               // [T,B,D] that of forward
  RecurrentMasks<T> masks;  // those of forward
  const T* dx;              // [T,B,D] tangents in; each may be null: zeros
  RecurrentWeights<T> weights;
  const T* dh0;  // [S,B,R]
  const T* dc0;  // [S,B,H] LSTM only
  T* dy;         // [T,B,S*R] tangents out
  T* dhn;        // [S,B,R]
  T* dcn;        // [S,B,H] LSTM only
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

// Inference with weights that are packed once, in float32 or as bfloat16 (rounded to nearest even; the arithmetic stays
// float32, so only weights and biases are rounded).
struct Frozen {
  std::size_t (*packed_bytes)(const RecurrentShape& shape) noexcept;
  void (*pack)(const RecurrentShape& shape, const RecurrentWeights<float>& weights, void* packed,
               const Runtime& runtime) noexcept;
  std::size_t (*saved_bytes)(const RecurrentShape& shape) noexcept;
  std::size_t (*forward_bytes)(const RecurrentShape& shape, int threads) noexcept;
  void (*forward)(const RecurrentShape& shape, const RecurrentForward<float>& args, void* workspace,
                  const Runtime& runtime) noexcept;
};

struct RecurrentFamily {
  Recurrent<float> f32;
  Recurrent<double> f64;
  Frozen frozen, frozen_bf16;
};
using Lstm = RecurrentFamily;

}  // namespace pyasr

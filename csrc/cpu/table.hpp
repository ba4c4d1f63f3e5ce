// One table of kernels per instruction set. A new family adds its struct here and in table.cpp.
#pragma once
#include "pyasr/adam.hpp"
#include "pyasr/align.hpp"
#include "pyasr/beam.hpp"
#include "pyasr/cg.hpp"
#include "pyasr/clip_sgd.hpp"
#include "pyasr/ctc.hpp"
#include "pyasr/dropout.hpp"
#include "pyasr/greedy.hpp"
#include "pyasr/gru.hpp"
#include "pyasr/hmm.hpp"
#include "pyasr/lstm.hpp"
#include "pyasr/mfcc.hpp"
#include "pyasr/probe.hpp"
#include "pyasr/rmsprop.hpp"
#include "pyasr/rnn.hpp"
#include "pyasr/softmax.hpp"
#include "pyasr/spd.hpp"

namespace pyasr::cpu {

struct Table {
  const char* isa;  // "v2", "v3", "v4" or "neon"
  int lanes;        // float32 lanes of a register
  const Probe* probe;
  const Cg* cg;
  const ClipSgd* clip_sgd;
  const Adam* adam;
  const Rmsprop* rmsprop;
  const Ctc* ctc;
  const Align* align;
  const Greedy* greedy;
  const Beam* beam;
  const Softmax* softmax;
  const Mfcc* mfcc;
  const Lstm* lstm;
  const Gru* gru;
  const Rnn* rnn;
  const Hmm* hmm;
  const Spd* spd;
  const Dropout* dropout;
};

// The table in use: the best that this CPU runs, or the one that PYASR_ISA names. Chosen at the first call; null when
// PYASR_ISA names one that is unknown, not built or not supported (choice_error() then says which).
const Table* active() noexcept;
const char* choice_error() noexcept;

// Every table in this build, best first, with whether this CPU runs it.
struct Built {
  const Table* table;
  bool supported;
};
const Built* built(int* count) noexcept;

}  // namespace pyasr::cpu

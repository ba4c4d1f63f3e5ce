// Compiled once per instruction set: collects that set's kernels.
#include "cpu/table.hpp"

#include "cpu/simd.hpp"

#define PYASR_STRING_(x) #x
#define PYASR_STRING(x) PYASR_STRING_(x)

namespace pyasr::cpu::PYASR_ISA {

extern const Probe probe;
extern const Cg cg;
extern const ClipSgd clip_sgd;
extern const Adam adam;
extern const Rmsprop rmsprop;
extern const Ctc ctc;
extern const Align align;
extern const Greedy greedy;
extern const Beam beam;
extern const Gru gru;
extern const Rnn rnn;
extern const Softmax softmax;
extern const Lstm lstm;
extern const Mfcc mfcc;
extern const Hmm hmm;
extern const Spd spd;
extern const Dropout dropout;

extern const Table table;
const Table table = {PYASR_STRING(PYASR_ISA),
                     lanes<float>,
                     &probe,
                     &cg,
                     &clip_sgd,
                     &adam,
                     &rmsprop,
                     &ctc,
                     &align,
                     &greedy,
                     &beam,
                     &softmax,
                     &mfcc,
                     &lstm,
                     &gru,
                     &rnn,
                     &hmm,
                     &spd,
                     &dropout};

}  // namespace pyasr::cpu::PYASR_ISA

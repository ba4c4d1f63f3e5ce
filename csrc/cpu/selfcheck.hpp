// What the self-check's files share. Ordinary code, compiled without instruction-set flags.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "cpu/table.hpp"

namespace pyasr::selfcheck {

struct Memory {  // 64-byte aligned scratch
  explicit Memory(std::size_t bytes) : words(bytes / 8 + 9) {}
  void* get() { return reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(words.data()) + 63) / 64 * 64); }
  std::vector<double> words;
};

// Numbers in [-1, 1), the same on every machine.
template <class T>
std::vector<T> random(std::size_t n, std::uint64_t seed) {
  std::vector<T> out(n);
  for (auto& x : out) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    x = static_cast<T>(static_cast<double>(seed >> 40) / (1 << 23) - 1);
  }
  return out;
}

// |got - want| / |want|; infinite when a number is missing.
template <class A, class B>
double off(const std::vector<A>& got, const std::vector<B>& want) {
  double difference = 0, norm = 1e-30;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double d = static_cast<double>(got[i]) - static_cast<double>(want[i]);
    if (!std::isfinite(d)) return std::numeric_limits<double>::infinity();
    difference += d * d;
    norm += static_cast<double>(want[i]) * static_cast<double>(want[i]);
  }
  return std::sqrt(difference / norm);
}

// Each returns the largest relative error that it saw.
double clip_sgd(const cpu::Table& table, const Runtime& runtime, bool in_double);
double adam(const cpu::Table& table, const Runtime& runtime, bool in_double);
double rmsprop(const cpu::Table& table, const Runtime& runtime, bool in_double);
double softmax(const cpu::Table& table, const Runtime& runtime, bool in_double);
double dropout(const cpu::Table& table, const Runtime& runtime, bool in_double);
double ctc(const cpu::Table& table, const Runtime& runtime, bool in_double);
double decode(const cpu::Table& table, const Runtime& runtime, bool in_double);
double hmm(const cpu::Table& table, const Runtime& runtime, bool in_double);
double cg(const cpu::Table& table, const Runtime& runtime, bool in_double);
double spd(const cpu::Table& table, const Runtime& runtime, bool in_double);
double lstm(const cpu::Table& table, const Runtime& runtime, bool in_double);
double gru(const cpu::Table& table, const Runtime& runtime, bool in_double);
double rnn(const cpu::Table& table, const Runtime& runtime, bool in_double);
double mfcc(const cpu::Table& table, const Runtime& runtime, bool in_double);

}  // namespace pyasr::selfcheck

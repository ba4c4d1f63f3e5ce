// The door of every binding: arguments come as plain Python objects and leave as checked pointers. Nothing is converted
// or copied, so an in-place argument can not be updated in a copy and lost. Messages name function, argument, what it
// got and what it wants, in the words of pyasr/ops/_door.py; tests/test_bad_input.py holds the two together.
//
//   Door door("clip_sgd");
//   auto value = door.write<float>("value", value_, "P");        // dims are bound at first sight and compared
//   afterwards auto grad = door.read<float>("grad", grad_, "P"); door.no_overlap({"value", "grad"});
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "cpu/table.hpp"
#include "runtime/arena.hpp"
#include "runtime/pool.hpp"

namespace pyasr::bind {

namespace py = pybind11;

std::string type_name(py::handle x);  // the name of x's class
// x is a NumPy array whose entries are its memory's and whose operators are those of arrays: no matrix, no masked
// array.
bool is_plain(py::handle x);
bool is_text(py::handle x, const char* text);  // x is a str equal to the ASCII text

class Door {
 public:
  explicit Door(const char* op) : op_(op) {}

  // An array of C-contiguous, aligned, native-endian T with dims such as "T B D", "S 4*H D" or, of dims bound before,
  // "S*H" ("3" is a fixed size).
  template <class T>
  const T* read(const char* name, py::handle x, const char* dims) {
    return static_cast<const T*>(array(name, x, dims, py::dtype::of<T>().char_(), false));
  }
  template <class T>
  T* write(const char* name, py::handle x, const char* dims) {
    return static_cast<T*>(array(name, x, dims, py::dtype::of<T>().char_(), true));
  }
  template <class T>
  const T* read_optional(const char* name, py::handle x, const char* dims) {
    return x.is_none() ? nullptr : read<T>(name, x, dims);
  }
  template <class T>
  T* write_optional(const char* name, py::handle x, const char* dims) {
    return x.is_none() ? nullptr : write<T>(name, x, dims);
  }
  // 'f' or 'd': which of the two float types x has; anything else raises.
  char float_type(const char* name, py::handle x) const { return type_of(name, x, "fd"); }
  // The type character of x, which must be one of `allowed`.
  char type_of(const char* name, py::handle x, const char* allowed) const;

  // The size that a dim was bound to.
  std::int64_t operator[](const char* dim) const;
  // Binds a dim by hand, for sizes that are not those of an argument; `from` says in messages where it comes from.
  void bind(const char* dim, std::int64_t size, const char* from = "");

  double real(const char* name, py::handle x) const;                              // a finite number
  double real_in(const char* name, py::handle x, double low, double high) const;  // low <= x <= high
  std::int64_t integer_in(const char* name, py::handle x, std::int64_t low, std::int64_t high) const;
  std::uint64_t word(const char* name, py::handle x) const;  // an integer of [0, 2^64)
  bool boolean(const char* name, py::handle x) const;
  // Which of the words x is.
  int choice(const char* name, py::handle x, std::initializer_list<const char*> choices) const;
  int threads(py::handle x) const;  // None: the default
  // lengths [B] with 0 <= lengths[b] <= longest
  void lengths_within(const char* name, const std::int32_t* lengths, std::int64_t n, std::int64_t longest,
                      const char* longest_name) const;
  // The named arrays share no memory; those that were None are passed over.
  void no_overlap(std::initializer_list<const char*> names) const { no_overlap(names.begin(), names.size()); }
  void no_overlap(const char* const* names, std::size_t count) const;
  // rows * columns * ... fits into memory arithmetic; raises ValueError naming the op otherwise.
  std::size_t product(std::initializer_list<std::int64_t> sizes) const;

  [[noreturn]] void value_error(const std::string& text) const { throw py::value_error(op_ + (": " + text)); }
  [[noreturn]] void type_error(const std::string& text) const { throw py::type_error(op_ + (": " + text)); }

 private:
  struct Dim {
    std::string name;
    std::int64_t size;
    std::string from;
  };
  struct Range {
    std::string name;
    const char* begin;
    const char* end;
  };
  void* array(const char* name, py::handle x, const char* dims, char type, bool writes);
  py::object index(const char* name, py::handle x) const;  // a Python integer
  [[noreturn]] void outside(const char* name, const py::object& index, const std::string& range) const;

  std::string op_;
  std::vector<Dim> dims_;
  std::vector<Range> ranges_;
};

// A new C-contiguous array over leased memory, contents undefined. Raises MemoryError.
py::array new_array(char type, const std::vector<std::int64_t>& shape);
template <class T>
py::array new_array(const std::vector<std::int64_t>& shape) {
  return new_array(py::dtype::of<T>().char_(), shape);
}
template <class T>
T* data(py::array& a) {
  return static_cast<T*>(a.mutable_data());
}
// Leased scratch; raises MemoryError.
runtime::Lease new_scratch(std::size_t bytes);

// The kernels in use; raises ImportError when PYASR_ISA names a set that cannot run.
const cpu::Table& kernels();

// The GIL released, and taken again at the end. Where the interpreter is shutting down, the thread stays here: Python
// before 3.14 would unwind it through frames that hold Python objects and may not be left that way.
class Released {
 public:
  Released() : state_(PyEval_SaveThread()) {}
  Released(const Released&) = delete;
  Released& operator=(const Released&) = delete;
  ~Released() { take(); }
  // Ctrl-C, asked with the GIL for as long as it takes: true when a signal handler raised.
  bool signals_raised() noexcept;

 private:
  void take() noexcept;
  PyThreadState* state_;
};

// Runs `work(const Runtime&)` with the GIL released; raises KeyboardInterrupt (or what the signal handler raised) when
// the user interrupted it.
template <class Work>
void run_released(int threads, Work&& work) {
  runtime::Call call;
  {
    Released released;
    call.context = &released;
    call.interrupted = [](void* c) noexcept { return static_cast<Released*>(c)->signals_raised(); };
    work(runtime::runtime(call, threads));
  }
  if (call.stopped) throw py::error_already_set();
}

}  // namespace pyasr::bind

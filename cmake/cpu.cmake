# csrc/cpu once per instruction set. Every function is called through a table that dispatch.cpp picks at run time, so these
# flags never reach code that runs on an unchecked CPU; each object keeps its code in its own namespace (nm guard in tests/test_build.py).
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(PYASR_ISAS v2 v3 v4)
  set(PYASR_FLAGS_v2 -march=x86-64-v2)
  set(PYASR_FLAGS_v3 -march=x86-64-v3)
  set(PYASR_FLAGS_v4 -march=x86-64-v4 -mprefer-vector-width=512)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(PYASR_ISAS neon)
  set(PYASR_FLAGS_neon "")
else()
  message(FATAL_ERROR "pyasr: no kernels for ${CMAKE_SYSTEM_PROCESSOR}; PYASR_PURE=1 installs the NumPy backend alone")
endif()

if(PYASR_SANITIZE)
  add_compile_options(-fsanitize=${PYASR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=${PYASR_SANITIZE})
  set(PYASR_OPTIMIZE -O1)  # at -O3 the instrumented kernels take minutes to compile
else()
  set(PYASR_OPTIMIZE -O3)
endif()

set(PYASR_CPU_SOURCES csrc/cpu/table.cpp csrc/cpu/probe.cpp csrc/cpu/gemm.cpp)
foreach(family IN LISTS PYASR_FAMILIES)
  list(APPEND PYASR_CPU_SOURCES csrc/cpu/${family}.cpp)
endforeach()

# These spend their time in the tiles of gemm.cpp or wait for memory: at -O3 they take 30 to 40 % longer to compile and gain less than
# the noise of interleaved rounds. At -O2 the features and conjugate gradients would lose half, the hidden Markov scans a third.
if(NOT PYASR_SANITIZE)
  foreach(family lstm gru rnn clip_sgd adam rmsprop)
    set_source_files_properties(csrc/cpu/${family}.cpp PROPERTIES COMPILE_OPTIONS -O2)
  endforeach()
endif()

# The kernels, their dispatch and the thread pool as one static library without Python: what _cpu, the self-check and other
# native programs link.
add_library(pyasr_cpu STATIC csrc/cpu/dispatch.cpp csrc/runtime/pool.cpp csrc/runtime/arena.cpp)
target_include_directories(pyasr_cpu PUBLIC csrc)
target_link_libraries(pyasr_cpu PUBLIC headers Threads::Threads)
foreach(isa IN LISTS PYASR_ISAS)
  add_library(kernels_${isa} OBJECT ${PYASR_CPU_SOURCES})
  target_include_directories(kernels_${isa} PRIVATE csrc)
  target_link_libraries(kernels_${isa} PRIVATE headers)
  target_compile_definitions(kernels_${isa} PRIVATE PYASR_ISA=${isa})
  target_compile_options(kernels_${isa} PRIVATE ${PYASR_OPTIMIZE} -fno-math-errno -fno-trapping-math -ffp-contract=fast -fno-exceptions
    -fno-rtti -Wall -Wextra -Wno-psabi ${PYASR_FLAGS_${isa}})
  target_sources(pyasr_cpu PRIVATE $<TARGET_OBJECTS:kernels_${isa}>)
  target_compile_definitions(pyasr_cpu PRIVATE PYASR_HAVE_${isa})
endforeach()

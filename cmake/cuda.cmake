# pyasr._cuda, a second and optional module. AUTO builds it where there is a GPU and nvcc 12 or newer compiles and links a program;
# the runtime is linked statically and no other CUDA library is touched, so that the module imports without a driver.
# Without find_package(CUDAToolkit): that fails on a toolkit that came from PyPI wheels.
# The families with kernels: csrc/cuda/<family>.cu and csrc/bind/cuda_<family>.cpp. The tests read this list too.
set(PYASR_CUDA_FAMILIES
  adam
  align
  cg
  clip_sgd
  ctc
  dropout
  greedy
  lstm
  mfcc
  rmsprop
  softmax
  spd
)
if(PYASR_CUDA STREQUAL "OFF")
  return()
endif()
# Kernels are compiled for the GPUs of this machine, with PTX for newer ones. AUTO leaves them out where there is none: they take
# as long to compile as all of _cpu, and nothing here could run them. ON keeps PTX then, which every GPU since Turing compiles at
# its first use; CUDAARCHS="75-real;80-real;90" (or CMAKE_CUDA_ARCHITECTURES) is for a wheel that others install.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
  find_program(nvidia_smi nvidia-smi)
  set(capabilities "")
  if(nvidia_smi)
    execute_process(COMMAND ${nvidia_smi} --query-gpu=compute_cap --format=csv,noheader
      OUTPUT_VARIABLE capabilities ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
    string(REPLACE "." "" capabilities "${capabilities}")
    string(REPLACE "\n" ";" capabilities "${capabilities}")
    list(REMOVE_DUPLICATES capabilities)
  endif()
  if(capabilities MATCHES "^[0-9;]+$")
    set(CMAKE_CUDA_ARCHITECTURES ${capabilities})
  elseif(PYASR_CUDA STREQUAL "AUTO")
    message(STATUS "pyasr: no _cuda, because this machine has no GPU (PYASR_CUDA=ON builds it for others)")
    return()
  else()
    set(CMAKE_CUDA_ARCHITECTURES 75-virtual)
  endif()
endif()
include(CheckLanguage)
check_language(CUDA)
set(cuda_problem "")
if(NOT CMAKE_CUDA_COMPILER)
  set(cuda_problem "no working nvcc was found")
else()
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  enable_language(CUDA)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12)
    set(cuda_problem "nvcc ${CMAKE_CUDA_COMPILER_VERSION} is older than 12")
  else()
    file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/cuda_trial.cu
      "#define _CG_LIMIT_INCLUDED_DEPENDENCIES\n#include <cooperative_groups.h>\n#include <type_traits>\n"
      "__global__ void k() { cooperative_groups::this_grid().sync(); }\n"
      "int main() { k<<<1, 1>>>(); return static_cast<int>(cudaDeviceSynchronize()); }\n")
    try_compile(PYASR_CUDA_WORKS ${CMAKE_CURRENT_BINARY_DIR}/cuda_trial ${CMAKE_CURRENT_BINARY_DIR}/cuda_trial.cu
      CMAKE_FLAGS -DCMAKE_CUDA_ARCHITECTURES=90-real OUTPUT_VARIABLE cuda_trial_log CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON)
    if(NOT PYASR_CUDA_WORKS)
      set(cuda_problem "nvcc ${CMAKE_CUDA_COMPILER_VERSION} does not compile a small C++20 program:\n${cuda_trial_log}")
    endif()
  endif()
endif()
if(cuda_problem)
  if(PYASR_CUDA STREQUAL "ON")
    message(FATAL_ERROR "pyasr: PYASR_CUDA=ON, but ${cuda_problem}")
  endif()
  message(STATUS "pyasr: no _cuda, because ${cuda_problem}")
  return()
endif()

set(PYASR_CUDA_SOURCES csrc/bind/cuda.cpp csrc/cuda/device.cpp)
foreach(family IN LISTS PYASR_CUDA_FAMILIES)
  list(APPEND PYASR_CUDA_SOURCES csrc/bind/cuda_${family}.cpp csrc/cuda/${family}.cu)
  set_source_files_properties(csrc/cuda/${family}.cu PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endforeach()
pybind11_add_module(_cuda MODULE NO_EXTRAS ${PYASR_CUDA_SOURCES})
target_link_libraries(_cuda PRIVATE headers)
target_include_directories(_cuda PRIVATE csrc)
target_include_directories(_cuda SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
target_compile_definitions(_cuda PRIVATE PYASR_VERSION="${PROJECT_VERSION}")
target_compile_options(_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=-warn-spills> $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra $<$<CONFIG:Release>:-O1>>)
set_target_properties(_cuda PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_VISIBILITY_PRESET hidden
  CUDA_RUNTIME_LIBRARY Static UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)  # one unit of bindings, as for _cpu
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  add_custom_command(TARGET _cuda POST_BUILD COMMAND ${CMAKE_STRIP} --strip-unneeded $<TARGET_FILE:_cuda>)
endif()
install(TARGETS _cuda DESTINATION .)
message(STATUS "pyasr: _cuda with nvcc ${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")

# pyasr._cpu: the bindings.
set(PYBIND11_FINDPYTHON ON)
find_package(pybind11 CONFIG REQUIRED)

set(PYASR_BIND_SOURCES csrc/bind/cpu.cpp csrc/bind/array.cpp)
foreach(family IN LISTS PYASR_FAMILIES)
  list(APPEND PYASR_BIND_SOURCES csrc/bind/${family}.cpp)
endforeach()
pybind11_add_module(_cpu MODULE NO_EXTRAS ${PYASR_BIND_SOURCES})
target_link_libraries(_cpu PRIVATE pyasr_cpu)
target_compile_options(_cpu PRIVATE -Wall -Wextra)
target_compile_definitions(_cpu PRIVATE PYASR_VERSION="${PROJECT_VERSION}")
install(TARGETS _cpu DESTINATION .)

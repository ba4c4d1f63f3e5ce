# pyasr._cpu: the bindings. pyasr.kernels: its C entry points for Cython and Numba users.
set(PYBIND11_FINDPYTHON ON)
find_package(pybind11 CONFIG REQUIRED)

set(PYASR_BIND_SOURCES csrc/bind/cpu.cpp csrc/bind/array.cpp csrc/bind/function.cpp csrc/bind/probe.cpp csrc/bind/capi.cpp csrc/bind/update.cpp)
foreach(family IN LISTS PYASR_FAMILIES)
  list(APPEND PYASR_BIND_SOURCES csrc/bind/${family}.cpp)
endforeach()
pybind11_add_module(_cpu MODULE NO_EXTRAS ${PYASR_BIND_SOURCES})
target_link_libraries(_cpu PRIVATE pyasr_cpu)
# A binding runs once a call, the kernels behind it all the time: at -O3 the bindings take half of the whole build.
target_compile_options(_cpu PRIVATE -Wall -Wextra $<$<CONFIG:Release>:-O1>)
# Parsing and instantiating pybind11 is most of what a binding costs to compile: one unit instead of one per family halves the build.
set_target_properties(_cpu PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
target_compile_definitions(_cpu PRIVATE PYASR_VERSION="${PROJECT_VERSION}")
install(TARGETS _cpu DESTINATION .)

set(kernels_cpp ${CMAKE_CURRENT_BINARY_DIR}/kernels.cpp)
add_custom_command(
  OUTPUT ${kernels_cpp}
  COMMAND ${Python_EXECUTABLE} -m cython -3 --cplus --module-name pyasr.kernels -o ${kernels_cpp} pyasr/kernels.pyx
  DEPENDS pyasr/kernels.pyx pyasr/kernels.pxd
  WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}
  COMMENT "Cython: pyasr/kernels.pyx" VERBATIM)
python_add_library(kernels MODULE WITH_SOABI ${kernels_cpp})
target_link_libraries(kernels PRIVATE headers)
install(TARGETS kernels DESTINATION .)

# Stripped in every build type but Debug: symbols are a third of the modules' size.
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug" AND NOT PYASR_SANITIZE)
  foreach(module _cpu kernels)
    add_custom_command(TARGET ${module} POST_BUILD COMMAND ${CMAKE_STRIP} --strip-unneeded $<TARGET_FILE:${module}>)
  endforeach()
endif()

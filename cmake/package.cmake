# For C++ users: find_package(pyasr) gives pyasr::headers, the contracts and pyasr/capi.h. Found inside any scikit-build-core
# project through the cmake.root entry point, elsewhere with -DCMAKE_PREFIX_PATH=<site-packages>/pyasr.
include(CMakePackageConfigHelpers)
install(DIRECTORY csrc/include/ DESTINATION include)
install(TARGETS headers EXPORT pyasrTargets)
install(EXPORT pyasrTargets NAMESPACE pyasr:: DESTINATION lib/cmake/pyasr)
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/pyasrConfig.cmake
  "include(\"\${CMAKE_CURRENT_LIST_DIR}/pyasrTargets.cmake\")\n")
write_basic_package_version_file(pyasrConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/pyasrConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/pyasrConfigVersion.cmake
  DESTINATION lib/cmake/pyasr)

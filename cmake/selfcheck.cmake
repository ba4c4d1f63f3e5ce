# pyasr_selfcheck, a program without Python; also with a cross compiler:
#   cmake -S . -B build/arm -DPYASR_SELFCHECK=ON -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=...
add_executable(pyasr_selfcheck csrc/cpu/selfcheck.cpp csrc/cpu/selfcheck_vectors.cpp
  csrc/cpu/selfcheck_recurrent.cpp csrc/cpu/selfcheck_mfcc.cpp csrc/cpu/selfcheck_hmm.cpp csrc/cpu/selfcheck_decode.cpp)
target_link_libraries(pyasr_selfcheck PRIVATE pyasr_cpu)
if(CMAKE_CROSSCOMPILING)
  target_link_options(pyasr_selfcheck PRIVATE -static)  # an emulator needs no foreign libraries then
endif()

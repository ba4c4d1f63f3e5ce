# pyasr's kernels as C functions for Cython and Numba: raw pointers, no GIL, no Python objects. See include/pyasr/capi.h.
#
#     from pyasr.kernels cimport clip_sgd
#     with nogil:
#         norm = clip_sgd(&value[0], &grad[0], NULL, n, 0.1, 0.0, 0.0, 5.0, 0)
#
# Append only: a changed signature breaks every compiled user.

# value [n] and buffer [n] are updated; buffer may be NULL where momentum is 0. clip_norm=inf does not clip, threads=0 takes
# the default. Returns the norm of grad [n] before clipping: nan or inf says that nothing was written, -1 that memory ran out
# or that momentum came without a buffer.
cdef double clip_sgd(float* value, const float* grad, float* buffer, size_t n, double lr, double momentum,
                     double weight_decay, double clip_norm, int threads) noexcept nogil

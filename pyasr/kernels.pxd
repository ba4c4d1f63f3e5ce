# pyasr's kernels as C functions for Cython and Numba: raw pointers, no GIL, no Python objects. See include/pyasr/capi.h.
#
#     from pyasr.kernels cimport clip_sgd
#     with nogil:
#         norm = clip_sgd(&value[0], &grad[0], NULL, n, 0.1, 0.0, 0.0, 5.0, 0)
#
# Scratch is leased inside. Append only: a changed signature breaks every compiled user.

from libc.stdint cimport int32_t, int64_t

# value [n] and buffer [n] are updated; buffer may be NULL where momentum is 0. clip_norm=inf does not clip, threads=0 takes
# the default. Returns the norm of grad [n] before clipping: nan or inf says that nothing was written, -1 that memory ran out
# or that momentum came without a buffer.
cdef double clip_sgd(float* value, const float* grad, float* buffer, size_t n, double lr, double momentum,
                     double weight_decay, double clip_norm, int threads) noexcept nogil

# loss [B] and dlogits [T,B,V], the gradient of the summed loss, from logits [T,B,V], lengths [B], labels [B,U] and
# label_lengths [B]. Returns 0, -1 when memory ran out, -2 when a length, a label or blank is out of range.
cdef int ctc_loss(const float* logits, const int32_t* lengths, const int32_t* labels, const int32_t* label_lengths,
                  float* loss, float* dlogits, size_t T, size_t B, size_t V, size_t U, int32_t blank, bint zero_infinity,
                  int threads) noexcept nogil

# Solves A x = b for a symmetric A [n,n] and b [n]; x [n] holds the first guess and becomes the solution. Returns SciPy's info:
# 0 converged, n > 0 not within so many iterations, below 0 as pyasr.cg says; INT64_MIN when it could not be tried.
cdef int64_t cg(const float* A, const float* b, float* x, size_t n, double rtol, double atol, int64_t maxiter,
                int threads) noexcept nogil

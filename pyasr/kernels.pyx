# cython: language_level=3, binding=False, emit_code_comments=False
"""The kernels of pyasr._cpu for Cython (`cimport pyasr.kernels`) and Numba. Nothing here is callable from Python.

    address = numba.extending.get_cython_function_address("pyasr.kernels", "clip_sgd")
"""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, int64_t

from pyasr import _cpu

cdef extern from "pyasr/capi.h" nogil:
    const char* PYASR_API_CAPSULE
    ctypedef struct PyasrApi:
        double (*clip_sgd_f32)(
            float*, const float*, float*, size_t, double, double, double, double, int
        ) noexcept nogil
        int (*ctc_loss_f32)(
            const float*, const int32_t*, const int32_t*, const int32_t*, float*, float*,
            size_t, size_t, size_t, size_t, int32_t, int, int
        ) noexcept nogil
        int64_t (*cg_f32)(const float*, const float*, float*, size_t, double, double, int64_t, int) noexcept nogil

cdef const PyasrApi* api = <const PyasrApi*> PyCapsule_GetPointer(_cpu.api, PYASR_API_CAPSULE)


cdef double clip_sgd(float* value, const float* grad, float* buffer, size_t n, double lr, double momentum,
                     double weight_decay, double clip_norm, int threads) noexcept nogil:
    return api.clip_sgd_f32(value, grad, buffer, n, lr, momentum, weight_decay, clip_norm, threads)


cdef int ctc_loss(const float* logits, const int32_t* lengths, const int32_t* labels, const int32_t* label_lengths,
                  float* loss, float* dlogits, size_t T, size_t B, size_t V, size_t U, int32_t blank, bint zero_infinity,
                  int threads) noexcept nogil:
    return api.ctc_loss_f32(logits, lengths, labels, label_lengths, loss, dlogits, T, B, V, U, blank, zero_infinity, threads)


cdef int64_t cg(const float* A, const float* b, float* x, size_t n, double rtol, double atol, int64_t maxiter,
                int threads) noexcept nogil:
    return api.cg_f32(A, b, x, n, rtol, atol, maxiter, threads)

# cython: language_level=3, binding=False, emit_code_comments=False
"""The kernels of pyasr._cpu for Cython (`cimport pyasr.kernels`) and Numba. Nothing here is callable from Python.

    address = numba.extending.get_cython_function_address("pyasr.kernels", "clip_sgd")
"""

from cpython.pycapsule cimport PyCapsule_GetPointer

from pyasr import _cpu

cdef extern from "pyasr/capi.h" nogil:
    const char* PYASR_API_CAPSULE
    ctypedef struct PyasrApi:
        double (*clip_sgd_f32)(
            float*, const float*, float*, size_t, double, double, double, double, int
        ) noexcept nogil

cdef const PyasrApi* api = <const PyasrApi*> PyCapsule_GetPointer(_cpu.api, PYASR_API_CAPSULE)


cdef double clip_sgd(float* value, const float* grad, float* buffer, size_t n, double lr, double momentum,
                     double weight_decay, double clip_norm, int threads) noexcept nogil:
    return api.clip_sgd_f32(value, grad, buffer, n, lr, momentum, weight_decay, clip_norm, threads)

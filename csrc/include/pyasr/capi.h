/* pyasr's kernels as plain C functions, for callers that hold raw pointers: Cython (pyasr/kernels.pxd), Numba, C and
 * C++.
 *
 *   PyObject* capsule = PyObject_GetAttrString(PyImport_ImportModule("pyasr._cpu"), "api");
 *   const PyasrApi* api = (const PyasrApi*)PyCapsule_GetPointer(capsule, PYASR_API_CAPSULE);
 *
 * The functions are those of the instruction set that pyasr chose; there is no second copy. They need no GIL, raise
 * nothing, check nothing but null pointers and sizes, and lease their scratch from pyasr's arena. Arrays are
 * C-contiguous, aligned to their element and do not overlap. threads: workers, 0 for the default; results are the same
 * bits for any number.
 *
 * Append only: a member never changes or moves. A member at or beyond `size` is absent from the build at hand. */
#ifndef PYASR_CAPI_H
#define PYASR_CAPI_H
#include <stddef.h>
#include <stdint.h>

#define PYASR_API_CAPSULE "pyasr._cpu.api"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct PyasrApi {
  size_t size; /* sizeof(PyasrApi) in this build */

  /* One step of SGD in place after clipping to a global norm: the row clip_sgd with clip=("norm", clip_norm).
   * Returns the norm of grad before clipping. A norm that is NaN or infinite says that nothing was written; -1, that
   * memory ran out or that momentum came without a buffer. clip_norm = infinity does not clip. */
  double (*clip_sgd_f32)(float* value,      /* [n] in and out */
                         const float* grad, /* [n] */
                         float* buffer,     /* [n] in and out; may be null where momentum is 0 */
                         size_t n, double lr, double momentum, double weight_decay, double clip_norm, int threads);

  /* The row ctc_loss: loss and the gradient of the summed loss. Returns 0; -1 when memory ran out; -2 when a length, a
   * label or blank is out of range (a label that is read lies in [0, V) and differs from blank), with nothing written.
   */
  int (*ctc_loss_f32)(const float* logits,          /* [T,B,V] */
                      const int32_t* lengths,       /* [B] in [0, T] */
                      const int32_t* labels,        /* [B,U], of row b only the first label_lengths[b] are read */
                      const int32_t* label_lengths, /* [B] in [0, U] */
                      float* loss,                  /* [B] out */
                      float* dlogits,               /* [T,B,V] out */
                      size_t T, size_t B, size_t V, size_t U, int32_t blank, int zero_infinity, int threads);

  /* The row cg with a matrix in memory and without a preconditioner. x holds the first guess and becomes the solution.
   * Returns SciPy's info: 0 converged, n > 0 the iterations that were not enough, and below 0 as pyasr.cg says;
   * INT64_MIN when memory ran out, when A is not symmetric or when a pointer is null. */
  int64_t (*cg_f32)(const float* A, /* [n,n] symmetric */
                    const float* b, /* [n] */
                    float* x,       /* [n] in and out */
                    size_t n, double rtol, double atol, int64_t maxiter, int threads);
} PyasrApi;

#ifdef __cplusplus
}
#endif
#endif

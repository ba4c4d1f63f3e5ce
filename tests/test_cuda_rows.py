"""Every row of the cuda column, generically: what a caller may hand over, what it may do wrong, and what then is left behind.

What can be tried without a GPU runs on the emulated device too; `pytest -m gpu` adds production sizes, CUDA graphs, streams and
torch. tests/test_cuda.py runs the cases of the emulation on the GPU, tests/test_cuda_processes.py forks and faults.
"""

import importlib
import inspect
import json
import runpy
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pyasr.bench.cells import cells
from pyasr.bench.check import answers, arrays_of, equal, outputs
from pyasr.bench.target import find
from pyasr.ops import _cuda, backend, rows, why_not
from pyasr.ops._cuda._device import Device

HERE = Path(__file__).parent
CASES = runpy.run_path(str(HERE / "cuda_on_cpu" / "cases.py"))["cases"](_cuda.families())
REASON = why_not("cuda")
needs_gpu = pytest.mark.skipif(REASON is not None, reason=f"no GPU here: {REASON}")
on_gpu = [pytest.mark.gpu, needs_gpu]


def names_of(row, args, kwargs, xp):
    """The names of the arguments that are arrays, with where they stand."""
    parameters = list(inspect.signature(rows()[row].reference).parameters)
    places = [*((parameters[i], i) for i in range(len(args))), *((name, name) for name in kwargs)]
    return [
        (name, at) for name, at in places if isinstance(args[at] if isinstance(at, int) else kwargs[at], xp.ndarray)
    ]


def telling(case):
    """Whether no array of a case is too small to be strided or half-written."""
    return all(a.size > 1 for a in arrays_of(case.make(backend("numpy")), np))


# The first case of each row that is telling.
ONE = {case.row: case for case in reversed(CASES) if telling(case)}
every_row = pytest.mark.parametrize("case", ONE.values(), ids=lambda c: c.row)


@pytest.fixture(params=["emulated", "strict", pytest.param("cuda", marks=on_gpu)])
def ops(request):
    """strict: the emulated device with arrays that behave as CuPy's."""
    if request.param == "cuda":
        return backend("cuda")
    emulated = request.getfixturevalue("emulated")
    return emulated if request.param == "emulated" else emulated.backend


def replaced(args, kwargs, at, x):
    """The arguments with another one at a place."""
    if isinstance(at, int):
        return (*args[:at], x, *args[at + 1 :]), kwargs
    return args, {**kwargs, at: x}


def given(args, kwargs, at):
    return args[at] if isinstance(at, int) else kwargs[at]


def found(ops, case, args, kwargs):
    return outputs(getattr(ops, case.row)(*args, **kwargs), args, kwargs)


def bits(arrays, ops):
    return [ops.xp.asarray(a).tobytes() for a in arrays]


def test_every_row_has_a_telling_case():
    assert set(ONE) == set(_cuda.functions())


# ---- what is wrong is refused by name, and nothing is written


def refused(ops, case, error, words, wrong):
    """Every array argument in turn, made wrong: the error names row and argument, and all arguments are as they were."""
    args, kwargs = case.make(ops)
    before = bits(arrays_of((args, kwargs), ops.xp), ops)
    for name, at in names_of(case.row, args, kwargs, ops.xp):
        with pytest.raises(error, match=rf"^{case.row}: {name} {words}"):
            bad_args, bad_kwargs = replaced(args, kwargs, at, wrong(given(args, kwargs, at)))
            getattr(ops, case.row)(*bad_args, **bad_kwargs)
        assert bits(arrays_of((args, kwargs), ops.xp), ops) == before, name


@every_row
def test_what_is_no_array_is_refused(ops, case):
    refused(ops, case, TypeError, "must be", lambda x: object())


@every_row
@pytest.mark.gpu
@needs_gpu
def test_host_arrays_are_refused(case):
    refused(backend("cuda"), case, TypeError, "must be a CUDA array, got ndarray", lambda x: x.get())


@every_row
def test_other_dtypes_are_refused(ops, case):
    refused(ops, case, TypeError, "must have dtype", lambda x: x.astype(np.complex64))


@every_row
def test_strided_arrays_are_refused(ops, case):
    def strided(x):
        wide = ops.xp.zeros((*x.shape, 2), x.dtype)
        wide[..., 0] = x
        return wide[..., 0]

    refused(ops, case, ValueError, "must be C-contiguous, got a strided array", strided)


@every_row
@pytest.mark.gpu
@needs_gpu
def test_arrays_of_another_device_are_refused(case):
    cupy = importlib.import_module("cupy")
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one GPU here, and it takes two")

    def elsewhere(x):
        with cupy.cuda.Device(1):
            return cupy.asarray(x.get())

    refused(
        backend("cuda"), case, ValueError, "must be on device 0, the current one, got an array on device 1", elsewhere
    )


BEYOND = """
import json, runpy, sys
import numpy as np
from pyasr.ops import _cuda, backend
here, row, name = sys.argv[1:4]
shared = runpy.run_path(here + "/test_cuda_rows.py")
ops = backend("cuda") if sys.argv[4] == "cuda" else runpy.run_path(here + "/cuda_on_cpu/column.py")["column"]()
case = shared["ONE"][row]
want = shared["found"](ops, case, *case.make(ops))
said = []
for value in (-5, 2**31 - 1, 1000):
    args, kwargs = case.make(ops)
    (at,) = [at for n, at in shared["names_of"](row, args, kwargs, ops.xp) if n == name]
    x = shared["given"](args, kwargs, at)
    x[...] = value
    try:
        shared["found"](ops, case, args, kwargs)
        said.append("an answer")
    except ValueError as e:
        said.append(str(e))
again = shared["found"](ops, case, *case.make(ops))
print(json.dumps({"said": said, "same": shared["equal"](want, again)}))
"""
# The arguments that count something and lie on the device, where nobody has looked at them.
COUNTS = [
    (row, name)
    for row, case in ONE.items()
    for name, _ in names_of(row, *case.make(backend("numpy")), np)
    if name in ("lengths", "label_lengths", "labels")
]


@pytest.mark.parametrize("where", ["emulated", pytest.param("cuda", marks=on_gpu)])
@pytest.mark.parametrize(("row", "name"), COUNTS)
def test_numbers_out_of_range_on_the_device_are_refused_or_stay_within_the_arrays(request, where, row, name):
    """In a process of its own: it would be the one that falls."""
    if where == "emulated":
        request.getfixturevalue("emulated_column")  # compiled, or skipped where it can not be
    argv = [sys.executable, "-c", BEYOND, str(HERE), row, name, where]
    done = subprocess.run(argv, capture_output=True, text=True, cwd="/", timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["same"], "a right call afterwards has another answer"
    assert all(words == "an answer" or words.startswith(f"{row}: {name} ") for words in report["said"])


# ---- memory that is not there


@contextmanager
def only(ops, allocations, monkeypatch):
    """Inside, a column gets memory so many times, and then a MemoryError."""
    left = [allocations]

    def rationed(malloc):
        def one(*args):
            if left[0] == 0:
                raise MemoryError("out of memory")
            left[0] -= 1
            return malloc(*args)

        return one

    with monkeypatch.context() as patch:
        device = ops.device if isinstance(getattr(ops, "device", None), Device) else _cuda.column().device
        for name in ("empty", "zeros"):
            patch.setattr(device, name, rationed(getattr(device, name)), raising=False)
        yield


@every_row
def test_too_little_memory_leaves_arguments_as_they_were(ops, case, monkeypatch):
    want = found(ops, case, *case.make(ops))
    for allocations in range(100):
        args, kwargs = case.make(ops)
        before = bits(arrays_of((args, kwargs), ops.xp), ops)
        with only(ops, allocations, monkeypatch):
            try:
                getattr(ops, case.row)(*args, **kwargs)
            except MemoryError:
                assert bits(arrays_of((args, kwargs), ops.xp), ops) == before, f"after {allocations} allocations"
                continue
        break
    assert allocations > 0
    assert equal(found(ops, case, *case.make(ops)), want)


@every_row
@pytest.mark.gpu
@needs_gpu
def test_a_pool_that_is_exhausted_is_a_memory_error(case):
    cupy, ops = importlib.import_module("cupy"), backend("cuda")
    want = found(ops, case, *case.make(ops))
    args, kwargs = case.make(ops)
    before = bits(arrays_of((args, kwargs), cupy), ops)
    pool = cupy.cuda.MemoryPool()
    pool.set_limit(size=1)
    with cupy.cuda.using_allocator(pool.malloc), pytest.raises(MemoryError):
        getattr(ops, case.row)(*args, **kwargs)
    assert bits(arrays_of((args, kwargs), cupy), ops) == before
    assert equal(found(ops, case, *case.make(ops)), want)


# ---- arrays of other libraries, other streams, graphs, sizes


class ByDlpack:
    """An array of a library that knows DLPack and no interface of CUDA."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, *, stream=None, **_):
        if isinstance(self.array, np.ndarray):
            return self.array.__dlpack__(max_version=(1, 0))  # older ones are read-only to NumPy
        return self.array.__dlpack__(stream=stream)


def through(ops, case, foreign):
    """The outputs of a case whose arrays come from another library."""
    args, kwargs = case.make(ops)
    theirs = [(at, foreign(given(args, kwargs, at))) for _, at in names_of(case.row, args, kwargs, ops.xp)]
    call_args, call_kwargs = args, kwargs
    for at, x in theirs:
        call_args, call_kwargs = replaced(call_args, call_kwargs, at, x)
    return outputs(getattr(ops, case.row)(*call_args, **call_kwargs), args, kwargs)


@every_row
def test_arrays_by_dlpack_give_the_same_bits(ops, case):
    assert equal(through(ops, case, ByDlpack), found(ops, case, *case.make(ops)))


@every_row
@pytest.mark.gpu
@needs_gpu
def test_tensors_give_the_same_bits(case):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("torch is a CPU build")
    ops = backend("cuda")
    assert equal(through(ops, case, torch.from_dlpack), found(ops, case, *case.make(ops)))


@every_row
@pytest.mark.gpu
@needs_gpu
def test_another_stream_gives_the_same_bits(case):
    """The arguments are written on one stream, the row runs on a second one: it waits for what it needs."""
    cupy, ops = importlib.import_module("cupy"), backend("cuda")
    want = found(ops, case, *case.make(ops))
    first, second = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    with first:
        args, kwargs = case.make(ops)
    written = first.record()
    with second:
        second.wait_event(written)  # CuPy's arrays do not say where they were written
        result = getattr(ops, case.row)(*args, **kwargs)
        second.synchronize()
        assert equal(outputs(result, args, kwargs), want)


def production():
    return cells(sorted(_cuda.functions()))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("cell", production(), ids=lambda c: c.name)
def test_production_sizes_agree_in_poisoned_memory_twice_and_in_a_graph(cell):
    answer = answers(find("cuda"), cell)
    assert answer.right and answer.graph == "same bits", answer

"""The cuda column on the CPU: its own door, plans and workspaces, its kernels and bindings compiled by g++ over
emulation.hpp, NumPy's arrays in the place of CuPy's. tests/conftest.py gives it to tests as the fixture `emulated`.

    ops.schedule("block", 3)      # who goes first: "fair", "block" or "warp", and a seed
    ops.skip(101)                 # leave out the barrier with this id; 0: none
    ops.resident(3)               # blocks that the device holds at once; 0: as its properties say
    ops.properties("sm_80")       # what plans see; None: a small device
    info = ops.clip_sgd(value, grad, lr=0.1)
    ops.backend                   # the same as pyasr.backend("cuda"): for Params, layers and criteria; its arrays are arrays.py's

Objects are kept in build/cuda_on_cpu under a hash of what they are made of, so a change compiles one file. With
PYASR_EMULATION=sanitize the kernels are compiled with ASan and UBSan, whose libraries have to be preloaded.
"""

import contextlib
import ctypes
import hashlib
import importlib.machinery
import importlib.util
import math
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from pyasr.ops._cuda import Column, functions
from pyasr.ops._cuda._device import Device
from pyasr.ops._op import Backend, MissingOp

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CSRC = ROOT / "csrc"
ARRAYS = runpy.run_path(str(HERE / "arrays.py"))
SCHEDULES = ("fair", "block", "warp")
# processors, threads per processor, shared memory per block and per processor, L2: of a T4, A100, RTX 3090, RTX 4090, H100
DEVICES = {
    "sm_75": (40, 1024, 64 << 10, 64 << 10, 4 << 20),
    "sm_80": (108, 2048, 163 << 10, 164 << 10, 40 << 20),
    "sm_86": (82, 1536, 99 << 10, 100 << 10, 6 << 20),
    "sm_89": (128, 1536, 99 << 10, 100 << 10, 72 << 20),
    "sm_90": (132, 2048, 227 << 10, 228 << 10, 50 << 20),
}
SANITIZE = ("-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


def families():
    """The families with kernels, as cmake/cuda.cmake lists them."""
    text = (ROOT / "cmake" / "cuda.cmake").read_text()
    return re.search(r"set\(PYASR_CUDA_FAMILIES([^)]*)\)", text)[1].split()


def why_not():
    """Why the kernels can not be compiled here; None where they can."""
    if not CSRC.is_dir():
        return "the C++ sources are not beside the tests"
    if shutil.which("g++") is None:
        return "no g++"
    if importlib.util.find_spec("pybind11") is None:
        return "pybind11 is not installed"
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        return "no Python.h"
    return None


def sources(folder):
    """Every file to compile; `folder` is where one is written that includes all bindings, as the real module has them."""
    names = families()
    bindings = "".join(f'#include "bind/cuda_{name}.cpp"\n' for name in names)
    together = folder / f"bindings-{hashlib.sha256(bindings.encode()).hexdigest()[:20]}.cpp"
    if not together.exists():
        _written(together, bindings)
    kernels = [CSRC / "cuda" / f"{name}.cu" for name in names]
    own = (HERE / n for n in ("controls.cpp", "probes.cpp", "probes.cu"))
    return [together, *own, CSRC / "bind" / "cuda.cpp", CSRC / "cuda" / "device.cpp", *kernels]


def _written(target, text):
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        (Path(folder) / target.name).write_text(text)
        os.replace(Path(folder) / target.name, target)


def _flags():
    import pybind11

    flags = [
        "-std=c++20",
        "-fPIC",
        "-fvisibility=hidden",
        "-DPYASR_CUDA_ON_CPU",
        '-DPYASR_VERSION="0"',
        "-U_FORTIFY_SOURCE",
    ]
    flags += ["-Wall", "-Wextra", "-Wno-unknown-pragmas", f"-I{CSRC}", f"-I{CSRC / 'include'}", f"-I{HERE}"]
    flags += ["-isystem", pybind11.get_include(), "-isystem", sysconfig.get_paths()["include"]]
    return flags


def _headers(path, seen):
    """The text of a file and of everything of this project that it includes."""
    if path in seen:
        return
    seen[path] = path.read_bytes()
    for name in re.findall(rb'^\s*#\s*include\s+[<"]([^>"]+)[>"]', seen[path], re.MULTILINE):
        for folder in (path.parent, CSRC, CSRC / "include", HERE):
            if (found := folder / name.decode()).is_file():
                _headers(found.resolve(), seen)
                break


def _run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stderr}")


def _replaced(target, command):
    """Run a command that writes its last argument, so that the target is there as a whole or not at all."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        _run([*command, str(Path(folder) / target.name)])
        os.replace(Path(folder) / target.name, target)


def build(sanitize=False):
    """The extension module, compiled where something has changed; its path."""
    cache = ROOT / "build" / "cuda_on_cpu"
    cache.mkdir(parents=True, exist_ok=True)
    flags = _flags()

    def compiled(source):
        own = ["-O0"]  # bindings
        if source.suffix == ".cu":
            own = ["-O1", *(SANITIZE if sanitize else ())]
        seen = {}
        _headers(source, seen)
        key = hashlib.sha256(repr([flags, own, sys.version, sorted(seen.items())]).encode()).hexdigest()[:20]
        target = cache / f"{source.name}-{key}.o"
        if not target.exists():
            _replaced(target, ["g++", *flags, *own, "-x", "c++", "-c", str(source), "-o"])
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, sources(cache)))
    key = hashlib.sha256(repr([flags, [o.name for o in objects]]).encode()).hexdigest()[:20]
    target = cache / f"_cuda-{key}.so"
    for name in {p.name.rsplit("-", 1)[0] for p in cache.iterdir() if p.suffix in (".o", ".so")}:
        for old in sorted(cache.glob(f"{name}-*.*o"), key=os.path.getmtime)[:-10]:
            old.unlink(missing_ok=True)
    if not target.exists():
        _replaced(target, ["g++", "-shared", *(SANITIZE if sanitize else ()), *map(str, objects), "-o"])
    return target


def load(path):
    loader = importlib.machinery.ExtensionFileLoader("_cuda", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("_cuda", loader))
    loader.exec_module(module)
    return module


class Emulated(Device):
    """The emulated device: NumPy's arrays count as arrays on it, and what is not initialized holds NaN or −1."""

    def __init__(self, native):
        self.native = native
        names = {n: getattr(np, n) for n in dir(np) if not n.startswith("_")}
        own = {"empty": self.empty, "zeros": self.zeros, "from_dlpack": self.from_dlpack, "__name__": "numpy"}
        self.xp = SimpleNamespace(**(names | own))

    stream = 0

    def empty(self, shape, dtype=float):
        dtype, shape = np.dtype(dtype), (shape,) if np.ndim(shape) == 0 else tuple(shape)
        nbytes = dtype.itemsize * math.prod(shape)
        if nbytes == 0:
            return np.empty(shape, dtype)
        return np.frombuffer(self.native.Memory(nbytes), dtype).reshape(shape)

    def zeros(self, shape, dtype=float):
        x = self.empty(shape, dtype)
        x[...] = 0
        return x

    def interface(self, x):
        if not isinstance(x, np.ndarray):
            return super().interface(x)
        return {**x.__array_interface__, "stream": None}

    def from_dlpack(self, x):
        """As CuPy takes it: with the current stream in the call."""
        array = np.from_dlpack(
            SimpleNamespace(__dlpack__=lambda **_: x.__dlpack__(stream=1), __dlpack_device__=lambda: (1, 0))
        )
        return SimpleNamespace(__cuda_array_interface__=Emulated.interface(self, array), array=array)

    def address(self, array):
        return array.ctypes.data

    def array(self, view):
        memory = (ctypes.c_char * view.nbytes).from_address(view.address)
        return np.frombuffer(memory, view.dtype).reshape(view.shape)

    def host(self, array, stream=None):
        return array

    def check_process(self, op):
        """A fork keeps all of this device."""


class Strict(Emulated):
    """The same device with DeviceArrays, which behave as CuPy's."""

    def __init__(self, native):
        super().__init__(native)
        self.xp = ARRAYS["library"](empty=self.empty, zeros=self.zeros, from_dlpack=self.from_dlpack)

    def empty(self, shape, dtype=float):
        return super().empty(shape, dtype).view(ARRAYS["DeviceArray"])

    def interface(self, x):
        return None if type(x) is np.ndarray else super().interface(x)

    def array(self, view):
        return super().array(view).view(ARRAYS["DeviceArray"])

    def host(self, array, stream=None):
        return array.get()


class EmulatedBackend(Backend):
    """What pyasr.backend("cuda") is on a GPU, for Params, layers and criteria."""

    def __init__(self, column):
        self.name, self.xp, self.device, self._column = "cuda", column.xp, column.device, column

    def column(self, op):
        return "cuda" if op in functions() else None

    def __getattr__(self, op):
        if op.startswith("_") or op not in functions():
            raise MissingOp(f"backend 'cuda' has no {op}")
        return getattr(self._column, op)


class EmulatedColumn(Column):
    """Column with the controls of the emulation; they hold until they are set again."""

    def __init__(self, device):
        super().__init__(device)
        self.numbers = {None: 0}  # of the devices that have been described
        self.arrays = ARRAYS
        self.strict = Column(Strict(device.native))
        self.backend = EmulatedBackend(self.strict)

    def schedule(self, kind, seed=0):
        self.device.native.schedule(SCHEDULES.index(kind), seed)

    def skip(self, barrier):
        self.device.native.skip(barrier)

    def resident(self, blocks):
        self.device.native.resident(blocks)

    def properties(self, name):
        native, known = self.device.native, self.numbers
        if name not in known:
            numbers = dict(zip(PROPERTIES, DEVICES[name], strict=True))
            major, minor = divmod(int(name.removeprefix("sm_")), 10)
            known[name] = native.describe(**numbers, major=major, minor=minor)
        native.select(known[name])

    def reset(self):
        """Back to how it begins: all in turn, nothing skipped, three blocks, the small device."""
        self.schedule("fair")
        self.skip(0)
        self.resident(3)
        self.properties(None)

    @contextlib.contextmanager
    def without(self, barrier):
        self.skip(barrier)
        try:
            yield
        finally:
            self.skip(0)


PROPERTIES = ("processors", "threads_per_processor", "shared_per_block", "shared_per_processor", "l2")


def column():
    return EmulatedColumn(Emulated(load(build(os.environ.get("PYASR_EMULATION") == "sanitize"))))

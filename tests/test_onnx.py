"""What of pyasr.onnx needs no onnx: the order of the gates, and the words where it is missing."""

import sys

import numpy as np
import pytest

import pyasr
import pyasr.onnx
from pyasr.layers import Rnn
from pyasr.onnx._table import RECURRENT, reordered

KINDS = [pytest.param(k, id=k.op_type) for k in RECURRENT]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 1, 1), (1, 2)])
def test_gates_come_back_to_their_places(kind, shape):
    assert sorted(kind.gates) == sorted(kind.onnx_gates)
    S, H, *rest = shape
    a = np.arange(S * len(kind.gates) * H * int(np.prod(rest))).reshape(S, len(kind.gates) * H, *rest)
    there = reordered(a, kind.gates, kind.onnx_gates)
    np.testing.assert_array_equal(reordered(there, kind.onnx_gates, kind.gates), a)
    np.testing.assert_array_equal(reordered(reordered(a, kind.onnx_gates, kind.gates), kind.gates, kind.onnx_gates), a)
    for s in range(S):
        for k, gate in enumerate(kind.onnx_gates):
            own = kind.gates.index(gate)
            np.testing.assert_array_equal(there[s, k * H : (k + 1) * H], a[s, own * H : (own + 1) * H])


def test_without_onnx_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    params = pyasr.Params(pyasr.backend("numpy"))
    layer = Rnn(params, "r", 3, 2)
    params.init(0)
    for call in (lambda: pyasr.onnx.export(layer, tmp_path / "m"), lambda: pyasr.onnx.load(tmp_path / "m", params)):
        with pytest.raises(ImportError, match=r'^onnx is not installed: pip install "pyasr-kernels\[onnx\]"$'):
            call()

"""Presets against frozen numbers of the toolkits that they stand for, and NeMo and Whisper against torch.stft."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from pyasr.features.presets import PRESETS, preset
from pyasr.ops import rows, why_not
from pyasr.ops._op import backend, has
from pyasr.ops._plan import make_plan

HERE = Path(__file__).parent / "oracle"
F64 = runpy.run_path(str(HERE / "features_f64.py"))
DIALECTS = runpy.run_path(str(HERE / "make_dialects.py"))
FROZEN = np.load(HERE / "dialects.npz")
COLUMNS = [c for c in ("numpy", "numba", "cpp") if why_not(c) is None]
LIMIT = {
    "numpy": 2e-5,
    "numba": 5e-4,
    "cpp": 5e-4,
}  # nepers of the bands; the reference and the file are rounded to float32
CASES = [name.split("_", 1)[1].rsplit("_", 2) for name in FROZEN.files if name.startswith("features_")]


def of_preset(column, name, kind, wave):
    """Our features and the unit of their columns."""
    changes = {"num_ceps": 0} if kind == "fbank" else {}
    options = preset(name, DIALECTS["RATES"][wave], **changes)
    samples = FROZEN[f"wave_{wave}"]
    return getattr(backend(column), kind)(samples, make_plan(options)), F64["unit"](kind, samples, options)


def test_every_preset_has_numbers():
    assert {dialect for dialect, _, _ in CASES} == set(PRESETS) == set(DIALECTS["DIALECTS"])
    assert len(CASES) == 35


@pytest.mark.parametrize(
    ("name", "kind", "wave", "column"), [(*case, c) for case in CASES for c in COLUMNS if has(rows()[case[1]], c)]
)
def test_a_preset_gives_the_numbers_of_its_toolkit(name, kind, wave, column):
    got, unit = of_preset(column, name, kind, wave)
    want = FROZEN[f"features_{name}_{kind}_{wave}"]
    assert got.shape == want.shape
    assert (np.abs(got.astype(np.float64) - want) / unit).max() <= LIMIT[column]


@pytest.mark.parametrize("wave", ["voiced", "hiss"])
@pytest.mark.parametrize("column", [c for c in COLUMNS if has(rows()["fbank"], c)])
def test_nemo_through_torch(column, wave):
    torch = pytest.importorskip("torch", reason="torch.stft is what NeMo takes")
    x = torch.from_numpy(FROZEN[f"wave_{wave}"] / 32768.0)
    x = torch.cat((x[:1], x[1:] - 0.97 * x[:-1]))
    stft = torch.stft(
        x, 512, hop_length=160, win_length=400, center=True, pad_mode="constant", return_complex=True,
        window=torch.hann_window(400, periodic=False, dtype=torch.float64),
    )  # fmt: skip
    filters = torch.from_numpy(DIALECTS["slaney"](512, 16000, 80))
    logs = torch.log(filters @ stft.abs() ** 2 + 2**-24)[:, : len(x) // 160]
    want = (logs - logs.mean(dim=1, keepdim=True)) / (logs.std(dim=1, keepdim=True) + 1e-5)
    got, unit = of_preset(column, "nemo", "fbank", wave)
    assert got.shape == want.T.shape
    assert (np.abs(got - want.T.numpy()) / unit).max() <= LIMIT[column]


@pytest.mark.parametrize("wave", ["voiced", "hiss"])
@pytest.mark.parametrize("column", [c for c in COLUMNS if has(rows()["fbank"], c)])
def test_whisper_through_torch(column, wave):
    torch = pytest.importorskip("torch", reason="torch.stft is what Whisper takes")
    x = torch.from_numpy(FROZEN[f"wave_{wave}"] / 32768.0)
    stft = torch.stft(x, 400, 160, window=torch.hann_window(400, dtype=torch.float64), return_complex=True)
    power = torch.from_numpy(DIALECTS["slaney"](400, 16000, 80)) @ stft[:, :-1].abs() ** 2
    logs = torch.clamp(power, min=1e-10).log10()
    want = (torch.maximum(logs, logs.max() - 8.0) + 4.0) / 4.0
    got, unit = of_preset(column, "whisper", "fbank", wave)
    assert got.shape == want.T.shape
    assert (np.abs(got - want.T.numpy()) / unit).max() <= LIMIT[column]

"""Layers as ONNX files, and back: `pip install "pyasr-kernels[onnx]"`.

    import pyasr.onnx

    pyasr.onnx.export(model, "model.onnx")                 # x [T,B,D], lengths [B] -> y, for onnxruntime and its kin
    params = pyasr.Params(pyasr.backend())
    model = pyasr.onnx.load("model.onnx", params)          # a chain, with its weights

Recurrent layers are ONNX's own LSTM, GRU and RNN. What ONNX has no word for (zeros at padding, frames side by side, the mean over
valid frames) stands in the file as functions over standard ops. To add a kind of layer: an entry in RECURRENT of `_table.py`
where it is recurrent, else one in WRITERS of `_export.py` and one in READERS of `_load.py`.
"""

from pyasr.onnx._export import export
from pyasr.onnx._load import load

__all__ = ["export", "load"]

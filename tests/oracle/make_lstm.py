"""Writes lstm_torch.npz: packed ragged LSTM, GRU and RNN layers of torch in float64, with all gradients. By hand; needs torch.

python tests/oracle/make_lstm.py
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

# name -> (torch class, T, B, D, H, S, proj_size); a seed each, in this order
CASES = {
    "lstm2": (torch.nn.LSTM, 11, 5, 6, 9, 2, 0),
    "lstm1": (torch.nn.LSTM, 7, 4, 3, 17, 1, 0),
    "rnn2": (torch.nn.RNN, 9, 4, 5, 18, 2, 0),
    "rnn1": (torch.nn.RNN, 6, 3, 2, 7, 1, 0),
    "gru2": (torch.nn.GRU, 6, 4, 3, 5, 2, 0),
    "gru1": (torch.nn.GRU, 6, 3, 4, 9, 1, 0),
    "lstmprojected2": (torch.nn.LSTM, 6, 4, 3, 5, 2, 3),
}


def case(kind, T, B, D, H, S, P, seed):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    model = kind(D, H, bidirectional=S == 2, **({"proj_size": P} if P else {})).double()
    R, gru = P or H, kind is torch.nn.GRU
    suffixes = ("", "_reverse")[:S]
    with torch.no_grad():
        for suffix in suffixes:
            for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", *(["weight_hr_l0"] if P else [])):
                parameter = getattr(model, name + suffix)
                parameter.copy_(normal(*parameter.shape, scale=0.5))
            getattr(model, "bias_hh_l0" + suffix).zero_()
            if gru:  # what r multiplies has a bias of its own
                getattr(model, "bias_hh_l0" + suffix)[2 * H :] = normal(H, scale=0.5)
    lengths = torch.randint(1, T + 1, (B,), generator=generator)
    lengths[1] = T
    x = normal(T, B, D).requires_grad_()
    states = [normal(S, B, n).requires_grad_() for n in ((R, H) if kind is torch.nn.LSTM else (H,))]
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    out, last = model(packed, tuple(states) if len(states) == 2 else states[0])
    y, _ = pad_packed_sequence(out, total_length=T)
    last = list(last) if len(states) == 2 else [last]
    dy, dlast = normal(T, B, S * R), [normal(*a.shape) for a in last]
    ((y * dy).sum() + sum((a * d).sum() for a, d in zip(last, dlast, strict=True))).backward()

    def stacked(name, gradient):
        parts = [getattr(model, name + s) for s in suffixes]
        return torch.stack([p.grad if gradient else p.detach() for p in parts])

    arrays = {"x": x, "lengths": lengths.int(), "y": y, "dy": dy, "dx": x.grad}
    for ours, theirs in (("w_ih", "weight_ih_l0"), ("w_hh", "weight_hh_l0"), ("bias", "bias_ih_l0")):
        arrays[ours], arrays["d" + ours] = stacked(theirs, False), stacked(theirs, True)
    if P:
        arrays["projection"], arrays["dprojection"] = stacked("weight_hr_l0", False), stacked("weight_hr_l0", True)
    if gru:
        for name, gradient in (("bias", False), ("dbias", True)):
            arrays[name] = torch.cat([arrays[name], stacked("bias_hh_l0", gradient)[:, 2 * H :]], dim=1)
    for letter, state, end, dend in zip("hc", states, last, dlast, strict=False):
        arrays |= {f"{letter}0": state, f"{letter}n": end, f"d{letter}n": dend, f"d{letter}0": state.grad}
    return {name: a.detach().numpy() for name, a in arrays.items()}


if __name__ == "__main__":
    everything = {
        f"{name}_{key}": array
        for seed, (name, arguments) in enumerate(CASES.items())
        for key, array in case(*arguments, seed).items()
    }
    np.savez_compressed(Path(__file__).with_name("lstm_torch.npz"), **everything)

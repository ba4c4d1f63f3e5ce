"""Writes ctc_torch.npz: CTC loss and gradient by torch in float64, an outside oracle for tests/test_ctc.py.

    python tests/oracle/make_ctc.py

Logits are not stored: they come from np.random.RandomState, whose stream NumPy keeps for good. Of the large cases only the loss,
the norm of the gradient and its products with random vectors are stored: the root mean square of the products' errors estimates
the norm of the gradient's error.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

# T, U, V, factor on the logits: from an untrained model to one that is sure of itself
LARGE = ((100, 20, 30, 1), (500, 60, 30, 1), (1500, 200, 30, 1), (500, 60, 30, 10), (2000, 200, 30, 50))
PROBES = 32


def small_case() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """logits [T,B,V] float64, lengths, labels, label_lengths: ragged, with repeats, an empty label and a tight fit."""
    rng = np.random.RandomState(7)
    logits = 2.0 * rng.standard_normal((12, 6, 7))
    lengths = np.array([12, 9, 12, 5, 1, 7], np.int32)
    labels = rng.randint(1, 7, (6, 5)).astype(np.int32)
    labels[1, :3] = 4  # repeats
    labels[3, :3] = 2, 2, 5
    labels[5, :4] = 3, 3, 3, 3  # needs all its 7 frames
    return logits, lengths, labels, np.array([5, 3, 0, 3, 1, 4], np.int32)


def large_case(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """logits [T,1,V] float32, labels [1,U], probes [PROBES,T,V] of ±1."""
    frames, count, symbols, factor = LARGE[index]
    rng = np.random.RandomState(100 + index)
    logits = (factor * rng.standard_normal((frames, 1, symbols))).astype(np.float32)
    labels = rng.randint(1, symbols, (1, count)).astype(np.int32)
    return logits, labels, rng.randint(0, 2, (PROBES, frames, symbols)).astype(np.int8) * 2 - 1


def main() -> None:
    import torch
    import torch.nn.functional as F

    def torch_ctc(logits, lengths, labels, label_lengths):
        x = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
        targets = [torch.tensor(v.astype(np.int64)) for v in (labels, lengths, label_lengths)]
        loss = F.ctc_loss(x.log_softmax(-1), *targets, reduction="none")
        loss.sum().backward()
        return loss.detach().numpy(), x.grad.numpy()

    out = {"torch": np.array(torch.__version__)}
    out["small_loss"], out["small_grad"] = torch_ctc(*small_case())
    for i, (frames, count, _, _) in enumerate(LARGE):
        logits, labels, probes = large_case(i)
        loss, grad = torch_ctc(logits, np.array([frames]), labels, np.array([count]))
        out[f"loss_{i}"], out[f"norm_{i}"] = loss[0], np.linalg.norm(grad)
        out[f"products_{i}"] = np.einsum("ptv,tv->p", probes.astype(np.float64), grad[:, 0])
    target = Path(__file__).with_name("ctc_torch.npz")
    np.savez_compressed(target, **out)
    print(f"wrote {target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()

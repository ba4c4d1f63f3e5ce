"""Writes sgd_torch.npz: torch's clip_grad_norm_ or clip_grad_value_ and SGD, an outside oracle for tests/test_optim.py.

    python tests/oracle/make_sgd.py

Five steps of every combination of options, in float64 (where torch's forms agree to rounding). Values and gradients are not
stored: they come from np.random.RandomState, whose stream NumPy keeps for good.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

N, STEPS = 37, 5
CLIPS = (None, ("norm", 2.0), ("value", 0.5))


def cases() -> list[dict[str, Any]]:
    """Keyword arguments of clip_sgd, without buffer and step."""
    out = []
    for momentum, dampening, nesterov, decay, clip in itertools.product(
        (0.0, 0.9), (0.0, 0.5), (False, True), (0.0, 0.1), CLIPS
    ):
        if (dampening and not momentum) or (nesterov and (not momentum or dampening)):
            continue
        out.append(
            {
                "lr": 0.1,
                "momentum": momentum,
                "dampening": dampening,
                "nesterov": nesterov,
                "weight_decay": decay,
                "clip": clip,
            }
        )
    return out


def data() -> tuple[np.ndarray, np.ndarray]:
    """value [N], grads [STEPS,N]; the first gradient is below the norm limit, the others above."""
    rng = np.random.RandomState(3)
    grads = rng.standard_normal((STEPS, N))
    grads[0] *= 0.1
    return rng.standard_normal(N), grads


def main() -> None:
    import torch

    out = {"torch": np.array(torch.__version__)}
    for i, case in enumerate(cases()):
        start, grads = data()
        p = torch.nn.Parameter(torch.tensor(start))
        options = {k: v for k, v in case.items() if k != "clip"}
        optimizer, norms = torch.optim.SGD([p], foreach=False, **options), []
        for grad in grads:
            p.grad = torch.tensor(grad)
            norms.append(float(p.grad.norm()))
            if case["clip"]:
                kind, limit = case["clip"]
                clip = torch.nn.utils.clip_grad_norm_ if kind == "norm" else torch.nn.utils.clip_grad_value_
                clip([p], limit)
            optimizer.step()
        out[f"value_{i}"], out[f"norms_{i}"] = p.detach().numpy(), np.array(norms)
    np.savez_compressed(Path(__file__).with_name("sgd_torch.npz"), **out)


if __name__ == "__main__":
    main()

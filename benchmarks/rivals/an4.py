"""Training on AN4 beside torch on the CPU: the same model, weights, batches, features and threads, slices of an epoch in turn.

    python benchmarks/rivals/an4.py [--data PATH] [--threads N] [--rounds EPOCHS] [--batches N] [--clock cpu] [--json FILE]

Four sides train the recognizer of `pyasr train an4`: ours and three forms of torch.

    packed      pack_padded_sequence, torch's own way to leave padding out; computes what ours computes
    reversed    two one-way LSTMs per layer, the second over utterances reversed within their lengths; computes it too
    padded      nn.LSTM(bidirectional=True) over the padding: the way back starts in the padding, so its loss is another

Before anything is timed, loss and gradients of the first batch are compared. Then a few batches (--slice) go to one side after
the other, in an order that rotates, so that the noise of a shared machine hits all alike. A slice is timed from cached features
to updated weights: augmentation and padding by the same NumPy code, forward, loss, backward, clipping, Adam. Features are
computed once, and their time is shown.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import _report
from _report import close

PARSER = _report.parser("training on AN4 beside torch", threads=2, rounds=1)
PARSER.add_argument("--data", help="the folder with etc and wav, or the one above; by default $PYASR_DATA/an4")
PARSER.add_argument("--batches", type=int, help="of an epoch, for a quick look; by default all")
PARSER.add_argument("--slice", type=int, default=4, help="batches that one side trains on before the next has its turn")
PARSER.add_argument("--seed", type=int, default=0)
OPTIONS = PARSER.parse_args()
_report.pin(OPTIONS.threads)
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of NumPy alone, as the command `pyasr` has it; torch brings its own BLAS
if importlib.util.find_spec("torch") is None:
    raise SystemExit("an4: torch is not installed")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.nn.functional import ctc_loss  # noqa: E402
from torch.nn.functional import pad as pad_right  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

import pyasr  # noqa: E402
from pyasr.augment import add_noise, mask_times  # noqa: E402
from pyasr.batches import bucketed, pad  # noqa: E402
from pyasr.counter import stream  # noqa: E402
from pyasr.datasets import an4  # noqa: E402
from pyasr.layers import EVAL, Mode  # noqa: E402
from pyasr.losses import Ctc  # noqa: E402
from pyasr.optim import Adam  # noqa: E402
from pyasr.recognizer import FrontEnd  # noqa: E402
from pyasr.schedules import one_cycle  # noqa: E402
from pyasr.text import Alphabet, pad_labels  # noqa: E402

HIDDEN, LAYERS, DROPOUT, STACK = 128, 2, 0.3, 3
BATCH, PEAK, CLIP = 16, 2e-3, 5.0
NOISE, MASKS, LONGEST_MASK = 0.1, 2, 27
MARKS = {"torch packed": 1.5, "torch reversed": 1.5, "torch padded": 1.0}  # the ratios that the project wants at least
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 3e-4  # float32 summed in two orders; torch's CTC is the less accurate


class Part(NamedTuple):
    """The training part of the corpus in memory."""

    features: list[np.ndarray]  # [T, 39] float32 each
    labels: list[np.ndarray]
    symbols: int  # with the blank
    audio: list[float]  # seconds of each utterance
    seconds: dict[str, float]  # that reading and the front end took

    def batch(self, chosen: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(x [T, B, 39], lengths [B], labels [B, U]), augmented; the longest utterance first, as packing wants them."""
        augmented = []
        for i in chosen[::-1]:
            rng = stream("augment", OPTIONS.seed, epoch, int(i))
            augmented.append(mask_times(add_noise(self.features[i], rng, NOISE), rng, MASKS, longest=LONGEST_MASK))
        return *pad(augmented), pad_labels([self.labels[i] for i in chosen[::-1]])


def read(ops: Any) -> Part:
    try:
        corpus = an4.load(an4.locate(OPTIONS.data, offline=True))
    except FileNotFoundError as e:
        raise SystemExit(f"an4: {e}") from None
    alphabet = Alphabet.of(u.text for u in corpus.train)
    start = time.perf_counter()
    waves = [pyasr.load(u.path, corpus.sample_rate)[0] for u in corpus.train]
    reading = time.perf_counter() - start
    front_end = FrontEnd(ops, corpus.sample_rate)
    front_end(waves[0])
    start = time.perf_counter()
    features = [front_end(wave) for wave in waves]
    seconds = {"reading": reading, "features": time.perf_counter() - start}
    labels = [alphabet.encode(u.text) for u in corpus.train]
    return Part(features, labels, len(alphabet), [len(w) / corpus.sample_rate for w in waves], seconds)


class Ours:
    """pyasr, as its recipe trains."""

    def __init__(self, ops: Any, symbols: int) -> None:
        self.params = pyasr.Params(ops)
        self.model = pyasr.models.lstm_ctc(
            self.params, FrontEnd.SIZE, symbols, hidden=HIDDEN, layers=LAYERS, dropout=DROPOUT, stack=STACK
        )
        self.params.init(OPTIONS.seed)
        self.criterion, self.optimizer = Ctc(ops), Adam(self.params, clip=CLIP)

    def gradient(self, x: np.ndarray, lengths: np.ndarray, labels: np.ndarray, mode: Mode = EVAL) -> float:
        """The loss of a batch; its gradient is in params.grad."""
        logits, saved = self.model.forward(x, lengths, mode)
        loss = self.criterion(logits, self.model.out_lengths(lengths), labels)
        self.params.grad[:] = 0
        self.model.backward(saved, loss.grad, need_dx=False)
        return loss.value

    def step(self, batch: Any, number: int, lr: float) -> float:
        loss = self.gradient(*batch, mode=Mode(train=True, seed=OPTIONS.seed, step=number))
        self.optimizer.step(lr)
        return loss


class Network(torch.nn.Module):
    """The same model: stacked frames, bidirectional LSTMs with dropout between, a linear map, log-softmax."""

    def __init__(self, symbols: int, form: str) -> None:
        super().__init__()
        self.form = form
        self.lstms = torch.nn.ModuleList()
        for k in range(LAYERS):
            inputs = 2 * HIDDEN if k else STACK * FrontEnd.SIZE
            if form == "reversed":
                self.lstms.append(torch.nn.ModuleList(torch.nn.LSTM(inputs, HIDDEN) for _ in range(2)))
            else:
                self.lstms.append(torch.nn.LSTM(inputs, HIDDEN, bidirectional=True))
        self.dropout, self.out = torch.nn.Dropout(DROPOUT), torch.nn.Linear(2 * HIDDEN, symbols)

    def weights(self) -> Iterator[tuple[str, list[torch.nn.Parameter]]]:
        """Our names with torch's tensors, one per direction where ours is stacked. torch's second biases are not among them."""
        for k, layer in enumerate(self.lstms):
            ways = [(w, "") for w in layer] if self.form == "reversed" else [(layer, ""), (layer, "_reverse")]
            for theirs, mine in (("weight_ih", "weight_ih"), ("weight_hh", "weight_hh"), ("bias_ih", "bias")):
                yield f"lstm{k}.{mine}_l0", [getattr(module, f"{theirs}_l0{suffix}") for module, suffix in ways]
        yield from (("out.weight", [self.out.weight]), ("out.bias", [self.out.bias]))

    @torch.no_grad()
    def load(self, params: pyasr.Params) -> None:
        """Our weights. Ours has one bias: it is torch's first, and the second stays at zero and is not trained."""
        for name, tensors in self.weights():
            for tensor, mine in zip(tensors, params[name] if len(tensors) > 1 else params[name][None], strict=True):
                tensor.copy_(torch.tensor(mine))
        for name, tensor in self.named_parameters():
            if "bias_hh" in name:
                tensor.zero_().requires_grad_(False)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """x [T, B, F], lengths [B] of the stacked frames -> log probabilities [⌈T / STACK⌉, B, V]."""
        T, B, F = x.shape
        h = pad_right(x, (0, 0, 0, 0, 0, -T % STACK)).view(-1, STACK, B, F).transpose(1, 2).reshape(-1, B, STACK * F)
        if self.form == "packed":
            h = pack_padded_sequence(h, lengths)
        elif self.form == "reversed":
            t = torch.arange(len(h))[:, None]
            back = torch.where(t < lengths, lengths - 1 - t, t)  # its own inverse
            columns = torch.arange(B)
        for k, lstm in enumerate(self.lstms):
            if k > 0:  # packed, nothing is drawn for padding
                h = h._replace(data=self.dropout(h.data)) if self.form == "packed" else self.dropout(h)
            if self.form == "reversed":
                h = torch.cat((lstm[0](h)[0], lstm[1](h[back, columns])[0][back, columns]), -1)
            else:
                h, _ = lstm(h)
        if self.form == "packed":
            h, _ = pad_packed_sequence(h)
        return self.out(h).log_softmax(-1)


class Theirs:
    """torch. Fused Adam is its fastest form on the CPU (0.5 ms per step here, foreach 1.2 ms)."""

    def __init__(self, params: pyasr.Params, symbols: int, form: str) -> None:
        torch.manual_seed(OPTIONS.seed)
        self.model = Network(symbols, form)
        self.model.load(params)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.trained, lr=PEAK, fused=True)

    def gradient(self, x: np.ndarray, lengths: np.ndarray, labels: np.ndarray) -> float:
        """The loss of a batch; its gradient is in the parameters' grad."""
        frames = torch.from_numpy(-(-lengths // STACK)).long()
        counts = torch.from_numpy((labels >= 0).sum(1))
        scores = self.model(torch.from_numpy(x), frames)
        losses = ctc_loss(scores, torch.from_numpy(labels).long(), frames, counts, reduction="none", zero_infinity=True)
        loss = losses.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return loss.item()

    def step(self, batch: Any, number: int, lr: float) -> float:
        loss = self.gradient(*batch)
        torch.nn.utils.clip_grad_norm_(self.trained, CLIP)
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()
        return loss


Side = Ours | Theirs


def sides(ops: Any, symbols: int) -> dict[str, Side]:
    ours = Ours(ops, symbols)
    forms = [name.removeprefix("torch ") for name in MARKS]
    return {"pyasr": ours} | {f"torch {form}": Theirs(ours.params, symbols, form) for form in forms}


def check(contestants: dict[str, Side], batch: Any) -> dict[str, dict[str, float]]:
    """Losses of the first batch without dropout and their distances from ours; the end of the run where packed or reversed torch
    does not compute what we do."""
    ours, found = contestants["pyasr"], {}
    loss = ours.gradient(*batch)
    for name, side in contestants.items():
        if side is ours:
            continue
        side.model.dropout.p = 0.0  # eval() would keep oneDNN from saving what backward needs
        found[name] = {"loss": side.gradient(*batch)}
        side.model.dropout.p = DROPOUT
        slack = float("inf") if name == "torch padded" else 1.0  # its distance is only shown
        found[name]["loss error"] = close(f"{name}: loss", found[name]["loss"], loss, slack * LOSS_TOLERANCE)
        found[name]["gradient error"] = max(
            close(f"{name}: gradient of {entry}", np.stack([t.grad.numpy() for t in tensors]).squeeze(),
                  ours.params.grad_of(entry).squeeze(), slack * GRADIENT_TOLERANCE)
            for entry, tensors in side.model.weights()
        )  # fmt: skip
    print(f"first batch, without dropout: loss {loss:.5f}")
    for name, f in found.items():
        print(f"{name:14s} {f['loss']:.5f}, {f['loss error']:.0e} off; gradients {f['gradient error']:.0e} off")
    return found


class Slice(NamedTuple):
    """What one side needed for a few batches."""

    wall: float
    cpu: float
    loss: float  # summed over the batches


def run(side: Side, part: Part, batches: Sequence[tuple[int, np.ndarray]], first: int, total: int) -> Slice:
    """Train on (epoch, utterances) of every batch; the first of them is step `first` of `total`."""
    wall, cpu, loss = time.perf_counter(), time.process_time(), 0.0
    for number, (epoch, chosen) in enumerate(batches, first):
        loss += side.step(part.batch(chosen, epoch), number, one_cycle(number, total, PEAK))
    return Slice(time.perf_counter() - wall, time.process_time() - cpu, loss)


def race(ops: Any, part: Part) -> tuple[dict[str, list[Slice]], list[np.ndarray], dict[str, Any]]:
    """The slices of every side, the batches, and how far the answers are apart."""
    lengths = [len(f) for f in part.features]
    batches = [
        (epoch, chosen)
        for epoch in range(OPTIONS.rounds)
        for chosen in bucketed(lengths, BATCH, OPTIONS.seed, epoch)[: OPTIONS.batches]
    ]
    contestants = sides(ops, part.symbols)
    agreement = check(contestants, part.batch(batches[0][1], 0))
    for side in contestants.values():  # threads, caches and oneDNN's code are ready; then everything starts anew
        run(side, part, batches[:2], 0, len(batches))
    contestants = sides(ops, part.symbols)
    order, slices = list(contestants), {name: [] for name in contestants}
    for first in range(0, len(batches), OPTIONS.slice):
        for name in order:
            slices[name].append(
                run(contestants[name], part, batches[first : first + OPTIONS.slice], first, len(batches))
            )
        order = order[1:] + order[:1]
    return slices, [chosen for _, chosen in batches], agreement


def main() -> None:
    torch.set_num_threads(OPTIONS.threads)
    ops = pyasr.backend("cpp")
    where = _report.machine(["torch"])
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    part = read(ops)
    unaligned = sum(-(-len(f) // STACK) < len(u) + int((u[1:] == u[:-1]).sum())
                    for f, u in zip(part.features, part.labels, strict=True))  # fmt: skip
    print(
        f"{len(part.features)} utterances, {sum(part.audio) / 60:.1f} min, {unaligned} with fewer frames than labels; read in "
        f"{part.seconds['reading']:.2f} s, features in {part.seconds['features']:.2f} s"
    )
    slices, batches, agreement = race(ops, part)
    utterances, audio = sum(map(len, batches)), sum(part.audio[i] for chosen in batches for i in chosen)
    print(f"{OPTIONS.threads} thread(s), {len(batches)} batches of {BATCH} in slices of {OPTIONS.slice}; "
          f"ratios by the {OPTIONS.clock} clock\n")  # fmt: skip
    taken = {name: np.array([getattr(s, OPTIONS.clock) for s in own]) for name, own in slices.items()}
    results = []
    for name, own in slices.items():
        wall, cpu = sum(s.wall for s in own), sum(s.cpu for s in own)
        result: dict[str, Any] = {
            "name": name, "wall": wall, "cpu": cpu, "utterances per second": utterances / taken[name].sum(),
            "hours of audio per second": audio / 3600 / taken[name].sum(),
            "mean loss": sum(s.loss for s in own) / len(batches), "slices": taken[name].round(4).tolist(),
        }  # fmt: skip
        line = (
            f"{name:14s} {wall:7.2f} s  CPU {cpu:7.2f} s  {result['utterances per second']:7.1f} utterances/s  "
            f"{result['hours of audio per second']:.3f} h of audio/s  mean loss {result['mean loss']:.2f}"
        )
        if name in MARKS:
            ratios = taken[name] / taken["pyasr"]
            low, median, high = (float(q) for q in np.quantile(ratios, (0.25, 0.5, 0.75)))
            whole, mark = float(taken[name].sum() / taken["pyasr"].sum()), MARKS[name]
            result |= {"ratio": whole, "ratio of slices": median, "quartiles": [low, high], "mark": mark}
            line += f"  ratio {whole:.2f}, of slices {median:.2f} [{low:.2f}, {high:.2f}]  (mark {mark:g}: "
            line += f"{'met' if min(whole, median) >= mark else 'missed'})"
        results.append(result)
        print(line)
    _report.save(
        OPTIONS, where, rounds=OPTIONS.rounds, batches=len(batches), seconds=part.seconds, agreement=agreement,
        results=results,
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""Train a recognizer on a corpus, keep the best epoch, stop and go on without losing a step."""

from __future__ import annotations

import math
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pyasr import schedules
from pyasr._optional import need
from pyasr.batches import bucketed, pad
from pyasr.checkpoint import Checkpoint, CheckpointError
from pyasr.datasets import Corpus, Skipped, Utterance
from pyasr.hessian_free import HessianFree
from pyasr.optim import Adam, AdamW, Optimizer, RmsProp, Sgd
from pyasr.params import Params
from pyasr.recognizer import CtcConfig, CtcRecognizer, WordConfig, WordRecognizer, load
from pyasr.runs import plots
from pyasr.runs.evaluation import Score, evaluate
from pyasr.runs.folder import Metrics, RunFolder
from pyasr.runs.material import FRAME_SHIFT, Material, augmented, material
from pyasr.runs.options import Options, as_dict
from pyasr.text import Alphabet, is_printable, normalize
from pyasr.train import Progress, Step, fit

CHECKPOINT_SECONDS = 30.0  # between checkpoints, unless a number of steps was asked for
LOG_EVERY = 20  # updates between looks at a GPU, unless another number was asked for
HIGHEST_RATE = 16_000  # Hz; of a corpus that does not say its rate


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in training; everything was saved to `path` after `step` updates."""

    def __init__(self, path: Path, step: int) -> None:
        resume = f"pyasr train --resume {shlex.quote(str(path.parent))}"
        super().__init__(f"saved {path} at step {step}; `{resume}` goes on")
        self.path, self.step = path, step


@dataclass(frozen=True)
class Hooks:
    """Functions that are called while a training runs."""

    on_utterance: Callable[[Utterance], object] = lambda utterance: None  # before its features are made
    on_start: Callable[[int, int], object] = lambda done, steps: None  # updates that are done, and in all
    on_step: Callable[[Step], object] = lambda step: None
    on_epoch: Callable[[dict[str, Any]], object] = lambda record: None
    on_note: Callable[[str], object] = lambda note: None  # what a user should know


@dataclass
class State:
    """What a checkpoint holds of a training besides weights and optimizer."""

    progress: Progress = field(default_factory=Progress)
    history: list[tuple[int, float | None]] = field(default_factory=list)  # per epoch: dev errors, dev loss
    loss_sum: float = 0.0  # over the steps of this epoch, and
    loss_steps: int = 0  # how many they are; a skipped step has no loss
    seconds: float = 0.0
    hours: float = 0.0  # of audio that was trained on


@dataclass(frozen=True)
class Result:
    """What a finished training leaves behind; test is None where the corpus has none."""

    corpus: str
    model: str
    dev: Score
    test: Score | None
    best_epoch: int  # counts from 1
    epochs: int
    steps: int
    hours: float  # of audio that was trained on, repetitions counted
    seconds: dict[str, float]  # features, training, scores
    skipped: int
    checkpoint: Path

    def as_json(self) -> dict[str, Any]:
        """Scores on `digits` are labelled synthetic."""
        out = {f.name: getattr(self, f.name) for f in fields(self)} | {"checkpoint": str(self.checkpoint)}
        scores = {name: score and score.as_json(self.model) for name, score in (("dev", self.dev), ("test", self.test))}
        return {**out, **scores, "synthetic": self.corpus == "digits"}


def best_of(history: list[tuple[int, float | None]]) -> int:
    """The first of the best epochs, counted from 0: fewest errors, then the lowest loss."""
    ranks = [(errors, _or_infinity(loss)) for errors, loss in history]
    return ranks.index(min(ranks))


def _or_infinity(loss: float | None) -> float:
    return math.inf if loss is None else loss


def new_recognizer(
    ops: Any, corpus: Corpus, options: Options, sample_rate: int
) -> tuple[WordRecognizer | CtcRecognizer, Callable[[Utterance], object]]:
    """The recognizer that the training transcripts ask for, and what raises ValueError for a transcript that it cannot learn."""
    texts = {normalize(u.text) for u in corpus.train}
    fit_to_print = {text for text in texts if is_printable(text)} - {""}  # a checkpoint refuses the others
    if not fit_to_print and (options.alphabet is None or options.model == "word_classifier"):
        raise ValueError(f"{corpus.name} has no words to train on: every transcript is empty or cannot be printed")
    sizes: dict[str, Any] = {"hidden": options.hidden, "layers": options.layers, "dropout": options.dropout}
    sizes |= {"bidirectional": options.bidirectional, "cell": options.cell, "sample_rate": sample_rate}
    recognizer: WordRecognizer | CtcRecognizer
    if options.model == "word_classifier":
        recognizer = WordRecognizer(ops, WordConfig(tuple(sorted(fit_to_print)), **sizes), options.seed)
    else:
        characters = Alphabet.of(fit_to_print).characters if options.alphabet is None else options.alphabet
        if not is_printable(characters):
            raise ValueError(f"options: alphabet must be printable, got {characters!r:.200}")
        recognizer = CtcRecognizer(ops, CtcConfig(characters, stack=options.stack, **sizes), options.seed)
    return recognizer, lambda u: recognizer.encode(u.text)


def rate_of(corpus: Corpus) -> int:
    """The corpus's sample rate, or that of its first readable recording, at most 16 kHz."""
    if corpus.sample_rate is not None:
        return corpus.sample_rate
    soundfile = need("soundfile")
    for u in corpus.train:
        try:
            return min(int(soundfile.info(u.path).samplerate), HIGHEST_RATE)
        except (soundfile.LibsndfileError, OSError):
            continue  # it will be skipped with its reason
    return HIGHEST_RATE


@contextmanager
def held_interrupts() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C is only remembered, for the end of the step; a second one raises KeyboardInterrupt at once."""
    pressed = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before != signal.default_int_handler:
        yield pressed.is_set  # signals go elsewhere, or somebody else handles them
        return

    def remember(number: int, frame: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, remember)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


class _Stop(Exception):
    """Ctrl-C was pressed; the training stands between two updates."""


class _Training:
    """One training, from the first step or from a checkpoint, to the last."""

    def __init__(
        self, recognizer: WordRecognizer | CtcRecognizer, train: Material, dev: Material, options: Options,
        folder: RunFolder, notes: Mapping[str, Any], hooks: Hooks, checkpoint_every: int | None, log_every: int,
    ) -> None:  # fmt: skip
        self.recognizer, self.train, self.dev, self.options = recognizer, train, dev, options
        self.folder, self.notes, self.hooks = folder, notes, hooks
        self.checkpoint_every, self.log_every = checkpoint_every, log_every
        self.optimizer = _optimizer(recognizer.params, options)
        self.labels = [recognizer.encode(u.text) for u in train.utterances]
        self.lengths = [len(f) for f in train.features]
        batches = math.ceil(len(self.lengths) / options.batch_size)
        self.steps = math.ceil(batches / options.accumulate)  # of one epoch
        self.state, self.metrics_size = State(), 0
        self.identity = {"data": train.fingerprint() + dev.fingerprint(), "options": as_dict(options)}

    def restore(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint of this run. Raises CheckpointError when recordings or options are not those it began with."""
        training = saved.config.get("training")
        if not isinstance(training, dict):
            raise CheckpointError(f"{saved.path} holds a recognizer and no training that could go on")
        notes, here, why = saved.config.get("notes"), self.notes["backend"], ""
        if isinstance(notes, dict) and notes.get("backend") != here:  # whose features may have other bits
            why = f"; it ran on the backend {notes.get('backend')!r}, this is {here!r}"
        for what, now in self.identity.items():
            if training.get(what) != now:
                raise CheckpointError(
                    f"{saved.path}: the {what} must be those that the run began with, got others{why}"
                )
        msgspec = need("msgspec")
        try:
            self.state = msgspec.convert(training.get("state"), State)
            self.metrics_size = msgspec.convert(training.get("metrics_size"), int)
        except msgspec.ValidationError as e:
            raise CheckpointError(f"{saved.path} does not say where its training stands: {e}") from e
        counts, epochs = (self.metrics_size, *asdict(self.state.progress).values()), self.state.progress.epoch
        if min(counts) < 0 or len(self.state.history) != epochs:
            raise CheckpointError(f"{saved.path} does not say where its training stands: {self.state.progress}")
        if epochs and not self.folder.best.is_file():
            raise CheckpointError(f"{self.folder.best} is missing: the best of {epochs} epochs cannot be had again")
        saved.restore(self.recognizer.params)
        saved.restore_optimizer(self.recognizer.params, self.optimizer.state)

    def learning_rate(self, step: int) -> float:
        o, total = self.options, self.options.epochs * self.steps
        match o.schedule:
            case "plateau" | "newbob" as name:
                return getattr(schedules, name)([_or_infinity(loss) for _, loss in self.state.history], o.peak)
            case name:
                return getattr(schedules, name)(step, total, o.peak)

    def batches(self, epoch: int, first: int) -> Iterable[tuple[Any, ...]]:
        o, xp = self.options, self.recognizer.params.ops.xp
        augment = partial(augmented, noise=o.noise, masks=o.masks, longest_mask=o.longest_mask)
        for chosen in bucketed(self.lengths, o.batch_size, o.seed, epoch)[first:]:
            x, n = pad([augment(self.train.features[i], (o.seed, epoch, int(i))) for i in chosen])
            yield xp.asarray(x), xp.asarray(n), self.recognizer.targets([self.labels[i] for i in chosen])

    def run(self) -> None:
        """Every step that is left, then the last checkpoint. Raises Interrupted after saving on Ctrl-C."""
        o, state = self.options, self.state
        with Metrics(self.folder.metrics, self.metrics_size) as self.metrics, held_interrupts() as self.pressed:
            self.begin = time.perf_counter() - state.seconds
            self.saved, self.saved_step = time.perf_counter(), state.progress.step
            try:
                if not self._exhausted():
                    fit(
                        self.recognizer.model, self.recognizer.criterion(self.recognizer.params.ops), self.batches,
                        self.optimizer, epochs=o.epochs, learning_rate=self.learning_rate, seed=o.seed,
                        accumulate=o.accumulate, bptt=o.bptt, progress=state.progress, log_every=self.log_every,
                        on_step=self._after_step, on_epoch=self._after_epoch,
                    )  # fmt: skip
            except _Stop:
                self._save()
                raise Interrupted(self.folder.last, state.progress.step) from None
            self._save()

    def _after_step(self, step: Step) -> None:
        state, record = self.state, dict[str, Any](step=step.step + 1)
        state.hours += step.frames * FRAME_SHIFT / 3600
        if step.skipped:
            record["skipped"] = True
        else:
            state.loss_sum, state.loss_steps = state.loss_sum + step.loss, state.loss_steps + 1
            record |= {"loss": step.loss, "lr": step.lr, "norm": step.norm, "frames": step.frames}
        if step.second_order is not None:
            did = step.second_order
            rho = did.rho if math.isfinite(did.rho) else None
            record |= {"after": did.after, "cg_iterations": did.iterations, "rho": rho, "damping": did.damping}
        self.metrics.add(record)
        self.hooks.on_step(step)
        n, done = self.checkpoint_every, state.progress.step
        if step.step + 1 < done:
            return  # others are to be told of before the training stands where its weights do
        self._stop_if_pressed()
        if done // n > self.saved_step // n if n else time.perf_counter() - self.saved > CHECKPOINT_SECONDS:
            self._save()

    def _after_epoch(self, epoch: int) -> bool:
        score = evaluate(self.recognizer, self.dev, on_batch=self._stop_if_pressed)
        state = self.state
        state.history.append((score.errors, score.loss))
        record: dict[str, Any] = {
            "epoch": epoch + 1, "steps": state.progress.step, "loss": state.loss_sum / max(state.loss_steps, 1),
            "dev_loss": score.loss, "dev_wer": score.wer, "dev_cer": score.cer, "dev_errors": score.errors,
            "dev_accuracy": score.accuracy, "seconds": time.perf_counter() - self.begin,
        }  # fmt: skip
        state.loss_sum, state.loss_steps = 0.0, 0
        if best_of(state.history) == epoch:
            self.recognizer.save(self.folder.best, **self.notes, **record)
        self.metrics.add(record)
        self.metrics.sync()
        self.hooks.on_epoch(record)
        return self._exhausted()

    def _exhausted(self) -> bool:
        history, patience = self.state.history, self.options.patience
        return bool(history) and 0 < patience <= len(history) - 1 - best_of(history)

    def _stop_if_pressed(self) -> None:
        if self.pressed():
            raise _Stop

    def _save(self) -> None:
        self.state.seconds = time.perf_counter() - self.begin
        training = {"state": asdict(self.state), "metrics_size": self.metrics.sync(), **self.identity}
        self.recognizer.save(
            self.folder.last, **self.notes, training=training, optimizer=self.optimizer.state,
            previous=self.folder.previous,
        )  # fmt: skip
        self.saved, self.saved_step = time.perf_counter(), self.state.progress.step


def _optimizer(params: Params, o: Options) -> Optimizer | HessianFree:
    match o.optimizer:
        case "adam":
            return Adam(params, clip=o.clip)
        case "adamw":
            return AdamW(params, clip=o.clip, weight_decay=o.weight_decay)
        case "rmsprop":
            return RmsProp(params, clip=o.clip)
        case "hessian-free":
            return HessianFree(
                params, damping=o.damping, max_iterations=o.cg_iterations, curvature=o.curvature,
                martens_eps=o.martens_eps, scale_by_k=o.scale_by_k, seed=o.seed,
            )  # fmt: skip
        case _:
            return Sgd(params, momentum=o.momentum, clip=o.clip)


def train(
    ops: Any,
    corpus: Corpus,
    out: Path,
    options: Options,
    *,
    run: Mapping[str, Any],
    resume: bool = False,
    checkpoint_every: int | None = None,
    log_every: int | None = None,
    strict: bool = False,
    hooks: Hooks = Hooks(),
) -> Result:
    """Train on corpus.train, choose the epoch by corpus.dev, look at corpus.test once, at the end; fill the folder `out`.

    `run` says in config.toml where the corpus comes from. A checkpoint is written every `checkpoint_every` updates, by default
    every 30 s. log_every is that of `fit`, by default 1, and 20 where ops run on a GPU: there Ctrl-C and checkpoints wait for the
    next look. resume=True goes on from the last one and ends with the same bits as if nothing had happened; the weights are a
    function of the recordings, the options, the backend and the instruction set.

    Recordings that cannot be used are skipped and counted; strict=True makes the first of them an error.

    Raises FileExistsError for a folder that holds something, ValueError when nothing is left to train on or to choose by,
    CheckpointError for a checkpoint of other recordings, options or bits of features, Interrupted after saving on Ctrl-C.
    """
    for package in ("safetensors", "rapidfuzz", "matplotlib"):
        need(package)  # before the work, not after its first epoch
    folder, begin = RunFolder(out), time.perf_counter()
    if not resume:
        folder.must_be_new()
    recognizer, check = new_recognizer(ops, corpus, options, options.sample_rate or rate_of(corpus))

    def can_learn(u: Utterance, features: Any) -> None:
        check(u)
        if not recognizer.fits(recognizer.encode(u.text), len(features)):
            raise ValueError(f"its {len(features)} frames are too few for the text {u.text!r:.80}")

    read = partial(
        material,
        front_end=recognizer.front_end,
        longest=options.longest,
        strict=strict,
        on_utterance=hooks.on_utterance,
    )
    training, dev, test = read(corpus.train, check=can_learn), read(corpus.dev), read(corpus.test)
    skipped = [*corpus.skipped, *training.skipped, *dev.skipped, *test.skipped]
    for part, what in ((training, "train on"), (dev, "choose by")):
        if not part.utterances:
            raise ValueError(f"{corpus.name} has no utterances to {what}{_first_reason(skipped)}")
    if skipped:
        hooks.on_note(f"skipped.jsonl says why{_first_reason(skipped)}")
    notes = {"corpus": corpus.name, "backend": ops.name, "options": as_dict(options)}
    every = log_every or (1 if ops.xp is np else LOG_EVERY)
    session = _Training(recognizer, training, dev, options, folder, notes, hooks, checkpoint_every, every)
    if resume:
        saved, wrong = folder.checkpoint()
        if wrong:
            hooks.on_note(f"{wrong}; going on from the one before")
        if saved is None:
            hooks.on_note(f"{out} holds no checkpoint yet; beginning with the first step")
        else:
            session.restore(saved)
    else:
        folder.begin(as_dict(options), run, skipped)
    seconds = {"features": time.perf_counter() - begin}
    hooks.on_start(session.state.progress.step, options.epochs * session.steps)
    session.run()
    begin = time.perf_counter()
    recognizer = load(folder.best, ops)
    dev_score = evaluate(recognizer, dev, intervals=True)
    test_score = evaluate(recognizer, test, intervals=True) if test.utterances else None
    state = session.state
    seconds |= {"training": state.seconds, "scores": time.perf_counter() - begin}
    result = Result(
        corpus.name, options.model, dev_score, test_score, best_of(state.history) + 1, len(state.history), state.progress.step,
        state.hours, seconds, len(skipped), folder.best,
    )  # fmt: skip
    folder.write_result({**result.as_json(), **notes, "run": dict(run)})
    plots.draw(folder, recognizer, dev)
    return result


def _first_reason(skipped: list[Skipped]) -> str:
    return f": {len(skipped)} left out, the first {skipped[0].name}: {skipped[0].reason}" if skipped else ""

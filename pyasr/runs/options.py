"""What a training can be told, and what it does when it is told nothing: one recipe per model, changed for some corpora."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pyasr._optional import need
from pyasr.text import normalize

need("msgspec")
import msgspec  # noqa: E402  (after its absence was named)

MODELS = ("word_classifier", "lstm_ctc")
MOST_WORDS = 100  # of a classifier that nobody asked for

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Whole = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that the weights of a run depend on besides the recordings and the backend."""

    model: Literal["word_classifier", "lstm_ctc"]
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**62)] = 0
    epochs: Count
    patience: Whole = 0  # epochs without a new best after which training ends; 0: it does not
    size: Count | None = None  # training utterances, the first ones; default: all, of `digits` 7500
    dev_share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.1  # of a manifest, where no other one is given
    sample_rate: Annotated[int, msgspec.Meta(ge=1000, le=384_000)] | None = None  # Hz; default: the corpus's
    longest: Annotated[float, msgspec.Meta(gt=0, le=7200)] = 60.0  # seconds; longer recordings are left out
    alphabet: str | None = None  # of lstm_ctc; default: the characters of the training transcripts

    cell: Literal["lstm", "gru", "rnn"] = "lstm"  # of the recurrent layers
    hidden: Annotated[int, msgspec.Meta(ge=1, le=8192)]  # their units of each direction
    layers: Annotated[int, msgspec.Meta(ge=1, le=64)]
    dropout: Share
    bidirectional: bool = True
    stack: Annotated[int, msgspec.Meta(ge=1, le=64)] = 3  # frames of 10 ms that lstm_ctc sees as one

    optimizer: Literal["sgd", "adam", "adamw", "rmsprop", "hessian-free"]
    schedule: Literal[
        "constant", "warmup", "one_cycle", "cosine", "step", "exponential", "warmup_stable_decay", "plateau", "newbob"
    ] = "one_cycle"
    peak: Amount  # the largest learning rate
    momentum: Share = 0.9  # of sgd
    weight_decay: Amount = 0.01  # of adamw
    clip: Amount  # the largest norm of a gradient
    damping: Annotated[float, msgspec.Meta(ge=1e-10, le=1e10)] = 1.0  # of hessian-free, the first one
    cg_iterations: Count = 250  # of hessian-free, at most, in every update
    martens_eps: Amount = 5e-4  # of hessian-free: its CG ends where an iteration gains less
    scale_by_k: bool = True  # of hessian-free; False: where all that are looked back over gain less
    curvature: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0  # share of the batches that hessian-free takes it from
    batch_size: Count  # utterances
    accumulate: Count = 1  # batches per update
    bptt: Whole = 0  # frames of a recurrent layer after which its gradient is cut; 0: never

    noise: Amount  # deviation of the noise that is added to normalized features
    masks: Whole = 2  # spans of frames that are masked per utterance
    longest_mask: Count  # frames


_MODEL: dict[str, dict[str, Any]] = {
    "word_classifier": {
        "epochs": 15, "hidden": 64, "layers": 1, "dropout": 0.0, "optimizer": "sgd", "peak": 0.5, "clip": 1.0,
        "batch_size": 32, "noise": 0.8, "longest_mask": 10,
    },
    "lstm_ctc": {
        "epochs": 45, "hidden": 128, "layers": 2, "dropout": 0.3, "optimizer": "adam", "peak": 2e-3, "clip": 5.0,
        "batch_size": 16, "noise": 0.1, "longest_mask": 27,
    },
}  # fmt: skip
# One update is made by the whole corpus, and nothing is dropped.
_OPTIMIZER: dict[str, dict[str, Any]] = {"hessian-free": {"accumulate": 2**31 - 1, "dropout": 0.0}}
# What hessian-free training has no use for: neither may it be chosen, nor does a run state it.
_FIRST_ORDER = ("schedule", "peak", "momentum", "weight_decay", "clip")
_CORPUS: dict[tuple[str, str], dict[str, Any]] = {
    ("digits", "lstm_ctc"): {
        "epochs": 13,
        "hidden": 64,
        "layers": 3,
        "stack": 2,
        "noise": 0.8,
        "longest_mask": 10,
        "batch_size": 32,
        "peak": 6e-3,
    },
}


def default_model(texts: Iterable[str]) -> str:
    """A classifier when every transcript is one of at most 100 words that are said more than once, else lstm_ctc.

    >>> from pyasr.runs.options import default_model
    >>> default_model(["go", "stop", "stop", "go"]), default_model(["go", "stop now", "stop now", "go"])
    ('word_classifier', 'lstm_ctc')
    """
    words = Counter(normalize(text) for text in texts)
    repeated = 0 < len(words) <= MOST_WORDS and min(words.values()) > 1
    return "word_classifier" if repeated and not any(" " in w or not w for w in words) else "lstm_ctc"


def options_for(corpus: str, model: str, chosen: Mapping[str, Any]) -> Options:
    """The recipe of a model (chosen["model"] comes first) for a corpus, with what was chosen in its place.

    Raises ValueError naming an unknown option and the nearest one, an option and what its value must be, or those that the
    optimizer would ignore.

    >>> from pyasr.runs.options import options_for
    >>> options_for("an4", "lstm_ctc", {"hidden": 64}).hidden
    64
    """
    for name in chosen:
        if name not in Options.__struct_fields__:
            near = difflib.get_close_matches(name, Options.__struct_fields__, 1, 0.5)
            hint = f"do you mean {near[0]}?" if near else f"there are {', '.join(Options.__struct_fields__)}"
            raise ValueError(f"options: there is no option {name}; {hint}")
    model = chosen.get("model", model)
    if model not in MODELS:
        raise ValueError(f"options: model must be one of {', '.join(MODELS)}, got {model!r:.80}")
    given = {"model": model, **_MODEL[model], **_CORPUS.get((corpus, model), {})}
    given |= {**_OPTIMIZER.get(str(chosen.get("optimizer")), {}), **chosen}
    try:
        options = msgspec.convert(given, Options)
    except msgspec.ValidationError as e:
        what, _, place = str(e).partition(" - at `$.")
        name = place.rstrip("`")
        kind = get_type_hints(Options).get(name)
        if get_origin(kind) is Literal:
            what = f"must be one of {', '.join(get_args(kind))}"
        raise ValueError(f"options: {name or 'they'}: {what}" + (f", got {given[name]!r:.80}" if name else "")) from e
    if options.bptt and options.bidirectional:
        raise ValueError(f"options: bptt needs bidirectional = false, got bptt = {options.bptt} with true")
    if options.optimizer == "hessian-free" and (options.dropout or options.bptt):
        raise ValueError(
            "options: hessian-free needs dropout = 0 and bptt = 0, "
            f"got dropout = {options.dropout} and bptt = {options.bptt}"
        )
    ignored = [f"{name} = {chosen[name]}" for name in _FIRST_ORDER if name in chosen]
    if options.optimizer == "hessian-free" and ignored:
        raise ValueError(f"options: hessian-free has no {', '.join(_FIRST_ORDER)}: leave out {', '.join(ignored)}")
    return options


def as_dict(options: Options) -> dict[str, Any]:
    """The options that are not None and that the optimizer follows, as TOML and JSON can say them."""
    unheard = _FIRST_ORDER if options.optimizer == "hessian-free" else ()
    told = msgspec.to_builtins(options).items()
    return {name: value for name, value in told if value is not None and name not in unheard}

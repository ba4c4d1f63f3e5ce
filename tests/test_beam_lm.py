"""Beam search with a language model: against every path, the tables against the hook, and hooks that misbehave."""

import contextlib
import gc
import itertools
import runpy
import weakref
from pathlib import Path

import numpy as np
import pytest

from pyasr.counter import stream
from pyasr.decode import Ngram, ctc_beam
from pyasr.ops import rows, why_not
from pyasr.ops._op import backend, has
from pyasr.ops.ctc import log_softmax
from pyasr.text import Alphabet

ARPA = runpy.run_path(str(Path(__file__).with_name("arpa.py")))
random_ngrams, write, sentence = ARPA["random_ngrams"], ARPA["write"], ARPA["sentence"]
COLUMNS = [c for c in ("numpy", "cpp") if why_not(c) is None and has(rows()["ctc_beam"], c)]
every_column = pytest.mark.parametrize("column", COLUMNS)


class Asked:
    """The same model as an object to call; counts the calls."""

    def __init__(self, lm):
        self.lm, self.calls = lm, []

    def start(self):
        return ((), self.lm.start())

    def score(self, state, token):
        self.calls.append((state[0], token))
        log_p, after = self.lm.score(state[1], token)
        return log_p, ((*state[0], token), after)

    def end(self, state):
        return self.lm.end(state[1])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Over three labels beside the blank, and over words of "a" and "b" that a space ends: orders 1 to 4."""
    folder = tmp_path_factory.mktemp("arpa")
    out = {}
    for order in (1, 2, 3, 4):
        letters = random_ngrams(("x", "y"), order, f"letters {order}")
        words = random_ngrams(("a", "b", "ab", "ba", "aab"), order, f"words {order}")
        out[order] = (
            letters, Ngram.load(write(folder / "l.arpa", letters)).over(["x", None, "y", "z"]),
            words, Ngram.load(write(folder / "w.arpa", words)).over_words(Alphabet(" ab"), oov_penalty=-1.5),
        )  # fmt: skip
    return out


def enumerated(logits, blank):
    log_y, found = log_softmax(logits), {}
    for path in itertools.product(range(log_y.shape[1]), repeat=len(log_y)):
        labels = tuple(s for s, _ in itertools.groupby(path) if s != blank)
        found[labels] = np.logaddexp(found.get(labels, -np.inf), log_y[np.arange(len(log_y)), list(path)].sum())
    return found


def check(result, want, lm_of):
    """want {labels: score}, lm_of {labels: log p} against what a search found, best first."""
    labels, counts, scores, _, lm_log_p = (r[0] for r in result)
    got = [tuple(labels[k, :n].tolist()) for k, n in enumerate(counts) if n >= 0]
    assert got == sorted(want, key=want.get, reverse=True)
    np.testing.assert_allclose(scores[: len(got)], [want[s] for s in got], rtol=1e-10)
    np.testing.assert_allclose(lm_log_p[: len(got)], [lm_of[s] for s in got], rtol=1e-10)


@every_column
@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("asked", [False, True])
def test_labels_against_all_paths(column, order, asked, models):
    grams, lm, _, _ = models[order]
    names = ["x", None, "y", "<unk>"]
    for case, weight in enumerate((0.0, 0.7, 2.0)):
        logits = stream("labels", order, case).standard_normal((4, 1, 4))
        paths = enumerated(logits[:, 0], 1)
        lm_of = {s: sentence(grams, [names[k] for k in s]) for s in paths}
        want = {s: p + weight * lm_of[s] + 0.3 * len(s) for s, p in paths.items()}
        result = backend(column).ctc_beam(
            logits, np.array([4], np.int32), width=300, n_best=300, blank=1, lm=Asked(lm) if asked else lm, lm_weight=weight,
            length_bonus=0.3,
        )  # fmt: skip
        check(result, want, lm_of)


@every_column
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("asked", [False, True])
def test_words_against_all_paths(column, order, asked, models):
    _, _, grams, lm = models[order]
    for case in range(2):
        logits = stream("words", order, case).standard_normal((5, 1, 4))
        lm_of, want = {}, {}
        for s, p in enumerated(logits[:, 0], 0).items():
            words = "".join(" ab"[k - 1] for k in s).split()
            unknown = sum((w,) not in grams for w in words)
            lm_of[s] = sentence(grams, words) - 1.5 * unknown
            want[s] = p + 0.6 * lm_of[s] - 0.4 * len(words)
        result = backend(column).ctc_beam(
            logits, np.array([5], np.int32), width=999, n_best=999, lm=Asked(lm) if asked else lm, lm_weight=0.6,
            length_bonus=-0.4, delimiter=1,
        )  # fmt: skip
        check(result, want, lm_of)


@pytest.mark.skipif("cpp" not in COLUMNS, reason="no native code in this install")
@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("width", [1, 5, 16])
def test_tables_hook_and_reference_are_one_search(width, words, models):
    lm = models[3][3 if words else 1]
    for case, scale in enumerate((0.02, 1.0, 6.0)):
        logits = scale * stream("three", width, case).standard_normal((40, 3, 4))
        lengths = np.array([40, 0, 23], np.int32)
        kwargs = {"width": width, "n_best": width, "blank": 0 if words else 1, "length_bonus": 0.1, "min_log_p": -4.0}
        kwargs |= {"delimiter": 1} if words else {}
        native, hook, python, asked = (
            backend(c).ctc_beam(logits, lengths, lm=m, **kwargs)
            for c, m in (("cpp", lm), ("cpp", Asked(lm)), ("numpy", lm), ("numpy", Asked(lm)))
        )
        assert all(a.tobytes() == b.tobytes() for a, b in zip(native, hook, strict=True))
        for one in (python, asked):
            assert np.array_equal(native[0], one[0])
            assert np.array_equal(native[1], one[1])
            for a, b in zip(native[2:], one[2:], strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-10)


def test_many_threads_give_the_bits_of_one(models):
    logits, lengths = stream("threads").standard_normal((50, 9, 4)), np.arange(42, 51, dtype=np.int32)
    one, many = (backend().ctc_beam(logits, lengths, blank=1, lm=models[3][1], threads=n) for n in (1, 4))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, many, strict=True))


@pytest.mark.parametrize("words", [False, True])
def test_every_score_is_asked_for_once(words, models):
    asked = []
    for column in COLUMNS:
        lm = Asked(models[2][3 if words else 1])
        logits = stream("once").standard_normal((30, 1, 4))
        mode = {"delimiter": 1} if words else {"blank": 1}
        backend(column).ctc_beam(logits, np.array([30], np.int32), width=4, lm=lm, **mode)
        asked.append(sorted(lm.calls))
        if words:  # one word may end prefixes that differ by delimiters
            assert all(type(token) is tuple and token and 1 not in token for _, token in lm.calls)
        else:
            assert len(lm.calls) == len(set(lm.calls)) > 50
    assert all(calls == asked[0] for calls in asked)


class Constant:
    """A model without states and without an end."""

    def __init__(self, log_p=0.0):
        self.log_p = log_p

    def start(self):
        return None

    def score(self, state, token):
        return self.log_p, state


@every_column
def test_a_model_may_lack_the_end_and_find_labels_impossible(column):
    logits, lengths = stream("impossible").standard_normal((6, 1, 3)), np.array([6], np.int32)
    without, with_one = (
        backend(column).ctc_beam(logits, lengths, n_best=5, **more) for more in ({}, {"lm": Constant(np.float32(0))})
    )
    assert all(np.array_equal(a, b) for a, b in zip(without, with_one, strict=True))
    labels, counts, *_ = backend(column).ctc_beam(logits, lengths, n_best=3, lm=Constant(-np.inf))
    assert counts.tolist() == [[0, -1, -1]]
    _, counts, scores, *_ = backend(column).ctc_beam(logits, lengths, n_best=3, lm=Constant(-np.inf), lm_weight=0.0)
    assert np.array_equal(scores, without[2][:, :3])
    assert labels.shape == (1, 3, 6)


class Refusal(Exception):
    pass


@every_column
@pytest.mark.parametrize("method", ["start", "score", "end"])
def test_what_a_model_raises_reaches_the_caller(column, method):
    raised = Refusal("no")

    class Model(Constant):
        def end(self, state):
            return 0.0

    def refuse(*_):
        raise raised

    model = Model()
    setattr(model, method, refuse)
    with pytest.raises(Refusal) as caught:
        backend(column).ctc_beam(np.zeros((3, 2, 3)), np.array([3, 3], np.int32), lm=model)
    assert caught.value is raised


@every_column
@pytest.mark.parametrize("calls", [7, 10**9])
def test_states_and_models_are_let_go(column, calls):
    """After a search, and after one that the model ended."""
    alive = weakref.WeakSet()

    class State:
        def __init__(self):
            alive.add(self)

    class Model(Constant):
        def start(self):
            return State()

        def score(self, state, token):
            if len(alive) > calls:
                raise Refusal
            return -1.0, State()

    model = Model()
    with contextlib.suppress(Refusal):
        backend(column).ctc_beam(np.zeros((9, 2, 4)), np.array([9, 5], np.int32), width=3, lm=model)
    model = weakref.ref(model)
    gc.collect()
    assert model() is None
    assert len(alive) == 0


@every_column
@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (0.0, TypeError, r"lm.score must return \(log probability, state\), got float"),
        ((0.0,), TypeError, r"lm.score must return \(log probability, state\), got tuple"),
        (("0", None), TypeError, "lm.score must give a log probability, got str"),
        ((True, None), TypeError, "lm.score must give a log probability, got bool"),
        ((np.nan, None), ValueError, "lm.score must give a log probability of at most 1000000000, got nan"),
        ((10**400, None), ValueError, "lm.score must give a log probability of at most 1000000000, got inf"),
    ],
)
def test_answers_that_are_no_log_probabilities_are_named(column, answer, error, message):
    model = Constant()
    model.score = lambda state, token: answer
    with pytest.raises(error, match=f"^ctc_beam: {message}$"):
        backend(column).ctc_beam(np.zeros((3, 2, 3)), np.array([3, 3], np.int32), lm=model)


@every_column
def test_models_that_do_not_fit_are_named(column, models):
    labels, words = models[2][1], models[2][3]
    for change, error, message in (
        ({"lm": "model.arpa"}, TypeError, r"lm must be None or have start\(\) and score\(state, token\), got str"),
        (
            {"lm": words},
            ValueError,
            "lm must be an n-gram over words with a delimiter, else over labels, got one over words",
        ),
        ({"lm": labels, "delimiter": 1}, ValueError, "lm must be an n-gram over words .*, got one over labels"),
        ({"lm": labels}, ValueError, "lm must be over V = 4 labels with blank = 0, got one over 4 with 1"),
        ({"delimiter": 1}, ValueError, "delimiter must be a label other than blank = 0, with an lm, got 1"),
        ({"lm": Constant(), "delimiter": 0}, ValueError, "delimiter must be a label other than blank = 0"),
        ({"lm": Constant(), "delimiter": 4}, ValueError, r"delimiter must lie in \[0, 3\], got 4"),
        ({"lm": Constant(), "lm_weight": -1.0}, ValueError, "lm_weight must lie in"),
    ):
        with pytest.raises(error, match=f"^ctc_beam: {message}"):
            backend(column).ctc_beam(np.zeros((3, 1, 4)), np.array([3], np.int32), **change)


def test_a_model_may_search_itself():
    """A hook may call whatever it likes, this function too."""

    class Model(Constant):
        def start(self):
            return ctc_beam(np.zeros((2, 1, 3)), np.array([2], np.int32), lm=Constant())[0][0].labels

    assert ctc_beam(np.zeros((2, 1, 3)), np.array([2], np.int32), lm=Model())[0][0].labels == [1]


def test_a_model_decides_between_what_sounds_the_same(tmp_path):
    grams = {
        ("<s>",): (-99.0, 0.0),
        ("</s>",): (-1.0, 0.0),
        ("two",): (-1.0, 0.0),
        ("too",): (-1.0, 0.0),
        ("<s>", "two"): (-0.1, 0),
    }
    alphabet = Alphabet(" otw")
    lm = Ngram.load(write(tmp_path / "m.arpa", grams)).over_words(alphabet, oov_penalty=-20.0)
    heard = [alphabet.encode(c)[0] for c in "to"]
    logits = np.full((6, 1, 5), -9.0)
    logits[[0, 2, 4], 0, 0] = 0.0
    logits[1, 0, heard[0]] = 0.0
    logits[3, 0, alphabet.encode("w")[0]], logits[3, 0, heard[1]] = -0.1, 0.0
    logits[5, 0, heard[1]] = 0.0
    lengths = np.array([6], np.int32)
    assert alphabet.decode(ctc_beam(logits, lengths)[0][0].labels) == "too"
    assert alphabet.decode(ctc_beam(logits, lengths, lm=lm, delimiter=1)[0][0].labels) == "two"

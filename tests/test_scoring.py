"""Word and character errors and their bootstrap intervals."""

import numpy as np
import pytest

import pyasr
from pyasr.counter import stream
from pyasr.scoring import bootstrap_interval, cer, error_interval


@pytest.mark.parametrize(
    ("reference", "hypothesis", "want"),
    [
        ("", "", (0, 0.0, 0, 0, 0)),
        ("", "a b", (2, 2.0, 0, 2, 0)),
        ("a b", "", (2, 1.0, 0, 0, 2)),
        ("a b c", "a x c", (1, 1 / 3, 1, 0, 0)),
        ("a b c", " a  b\tc\n", (0, 0.0, 0, 0, 0)),
        ("a b c d", "b c d e", (2, 0.5, 0, 1, 1)),
        (["a b", "c"], ["a", "c d d"], (3, 1.0, 0, 2, 1)),
        ([], [], (0, 0.0, 0, 0, 0)),
    ],
)
def test_wer(reference, hypothesis, want):
    assert pyasr.wer(reference, hypothesis) == pytest.approx(want)


def test_wer_says_what_is_wrong():
    with pytest.raises(ValueError, match="wer: hypothesis must have 2 sentences like reference, got 1"):
        pyasr.wer(["a", "b"], ["a"])
    for bad in (None, 3, b"a", ["a", 3], {"a"}):
        with pytest.raises(TypeError, match="wer: reference must be a string or a sequence of strings, got"):
            pyasr.wer(bad, "a")
        with pytest.raises(TypeError, match="wer: hypothesis must be a string or a sequence of strings, got"):
            pyasr.wer("a", bad)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "want"),
    [
        ("", "", (0, 0.0, 0, 0, 0)),
        (" ", "a b", (3, 3.0, 0, 3, 0)),
        ("a b", "", (3, 1.0, 0, 0, 3)),
        ("abc", "axc", (1, 1 / 3, 1, 0, 0)),
        ("a b", " a  b\n", (1, 1 / 3, 0, 1, 0)),  # inner spaces count, outer ones do not
        ("a\tb", "a b", (1, 1 / 3, 1, 0, 0)),
        ("é", "e\u0301", (2, 2.0, 1, 1, 0)),  # not normalized
        (["ab", "c"], ["a", "cd"], (2, 2 / 3, 0, 1, 1)),
        ([], [], (0, 0.0, 0, 0, 0)),
    ],
)
def test_cer(reference, hypothesis, want):
    assert cer(reference, hypothesis) == pytest.approx(want)


def test_cer_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"^cer: hypothesis must have 2 sentences like reference, got 1"):
        cer(["a", "b"], ["a"])
    for bad in (None, 3, b"a", ["a", 3], {"a"}):
        with pytest.raises(TypeError, match=r"^cer: hypothesis must be a string or a sequence of strings, got"):
            cer("a", bad)


def sentences(seed, count, longest=9):
    """References and hypotheses of few words, so that alignments are ambiguous, some of them empty, with spare spaces."""
    rng = np.random.default_rng(seed)
    words = ("a", "b", "ab", "ba", "bab", "é", "日本")

    def one():
        n = rng.integers(-2, longest + 1)
        chosen = (words[k] for k in rng.integers(0, len(words), max(n, 0)))
        return " " * rng.integers(0, 3) + "".join(w + " " * rng.integers(1, 3) for w in chosen)

    return [one() for _ in range(count)], [one() for _ in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_error_rates_equal_jiwer(seed):
    jiwer = pytest.importorskip("jiwer", reason="jiwer is the outside oracle")
    references, hypotheses = sentences(seed, 30)
    assert not all(r.strip() for r in references)
    pairs = [(references, hypotheses), *(([r], [h]) for r, h in zip(references, hypotheses, strict=True))]
    for reference, hypothesis in pairs:
        for ours, theirs in ((pyasr.wer, jiwer.process_words), (cer, jiwer.process_characters)):
            got, want = ours(reference, hypothesis), theirs(reference, hypothesis)
            assert got.rate == pytest.approx(want.wer if ours is pyasr.wer else want.cer, rel=1e-15)
            assert got[2:] == (want.substitutions, want.insertions, want.deletions)
            assert got.errors == sum(got[2:])


@pytest.mark.parametrize(("unit", "rate"), [("word", pyasr.wer), ("character", cer)])
def test_error_interval_is_that_of_resampled_rates(unit, rate):
    references, hypotheses = sentences(3, 12)
    drawn = stream("bootstrap", 5).integers(0, 12, (200, 12))
    rates = [rate([references[k] for k in row], [hypotheses[k] for k in row]).rate for row in drawn]
    want = tuple(np.percentile(rates, (5, 95)))
    got = error_interval(references, hypotheses, unit=unit, confidence=0.9, resamples=200, seed=5)
    assert got == pytest.approx(want, rel=1e-12)
    assert got[0] < rate(references, hypotheses).rate < got[1]


def test_error_interval_has_the_width_of_the_normal_approximation_of_a_ratio():
    references, hypotheses = sentences(4, 400)
    one = [pyasr.wer(r, h).errors for r, h in zip(references, hypotheses, strict=True)]
    errors, units = np.array(one), np.array([len(r.split()) for r in references])
    rate = errors.sum() / units.sum()
    low, high = error_interval(references, hypotheses)
    width = 2 * 1.96 * np.std(errors - rate * units) / np.sqrt(400) / units.mean()
    assert 0.93 < (high - low) / width < 1.07
    assert error_interval(references, hypotheses) == (low, high)
    assert error_interval(references, hypotheses, seed=1) != (low, high)


def test_error_interval_of_single_words_is_the_interval_of_a_mean():
    wrong = np.arange(90) % 7 == 0
    got = error_interval(["a"] * 90, ["b" if w else "a" for w in wrong])
    assert got == bootstrap_interval(wrong)


def test_error_interval_counts_silence_as_wer_does():
    assert error_interval(["", ""], ["a b", "a b"]) == (4.0, 4.0)
    assert error_interval("a b", "a") == (0.5, 0.5)
    assert error_interval("", "") == (0.0, 0.0)


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        (([], []), {}, "references must hold at least one sentence, got none"),
        ((["a", "b"], ["a"]), {}, "hypotheses must have 2 sentences like references, got 1"),
        (([1], ["a"]), {}, "references must be a string or a sequence of strings, got list"),
        ((["a"], None), {}, "hypotheses must be a string or a sequence of strings, got NoneType"),
        ((["a"], ["a"]), {"unit": "phone"}, 'unit must be "word" or "character", got \'phone\''),
        ((["a"], ["a"]), {"confidence": 95}, r"confidence must lie in \[0.0, 1.0\], got 95"),
        ((["a"], ["a"]), {"resamples": 0}, r"resamples must lie in \[1, 10000000\], got 0"),
    ],
)
def test_error_interval_says_what_is_wrong(args, options, message):
    with pytest.raises((TypeError, ValueError), match=f"^error_interval: {message}"):
        error_interval(*args, **options)


def test_bootstrap_interval_draws_in_blocks_what_it_would_draw_at_once():
    scores = np.random.default_rng(0).random(307)  # 10,000 draws of 307 are three blocks
    drawn = stream("bootstrap", 2).integers(0, 307, (10_000, 307))
    assert bootstrap_interval(scores, seed=2) == pytest.approx(tuple(np.percentile(scores[drawn].mean(1), (2.5, 97.5))))


def test_bootstrap_interval_covers_the_mean_and_repeats():
    scores = (np.arange(300) % 25 != 0).astype(float)
    low, high = bootstrap_interval(scores)
    assert low < scores.mean() < high
    assert 0.02 < high - low < 0.06  # ±1.96·√(0.96·0.04/300) = ±0.022
    assert bootstrap_interval(scores) == (low, high)


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ([1.0], {}, "scores must be a NumPy array of numbers, got list"),
        (np.zeros(0), {}, "scores must be a non-empty vector"),
        (np.array([np.nan]), {}, "scores must be finite"),
        (np.ones(3), {"confidence": 95}, r"confidence must lie in \[0.0, 1.0\], got 95"),
        (np.ones(3), {"resamples": 0}, r"resamples must lie in \[1, 10000000\], got 0"),
    ],
)
def test_bootstrap_interval_says_what_is_wrong(scores, options, message):
    with pytest.raises((TypeError, ValueError), match=f"^bootstrap_interval: {message}"):
        bootstrap_interval(scores, **options)

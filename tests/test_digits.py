"""The synthetic digits: a function of the key, in bounds, with true times, and no voice in two parts."""

import hashlib

import numpy as np
import pytest

from pyasr.datasets.digits import corpus, synthesize
from pyasr.datasets.fsdd import WORDS


def test_same_key_same_bits_other_key_other_wave():
    first, again = synthesize([3, 1, 4], (1, "a")), synthesize([3, 1, 4], (1, "a"))
    assert first.wave.tobytes() == again.wave.tobytes()
    assert (first.text, first.phones, first.voice) == (again.text, again.phones, again.voice)
    other = synthesize([3, 1, 4], (1, "b"))
    assert other.wave.tobytes() != first.wave.tobytes()
    assert other.voice != first.voice


def test_order_of_calls_does_not_matter():
    data = corpus(3, train=4, dev=0, test=0)
    forward = [u.wave(8000).tobytes() for u in data.train]
    assert [data.train[i].wave(8000).tobytes() for i in (3, 2, 1, 0)] == forward[::-1]
    assert [u.wave(8000).tobytes() for u in corpus(3, train=2, dev=0, test=0).train] == forward[:2]
    assert data.train[0].synthesize().wave.tobytes() == forward[0]


@pytest.mark.parametrize("sample_rate", [8000, 11025, 16000])
def test_waves_are_finite_and_bounded(sample_rate):
    for i in range(20):
        spoken = synthesize([i % 10, 3], ("bounds", i), sample_rate=sample_rate)
        assert spoken.wave.dtype == np.float32
        assert spoken.wave.ndim == 1
        assert np.isfinite(spoken.wave).all()
        assert 0.04 < np.abs(spoken.wave).max() <= 1
        assert spoken.sample_rate == sample_rate
        assert 0.2 < len(spoken.wave) / sample_rate < 5


def test_phones_are_in_order_and_cover_the_wave():
    for i in range(30):
        spoken = synthesize([i % 10, 8, 6], ("phones", i))
        ends = [end for _, _, end in spoken.phones]
        assert spoken.phones[0][1] == 0
        assert [begin for _, begin, _ in spoken.phones[1:]] == ends[:-1]
        assert all(begin < end for _, begin, end in spoken.phones)
        assert ends[-1] == pytest.approx(len(spoken.wave) / 8000, abs=1e-9)
        assert spoken.text == f"{WORDS[i % 10]} eight six"


def level(spoken, symbol):
    """dB of the middle of the first phone with this name."""
    begin, end = next((b, e) for s, b, e in spoken.phones if s == symbol)
    quarter = (end - begin) / 4
    piece = spoken.wave[int((begin + quarter) * 8000) : int((end - quarter) * 8000)].astype(np.float64)
    return 10 * np.log10(np.mean(piece**2))


def test_vowels_stand_where_the_times_say():
    higher = [level(u, "eh") - level(u, "sil") for u in (synthesize([7], ("times", i)) for i in range(20))]
    assert min(higher) > 6  # dB


def test_sibilants_hiss_above_the_vowel():
    def high_share(spoken, symbol):
        begin, end = next((b, e) for s, b, e in spoken.phones if s == symbol)
        power = np.abs(np.fft.rfft(spoken.wave[int(begin * 8000) : int(end * 8000)])) ** 2
        return power[len(power) * 5 // 8 :].sum() / power.sum()  # above 2500 Hz

    for i in range(10):
        spoken = synthesize([4, 7], ("hiss", i))  # not at an edge, where it may be cut
        assert high_share(spoken, "s") > high_share(spoken, "eh")
    lax = [u for u in (synthesize([4, 6, 4], ("hiss", i)) for i in range(10)) if "ih" in [s for s, _, _ in u.phones]]
    assert len(lax) >= 6  # the others say a tense vowel, which has a part above 2500 Hz itself
    assert all(high_share(spoken, "s") > high_share(spoken, "ih") for spoken in lax)


def test_faint_consonants_are_cut_at_an_edge_and_nowhere_else():
    said = [[e - b for s, b, e in synthesize([2, 2], ("cut", i)).phones if s == "t"] for i in range(60)]
    at_the_edge, inside = zip(*said, strict=True)
    assert min(at_the_edge) < 0.02 < min(inside)
    assert max(at_the_edge) > 0.1  # not in every recording


def test_a_recording_that_is_cut_still_has_its_vowel():
    for i in range(60):
        times = {s: e - b for s, b, e in synthesize([2], ("cut", i)).phones}
        assert times.get("uw", 0.0) + times.get("uu", 0.0) > 0.05


def test_digits_differ_in_one_voice():
    waves = [synthesize([d], (0, "distinct")) for d in range(10)]
    assert len({u.voice for u in waves}) == 1
    assert len({u.wave.tobytes() for u in waves}) == 10
    assert len({tuple(s for s, _, _ in u.phones) for u in waves}) == 10
    assert [u.text for u in waves] == list(WORDS)


def test_no_voice_is_in_two_parts():
    data = corpus(0, train=30, dev=20, test=20)
    voices = [{u.synthesize().voice for u in part} for part in (data.train, data.dev, data.test)]
    assert [len(v) for v in voices] == [30, 20, 20]
    assert len(set.union(*voices)) == 70


def test_parts_say_one_to_longest_digits():
    data = corpus(5, train=400, dev=1, test=1, longest=3, singles=0.5)
    said = [u.digits for u in data.train]
    assert {len(d) for d in said} == {1, 2, 3}
    assert {x for d in said for x in d} == set(range(10))
    assert data.train[0].text == " ".join(WORDS[d] for d in said[0])
    assert said != [u.digits for u in corpus(6, train=400).train]
    single = [
        sum(len(d) == 1 for d in said) / 400,
        sum(len(u.digits) == 1 for u in corpus(5, dev=400, longest=3).dev) / 400,
    ]
    assert abs(single[0] - 2 / 3) < 0.08 and abs(single[1] - 1 / 3) < 0.08  # the others are of all lengths


def test_making_an_utterance_leaves_the_global_generator_alone():
    before = hashlib.sha256(str(np.random.get_state()).encode()).digest()
    synthesize([1], (0,))
    assert hashlib.sha256(str(np.random.get_state()).encode()).digest() == before


@pytest.mark.parametrize(
    ("digits", "key", "rate", "error", "words"),
    [
        ([10], (0,), 8000, ValueError, "synthesize: digits must be from 0 to 9, got 10"),
        ([-1], (0,), 8000, ValueError, "synthesize: digits must be from 0 to 9, got -1"),
        ([], (0,), 8000, ValueError, "synthesize: digits must have 1 to 100 entries, got 0"),
        ([1] * 101, (0,), 8000, ValueError, "synthesize: digits must have 1 to 100 entries, got 101"),
        ([1.5], (0,), 8000, TypeError, "synthesize: digits must be integers, got float"),
        ([True], (0,), 8000, TypeError, "synthesize: digits must be integers, got bool"),
        ("72", (0,), 8000, TypeError, "synthesize: digits must be a sequence of integers, got str"),
        (7, (0,), 8000, TypeError, "synthesize: digits must be a sequence of integers, got int"),
        ([1], 0, 8000, TypeError, "synthesize: key must be a tuple of integers and strings, got int"),
        ([1], (0.5,), 8000, TypeError, "stream: key must be made of integers and strings, got float"),
        ([1], (0,), 4000, ValueError, "synthesize: sample_rate must be from 8000 to 48000, got 4000"),
        ([1], (0,), 8000.0, TypeError, "synthesize: sample_rate must be an integer, got float"),
    ],
)
def test_bad_arguments_of_synthesize(digits, key, rate, error, words):
    with pytest.raises(error, match=words):
        synthesize(digits, key, sample_rate=rate)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"seed": 0.5}, TypeError, "corpus: seed must be an integer, got float"),
        ({"seed": 0, "train": -1}, ValueError, "corpus: train must be at least 0, got -1"),
        ({"seed": 0, "singles": 1.5}, ValueError, r"corpus: singles must lie in \[0, 1\], got 1.5"),
        ({"seed": 0, "longest": 0}, ValueError, "corpus: longest must be from 1 to 100, got 0"),
        ({"seed": 0, "sample_rate": 96000}, ValueError, "corpus: sample_rate must be from 8000 to 48000, got 96000"),
    ],
)
def test_bad_arguments_of_corpus(arguments, error, words):
    with pytest.raises(error, match=words):
        corpus(**arguments)


def test_an_utterance_is_synthesized_at_one_rate():
    with pytest.raises(ValueError, match="dev/0 is synthesized at 8000 Hz, got 16000"):
        corpus(0, dev=1).dev[0].wave(16000)

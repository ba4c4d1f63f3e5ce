"""Text to symbols and back, and the greedy path."""

import unicodedata

import numpy as np
import pytest

from pyasr.decode import ctc_greedy
from pyasr.text import Alphabet, normalize, pad_labels


def collapsed(path, blank):
    """Merge repeats, drop blanks: the definition, symbol by symbol."""
    out, last = [], None
    for symbol in path:
        if symbol != last and symbol != blank:
            out.append(int(symbol))
        last = symbol
    return out


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_greedy_is_the_collapsed_best_path(blank, dtype):
    rng = np.random.default_rng(blank)
    paths, lengths = rng.integers(0, 3, (40, 6)), np.array([40, 0, 1, 17, 39, 2], np.int32)
    logits = rng.random((40, 6, 3)).astype(dtype)
    np.put_along_axis(logits, paths[..., None], 2, axis=2)
    want = [collapsed(paths[:n, b], blank) for b, n in enumerate(lengths)]
    assert ctc_greedy(logits, lengths, blank=blank) == want
    logits[17:, 3] = np.nan  # padding is not read
    assert ctc_greedy(logits, lengths, blank=blank) == want


@pytest.mark.parametrize(
    ("shape", "dtype", "lengths", "blank", "message"),
    [
        ((4, 2), "f4", [4, 4], 0, r"logits must have shape \(T, B, V\) with V > 0, got \(4, 2\)"),
        ((4, 2, 0), "f4", [4, 4], 0, "V > 0"),
        ((4, 2, 3), "i4", [4, 4], 0, "logits must"),
        ((4, 2, 3), "f4", [4, 5], 0, "lengths"),
        ((4, 2, 3), "f4", [4], 0, "lengths"),
        ((4, 2, 3), "f4", [4, 4], 3, r"blank must lie in \[0, 2\], got 3"),
    ],
)
def test_greedy_names_what_does_not_fit(shape, dtype, lengths, blank, message):
    with pytest.raises((TypeError, ValueError), match=f"ctc_greedy: .*{message}"):
        ctc_greedy(np.zeros(shape, dtype), np.array(lengths, np.int32), blank=blank)


@pytest.mark.parametrize("texts", [["go on", "no"], ["Äpfel  für\tÖl"], ["привет мир", "ｶﾞ 語"], ["e\u0301t\u00e9"]])
def test_alphabet_of_any_script_brings_every_text_back(texts):
    alphabet = Alphabet.of(texts)
    assert len(alphabet) == len(alphabet.characters) + 1
    for text in texts:
        indices = alphabet.encode(text)
        assert indices.dtype == np.int32 and (indices > 0).all()
        assert alphabet.decode(indices) == normalize(text) == unicodedata.normalize("NFC", " ".join(text.split()))


def test_unknown_symbols_and_bad_alphabets_are_named():
    with pytest.raises(ValueError, match="got 'xz' too"):
        Alphabet("abc").encode("zax")
    for characters in ("", "aa"):
        with pytest.raises(ValueError, match="characters must be different and at least one"):
            Alphabet(characters)


def test_labels_end_at_minus_one():
    labels = pad_labels([np.array([], np.int32), np.array([2, 5], np.int32)])
    assert labels.tolist() == [[-1, -1], [2, 5]] and labels.dtype == np.int32
    assert pad_labels([]).shape == (0, 0)

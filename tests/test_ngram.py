"""n-gram models: probabilities against the definition, and ARPA files that are none."""

import copy
import gzip
import itertools
import pickle  # models may travel to worker processes; the package itself never loads one
import runpy
from pathlib import Path

import numpy as np
import pytest

from pyasr.decode import Ngram, ctc_beam
from pyasr.ops._ngram import NgramLm, Tables
from pyasr.text import Alphabet

ARPA = runpy.run_path(str(Path(__file__).with_name("arpa.py")))
random_ngrams, write, sentence = ARPA["random_ngrams"], ARPA["write"], ARPA["sentence"]
WORDS = ("a", "b", "été")


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("density", [0.2, 0.7])
def test_sentences_have_the_probability_of_the_definition(order, density, tmp_path):
    grams = random_ngrams(WORDS, order, f"{order} {density}", density)
    lm = Ngram.load(write(tmp_path / "m.arpa", grams))
    assert lm.order == max(map(len, grams))
    assert set(lm.words) == {g[0] for g in grams if len(g) == 1}
    for words in itertools.chain.from_iterable(itertools.product((*WORDS, "zz"), repeat=n) for n in range(5)):
        assert lm.score_sentence(words) == pytest.approx(sentence(grams, words), rel=1e-12)
    assert lm.score_sentence("a b") == lm.score_sentence(["a", "b"])


def test_a_packed_file_and_one_written_otherwise_are_the_same_model(tmp_path):
    grams = random_ngrams(WORDS, 3, "packed")
    text = write(tmp_path / "m.arpa", grams).read_text("utf-8")
    (tmp_path / "m.arpa.gz").write_bytes(gzip.compress(text.encode()))
    loose = "made by a test\n\n" + text.replace("\t", "   ").replace("\n", " \r\n\r\n")
    (tmp_path / "loose.arpa").write_text(loose, encoding="utf-8", newline="")
    want = Ngram.load(tmp_path / "m.arpa")
    for name in ("m.arpa.gz", "loose.arpa"):
        got = Ngram.load(str(tmp_path / name))
        assert got.words == want.words
        assert all(
            np.array_equal(a, b) for a, b in zip(vars(got.tables).values(), vars(want.tables).values(), strict=True)
        )


GOOD = r"""\data\
ngram 1=4
ngram 2=2

\1-grams:
-99	<s>	-0.1
-1.5	</s>
-0.5	a	-0.2
-0.7	b

\2-grams:
-0.3	<s> a
-0.4	a b

\end\
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("", "", None, None),
        ("ngram 1=4", "ngram 1=5", 11, "there must be 5 1-grams, got 4"),
        ("ngram 1=4", "ngram 1=3", 9, "there must be 3 1-grams, got more"),
        ("ngram 1=4", "ngram 1=-4", 2, "it must be ngram 1=COUNT"),
        ("ngram 1=4", "ngram 1=9999999999999999999", 2, "it must be ngram 1=COUNT"),
        ("ngram 1=4", "ngram 1=999999999999999999", 11, "there must be 999999999999999999 1-grams, got 4"),
        ("ngram 2=2", "ngram 3=2", 3, "it must be ngram 2=COUNT"),
        ("ngram 1=4\nngram 2=2\n", "", 3, r"the order must lie in \[1, 32\], got 0"),
        ("\\end\\\n", "", 15, r"the file must go on with \\end\\, and it ends"),
        ("\\data\\", "data", 16, r"the file must go on with \\data\\, and it ends"),
        ("\\2-grams:", "\\3-grams:", 11, r"it must be \\2-grams:, got '\\\\3-grams:'"),
        ("\\end\\", "\\ende\\", 15, r"it must be \\end\\"),
        ("-0.5\ta", "-0.5x\ta", 8, "the probability must be a finite number, got '-0.5x'"),
        ("-0.5\ta", "nan\ta", 8, "the probability must be a finite number, got 'nan'"),
        ("-0.5\ta", "-inf\ta", 8, "the probability must be a finite number"),
        ("-0.5\ta", "-1e999\ta", 8, "the probability must be a finite number"),
        ("-0.5\ta", "-1_0\ta", 8, "the probability must be a finite number"),
        ("-0.5\ta", "0.5\ta", 8, "the logarithm of a probability must be at most 0, got 0.5"),
        ("a\t-0.2", "a\tinf", 8, "the back-off weight must be a finite number, got 'inf'"),
        ("-0.4\ta b", "-0.4\ta b\t-1", 13, "it must be LOG_P, 2 words, got"),
        ("-0.4\ta b", "-0.4\ta", 13, "it must be LOG_P, 2 words, got"),
        ("-0.4\ta b", "-0.4\tc b", 13, "the context 'c' must be an n-gram too, and it is not there"),
        ("-0.4\ta b", "-0.4\ta c", 13, "every word must be a 1-gram too, got 'c'"),
        ("-0.4\ta b", "-0.4\t<s> a", 13, "an n-gram must stand once, got '<s> a' again"),
        ("-0.7\tb", "-0.7\ta", 9, "an n-gram must stand once, got 'a' again"),
    ],
)
def test_what_is_no_model_is_named_with_its_line(old, new, line, message, tmp_path):
    path = tmp_path / "bad.arpa"
    path.write_text(GOOD.replace(old, new) if old else GOOD)
    if message is None:
        assert Ngram.load(path).score_sentence("a b") == pytest.approx(np.log(10) * (-0.3 - 0.4 - 1.5))
        return
    with pytest.raises(ValueError, match=f"load: .*bad.arpa, line {line}: {message}"):
        Ngram.load(path)


def test_contexts_of_higher_orders_must_be_there(tmp_path):
    path = tmp_path / "bad.arpa"
    path.write_text(GOOD.replace("ngram 2=2", "ngram 2=2\nngram 3=1").replace("\\end", "\\3-grams:\n-1 b a b\n\\end"))
    with pytest.raises(ValueError, match="line 17: the context 'b a' must be an n-gram too"):
        Ngram.load(path)


def test_bytes_that_are_no_text_or_no_gzip_are_named(tmp_path):
    (tmp_path / "latin.arpa").write_bytes(GOOD.replace("b", "\xe9").encode("latin-1"))
    with pytest.raises(ValueError, match=r"line 9: a line must be UTF-8, got b'\\xe9.n'"):
        Ngram.load(tmp_path / "latin.arpa")
    packed = gzip.compress(GOOD.encode() * 40)
    for name, data in {"cut": packed[:-20], "plain": GOOD.encode(), "broken": packed[:60] + b"\xff" * 40}.items():
        (tmp_path / f"{name}.arpa.gz").write_bytes(data)
    (tmp_path / "begun.arpa.gz").write_bytes(gzip.compress(GOOD[:60].encode())[:-9])
    for name in ("plain", "broken", "begun"):
        with pytest.raises(ValueError, match=f"{name}.arpa.gz, line .*the file must be whole gzip data"):
            Ngram.load(tmp_path / f"{name}.arpa.gz")
    (tmp_path / "long.arpa").write_bytes(b"x" * 2**20)
    with pytest.raises(ValueError, match="line 1: a line must have less than 1048576 bytes"):
        Ngram.load(tmp_path / "long.arpa")
    with pytest.raises(FileNotFoundError):
        Ngram.load(tmp_path / "none.arpa")


def test_labels_stand_for_words(tmp_path):
    grams = random_ngrams(("a", "b", "<space>"), 3, "labels")
    model = Ngram.load(write(tmp_path / "m.arpa", grams))
    lm = model.over(Alphabet(" abz"))  # blank, space, a, b, z: <unk>
    names = [None, "<space>", "a", "b", "<unk>"]
    for labels in itertools.product(range(1, 5), repeat=4):
        state, other, total, want = lm.start(), model.start(), 0.0, 0.0
        for label in labels:
            p, state = lm.score(state, label)
            q, other = model.score(other, names[label])
            total, want = total + p, want + q
        assert (total, lm.end(state)) == (want, model.end(other))
    for twin in (copy.deepcopy(lm), pickle.loads(pickle.dumps(lm))):
        assert twin.score(twin.start(), 2) == lm.score(lm.start(), 2)
        with pytest.raises(ValueError, match="WRITEABLE"):
            twin.tables.suffix.flags.writeable = True


def test_symbols_that_do_not_fit_are_named(tmp_path):
    (tmp_path / "m.arpa").write_text(GOOD)
    model = Ngram.load(tmp_path / "m.arpa")
    with pytest.raises(ValueError, match=r"over: symbols must be words of the model, which has no <unk>, got \['c'\]"):
        model.over([None, "a", "c"])
    for symbols in (["a", "b"], [None, "a", None], [None, "a", "a"], [None, 3]):
        with pytest.raises(ValueError, match="over: symbols must be different strings and one None"):
            model.over(symbols)
    with pytest.raises(ValueError, match="over_words: oov_penalty must be below 0 for a model without <unk>"):
        model.over_words([None, "a"])
    with pytest.raises(ValueError, match=r"oov_penalty must lie in \[-1e9, 0\], got 1"):
        model.over_words([None, "a"], oov_penalty=1)
    with pytest.raises(ValueError, match="symbols must spell words of the model"):
        model.over_words([None, "x"], oov_penalty=-1.0)
    with pytest.raises(TypeError, match="over_words: oov_penalty must be a real number, got str"):
        model.over_words([None, "a"], oov_penalty="-1")
    with pytest.raises(TypeError, match="score: token must be a str, got int"):  # the model itself in place of over()'s
        ctc_beam(np.zeros((2, 1, 3)), np.array([2], "i4"), lm=model)
    with pytest.raises(TypeError, match="score_sentence: words must be a str"):
        model.score_sentence(3)


def test_tables_that_would_lead_astray_are_refused():
    good = {
        "backoff": [0.0, -1.0], "suffix": [-1, 0], "end": [0.0, 0.0], "arc_begin": [0, 2, 3], "arc_token": [1, 2, 1],
        "arc_log_p": [-1.0, -1.0, -0.5], "arc_next": [1, 0, 1], "start": 0,
    }  # fmt: skip
    NgramLm(Tables(**good), 3, 0)
    for name, bad in {
        "backoff": [0.0, np.nan], "suffix": [-1, 1], "end": [0.0], "arc_begin": [0, 2, 4], "arc_token": [2, 1, 1],
        "arc_log_p": [-1.0, np.nan, -0.5], "arc_next": [1, 0, 2], "start": 2,
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match="NgramLm: "):
            Tables(**{**good, name: bad})
    for labels, blank in ((3, 1), (4, 0), (3, 3)):
        with pytest.raises(ValueError, match="NgramLm: "):
            NgramLm(Tables(**good), labels, blank)
    spelling = {"spell_begin": [0, 1, 1], "spell_label": [1], "spell_next": [1], "spell_token": [-1, 2]}
    NgramLm(Tables(**good), 3, 0, **spelling)
    for name, bad in {
        "spell_begin": [0, 1, 2], "spell_label": [7], "spell_next": [2], "spell_token": [-1, 9], "unknown": 7,
        "unknown_log_p": np.nan,
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match="NgramLm: "):
            NgramLm(Tables(**good), 3, 0, **{**spelling, name: bad})


def test_packed_data_is_checked_to_its_end(tmp_path):
    packed = bytearray(gzip.compress(GOOD.encode()))
    path = tmp_path / "m.arpa.gz"
    path.write_bytes(packed)
    Ngram.load(path)
    packed[-8] ^= 1  # of the checksum
    for spoiled in (packed, packed[:-8]):
        path.write_bytes(spoiled)
        with pytest.raises(ValueError, match="the file must be whole gzip data"):
            Ngram.load(path)


@pytest.mark.parametrize("backoff", ["1e9", "7e307"])
def test_a_back_off_whose_sums_would_overflow_is_refused(tmp_path, backoff):
    lines = GOOD.splitlines()
    at = next(k for k, line in enumerate(lines) if line.split()[1:2] == ["a"])
    lines[at] = " ".join([*lines[at].split()[:2], backoff])
    (tmp_path / "m.arpa").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="NgramLm: backoff must be at most 15625000"):
        Ngram.load(tmp_path / "m.arpa")

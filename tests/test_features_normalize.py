"""Mean and variance normalization: over an utterance, from statistics of a corpus, over a sliding window.

The oracles are the definitions, frame by frame, written out here.
"""

import itertools
import math
import pickle  # statistics may travel to worker processes; the package itself never loads one
import struct

import numpy as np
import pytest

from pyasr.features import Cmvn, cmvn, sliding_cmvn


def noise(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_cmvn():
    x = (5 + 3 * noise(50, 4)).astype(np.float32)
    x[:, 3] = 0.1
    before = x.copy()
    y = cmvn(x)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(axis=0)[:3], 1, atol=1e-6)
    np.testing.assert_array_equal(y[:, 3], 0)
    np.testing.assert_allclose(cmvn(x, variance=False), x - x.mean(axis=0), atol=1e-5)
    np.testing.assert_array_equal(x, before)


def gathered(parts, width):
    stats = Cmvn(width)
    for part in parts:
        stats.add(part)
    return stats


def exact(x):
    """Mean and variance of each column, rounded once."""
    n = len(x)
    mean = np.array([math.fsum(column) / n for column in x.T])
    rest = np.array([math.fsum((v - m) for v in column) / n for column, m in zip(x.T, mean, strict=True)])
    variance = [math.fsum((v - m) ** 2 for v in column) / n for column, m in zip(x.T, mean, strict=True)]
    return mean + rest, np.array(variance) - rest**2


def close(got, want, rtol=1e-12):
    assert got.count == want.count
    np.testing.assert_allclose(got.mean, want.mean, rtol=rtol, atol=rtol * want.variance.min() ** 0.5)
    np.testing.assert_allclose(got.variance, want.variance, rtol=rtol)


CORPORA = {
    "plain": noise(4000, 3),
    "large offset": 1e4 + 1e-2 * noise(4000, 3),
    "large offset, float32": (1e4 + 1e-2 * noise(4000, 3)).astype(np.float32),
    "a step": 1e4 * (np.arange(4000) > 1500)[:, None] + 1e-2 * noise(4000, 3),
    "begins with silence": np.concatenate([np.full((10, 3), -15.9), 1e2 + 1e-2 * noise(3990, 3)]),
}
CUTS = [0, 0, 1, 2, 400, 1500, 1501, 3999, 4000]


@pytest.mark.parametrize("corpus", CORPORA)
def test_merged_parts_are_the_whole(corpus):
    x = CORPORA[corpus]
    mean, variance = exact(x.astype(np.float64))
    parts = [x[a:b] for a, b in itertools.pairwise(CUTS)]
    whole = gathered([x], 3)
    np.testing.assert_allclose(whole.mean, mean, rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(whole.variance, variance, rtol=1e-12)
    close(gathered(parts, 3), whole)
    each = [gathered([p], 3) for p in parts]
    close(sum(each, Cmvn(3)), whole)
    close(sum(each[::-1], Cmvn(3)), whole)
    a, b, c = each[2] + each[4], each[5] + each[3] + each[0], each[6] + each[7] + each[1]
    close((a + b) + c, a + (b + c))
    close((a + b) + c, whole)


def test_plain_sums_would_fail_that_test():
    """The textbook formula loses all digits of a variance of 1e-4 at a mean of 1e4."""
    x = CORPORA["large offset"]
    naive = (x**2).mean(axis=0) - x.mean(axis=0) ** 2
    assert (np.abs(naive / exact(x)[1] - 1) > 1e-6).any()


def test_statistics_of_the_utterance_give_cmvn():
    x = (5 + 3 * noise(50, 4)).astype(np.float32)
    x[:, 3] = 0.1
    stats = gathered([x[:20], x[20:]], 4)
    for variance in (True, False):
        got = stats.apply(x, variance)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, cmvn(x, variance), atol=1e-6)
    half = stats.apply(x[:3])
    np.testing.assert_array_equal(half, stats.apply(x)[:3])


def test_merge_and_plus_leave_the_other_as_it_is():
    a, b = gathered([noise(5, 2, seed=1)], 2), gathered([noise(7, 2, seed=2)], 2)
    before = b.mean
    both = a + b
    assert (a.count, b.count, both.count) == (5, 7, 12)
    assert a.merge(b) is a
    close(a, both)
    b.add(np.ones((1, 2)))
    close(a, both)
    assert not np.array_equal(b.mean, before)
    empty = Cmvn(2) + Cmvn(2)
    assert empty.count == 0
    twice = empty.merge(b)
    twice.add(np.ones((3, 2)))
    assert b.count == 8


def test_saved_statistics_return_bit_for_bit(tmp_path):
    stats = gathered([CORPORA["large offset"]], 3)
    stats.save(tmp_path / "stats")
    for other in (Cmvn.load(tmp_path / "stats"), Cmvn.load(str(tmp_path / "stats")), pickle.loads(pickle.dumps(stats))):
        assert other.count == stats.count
        np.testing.assert_array_equal(other.mean, stats.mean)
        np.testing.assert_array_equal(other.variance, stats.variance)
    assert np.load(tmp_path / "stats", allow_pickle=False).shape == (3, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kaldis_matrix(dtype):
    x = (5 + 3 * noise(40, 3)).astype(dtype)
    y = x.astype(np.float64)
    want = np.zeros((2, 4))
    want[0, :3], want[1, :3], want[0, 3] = y.sum(axis=0), (y**2).sum(axis=0), 40
    stats = gathered([x[:11], x[11:]], 3)
    np.testing.assert_allclose(stats.to_kaldi(), want, rtol=1e-13)
    close(Cmvn.from_kaldi(want), stats)
    close(Cmvn.from_kaldi(want) + stats, gathered([x, x], 3))
    np.testing.assert_allclose(Cmvn.from_kaldi(want.astype(np.float32)).variance, stats.variance, rtol=1e-5)
    assert Cmvn.from_kaldi(np.zeros((2, 4))).count == 0


def test_kaldis_weighted_counts_and_rounded_sums():
    stats = Cmvn.from_kaldi(np.array([[3.0, 2.5], [3.599999, 0.0]]))  # a variance below 0 by rounding
    assert stats.count == 2.5
    np.testing.assert_array_equal(stats.variance, 0)
    assert np.isfinite(stats.apply(np.ones((2, 1)))).all()


# The sliding window


def kaldi_sliding(x, window, min_window, center, variance):
    """SlidingWindowCmn, one frame after the other, each window summed anew and exactly."""
    x = x.astype(np.float64)
    frames, out = len(x), np.empty(x.shape)
    for t in range(frames):
        if center:
            begin = t - window // 2
            end = begin + window
        else:
            begin, end = t - window, t + 1
        if begin < 0:
            begin, end = 0, end - begin
        if not center and end > t:
            end = max(t + 1, min_window)
        if end > frames:
            begin, end = max(begin - (end - frames), 0), frames
        mean, var = exact(x[begin:end])
        out[t] = x[t] - mean
        if variance:
            out[t] = 0 if end - begin == 1 else out[t] / np.sqrt(np.maximum(var, 1e-10))
    return out


GRID = [(w, m) for w in (1, 2, 5, 6, 20, 600) for m in (1, 3, 6, 7, 15, 100)]


@pytest.mark.parametrize("variance", [False, True])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize(("window", "min_window"), GRID)
def test_sliding_cmvn_is_kaldis(window, min_window, center, variance):
    for frames in (1, 2, 5, 6, 7, 13, 14, 15, 16, 40):
        x = 30 + 3 * noise(frames, 3, seed=frames)
        got = sliding_cmvn(x, window, min_window, center, variance)
        want = kaldi_sliding(x, window, min_window, center, variance)
        np.testing.assert_allclose(got, want, atol=1e-11 if variance else 2e-14 * 30, err_msg=f"{frames} frames")


def test_sliding_cmvn_defaults_are_kaldis():
    x = (10 + 3 * noise(1300, 2)).astype(np.float32)
    before = x.copy()
    got = sliding_cmvn(x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, kaldi_sliding(x, 600, 100, False, False), atol=1e-6)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("center", [False, True])
def test_frames_that_left_the_window_leave_nothing_behind(center):
    """Sums that are updated by subtraction, as Kaldi's, would keep 1e-10 of the loud frames for ever."""
    x = 1e-3 * noise(900, 2)
    x[:200] *= 1e12
    x[100:200] += 1e6
    got = sliding_cmvn(x, 50, 20, center)
    np.testing.assert_allclose(got[300:], kaldi_sliding(x, 50, 20, center, False)[300:], rtol=1e-6, atol=1e-9)


def torchaudio_sliding(x, window, min_window, center):
    """sliding_window_cmn(norm_vars=True), frame by frame in the dtype of x: running sums, and no floor of the variance."""
    frames, out = len(x), np.empty_like(x)
    last = None
    for t in range(frames):
        begin = t - window // 2 if center else t - window
        end = begin + window if center else t + 1
        if begin < 0:
            begin, end = 0, end - begin
        if not center and end > t:
            end = max(t + 1, min_window)
        if end > frames:
            begin, end = max(begin - (end - frames), 0), frames
        if last is None:
            sums, squares = x[begin:end].sum(axis=0), (x[begin:end] ** 2).sum(axis=0)
        else:
            if begin > last[0]:
                sums, squares = sums - x[last[0]], squares - x[last[0]] ** 2
            if end > last[1]:
                sums, squares = sums + x[last[1]], squares + x[last[1]] ** 2
        last, n = (begin, end), end - begin
        with np.errstate(divide="ignore", invalid="ignore"):
            out[t] = 0 if n == 1 else (x[t] - sums / n) * (squares / n - sums**2 / n**2) ** -0.5
    return out


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize(("window", "min_window"), [(1, 1), (5, 3), (20, 10), (20, 30), (600, 100)])
def test_torchaudio_places_its_windows_alike(window, min_window, center):
    x = 3 + noise(60, 3)
    if window == 1:
        x += 10 * np.arange(60)[:, None]  # else a window of two close frames has a variance that is rounding alone
    want = torchaudio_sliding(x, window, min_window, center)
    np.testing.assert_allclose(sliding_cmvn(x, window, min_window, center, True), want, atol=1e-8)


def test_a_constant_feature_is_zero_where_torchaudio_divides_by_zero():
    x = np.full((30, 1), 0.1, np.float32)
    np.testing.assert_allclose(sliding_cmvn(x, 5, 2, variance=True), 0, atol=1e-6)
    assert not np.isfinite(torchaudio_sliding(np.ones((30, 1), np.float32), 5, 2, False)).any()


@pytest.mark.parametrize("deviation", [1e-4, 1e-5, 1e-7])
def test_small_variances_are_floored(deviation):
    x = deviation * noise(60, 2)
    np.testing.assert_allclose(
        sliding_cmvn(x, 9, 5, True, True), kaldi_sliding(x, 9, 5, True, True), rtol=1e-9, atol=1e-12
    )


def test_large_offsets_keep_their_variance():
    x = 1e4 + 1e-1 * noise(300, 2)
    got = sliding_cmvn(x, 50, 20, True, True)
    np.testing.assert_allclose(got, kaldi_sliding(x, 50, 20, True, True), atol=1e-9)


# Files


def test_files_that_are_no_statistics_are_refused(tmp_path):
    file = tmp_path / "stats.npy"
    good = gathered([noise(5, 2)], 2)
    good.save(file)
    whole = file.read_bytes()
    header = whole[: -3 * 3 * 8]
    negative = np.array([[0, 0, -1], [0, 0, 0], [0, 0, 0]], np.float64)
    for damaged in (
        b"",
        b"no statistics",
        whole[:40],
        whole[:-1],
        header.replace(b"(3, 3)", b"(9, 9)"),
        header.replace(b"(3, 3)", b"(3,3x"),
        header.replace(b"(3, 3), ", b"(3, 99999999999), "),
        header.replace(b"'<f8'", b"'|O' ") + pickle.dumps([1.0] * 9),
        header.replace(b"'<f8'", b"'<i8'") + whole[len(header) :],
        whole[:-8] + struct.pack("<d", math.nan),
        header + negative.tobytes(),
    ):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"Cmvn\.load: .*stats\.npy"):
            Cmvn.load(file)
    with pytest.raises(FileNotFoundError):
        Cmvn.load(tmp_path / "none")

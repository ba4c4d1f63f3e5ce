"""Manifests: what is read, and what is refused by line and reason. Nothing outside the manifest's folder is read."""

import gzip
import json
import os

import pytest

from pyasr.datasets import Utterance, manifest
from pyasr.datasets._utterance import hold_out


@pytest.fixture
def folder(tmp_path):
    """A folder with recordings a.wav and b/c.flac, beside a secret and with links and a pipe that must not be followed."""
    root = tmp_path / "mine"
    (root / "b").mkdir(parents=True)
    (tmp_path / "secret.wav").write_bytes(b"secret")
    (root / "a.wav").write_bytes(b"a")
    (root / "b" / "c.flac").write_bytes(b"c")
    (root / "link.wav").symlink_to(tmp_path / "secret.wav")
    (root / "linked").symlink_to(tmp_path)
    (root / "loop.wav").symlink_to(root / "loop.wav")
    os.mkfifo(root / "pipe.wav")
    return root


def written(folder, *lines):
    path = folder / "list.jsonl"
    path.write_bytes(b"".join((x if isinstance(x, bytes) else json.dumps(x).encode()) + b"\n" for x in lines))
    return path


def cut(**changes):
    """A MonoCut as lhotse writes it; a change of a source or a supervision is named source_* or supervision_*."""
    source = {"type": "file", "channels": [0], "source": "a.wav"}
    supervision = {
        "id": "s1", "recording_id": "r", "start": 0.0, "duration": 1.5, "channel": 0, "text": "HELLO", "speaker": "ann"
    }  # fmt: skip
    recording = {"id": "r", "sources": [source], "sampling_rate": 16000, "num_samples": 80000, "duration": 5.0}
    top = {"id": "cut-1", "start": 0.5, "duration": 1.5, "channel": 0, "supervisions": [supervision]}
    top |= {"recording": recording, "type": "MonoCut"}
    for key, value in changes.items():
        first, _, rest = key.partition("_")
        inner = {"source": source, "supervision": supervision, "recording": recording} if rest else {}
        inner.get(first, top)[rest or first] = value
    return top


def test_a_jsonl_manifest(folder):
    path = written(
        folder,
        b"\xef\xbb\xbf" + json.dumps({"audio": "a.wav", "text": " one  two\n"}).encode(),
        b"",
        {"audio": "b/c.flac", "text": "", "start": 1, "duration": 2.5, "speaker": "bob", "lang": "en"},
        {"audio": str(folder / "b" / "c.flac"), "text": "ж", "start": 4, "duration": None, "speaker": None},
    )
    for root in (None, folder):
        mine = manifest.load(path, root=root, strict=True)
        assert mine.name == "list"
        assert mine.skipped == ()
        assert mine.utterances[:2] == (
            Utterance("a.wav", folder / "a.wav", "one two"),
            Utterance("b/c.flac@1+2.5", folder / "b" / "c.flac", "", "bob", 1.0, 2.5),
        )
        assert (mine.utterances[2].text, mine.utterances[2].start, mine.utterances[2].duration) == ("ж", 4.0, None)


def test_a_cutset_of_lhotse_also_packed(folder):
    path = written(folder, cut(), cut(id="cut-2", start=2))
    packed = folder / "cuts.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    want = Utterance("cut-1", folder / "a.wav", "HELLO", "ann", 0.5, 1.5)
    assert manifest.load(path, strict=True).utterances[0] == want
    assert manifest.load(packed, strict=True).utterances == manifest.load(path).utterances
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"cuts.jsonl.gz cannot be unpacked"):
        manifest.load(packed)


def test_a_folder_of_pairs(folder):
    (folder / "a.txt").write_text("one\ntwo\n")
    (folder / "b" / "c.txt").write_text("three")
    (folder / "b" / "d.wav").write_bytes(b"d")
    (folder / "b" / "e.txt").write_text("no sound")
    (folder / "link.txt").write_text("of a secret")
    (folder / "f.wav").write_bytes(b"f")
    (folder / "f.txt").symlink_to(folder.parent / "secret.wav")
    (folder / "g.wav").write_bytes(b"g")
    (folder / "g.txt").write_bytes(b"\xff\xfe")
    (folder / "h.wav").write_bytes(b"h")
    (folder / "h.txt").write_bytes(b"h" * (manifest.MAX_LINE + 1))
    mine = manifest.load(folder)
    assert [(u.name, u.text) for u in mine.utterances] == [("a.wav", "one two"), ("b/c.flac", "three")]
    reasons = [reason for _, reason in mine.skipped]
    for reason, want in zip(
        reasons,
        [
            "'b/d.wav' has no text beside it",
            "'b/e.txt' has no recording beside it",
            "'f.txt' leaves the manifest's folder",
            "not UTF-8",
            "'h.txt' has more than 65536 bytes",
            "'link.wav' leaves the manifest's folder",
            "'loop.wav' cannot be opened",
            "'pipe.wav' is not a regular file",
        ],
        strict=True,
    ):
        assert reason.startswith(want)
    with pytest.raises(ValueError, match="has no text beside it"):
        manifest.load(folder, strict=True)
    named = {u.name: u.text for u in manifest.load(folder, need_text=False).utterances}
    assert named == {"a.wav": "one two", "b/c.flac": "three", "b/d.wav": ""}


def test_what_needs_no_text_keeps_recordings_without_one(folder):
    bare = cut(id="cut-2", start=2)
    del bare["supervisions"]
    path = written(folder, {"audio": "a.wav"}, {**cut(), "supervisions": []}, bare, {"audio": "b/c.flac", "text": 3})
    assert [line for line, _ in manifest.load(path).skipped] == [1, 2, 3, 4]
    mine = manifest.load(path, need_text=False)
    assert [(u.name, u.text, u.speaker) for u in mine.utterances] == [
        ("a.wav", "", ""),
        ("cut-1", "", ""),
        ("cut-2", "", ""),
    ]
    assert mine.skipped == ((4, "text must be text, got int"),)


def plain(**changes):
    return {"audio": "a.wav", "text": "x"} | changes


HOSTILE = {
    "climbing": (plain(audio="../secret.wav"), "leaves the manifest's folder"),
    "climbing within": (plain(audio="b/../../secret.wav"), "leaves the manifest's folder"),
    "climbing to nothing": (plain(audio="../nothing.wav"), "leaves the manifest's folder"),
    "climbing by backslash": (plain(audio="..\\secret.wav"), "leaves the manifest's folder"),
    "absolute": (plain(audio="/etc/passwd"), "leaves the manifest's folder"),
    "link": (plain(audio="link.wav"), "leaves the manifest's folder"),
    "linked folder": (plain(audio="linked/secret.wav"), "leaves the manifest's folder"),
    "loop": (plain(audio="loop.wav"), "cannot be opened"),
    "pipe": (plain(audio="pipe.wav"), "not a regular file"),
    "folder": (plain(audio="b"), "not a regular file"),
    "root": (plain(audio="."), "not a regular file"),
    "url": (plain(audio="https://example.com/a.wav"), "is a URL"),
    "file url": (plain(audio="file:///etc/passwd"), "is a URL"),
    "data url": (plain(audio="data:audio/wav;base64,AAAA"), "is a URL"),
    "bucket": (plain(audio="s3://bucket/a.wav"), "is a URL"),
    "command": (plain(audio="touch /tmp/x |"), "is a shell command"),
    "command in front": (plain(audio="| cat a.wav"), "is a shell command"),
    "home": (plain(audio="~/a.wav"), "there is no file"),
    "variable": (plain(audio="$HOME/a.wav"), "there is no file"),
    "missing": (plain(audio="nothing.wav"), "there is no file"),
    "null": (plain(audio="a.wav\0.txt"), "is not a path"),
    "surrogate": (b'{"audio": "\\ud800.wav", "text": "x"}', "is not a path"),
    "long name": (plain(audio="x" * 5000), "cannot be opened"),
    "no path": (plain(audio=3), "the path must be text, got int"),
    "empty path": (plain(audio=" "), "the path must be text"),
    "no text": ({"audio": "a.wav"}, "text must be text, got NoneType"),
    "text is a list": (plain(text=["x"]), "text must be text, got list"),
    "text is half a pair": (b'{"audio": "a.wav", "text": "\\udc00"}', "half of a surrogate pair"),
    "speaker is a number": (plain(speaker=3), "speaker must be text, got int"),
    "before the start": (plain(start=-0.1), "start must be at least 0"),
    "nan": (b'{"audio": "a.wav", "text": "x", "start": NaN}', "start must be at least 0 .*, got nan"),
    "infinity": (plain(duration=float("inf")), "duration must be above 0 .*, got inf"),
    "overflow": (b'{"audio": "a.wav", "text": "x", "start": 1e999}', "start must be at least 0 .*, got inf"),
    "huge integer": (plain(start=10**400), "start must be at least 0"),
    "too many digits": (b'{"audio": "a.wav", "text": "x", "start": ' + b"9" * 5000 + b"}", "not JSON"),
    "no duration": (plain(duration=0), "duration must be above 0"),
    "start is true": (plain(start=True), "start must be a number, got bool"),
    "start is text": (plain(start="1"), "start must be a number, got '1'"),
    "long line": (plain(text="x" * manifest.MAX_LINE), "the line has more than 65536 bytes"),
    "not utf-8": (b'{"audio": "a.wav", "text": "\xff"}', "not UTF-8"),
    "not json": (b"{'audio': 'a.wav'}", "not JSON"),
    "half a line": (b'{"audio": "a.wav", "te', "not JSON"),
    "two objects": (b"{} {}", "not JSON"),
    "a list": (b'["a.wav", "x"]', "must be a JSON object, got list"),
    "nested": (b"[" * 60000, "nested too deeply"),
    "key twice": (b'{"audio": "../secret.wav", "audio": "a.wav", "text": "x"}', "a key comes twice"),
    "neither": ({"path": "a.wav"}, "got neither"),
    "repeated": (plain(audio="b/c.flac"), "repeats line 1"),
    "repeated by another name": (plain(audio="./b/c.flac"), "repeats line 1"),
    "cut of a command": (cut(source_type="command", source_source="cat a.wav"), "type \"file\", got 'command'"),
    "cut of a url": (cut(source_type="url", source_source="http://example.com"), "type \"file\", got 'url'"),
    "cut of memory": (cut(source_type="memory", source_source=""), "type \"file\", got 'memory'"),
    "cut of a pipe": (cut(source_source="cat a.wav |"), "is a shell command"),
    "cut that climbs": (cut(source_source="../secret.wav"), "leaves the manifest's folder"),
    "cut of two channels": (cut(source_channels=[0, 1]), "must have one channel"),
    "cut of two files": (cut(recording_sources=[{}, {}]), "must have one source, got 2"),
    "cut that is changed": (cut(recording_transforms=[{"name": "Speed"}]), "as in its file, got transforms"),
    "cut without sources": (cut(recording_sources=None), "sources must be a list, got NoneType"),
    "cut without a recording": (cut(recording=None), "recording must be an object, got NoneType"),
    "cut without words": (cut(supervisions=[]), "must have one supervision, got 0"),
    "cut with two texts": (cut(supervisions=[{"text": "a"}, {"text": "b"}]), "must have one supervision, got 2"),
    "cut with a number": (cut(supervision_text=7), "text must be text, got int"),
    "cut before the start": (cut(start=-1), "start must be at least 0"),
    "mixed cut": (cut(type="MixedCut"), "type must be \"MonoCut\", got 'MixedCut'"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_lines_are_skipped_with_a_reason(folder, case):
    line, message = HOSTILE[case]
    good = {"audio": "b/c.flac", "text": "fine"}
    path = written(folder, good, line, {"audio": "b/c.flac", "text": "on", "start": 1})
    before = sorted(folder.parent.rglob("*"))
    mine = manifest.load(path)
    assert [u.text for u in mine.utterances] == ["fine", "on"]
    ((number, reason),) = mine.skipped
    assert number == 2
    assert len(reason) < 250
    with pytest.raises(ValueError, match=f"list.jsonl, line 2: .*{message}"):
        manifest.load(path, strict=True)
    assert sorted(folder.parent.rglob("*")) == before


def test_root_may_be_another_folder(folder):
    path = written(folder, {"audio": "a.wav", "text": "x"}, {"audio": "../secret.wav", "text": "x"})
    other = folder.parent / "lists"
    other.mkdir()
    path = path.rename(other / "list.jsonl")
    assert len(manifest.load(path, root=folder).utterances) == 1
    assert manifest.load(path).utterances == ()
    linked = folder.parent / "elsewhere"
    linked.symlink_to(folder)
    assert len(manifest.load(path, root=linked).utterances) == 1
    assert all("leaves" in reason for _, reason in manifest.load(folder, root=other).skipped)


def test_manifests_are_bounded(folder, monkeypatch):
    path = written(folder, *[b"x"] * 4)
    assert len(manifest.load(path).skipped) == 4
    monkeypatch.setattr(manifest, "MAX_LINES", 3)
    with pytest.raises(ValueError, match=r"list.jsonl has more than 3 lines"):
        manifest.load(path)
    with pytest.raises(FileNotFoundError, match=r"there is no manifest .*nothing.jsonl"):
        manifest.load(folder / "nothing.jsonl")


# ---- what is held out


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("sizes", [(1, 1), (1,) * 7, (4, 1, 9, 2, 3), (30, 1, 1, 1, 1, 1), (2,) * 40])
def test_no_speaker_is_on_both_sides(share, sizes):
    some = [Utterance(f"{s}-{k}", None, "a", f"s{s}") for s, n in enumerate(sizes) for k in range(n)]
    chosen = set()
    for seed in range(20):
        train, dev = hold_out(some, share, seed)
        assert (train, dev) == hold_out(some, share, seed)
        assert train and dev and sorted((*train, *dev), key=str) == sorted(some, key=str)
        assert [u for u in some if u in set(train)] == list(train)  # in the order of the list
        if len(sizes) >= 5:
            assert not {u.speaker for u in train} & {u.speaker for u in dev}
            # One speaker less would be further from the share, or nobody.
            assert len(dev) <= share * len(some) + max(sizes) or len({u.speaker for u in dev}) == 1
        else:
            assert len(dev) == max(1, min(len(some) - 1, round(share * len(some))))
        chosen.add(tuple(u.name for u in dev))
    assert len(chosen) > 1


def test_utterances_without_a_speaker_are_held_out_one_by_one():
    some = [Utterance(str(i), None, "a", f"s{i % 6}" if i else "") for i in range(30)]
    _, dev = hold_out(some, 0.2, 0)
    assert len(dev) == 6

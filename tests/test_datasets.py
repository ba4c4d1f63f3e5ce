"""Data sets: the official split, a held-out part that never touches the test, and archives that are not believed."""

import io
import tarfile
from pathlib import Path, PurePosixPath

import pytest

from pyasr.datasets import _archive, fsdd


def make(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())


NAMES = [f"{d}_{s}_{i}.wav" for d in range(10) for s in ("ada", "bob") for i in range(50)]


def test_official_split_and_held_out_part(tmp_path):
    make(tmp_path, [*NAMES, "README.md", "x_ada_1.wav", "1_ada.wav"])
    items = fsdd.recordings(tmp_path)
    assert len(items) == 1000
    train, test = fsdd.split(items)
    assert len(test) == 100
    assert {r.index for r in test} == set(range(5))
    rest, held_out = fsdd.hold_out(train, seed=0)
    assert len(held_out) == 40  # two of 45 per digit and speaker
    assert sorted(rest + held_out) == train
    assert {(r.digit, r.speaker) for r in held_out} == {(r.digit, r.speaker) for r in train}
    assert fsdd.hold_out(train, seed=0) == (rest, held_out)
    assert fsdd.hold_out(train, seed=1)[1] != held_out


def test_data_may_be_the_set_or_its_recordings(tmp_path, monkeypatch):
    make(tmp_path / "fsdd" / "recordings", NAMES[:3])
    want = tmp_path / "fsdd" / "recordings"
    assert fsdd.locate(tmp_path / "fsdd") == want
    assert fsdd.locate(str(want)) == want
    monkeypatch.setenv("PYASR_DATA", str(tmp_path))
    assert fsdd.locate() == want
    with pytest.raises(FileNotFoundError, match="the layout of FSDD"):
        fsdd.locate(tmp_path / "fsdd" / "nothing")
    assert fsdd.locate(tmp_path) == want  # the folder of several data sets


def test_offline_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.delenv("PYASR_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"--offline forbids a download.*--data"):
        fsdd.locate(offline=True)


def archive(path, members):
    """A tar.gz of (name, data) or of TarInfo for what is not a plain file."""
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def keep(path):
    return path


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("../escape.wav", b"x"), "outside its folder"),
        (("a/../../escape.wav", b"x"), "outside its folder"),
        (("/escape.wav", b"x"), "outside its folder"),
        (("C:/escape.wav", b"x"), "outside its folder"),
        (("a\\..\\escape.wav", b"x"), "outside its folder"),
        (special("link", tarfile.SYMTYPE, "/etc/passwd"), "link or a device"),
        (special("link", tarfile.LNKTYPE, "good.wav"), "link or a device"),
        (special("pipe", tarfile.FIFOTYPE), "link or a device"),
        (special("device", tarfile.CHRTYPE), "link or a device"),
        (special("block", tarfile.BLKTYPE), "link or a device"),
        (special("..", tarfile.SYMTYPE, "/"), "outside its folder"),
        (special("a/link", tarfile.SYMTYPE, "../.."), "link or a device"),
        (special("a/link", tarfile.LNKTYPE, "../../a.tar.gz"), "link or a device"),
        (special("odd", b"Z"), "link or a device"),
        (("..", b"x"), "outside its folder"),
        (("a/..", b"x"), "outside its folder"),
        (("a/b/../../../escape.wav", b"x"), "outside its folder"),
        (("//escape.wav", b"x"), "outside its folder"),
        (("\\\\server\\share\\escape.wav", b"x"), "outside its folder"),
        (("a.wav:stream", b"x"), "outside its folder"),
        (("good.wav", b"again"), "comes twice"),
        (("./good.wav", b"again"), "comes twice"),
        (("good.wav/below.wav", b"x"), "a file and a folder of one name"),
        (("folder", b"x"), "a file and a folder of one name"),
        (("", b"x"), "has no name"),
        ((".", b"x"), "has no name"),
        (("x" * 300 + ".wav", b"x"), "too long"),
        (("a/" * 3000 + "b.wav", b"x"), "too long"),
    ],
)
def test_hostile_archives_write_nothing_outside(tmp_path, member, message):
    good = [("good.wav", b"x"), ("folder/good.wav", b"x")]
    path, target = archive(tmp_path / "a.tar.gz", [*good, member]), tmp_path / "in" / "target"
    target.mkdir(parents=True)
    with pytest.raises(ValueError, match=message):
        _archive.extract(path, target, keep)
    assert {p.name for p in tmp_path.rglob("*")} <= {"a.tar.gz", "in", "target", "good.wav", "folder"}


def test_archives_are_bounded(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.tar.gz", [(f"{i}.wav", bytes(100)) for i in range(5)])
    for limit, value, message in (("MAX_ENTRIES", 4, "more than 4 members"), ("MAX_BYTES", 450, "more than 450 bytes")):
        target = tmp_path / limit
        target.mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(_archive, limit, value)
            with pytest.raises(ValueError, match=message):
                _archive.extract(path, target, keep)


@pytest.mark.parametrize("damage", [lambda d: b"", lambda d: b"not a tar", lambda d: d[: len(d) // 2]])
def test_damaged_archives_are_refused(tmp_path, damage):
    path = archive(tmp_path / "a.tar.gz", [(f"{i}.wav", bytes(range(256)) * 50) for i in range(5)])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"a.tar.gz is not a readable archive"):
        _archive.extract(path, tmp_path, keep)


def download(tmp_path, monkeypatch, members):
    """fsdd.locate() with the network replaced by a local archive."""
    pooch = pytest.importorskip("pooch", reason='needs the extra "train"')
    source = archive(tmp_path / "source.tar.gz", members)
    urls = []

    def retrieve(url, known_hash, fname, path):
        urls.append(url)
        copy = Path(path) / fname
        copy.write_bytes(source.read_bytes())
        return str(copy)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.delenv("PYASR_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return urls


MEMBERS = [
    ("fsdd-1.0.10/README.md", b"text"),
    ("fsdd-1.0.10/LICENSE", b"CC BY-SA 4.0"),
    ("fsdd-1.0.10/recordings/0_ada_0.wav", b"zero"),
    ("fsdd-1.0.10/recordings/1_ada_0.wav", b"one"),
]


def test_a_download_is_kept_when_its_content_hash_fits(tmp_path, monkeypatch):
    urls = download(tmp_path, monkeypatch, MEMBERS)
    make(tmp_path / "same", [])
    (tmp_path / "same" / "0_ada_0.wav").write_bytes(b"zero")
    (tmp_path / "same" / "1_ada_0.wav").write_bytes(b"one")
    same = tmp_path / "same"
    monkeypatch.setattr(fsdd, "CONTENT_SHA256", _archive.content_hash(same, same.iterdir()))
    folder = fsdd.locate()
    assert sorted(p.name for p in folder.iterdir()) == ["0_ada_0.wav", "1_ada_0.wav"]
    assert (folder.parent / "LICENSE").read_bytes() == b"CC BY-SA 4.0"
    assert fsdd.locate() == folder  # from the cache
    assert fsdd.locate(offline=True) == folder
    assert urls == [fsdd.URL]


def test_a_download_with_other_content_leaves_nothing(tmp_path, monkeypatch):
    download(tmp_path, monkeypatch, MEMBERS)
    with pytest.raises(ValueError, match=f"has content hash [0-9a-f]{{64}}, expected {fsdd.CONTENT_SHA256}"):
        fsdd.locate()
    assert not list((tmp_path / "cache" / "pyasr").iterdir())


def test_the_content_hash_is_that_of_sorted_lines(tmp_path):
    make(tmp_path / "b", ["x.wav"])
    make(tmp_path, ["a.wav"])
    files = sorted(tmp_path.rglob("*.wav"))
    assert _archive.content_hash(tmp_path, files) == _archive.content_hash(tmp_path, reversed(files))
    assert fsdd._place(PurePosixPath("top/recordings/0_a_0.wav")) == PurePosixPath("recordings/0_a_0.wav")
    assert fsdd._place(PurePosixPath("top/acquire_data/x.py")) is None

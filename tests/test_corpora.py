"""Corpora in their official layouts, on small generated trees; AN4 also on the real one, where it is."""

import hashlib
import io
import os
import runpy
import tarfile
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr.datasets import _archive, an4, librispeech, speech_commands

REAL = Path(os.environ.get("PYASR_DATA", "")) / "an4"
needs_data = pytest.mark.skipif(
    not os.environ.get("PYASR_DATA") or not REAL.is_dir(), reason="PYASR_DATA names no folder with an4"
)


write = runpy.run_path(str(Path(__file__).with_name("trees.py")))["write"]

# ---- AN4

AN4 = {
    "etc/an4_train.fileids": "an4_clstk/fash/an251-fash-b\nan4_clstk/fejs/an36-fejs-b\n",
    "etc/an4_train.transcription": "<s> YES <sil> ++UM++ NO </s> (an251-fash-b)\n<s> RUBOUT C </s> (an36-fejs-b)\n",
    "etc/an4_test.fileids": "an4test_clstk/fcaw/an406-fcaw-b\n",
    "etc/an4_test.transcription": "RUBOUT  G M (an406-fcaw-b)\n",
    "wav/an4_clstk/fash/an251-fash-b.wav": "",
    "wav/an4_clstk/fejs/an36-fejs-b.sph": "",
}


def test_an4_keeps_eight_speakers_apart(tmp_path):
    corpus = an4.load(write(tmp_path, AN4))
    assert (corpus.name, corpus.sample_rate) == ("an4", 16000)
    (train,), (dev,), (test,) = corpus.train, corpus.dev, corpus.test
    assert (train.name, train.text, train.speaker) == ("an251-fash-b", "YES NO", "fash")
    assert (dev.text, dev.speaker, dev.path) == ("RUBOUT C", "fejs", tmp_path / "wav/an4_clstk/fejs/an36-fejs-b.sph")
    assert (test.text, test.speaker, test.path.name) == ("RUBOUT G M", "fcaw", "an406-fcaw-b.wav")
    assert (train.start, train.duration) == (0.0, None)


def test_an4_without_its_test_part(tmp_path):
    assert an4.load(write(tmp_path, {n: f for n, f in AN4.items() if "test" not in n})).test == ()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("etc/an4_train.fileids", "../../../etc/an251-fash-b", "must be a relative path inside"),
        ("etc/an4_train.fileids", "/etc/an251-fash-b", "must be a relative path inside"),
        ("etc/an4_train.fileids", "an4_clstk/fash/an999-fash-b", "must have a transcript in an4_train.transcription"),
        ("etc/an4_train.fileids", "a/an251-fash-b\nb/an251-fash-b", "names an utterance twice"),
        ("etc/an4_train.transcription", "<s> YES </s>\n", r"line 1: must be words and \(name\)"),
        ("etc/an4_train.transcription", "YES (an251-fash-b)\n\nNO (an251-fash-b)\n", "line 3: repeats an251-fash-b"),
    ],
)
def test_bad_lists_of_an4_are_named(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        an4.load(write(tmp_path, AN4 | {name: content}))


@pytest.mark.data
@needs_data
def test_real_an4_has_the_official_counts():
    corpus = an4.load(an4.locate(offline=True))
    assert (len(corpus.train), len(corpus.dev)) == (843, 105)
    assert sum(len(u.text.split()) for u in corpus.dev) == 636
    assert len({u.speaker for u in corpus.train}) == 66
    assert {u.speaker for u in corpus.dev} == an4.DEV_SPEAKERS
    assert not [u for u in corpus.train + corpus.dev if "<" in u.text or not u.text or not u.path.is_file()]
    wave, rate = pyasr.load(corpus.dev[0].path)
    assert rate == corpus.sample_rate
    assert 1 < len(wave) / rate < 20
    np.testing.assert_array_equal(pyasr.load(corpus.dev[0].path, start=0.5, duration=0.25)[0], wave[8000:12000])


# ---- LibriSpeech

LIBRISPEECH = {
    "train-clean-5/19/198/19-198.trans.txt": "19-198-0000 NORTHANGER  ABBEY\n19-198-0001 THIS LITTLE WORK\n",
    "train-other-500/20/205/20-205.trans.txt": "20-205-0000 THE\n",
    "dev-clean-2/84/121123/84-121123.trans.txt": "84-121123-0000 GO DO YOU HEAR\n",
    "other/1/2/1-2.trans.txt": "1-2-0000 NOT A PART\n",
    "SPEAKERS.TXT": "",
}


def test_librispeech_sets_go_to_their_parts(tmp_path):
    corpus = librispeech.load(write(tmp_path, LIBRISPEECH))
    assert [u.name for u in corpus.train] == ["19-198-0000", "19-198-0001", "20-205-0000"]
    assert corpus.train[0].path == tmp_path / "train-clean-5/19/198/19-198-0000.flac"
    assert (corpus.train[0].text, corpus.train[0].speaker) == ("NORTHANGER ABBEY", "19")
    assert [u.text for u in corpus.dev] == ["GO DO YOU HEAR"]
    assert corpus.test == ()
    assert librispeech.locate(tmp_path) == tmp_path
    assert librispeech.locate(tmp_path / "dev-clean-2") == tmp_path / "dev-clean-2"
    assert librispeech.load(tmp_path / "dev-clean-2").dev[0].text == "GO DO YOU HEAR"
    write(tmp_path / "above" / "LibriSpeech", LIBRISPEECH)
    assert librispeech.locate(tmp_path / "above") == tmp_path / "above" / "LibriSpeech"


def test_librispeech_without_a_dev_set_holds_out_a_share(tmp_path):
    files = {f"{s}/1/{s}-1.trans.txt": "".join(f"{s}-1-{i:04d} A\n" for i in range(4)) for s in range(6)}
    corpus = librispeech.load(write(tmp_path / "mine", files), seed=2)
    assert (len(corpus.train), len(corpus.dev), corpus.test) == (20, 4, ())
    assert not {u.speaker for u in corpus.train} & {u.speaker for u in corpus.dev}
    assert corpus == librispeech.load(tmp_path / "mine", seed=2)
    assert len(librispeech.load(tmp_path / "mine", share=0.5).dev) == 12
    assert librispeech.locate(tmp_path / "mine") == tmp_path / "mine"


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "19-198-../../x", "20-198-0000", "19-198-", "/19-198-0000"])
def test_librispeech_names_belong_to_their_chapter(tmp_path, name):
    write(tmp_path, {"train-clean-5/19/198/19-198.trans.txt": f"{name} WORDS\n"})
    with pytest.raises(ValueError, match=r"line 1: must begin with a name such as 19-198-0000, got "):
        librispeech.load(tmp_path)


# ---- Speech Commands

COMMANDS = {
    "yes/0a7c2a8d_nohash_0.wav": "",
    "yes/0a7c2a8d_nohash_1.wav": "",
    "no/0b09edd3_nohash_0.wav": "",
    "no/1_other.wav": "",
    "_background_noise_/0a7c2a8d_nohash_0.wav": "",
    "_background_noise_/white_noise.wav": "",
    "validation_list.txt": "yes/0a7c2a8d_nohash_1.wav\nup/0a7c2a8d_nohash_1.wav\n",
    "testing_list.txt": "no/0b09edd3_nohash_0.wav\n",
}


def test_speech_commands_follow_their_lists(tmp_path):
    corpus = speech_commands.load(write(tmp_path, COMMANDS))
    assert [(u.name, u.text, u.speaker) for u in corpus.train] == [("yes/0a7c2a8d_nohash_0", "yes", "0a7c2a8d")]
    assert [u.name for u in corpus.dev] == ["yes/0a7c2a8d_nohash_1"]
    assert [u.path for u in corpus.test] == [tmp_path / "no/0b09edd3_nohash_0.wav"]
    assert speech_commands.locate(tmp_path) == tmp_path


def test_a_clip_in_both_lists_is_refused(tmp_path):
    write(tmp_path, COMMANDS | {"testing_list.txt": COMMANDS["validation_list.txt"]})
    with pytest.raises(ValueError, match=r"up/0a7c2a8d_nohash_1.wav must be in one of validation_list.txt and"):
        speech_commands.load(tmp_path)


# ---- where they lie, and downloads

MODULES = (an4, librispeech, speech_commands)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__.rpartition(".")[2])
def test_missing_corpora_are_named(tmp_path, monkeypatch, module):
    name = module.__name__.rpartition(".")[2]
    monkeypatch.delenv("PYASR_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"neither in \$PYASR_DATA/{name} nor in .*--offline .*--data"):
        module.locate(offline=True)
    with pytest.raises(FileNotFoundError, match=r"has no .*\(the layout of"):
        module.locate(tmp_path)
    (tmp_path / "pyasr" / name).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="remove it and try again"):
        module.locate()


def packed(files, top):
    """The bytes of a tar.gz."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content.encode()))
    return out.getvalue()


@pytest.fixture
def network(tmp_path, monkeypatch):
    """URL -> bytes, for a pooch that checks hashes as the real one does."""
    pooch = pytest.importorskip("pooch", reason='needs the extra "train"')
    pages = {}

    def retrieve(url, known_hash, fname, path):
        copy = Path(path) / fname
        copy.write_bytes(pages[url])
        if known_hash is not None and not pooch.hashes.hash_matches(copy, known_hash):
            raise ValueError(f"hash of {url} does not match {known_hash}")
        return str(copy)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.delenv("PYASR_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return pages


def test_an4_is_downloaded_once_and_checked_by_content(tmp_path, monkeypatch, network):
    network[an4.URL] = packed(AN4 | {"LICENSE": "free", "README": "", "bin/x": ""}, "an4-b567")
    with pytest.raises(ValueError, match="has content hash"):
        an4.locate()
    assert not list((tmp_path / "cache" / "pyasr").iterdir())
    wav = write(tmp_path / "same", {n: f for n, f in AN4.items() if n.endswith(".wav")}) / "wav"
    monkeypatch.setattr(an4, "CONTENT_SHA256", _archive.content_hash(wav, wav.rglob("*.wav")))
    folder = an4.locate()
    assert folder == tmp_path / "cache" / "pyasr" / "an4"
    assert sorted(p.name for p in folder.iterdir()) == ["LICENSE", "etc", "wav"]
    network.clear()
    assert an4.locate(offline=True) == folder
    assert len(an4.load(folder).train) == 1


def test_mini_librispeech_comes_in_two_archives(tmp_path, monkeypatch, network):
    train, dev = librispeech.ARCHIVES
    for url, part in ((train, "train"), (dev, "dev")):
        network[url] = packed(
            {n: f for n, f in LIBRISPEECH.items() if n.startswith(part)} | {"LICENSE.TXT": ""}, "LibriSpeech"
        )
    with pytest.raises(ValueError, match=r"train-clean-5.tar.gz does not match md5:"):
        librispeech.locate()
    hashes = {url: f"md5:{hashlib.md5(data, usedforsecurity=False).hexdigest()}" for url, data in network.items()}
    monkeypatch.setattr(librispeech, "ARCHIVES", hashes)
    corpus = librispeech.load(librispeech.locate())
    assert (len(corpus.train), len(corpus.dev)) == (3, 1)


def test_speech_commands_are_downloaded_without_the_noise(monkeypatch, network):
    network[speech_commands.URL] = packed(COMMANDS, ".")
    with pytest.raises(ValueError, match="does not match sha256:"):
        speech_commands.locate()
    monkeypatch.setattr(speech_commands, "SHA256", hashlib.sha256(network[speech_commands.URL]).hexdigest())
    folder = speech_commands.locate()
    assert not (folder / "_background_noise_").exists()
    assert len(speech_commands.load(folder).train) == 1


def test_an_archive_without_a_hash_is_not_downloaded(tmp_path):
    pytest.importorskip("pooch", reason='needs the extra "train"')
    with pytest.raises(ValueError, match="its hash is not known"):
        _archive.fetch({"https://nowhere.invalid/a.tar.gz": None}, tmp_path / "a", lambda path: path)

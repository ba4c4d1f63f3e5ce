"""lhotse reads folders of features; what it computes from cuts.jsonl is checked where it is not installed too."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr.compat import lhotse as compat
from pyasr.features.store import open_shard

soundfile = pytest.importorskip("soundfile", reason="recordings are written with it")
for package in ("click", "soxr", "safetensors", "tomli_w", "msgspec"):
    pytest.importorskip(package, reason="the command needs it")

FOLDERS = runpy.run_path(str(Path(__file__).with_name("feature_folders.py")))
make = FOLDERS["make"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return FOLDERS["corpus_in"](tmp_path_factory.mktemp("recordings"))


@pytest.mark.parametrize(
    "argv", [(), ("--set", "snip_edges=false"), ("--sample-rate", 11025), ("--set", "frame_shift_ms=7")]
)
def test_cuts_are_what_lhotse_computes_with(corpus, tmp_path, monkeypatch, argv):
    store = pyasr.features.open_store(make(corpus, tmp_path, monkeypatch, *argv))
    cuts = [json.loads(line) for line in (store.folder / "cuts.jsonl").read_text("utf-8").splitlines()]
    for cut, entry, rows in zip(cuts, store.entries, store, strict=True):
        f = cut["features"]
        assert (cut["type"], cut["id"], cut["start"], cut["channel"]) == ("MonoCut", entry.name, entry.start, 0)
        hop = round(f["frame_shift"] * f["sampling_rate"])
        assert f["frame_shift"] * f["sampling_rate"] == pytest.approx(hop, abs=1e-9)
        for duration in (cut["duration"], f["duration"]):  # lhotse.utils.compute_num_frames
            assert (round(duration * f["sampling_rate"]) + hop // 2) // hop == len(rows) == f["num_frames"]
        assert (f["num_features"], f["type"], f["storage_type"], f["channels"]) == (15, "fbank", "pyasr_shards", 0)
        np.testing.assert_array_equal(compat.ShardReader(f["storage_path"]).read(f["storage_key"]), rows)
        (said,) = cut["supervisions"]
        assert (said["text"], said.get("speaker", ""), said["start"]) == (entry.text, entry.speaker, 0.0)
        assert said["recording_id"] == f["recording_id"] == entry.source and said["duration"] == cut["duration"]
        if entry.name == "13.wav":
            assert "recording" not in cut  # features of the mean of two channels
            continue
        whole = cut["recording"]
        assert whole["sources"] == [{"type": "file", "channels": [0], "source": entry.source}]
        assert whole["num_samples"] / whole["sampling_rate"] == whole["duration"]
        assert cut["start"] + cut["duration"] <= whole["duration"] + 1e-9
        assert ("transforms" in whole) == (11025 in argv)


def test_the_reader_slices_and_refuses(corpus, tmp_path, monkeypatch):
    whole = make(corpus, tmp_path, monkeypatch)
    entry = pyasr.features.open_store(whole).entries[1]
    reader = compat.ShardReader(whole / entry.shard)
    key, rows = f"{entry.offset}:{entry.frames}", open_shard(whole / entry.shard)[entry.offset :][: entry.frames]
    part = reader.read(key, left_offset_frames=2, right_offset_frames=7)
    np.testing.assert_array_equal(part, rows[2:7])
    assert part.flags.writeable and part.flags.owndata
    for wrong in ("", "0", "0:0", "-1:2", "0:999999", "999999:1", "0:5 ", "٣:1"):
        with pytest.raises(ValueError, match=r"ShardReader\.read: key must be 'offset:frames' within"):
            reader.read(wrong)


def test_without_lhotse_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lhotse", None)
    with pytest.raises(ImportError, match="pip install lhotse"):
        compat.register()


@pytest.mark.parametrize("argv", [(), ("--set", "snip_edges=false"), ("--sample-rate", 11025)])
def test_lhotse_reads_the_rows(corpus, tmp_path, monkeypatch, argv):
    lhotse = pytest.importorskip("lhotse")
    from lhotse.qa import validate

    store = pyasr.features.open_store(make(corpus, tmp_path, monkeypatch, *argv))
    compat.register()
    cuts = list(lhotse.CutSet.from_file(store.folder / "cuts.jsonl"))
    assert len(cuts) == len(store) and isinstance(lhotse.load_manifest(store.folder / "cuts.jsonl"), lhotse.CutSet)
    for cut in cuts:
        validate(cut, read_data=True)
        np.testing.assert_array_equal(cut.load_features(), store[cut.id])
        part = cut.truncate(offset=2 * cut.frame_shift, duration=5 * cut.frame_shift)
        np.testing.assert_array_equal(part.load_features(), store[cut.id][2:7])

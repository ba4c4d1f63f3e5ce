"""Archives from the network: bounded, unpacked only inside their folder, and trusted by what they hold.

The bytes of an archive that a forge makes on demand are not stable, so the content is hashed instead: sha256 over the sorted
lines "<relative path> <sha256 of the file>\\n".
"""

from __future__ import annotations

import hashlib
import logging
import lzma
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

from pyasr._optional import need

MAX_ENTRIES = 150_000  # Speech Commands has 105 836 recordings
MAX_BYTES = 4 << 30
LONGEST_NAME = 1024  # bytes of a path inside the archive; 255 of each part


def content_hash(root: Path, files: Iterable[Path]) -> str:
    """sha256 over the sorted lines "<path relative to root> <sha256 of the file>\\n"."""
    lines = [
        f"{f.relative_to(root).as_posix()} {hashlib.sha256(f.read_bytes()).hexdigest()}\n" for f in files
    ]  # sorted as text, not as paths
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def extract(archive: Path, target: Path, wanted: Callable[[PurePosixPath], PurePosixPath | None]) -> None:
    """Unpack the regular files that `wanted` gives a place to, as a path relative to `target`; None leaves a member out.

    Raises ValueError for a member that is absolute, climbs out, is a link or a device, comes twice, is a file where another has
    its folder, or has no name or one that is too long, and for an archive with more than 150 000 members or 4 GiB. Nothing is
    written outside `target`.
    """
    seen: set[PurePosixPath] = set()
    folders: set[PurePosixPath] = set()
    size = 0
    try:
        with tarfile.open(archive, "r:*") as tar:
            for count, member in enumerate(tar):
                path = PurePosixPath(member.name)
                if count >= MAX_ENTRIES:
                    raise ValueError(f"{archive.name} has more than {MAX_ENTRIES} members")
                if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
                    raise ValueError(f"{archive.name} has a member outside its folder: {member.name!r}")
                if member.isdir() or member.type in (tarfile.XGLTYPE, tarfile.XHDTYPE):
                    continue
                if not member.isreg():
                    raise ValueError(f"{archive.name} has a link or a device: {member.name!r}")
                place = wanted(path)
                if place is None:
                    continue
                if not place.parts:
                    raise ValueError(f"{archive.name} has a member that has no name")
                if place.is_absolute() or ".." in place.parts or place in seen:
                    raise ValueError(f"{archive.name} has a member that comes twice: {member.name!r}")
                if place in folders or not seen.isdisjoint(place.parents):
                    raise ValueError(f"{archive.name} has a file and a folder of one name: {member.name!r}")
                if max(len(os.fsencode(part)) for part in place.parts) > 255 or len(os.fsencode(place)) > LONGEST_NAME:
                    raise ValueError(f"{archive.name} has a name that is too long: {member.name[:80]!r}")
                seen.add(place)
                folders.update(place.parents)
                size += member.size
                if size > MAX_BYTES:
                    raise ValueError(f"{archive.name} unpacks to more than {MAX_BYTES} bytes")
                data = tar.extractfile(member)
                assert data is not None  # a regular file
                out = target.joinpath(*place.parts)
                out.parent.mkdir(parents=True, exist_ok=True)
                with out.open("xb") as file:
                    shutil.copyfileobj(data, file)
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise
        raise ValueError(f"{archive.name} is not a readable archive: {e}") from e


def fetch(
    archives: Mapping[str, str | None],
    target: Path,
    wanted: Callable[[PurePosixPath], PurePosixPath | None],
    content: tuple[str, str] | None = None,
) -> None:
    """Download archives and put what `wanted` chooses from them into the new folder `target`, when the hashes fit.

    archives maps a URL to the hash of its bytes ("md5:…" or "sha256:…"), or to None where `content` decides: (folder inside
    target, content hash of the wav files below it).

    Raises ValueError with both hashes when one does not fit, and keeps nothing; OSError when the network fails.
    """
    pooch = need("pooch")
    pooch.get_logger().setLevel(logging.WARNING)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        for url, known_hash in archives.items():
            if known_hash is None and content is None:
                raise ValueError(f"the download from {url} cannot be checked: its hash is not known")
            archive = Path(pooch.retrieve(url, known_hash=known_hash, fname=PurePosixPath(url).name, path=scratch))
            extract(archive, unpacked, wanted)
            archive.unlink()
        if content is not None:
            folder, expected = unpacked / content[0], content[1]
            got = content_hash(folder, folder.rglob("*.wav"))
            if got != expected:
                raise ValueError(
                    f"the download from {', '.join(archives)} has content hash {got}, expected {expected}; nothing was kept"
                )
        os.replace(unpacked, target)

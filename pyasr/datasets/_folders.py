"""Where data sets lie, and names from a list that must stay inside a folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath


def cache() -> Path:
    """The user's cache of this package: $XDG_CACHE_HOME/pyasr, by default ~/.cache/pyasr."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pyasr"


def locate(
    name: str,
    data: str | os.PathLike[str] | None,
    offline: bool,
    *,
    title: str,
    layout: str,
    url: str,
    find: Callable[[Path], Path | None],
    download: Callable[[Path], None],
) -> Path:
    """The folder of a data set: in `data` or data/name when that is given, else in $PYASR_DATA/name, in the cache, or downloaded
    into it.

    find(folder) gives the folder that has the layout, or None; download(folder) makes it. title, layout (what is missing, in
    words) and url are for messages.

    Raises FileNotFoundError.
    """
    if data is not None:
        found = find(Path(data)) or find(Path(data) / name)
        if found is None:
            raise FileNotFoundError(f"{Path(data)} has no {layout} (the layout of {title})")
        return found
    cached = cache() / name
    shared = os.environ.get("PYASR_DATA")
    for folder in (Path(shared) / name, cached) if shared else (cached,):
        found = find(folder)
        if found is not None:
            return found
    if offline:
        raise FileNotFoundError(
            f"{title} is neither in $PYASR_DATA/{name} nor in {cached}, and --offline forbids a download: "
            f"unpack {url} and name its folder with --data"
        )
    if cached.exists():
        raise FileNotFoundError(f"{cached} has no {layout} (the layout of {title}): remove it and try again")
    download(cached)
    found = find(cached)
    if found is None:
        raise FileNotFoundError(f"the download from {url} has no {layout} (the layout of {title})")
    return found


def inside(folder: Path, name: str) -> Path:
    """folder/name for a relative name that cannot climb out of it, as the lists of a data set hold them; else ValueError."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or any(c in name for c in "\\:\0"):
        raise ValueError(f"{name!r} must be a relative path inside {folder}")
    return folder.joinpath(*path.parts)

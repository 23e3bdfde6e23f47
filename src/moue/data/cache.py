"""Parsed sets in the user's cache folder, so that a source is parsed once. Errors of the cache are ignored."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from moue.cache import cache_dir
from moue.data.readers import store
from moue.data.readers.archive import list_files
from moue.data.table import ImageTable
from moue.errors import DataError

#: Raised by one when a reader gives other rows of the same source than before.
READERS = 6


def cache_path(source: Path, votes: Path | None, options: dict[str, object]) -> Path | None:
    """The cache file of a source: the same path, size, time of change, options and versions give the same one.

    None where there is no cache folder and none can be made.
    """
    options = {**options, "version": (store.VERSION, READERS)}
    identity = _digest(f"{source.resolve()}|{votes.resolve() if votes else ''}|{sorted(options.items())}")
    state = _digest("".join(_state(p) for p in (source, votes) if p))
    try:
        return cache_dir("sets") / f"{identity}-{state}.npz"
    except OSError:
        return None


def load_cached(path: Path) -> ImageTable | None:
    """The cached table, or None where there is none that can be used."""
    try:
        return store.load(path)
    except (DataError, OSError):
        return None


def save_cached(table: ImageTable, path: Path) -> None:
    """Keep a table, and delete those of earlier states of the same source. Never fails."""
    with contextlib.suppress(OSError):
        store.save(table, path)
        for old in path.parent.glob(f"{path.stem.partition('-')[0]}-*.npz"):
            if old != path:
                old.unlink()


def _state(path: Path) -> str:
    files = [path] if path.is_file() else list_files(path)
    lines = []
    for file in files:
        stat = file.stat()
        lines.append(f"{file}|{stat.st_size}|{stat.st_mtime_ns}\n")
    return "".join(lines)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()

"""Which path an input gets below a folder of results: that of the sources' tree."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

from moue.runtime.inputs.source import Source
from moue.runtime.network.url import ADDRESS

#: A path with more bytes could be too long for file systems together with the folder of the results; its name is used
#: alone then.
MAX_PATH_BYTES = 2048


class Mirror:
    """Mirrors the tree of some sources.

    Args:
        sources: what the user gave: files, folders and globs. Paths are relative to the innermost folder that holds all
            of them; of a single folder, to the folder itself; those of a list on stdin alone ("-") to the working
            directory. Without sources, inputs have their names alone.
    """

    def __init__(self, sources: Iterable[str | os.PathLike[str]] = ()) -> None:
        sources = list(sources)
        folders = [
            _folder_of(name)
            for name in (os.fspath(source) for source in sources)
            if name != "-" and not ADDRESS.match(name)
        ]
        try:
            root = os.path.commonpath(folders) if folders else str(Path.cwd())
        except ValueError:  # Of different drives.
            root = str(Path.cwd())
        self._root = root if sources else None

    def parts(self, source: Source) -> list[str]:
        """The folders and the name of an input, which are names of files and never lead up: "sub", "clip.mp4"."""
        if source.kind == "camera":
            return [f"camera{source.name}"]
        if source.stem is not None:
            return [source.stem]
        if source.content is not None or self._root is None:
            return [_clean(Path(source.name).name)]
        path = absolute(source.name)
        try:
            inside = os.path.relpath(path, self._root)
        except ValueError:
            inside = os.pardir
        parts = Path(inside).parts
        # What lies elsewhere, as a line of a list may, keeps its whole path.
        if parts[:1] == (os.pardir,):
            parts = Path(path).parts[1:]
        names = [name for part in parts if (name := _clean(part))]
        return names if len(os.fsencode("/".join(names))) <= MAX_PATH_BYTES else names[-1:]


def absolute(path: str) -> str:
    """An absolute path, equal for all spellings of it. Links stay, but before ``..``, which leads up from there."""
    # A name from a list may hold a NUL, which no file name can.
    parts = Path(path.replace("\0", "")).parts
    up = len(parts) - parts[::-1].index(os.pardir) if os.pardir in parts else 0
    start = os.path.realpath(Path(*parts[:up])) if up else os.curdir
    return os.path.abspath(Path(start, *parts[up:]))  # noqa: PTH100 - Path.resolve follows links


def _folder_of(name: str) -> str:
    """The folder below which the inputs lie that a name stands for."""
    if os.path.isdir(name):  # noqa: PTH112 - Path.is_dir raises where a parent may not be read
        return absolute(name)
    if glob.has_magic(name) and not os.path.lexists(name):
        fixed = itertools.takewhile(lambda part: not glob.has_magic(part), Path(name).parts)
        return absolute(os.path.join(os.curdir, *fixed))  # noqa: PTH118 - an absolute part replaces the first
    return str(Path(absolute(name)).parent)


def _clean(name: str) -> str:
    return "" if name in (os.curdir, os.pardir) else name.replace("\0", "").strip("/\\")

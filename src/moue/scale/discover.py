"""What the sources of a run are: files and shards, on this machine or wherever fsspec reaches."""

from __future__ import annotations

import io
import itertools
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from moue.errors import UsageError, quoted
from moue.runtime.inputs.paths import expand, listed, natural, require_one
from moue.runtime.network.url import public_name
from moue.runtime.outputs.mirror import absolute
from moue.scale.filesystem import (
    RETRIES,
    failure_of,
    fetch,
    is_address,
    may_pass,
    open_filesystem,
    patiently,
    shown,
    unplanned,
    without_query,
)
from moue.signatures import IMAGE_SUFFIXES, SYSTEM_FILES, VIDEO_SUFFIXES

EntryKind = Literal["image", "video", "tar", "parquet", "skipped", "unreadable"]

#: Ends of the names of shards, and of lists, in lower case.
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
PARQUET_ENDINGS = (".parquet", ".pq")
LIST_ENDINGS = (".txt", ".lst", ".list")

#: Seconds for a server to say whether it has a file.
ANSWER = 10.0

#: WebDataset's notation of many shards: shard-{000000..000123}.tar
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")

#: An address without a place, or on the web without a host.
_NOWHERE = re.compile(r"[a-z][a-z0-9+.-]+://([?#].*)?|https?://[/?#].*", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """A file, and what to open it as."""

    name: str
    """A path or an address, with its secrets."""
    kind: EntryKind
    """A "tar" and a "parquet" hold many inputs; "skipped" and "unreadable" are not opened."""
    reason: str | None = None
    """Why it is skipped or unreadable."""


def require_sources(sources: Iterable[str]) -> None:
    """Refuse what does not end or cannot be read a second time, and sources of which not one is there.

    Raises:
        UsageError: in these cases; the message names the source.
    """
    names = list(sources)
    for name in names:
        if name == "-":
            raise UsageError("a list on stdin cannot be read again to go on. Save it as FILE.txt and give that.")
        if name.isdecimal() and not Path(name).exists():
            raise UsageError(f"{name} is a camera, which has no end. Type: moue predict {name}")
        if name.lower().startswith(("rtsp://", "rtsps://")):
            raise UsageError(f"{public_name(name)} is a stream, which has no end. Type: moue predict ADDRESS")
        if _NOWHERE.fullmatch(name):
            raise UsageError(f"{public_name(name)} is no address: {name.partition(':')[0]}://PLACE/PATH is needed.")
    if not any(is_address(name) or _BRACES.search(name) for name in names):
        require_one(names)


def discover(sources: Iterable[str], exclude: str | None = None) -> Iterator[Entry]:
    """The files of the sources, in order, each once.

    Args:
        sources: paths, folders, globs and addresses, where ``{000..123}`` stands for numbers; a ``.txt``, ``.lst`` or
            ``.list`` file has a path, folder or address a line, see
            :func:`moue.runtime.inputs.paths.listed`.
        exclude: a folder or address that is not searched, because results lie there.

    Raises:
        UsageError: for an address that cannot be used, and a list that cannot be read.
    """
    # On disk, as the names of many millions of files take too much memory.
    seen = sqlite3.connect("")
    try:
        seen.execute("create table seen (name text primary key) without rowid")
        for source in sources:
            for entry in _entries(source, exclude):
                name = entry.name if is_address(entry.name) else absolute(entry.name)
                key = name.encode("utf-8", "surrogateescape")
                if seen.execute("insert or ignore into seen values (?)", (key,)).rowcount:
                    yield entry
    finally:
        seen.close()


class Presence:
    """Finds out whether files are there, and asks a server that could not be reached no second time."""

    def __init__(self) -> None:
        self.unreachable: dict[str, str] = {}
        """The servers that could not be reached, and why."""
        self.not_asked = 0
        """Files of theirs that nobody asked for."""

    def why_not(self, entry: Entry) -> str | None:
        """Why an entry cannot be opened, as far as a look at its name and place tells; None where it can."""
        if entry.kind in ("skipped", "unreadable"):
            return entry.reason
        if not is_address(entry.name):
            return None if os.path.lexists(entry.name) else "no such file"
        server = "/".join(entry.name.split("/", 3)[:3])
        if server in self.unreachable:
            self.not_asked += 1
            return self.unreachable[server]
        filesystem, path = open_filesystem(entry.name)
        limit = {"timeout": ANSWER} if getattr(filesystem, "async_impl", False) else {}
        try:
            # Where the first server is down, it may be all the network: the others are asked once.
            patiently(filesystem, lambda: filesystem.info(path, **limit), 0 if self.unreachable else RETRIES)
        except Exception as error:
            reason = failure_of(error, entry.name)
            if may_pass(error):
                self.unreachable[server] = reason
            return reason
        return None


def kind_by_name(name: str) -> EntryKind | None:
    """What a file holds by the end of its name; None where that does not tell."""
    lower = name.lower()
    if lower.endswith(TAR_ENDINGS):
        return "tar"
    if lower.endswith(PARQUET_ENDINGS):
        return "parquet"
    suffix = PurePosixPath(lower).suffix
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "video" if suffix in VIDEO_SUFFIXES else None


def _entries(source: str, exclude: str | None, in_list: bool = False) -> Iterator[Entry]:
    folder = None if exclude is None or is_address(exclude) else Path(exclude)
    for name in _numbered(source):
        if not in_list and _is_list(name):
            for path in _listed_in(name):
                yield from _entries(path, exclude, in_list=True)
        elif is_address(name):
            yield from _remote(name, exclude, in_list)
        else:
            # In a list a path is a path, whatever letters it has.
            for found in expand(Path(name) if in_list else name, exclude=folder):
                kind = kind_by_name(found.name)
                if kind in ("tar", "parquet") and Path(found.name).is_file():
                    yield Entry(found.name, kind)
                elif found.name.lower().endswith(".zip") and Path(found.name).is_file():
                    yield Entry(found.name, "skipped", f"a ZIP archive is read as zip://::{absolute(found.name)}")
                elif found.kind in ("image", "video", "skipped", "unreadable"):
                    yield Entry(found.name, found.kind, found.reason)


def _is_list(name: str) -> bool:
    return without_query(name).lower().endswith(LIST_ENDINGS) and (is_address(name) or Path(name).is_file())


def _listed_in(name: str) -> Iterator[str]:
    """The paths and addresses that a list has."""
    # Names of files need not be valid text.
    with io.TextIOWrapper(_opened(name), encoding="utf-8-sig", errors="surrogateescape") as file:
        for line in file:
            if "\0" in line:
                raise UsageError(f"{shown(name)} is no list of paths or addresses, one a line: it holds binary data.")
            path = listed(line)
            if path is not None:
                yield path


def _opened(name: str) -> IO[bytes]:
    if not is_address(name):
        return open(name, "rb")
    filesystem, path = open_filesystem(name)
    try:
        return io.BytesIO(fetch(filesystem, path))
    except Exception as error:
        raise UsageError(f"{shown(name)} cannot be read: {failure_of(error, name)}.") from error


def _numbered(name: str) -> Iterator[str]:
    """The names that one with ``{000..123}`` stands for; zeros in front are kept."""
    match = None if Path(name).exists() else _BRACES.search(name)
    if match is None:
        yield name
        return
    first, last = int(match[1]), int(match[2])
    if first > last:
        raise UsageError(f"{quoted(name)}: the first number must not be above the last. Got {match[0]} instead.")
    for number in range(first, last + 1):
        yield from _numbered(f"{name[: match.start()]}{number:0{len(match[1])}d}{name[match.end() :]}")


def _remote(address: str, exclude: str | None, in_list: bool) -> Iterator[Entry]:
    """The files at an address: one, those of a folder, or those that a glob matches."""
    # What holds the file system, as an archive does: zip://folder::photos.zip
    head, *holders = address.split("::")
    within = "".join(f"::{holder}" for holder in holders)
    base = None if in_list else _above_pattern(head)
    filesystem, path = open_filesystem(address)
    try:
        paths = patiently(filesystem, lambda: _listed(filesystem, path, address, is_pattern=base is not None))
    except Exception as error:
        if may_pass(error):
            # Its files would never be in the plan.
            raise UsageError(unplanned(address, error)) from error
        yield Entry(address, "unreadable", f"it cannot be listed: {failure_of(error, address)}")
        return
    if paths is None:
        # A single file is opened as what its name says; nothing else tells.
        yield Entry(address, kind_by_name(without_query(address)) or "image")
        return
    if not paths:
        yield Entry(address, "unreadable", "nothing is there that could be read")
    base = base or f"{head.removesuffix('/')}/"
    above = open_filesystem(f"{base}{within}")[1].rstrip("/") + "/"
    own = open_filesystem(exclude) if exclude is not None and is_address(exclude) else None
    for found in paths:
        if own and own[0] == filesystem and found.startswith(f"{own[1].rstrip('/')}/"):
            continue
        inside = found.removeprefix(above)
        if any(part.startswith(".") or part.lower() in SYSTEM_FILES for part in PurePosixPath(inside).parts):
            continue
        # The path alone lacks the host or the account.
        name = f"{base}{inside}{within}" if inside != found or above == "/" else filesystem.unstrip_protocol(found)
        kind = kind_by_name(found)
        yield Entry(name, kind) if kind else Entry(name, "skipped", "by its name neither an image nor a video")


def _above_pattern(address: str) -> str | None:
    """The folder that holds what a pattern matches; None for an address that is no pattern."""
    name = address
    if address.lower().startswith(("http://", "https://")):
        # There may be brackets in the query, and around the number of the host.
        name = re.sub(r"(?<=//)\[.*?\]", lambda host: "_" * len(host[0]), address).partition("?")[0]
    match = re.search(r"[*[]", name)
    return None if match is None else address[: match.start()].rpartition("/")[0] + "/"


def _listed(filesystem: Any, path: str, address: str, *, is_pattern: bool) -> list[str] | None:
    """The files of a folder or glob; None for a single file."""
    if is_pattern:
        matched: dict[str, Any] = filesystem.glob(path, detail=True)
        if not matched and filesystem.isfile(path):
            return None
        files = ((filesystem.find(name) if info["type"] == "directory" else [name]) for name, info in matched.items())
        return sorted(dict.fromkeys(itertools.chain.from_iterable(files)), key=natural)
    # A web server lists folders at best as pages with links, which is tried where the address says that it is one. In
    # an object store, a name such as a.jpg is a file's: a list may have millions, and to ask for each takes hours.
    is_web = address.lower().startswith(("http://", "https://"))
    if not address.endswith("/") and (is_web or kind_by_name(path) in ("image", "video", "tar")):
        return None
    return sorted(filesystem.find(path), key=natural) if filesystem.isdir(path) else None

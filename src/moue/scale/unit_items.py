"""The inputs of a unit, one after the other."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

from moue.runtime.inputs.source import Kind, Source
from moue.scale.discover import Entry
from moue.scale.filesystem import failure_of, fetch, is_address, open_filesystem, patiently, reading_errors, shown
from moue.scale.item import MAX_BYTES, Item, source_of
from moue.scale.parquet_shard import ParquetColumns, parquet_items
from moue.scale.plan import Unit
from moue.scale.tar_shard import tar_items


def unit_items(unit: Unit, columns: ParquetColumns, *, patient: bool = False) -> Iterator[Item]:
    """The inputs of a unit, in the same order each time; each is opened before the next one is asked for.

    Args:
        unit: of the plan.
        columns: of Parquet files.
        patient: whether to raise what reading a shard raises, as the caller tries again; else there is an input that
            says so.
    """
    if unit.kind == "tar":
        yield from tar_items(unit.path, unit.start, unit.stop, inputs=unit.inputs, folder=unit.folder, patient=patient)
    elif unit.kind == "parquet":
        yield from parquet_items(unit.path, unit.start, unit.stop or 0, columns, folder=unit.folder, patient=patient)
    else:
        for entry in unit.files:
            yield _file(entry, unit.folder)


def _file(entry: Entry, folder: str) -> Item:
    name = shown(entry.name)

    @contextmanager
    def opened() -> Iterator[Source]:
        # A shard is never among the files.
        kind = cast(Kind, entry.kind)
        if entry.reason is not None:
            yield Source(name, kind, entry.reason)
        elif not is_address(entry.name):
            # A name that leads there has its file read ahead.
            elsewhere = folder not in ("", os.getcwd())  # noqa: PTH109 - the plan has a string
            yield Source(name, kind, content=Path(folder, entry.name) if elsewhere else None)
        else:
            with ExitStack() as stack:
                yield _fetched(entry, name, stack)

    return Item(name, None, opened)


def _fetched(entry: Entry, name: str, stack: ExitStack) -> Source:
    """A file of another machine; the stack closes it."""
    filesystem, path = open_filesystem(entry.name)
    try:
        if entry.kind == "video":
            # Too large for memory, and FFmpeg has to jump in it.
            target = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="moue-"))) / "film"
            fetch(filesystem, path, target)
            return Source(name, "video", content=stack.enter_context(open(target, "rb")))
        size = patiently(filesystem, lambda: filesystem.size(path))
        if size is not None and size > MAX_BYTES:
            return Source(name, "unreadable", f"it is larger than {MAX_BYTES:,} bytes")
        return source_of(name, fetch(filesystem, path))
    except reading_errors() as error:
        return Source(name, "unreadable", failure_of(error, entry.name))

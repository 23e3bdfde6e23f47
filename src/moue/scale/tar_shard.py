"""Shards as tar files, in WebDataset's layout: the files of one sample share the beginning of their name, its key."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any

from moue.damage import DECODING_ERRORS, reason
from moue.runtime.inputs.source import Source
from moue.scale.discover import kind_by_name
from moue.scale.filesystem import failure_of, is_address, open_filesystem, reading_errors, shown, without_query
from moue.scale.item import MAX_BYTES, Item, failed_item, source_of
from moue.signatures import HEAD, SYSTEM_FILES, kind_of

#: Bytes of a tar file's blocks.
BLOCK = 512
#: Why an archive is skipped.
NO_INPUTS = "an archive without images and videos"
#: Why what is left of an archive is not read.
CHANGED = "the archive has changed since the run was planned"


def cut_tar(path: str, size: Callable[[], int]) -> Iterator[tuple[int, int | None, int | None]]:
    """Cut a tar file into pieces, which several workers can read.

    A compressed file can only be read from its start, and of another machine's file the headers lie too far apart to
    look at all of them first: these are one piece.

    Args:
        path: of the file, or its address.
        size: tells how many inputs the next piece has at most.

    Yields:
        The byte where the piece begins and the one where it ends, or None for the file's end; and how many inputs it
        has, or None where that is not known. A file without any is one piece with none.
    """
    if is_address(path) or not path.lower().endswith(".tar"):
        yield 0, None, None
        return
    start = inputs = 0
    limit = size()
    with open(path, "rb") as file:
        for member in _members(file, 0, None):
            if isinstance(member, tarfile.TarInfo):
                if _head(file, member) is None:
                    continue
                if inputs >= limit:
                    yield start, member.offset, inputs
                    start, inputs, limit = member.offset, 0, size()
            # What damages the file counts as an input, as it has a row.
            inputs += 1
    yield start, None, inputs


def tar_items(
    path: str, start: int, stop: int | None, *, inputs: int | None = None, folder: str = "", patient: bool = False
) -> Iterator[Item]:
    """The images and videos of a piece of a tar file.

    Other files, such as a sample's labels, are no inputs; a hard link to an image or video is one that is skipped.
    Where the file is damaged, or has fewer inputs than it had, the last item says so; one without any image or video
    has one item, which is skipped.

    Args:
        path: of the file, or its address.
        start: the byte of its first header.
        stop: the byte before which headers begin; None for all.
        inputs: how many there were when it was cut; None where nobody knew.
        folder: where a relative path begins, if not in the working folder.
        patient: whether to raise what reading the archive itself raises, as the caller tries again.
    """
    name = shown(path)
    seen, is_whole = 0, True
    try:
        with _opened(path, folder) as file:
            for member in _members(file, start, stop):
                if isinstance(member, str):
                    is_whole = False
                    yield _failed(name, f"the archive is damaged: {member}; its other files are not read")
                elif (head := _head(file, member)) is not None:
                    seen += 1
                    yield _item(name, file, member, head, patient)
    except reading_errors() as error:
        if patient:
            raise
        is_whole = False
        yield _failed(name, f"the archive cannot be read: {failure_of(error, path)}")
    if is_whole and seen < (inputs or 0):
        yield _failed(name, f"{CHANGED}: {(inputs or 0) - seen:,} of its files are missing")
    elif is_whole and not seen and not start and stop is None:
        yield failed_item(name, NO_INPUTS, "skipped")


def _item(archive: str, file: Any, member: tarfile.TarInfo, head: bytes, patient: bool) -> Item:
    name = f"{archive}/{member.name}"
    folder, _, last = member.name.rpartition("/")
    key = "/".join(filter(None, (folder, last.partition(".")[0])))

    @contextmanager
    def opened() -> Iterator[Source]:
        if member.islnk():
            # What it leads to lies before it, where a compressed archive is not read again.
            yield Source(name, "skipped", f"a hard link to {member.linkname}, which is read under that name")
            return
        if member.size > MAX_BYTES:
            yield Source(name, "unreadable", f"it is larger than {MAX_BYTES:,} bytes")
            return
        try:
            # Never back: a compressed archive would be read from its start again.
            file.seek(member.offset_data + len(head))
            content = head + file.read(member.size - len(head))
        except reading_errors() as error:
            if patient:
                raise
            yield Source(name, "unreadable", reason(error))
            return
        if len(content) < member.size:
            yield Source(name, "unreadable", "the archive breaks off in it")
            return
        yield source_of(name, content)

    return Item(name, key, opened)


def _failed(name: str, why: str) -> Item:
    return failed_item(name, why, ends_shard=True)


@contextmanager
def _opened(path: str, folder: str) -> Iterator[Any]:
    """The tar file's content as an open file that can be rewound."""
    filesystem, inside = open_filesystem(path, folder)
    endings = {".tgz": "gzip", ".gz": "gzip", ".bz2": "bz2", ".xz": "xz"}
    compression = endings.get(os.path.splitext(without_query(path).lower())[1])  # noqa: PTH122 - may be an address
    with filesystem.open(inside, "rb", compression=compression) as file:
        yield file


def _members(file: IO[bytes], start: int, stop: int | None) -> Iterator[tarfile.TarInfo | str]:
    """The headers of files and of hard links to them, in order; at last a text where the archive is damaged.

    ``tarfile`` takes most damage for the archive's end.
    """
    file.seek(start)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                if stop is not None and member.offset >= stop:
                    return
                # It keeps all headers otherwise.
                tar.members = []  # type: ignore[attr-defined]
                if member.isreg() or member.islnk():
                    yield member
            end = tar.offset
    except DECODING_ERRORS as error:
        # tarfile does not expect, for one, a length of more digits than a number may have.
        yield reason(error) if isinstance(error, tarfile.TarError) else "a header is wrong"
        return
    if stop is not None:
        return
    size = file.seek(0, os.SEEK_END)
    file.seek(min(end, size))
    block = file.read(BLOCK)
    # Some programs leave out the empty blocks at the end.
    if end > size or (block and (len(block) < BLOCK or any(block))):
        yield "it breaks off" if end > size or len(block) < BLOCK else "a header is wrong"


def _head(file: IO[bytes], member: tarfile.TarInfo) -> bytes | None:
    """What was read of an image or video to tell that it is one, where its name does not; None for another file."""
    name = PurePosixPath(member.name).name
    if name.startswith(".") or name.lower() in SYSTEM_FILES:
        return None
    kind = kind_by_name(name)
    if kind is not None or not member.size:
        return b"" if kind in ("image", "video") else None
    file.seek(member.offset_data)
    head = file.read(min(HEAD, member.size))
    return head if kind_of(head) in ("image", "video") else None

"""Compressed files and archives, read in memory and within limits; nothing is ever extracted to the disk.

Limits that keep a small file from becoming a huge one: :data:`MAX_TOTAL` bytes over all members, :data:`MAX_MEMBER`
bytes in one image, and above :data:`RATIO_EXEMPT_BYTES` bytes at most :data:`MAX_RATIO` times the compressed
size. FER-2013's zip grows 3.2 times; a bomb of zeros grows 1,000 times.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from moue.errors import DataError

#: Bytes that all members of one archive, or one compressed CSV, may hold together.
MAX_TOTAL = 8 << 30
#: Bytes that one image may hold.
MAX_MEMBER = 256 << 20
#: Uncompressed bytes for each compressed one.
MAX_RATIO = 100
#: Below this many uncompressed bytes the ratio does not matter.
RATIO_EXEMPT_BYTES = 16 << 20

#: What reading a damaged archive raises, and RuntimeError (NotImplementedError among them) for one that is encrypted or
#: compressed by an unsupported method; besides the OSError of a missing file.
ARCHIVE_ERRORS = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError)

Kind = Literal["zip", "tar", "gzip", "plain"]


@dataclass(frozen=True)
class Member:
    """One file inside an archive or folder."""

    path: str
    """Relative, with forward slashes."""
    read: Callable[[], bytes]
    """Returns its content."""


def archive_kind(path: Path) -> Kind:
    """What a file is, by its first bytes, whatever its name.

    Raises:
        DataError: when the file is missing or empty.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Give a CSV, a zip, a folder of class folders, or 'synth'.") from None
    if not head:
        raise DataError(f"{path} is empty. Download or copy it again.")
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if head[:2] == b"\x1f\x8b":
        with gzip.open(path) as stream:
            try:
                inner = stream.read(512)
            except ARCHIVE_ERRORS as error:
                raise archive_error(path, error) from error
        return "tar" if inner[257:262] == b"ustar" else "gzip"
    return "tar" if head[257:262] == b"ustar" else "plain"


def archive_error(path: Path, error: BaseException) -> DataError:
    """The error for an archive that cannot be read to its end, or not at all."""
    if isinstance(error, RuntimeError):
        return DataError(
            f"{path} cannot be read ({error_text(error)}). Unpack it yourself and give the folder or file."
        )
    return DataError(f"{path} is truncated or damaged ({error_text(error)}). Download or copy it again.")


def error_text(error: BaseException) -> str:
    """The message of an exception, or its type without one."""
    return str(error).rstrip(".") or type(error).__name__


def escapes_archive(path: str) -> bool:
    """Whether the path of an archive's member would lie outside of the folder that it is extracted to."""
    pure = PurePosixPath(path.replace("\\", "/"))
    return pure.is_absolute() or ".." in pure.parts or ":" in (pure.parts[0] if pure.parts else "")


class SupportsRead(Protocol):
    """An open file, compressed or not."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes."""


class LimitedReader(io.RawIOBase):
    """A stream that refuses to give more than :data:`MAX_TOTAL` bytes, or to grow beyond :data:`MAX_RATIO`.

    Args:
        stream: what to read.
        name: for the error message.
        compressed: size of the compressed file in bytes.
        total: uncompressed size where the archive has it, for :attr:`fraction`.
        position: gives the position in the compressed file, in bytes, for :attr:`fraction` where the total is unknown.
    """

    def __init__(
        self,
        stream: SupportsRead,
        name: str,
        compressed: int,
        total: int | None = None,
        position: Callable[[], int] | None = None,
    ) -> None:
        self._stream, self._name, self._compressed, self._total = stream, name, max(compressed, 1), total
        self._position = position
        self._read = 0

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes.

        Raises:
            DataError: beyond the limits.
        """
        block = self._stream.read(size)
        self._read += len(block)
        check_decompressed_size(self._name, self._read, self._compressed)
        return block

    @property
    def fraction(self) -> float:
        """How much has been read, 0 to 1."""
        if self._total is not None:
            return min(1.0, self._read / max(self._total, 1))
        return min(1.0, self._position() / self._compressed) if self._position else 0.0


def check_decompressed_size(name: str, size: int, compressed: int) -> None:
    """Refuse a decompression bomb.

    Raises:
        DataError: when ``size`` bytes out of ``compressed`` are beyond the limits.
    """
    if size > MAX_TOTAL:
        raise DataError(f"{name} holds more than {MAX_TOTAL >> 30} GiB uncompressed, the limit. Import it in parts.")
    if size > RATIO_EXEMPT_BYTES and size > MAX_RATIO * compressed:
        raise DataError(
            f"{name} grows more than {MAX_RATIO} times when unpacked, as a decompression bomb does. "
            "If you trust it, unpack it yourself and give the folder or file."
        )


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip and check its whole directory against the limits.

    Raises:
        DataError: when it is damaged or a bomb.
    """
    try:
        archive = zipfile.ZipFile(path)
    except ARCHIVE_ERRORS as error:
        raise archive_error(path, error) from error
    infos = archive.infolist()
    total = sum(i.file_size for i in infos)
    try:
        # Members may share compressed bytes (an overlapping bomb), so the file's own size is what counts.
        check_decompressed_size(str(path), total, path.stat().st_size)
        for info in infos:
            check_decompressed_size(f"{path}, {info.filename}", info.file_size, info.compress_size)
    except DataError:
        archive.close()
        raise
    return archive


def zip_members(archive: zipfile.ZipFile) -> list[Member]:
    """The files of a zip, in its order; folders are left out."""

    def reader(info: zipfile.ZipInfo) -> Callable[[], bytes]:
        return lambda: archive.read(info)

    return [Member(i.filename, reader(i)) for i in archive.infolist() if not i.is_dir()]


def folder_members(root: Path) -> Iterator[Member]:
    """The files below a folder, sorted by path."""
    for path in list_files(root):
        yield Member(path.relative_to(root).as_posix(), path.read_bytes)


def list_files(root: Path) -> list[Path]:
    """The files below a folder, sorted; links to folders are followed, cyclic ones once."""
    found: list[Path] = []
    parents = {root: {os.path.realpath(root)}}
    for folder, inner, names in os.walk(root, followlinks=True):
        visited = parents.pop(Path(folder))
        found += [path for name in names if (path := Path(folder) / name).is_file()]
        for name in [*inner]:
            real = os.path.realpath(Path(folder) / name)
            if real in visited:
                inner.remove(name)
            else:
                parents[Path(folder) / name] = visited | {real}
    return sorted(found)

"""Compressed files and archives, read in memory and within limits; nothing is ever extracted to the disk.

Limits that keep a small file from becoming a huge one: :data:`MAX_TOTAL` bytes over all members, :data:`MAX_MEMBER`
bytes in one image, and above :data:`RATIO_EXEMPT_BYTES` bytes at most :data:`MAX_RATIO` times the compressed
size. FER-2013's zip grows 3.2 times; a bomb of zeros grows 1,000 times.
"""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from moue.damage import decoding, reason
from moue.errors import DataError, shortened
from moue.files import valid_text

#: Bytes that all members of one archive, or one compressed CSV, may hold together.
MAX_TOTAL = 8 << 30
#: Bytes that one image may hold.
MAX_MEMBER = 256 << 20
#: Uncompressed bytes for each compressed one.
MAX_RATIO = 100
#: Below this many uncompressed bytes the ratio does not matter.
RATIO_EXEMPT_BYTES = 16 << 20

Kind = Literal["zip", "tar", "gzip", "plain"]


class DamagedError(DataError):
    """A compressed file or an archive that cannot be read to its end, or not at all.

    Args:
        path: the file.
        reason: what its decoder says, without a full stop.
        supported: False for one that may be whole, but is encrypted or compressed in another way.
    """

    def __init__(self, path: Path | str, reason: str, supported: bool = True) -> None:
        what = "is truncated or damaged" if supported else "cannot be read"
        remedy = "Download or copy it again." if supported else "Unpack it yourself and give the folder or file."
        super().__init__(f"{path} {what} ({reason}). {remedy}")
        self.reason = reason


@contextmanager
def unpacking(path: Path | str) -> Iterator[None]:
    """A block in which a file is unpacked.

    Raises:
        DamagedError: for whatever its decoder raises, see :func:`moue.damage.decoding`.
    """
    with decoding(path, lambda reason: DamagedError(path, reason)):
        try:
            yield
        except RecursionError:
            raise
        except RuntimeError as error:  # zipfile's, NotImplementedError among them.
            raise DamagedError(path, reason(error), supported=False) from error


@dataclass(frozen=True)
class Member:
    """One file inside an archive or folder."""

    path: str
    """Relative, with forward slashes; valid text."""
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
        with unpacking(path), gzip.open(path) as stream:
            inner = stream.read(512)
        return "tar" if inner[257:262] == b"ustar" else "gzip"
    return "tar" if head[257:262] == b"ustar" else "plain"


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
            DamagedError: where it cannot be read on.
            DataError: beyond the limits.
        """
        with unpacking(self._name):
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
        DamagedError: when it cannot be opened, or a name or size in its directory is impossible.
        DataError: for a bomb.
    """
    with unpacking(path):
        archive = zipfile.ZipFile(path)
    infos = archive.infolist()
    if not all(info.filename and info.file_size >= 0 and info.compress_size >= 0 for info in infos):
        archive.close()
        raise DamagedError(path, "a member has no name, or no size")
    total = sum(i.file_size for i in infos)
    try:
        # Members may share compressed bytes (an overlapping bomb), so the file's own size is what counts.
        check_decompressed_size(str(path), total, path.stat().st_size)
        for info in infos:
            check_decompressed_size(f"{path}, {shortened(info.filename)}", info.file_size, info.compress_size)
    except DataError:
        archive.close()
        raise
    return archive


def zip_members(archive: zipfile.ZipFile) -> list[Member]:
    """The files of a zip, in its order; folders are left out."""

    def reader(info: zipfile.ZipInfo) -> Callable[[], bytes]:
        def read() -> bytes:
            with unpacking(info.filename):
                return archive.read(info)

        return read

    return [Member(i.filename, reader(i)) for i in archive.infolist() if not i.is_dir()]


def folder_members(root: Path) -> Iterator[Member]:
    """The files below a folder, sorted by path."""
    for path in list_files(root):
        yield Member(valid_text(path.relative_to(root).as_posix()), path.read_bytes)


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

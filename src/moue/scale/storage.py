"""Files on any file system that fsspec knows: this machine's, an object store's, a web server's."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from moue.damage import DECODING_ERRORS, decoding, reason
from moue.errors import MoueError, UsageError, require, shortened
from moue.files import atomic_write
from moue.runtime.network.url import ADDRESS, public_name
from moue.runtime.outputs.journal import PART, lock
from moue.runtime.outputs.mirror import absolute

#: How often something is fetched again after a failure, and the seconds before the first of these times; twice that
#: before each further one.
RETRIES, PAUSE = 3, 0.5
#: Seconds for connecting to a web server, and for its next bytes.
CONNECT, STALL = 15.0, 60.0
#: What to do where the notes of a run are damaged.
ANOTHER = "The run cannot go on: name another folder"
#: What to do about servers that cannot be reached.
ADVICE = "Check the address and your network, and type the same command."
#: Statuses of a web server that ask for another attempt, besides those from 500 on.
TRY_AGAIN = (408, 425, 429)
#: Small files that are read at a time.
READ_TOGETHER = 1000

#: The package that brings the driver of an address's scheme; the extra ``scale`` brings that of the web.
DRIVERS = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "adlfs"),
    **dict.fromkeys(("http", "https"), "'moue[scale]'"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    **{"hf": "huggingface_hub", "oci": "ocifs", "oss": "ossfs", "smb": "smbprotocol", "webdav": "webdav4"},
}

#: The exceptions of drivers that are no OSError, by the module that has them.
DRIVER_ERRORS = (
    ("aiohttp", "ClientError"),
    ("fsspec.exceptions", "FSTimeoutError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("azure.core.exceptions", "AzureError"),
    ("paramiko.ssh_exception", "SSHException"),
)

T = TypeVar("T")


def is_address(name: str) -> bool:
    """Whether a name is an address such as ``s3://bucket/folder``, and no path of this machine."""
    return ADDRESS.match(name) is not None and not os.path.lexists(name)


def shown(name: str) -> str:
    """A path, or an address without its secrets."""
    return public_name(name) if is_address(name) else name


def open_filesystem(address: str, folder: str = "") -> tuple[Any, str]:
    """fsspec's file system of a path or address, and the path in it.

    Args:
        address: the path or address.
        folder: where a relative path begins, if not in the working folder.

    Raises:
        MissingExtra: without fsspec.
        UsageError: for an unknown kind of address, or one whose driver is not installed; it names no secret.
    """
    fsspec = require("fsspec.core", "scale")
    if not is_address(address):
        # A path may have what means something in an address.
        return fsspec.filesystem("file"), absolute(str(Path(folder, address)))
    web: dict[str, Any] = {name: {"get_client": _web_client} for name in ("http", "https") if f"{name}://" in address}
    try:
        filesystem, path = fsspec.url_to_fs(address, **web)
    except ImportError as error:
        raise UsageError(f"{public_name(address)}: {_remedy(address, error)}") from None
    except ValueError as error:
        reason = shortened(str(error).replace(address, public_name(address)), 200)
        raise UsageError(f"{public_name(address)} is no address that fsspec reads: {reason}") from None
    return filesystem, str(path)


async def _web_client(**options: Any) -> Any:
    aiohttp = require("aiohttp", "scale")
    # Its own limit is five minutes for a whole file, which a film may well take.
    limit = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=STALL)
    return aiohttp.ClientSession(**{"timeout": limit, **options})


def _remedy(address: str, error: ImportError) -> str:
    scheme = address.partition("://")[0].lower()
    if scheme not in DRIVERS:
        return shortened(error, 200)
    return f"its driver is not installed. Type: pip install {DRIVERS[scheme]}"


def is_missing(error: BaseException) -> bool:
    """Whether an error says that a file does not exist, and not that nothing could be learned about it."""
    if not isinstance(error, FileNotFoundError):
        return False
    # Of a web server that cannot be reached, too, fsspec says that the file was not found.
    return not isinstance(_origin(error), _network_errors()) or _status(error) in (404, 410)


def may_pass(error: BaseException) -> bool:
    """Whether what failed may work in a while: a server cannot be reached or has too much to do, a connection broke."""
    settled = (PermissionError, IsADirectoryError, *DECODING_ERRORS)
    if is_missing(error) or isinstance(_origin(error), settled):
        return False
    status = _status(error)
    return status is None or status >= 500 or status in TRY_AGAIN


def failure_of(error: BaseException, address: str) -> str:
    """What an error of a file system says, as a part of a sentence that names no secret."""
    if is_missing(error):
        return "no such file"
    status, error = _status(error), _origin(error)
    if status is not None:
        # The whole text has the address as the server knows it.
        return shortened(f"the server answers {status} {getattr(error, 'message', '')}".rstrip(), 200)
    text = reason(error)
    if not str(error) and isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        text = "no answer in time"
    if "range requests" in str(error):
        return "the server sends files only as a whole (no range requests): save it and give its path"
    unreachable = "it cannot be reached: " if isinstance(error, _network_errors()) else ""
    return shortened(unreachable + text.replace(address, public_name(address)), 200)


def unplanned(address: str, error: BaseException) -> str:
    """Says that nobody knows what is at an address, so that a run cannot be planned."""
    return f"{shown(address)}: {failure_of(error, address)}. {ADVICE}"


def _origin(error: BaseException) -> BaseException:
    return error.__cause__ or error if isinstance(error, FileNotFoundError) else error


def _status(error: BaseException) -> int | None:
    """What a web server answered, where that is the error."""
    status = getattr(_origin(error), "status", None)
    return status if isinstance(status, int) and status else None


def reading_errors() -> tuple[type[Exception], ...]:
    """What reading a file of any file system raises, where the file is damaged or cannot be had."""
    return (*DECODING_ERRORS, *_failures())


def _failures() -> tuple[type[Exception], ...]:
    return (OSError, *_network_errors())


def _network_errors() -> tuple[type[Exception], ...]:
    loaded = ((sys.modules.get(module), name) for module, name in DRIVER_ERRORS)
    own = [getattr(module, name) for module, name in loaded if hasattr(module, name)]
    return (TimeoutError, asyncio.TimeoutError, *own)


class CannotWrite(MoueError):
    """The data set cannot be written to: a full disk, a folder that is gone."""


def fetch(filesystem: Any, path: str, target: Path | None = None) -> bytes:
    """A file's bytes, tried again where that fails; those of a large one go into the file ``target`` instead.

    Raises:
        CannotWrite: when the target does not fit on its disk.
        Exception: of any kind that a driver has, when all attempts failed.
    """
    if target is None:
        return bytes(patiently(filesystem, lambda: filesystem.cat_file(path)))
    try:
        patiently(filesystem, lambda: filesystem.get_file(path, str(target)))
    except OSError as error:
        if not _is_full(error):
            raise
        text = f"{tempfile.gettempdir()} has no room for a film of another machine"
        raise CannotWrite(f"{text}. Set TMPDIR to a folder with more, and type the same command.") from error
    return b""


def patiently(filesystem: Any, call: Callable[[], T], retries: int = RETRIES) -> T:
    """What a call of a file system returns, tried again where it fails for a reason that may pass.

    Raises:
        Exception: of any kind that a driver has, when all attempts failed.
    """
    if hasattr(filesystem, "retries"):
        # The drivers of S3 and Google's store do so themselves.
        retries = 0
    for attempt in range(retries + 1):
        try:
            return call()
        except Exception as error:
            if attempt == retries or not may_pass(error) or _is_full(error):
                raise
            pause(attempt)
    raise AssertionError


def pause(attempt: int) -> None:
    """Wait after a failed attempt, longer after each: not as long in all processes, which would come back together."""
    time.sleep(PAUSE * 2**attempt * random.uniform(0.75, 1.25))


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def writing_errors() -> Iterator[None]:
    """Run what writes the data set, and raise :class:`CannotWrite` where it cannot."""
    try:
        yield
    except _failures() as error:
        name, why = getattr(error, "filename", None), getattr(error, "strerror", None)
        text = f"{name}: {why}" if name and why else str(error)
        text = f"the data set cannot be written: {shortened(text, 200).rstrip('.')}"
        raise CannotWrite(f"{text}. What is there is complete, and the same command goes on.") from error


class Storage:
    """The folder that a run writes: each file whole or not at all.

    Args:
        place: a path or an address; made where it is missing.

    Raises:
        UsageError: when there is a file of that name, or the address cannot be used.
        OSError: when it cannot be made.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.folder = None if is_address(place) else Path(place)
        """The folder on this machine; None where it is another one's."""
        if self.folder is not None:
            if self.folder.exists() and not self.folder.is_dir():
                raise UsageError(f"{place} is a file; the data set needs a folder.")
            self._is_new = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
        self._filesystem, self._root = open_filesystem(place)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.place,)

    def names(self, folder: str = "") -> set[str]:
        """The names of the files in one of its folders; empty where there is none."""
        with suppress(FileNotFoundError):
            self._filesystem.invalidate_cache()
            found = self._asked(lambda: self._filesystem.ls(self._path(folder), detail=False))
            return {str(path).rstrip("/").rpartition("/")[2] for path in found}
        return set()

    def open(self, name: str) -> IO[bytes]:
        """A file to read."""
        file: IO[bytes] = self._filesystem.open(self._path(name), "rb")
        return file

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where it does not exist."""
        try:
            return bytes(self._asked(lambda: self._filesystem.cat_file(self._path(name))))
        except FileNotFoundError:
            return None

    @contextmanager
    def decoding(self, name: str, remedy: str) -> Iterator[None]:
        """Run what decodes one of its files.

        Raises:
            MoueError: when the file is damaged; names it and says what to do.
        """
        place = f"{shown(self.place)}/{name}"
        with decoding(place, lambda reason: MoueError(f"{place} is damaged: {reason}. {remedy}.")):
            yield

    def read_all(self, folder: str) -> Iterator[tuple[str, bytes]]:
        """The names of the files in one of its folders, and what they hold; drivers read many at a time."""
        names = sorted(name for name in self.names(folder) if not name.startswith("."))
        for start in range(0, len(names), READ_TOGETHER):
            paths = [self._path(f"{folder}/{name}") for name in names[start : start + READ_TOGETHER]]
            contents = self._filesystem.cat(paths, on_error="omit")
            yield from ((str(path).rpartition("/")[2], bytes(content)) for path, content in contents.items())

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        if self.folder is not None:
            return (self.folder / name).exists()
        self._filesystem.invalidate_cache()
        return bool(self._asked(lambda: self._filesystem.exists(self._path(name))))

    def remove(self, name: str) -> None:
        """Delete a file, if there is one.

        Raises:
            CannotWrite: when it cannot be deleted.
        """
        with writing_errors(), suppress(FileNotFoundError):
            self._filesystem.rm_file(self._path(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a file in one step.

        Raises:
            CannotWrite: when it cannot be written; nothing of it is left then.
        """
        with writing_errors(), self.writing(name) as part:
            part.write_bytes(content)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A temporary file of this machine, which becomes the file when the block ends; see
        :func:`moue.files.atomic_write`. Object stores take an upload whole or not at all."""
        if self.folder is not None:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as part:
                yield part
            return
        with tempfile.TemporaryDirectory(prefix="moue-") as folder:
            part = Path(folder) / "part"
            yield part
            self._filesystem.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
            patiently(self._filesystem, lambda: self._filesystem.put_file(str(part), self._path(name)))

    def discard(self) -> None:
        """Remove what a run has left that never began: its notes, and the folder where it made it."""
        if self.folder is None:
            with suppress(FileNotFoundError):
                self._filesystem.rm(self._path("_progress"), recursive=True)
            return
        shutil.rmtree(self.folder / "_progress", ignore_errors=True)
        if self._is_new:
            with suppress(OSError):
                self.folder.rmdir()

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Keep other processes of this machine from writing here, and remove what killed ones left of files.

        Raises:
            UsageError: when another process writes here.
        """
        if self.folder is None:
            yield
            return
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file:
            lock(file, self.folder)
            try:
                self._clean(self.folder)
                yield
            finally:
                self._clean(self.folder)

    @staticmethod
    def _clean(folder: Path) -> None:
        for left in (*folder.glob(".*"), *(folder / "_progress").rglob(".*")):
            if PART.fullmatch(left.name):
                left.unlink(missing_ok=True)

    def _asked(self, call: Callable[[], T]) -> T:
        """What a call of the file system returns.

        Raises:
            FileNotFoundError: when there is no such file.
            MoueError: when nobody knows.
        """
        try:
            return patiently(self._filesystem, call)
        except _failures() as error:
            if is_missing(error):
                raise FileNotFoundError(self.place) from None
            if self.folder is not None:
                raise
            raise MoueError(unplanned(self.place, error)) from error

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}".rstrip("/")

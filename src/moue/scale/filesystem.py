"""Addresses of files on any file system that fsspec knows: this machine's, an object store's, a web server's."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from moue.damage import DECODING_ERRORS, reason
from moue.errors import MoueError, UsageError, require, shortened
from moue.runtime.network.url import ADDRESS, public_name
from moue.runtime.outputs.mirror import absolute

#: How often something is fetched again after a failure, and the seconds before the first of these times; twice that
#: before each further one.
RETRIES, PAUSE = 3, 0.5
#: Seconds for connecting to a web server, and for its next bytes.
CONNECT, STALL = 15.0, 60.0
#: What to do about servers that cannot be reached.
ADVICE = "Check the address and your network, and type the same command."
#: Statuses of a web server that ask for another attempt, besides those from 500 on.
TRY_AGAIN = (408, 425, 429)

#: The package that brings the driver of an address's scheme; the extra ``scale`` brings that of the web.
DRIVERS = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "adlfs"),
    **dict.fromkeys(("http", "https"), "'moue[scale]'"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    **{"hf": "huggingface_hub", "oci": "ocifs", "oss": "ossfs", "smb": "smbprotocol", "webdav": "webdav4"},
}

#: Schemes of object stores, where a folder is a part of a name, and the first part of a path is a bucket.
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss"}
#: Schemes whose addresses have no query: all that follows is a name.
_NAMES = OBJECT_STORES | {"file", "local", "memory", "hf"}

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
    return public_name(name) if _may_have_query(name) else name


def without_query(name: str) -> str:
    """A path or address as far as it names a file, whose kind its end tells."""
    return name.partition("?")[0] if _may_have_query(name) else name


def _may_have_query(name: str) -> bool:
    scheme, _, rest = name.partition("://")
    # What looks like a secret in an address of the web is the name of a file here, as in s3://archive/user=ann/#1.jpg
    is_name = scheme.lower() in _NAMES and "::" not in rest and ":" not in rest.partition("/")[0]
    return is_address(name) and not is_name


def make_folder(filesystem: Any, path: str) -> None:
    """Make the folder that a file of this path needs. In an object store none does, and a bucket is not made."""
    protocols = filesystem.protocol
    if not OBJECT_STORES.intersection([protocols] if isinstance(protocols, str) else protocols):
        filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)


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
    return (*DECODING_ERRORS, *failures())


def failures() -> tuple[type[Exception], ...]:
    """What any file system raises where a file cannot be read or written, whatever it holds."""
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

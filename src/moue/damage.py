"""Damaged files: what a decoder raises at one becomes one sentence, here and nowhere else.

Zip, tar, gzip, CSV, JSON and safetensors files come from elsewhere, and any of their bytes may be wrong. Their decoders
raise some twenty types of exceptions at that. Each reader therefore runs them inside of :func:`decoding`, and nothing
else: an error of moue's own code keeps its traceback.
"""

from __future__ import annotations

import csv
import errno
import json
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from moue.errors import MoueError, shortened
from moue.files import naming_errors

#: What decoders raise at wrong bytes. Each type was seen, as zipfile's IndexError at an empty name, tarfile's
#: OverflowError at a length, and JSON's RecursionError. MemoryError is not among them: it says nothing about the file.
DECODING_ERRORS = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, csv.Error),
    *(EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, AssertionError),
)

#: Of JSON files; moue's own are nested at most six deep, and its largest lists a data set's rows.
MAX_JSON_BYTES, MAX_JSON_DEPTH = 64 << 20, 32

#: A text in quotes, which may hold brackets, or a bracket. The closing quote may be missing: a search that failed at it
#: would begin again at each quote of the rest.
_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)

#: System errors that a wrong number in a file leads to, as a seek to before its start; bz2's have no number at all.
#: All others, as a disk that fails, are no fault of the file's content.
_FROM_CONTENT = (None, errno.EINVAL, errno.EOVERFLOW, errno.EFBIG)


@contextmanager
def decoding(path: Path | str, error: Callable[[str], MoueError]) -> Iterator[None]:
    """Run a decoder, and raise ``error(reason)`` for whatever it raises at damaged content.

    Args:
        path: the file that is read.
        error: makes the exception; the reason is a part of a sentence, without a full stop.

    Raises:
        MoueError: as ``error`` makes it; one that is raised inside passes as it is.
        OSError: for a file that cannot be read at all; names it.
        MemoryError: for what does not fit in memory.
    """
    try:
        with naming_errors(Path(path)):
            yield
    except MoueError:
        raise
    except OSError as failure:
        if failure.errno not in _FROM_CONTENT:
            raise
        raise error(reason(failure)) from failure
    except DECODING_ERRORS as failure:
        raise error(reason(failure)) from failure


def reason(failure: BaseException) -> str:
    """What a decoder says, as a part of a sentence; its exception's type where it says nothing."""
    if isinstance(failure, RecursionError):
        return "it is nested too deeply"
    if isinstance(failure, KeyError) and failure.args:
        return f"{shortened(repr(failure.args[0]))} is missing"
    # OSError has it, and so have FFmpeg's errors.
    text = getattr(failure, "strerror", None) or str(failure)
    return shortened(text).rstrip(".") or type(failure).__name__


def lacks_memory(size: int) -> bool:
    """Whether so many bytes cannot be had, which libraries of C say neither clearly nor in one way."""
    try:
        np.empty(size, np.uint8)
    except (MemoryError, ValueError):
        return True
    return False


def read_json(path: Path, error: Callable[[str], MoueError], max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The object that a JSON file holds.

    Args:
        path: the file.
        error: as of :func:`decoding`.
        max_bytes: at most.

    Raises:
        MoueError: when it is damaged, larger than ``max_bytes``, nested more than :data:`MAX_JSON_DEPTH` deep, holds no
            object, or a number that is none (NaN); as ``error`` makes it.
        OSError: when it cannot be read, FileNotFoundError among them.
    """
    with decoding(path, error):
        with open(path, "rb") as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise error(f"it is larger than {max_bytes:,} bytes")
        return parse_json(content, error)


def parse_json(content: bytes, error: Callable[[str], MoueError]) -> dict[str, Any]:
    """The object that bytes hold as JSON.

    Raises:
        MoueError: when they are nested more than :data:`MAX_JSON_DEPTH` deep or hold no object; as ``error`` makes it.
        ValueError: when they are no JSON in UTF-8, or hold a number that is none (NaN).
    """
    text = content.decode("utf-8")
    if _depth(text) > MAX_JSON_DEPTH:
        raise error(f"it is nested more than {MAX_JSON_DEPTH} deep")
    values = json.loads(text, parse_constant=_refuse_constant)
    if not isinstance(values, dict):
        raise error(f"it holds a {type(values).__name__}, not an object")
    return values


def _depth(text: str) -> int:
    """How deep the lists and objects of a JSON text are nested."""
    deepest = depth = 0
    for match in _BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        deepest = max(deepest, depth)
    return deepest


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")

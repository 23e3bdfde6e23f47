"""The standard streams of a command, which may be closed (``>&-``), full (``>/dev/full``) or at their reader's end.

What is lost with stdout is the result, so a full one is an error. What is lost with stderr are remarks: the command
goes on without them, and its exit code says what became of it.
"""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from moue.files import naming_errors

#: What errors call stdout.
STDOUT = Path("standard output")

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Remarks(io.TextIOBase):
    """stderr, on which writing never fails.

    Args:
        stream: the stream itself, whose other attributes this one has too.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, or lose it."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, or lose it."""
        with suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Its descriptor."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of its text."""
        return self._stream.encoding


class _Output(io.BufferedWriter):
    """stdout, whose errors name it.

    The file below it is io.FileIO itself: with one whose write is Python code, an interrupt between that and the
    buffer's note of it would write twice.
    """

    def write(self, data: Any) -> int:
        with naming_errors(STDOUT):
            return super().write(data)

    def flush(self) -> None:
        with naming_errors(STDOUT):
            super().flush()


def prepare() -> None:
    """Make the three streams usable, whatever they are."""
    # A closed descriptor would be given to the next file that is opened, and what libraries print would go into it.
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    # A terminal is never full, and that of Windows is no plain file.
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        # Never unbuffered: argparse ignores what it cannot write, which is then left for :func:`lost_output` to find.
        lines = sys.stdout.line_buffering or sys.stdout.write_through
        output = _Output(io.FileIO(sys.stdout.fileno(), "wb", closefd=False))
        sys.stdout = io.TextIOWrapper(output, line_buffering=lines)
    # Pipes are UTF-8 everywhere. A file name that is not valid text is shown as an escape instead of ending the run.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = Remarks(sys.stderr)


def lost_output() -> OSError | None:
    """Write what is left on stdout.

    Returns:
        Why that is impossible, after which stdout discards what is written; None where all is well.
    """
    try:
        with naming_errors(STDOUT):
            sys.stdout.flush()
    except OSError as error:
        # What is still buffered must not fail again when Python ends.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None


def escaped(text: str) -> str:
    """A text without characters that move a terminal's cursor or end a line: they are shown as escapes."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)

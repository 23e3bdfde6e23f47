"""How far ``moue predict`` is: one live line on a terminal, elsewhere a line an input."""

from __future__ import annotations

import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from moue.cli.clock import clock
from moue.cli.streams import escaped
from moue.errors import shortened
from moue.preprocess import ImageArray
from moue.runtime.inputs.source import Source
from moue.runtime.outputs.sinks import ResultSink
from moue.runtime.results import Faces
from moue.runtime.workload import TimeLeft, Workload

#: Characters of the bar, and the seconds between two drawings.
_BAR, _INTERVAL = 16, 0.1
#: Columns that the name of an input has at least.
_NAME = 8


class RunProgress(ResultSink):
    """Takes the results of a run as the last sink, so that an input ends when all of its files are written.

    Args:
        loads: of all inputs, in order; None where they are not known, as those of a list on stdin.
        load_of: tells the workload of an input where ``loads`` does not.
        live: whether one line changes, instead of a line an input; None: where ``stream`` is a terminal.
        stream: where to write; stderr by default.
        now: a clock, in seconds.
    """

    def __init__(
        self,
        loads: Sequence[Workload] | None,
        load_of: Callable[[Source], Workload],
        *,
        live: bool | None = None,
        stream: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loads, self._load_of, self._now = loads, load_of, now
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty() if live is None else live
        self._left = TimeLeft(loads or ())
        self._begun = self._drawn = now()
        self._number = 0
        # Photos that were read, and the seconds that this took.
        self._photos, self._photo_seconds = 0, 0.0

    def begin(self, source: Source) -> None:
        """See :class:`ResultSink`."""
        self._load = self._load_of(source) if self._loads is None else self._loads[self._number]
        self._number += 1
        self._source, self._done, self._total = source, 0, self._load.amount
        self._faces, self._frames, self._tracks = 0, 0, set[int]()
        self._reason, self._is_read = "", False
        self._left.begin(self._load)
        self._draw()

    def report(self, done: int, total: int | None) -> None:
        """Of a video or stream, so many frames of the total are decoded."""
        self._done, self._total = done, total or self._total
        self._left.advance(done / self._total if self._total else 0.0, self._now() - self._begun)
        self._draw()

    def write(self, faces: Faces, image: ImageArray | None = None) -> None:
        """See :class:`ResultSink`."""
        if faces.timestamp is None:
            # Of a photo, or why a video ended.
            status = "" if faces.readable else faces.status
            self._faces, self._reason = len(faces), ": ".join(filter(None, (status, faces.reason)))
            self._is_read |= faces.readable
            return
        self._frames, self._is_read = self._frames + 1, True
        self._tracks.update(faces.tracks.tolist() if faces.tracks is not None else ())
        if self._source.kind == "camera":
            self._done += 1
            self._draw()

    def end(self) -> None:
        """See :class:`ResultSink`."""
        now = self._now()
        seconds = now - self._begun
        if self._is_read:
            self._left.advance(1.0, seconds)
            if self._source.kind == "image":
                self._photos, self._photo_seconds = self._photos + 1, self._photo_seconds + seconds
        # Where no face is found, a photo is searched in its three other orientations, too.
        self._left.end(1.0 if self._frames or self._faces else 4.0)
        if self._live:
            self._draw(force=True)
        elif self._loads is None or len(self._loads) > 1:
            left = "" if self._is_last or (left := self._time_left) is None else f"; {left}"
            self._print(f"[{self._count}] {escaped(self._source.name)}: {self._outcome(seconds)}{left}")
        self._begun = now

    def close(self, complete: bool = True) -> None:
        """See :class:`ResultSink`."""
        self._clear()

    def note(self, text: str) -> None:
        """Print a line of its own."""
        self._clear()
        self._print(text)

    @property
    def _count(self) -> str:
        return f"{self._number:,}" if self._loads is None else f"{self._number:,}/{len(self._loads):,}"

    @property
    def _is_last(self) -> bool:
        return self._loads is not None and self._number == len(self._loads)

    @property
    def _time_left(self) -> str | None:
        seconds = None if self._loads is None else self._left.seconds
        return None if seconds is None else f"{clock(seconds)} left"

    def _outcome(self, seconds: float) -> str:
        reason = escaped(shortened(self._reason, 200))
        if not self._is_read:
            return reason
        # Photos are read several at a time: the seconds since the line before are not those of one.
        found = _plural(self._faces, "face", "faces")
        if self._frames:
            people = _plural(len(self._tracks), "person", "people")
            found = f"{_plural(self._frames, 'frame', 'frames')}, {people} in {seconds:.1f} s"
        return "; ".join(filter(None, (found, reason)))

    @property
    def _columns(self) -> int:
        """Of the terminal that is drawn on, which stdout need not be."""
        with suppress(OSError, ValueError):
            if "COLUMNS" not in os.environ:
                return os.get_terminal_size(self._stream.fileno()).columns or 80
        return shutil.get_terminal_size().columns

    def _draw(self, force: bool = False) -> None:
        now = self._now()
        if not self._live or (now - self._drawn < _INTERVAL and not force):
            return
        self._drawn = now
        seconds = now - self._begun
        parts, details = [self._count, ""], list[str]()
        if self._loads is not None:
            filled = int(_BAR * self._left.share)
            parts[0] = f"[{'#' * filled}{'.' * (_BAR - filled)}] {self._count}"
        if self._source.kind == "image":
            if self._photos:
                parts.append(f"{self._photos / max(self._photo_seconds, 1e-9):.3g} photos/s")
        elif self._source.kind not in ("skipped", "unreadable"):
            parts.append(f"frame {self._done:,}" + (f"/{self._total:,}" if self._total else ""))
            present = self._left.present
            about = f" of about {clock(seconds + present)}" if self._total and present else ""
            details = [f"{clock(seconds)}{about}", f"{self._done / max(seconds, 1e-9):.3g} frames/s"]
        if left := self._time_left:
            details.append(left)
        width = self._columns - 1
        # The time left of the run is left out last, as it tells most.
        while len(details) > 1 and len("  ".join(parts + details)) + _NAME > width:
            del details[-2]
        parts += details
        parts[1] = _fitted(escaped(Path(self._source.name).name), max(_NAME, width - len("  ".join(parts))))
        self._stream.write(f"\r\x1b[K{'  '.join(parts)[:width]}")
        self._stream.flush()

    def _clear(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _print(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()


def _plural(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}" if number else f"no {one}"


def _fitted(name: str, columns: int) -> str:
    """A name in so many columns of a terminal: its beginning and its end. Letters of East Asia take two."""
    shown, room = name, columns
    while sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in shown) > columns:
        room -= 1
        shown = f"{name[: room // 2]}…{name[len(name) - (room - 1) // 2 :]}"
    return shown

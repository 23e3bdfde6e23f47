"""A progress bar on stderr: count, rate and time left. Nothing is drawn where stderr is not a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

from moue.cli.clock import clock

#: Seconds between two drawings.
INTERVAL = 0.1


class Progress:
    """A context manager whose instance is a :data:`moue.progress.Report`.

    Args:
        step: the text before the bar ("reading").
        unit: what is counted, for the rate ("images").
        stream: where to write; stderr by default, so that stdout holds the results alone.
    """

    def __init__(self, step: str, unit: str = "", stream: TextIO | None = None) -> None:
        self.step, self.unit = step, unit
        self.stream = stream or sys.stderr
        self.enabled = self.stream.isatty()
        self.start = self.drawn = time.monotonic()
        self.before = 0
        """What was done at ``start``; it does not count for the rate."""

    def __enter__(self) -> Progress:
        # Until the first report, and where there is none, the step alone says what goes on.
        self._draw(f"{self.step} …")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draw("")

    def __call__(self, done: int, total: int | None = None) -> None:
        """Report ``done`` of ``total``; drawn once an :data:`INTERVAL` at most."""
        now = time.monotonic()
        if not self.enabled or (now - self.drawn < INTERVAL and done != total):
            return
        self.drawn = now
        rate = self.rate(done, now)
        text = f"{self.step} {done}" + (f"/{total}" if total else "")
        if rate:
            text += f"  {rate:.3g} {self.unit}/s"
        if total and rate:
            filled = round(24 * done / total)
            seconds_left = (total - done) / rate
            bar = "#" * filled + "." * (24 - filled)
            text = f"{self.step} [{bar}] {done}/{total}  {rate:.3g} {self.unit}/s  {clock(seconds_left)} left"
        self._draw(text)

    def _draw(self, text: str) -> None:
        if self.enabled:
            self.stream.write(f"\r\x1b[K{text}")
            self.stream.flush()

    def rate(self, done: int, now: float) -> float:
        """What is done a second."""
        return (done - self.before) / max(now - self.start, 1e-9)

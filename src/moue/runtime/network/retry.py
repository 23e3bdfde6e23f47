"""Connecting again after a connection was lost: at growing intervals, up to a limit."""

from __future__ import annotations

import threading

#: Seconds before the first attempt, doubled with each further one, and the longest wait.
FIRST_DELAY, MAX_DELAY = 1.0, 30.0
#: How often in a row a connection is tried again.
RETRIES = 10


class Retry:
    """Counts the attempts in a row, and waits before each.

    Args:
        limit: how many there may be until one succeeds.
        closing: set to end a wait early.
    """

    def __init__(self, limit: int, closing: threading.Event) -> None:
        self.limit, self.attempt = limit, 0
        self._closing = closing

    @property
    def exhausted(self) -> bool:
        """Whether there may be no other attempt."""
        return self.attempt >= self.limit

    def announce(self, reason: str) -> str:
        """Count an attempt; the remark about it."""
        self.attempt += 1
        return f"{reason}; connecting again in {self._delay:.3g} s (attempt {self.attempt} of {self.limit})"

    def wait(self) -> bool:
        """Wait for the time of the announced attempt; False where there is to be none."""
        return not self._closing.wait(self._delay)

    def succeeded(self) -> None:
        """Start counting anew."""
        self.attempt = 0

    @property
    def _delay(self) -> float:
        return min(MAX_DELAY, FIRST_DELAY * 2.0 ** (self.attempt - 1))

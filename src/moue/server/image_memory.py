"""The bytes of images that are in memory, from their upload until their response."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from moue.server.batcher import Overloaded


class ImageMemory:
    """Limits the bytes of the images of all requests; for one event loop.

    Args:
        max_bytes: of all requests together. One request alone is never rejected here: it has a limit of its own.
        retry_after: seconds until requests in progress are likely to be done.
    """

    def __init__(self, max_bytes: int, retry_after: Callable[[], int]) -> None:
        self._max_bytes, self._retry_after = max_bytes, retry_after
        self._used = 0

    @property
    def used(self) -> int:
        """Bytes in memory."""
        return self._used

    @contextmanager
    def request(self, expected: int) -> Iterator[Callable[[int], None]]:
        """A request; its bytes are released at the end.

        Args:
            expected: bytes that it says it has; 0 where it does not say.

        Yields:
            A function that takes the number of bytes that arrived.

        Raises:
            Overloaded: when there is no room, at the beginning or for the bytes that arrive.
        """
        own = 0

        def take(size: int) -> None:
            nonlocal own
            self._check(size, own)
            self._used += size
            own += size

        # What is announced is checked and not reserved: a client that then sends nothing must not keep others out.
        self._check(expected, own)
        try:
            yield take
        finally:
            self._used -= own

    def _check(self, size: int, own: int) -> None:
        if self._used > own and self._used + size > self._max_bytes:
            raise Overloaded(self._retry_after(), "the server's memory for images is full")

"""A file on the web as an open file, which is read while the rest of it still comes."""

from __future__ import annotations

import http.client
import io
import os
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from moue.errors import Unreadable
from moue.runtime.network.http import connection_failure, open_http
from moue.runtime.network.retry import Retry
from moue.runtime.network.url import Url

_CHUNK = 1 << 16


class Download(io.RawIOBase):
    """A file that a thread fetches into a temporary file, from start to end; reading waits for what has not come yet.

    After a lost connection it goes on from where it was. The temporary file goes with this one.

    Args:
        url: its address.
        response: that of :func:`moue.runtime.network.http.open_http`, whose body has ``size`` bytes.
        size: of the file.
        retries: how often in a row a lost connection is made again.
        on_remark: called with one sentence, from another thread, when a connection is lost.
    """

    def __init__(
        self, url: Url, response: Any, size: int, *, retries: int, on_remark: Callable[[str], object] | None = None
    ) -> None:
        self.name, self.size = url.name, size
        self._failure: str | None = None
        self._interrupted = False
        self._url, self._response = url, response
        self._validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        self._on_remark = on_remark or (lambda text: None)
        self._file = tempfile.TemporaryFile(prefix="moue-")  # noqa: SIM115 - closed by close()
        self._received = self._position = 0
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._retry = Retry(retries, self._closing)
        self._thread = threading.Thread(target=self._run, name="moue-download", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str | None:
        """Why the rest of the file will not come; None where nothing is wrong.

        Raises:
            KeyboardInterrupt: when one came while a read was waiting, which FFmpeg would have swallowed there.
        """
        if self._interrupted:
            raise KeyboardInterrupt
        return self._failure

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, received or not."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read what is there; waits for the first byte of it. Where it will not come the file ends: see ``failure``."""
        with self._changed:
            try:
                self._changed.wait_for(self._has_news)
            except KeyboardInterrupt:
                self._interrupted = True
            if self.closed or self._interrupted:
                return 0
            self._file.seek(self._position)
            data = self._file.read(min(len(buffer), max(0, self._received - self._position)))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _has_news(self) -> bool:
        ended = self._received == self.size or self._failure is not None or self.closed
        return ended or self._interrupted or self._received > self._position

    def close(self) -> None:
        """Stop fetching, and delete the temporary file."""
        if not self.closed:
            self._closing.set()
            with self._changed:
                super().close()
                self._file.close()
                self._changed.notify_all()

    def _run(self) -> None:
        try:
            failure = self._receive()
            while failure is not None and not self._closing.is_set():
                if self._retry.exhausted:
                    break
                self._on_remark(self._retry.announce(f"{self.name}: {failure}"))
                failure = self._resume() if self._retry.wait() else None
        except (OSError, Unreadable) as error:
            failure = str(getattr(error, "strerror", None) or error)
        if failure is not None:
            with self._changed:
                self._failure = f"{failure}, after {self._received:,} of {self.size:,} bytes"
                self._changed.notify_all()

    def _receive(self) -> str | None:
        """Store what the response brings; returns why it ended too early, None where all is there."""
        try:
            with self._response:
                while self._received < self.size and not self._closing.is_set():
                    data = self._response.read1(_CHUNK)
                    if not data:
                        return "the server ended the connection"
                    self._retry.succeeded()
                    self._store(data)
        except (OSError, http.client.HTTPException) as error:
            if self._closing.is_set():
                return None
            return connection_failure(error)
        return None

    def _store(self, data: bytes) -> None:
        with self._changed:
            if self.closed:
                return
            self._file.seek(self._received)
            try:
                self._file.write(data)
            except OSError as error:
                raise Unreadable(f"it cannot be kept in {tempfile.gettempdir()}: {error.strerror}") from error
            self._received += len(data)
            self._changed.notify_all()

    def _resume(self) -> str | None:
        """Connect again, and receive what is missing."""
        headers = {"Range": f"bytes={self._received}-"}
        if self._validator:
            headers["If-Range"] = self._validator
        try:
            self._response = open_http(self._url, headers)
        except Unreadable as error:
            return str(error)
        from_start = self._response.status != http.client.PARTIAL_CONTENT
        expected = self.size if from_start else self.size - self._received
        if self._response.length != expected:
            self._response.close()
            raise Unreadable("the file changed on the server")
        try:
            # A server that cannot send a part sends all of it.
            skipped = 0
            while from_start and skipped < self._received:
                data = self._response.read1(min(_CHUNK, self._received - skipped))
                if not data:
                    return "the server ended the connection"
                skipped += len(data)
        except (OSError, http.client.HTTPException) as error:
            return connection_failure(error)
        return self._receive()

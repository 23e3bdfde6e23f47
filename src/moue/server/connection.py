"""HTTP connections that are closed when no complete request head arrives in time."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Seconds for the head of a request, counted from the start of the connection or the first bytes of the request.
REQUEST_HEAD_TIMEOUT = 10.0


class TimeoutProtocol(H11Protocol):
    """uvicorn's protocol with a timeout for the request head: idle connections would use up the connection limit."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer."""
        super().connection_made(transport)
        self._update_timer()

    def data_received(self, data: bytes) -> None:
        """Pass data on, and stop the timer once the head is complete."""
        super().data_received(data)
        self._update_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        super().connection_lost(exc)
        self._stop_timer()

    def _update_timer(self) -> None:
        # To h11 the client is idle until the head of its request is complete.
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()
        elif self._timer is None:
            # A graceful close would wait for the client once more, over TLS for half a minute.
            self._timer = self.loop.call_later(REQUEST_HEAD_TIMEOUT, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

"""HTTP connections that have to say what they want."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Within which the head of a request must be whole, counted from the connection's start or the request's first bytes.
SECONDS = 10.0


class Connection(H11Protocol):
    """uvicorn's, closed where the head of a request is late: silent connections would take all the places."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take in a piece of a request."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._forget()

    def _watch(self) -> None:
        # To h11 the other side is idle until the head of its request is whole.
        if self.conn.their_state is not h11.IDLE:
            self._forget()
        elif self._late is None:
            # Closing in good order would wait for the other side once more, over TLS for half a minute.
            self._late = self.loop.call_later(SECONDS, self.transport.abort)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

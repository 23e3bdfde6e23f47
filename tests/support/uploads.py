"""What the server's tests send, how they start a server, and how they wait for its jobs."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image

from moue.runtime.recognizer import Recognizer
from moue.server.app import create_app
from moue.server.fair_queue import FairQueue, QueuedImage
from moue.server.jobs import JobQueue
from moue.server.run import listen, uvicorn_config
from moue.server.settings import Settings

Start = Callable[..., TestClient]
FINISHED = ("done", "failed", "cancelled")


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextmanager
def running(settings: Settings) -> Iterator[int]:
    """A server that listens, in this process; its port."""
    with listen("127.0.0.1", 0) as listener:
        server = _Server(uvicorn_config(create_app(settings), settings))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            assert server.ready.wait(60), "the server does not start"
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)


class JobEvents:
    """Tells when a video job of a server in this process was run or its files were deleted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._events = threading.Semaphore(0)
        for name in ("_run", "_delete"):
            monkeypatch.setattr(JobQueue, name, self._observed(getattr(JobQueue, name)))

    def _observed(self, method: Callable[..., None]) -> Callable[..., None]:
        def observed(*args: Any) -> None:
            try:
                method(*args)
            finally:
                self._events.release()

        return observed

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until something is the case, looking again after each event."""
        while not condition():
            assert self._events.acquire(timeout=60), "nothing happened for a minute"


class QueueEvents:
    """Tells when images enter and leave the queue of a server in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.added, self.removed = threading.Semaphore(0), threading.Semaphore(0)
        self.order: list[str] = []
        """Names of the images, as they were queued."""
        self.clients: list[str] = []
        """Who sent each."""
        add, remove = FairQueue.add, FairQueue.remove

        def observed_add(queue: FairQueue, image: QueuedImage) -> None:
            add(queue, image)
            self.order.append(image.name)
            self.clients.append(image.client)
            self.added.release()

        def observed_remove(queue: FairQueue, images: Sequence[QueuedImage]) -> None:
            remove(queue, images)
            for _ in images:
                self.removed.release()

        monkeypatch.setattr(FairQueue, "add", observed_add)
        monkeypatch.setattr(FairQueue, "remove", observed_remove)

    def wait(self, events: threading.Semaphore, n: int = 1) -> None:
        """Wait until n more images have entered or left."""
        for _ in range(n):
            assert events.acquire(timeout=60), "nothing happened for a minute"


class BatchGate:
    """Holds recognizers before they read a batch, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        """Images of each batch."""
        self.first = 1
        """Number of the first batch that is held."""
        self._reached, self._opened = threading.Event(), threading.Event()
        # Images come as sources, frames of videos as arrays.
        for name in ("stream", "batch"):
            monkeypatch.setattr(Recognizer, name, self._held(getattr(Recognizer, name)))

    def _held(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def held(recognizer: Recognizer, images: Any, **options: Any) -> Any:
            self.sizes.append(len(images))
            if len(self.sizes) >= self.first:
                self._reached.set()
                self._opened.wait(60)
            return method(recognizer, images, **options)

        return held

    def wait_reached(self) -> None:
        assert self._reached.wait(60), "no batch is read"

    def open(self) -> None:
        self._opened.set()

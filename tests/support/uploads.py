"""What the server's tests send, and how they start one."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi.testclient import TestClient
from PIL import Image

from moue.server.app import create_app
from moue.server.run import _bound, configured
from moue.server.settings import Settings

Start = Callable[..., TestClient]


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@contextmanager
def running(settings: Settings) -> Iterator[int]:
    """A server that listens, in this process; its port."""
    with _bound("127.0.0.1", 0) as door:
        server = uvicorn.Server(configured(create_app(settings), settings))
        thread = threading.Thread(target=server.run, args=([door],))
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.02)
            yield door.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)

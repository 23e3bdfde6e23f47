"""One queue in front of the graphs: the images of all requests wait in it and are read in batches."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from fastapi import HTTPException

from moue.errors import Unreadable
from moue.image_format import identify
from moue.runtime.detect import WholeImage
from moue.runtime.inputs.source import Source
from moue.runtime.recognizer import Recognizer
from moue.runtime.results import Faces

#: Images per batch. Cropped faces go through the graph together, which pays. Where faces must be detected first,
#: detection takes most of the time, and a long batch would only delay its first image.
MAX_BATCH_CROPS, MAX_BATCH_IMAGES = 64, 4
#: Pixels per batch, but for a single image: decoding a batch must not delay the others' first image by seconds.
MAX_BATCH_PIXELS = 50_000_000


class Overloaded(HTTPException):
    """The server cannot take this request now: 429.

    Args:
        retry_after: seconds after which to try again.
        reason: what it is busy with.
    """

    def __init__(self, retry_after: int, reason: str = "the server is busy") -> None:
        super().__init__(429, f"{reason}. Try again in {retry_after} s.", {"retry-after": str(retry_after)})


class _QueuedImage(NamedTuple):
    recognizer: Recognizer
    content: bytes
    name: str
    pixels: int
    result: Future[Faces]


class Batcher:
    """Reads images first in, first out, in batches of what is queued; safe to share between threads.

    Images are decoded when their batch is read, one at a time, so that neither queue nor batch hold many pixels.

    Args:
        max_queue: images that may be queued.
        max_queue_seconds: seconds of work that may be queued or in progress.
        observe: called with the number of images of each batch.
    """

    def __init__(
        self, max_queue: int, max_queue_seconds: float, observe: Callable[[int], None] = lambda n: None
    ) -> None:
        self._max_queue, self._max_queue_seconds, self._observe = max_queue, max_queue_seconds, observe
        self._queue: deque[_QueuedImage] = deque()
        self._changed = threading.Condition()
        self._open = True
        #: The mean of the first batches, then a moving average.
        self._seconds_per_image = 0.0
        self._batches = 0
        self._in_progress = 0
        self._worker = threading.Thread(target=self._run, name="moue-batcher", daemon=True)
        self._worker.start()

    def __len__(self) -> int:
        return len(self._queue)

    async def read(self, recognizer: Recognizer, images: Sequence[tuple[str, bytes]], timeout: float) -> list[Faces]:
        """Queue images and wait for their results.

        Args:
            recognizer: reads them.
            images: name and content of each.
            timeout: seconds to wait.

        Returns:
            A result for each image, in order; that of an unreadable image has its status and reason.

        Raises:
            Overloaded: when too much is queued already. A request on its own is never rejected.
            HTTPException: 503 after the timeout, or when the server shuts down; the images that are left are cancelled.
        """
        pixels = await asyncio.to_thread(lambda: [_count_pixels(content) for _, content in images])
        queued = [
            _QueuedImage(recognizer, content, name, count, Future())
            for (name, content), count in zip(images, pixels, strict=True)
        ]
        self._submit(queued)
        results = [asyncio.wrap_future(image.result) for image in queued]
        try:
            return await asyncio.wait_for(asyncio.gather(*results), timeout)
        except (TimeoutError, asyncio.TimeoutError):
            detail = f"this took longer than {timeout:g} s. Send fewer or smaller images."
        except asyncio.CancelledError:
            # The client disconnected, or the queue was closed.
            if not any(result.cancelled() for result in results):
                raise
            detail = "the server is shutting down."
        raise HTTPException(503, detail, {"retry-after": "5"})

    def close(self) -> None:
        """Stop, and cancel what is queued."""
        with self._changed:
            self._open = False
            for image in self._queue:
                image.result.cancel()
            self._queue.clear()
            self._changed.notify()
        self._worker.join(timeout=10)

    def _submit(self, queued: Sequence[_QueuedImage]) -> None:
        with self._changed:
            waiting = len(self._queue)
            seconds = (waiting + self._in_progress) * self._seconds_per_image
            if seconds > self._max_queue_seconds or (waiting and waiting + len(queued) > self._max_queue):
                raise Overloaded(max(1, round(seconds)))
            if not self._open:
                raise Overloaded(5)
            self._queue.extend(queued)
            self._changed.notify()

    def _run(self) -> None:
        while batch := self._next_batch():
            start = time.perf_counter()
            _read_batch(batch)
            seconds = (time.perf_counter() - start) / len(batch)
            self._batches += 1
            self._seconds_per_image += max(0.2, 1 / self._batches) * (seconds - self._seconds_per_image)
            self._in_progress = 0
            self._observe(len(batch))

    def _next_batch(self) -> list[_QueuedImage]:
        """The next images in the queue, all for one recognizer; none when closed."""
        with self._changed:
            while True:
                while self._open and not self._queue:
                    self._changed.wait()
                if not self._open:
                    return []
                if batch := self._take_batch():
                    self._in_progress = len(batch)
                    return batch

    def _take_batch(self) -> list[_QueuedImage]:
        """Takes images for one recognizer from the queue, up to the limits of a batch; leaves out cancelled ones."""
        recognizer = self._queue[0].recognizer
        limit = MAX_BATCH_CROPS if isinstance(recognizer.detector, WholeImage) else MAX_BATCH_IMAGES
        batch: list[_QueuedImage] = []
        pixels = 0
        while self._queue and len(batch) < limit and self._queue[0].recognizer is recognizer:
            if batch and pixels + self._queue[0].pixels > MAX_BATCH_PIXELS:
                break
            image = self._queue.popleft()
            if image.result.set_running_or_notify_cancel():
                batch.append(image)
                pixels += image.pixels
        return batch


def _read_batch(batch: Sequence[_QueuedImage]) -> None:
    recognizer = batch[0].recognizer
    try:
        # One image after the other is decoded, and its pixels are released as soon as its faces are cropped.
        results = list(recognizer.stream([Source(image.name, "image", content=image.content) for image in batch]))
    except Exception as error:
        if len(batch) == 1:
            batch[0].result.set_exception(error)
            return
        # One image may have caused it: read each on its own, so that only that one fails.
        for image in batch:
            _read_batch([image])
        return
    for image, faces in zip(batch, results, strict=True):
        image.result.set_result(faces)


def _count_pixels(content: bytes) -> int:
    """An image's width × height as its header gives it; 0 where it cannot be read, which will be quick to find out."""
    try:
        width, height = identify(io.BytesIO(content)).size
    except Unreadable:
        return 0
    return int(width * height)

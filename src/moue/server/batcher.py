"""One queue in front of the graphs: the images of all requests wait in it and are read in batches."""

from __future__ import annotations

import asyncio
import io
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fastapi import HTTPException

from moue.errors import Unreadable
from moue.image_format import identify
from moue.runtime.detect import WholeImage
from moue.runtime.inputs.source import Source
from moue.runtime.recognizer import Recognizer
from moue.runtime.results import Faces
from moue.server.fair_queue import FairQueue, QueuedImage
from moue.server.settings import Settings
from moue.server.work import WorkMeter

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


class _Reading(NamedTuple):
    """The batch in progress."""

    start: float
    seconds: float
    """What it is likely to take."""


class Batcher:
    """Reads the images of all clients in turn, in batches of what is queued; safe to share between threads.

    Images are decoded when their batch is read, one at a time, so that neither queue nor batch hold many pixels.

    Args:
        settings: how much may wait, and for how long a batch may be read.
        observe: called with the number of images of each batch.
    """

    def __init__(self, settings: Settings, observe: Callable[[int], None] = lambda n: None) -> None:
        self._settings, self._observe = settings, observe
        self._queue, self._work = FairQueue(), WorkMeter()
        self._changed = threading.Condition()
        self._open = True
        self._reading: _Reading | None = None
        self._worker = threading.Thread(target=self._run, name="moue-batcher", daemon=True)
        self._worker.start()

    def __len__(self) -> int:
        return len(self._queue)

    def check_health(self) -> None:
        """Check that images are read.

        Raises:
            HTTPException: 503 where one batch takes so long that the server must be stuck, or when it shuts down.
        """
        if not self._open:
            raise HTTPException(503, "the server is shutting down.", {"retry-after": "5"})
        limit = self._settings.stall_timeout_seconds
        if self._seconds_until_stalled() <= 0:
            raise HTTPException(
                503, f"the server is stuck: no image was read for {limit:g} s. Restart it.", {"retry-after": "5"}
            )

    def seconds_of_work(self) -> float:
        """Seconds until everything that waits or is being read now is likely to be done."""
        with self._changed:
            seconds = sum(self._work.seconds(image.recognizer, image.pixels) for image in self._queue)
            if self._reading is not None:
                seconds += max(0.0, self._reading.start + self._reading.seconds - time.monotonic())
            return seconds

    def retry_after(self) -> int:
        """The same in whole seconds, as a rejected client is told."""
        return max(1, math.ceil(self.seconds_of_work()))

    def admit(self, client: str, n: int = 1) -> None:
        """Whether images could be queued now.

        They can where the queue is empty, where ``max_queue`` images wait with them at most, where all that wait take
        ``max_queue_seconds`` at most, and where none of this client wait: nobody is kept out by others.

        Args:
            client: who sends them.
            n: number of images.

        Raises:
            Overloaded: when too many wait already.
            HTTPException: 503 when the server is stuck or shuts down.
        """
        with self._changed:
            self._admit(client, n)

    async def read(self, recognizer: Recognizer, images: Sequence[tuple[str, bytes]], client: str) -> list[Faces]:
        """Queue images and wait for their results. When this is cancelled, they leave the queue.

        Args:
            recognizer: reads them.
            images: name and content of each.
            client: who sent them.

        Returns:
            A result for each image, in order; that of an unreadable image has its status and reason.

        Raises:
            Overloaded: as :meth:`admit`.
            HTTPException: 503 when the server is stuck or shuts down while they wait. Waiting for others to be read is
                no reason.
        """
        pixels = await asyncio.to_thread(lambda: [_count_pixels(content) for _, content in images])
        queued = self._submit(recognizer, images, pixels, client)
        try:
            results = [asyncio.wrap_future(image.result) for image in queued]
            for result in results:
                # An error that nobody waits for any more would be logged, with what a client sent.
                result.add_done_callback(lambda done: done.cancelled() or done.exception())
            waiting: set[asyncio.Future[Faces]] = set(results)
            while waiting:
                _, waiting = await asyncio.wait(waiting, timeout=max(0.0, self._seconds_until_stalled()))
                if waiting:
                    self.check_health()
            if any(result.cancelled() for result in results):
                self.check_health()
            return [result.result() for result in results]
        finally:
            self._cancel(queued)

    def close(self) -> None:
        """Stop, and cancel what is queued."""
        with self._changed:
            self._open = False
            for image in self._queue.clear():
                image.result.cancel()
            self._changed.notify()
        self._worker.join(timeout=10)

    def _seconds_until_stalled(self) -> float:
        reading, limit = self._reading, self._settings.stall_timeout_seconds
        return limit if reading is None else reading.start + limit - time.monotonic()

    def _admit(self, client: str, n: int) -> None:
        self.check_health()
        waiting = len(self._queue)
        if not waiting or waiting + n <= self._settings.max_queue or not self._queue.waits(client):
            return
        if self.seconds_of_work() > self._settings.max_queue_seconds:
            raise Overloaded(self.retry_after(), f"the server is busy: {waiting} images wait to be read")

    def _submit(
        self, recognizer: Recognizer, images: Sequence[tuple[str, bytes]], pixels: Sequence[int], client: str
    ) -> list[QueuedImage]:
        with self._changed:
            self._admit(client, len(images))
            queued = [
                QueuedImage(recognizer, name, content, count, client, self._work.seconds(recognizer, count))
                for (name, content), count in zip(images, pixels, strict=True)
            ]
            for image in queued:
                self._queue.add(image)
            self._changed.notify()
        return queued

    def _cancel(self, images: Sequence[QueuedImage]) -> None:
        """Take those of these images that still wait out of the queue."""
        with self._changed:
            if waiting := [image for image in images if image.result.cancel()]:
                self._queue.remove(waiting)

    def _run(self) -> None:
        while batch := self._next_batch():
            start = time.monotonic()
            _read_batch(batch)
            seconds = time.monotonic() - start
            with self._changed:
                self._reading = None
                self._work.observe(batch[0].recognizer, [image.pixels for image in batch], seconds)
            self._observe(len(batch))

    def _next_batch(self) -> list[QueuedImage]:
        """The next images in the queue, all for one recognizer; none when closed."""
        with self._changed:
            while True:
                while self._open and not self._queue:
                    self._changed.wait()
                if not self._open:
                    return []
                if batch := self._take_batch():
                    seconds = sum(self._work.seconds(image.recognizer, image.pixels) for image in batch)
                    self._reading = _Reading(time.monotonic(), seconds)
                    return batch

    def _take_batch(self) -> list[QueuedImage]:
        """Takes images for one recognizer from the queue, up to the limits of a batch; leaves out cancelled ones."""
        recognizer = self._queue.first().recognizer
        limit = MAX_BATCH_CROPS if isinstance(recognizer.detector, WholeImage) else MAX_BATCH_IMAGES
        batch: list[QueuedImage] = []
        pixels = 0
        while self._queue and len(batch) < limit and self._queue.first().recognizer is recognizer:
            if batch and pixels + self._queue.first().pixels > MAX_BATCH_PIXELS:
                break
            image = self._queue.take()
            if image.result.set_running_or_notify_cancel():
                batch.append(image)
                pixels += image.pixels
        return batch


def _read_batch(batch: Sequence[QueuedImage]) -> None:
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

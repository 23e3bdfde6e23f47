"""The order in which images are read: first in, first out for each client, and clients take turns."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count

from moue.runtime.recognizer import Recognizer
from moue.runtime.results import Faces


@dataclass(eq=False)
class QueuedImage:
    """An image that waits to be read."""

    recognizer: Recognizer
    name: str
    content: bytes
    pixels: int
    """Width × height, as the header says."""
    client: str
    """Who sent it."""
    seconds: float
    """What it is likely to take."""
    result: Future[Faces] = field(default_factory=Future)


class FairQueue:
    """Start-time fair queueing (Goyal, Vin and Cheng, "Start-time Fair Queuing", 1996), with seconds of work as cost.

    The images of one client come in their order. Where several clients wait, each gets the same share of the work, so
    that one who sends hundreds of large images delays the photo of another by one batch, not by hundreds.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, QueuedImage]] = []
        self._number = count()
        #: The start of the image that was taken last, on a clock that counts work.
        self._now = 0.0
        #: When the last image of a client will have had its share of the work, on the same clock.
        self._finish: dict[str, float] = {}
        self._waiting: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[QueuedImage]:
        """The images, in no particular order."""
        return (image for _, _, image in self._heap)

    def waits(self, client: str) -> bool:
        """Whether an image of this client waits."""
        return self._waiting[client] > 0

    def add(self, image: QueuedImage) -> None:
        """Queue an image."""
        start = max(self._now, self._finish.get(image.client, 0.0))
        self._finish[image.client] = start + image.seconds
        self._waiting[image.client] += 1
        heapq.heappush(self._heap, (start, next(self._number), image))

    def first(self) -> QueuedImage:
        """The image whose turn it is; there must be one."""
        return self._heap[0][2]

    def take(self) -> QueuedImage:
        """Remove the image whose turn it is, and return it; there must be one."""
        self._now, _, image = heapq.heappop(self._heap)
        self._waiting -= Counter((image.client,))
        # Clients whose share is behind the clock start anew, like those that never were here.
        self._finish = {client: finish for client, finish in self._finish.items() if finish > self._now}
        return image

    def remove(self, images: Collection[QueuedImage]) -> None:
        """Remove those of these images that still wait."""
        gone = set(images)
        self._waiting -= Counter(image.client for image in self if image in gone)
        self._heap = [entry for entry in self._heap if entry[2] not in gone]
        heapq.heapify(self._heap)

    def clear(self) -> list[QueuedImage]:
        """Remove all images, and return them."""
        images = list(self)
        self.remove(images)
        return images

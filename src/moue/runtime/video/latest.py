"""Images that come faster than they are read: the newest one wins, and reading never lags behind."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.runtime.video.decode import Frame, Sampler

#: What a source of live images gives: (number of the image, seconds from the first, the image in a form of its own), or
#: a remark, one sentence.
Item = tuple[int, float, Any] | str


class LatestFrames:
    """Runs a source of images in a thread of its own, and keeps the newest image only.

    Args:
        produce: gives the images, until the event is set at the latest.
        to_rgb: turns what it gives into uint8 ``(H, W, 3)`` RGB; called for the images that are read alone.
        sampler: which images may be read at all. At the end of its range the images end, also while none comes.
    """

    def __init__(
        self,
        produce: Callable[[threading.Event], Generator[Item, None, None]],
        to_rgb: Callable[[Any], NDArray[np.uint8]],
        sampler: Sampler | None = None,
    ) -> None:
        self.error: Exception | None = None
        """What ended the images, if it was an error."""
        self.over = False
        """Whether the sampler's range is over."""
        self._produce, self._to_rgb = produce, to_rgb
        self._sampler = sampler or Sampler()
        self._changed = threading.Condition()
        self._latest: tuple[int, float, Any] | None = None
        self._remarks: deque[str] = deque()
        self._deadline: float | None = None
        self._ended = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="moue-live", daemon=True)
        self._thread.start()

    def frames(self, on_remark: Callable[[str], object] | None = None) -> Generator[Frame, None, None]:
        """Frames, each newer than the one before, until their source or the range ends; then closes it.

        Args:
            on_remark: called with what the source remarks.
        """
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(self._has_news, self._remaining())
                    remarks, self._remarks = self._remarks, deque()
                    latest, self._latest = self._latest, None
                    self.over = self.over or (latest is None and self._remaining() == 0)
                for remark in remarks:
                    if on_remark is not None:
                        on_remark(remark)
                if latest is not None:
                    index, timestamp, image = latest
                    yield Frame(index, timestamp, self._to_rgb(image))
                elif self.over or (self._ended and not self._remarks):
                    return
        finally:
            self._closing.set()
            # A source that hangs, in a driver or on the network, must not hang the program too.
            self._thread.join(timeout=2)

    def _has_news(self) -> bool:
        return self._latest is not None or self._ended or bool(self._remarks)

    def _remaining(self) -> float | None:
        """Seconds until the range ends; None where it does not, or where no image came yet."""
        if self._deadline is None or self._deadline == math.inf:
            return None
        return max(0.0, self._deadline - time.monotonic())

    def _run(self) -> None:
        try:
            with closing(self._produce(self._closing)) as items:
                for item in items:
                    if self._closing.is_set() or not self._keep(item):
                        break
        except Exception as error:
            # A driver's own error ends the images as unplugging does; the last result has the error's text.
            self.error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _keep(self, item: Item) -> bool:
        """Take an item; False where the range is over."""
        with self._changed:
            if isinstance(item, str):
                self._remarks.append(item)
            else:
                index, timestamp, _ = item
                if timestamp >= self._sampler.end:
                    self.over = True
                    return False
                self._deadline = self._deadline or time.monotonic() + self._sampler.end - timestamp
                if timestamp < self._sampler.start or not self._sampler(index, timestamp):
                    return True
                self._latest = item
            self._changed.notify()
        return True

"""How long images take, learned from the batches that were read."""

from __future__ import annotations

from collections.abc import Sequence

from moue.runtime.recognizer import Recognizer

#: Pixels whose search for faces takes as long as what each image takes besides; and how many pixels are decoded while
#: one is searched. With the seconds per pixel, which are measured, they tell what an image takes, within a factor of
#: two: on two cores, 0.15 s for 300×300 pixels, 2.4 s for 3500×3500, 4 to 6 s for 7000×7000.
_OVERHEAD_PIXELS, _DECODED_PER_SEARCHED = 50_000, 10
#: How much the batches before the latest one count: the speed of a machine changes with what else it does.
_MEMORY = 0.8
#: Seconds a million searched pixels, before anything was measured.
_INITIAL_SECONDS = 1.0


class WorkMeter:
    """Learns what images take on this machine, for each recognizer: models and detectors differ."""

    def __init__(self) -> None:
        self._measured: dict[Recognizer, tuple[float, float]] = {}

    def observe(self, recognizer: Recognizer, pixels: Sequence[int], seconds: float) -> None:
        """Take note of a batch.

        Args:
            recognizer: read it.
            pixels: of each of its images.
            seconds: that reading took.
        """
        spent, size = self._measured.get(recognizer, (0.0, 0.0))
        size = _MEMORY * size + sum(_searched_megapixels(recognizer, count) for count in pixels)
        self._measured[recognizer] = _MEMORY * spent + seconds, size

    def seconds(self, recognizer: Recognizer, pixels: int) -> float:
        """Seconds that an image of so many pixels is likely to take."""
        spent, size = self._measured.get(recognizer) or (_INITIAL_SECONDS, 1.0)
        return spent / size * _searched_megapixels(recognizer, pixels)


def _searched_megapixels(recognizer: Recognizer, pixels: int) -> float:
    """The work of an image, as the number of pixels that are searched for faces in the same time, in millions."""
    # Without a search, as where each image is one face, decoding is what is left.
    long_side = getattr(recognizer.detector, "long_side", 0)
    searched = pixels if long_side is None else min(pixels, long_side**2)
    return (_OVERHEAD_PIXELS + searched + pixels / _DECODED_PER_SEARCHED) / 1e6

"""Animated images (GIF, WebP, APNG) as the videos they are."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from moue.errors import Unreadable
from moue.image_file import MAX_PIXELS, check_pixels, decode, reasons
from moue.image_format import identify, is_animation
from moue.runtime.video.container import VideoLike, name_of
from moue.runtime.video.decode import Frame, Sampler, Video, open_video

#: How often a pixel counts: decoders keep the images before, to put the next one on top of them.
_WEIGHT = 2

#: An image that is shown for no longer than the first, in milliseconds, is shown for the second, as browsers do.
_SHORTEST, _DEFAULT = 10, 100


class Animation(Video):
    """An animated image, opened by :func:`open_film`."""

    def iter_frames(self, sampler: Sampler, *, convert_all: bool = False) -> Generator[Frame, None, None]:
        """See :meth:`Video.iter_frames`."""
        no_image = np.zeros((0, 0, 3), np.uint8)
        time, last, index = Fraction(0), Fraction(0), -1
        with _opened(self.source) as image, reasons(image):
            first, count = _first(image), _declared_count(image)
            while _seek(image, first + index + 1):
                index += 1
                image.load()
                last, time = time, time + _seconds(image)
                if last < sampler.start:
                    continue
                if last >= sampler.end:
                    break
                sampled = sampler(index, float(last))
                wanted = sampled or convert_all
                pixels = decode(image, sys.maxsize, single=False).pixels if wanted else no_image
                yield Frame(index, float(last), pixels, sampled)
        sampler.check_any(float(last))
        if count is not None and index + 1 < count and last < sampler.end:
            raise Unreadable(f"the animation breaks off after {index + 1} of {count} images")


def open_film(source: VideoLike, *, max_pixels: int = MAX_PIXELS) -> Video:
    """Open a video or an animated image.

    Args:
        source: a path, the file's bytes, or a seekable binary file object.
        max_pixels: the largest width × height of its images to accept; half of that for an animation.

    Raises:
        Unreadable: as :func:`moue.runtime.video.decode.open_video`.
        FileNotFoundError, PermissionError: when the file cannot be opened at all.
    """
    if not _is_animation(source):
        return open_video(source, max_pixels=max_pixels)
    with _opened(source) as image:
        with reasons(image):
            check_pixels(image.width, image.height, max_pixels, weight=_WEIGHT)
        photo = decode(image, max_pixels, single=False)
        return Animation(
            name=name_of(source),
            width=photo.width,
            height=photo.height,
            frame_rate=1 / _seconds(image),
            duration=None,
            frame_count=_declared_count(image),
            rotation=0,
            mirrored=False,
            pixel_aspect=Fraction(1),
            color_codes=(2, 2, 2),
            has_sound=False,
            codec=(image.format or "").lower(),
            time_base=Fraction(1, 1000),
            start_time=Fraction(0),
            source=source,
        )


def _is_animation(source: VideoLike) -> bool:
    if isinstance(source, (str, os.PathLike)):
        # Of a pipe, the content would be gone.
        if not Path(source).is_file():
            return False
        with open(source, "rb") as file:
            return is_animation(file)
    if isinstance(source, bytes):
        return is_animation(io.BytesIO(source))
    try:
        source.seek(0)
    except (OSError, ValueError):
        # A pipe, or a file that is closed: opening it as a video says so.
        return False
    return is_animation(source)


@contextmanager
def _opened(source: VideoLike) -> Iterator[Any]:
    """The animation in a source, at its first image."""
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            yield identify(file)
    elif isinstance(source, bytes):
        yield identify(io.BytesIO(source))
    else:
        # A copy, as an image is read in no order, and the object's position is the caller's.
        source.seek(0)
        yield identify(io.BytesIO(source.read()))


def _first(image: Any) -> int:
    """The number of the first image: an APNG may begin with one for programs that show no animations."""
    return int(bool(image.info.get("default_image")))


def _declared_count(image: Any) -> int | None:
    """The number of images; None for GIF, which does not declare it."""
    return None if image.format == "GIF" else image.n_frames - _first(image)


def _seek(image: Any, number: int) -> bool:
    """Go to an image; whether there is one."""
    try:
        image.seek(number)
    except EOFError:
        return False
    return True


def _seconds(image: Any) -> Fraction:
    """How long the image that was decoded last is shown."""
    milliseconds = Fraction(image.info.get("duration") or 0)
    return (milliseconds if milliseconds > _SHORTEST else Fraction(_DEFAULT)) / 1000

"""Sources of many frames in, one result a frame out: videos, cameras, and live streams."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from moue.image import MAX_PIXELS
from moue.progress import Report
from moue.runtime.inputs.source import Source
from moue.runtime.network.url import Url
from moue.runtime.options import VideoOptions
from moue.runtime.results import Faces
from moue.runtime.video.camera import stream_camera
from moue.runtime.video.decode import Sampler
from moue.runtime.video.stream import FaceReader, stream_video


def opened(
    source: Source,
    options: VideoOptions,
    max_pixels: int = MAX_PIXELS,
    on_remark: Callable[[str], object] | None = None,
) -> AbstractContextManager[Source]:
    """What an address holds (:func:`moue.runtime.network.connect.connected`); any other source as it is."""
    if not isinstance(source.content, Url):
        return nullcontext(source)
    # Imported late: what reads no address needs no code for connections.
    from moue.runtime.network.connect import connected

    on_remark = on_remark or partial(warnings.warn, stacklevel=3)
    return connected(source, retries=options.reconnect, max_pixels=max_pixels, on_remark=on_remark)


def stream_frames(
    recognizer: FaceReader,
    source: Source,
    options: VideoOptions,
    *,
    annotated: str | os.PathLike[str] | None = None,
    report: Report | None = None,
    max_pixels: int = MAX_PIXELS,
    on_remark: Callable[[str], object] | None = None,
) -> Generator[Faces, None, None]:
    """Read the faces in a source, one result a frame, in constant memory.

    Args:
        recognizer: a :class:`moue.Recognizer`, or another :class:`moue.runtime.video.stream.FaceReader`.
        source: a "video", a "camera" or a connected "stream" (:func:`moue.runtime.network.connect.connected`).
        options: how it is read.
        annotated: where to write an annotated video (.mp4); a camera has none.
        report: called with (frames so far, frames in all or None).
        max_pixels: refuse larger images.
        on_remark: called with one sentence, as when a connection is lost; a warning where it is None.

    Raises:
        UsageError, MissingExtra, OSError: as :func:`moue.runtime.video.stream.stream_video` and
            :func:`moue.runtime.video.camera.stream_camera` do.
    """
    on_remark = on_remark or partial(warnings.warn, stacklevel=3)
    sampler = Sampler(options.every, options.fps, options.start, options.end)
    if source.kind == "camera":
        return stream_camera(
            recognizer,
            int(source.name),
            sampler=sampler,
            smooth=options.smooth,
            window=options.window is not False,
        )
    if source.kind == "stream":
        from moue.runtime.network.live import stream_live

        return stream_live(
            recognizer,
            source.content,
            sampler=sampler,
            smooth=options.smooth,
            window=options.window is True,
            annotated=annotated,
            report=report,
            on_remark=on_remark,
        )
    return stream_video(
        recognizer,
        source.data,
        every=options.every,
        fps=options.fps,
        start=options.start,
        end=options.end,
        smooth=options.smooth,
        annotated=annotated,
        report=report,
        max_pixels=max_pixels,
        on_remark=on_remark,
    )

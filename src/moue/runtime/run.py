"""The one loop that reads inputs and hands the results to sinks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TypeAlias

from moue.errors import Unreadable
from moue.preprocess import ImageArray
from moue.progress import Report
from moue.runtime.ahead import read_ahead, threads_ahead
from moue.runtime.frames import opened, stream_frames
from moue.runtime.inputs.source import Source
from moue.runtime.options import VideoOptions
from moue.runtime.outputs.sinks import ResultSink
from moue.runtime.recognizer import Recognizer
from moue.runtime.results import Faces
from moue.runtime.video.stream import FaceReader

#: Statuses that are no failures: a file that is neither image nor video, and a camera that was unplugged.
NOT_FAILED = ("skipped", "camera_lost")

#: A result, and the image that it is of.
_Result: TypeAlias = "tuple[Faces, ImageArray | None]"

#: Every frame of a video.
_DEFAULT = VideoOptions()


def run(
    sources: Iterable[Source],
    recognizer: Recognizer,
    sinks: Sequence[ResultSink],
    video: VideoOptions = _DEFAULT,
    *,
    report: Report | None = None,
    on_remark: Callable[[str], object] | None = None,
) -> int:
    """Read one input after the other, in constant memory, and hand each result to every sink.

    Args:
        sources: the inputs.
        recognizer: reads them.
        sinks: take the results, in this order; the first that asks for an annotated video has it. They are closed in
            the reverse order, after an error or an interrupt too.
        video: how videos and cameras are read.
        report: told within a video as :func:`moue.runtime.video.stream.stream_video` tells it.
        on_remark: as of :func:`moue.runtime.video.stream.stream_video`.

    Returns:
        How many inputs could not be read, or not to their end.

    Raises:
        OSError: when a sink cannot write.
    """
    failed, complete = 0, False
    # What comes one by one, as a list on stdin, is read as it comes.
    threads = threads_ahead(recognizer.options.threads) if isinstance(sources, list) and len(sources) > 1 else 0
    try:
        with closing(read_ahead(sources, partial(_read_photo, recognizer), threads)) as turns:
            for source, photo in turns:
                failed += _read_into(sinks, source, photo, recognizer, video, report, on_remark)
        complete = True
    finally:
        with ExitStack() as stack:
            for sink in sinks:
                stack.callback(sink.close, complete)
    return failed


def _read_into(
    sinks: Sequence[ResultSink],
    source: Source,
    photo: Callable[[], _Result],
    recognizer: Recognizer,
    video: VideoOptions,
    report: Report | None,
    on_remark: Callable[[str], object] | None,
) -> int:
    """Hand the results of one input to the sinks; returns how many of them are failures."""
    failed = 0
    with ExitStack() as stack:
        source = stack.enter_context(opened(source, video, recognizer.options.max_pixels, on_remark))
        annotated = [path for sink in sinks if (path := sink.begin(source)) is not None]
        # Closing it completes an annotated video.
        annotated_path = annotated[0] if annotated else None
        results = stack.enter_context(
            closing(_read(source, photo, recognizer, video, annotated_path, report, on_remark))
        )
        for faces, image in results:
            failed += not faces.readable and faces.status not in NOT_FAILED
            for sink in sinks:
                sink.write(faces, image)
    for sink in sinks:
        sink.end()
    return failed


def _read_photo(recognizer: Recognizer, source: Source) -> _Result:
    # Opened once, as it may come through a pipe.
    try:
        photo = recognizer.open(source.data)
        return recognizer.faces(photo, source.name), photo.pixels
    except Unreadable as error:
        return recognizer.failed(source.name, error.status, str(error)), None


def _read(
    source: Source,
    photo: Callable[[], _Result],
    recognizer: Recognizer,
    options: VideoOptions,
    annotated: Path | None,
    report: Report | None,
    on_remark: Callable[[str], object] | None,
) -> Generator[_Result, None, None]:
    """The results of one input, with the images in which they were found."""
    if source.kind == "image":
        yield photo()
    elif source.kind in ("skipped", "unreadable"):
        yield recognizer.failed(source.name, source.kind, source.reason or ""), None
    else:
        reader = _ImageKeeper(recognizer.for_video())
        frames = stream_frames(
            reader,
            source,
            options,
            annotated=annotated,
            report=report,
            max_pixels=recognizer.options.max_pixels,
            on_remark=on_remark,
        )
        yield from ((faces, reader.images.popleft() if faces.timestamp is not None else None) for faces in frames)


class _ImageKeeper:
    """Reads frames, and keeps their images until the results come, which have the same order."""

    def __init__(self, reader: FaceReader) -> None:
        self.failed = reader.failed
        self.images: deque[ImageArray] = deque()
        self._reader = reader

    def batch(self, images: Sequence[ImageArray]) -> Sequence[Faces]:
        self.images.extend(images)
        return self._reader.batch(images)

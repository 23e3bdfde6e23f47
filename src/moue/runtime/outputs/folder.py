"""A folder of results: for each input its rows and its annotated image or video."""

from __future__ import annotations

import io
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moue.errors import UsageError
from moue.files import atomic_write
from moue.preprocess import ImageArray
from moue.runtime.inputs.source import Source
from moue.runtime.outputs.people import People
from moue.runtime.outputs.sinks import ResultSink, open_sink
from moue.runtime.outputs.timeline import plot_timeline
from moue.runtime.results import Faces

#: What stands between a video's stem and the suffix: ``clip.json``, ``clip.tracks.json``, ``clip.timeline.png``.
VIDEO_ENDINGS = ("", ".tracks", ".timeline")
#: Bytes of UTF-8 that a stem may have: file systems take names of 255, and ".timeline.png" is the longest ending.
MAX_STEM_BYTES = 255 - len(".timeline.png")
#: JPEG takes at most 65,535 pixels a side.
MAX_JPEG_SIDE = 65_500


class OutputFolder:
    """Names and writes the files of one run.

    Args:
        path: the folder; made where it is missing.
        protected: files, such as the model's, whose names are not used where they lie in that folder.

    Raises:
        UsageError: when there is a file of that name.
        OSError: when it cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str], protected: Iterable[Path] = ()) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file; the results need a folder.")
        self.path.mkdir(parents=True, exist_ok=True)
        self._resolved = Path(os.path.realpath(self.path))
        resolved = (Path(os.path.realpath(file)) for file in protected)
        self._used = {file.stem.lower() for file in resolved if file.parent == self._resolved}

    def stem(self, source: Source) -> str:
        """The stem of the files of an input: its own, with a number where it is used already.

        It is cut off where the file names would be longer than file systems allow.

        Raises:
            UsageError: when the input lies in this folder, so that results could overwrite inputs.
        """
        # A name from a list may hold a NUL, which no file name can.
        path = source.name.replace("\0", "")
        if source.kind != "camera" and self._resolved in Path(os.path.realpath(path)).parents:
            raise UsageError(f"{path} lies in {self.path}: choose another folder for the results.")
        name = f"camera{source.name}" if source.kind == "camera" else Path(path).stem or "results"
        endings = VIDEO_ENDINGS if source.kind == "video" else ("",)
        for stem in _numbered(name):
            # Some file systems do not distinguish upper from lower case.
            names = {f"{stem}{ending}".lower() for ending in endings}
            if not names & self._used:
                break
        self._used |= names
        return stem

    def write(self, name: str, content: bytes) -> Path:
        """Write one file, whole or not at all.

        Raises:
            OSError: when it cannot be written; nothing of it is left then.
        """
        path = self.path / name
        with atomic_write(path) as part:
            part.write_bytes(content)
        return path

    def write_image(self, stem: str, image: NDArray[np.uint8], format: str = "jpeg") -> Path:
        """Write an image, as PNG where a JPEG cannot be that large.

        Args:
            stem: the file's name without suffix.
            image: uint8 ``(H, W, 3)`` RGB.
            format: "jpeg" or "png".

        Raises:
            OSError: when it cannot be written; nothing of it is left then.
        """
        png = format == "png" or max(image.shape[:2]) > MAX_JPEG_SIDE
        content = io.BytesIO()
        Image.fromarray(image).save(content, "PNG" if png else "JPEG", **({} if png else {"quality": 92}))
        return self.write(f"{stem}.png" if png else f"{stem}.jpg", content.getvalue())

    def write_json(self, name: str, value: object) -> Path:
        """Write a value as indented JSON.

        Raises:
            OSError: when it cannot be written; nothing of it is left then.
        """
        return self.write(name, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


class FolderSink(ResultSink):
    """Writes the rows of each input, an image with its faces marked, and the people of a video that is annotated.

    Args:
        folder: where to write.
        format: of the rows: "json", "jsonl", "csv" or "parquet".
        labels: the class names, in the order of the columns.
        on_file: called with each file that is complete, but for the rows.
    """

    def __init__(
        self, folder: OutputFolder, format: str, labels: tuple[str, ...], on_file: Callable[[Path], object]
    ) -> None:
        self._folder, self._format, self._labels, self._on_file = folder, format, labels, on_file
        self._rows: ResultSink | None = None

    def begin(self, source: Source) -> Path | None:
        """See :class:`ResultSink`."""
        stem = self._folder.stem(source)
        self._source, self._stem = source, stem
        self._people = People()
        self._has_frames = False
        self._annotated_image: tuple[ImageArray, Faces] | None = None
        self._annotated_video = self._folder.path / f"{stem}.mp4" if source.kind == "video" else None
        self._rows = open_sink(self._folder.path / f"{stem}.{self._format}", self._format, self._labels)
        return self._annotated_video

    def write(self, faces: Faces, image: ImageArray | None = None) -> None:
        """See :class:`ResultSink`."""
        assert self._rows is not None
        self._rows.write(faces)
        if image is not None:
            self._annotated_image = image, faces
        if self._source.kind == "video":
            self._people.add(faces)
            self._has_frames |= faces.frame is not None

    def end(self) -> None:
        """See :class:`ResultSink`."""
        self.close()
        if self._annotated_image is not None:
            format = "png" if self._source.name.lower().endswith(".png") else "jpeg"
            image, faces = self._annotated_image
            self._on_file(self._folder.write_image(self._stem, faces.draw(image), format))
        # Of a video that cannot be opened, or encoded again, there is none.
        if self._annotated_video is not None and self._annotated_video.exists():
            self._on_file(self._annotated_video)
        if self._has_frames:
            self._on_file(self._folder.write_json(f"{self._stem}.tracks.json", self._people.summary()))
            if find_spec("matplotlib") is not None:
                timeline = self._folder.path / f"{self._stem}.timeline.png"
                plot_timeline(self._people, timeline)
                self._on_file(timeline)

    def close(self, complete: bool = True) -> None:
        """See :class:`ResultSink`."""
        if self._rows is not None:
            self._rows.close(complete)
            self._rows = None


def _numbered(name: str) -> Iterator[str]:
    for ending in itertools.chain([""], (f"-{number}" for number in itertools.count(2))):
        yield _truncated(name, MAX_STEM_BYTES - len(ending)) + ending


def _truncated(name: str, size: int) -> str:
    """The beginning of a name, at most so many bytes of UTF-8."""
    # No character has less than a byte. A lone surrogate counts three here, and fewer in the file's name.
    name = name[:size]
    while len(name.encode("utf-8", "surrogatepass")) > size:
        name = name[:-1]
    return name

"""A folder of answers: for each input its rows and its annotated image or video."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moue.errors import UsageError
from moue.files import atomic_write
from moue.runtime.inputs.source import Source
from moue.runtime.outputs.sinks import ResultSink, open_sink

#: What follows the stem of a video's answers, before the suffix: ``clip.json``, ``clip.tracks.json`` and so on.
VIDEO_ENDINGS = ("", ".tracks", ".timeline")
#: Bytes of UTF-8 that a stem may have: file systems take names of 255, and ".timeline.png" is the longest ending.
STEM_BYTES = 255 - len(".timeline.png")


class OutputFolder:
    """Names and writes the files of one run.

    Args:
        folder: where to; made where it is missing.
        spared: files, as the model's, whose names no answer takes where they lie in that folder.

    Raises:
        UsageError: when there is a file of that name.
        OSError: when it cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str], spared: Iterable[Path] = ()) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{self.folder} is a file; the answers need a folder.")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._inside = Path(os.path.realpath(self.folder))
        places = (Path(os.path.realpath(path)) for path in spared)
        self._taken = {place.stem.lower() for place in places if place.parent == self._inside}

    def stem(self, source: Source) -> str:
        """A name for the answers of an input: its own without suffix, numbered where an earlier input had it.

        What is spared counts as such an input. The name is cut off where the files' would be longer than file systems
        take.

        Raises:
            UsageError: when the input lies in this folder, so that answers could overwrite inputs.
        """
        # A name from a list may hold what no file's can.
        path = source.name.replace("\0", "")
        if source.kind != "camera" and self._inside in Path(os.path.realpath(path)).parents:
            raise UsageError(f"{path} lies in {self.folder}: choose another folder for the answers.")
        name = f"camera{source.name}" if source.kind == "camera" else Path(path).stem or "answers"
        endings = VIDEO_ENDINGS if source.kind == "video" else ("",)
        for stem in _numbered(name):
            # Some file systems do not tell upper from lower case.
            wanted = {f"{stem}{ending}".lower() for ending in endings}
            if not wanted & self._taken:
                break
        self._taken |= wanted
        return stem

    def write(self, name: str, content: bytes) -> Path:
        """Write one file, whole or not at all.

        Raises:
            OSError: when it cannot be written; nothing of it is left then.
        """
        path = self.folder / name
        try:
            with atomic_write(path) as part:
                part.write_bytes(content)
        except OSError as error:
            error.filename, error.filename2 = str(path), None
            raise
        return path

    def answers(self, stem: str, format: str, labels: tuple[str, ...]) -> ResultSink:
        """A file for an input's answers, written as they come; see :func:`moue.runtime.outputs.sinks.open_sink`.

        Args:
            stem: from :meth:`stem`.
            format: "json", "jsonl", "csv" or "parquet"; the file's suffix too.
            labels: the expressions, in the order of the columns.

        Raises:
            MissingExtra: for Parquet without pyarrow.
            OSError: when it cannot be made.
        """
        return open_sink(self.folder / f"{stem}.{format}", format, labels)

    def image(self, stem: str, image: NDArray[np.uint8], like: str) -> Path:
        """Write an annotated image: a PNG where the input's name ends so, else a JPEG.

        Args:
            stem: from :meth:`stem`.
            image: uint8 ``(H, W, 3)`` RGB.
            like: the input's name.

        Raises:
            OSError: when it cannot be written.
        """
        # JPEG ends at 65,535 pixels a side.
        png = like.lower().endswith(".png") or max(image.shape[:2]) > 65_500
        sink = io.BytesIO()
        Image.fromarray(image).save(sink, "PNG" if png else "JPEG", **({} if png else {"quality": 92}))
        return self.write(f"{stem}.png" if png else f"{stem}.jpg", sink.getvalue())


def _numbered(name: str) -> Iterator[str]:
    for ending in itertools.chain([""], (f"-{number}" for number in itertools.count(2))):
        yield _cut(name, STEM_BYTES - len(ending)) + ending


def _cut(name: str, most: int) -> str:
    """The beginning of a name, of so many bytes at most."""
    # No character has less than a byte; what is no text has three here, and fewer in the name.
    name = name[:most]
    while len(name.encode("utf-8", "surrogatepass")) > most:
        name = name[:-1]
    return name

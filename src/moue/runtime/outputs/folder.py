"""A folder of results: for each input its rows and its annotated image or video."""

from __future__ import annotations

import io
import itertools
import json
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moue.errors import UsageError
from moue.files import atomic_write
from moue.preprocess import ImageArray
from moue.runtime.inputs.source import Source
from moue.runtime.outputs.face_images import FACES, FaceImages
from moue.runtime.outputs.index import NOT_OPENED, Index, key_of
from moue.runtime.outputs.journal import fingerprint, identity
from moue.runtime.outputs.mirror import Mirror
from moue.runtime.outputs.people import People, to_row
from moue.runtime.outputs.sinks import ResultSink, open_sink
from moue.runtime.outputs.tables import INDEX, INDEX_COLUMNS, PEOPLE
from moue.runtime.outputs.timeline import plot_timeline
from moue.runtime.results import Faces
from moue.spec import ModelSpec

#: What stands between a video's stem and the suffix: ``clip.json``, ``clip.timeline.png``.
VIDEO_ENDINGS = ("", ".timeline")
#: Kinds of sources that are annotated as videos.
FILMED = ("video", "stream")
#: What may follow a stem.
SUFFIXES = ("json", "jsonl", "csv", "parquet", "jpg", "png", "mp4", "timeline.png")
#: Bytes of UTF-8 that a stem may have: file systems take names of 255, and ".timeline.png" is the longest ending.
MAX_STEM_BYTES = 255 - len(".timeline.png")
#: JPEG takes at most 65,535 pixels a side.
MAX_JPEG_SIDE = 65_500


class OutputFolder:
    """Names and writes the files of one run.

    Args:
        path: the folder; made where it is missing.
        protected: files, such as the model's, whose names are not used where they lie in that folder.
        sources: what the user gave; see :class:`moue.runtime.outputs.mirror.Mirror`.

    Raises:
        UsageError: when there is a file of that name, or nothing is given but this folder.
        OSError: when it cannot be made.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        protected: Iterable[Path] = (),
        sources: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file; the results need a folder.")
        self.path.mkdir(parents=True, exist_ok=True)
        self._resolved = Path(os.path.realpath(self.path))
        given = [*sources]
        if given and all(Path(os.path.realpath(source)) == self._resolved for source in given):
            raise UsageError(f"{self.path} is what is read: choose another folder for the results.")
        self._mirror = Mirror(given)
        # Stems with their folders, in lower case, as some file systems do not distinguish it from upper case. A result
        # could be called like the tables.
        self._used = {Path(INDEX).stem, Path(PEOPLE).stem}
        # Folders that mirror those of the sources, in lower case.
        self._folders: set[str] = set()
        # Stems of files that may be replaced; None for all.
        self._own: Collection[str] | None = None
        for file in (Path(os.path.realpath(file)) for file in protected):
            if self._resolved in file.parents:
                self._used.add(file.relative_to(self._resolved).with_suffix("").as_posix().lower())

    def stem(self, source: Source) -> str:
        """The path of an input's files in this folder, without suffix: "sub/clip"; its folders are made.

        It mirrors the tree of the sources, has a number where it is used already, and is cut off where file names would
        be longer than file systems allow.

        Raises:
            UsageError: when the input lies in this folder, so that results could overwrite inputs.
            OSError: when a folder cannot be made.
        """
        path = source.name.replace("\0", "")
        if source.kind != "camera" and source.stem is None and self._resolved in Path(os.path.realpath(path)).parents:
            raise UsageError(f"{path} lies in {self.path}: choose another folder for the results.")
        *folders, name = self._mirror.parts(source) or ["results"]
        parent = self._folder(folders)
        endings = VIDEO_ENDINGS if source.kind in FILMED else ("",)
        for numbered in _numbered(Path(name).stem or "results"):
            stem = f"{parent}{numbered}"
            names = {f"{stem}{ending}".lower() for ending in endings}
            free = not names & self._used and f"{stem}{FACES}".lower() not in self._folders
            if free and not self._is_folder(stem) and not self._is_foreign(stem):
                break
        self._used |= names
        return stem

    def reserve(self, stem: str) -> None:
        """Give the path of an earlier run's files to no other input."""
        self._used |= {f"{stem}{ending}".lower() for ending in VIDEO_ENDINGS}
        self._folders |= {parent.as_posix() for parent in PurePosixPath(stem.lower()).parents}

    def keep_all_but(self, stems: Collection[str]) -> None:
        """From now on, name files so that none is replaced but those of some stems, which moue wrote."""
        self._own = stems

    def _folder(self, names: Iterable[str]) -> str:
        """The path of folders, made: "sub/sub/", or "" for none. One that is called like results has a number."""
        path = ""
        for name in names:
            for numbered in _numbered(name):
                folder = self.path / f"{path}{numbered}"
                owner, ending, _ = f"{path}{numbered}".lower().rpartition(FACES)
                # In "clip.faces", the faces of the input "clip" are saved.
                if (folder.is_dir() or not folder.exists()) and not (ending and owner in self._used):
                    break
            path += f"{numbered}/"
            self._folders.add(path.rstrip("/").lower())
        (self.path / path).mkdir(parents=True, exist_ok=True)
        return path

    def _is_folder(self, stem: str) -> bool:
        """Whether a file of an input would be called like a folder."""
        return any((self.path / f"{stem}.{suffix}").is_dir() for suffix in SUFFIXES)

    def _is_foreign(self, stem: str) -> bool:
        """Whether the files of an input would replace one that is not moue's."""
        if self._own is None or stem in self._own:
            return False
        return any(os.path.lexists(self.path / f"{stem}.{suffix}") for suffix in SUFFIXES)

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
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        # What no text can hold is the escape of JSON itself.
        return self.write(name, f"{text}\n".encode("utf-8", "backslashreplace"))


@dataclass(frozen=True)
class FolderOptions:
    """What a :class:`FolderSink` writes of each input."""

    format: str = "json"
    """Of the rows: "json", "jsonl", "csv" or "parquet"."""
    save_faces: bool = False
    """Whether each face is written as an image of its own; see
    :class:`moue.runtime.outputs.face_images.FaceImages`."""


class FolderSink(ResultSink):
    """Writes the rows of each input, an image or video with its faces marked, and the tables of all inputs.

    Args:
        folder: where to write.
        spec: of the model that reads.
        options: what to write.
        made_with: the other options of the run, as dataclasses; results with other ones are not kept.
        resume: whether what an earlier run completed is kept; see :meth:`Index.pending`.

    Raises:
        UsageError: when another process is writing to the folder, or it has tables that moue did not write.
        OSError: when it cannot be written to.
    """

    def __init__(
        self,
        folder: OutputFolder,
        spec: ModelSpec,
        options: FolderOptions = FolderOptions(),
        made_with: Iterable[object] = (),
        *,
        resume: bool = False,
    ) -> None:
        self._folder, self._labels, self._options = folder, spec.labels, options
        self._rows: ResultSink | None = None
        self.saved_faces = 0
        """How many images of faces were written."""
        self.index = Index(folder.path, spec.labels, identity(spec, options, *made_with), resume)
        for stem in self.index.stems.values():
            folder.reserve(stem)
        folder.keep_all_but(self.index.named)

    def begin(self, source: Source) -> Path | None:
        """See :class:`ResultSink`."""
        key = key_of(source)
        self._source, self._record, self._files = source, _Record(), list[Path]()
        self._mark = None if key is None else fingerprint(source.name)
        self._annotated_image: tuple[ImageArray, Faces] | None = None
        self._annotated_video: Path | None = None
        self._face_images: FaceImages | None = None
        if source.kind in NOT_OPENED:
            # It has a line in the index, and no files.
            self._key, self._stem = key or source.name, ""
            self.index.begin(self._key, self._stem)
            return None
        self._stem = self.index.stems.get(key or "") or self._folder.stem(source)
        self._key = key or f"{source.kind}:{self._stem}"
        self.index.begin(self._key, self._stem)
        if self._options.save_faces:
            self._face_images = FaceImages(self._folder.path / f"{self._stem}{FACES}")
        self._answer = self._folder.path / f"{self._stem}.{self._options.format}"
        self._rows = open_sink(self._answer, self._options.format, self._labels)
        if source.kind in FILMED:
            self._annotated_video = self._folder.path / f"{self._stem}.mp4"
        return self._annotated_video

    def write(self, faces: Faces, image: ImageArray | None = None) -> None:
        """See :class:`ResultSink`."""
        if self._rows is not None:
            self._rows.write(faces)
        if image is not None and faces.timestamp is None:
            self._annotated_image = image, faces
        if image is not None and self._face_images is not None:
            self._face_images.add(faces, image)
        self._record.add(faces)

    def end(self) -> None:
        """See :class:`ResultSink`."""
        answer = None
        if self._rows is not None:
            self._rows.close()
            self._rows = None
            if self._answer.exists():
                self._files.append(self._answer)
                answer = self._answer.relative_to(self._folder.path).as_posix()
        if self._annotated_image is not None:
            format = "png" if self._source.name.lower().endswith(".png") else "jpeg"
            image, faces = self._annotated_image
            self._files.append(self._folder.write_image(self._stem, faces.draw(image), format))
        # Of a video that cannot be opened, or encoded again, there is none.
        if self._annotated_video is not None and self._annotated_video.exists():
            self._files.append(self._annotated_video)
        if self._record.people.histories and find_spec("matplotlib") is not None:
            timeline = self._folder.path / f"{self._stem}.timeline.png"
            plot_timeline(self._record.people, timeline)
            self._files.append(timeline)
        if self._face_images is not None:
            self.saved_faces += len(self._face_images.files)
            self._files += self._face_images.files
        people = [to_row(person) for person in self._record.people.summary()]
        entry = {"index": self._record.index_row(self._source.name, answer), "people": people}
        self.index.complete(self._key, self._stem, self._files, self._mark, entry)

    def close(self, complete: bool = True) -> None:
        """See :class:`ResultSink`."""
        try:
            if self._rows is not None and self._source.kind not in ("image", "video") and self._record.frames:
                # An interrupt is how reading a camera ends.
                self.end()
            elif self._rows is not None:
                self._rows.close(complete)
                self._rows = None
        finally:
            self.index.close()


class _Record:
    """What the tables say about one input."""

    def __init__(self) -> None:
        self.people = People()
        self.frames = 0
        self._status: str = "no_face"
        self._reason: str | None = None
        self._faces = 0
        self._start = self._last = 0.0

    def add(self, faces: Faces) -> None:
        if faces.timestamp is None:
            # A photo, or why a video ended.
            self._status, self._reason, self._faces = faces.status, faces.reason, len(faces)
            return
        if not self.frames:
            self._start = faces.timestamp
        self.frames, self._last = self.frames + 1, faces.timestamp
        if len(faces):
            self._status = "ok"
        self.people.add(faces)

    def index_row(self, source: str, answer: str | None) -> dict[str, Any]:
        """Faces are people in a video; seconds, which photos have none of, are how much of it was read."""
        # The last frame is shown as long as the others.
        seconds = (self._last - self._start) * (self.frames / (self.frames - 1)) if self.frames > 1 else 0.0
        values = (
            *(source, self._status, self._reason),
            len(self.people.histories) if self.frames else self._faces,
            round(seconds, 6) if self.frames else None,
            answer,
        )
        return dict(zip(INDEX_COLUMNS, values, strict=True))


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

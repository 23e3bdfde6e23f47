"""A replacement for the package ``fer``: ``FER`` and ``Video`` with its methods, keys and BGR images.

docs/migration.md lists the differences: no TensorFlow, another network and detector, and files are written only on
request.
"""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moue.compat.image import best_first, emotions, pixel_box, shared_recognizer, to_rgb
from moue.errors import Unreadable, UsageError, quoted, require
from moue.image import read_image
from moue.runtime.draw import draw
from moue.runtime.inputs.resolve import is_input
from moue.runtime.results import Faces
from moue.runtime.video.animation import open_film
from moue.runtime.video.stream import TrackSmoother
from moue.runtime.video.window import ScreenWindow
from moue.runtime.video.writer import VideoWriter

if TYPE_CHECKING:
    from moue.runtime.recognizer import Recognizer

Row = dict[str, Any]


class FER:
    """Finds faces and their expressions.

    Args:
        cascade_file: accepted and ignored, as are ``mtcnn``, ``tfserving``, ``use_tflite``, ``scale_factor``,
            ``min_neighbors``, ``offsets`` and ``compile``: they tune detectors and a network that are not used here.
        min_face_size: leave out faces whose shorter side has fewer pixels; None keeps all.
        emotion_model: must be None; pass ``recognizer`` for another model.
        recognizer: detects and classifies the faces; with the bundled model by default.

    Raises:
        UsageError: when ``emotion_model`` is given.
    """

    def __init__(
        self,
        cascade_file: str | None = None,
        mtcnn: bool = False,
        tfserving: bool = False,
        scale_factor: float = 1.1,
        min_face_size: int | None = None,
        min_neighbors: int = 5,
        offsets: tuple[int, int] = (10, 10),
        compile: bool = False,
        *,
        use_tflite: bool = True,
        emotion_model: str | None = None,
        recognizer: Recognizer | None = None,
    ) -> None:
        if emotion_model is not None:
            raise UsageError("Keras models are not supported. Type FER(recognizer=moue.Recognizer(model=...)) instead.")
        self.recognizer = recognizer or shared_recognizer()
        self.min_face_size = min_face_size or 0

    def detect_emotions(self, img: Any, face_rectangles: Sequence[Sequence[float]] | None = None) -> list[Row]:
        """All faces of an image.

        Args:
            img: uint8 array in BGR (as from ``cv2.imread``) or gray, or a path, bytes or PIL image.
            face_rectangles: boxes (x, y, width, height) to use instead of detecting faces.

        Returns:
            ``[{"box": (x, y, width, height), "emotions": {"angry": …, "disgust": …, "fear": …, "happy": …, "sad": …,
            "surprise": …, "neutral": …}}]``, whole pixels and fractions of 1; empty where there is no face.

        Raises:
            Unreadable: when the image cannot be read.
        """
        image = to_rgb(img)
        if face_rectangles is not None:
            return self.rows(self.recognizer.faces(image, boxes=face_rectangles))
        return self.rows(best_first(self.recognizer.faces(image)))

    def batch_detect_emotions(self, imgs: Sequence[Any]) -> list[list[Row]]:
        """:meth:`detect_emotions` of each of several images, their faces classified together.

        Raises:
            UsageError: for one image, not several.
            Unreadable: when one of them cannot be read.
        """
        if is_input(imgs):
            raise UsageError(f"batch_detect_emotions takes a list of images. Got one {type(imgs).__name__} instead.")
        return [self.rows(best_first(faces)) for faces in self.recognizer.batch([to_rgb(img) for img in imgs])]

    def top_emotion(self, img: Any) -> tuple[str | None, float | None]:
        """The most probable expression of the surest face and its probability; (None, None) where there is no face."""
        faces = self.detect_emotions(img)
        if not faces:
            return None, None
        emotions = faces[0]["emotions"]
        name = max(emotions, key=emotions.__getitem__)
        return name, emotions[name]

    def find_faces(self, img: Any, bgr: bool = True) -> list[tuple[int, int, int, int]]:
        """The boxes (x, y, width, height) alone; ``bgr=False`` for an array in RGB."""
        if not bgr and isinstance(img, np.ndarray):
            # Read first: to turn the channels of RGBA around would make red of its alpha.
            img = read_image(img)[:, :, ::-1]
        return [face["box"] for face in self.detect_emotions(img)]

    def rows(self, faces: Faces) -> list[Row]:
        """A result of moue in fer's shape."""
        rows = []
        for face in faces:
            box = pixel_box(face, faces)
            if min(box[2:]) >= self.min_face_size:
                rows.append({"box": box, "emotions": {name: round(p, 4) for name, p in emotions(face).items()}})
        return rows


class Video:
    """A video to be analyzed.

    Args:
        video_file: its path.
        outdir: where ``save_video`` writes.
        first_face_only: whether :meth:`to_pandas` keeps the first face of each frame alone.
        tempfile: accepted and ignored.

    Raises:
        FileNotFoundError: when there is no such file.
        Unreadable: when it is no video.
    """

    def __init__(
        self,
        video_file: str | os.PathLike[str],
        outdir: str = "output",
        first_face_only: bool = True,
        tempfile: str | None = None,
    ) -> None:
        self.filepath = os.fspath(video_file)
        self.filename = Path(video_file).name
        self.outdir, self.first_face_only = outdir, first_face_only
        self._video = open_film(self.filepath)

    def analyze(
        self,
        detector: FER,
        display: bool = False,
        output: str = "csv",
        frequency: int | None = None,
        max_results: int | None = None,
        save_fps: int | None = None,
        video_id: str | None = None,
        save_frames: bool = False,
        save_video: bool = False,
        annotate_frames: bool = True,
        zip_images: bool = False,
        detection_box: Mapping[str, int] | None = None,
        lang: str = "en",
        include_audio: bool = True,
        size_multiplier: int = 1,
        batch_size: int = 1,
        use_async_io: bool = True,
    ) -> Any:
        """Read the video frame by frame.

        Args:
            detector: a :class:`FER`.
            display: show the frames in a window, which q or Esc closes (needs the extra "camera").
            output: "csv" for a list of rows, "pandas" for a data frame.
            frequency: read every Nth frame.
            max_results: stop after this number of frames with a face.
            save_fps: read this many frames per second, instead of ``frequency``.
            video_id: the name, without ending, of what ``save_video`` writes.
            save_frames: must be False, as must ``zip_images``: frames are not written one by one.
            save_video: write ``<outdir>/<name>_output.mp4``.
            annotate_frames: whether the faces are marked in that video.
            detection_box: ``{"x_min": …, "x_max": …, "y_min": …, "y_max": …}``, the part to search.
            lang: must be "en": expressions are drawn under their English names.
            include_audio: accepted and ignored, as are ``size_multiplier``, ``batch_size`` and ``use_async_io``: the
                annotated video has its sound, and marks as large as its images ask for.

        Returns:
            One row a frame **with a face**: ``box0``, ``angry0``, … ``neutral0``, ``box1``, …, in the order of their
            tracks: the person who came first is the first face. As fer does, frames without a face have no row;
            :func:`moue.runtime.video.stream.stream_video` has a row for each.

        Raises:
            UsageError: for an option that cannot be used.
        """
        if save_frames or zip_images:
            raise UsageError("single frames are not written. Use save_video=True for an annotated video.")
        if output not in ("csv", "pandas"):
            raise UsageError(f"output must be 'csv' or 'pandas'. Got {quoted(output)} instead.")
        if lang != "en":
            raise UsageError(f"lang must be 'en': labels are drawn in English. Got {quoted(lang)} instead.")
        every = self._every(frequency, save_fps)
        data: list[list[Row]] = []
        reader = detector.recognizer.for_video()
        # For the order of the faces: their probabilities are those of each frame alone, as fer's are.
        tracker = TrackSmoother(smooth=0)
        with ExitStack() as stack:
            window = ScreenWindow(self.filename) if display else None
            if window is not None:
                stack.callback(window.close)
            writer = stack.enter_context(self._writer(video_id)) if save_video else None
            try:
                for frame in self._video.frames(every=every):
                    faces = _within(reader, frame.image, detection_box).replace(timestamp=frame.timestamp)
                    faces = tracker(faces, frame.image)
                    if writer is not None or window is not None:
                        marked = draw(frame.image, faces)
                        if writer is not None:
                            writer.write(marked if annotate_frames else frame.image, frame.timestamp)
                        if window is not None and not window.show(marked):
                            break
                    if rows := detector.rows(faces):
                        data.append(rows)
                    if max_results and len(data) >= max_results:
                        break
            except Unreadable as error:
                warnings.warn(str(error), stacklevel=2)
        return self.to_pandas(data) if output == "pandas" else self._flat(data)

    def _writer(self, video_id: str | None) -> VideoWriter:
        Path(self.outdir).mkdir(parents=True, exist_ok=True)
        name = video_id or Path(self.filename).stem
        return VideoWriter(Path(self.outdir) / f"{name}_output.mp4", like=self._video, on_remark=warnings.warn)

    def _every(self, frequency: int | None, save_fps: int | None) -> int:
        """Each how many frames one is read."""
        if save_fps is None:
            return int(frequency or 1)
        if not save_fps > 0:
            raise UsageError(f"save_fps must be above 0. Got {quoted(save_fps)} instead.")
        return max(1, int(self._video.frame_rate // save_fps)) if self._video.frame_rate else int(frequency or 1)

    def to_pandas(self, data: Any) -> Any:
        """Rows as a pandas data frame; of the first face alone where ``first_face_only`` was set.

        Raises:
            MissingExtra: when pandas is not installed.
        """
        pandas = require("pandas", "")
        if isinstance(data, pandas.DataFrame):
            return data
        frame = pandas.DataFrame(self._flat(data))
        return self.get_first_face(frame) if self.first_face_only else frame

    def to_csv(self, data: Any, filename: str | os.PathLike[str] = "data.csv") -> list[Row]:
        """Write rows as CSV and return them."""
        rows = self._flat(data)
        with open(filename, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(k for r in rows for k in r)), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        return rows

    @staticmethod
    def get_first_face(df: Any) -> Any:
        """The columns of the first face, without the number in their names."""
        if not len(df.columns) or not str(df.columns[0])[-1].isdigit():
            return df
        first = df[[c for c in df.columns if str(c).endswith("0") and not str(c)[-2].isdigit()]]
        return first.rename(columns=lambda c: str(c)[:-1])

    @staticmethod
    def get_emotions(df: Any) -> Any:
        """The expressions' columns, without the boxes."""
        return df[[c for c in df.columns if not str(c).startswith("box")]]

    @staticmethod
    def get_max_faces(data: Sequence[Sequence[Row]]) -> int:
        """The greatest number of faces in one frame."""
        return max((len(frame) for frame in data), default=0)

    @staticmethod
    def _flat(data: Sequence[Any]) -> list[Row]:
        """One dictionary per frame, its faces' keys numbered from 0."""
        rows: list[Row] = []
        for frame in data:
            if isinstance(frame, Mapping):
                rows.append(dict(frame))
                continue
            row: Row = {}
            for i, face in enumerate(frame):
                row[f"box{i}"] = face["box"]
                row.update({f"{name}{i}": p for name, p in face["emotions"].items()})
            rows.append(row)
        return rows


def _within(reader: Recognizer, image: NDArray[np.uint8], part: Mapping[str, int] | None) -> Faces:
    """The faces of a part of the image, in the whole image's pixels."""
    if part is None:
        return reader.faces(image)
    x, y = max(0, part["x_min"]), max(0, part["y_min"])
    cut = image[y : part["y_max"], x : part["x_max"]]
    if not cut.size:
        raise UsageError(f"the detection box {dict(part)} holds no pixel of the video.")
    faces = reader.faces(np.ascontiguousarray(cut))
    shift = np.array([x, y], np.float32)
    return faces.replace(
        boxes=faces.boxes + np.array([x, y, 0, 0], np.float32),
        landmarks=None if faces.landmarks is None else faces.landmarks + shift,
        width=image.shape[1],
        height=image.shape[0],
    )

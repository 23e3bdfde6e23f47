"""The table of ``moue predict``: a row a face, and a row a person of a video."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moue.cli.output import write
from moue.preprocess import ImageArray
from moue.runtime.outputs.people import People
from moue.runtime.outputs.sinks import ResultSink
from moue.runtime.results import Faces


class TableSink(ResultSink):
    """Prints a table when all results are there, as the width of its columns depends on all of them.

    Of a video it has a row a person instead of thousands of frames.
    """

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._people, self._frames = People(), 0
        self._first = self._last = 0.0

    def write(self, faces: Faces, image: ImageArray | None = None) -> None:
        """See :class:`moue.runtime.outputs.sinks.ResultSink`."""
        if faces.timestamp is None:
            # After the frames of a video, this says why it ended.
            self._end_video()
            self._rows += _face_rows(faces)
        else:
            self._source, self._last = faces.source, faces.timestamp
            if not self._frames:
                self._first = faces.timestamp
            self._frames += 1
            self._people.add(faces)

    def end(self) -> None:
        """See :class:`moue.runtime.outputs.sinks.ResultSink`."""
        self._end_video()

    def close(self, complete: bool = True) -> None:
        """See :class:`moue.runtime.outputs.sinks.ResultSink`: nothing where nothing was read."""
        self._end_video()
        if self._rows:
            write(self._rows, "table")

    def _end_video(self) -> None:
        if self._frames:
            self._rows += self._video_rows()
            self._people, self._frames = People(), 0

    def _video_rows(self) -> Iterator[dict[str, Any]]:
        people = self._people.summary()
        for person in people:
            time = f"{person['start']:.2f}–{person['end']:.2f} s"
            remark = f"track {person['track']}, mean of {person['frames']} frames"
            yield _row(self._source, time, "", person["label"], person["probabilities"][person["label"]], remark)
        if not people:
            time = f"{self._first:.2f}–{self._last:.2f} s"
            yield _row(self._source, time, remark=f"no face in {self._frames} frames")


def _row(
    source: str, time: str = "", box: str = "", label: str = "", p: float | None = None, remark: str = ""
) -> dict[str, Any]:
    # Three digits; 1 is left to what is certain, which no network is.
    probability = None if p is None else f"{min(p, 0.999) if p < 1 else p:.3f}"
    return {"source": source, "time": time, "box": box, "label": label, "probability": probability, "remark": remark}


def _face_rows(faces: Faces) -> Iterator[dict[str, Any]]:
    if not len(faces):
        status = "no face" if faces.readable else faces.status
        yield _row(faces.source, remark=": ".join(filter(None, (status, faces.reason))))
    for face in faces:
        x, y, w, h = face.box
        flaws = ", ".join(face.flaws).replace("_", " ")
        uncertain = ": ".join(filter(None, ("uncertain", flaws))) if face.uncertain else ""
        remark = "; ".join(filter(None, (uncertain, faces.reason)))
        yield _row(faces.source, "", f"{x:.0f} {y:.0f} {w:.0f} {h:.0f}", face.label, face.confidence, remark)

"""``moue predict``: read faces in photos, folders, videos or a camera."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from moue.cli.main import PARTLY
from moue.cli.output import add_format, write
from moue.cli.progress import Progress
from moue.errors import Unreadable, UsageError
from moue.image import MAX_PIXELS
from moue.progress import Report
from moue.runtime.inputs.paths import require_list, require_one
from moue.runtime.inputs.resolve import resolve
from moue.runtime.inputs.source import Source
from moue.runtime.outputs.folder import OutputFolder
from moue.runtime.outputs.sinks import ParquetSink, Text
from moue.runtime.outputs.timeline import Timeline
from moue.runtime.recognizer import Recognizer
from moue.runtime.results import Faces
from moue.runtime.validation import check
from moue.runtime.video.decode import Sampler
from moue.runtime.video.smooth import SMOOTH
from moue.runtime.weights import files_of
from moue.spec import VIEWS

#: More images than this are many: an engine that takes longer to start pays.
MANY = 50
#: No failures either: a file that is neither image nor video, and a camera that was pulled out.
PASSED_OVER = ("skipped", "camera_lost")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("sources", nargs="+", metavar="SOURCE", help="file, folder, glob, video, camera, or - for a list on stdin")
    add("--out", metavar="DIR", help="folder for the rows and the annotated image or video of each input")
    add("--model", default="default", help="a name of `moue models`, an .onnx file or a run folder (default: default)")
    add("--detector", default="centerface", choices=("centerface", "none"), help="none: each image is one face")
    add("--engine", default="auto", choices=("auto", "onnxruntime", "openvino"), help="what runs the graphs")
    add("--threads", type=int, default=0, help="CPU threads (default: all)")
    add("--min-score", type=float, default=0.5, help="how sure the detector must be, 0 to 1 (default: 0.5)")
    add("--uncertain", type=float, help="mark answers below this probability, 0 to 1 (default: the model's own)")
    add("--small-faces", action="store_true", help="search at the native size, not on 1280 pixels")
    add(
        "--views",
        type=int,
        choices=tuple(VIEWS),
        help="average each face with its mirror image (2), shifts too (6), or over ten crops (default: the model's)",
    )
    add("--every", type=int, default=1, metavar="N", help="read each Nth frame of a video")
    add("--fps", type=float, help="read at most that many frames a second of a video")
    add(
        "--smooth",
        type=float,
        default=SMOOTH,
        metavar="SECONDS",
        help=f"smooth a video's probabilities over about that long; 0 for each frame's own (default: {SMOOTH})",
    )
    add("--max-pixels", type=int, default=MAX_PIXELS, help=f"refuse larger photos and videos (default: {MAX_PIXELS})")
    add("--no-window", action="store_true", help="show no window for a camera")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Read, print, and answer 3 when something could not be read."""
    Sampler(args.every, args.fps)
    check("smooth", args.smooth, 0)
    require_one(args.sources)
    if "-" in args.sources:
        require_list(sys.stdin)
    if args.format == "parquet" and not args.out and sys.stdout.isatty():
        raise UsageError("parquet is binary: name a folder with --out, or send it to a file with > rows.parquet.")
    output_folder = OutputFolder(args.out, files_of(args.model)) if args.out else None
    sources, total = _counted(args.sources, output_folder.folder if output_folder else None)
    recognizer = Recognizer(
        args.model,
        args.detector,
        engine=args.engine,
        threads=args.threads,
        min_score=args.min_score,
        uncertain=args.uncertain,
        small_faces=args.small_faces,
        views=args.views,
        max_pixels=args.max_pixels,
        many=total is None or total > MANY,
    )
    printer = _Printer(args.format, recognizer.spec.labels)
    try:
        with Progress("reading", "inputs") as progress:
            for done, source in enumerate(sources, start=1):
                if output_folder is None:
                    for answer in _answers(recognizer, source, args, progress):
                        printer(answer)
                else:
                    _keep(recognizer, source, args, output_folder, printer, progress)
                printer.end_input()
                progress(done, total)
    except BaseException:
        # Interrupted, what was read so far is the answer; of what could not even begin there is none.
        if printer.begun:
            printer.close()
        raise
    printer.close()
    return PARTLY if printer.failed else 0


def _counted(names: list[str], without: Path | None) -> tuple[Iterator[Source], int | None]:
    """The sources, and their number or, for a video, a camera or a list on stdin, None."""
    found = resolve(names, exclude=without)
    if "-" in names:
        return found, None
    every = list(found)
    moving = any(source.kind in ("video", "camera") for source in every)
    return iter(every), None if moving else len(every)


def _answers(
    recognizer: Recognizer, source: Source, args: argparse.Namespace, report: Report, annotated: str | None = None
) -> Iterator[Faces]:
    if source.kind == "camera":
        from moue.runtime.video.camera import stream_camera

        return stream_camera(recognizer.for_video(), int(source.name), smooth=args.smooth, window=not args.no_window)
    if source.kind == "video":
        from moue.runtime.video.stream import stream_video

        return stream_video(
            recognizer.for_video(),
            source.name,
            every=args.every,
            fps=args.fps,
            smooth=args.smooth,
            annotated=annotated,
            report=report,
            max_pixels=args.max_pixels,
        )
    return recognizer.stream([source])


def _keep(
    recognizer: Recognizer,
    source: Source,
    args: argparse.Namespace,
    output_folder: OutputFolder,
    printer: _Printer,
    report: Report,
) -> None:
    """Read one input, and write its rows and its annotated image or video as they come."""
    stem = output_folder.stem(source)
    if source.kind == "image":
        _keep_image(recognizer, source.name, stem, args.format, output_folder, printer)
        return
    annotated = str(output_folder.folder / f"{stem}.mp4") if source.kind == "video" else None
    timeline = Timeline()
    with closing(output_folder.answers(stem, _suffix(args.format), recognizer.spec.labels)) as file:
        for answer in _answers(recognizer, source, args, report, annotated):
            file.write(answer)
            printer(answer)
            if source.kind == "video":
                timeline.add(answer)
    if annotated and os.path.exists(annotated):  # noqa: PTH110
        sys.stderr.write(f"{annotated}\n")
        _keep_tracks(timeline, stem, output_folder)


def _keep_image(
    recognizer: Recognizer, path: str, stem: str, format: str, output_folder: OutputFolder, printer: _Printer
) -> None:
    """Read one image, once, as it may come through a pipe; write its row and the annotated image."""
    image = None
    try:
        image = recognizer.open(path)
    except Unreadable as error:
        answer = recognizer.failed(path, error.status, str(error))
    else:
        answer = recognizer.faces(image, path)
    with closing(output_folder.answers(stem, _suffix(format), recognizer.spec.labels)) as file:
        file.write(answer)
    printer(answer)
    if image is not None:
        sys.stderr.write(f"{output_folder.image(stem, answer.draw(image), path)}\n")


def _keep_tracks(timeline: Timeline, stem: str, output_folder: OutputFolder) -> None:
    """Write what became of each face of a video: a summary, and where matplotlib is installed an image over time."""
    tracks = json.dumps(timeline.summary(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    sys.stderr.write(f"{output_folder.write(f'{stem}.tracks.json', tracks.encode())}\n")
    if find_spec("matplotlib") is not None:
        path = output_folder.folder / f"{stem}.timeline.png"
        timeline.plot(path)
        sys.stderr.write(f"{path}\n")


def _suffix(format: str) -> str:
    """The format of the files beside a printed answer: a table is for people."""
    return "json" if format == "table" else format


class _Printer:
    """Prints answers as they come; a table when all are there, as its columns' widths need all of them."""

    def __init__(self, format: str, labels: tuple[str, ...]) -> None:
        self.format, self.labels = format, labels
        self.failed = self.begun = False
        self._text = Text(format, labels) if format in ("json", "jsonl", "csv") else None
        self._table = _Table()
        # A terminal takes no binary; what was asked for is in the files.
        pipe = format == "parquet" and not sys.stdout.isatty()
        self._parquet = ParquetSink(sys.stdout.buffer, labels) if pipe else None

    def __call__(self, answer: Faces) -> None:
        self.begun = True
        self.failed |= not answer.readable and answer.status not in PASSED_OVER
        if self.format in ("csv", "parquet") and answer.reason is not None:
            # Their columns have no place for it.
            sys.stderr.write(f"moue: {answer.source}: {answer.reason}\n")
        if self._text is not None:
            sys.stdout.write(self._text.piece(answer))
            sys.stdout.flush()
        elif self._parquet is not None:
            self._parquet.write(answer)
        elif self.format == "table":
            self._table(answer)

    def end_input(self) -> None:
        """What comes next belongs to another input, which may be the same video again."""
        self._table.end_video()

    def close(self) -> None:
        if self._text is not None:
            sys.stdout.write(self._text.end)
        elif self._parquet is not None:
            self._parquet.close()
        elif self.format == "table":
            write(self._table.rows(), "table")


class _Table:
    """The rows that are shown: one row per face, and of a video one row per person instead of thousands of frames."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._source = ""
        self._timeline, self._frames, self._last = Timeline(), 0, 0.0

    def __call__(self, answer: Faces) -> None:
        if answer.timestamp is None:
            # What comes without a time after a video's frames says why it ended.
            self.end_video()
            self._rows += _shown(answer)
            return
        self._source = answer.source
        self._frames, self._last = self._frames + 1, answer.timestamp
        self._timeline.add(answer)

    def rows(self) -> list[dict[str, Any]]:
        """All rows; to be asked once."""
        self.end_video()
        return self._rows

    def end_video(self) -> None:
        """Sum up the video whose frames came, if there is one."""
        if self._frames:
            self._rows += _people(self._source, self._timeline, self._frames, self._last)
            self._timeline, self._frames = Timeline(), 0


def _people(source: str, timeline: Timeline, frames: int, last: float) -> Iterator[dict[str, Any]]:
    """The table's rows for a video."""
    found = timeline.summary()
    for person in found:
        yield {
            "source": source,
            "time": f"{person['first']:.2f}–{person['last']:.2f} s",
            "box": "",
            "label": person["label"],
            "probability": _probability(person["probabilities"][person["label"]]),
            "remark": f"track {person['track']}, mean of {person['frames']} frames",
        }
    if not found:
        row = {"source": source, "time": f"0.00–{last:.2f} s", "box": "", "label": "", "probability": None}
        yield row | {"remark": f"no face in {frames} frames"}


def _probability(p: float) -> str:
    """Three digits; 1 is for what is certain, which no network is."""
    return f"{min(p, 0.999) if p < 1 else p:.3f}"


def _shown(answer: Faces) -> Iterator[dict[str, Any]]:
    """The rows of the table: what a person wants to see."""
    said = answer.predictions
    remark = "" if answer.readable else f"{answer.status}: {answer.reason}"
    if not len(answer):
        remark = remark or "no face"
        yield {"source": answer.source, "time": "", "box": "", "label": "", "probability": None, "remark": remark}
    for i, (x, y, w, h) in enumerate(answer.boxes):
        yield {
            "source": answer.source,
            "time": "",
            "box": f"{x:.0f} {y:.0f} {w:.0f} {h:.0f}",
            "label": said.class_names[i],
            "probability": _probability(float(said.confidence[i])),
            "remark": "uncertain" if said.uncertain[i] else "",
        }

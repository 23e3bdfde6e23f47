"""``moue predict``: read faces in photos, folders, videos or a camera."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

from moue.cli.clock import seconds
from moue.cli.main import OK, PARTIAL
from moue.cli.output import add_format
from moue.cli.result_table import TableSink
from moue.cli.run_progress import RunProgress
from moue.errors import UsageError
from moue.image import MAX_PIXELS
from moue.runtime.engine import ENGINES
from moue.runtime.inputs.paths import require_list, require_one
from moue.runtime.inputs.resolve import resolve
from moue.runtime.inputs.source import Source
from moue.runtime.network.retry import RETRIES
from moue.runtime.options import VideoOptions
from moue.runtime.outputs.folder import FolderOptions, FolderSink, OutputFolder
from moue.runtime.outputs.index import Index
from moue.runtime.outputs.sinks import ParquetSink, ResultSink, TextFormatter, TextSink
from moue.runtime.recognizer import Recognizer
from moue.runtime.run import run as read_all
from moue.runtime.validation import check_number
from moue.runtime.video.smooth import SMOOTH
from moue.runtime.weights import files_of
from moue.runtime.workload import Workload, workload_of
from moue.spec import VIEWS

#: From this many images on, an engine that takes longer to start is worth it.
MANY = 50


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="file, folder, glob, camera, rtsp:// or http:// address, or - for a list",
    )
    results = parser.add_argument_group("results")
    add = results.add_argument
    add("-o", "--out", metavar="DIR", help="folder for tables, and the rows and annotated image or video of each input")
    add("--resume", action="store_true", help="read only what has no complete, unchanged results in --out yet")
    add(
        "--save-faces",
        action="store_true",
        help="with --out: each face as an upright image; in a video one a person and second",
    )
    add("--quiet", action="store_true", help="show no progress")
    add(
        "--window",
        action=argparse.BooleanOptionalAction,
        help="show the images of a camera or stream in a window, as it is for a camera",
    )
    add_format(results)

    add = parser.add_argument_group("model").add_argument
    add("--model", default="default", help="a name of `moue models`, an .onnx file or a run folder (default: default)")
    add(
        "--views",
        type=int,
        choices=tuple(VIEWS),
        help="average each face with its mirror image (2), shifts too (6), or over ten crops (default: the model's)",
    )
    add("--uncertain", type=float, help="mark predictions below this probability, 0 to 1 (default: the model's own)")
    add(
        "--logit-adjustment",
        type=float,
        metavar="TAU",
        help="favor rare classes: 0 for the likeliest class, 1 for the best mean recall (default: the model's, 0)",
    )
    add("--engine", default="auto", choices=ENGINES, help="what runs the graphs, a GPU's among them")
    add("--threads", type=int, default=0, help="CPU threads (default: all)")

    add = parser.add_argument_group("faces").add_argument
    add("--detector", default="centerface", choices=("centerface", "none"), help="none: each image is one face")
    add("--min-score", type=float, default=0.5, help="the least score of a detected face, 0 to 1 (default: 0.5)")
    add("--small-faces", action="store_true", help="search at the native size, not on 1280 pixels")

    add = parser.add_argument_group("videos, cameras and streams").add_argument
    add("--start", type=seconds, default=0.0, metavar="T", help="where to begin in a video: 90, 1:30 or 0:01:30")
    add("--end", type=seconds, metavar="T", help="where to end in a video; frames keep the times of the whole video")
    add("--every", type=int, default=1, metavar="N", help="read every Nth frame of a video")
    add("--fps", type=float, help="read at most this many frames per second of a video")
    add(
        "--smooth",
        type=float,
        default=SMOOTH,
        metavar="SECONDS",
        help=f"smooth a video's probabilities over about that long; 0 for each frame's own (default: {SMOOTH})",
    )

    add(
        "--reconnect",
        type=int,
        default=RETRIES,
        metavar="N",
        help=f"how often in a row a lost stream is connected to again (default: {RETRIES})",
    )

    add = parser.add_argument_group("large and damaged inputs").add_argument
    add("--max-pixels", type=int, default=MAX_PIXELS, help=f"refuse larger photos and videos (default: {MAX_PIXELS})")
    add(
        "--truncated",
        default="read",
        choices=("read", "refuse"),
        help="a JPEG that breaks off: read it if nine tenths of its rows are there (default), or refuse it",
    )


def run(args: argparse.Namespace) -> int:
    """Read and print.

    Returns:
        The exit code: 3 when something could not be read.
    """
    _check_flags(args)
    video = VideoOptions(args.every, args.fps, args.smooth, args.start, args.end, args.window, args.reconnect)
    require_one(args.sources)
    if "-" in args.sources:
        require_list(sys.stdin)
    if args.format == "parquet" and not args.out and sys.stdout.isatty():
        raise UsageError("parquet is binary: name a folder with --out, or send it to a file with > rows.parquet.")
    folder = OutputFolder(args.out, files_of(args.model), args.sources) if args.out else None
    sources: Iterable[Source] = resolve(args.sources, exclude=folder.path if folder else None)
    # A list on stdin may come from a program that is still writing it.
    if "-" not in args.sources:
        sources = list(sources)
    recognizer = Recognizer(
        args.model,
        args.detector,
        engine=args.engine,
        threads=args.threads,
        min_score=args.min_score,
        uncertain_below=args.uncertain,
        logit_adjustment=args.logit_adjustment,
        small_faces=args.small_faces,
        views=args.views,
        max_pixels=args.max_pixels,
        truncated=args.truncated,
        optimize_for="throughput" if _are_many(sources) else "latency",
    )
    sinks = _stdout_sinks(args.format, recognizer.spec.labels)
    sink = None
    if folder is not None:
        # A table is for people; the files beside it are JSON.
        options = FolderOptions("json" if args.format == "table" else args.format, args.save_faces)
        sink = FolderSink(folder, recognizer.spec, options, (recognizer.options, video), resume=args.resume)
        sinks.insert(0, sink)
        sources = _pending(sink.index, sources, args.resume)
    progress = _progress(args, sources, video)
    try:
        failed = read_all(
            sources,
            recognizer,
            sinks if progress is None else [*sinks, progress],
            video,
            report=None if progress is None else progress.report,
            on_remark=_print_remark if progress is None else lambda text: progress.note(f"moue: {text}"),
        )
    except KeyboardInterrupt as interrupt:
        # What is live cannot go on.
        if sink is None or (isinstance(sources, list) and all(s.kind in ("camera", "stream") for s in sources)):
            raise
        raise KeyboardInterrupt(*interrupt.args, "the same command with --resume goes on") from None
    if sink is not None:
        saved = f", with {sink.saved_faces:,} images of faces (of a video one a person and second)"
        _print_remark(f"the results are in {args.out}{saved if args.save_faces else ''}")
    return PARTIAL if failed else OK


def _check_flags(args: argparse.Namespace) -> None:
    """Refuse what cannot be used by the name that was typed, which the library does not know."""
    check_number("--min-score", args.min_score, 0, 1)
    if args.uncertain is not None:
        check_number("--uncertain", args.uncertain, 0, 1)
    check_number("--threads", args.threads, 0, integer=True)
    check_number("--max-pixels", args.max_pixels, 1, integer=True)
    check_number("--every", args.every, 1, integer=True)
    if args.fps is not None:
        check_number("--fps", args.fps, 0, exclusive=True)
    check_number("--smooth", args.smooth, 0)
    check_number("--reconnect", args.reconnect, 0, integer=True)
    if args.save_faces and not args.out:
        raise UsageError("--save-faces writes beside the results. Name a folder for them with --out.")
    if args.resume and not args.out:
        raise UsageError("--resume goes on with a folder of results. Name it with --out.")


def _are_many(sources: Iterable[Source]) -> bool:
    """Whether an engine that takes longer to start is worth it: for many images, what has frames, and a list."""
    if not isinstance(sources, list):
        return True
    return len(sources) > MANY or any(source.kind in ("video", "camera", "stream") for source in sources)


def _pending(index: Index, sources: Iterable[Source], resume: bool) -> Iterable[Source]:
    """What of the sources is to be read; says how many are not."""
    pending: Iterable[Source] = index.pending(sources)
    if isinstance(sources, list):
        pending = list(pending)
        if gone := index.gone():
            _print_remark(f"{_inputs(len(gone))} gone or renamed and still in the tables, such as {gone[0]}")
        if others := index.left_out():
            why = "their options or model are others" if resume else "--resume would keep those of the same options"
            _print_remark(f"{_inputs(others)} of earlier runs and not in the tables: {why}")
    if index.kept:
        _print_remark(f"{_inputs(index.kept)} not read again: the results are there")
    if index.again:
        why = "of other options or another model" if resume else "there, which --resume would keep"
        _print_remark(f"{_inputs(index.again)} read again: the results are {why}")
    if index.repeated:
        _print_remark(f"{_inputs(index.repeated)} given more than once, and read once")
    return pending


def _inputs(count: int) -> str:
    return f"{count:,} {'input is' if count == 1 else 'inputs are'}"


def _progress(args: argparse.Namespace, sources: Iterable[Source], video: VideoOptions) -> RunProgress | None:
    """What shows how far the run is."""
    if isinstance(sources, list) and (args.start or args.end is not None) and all(s.kind == "image" for s in sources):
        _print_remark("--start and --end are for videos: photos are read as ever")
    if args.quiet:
        return None

    def load_of(source: Source) -> Workload:
        return workload_of(source, video, bool(args.out))

    # Rows that are printed on the terminal itself would tear a live line apart.
    live = sys.stderr.isatty() and not (sys.stdout.isatty() and args.format != "table")
    return RunProgress([load_of(s) for s in sources] if isinstance(sources, list) else None, load_of, live=live)


def _stdout_sinks(format: str, labels: tuple[str, ...]) -> list[ResultSink]:
    if format == "table":
        return [TableSink()]
    if format != "parquet":
        return [TextSink(sys.stdout, TextFormatter(format, labels))]
    # Not binary data on a terminal; it is in the files.
    return [] if sys.stdout.isatty() else [ParquetSink(sys.stdout.buffer, labels)]


def _print_remark(text: str) -> None:
    sys.stderr.write(f"moue: {text}\n")

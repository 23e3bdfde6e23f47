"""``moue predict``: read faces in photos, folders, videos or a camera."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

from moue.cli.main import OK, PARTIAL
from moue.cli.numbers import whole
from moue.cli.output import add_format
from moue.cli.reading import add_large, add_model, add_video, recognizer_options, video_options
from moue.cli.result_table import TableSink
from moue.cli.run_progress import RunProgress
from moue.errors import UsageError
from moue.runtime.engine import OptimizeFor
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
from moue.runtime.weights import files_of
from moue.runtime.workload import Workload, workload_of

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
    add_format(results, prints=False)

    add_model(parser)
    add = parser.add_argument_group("processor").add_argument
    add("--threads", type=whole(0), default=0, help="CPU threads (default: all)")
    videos = parser.add_argument_group("videos, cameras and streams")
    add_video(videos)
    videos.add_argument(
        "--reconnect",
        type=whole(0),
        default=RETRIES,
        metavar="N",
        help=f"how often in a row a lost stream is connected to again (default: {RETRIES})",
    )
    add_large(parser)


def run(args: argparse.Namespace) -> int:
    """Read and print.

    Returns:
        The exit code: 3 when something could not be read.
    """
    _check_flags(args)
    video = video_options(args, window=args.window, reconnect=args.reconnect)
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
    optimize_for: OptimizeFor = "throughput" if _are_many(sources) else "latency"
    recognizer = Recognizer.from_options(recognizer_options(args, threads=args.threads, optimize_for=optimize_for))
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
    """Refuse options that need another one."""
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

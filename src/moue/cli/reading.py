"""The options of reading that `moue predict` and `moue score` share."""

from __future__ import annotations

import argparse
from typing import Any

from moue.cli.clock import end, seconds
from moue.cli.numbers import real, whole
from moue.image import MAX_PIXELS
from moue.runtime.detect import STRIDE
from moue.runtime.engine import ENGINES, OptimizeFor
from moue.runtime.options import RecognizerOptions, VideoOptions
from moue.runtime.video.smooth import SMOOTH
from moue.spec import VIEWS


def add_model(parser: argparse.ArgumentParser, engine: str = "--engine") -> None:
    """Add the options of the model and of the faces.

    Args:
        parser: of the command.
        engine: the name of the option that chooses what runs the graphs.
    """
    add = parser.add_argument_group("model").add_argument
    add("--model", default="default", help="a name of `moue models`, an .onnx file or a run folder (default: default)")
    add(
        "--views",
        type=whole(1),
        choices=tuple(VIEWS),
        help="average each face with its mirror image (2), shifts too (6), or over ten crops (default: the model's)",
    )
    add(
        "--uncertain",
        type=real(0, 1),
        help="mark predictions below this probability, 0 to 1 (default: the model's own)",
    )
    add(
        "--logit-adjustment",
        type=real(0, 2),
        metavar="TAU",
        help="favor rare classes: 0 for the likeliest class, 1 for the best mean recall (default: the model's, 0)",
    )
    add(engine, dest="graph_engine", default="auto", choices=ENGINES, help="what runs the graphs, a GPU's among them")

    add = parser.add_argument_group("faces").add_argument
    add("--detector", default="centerface", choices=("centerface", "none"), help="none: each image is one face")
    add("--min-score", type=real(0, 1), default=0.5, help="the least score of a detected face, 0 to 1 (default: 0.5)")
    add("--small-faces", action="store_true", help="search at the native size, not on 1280 pixels")
    add(
        "--long-side",
        type=whole(STRIDE),
        default=1280,
        metavar="PIXELS",
        help="search photos at this size: 640 is faster and misses small faces (default: 1280)",
    )


def add_video(group: Any) -> None:
    """Add the options of videos to a group."""
    add = group.add_argument
    add("--start", type=seconds, default=0.0, metavar="T", help="where to begin in a video: 90, 1:30 or 0:01:30")
    add("--end", type=end, metavar="T", help="where to end in a video; frames keep the times of the whole video")
    add("--every", type=whole(1), default=1, metavar="N", help="read every Nth frame of a video")
    add("--fps", type=real(0, exclusive=True), help="read at most this many frames per second of a video")
    add(
        "--detect-every",
        type=whole(1),
        default=1,
        metavar="N",
        help="search the whole of every Nth frame, and others around the faces found: faster (default: 1)",
    )
    add(
        "--smooth",
        type=real(0),
        default=SMOOTH,
        metavar="SECONDS",
        help=f"smooth a video's probabilities over about that long; 0 for each frame's own (default: {SMOOTH})",
    )


def add_large(parser: argparse.ArgumentParser) -> None:
    """Add the options of large and damaged inputs."""
    add = parser.add_argument_group("large and damaged inputs").add_argument
    add(
        "--max-pixels",
        type=whole(1),
        default=MAX_PIXELS,
        help=f"refuse larger photos and videos (default: {MAX_PIXELS})",
    )
    add(
        "--truncated",
        default="read",
        choices=("read", "refuse"),
        help="a JPEG that breaks off: read it if nine tenths of its rows are there (default), or refuse it",
    )


def recognizer_options(
    args: argparse.Namespace, *, threads: int = 0, optimize_for: OptimizeFor = "throughput"
) -> RecognizerOptions:
    """The options that were typed."""
    return RecognizerOptions(
        args.model,
        args.detector,
        engine=args.graph_engine,
        threads=threads,
        min_score=args.min_score,
        uncertain_below=args.uncertain,
        logit_adjustment=args.logit_adjustment,
        small_faces=args.small_faces,
        long_side=args.long_side,
        detect_every=args.detect_every,
        views=args.views,
        max_pixels=args.max_pixels,
        truncated=args.truncated,
        optimize_for=optimize_for,
    )


def video_options(args: argparse.Namespace, **live: Any) -> VideoOptions:
    """The options that were typed, with those of cameras and streams."""
    return VideoOptions(args.every, args.fps, args.smooth, args.start, args.end, **live)

"""The options of a recognizer, and how it reads videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from moue.errors import UsageError
from moue.image import MAX_PIXELS, Truncated
from moue.runtime.detect import STRIDE, CenterFace, Detector
from moue.runtime.engine import Engine, EngineName, OptimizeFor
from moue.runtime.network.retry import RETRIES
from moue.runtime.validation import check_choice, check_number
from moue.runtime.video.decode import check_sampling
from moue.runtime.video.smooth import SMOOTH
from moue.tta import check_views


@dataclass(frozen=True)
class RecognizerOptions:
    """The options of :class:`moue.Recognizer`, checked.

    Raises:
        UsageError: for a value out of its range.
    """

    model: str | Path | Engine = "default"
    """A name of ``moue models``, the path of an ``.onnx`` with its ``.json``, a run folder, or an open engine."""
    detector: str | Detector = "centerface"
    """"centerface", "none" where each image is one face, or an object with ``detect``."""
    engine: EngineName = "auto"
    """One of :data:`moue.runtime.engine.ENGINES`: "onnxruntime", "openvino", a GPU's, or "auto" to choose by
    ``optimize_for``."""
    threads: int = 0
    """CPU threads; 0 to choose."""
    min_score: float = 0.5
    """The least score of the detector that makes a face, 0 to 1."""
    uncertain_below: float | None = None
    """A prediction with a lower top probability is uncertain, 0 to 1; the model's own threshold where None."""
    logit_adjustment: float | None = None
    """How much rare classes are favored: 0 for the likeliest class, 1 for the best mean recall over the classes, see
    :class:`moue.spec.ModelSpec`; the model's own where None."""
    small_faces: bool = False
    """Whether to search at the native size instead of on ``long_side``: finds faces of 15 pixels in large images, and
    takes longer the larger they are."""
    long_side: int = 1280
    """Larger photos are scaled to this long side, in pixels, for the search; a smaller one is quicker and misses the
    smaller faces."""
    video_side: int = 384
    """The same for frames of videos and cameras."""
    detect_every: int = 1
    """Of videos, search the whole of every Nth frame at least, and between them around the faces of the frame before,
    see :mod:`moue.runtime.follow`. 1 searches the whole of each frame. Needs the detector "centerface"."""
    views: int | None = None
    """How many views of a face are averaged, one of :data:`moue.spec.VIEWS`; the model's own number where None."""
    batch_size: int | None = None
    """How many crops, or views of them, are classified at once; what suits the engine's device where None. Changes
    memory and speed, not the results."""
    optimize_for: OptimizeFor = "latency"
    """What the engine "auto" is chosen for: "latency" for a few images, "throughput" for many."""
    max_pixels: int = MAX_PIXELS
    """Larger photos, and videos of larger frames, are refused; a JPEG of up to four times as many pixels is read at
    half its size. A pixel of WebP, JPEG 2000 and AVIF counts twice: their decoders take twice the memory."""
    truncated: Truncated = "read"
    """What becomes of a JPEG that breaks off: "read" reads it, with a remark, where nine tenths of its rows are there;
    "refuse" makes it unreadable."""

    def __post_init__(self) -> None:
        check_number("min_score", self.min_score, 0, 1)
        if self.uncertain_below is not None:
            check_number("uncertain_below", self.uncertain_below, 0, 1)
        if self.logit_adjustment is not None:
            check_number("logit_adjustment", self.logit_adjustment, 0, 2)
        if self.batch_size is not None:
            check_number("batch_size", self.batch_size, 1, integer=True)
        check_number("max_pixels", self.max_pixels, 1, integer=True)
        for name in ("long_side", "video_side"):
            check_number(name, getattr(self, name), STRIDE)
        check_number("detect_every", self.detect_every, 1, integer=True)
        if self.detect_every > 1 and not (self.detector == "centerface" or isinstance(self.detector, CenterFace)):
            raise UsageError("detect_every needs the detector centerface, which can search around a face.")
        if self.views is not None:
            check_views(self.views)
        check_choice("value of truncated", self.truncated, get_args(Truncated))
        check_choice("value of optimize_for", self.optimize_for, get_args(OptimizeFor))

    @property
    def search_side(self) -> int | None:
        """The long side on which photos are searched; None for the native size."""
        return None if self.small_faces else self.long_side


@dataclass(frozen=True)
class VideoOptions:
    """How videos and cameras are read.

    Raises:
        UsageError: when an option cannot be used.
    """

    every: int = 1
    """Of a video, read every Nth frame."""
    fps: float | None = None
    """Of a video, read at most this many frames per second; instead of ``every``."""
    smooth: float = SMOOTH
    """Time constant of the probabilities' smoothing over time, in seconds; 0 for each frame's own."""
    start: float = 0
    """Of a video, seconds of the first frame to read. Frames keep the numbers and timestamps of the whole video."""
    end: float | None = None
    """Of a video, seconds before which frames are read; None for all."""
    window: bool | None = False
    """Whether the images of a camera or a live stream are shown in a window; None: those of a camera."""
    reconnect: int = RETRIES
    """How often in a row a lost connection to a stream is made again."""

    def __post_init__(self) -> None:
        check_sampling(self.every, self.fps, self.start, self.end)
        check_number("smooth", self.smooth, 0)
        check_number("reconnect", self.reconnect, 0, integer=True)

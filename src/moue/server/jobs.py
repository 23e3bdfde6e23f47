"""Videos being read: one after the other, each in a folder of its own that goes when the job does."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from moue.errors import MoueError, Unreadable
from moue.runtime.recognizer import Recognizer
from moue.runtime.results import Faces
from moue.runtime.video.decode import Sampler, Video, open_video
from moue.runtime.video.stream import stream_video
from moue.server.batcher import Overloaded
from moue.signatures import HEAD, kind_of

PREFIX = "moue-serve-"
_LOCK = "owner.lock"


@dataclass
class Job:
    """One video on its way through."""

    identity: str
    name: str
    """The video's name, as its sender gave it."""
    folder: Path
    status: str = "uploading"
    """"uploading", "waiting", "reading", "done", "failed" or "cancelled"."""
    reason: str | None = None
    """Why it failed."""
    frames: int = 0
    """Frames gone by."""
    total: int | None = None
    """Frames in all, where the video tells."""
    rows: int = 0
    """Rows written."""
    annotate: bool = True
    """Whether an annotated video is written."""
    started: float = 0.0
    """When reading began, on the monotonic clock."""
    ended: float | None = None
    """When it ended."""
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def upload(self) -> Path:
        """The video."""
        return self.folder / "upload"

    @property
    def answer(self) -> Path:
        """Its rows, as JSON lines."""
        return self.folder / "rows.jsonl"

    @property
    def annotated(self) -> Path:
        """The annotated video."""
        return self.folder / "annotated.mp4"

    def to_dict(self) -> dict[str, Any]:
        """What ``GET /v1/videos/{id}`` says."""
        seconds = ((self.ended or time.monotonic()) - self.started) if self.started else 0.0
        return {
            "id": self.identity,
            "source": self.name,
            "status": self.status,
            "reason": self.reason,
            "frames": self.frames,
            "total": self.total,
            "rows": self.rows,
            "annotated": self.annotate and self.status == "done" and self.annotated.is_file(),
            "seconds": round(seconds, 3),
        }


class Jobs:
    """The videos of one server; safe to share between threads.

    Folders of servers that crashed are removed at the start, those of this one at the end.

    Args:
        most: videos at once that are not finished, and finished ones that are kept.
        seconds: for reading one.
        keep: seconds for which a finished one is kept at most.
        folder: where the folders are made; the system's for temporary files where None.
    """

    def __init__(self, most: int, seconds: float, keep: float, folder: Path | None = None) -> None:
        self._most, self._seconds, self._keep = most, seconds, keep
        parent = Path(tempfile.gettempdir()) if folder is None else folder
        sweep(parent)
        self._parent = parent
        self._settle()
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._reader = ThreadPoolExecutor(1, "moue-videos")

    def __len__(self) -> int:
        return len(self._jobs)

    def new(self, name: str) -> Job:
        """A job whose video is to be written to its ``upload``.

        Raises:
            Overloaded: when too many wait or are being read.
        """
        self.tidy()
        with self._lock:
            if sum(job.ended is None for job in self._jobs.values()) >= self._most:
                raise Overloaded(self._wait())
            identity = secrets.token_urlsafe(12)
            # What clears old temporary files takes the folder of a server that had no video for days.
            if not self._folder.is_dir():
                self._lock_file.close()
                self._settle()
            job = Job(identity, name, self._folder / identity)
            job.folder.mkdir()
            self._jobs[identity] = job
        return job

    def get(self, identity: str) -> Job | None:
        """The job of that identity."""
        self.tidy()
        return self._jobs.get(identity)

    def start(self, job: Job, recognizer: Recognizer, video: Video, wanted: dict[str, Any]) -> None:
        """Read a video when it is its turn.

        Args:
            job: its ``upload`` is there.
            recognizer: who reads.
            video: the video, opened.
            wanted: ``every`` or ``fps``.
        """
        job.status, job.total = "waiting", video.frame_count
        self._reader.submit(self._run, job, recognizer, video, wanted)

    def remove(self, job: Job) -> None:
        """Cancel a job where it is not finished, and remove all it holds."""
        job.cancel.set()
        with self._lock:
            self._jobs.pop(job.identity, None)
            # The reader holds files open: what it is at, it removes itself.
            if job.status == "reading":
                return
        shutil.rmtree(job.folder, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what was finished long ago, or before ``most`` others."""
        early = time.monotonic() - self._keep
        ended = sorted((job.ended, job.identity, job) for job in list(self._jobs.values()) if job.ended is not None)
        for i, (when, _, job) in enumerate(reversed(ended)):
            if i >= self._most or when < early:
                self.remove(job)

    def close(self) -> None:
        """Cancel and remove everything."""
        for job in list(self._jobs.values()):
            self.remove(job)
        self._reader.shutdown(cancel_futures=True)
        self._lock_file.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _settle(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._parent))
        self._lock_file = _own(self._folder)

    def _wait(self) -> int:
        """Seconds until the video being read is likely to be done; 10 where that cannot be told."""
        for job in self._jobs.values():
            if job.status == "reading" and job.frames and job.total:
                spent = time.monotonic() - job.started
                rest = min(spent * (job.total - job.frames) / job.frames, self._seconds - spent)
                return max(1, math.ceil(rest))
        return 10

    def _run(self, job: Job, recognizer: Recognizer, video: Video, wanted: dict[str, Any]) -> None:
        with self._lock:
            if job.cancel.is_set():
                return
            job.status, job.started = "reading", time.monotonic()
        status, reason = "failed", None
        try:
            self._read(job, recognizer, video, wanted)
            status = "done"
        except MoueError as error:
            reason = str(error)
        except OSError as error:
            reason = error.strerror or "the disk cannot be written to"
        except Exception:
            # Its sender is told; the next video has nothing to do with it.
            reason = "reading it failed in a way that was not foreseen"
        with self._lock:
            if job.cancel.is_set():
                status, reason = "cancelled", None
            job.status, job.reason, job.ended = status, reason, time.monotonic()
        job.upload.unlink(missing_ok=True)
        if job.cancel.is_set():
            shutil.rmtree(job.folder, ignore_errors=True)

    def _read(self, job: Job, recognizer: Recognizer, video: Video, wanted: dict[str, Any]) -> None:
        end = time.monotonic() + self._seconds

        def report(done: int, total: int | None) -> None:
            # Here and not at each row: a video of which few frames are asked for is walked through all the same.
            job.frames, job.total = done, total
            if job.cancel.is_set():
                raise MoueError("it was cancelled.")
            if time.monotonic() > end:
                raise MoueError(
                    f"reading took longer than {self._seconds:g} s. Ask for fewer frames, as with fps=5, or cut it."
                )

        annotated = job.annotated if job.annotate else None
        rows = stream_video(recognizer, replace(video, name=job.name), annotated=annotated, report=report, **wanted)
        # Closing the generator is what finishes the annotated video.
        reading = cast("Generator[Faces, None, None]", rows)
        with open(job.answer, "w", encoding="utf-8") as file, closing(reading):
            for row in reading:
                file.write(json.dumps(row.to_dict(), ensure_ascii=False, allow_nan=False) + "\n")
                file.flush()
                job.rows += 1


def opened(path: Path, max_pixels: int) -> Video:
    """A video that a stranger sent.

    Raises:
        Unreadable: when it is none, or its images are too large.
    """
    with open(path, "rb") as file:
        if kind_of(file.read(HEAD)) != "video":
            raise Unreadable("not a video of a kind that is known here: send MP4, WebM, Matroska, AVI, MPEG or Ogg.")
    return open_video(path, max_pixels=max_pixels)


def sampler(every: int | None, fps: float | None) -> dict[str, Any]:
    """``every`` and ``fps`` as :func:`stream_video` takes them.

    Raises:
        UsageError: when they cannot be used.
    """
    wanted: dict[str, Any] = {}
    if every is not None:
        wanted["every"] = every
    if fps is not None:
        wanted["fps"] = fps
    Sampler(**wanted)
    return wanted


def sweep(parent: Path) -> None:
    """Remove the folders of servers that do not run any more."""
    for folder in parent.glob(f"{PREFIX}*"):
        if _abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _own(folder: Path) -> BinaryIO:
    """Hold a lock that the system lets go of however this process ends."""
    file = open(folder / _LOCK, "wb")  # noqa: SIM115 (held until the server ends)
    with contextlib.suppress(ImportError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def _abandoned(folder: Path) -> bool:
    lock = folder / _LOCK
    try:
        if os.name == "nt":
            lock.unlink()  # Refused while another process holds it open.
            return True
        import fcntl

        with open(lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        # In use, somebody else's, or just being made.
        return False

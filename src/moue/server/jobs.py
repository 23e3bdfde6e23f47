"""Video jobs: read one after the other, each with a folder of its own that is removed with the job."""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import queue
import secrets
import shutil
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from moue.errors import MoueError, Unreadable
from moue.image_format import is_animation
from moue.runtime.recognizer import Recognizer
from moue.runtime.video.animation import open_film
from moue.runtime.video.decode import Video
from moue.runtime.video.stream import stream_video
from moue.server.batcher import Overloaded
from moue.server.workspace import Workspace
from moue.signatures import HEAD, kind_of

#: Seconds between two searches for expired jobs, at most.
EXPIRY_INTERVAL = 30


@dataclass
class Job:
    """One video, from its upload until it is removed."""

    id: str
    name: str
    """The file name of the video, as the client sent it."""
    folder: Path
    every: int = 1
    """Read every Nth frame."""
    fps: float | None = None
    """Read at most this many frames a second of video."""
    annotate: bool = True
    """Whether an annotated video is written."""
    status: str = "uploading"
    """"uploading", "waiting", "reading", "done", "failed" or "cancelled"."""
    reason: str | None = None
    """Why it failed."""
    remark: str | None = None
    """What the annotated video lacks."""
    frames: int = 0
    """Frames processed."""
    total: int | None = None
    """Number of frames, where the file says so."""
    rows: int = 0
    """Rows written."""
    started: float = 0.0
    """When reading began, on the monotonic clock."""
    finished: float | None = None
    """When it ended."""
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def upload(self) -> Path:
        """The uploaded video."""
        return self.folder / "upload"

    @property
    def rows_file(self) -> Path:
        """Its rows, as JSON lines."""
        return self.folder / "rows.jsonl"

    @property
    def annotated(self) -> Path:
        """The annotated video."""
        return self.folder / "annotated.mp4"

    def to_dict(self) -> dict[str, Any]:
        """The response of ``GET /v1/videos/{id}``."""
        seconds = ((self.finished or time.monotonic()) - self.started) if self.started else 0.0
        return {
            "id": self.id,
            "source": self.name,
            "status": self.status,
            "reason": self.reason,
            "remark": self.remark,
            "frames": self.frames,
            "total": self.total,
            "rows": self.rows,
            "annotated": self.annotate and self.status == "done" and self.annotated.is_file(),
            "seconds": round(seconds, 3),
        }


class JobQueue:
    """The video jobs of one server; safe to share between threads.

    Args:
        max_jobs: unfinished jobs at a time, and finished ones that are kept.
        timeout: seconds for reading one video.
        retention: seconds for which a finished job is kept at most.
        folder: where temporary folders are made; the system's for temporary files where None.
    """

    def __init__(self, max_jobs: int, timeout: float, retention: float, folder: Path | None = None) -> None:
        self._max_jobs, self._timeout, self._retention = max_jobs, timeout, retention
        self._workspace = Workspace(folder)
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[Job, Recognizer, Video] | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        # Daemons, and closed at the latest when Python ends: an application in which this one is mounted starts and
        # stops without telling it.
        self._worker = threading.Thread(target=self._run_all, name="moue-videos", daemon=True)
        self._expiry = threading.Thread(target=self._expire, name="moue-expiry", daemon=True)
        for thread in (self._worker, self._expiry):
            thread.start()
        atexit.register(self.close)

    def __len__(self) -> int:
        return len(self._jobs)

    def create(self, name: str, **options: Any) -> Job:
        """A job whose video is to be written to its ``upload``.

        Args:
            name: the video's file name.
            options: ``every``, ``fps`` and ``annotate`` of :class:`Job`.

        Raises:
            Overloaded: when too many jobs are unfinished.
        """
        self.remove_expired()
        with self._lock:
            if sum(job.finished is None for job in self._jobs.values()) >= self._max_jobs:
                raise Overloaded(self._retry_after())
            id = secrets.token_urlsafe(12)
            self._jobs[id] = job = Job(id, name, self._workspace.subfolder(id), **options)
        return job

    def get(self, id: str) -> Job | None:
        """The job with this id; None where there is none."""
        self.remove_expired()
        return self._jobs.get(id)

    def submit(self, job: Job, recognizer: Recognizer, video: Video) -> None:
        """Queue a job.

        Args:
            job: its ``upload`` is complete.
            recognizer: reads the video.
            video: the upload, opened.
        """
        job.status, job.total = "waiting", video.frame_count
        self._waiting.put((job, recognizer, video))

    def remove(self, job: Job) -> None:
        """Cancel a job where it is unfinished, and remove its files."""
        job.cancelled.set()
        with self._lock:
            self._jobs.pop(job.id, None)
            # The worker holds files open: it removes those of the current job itself.
            if job.status == "reading":
                return
        self._delete(job)

    def remove_expired(self) -> None:
        """Remove jobs that finished before the retention time, or before ``max_jobs`` others."""
        oldest = time.monotonic() - self._retention
        finished = [(job.finished, job) for job in list(self._jobs.values()) if job.finished is not None]
        finished.sort(key=lambda pair: pair[0], reverse=True)
        for i, (when, job) in enumerate(finished):
            if i >= self._max_jobs or when < oldest:
                self.remove(job)

    def close(self) -> None:
        """Cancel and remove everything."""
        self._closed.set()
        for job in list(self._jobs.values()):
            self.remove(job)
        self._waiting.put(None)
        for thread in (self._worker, self._expiry):
            thread.join()
        self._workspace.close()
        atexit.unregister(self.close)

    def _expire(self) -> None:
        while not self._closed.wait(min(EXPIRY_INTERVAL, self._retention)):
            with contextlib.suppress(OSError):
                self.remove_expired()

    def _run_all(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            self._run(*waiting)

    def _retry_after(self) -> int:
        """Seconds until the current video is likely to be finished; 10 where that cannot be estimated."""
        for job in self._jobs.values():
            if job.status == "reading" and job.frames and job.total:
                spent = time.monotonic() - job.started
                rest = min(spent * (job.total - job.frames) / job.frames, self._timeout - spent)
                return max(1, math.ceil(rest))
        return 10

    def _run(self, job: Job, recognizer: Recognizer, video: Video) -> None:
        with self._lock:
            if job.cancelled.is_set():
                return
            job.status, job.started = "reading", time.monotonic()
        status, reason = "failed", None
        try:
            self._read(job, recognizer, video)
            status = "done"
        except MoueError as error:
            reason = str(error)
        except OSError as error:
            reason = error.strerror or "the disk cannot be written to"
        except Exception:
            # It fails this job only; the next one is read as usual.
            reason = "an unexpected error occurred while the video was read"
        with self._lock:
            if job.cancelled.is_set():
                status, reason = "cancelled", None
            job.status, job.reason, job.finished = status, reason, time.monotonic()
        # It goes with the job's folder at the latest; the thread must not end by it.
        with contextlib.suppress(OSError):
            job.upload.unlink(missing_ok=True)
        if job.cancelled.is_set():
            self._delete(job)

    def _delete(self, job: Job) -> None:
        shutil.rmtree(job.folder, ignore_errors=True)

    def _read(self, job: Job, recognizer: Recognizer, video: Video) -> None:
        deadline = time.monotonic() + self._timeout

        def report(done: int, total: int | None) -> None:
            # Here and not for each row: all frames are decoded, even where few are read.
            job.frames, job.total = done, total
            if job.cancelled.is_set():
                raise MoueError("it was cancelled.")
            if time.monotonic() > deadline:
                raise MoueError(
                    f"reading took longer than {self._timeout:g} s. Read fewer frames, as with fps=5, or cut the video."
                )

        def remark(text: str) -> None:
            # The client's, and not the log's, which must not name what was sent.
            job.remark = text

        rows = stream_video(
            recognizer, replace(video, name=job.name), every=job.every, fps=job.fps,
            annotated=job.annotated if job.annotate else None, report=report, on_remark=remark,
        )  # fmt: skip
        # Closing the generator completes the annotated video.
        with open(job.rows_file, "w", encoding="utf-8") as file, closing(rows):
            for row in rows:
                file.write(json.dumps(row.to_dict(), ensure_ascii=False, allow_nan=False) + "\n")
                file.flush()
                job.rows += 1


def open_upload(path: Path, max_pixels: int) -> Video:
    """Open an uploaded video.

    Raises:
        Unreadable: when it is not a video, or its images are too large.
    """
    with open(path, "rb") as file:
        kind = kind_of(file.read(HEAD))
        file.seek(0)
        if kind != "video" and not (kind == "image" and is_animation(file)):
            raise Unreadable("not a video of a kind that is known here: send MP4, WebM, Matroska, AVI, MPEG or Ogg.")
    return open_film(path, max_pixels=max_pixels)

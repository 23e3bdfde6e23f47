"""What a server serves, and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from moue.errors import UsageError
from moue.runtime.engine import EngineName

MEBI = 1 << 20


@dataclass(frozen=True)
class Settings:
    """What a server serves, and its limits.

    Raises:
        UsageError: when a limit is below 1, or no model is named.
    """

    models: tuple[str, ...] = ("default",)
    """Names or paths of models that are opened at once; the first is used when a request names none. The models of this
    installation can be asked for too; paths never, except these."""
    detector: str = "centerface"
    """"centerface", or "none" where each image is one face: for who does not choose."""
    engine: EngineName = "auto"
    """What runs the graphs."""
    threads: int = 0
    """CPU threads of each graph; 0 to choose."""
    token: str | None = field(default=None, repr=False)
    """What ``Authorization: Bearer`` must say; None lets everybody in who can reach the server. Blanks around it do not
    count: files of secrets end in a new line, which no header can hold."""
    local: bool = True
    """Whether requests must name this machine as their host: pages of other sites cannot then rebind their name to it.
    """
    max_bytes: int = 32 * MEBI
    """Of one request with images."""
    max_files: int = 32
    """In one request."""
    max_pixels: int = 50_000_000
    """Of one image, or one frame of a video."""
    max_video_bytes: int = 512 * MEBI
    """Of one video."""
    upload_seconds: float = 30
    """For the images of a request to arrive; between two pieces of a video."""
    answer_seconds: float = 30
    """For their answer."""
    queue: int = 64
    """Images that may wait; above, requests are refused (429)."""
    patience: float = 1.0
    """Seconds of work that may wait; above, requests are refused (429)."""
    requests: int = 48
    """Requests with images at once, from their first byte to the last one of the answer."""
    cameras: int = 8
    """Cameras at once."""
    jobs: int = 4
    """Videos at once: arriving, waiting or being read. As many that are finished are kept, the newest ones."""
    job_seconds: float = 3600
    """For reading one video."""
    keep_seconds: float = 900
    """For which a finished video's answer is kept, unless it is deleted or ``jobs`` newer ones are finished before."""
    folder: Path | None = None
    """Where videos lie while they are read; the system's folder for temporary files where None."""

    def __post_init__(self) -> None:
        if not self.models:
            raise UsageError("a server needs at least one model.")
        if self.token is not None and not self.token.strip():
            raise UsageError("the token must not be empty. Leave out --token and MOUE_TOKEN to have one made.")
        if self.token is not None:
            object.__setattr__(self, "token", self.token.strip())
        for name in ("max_bytes", "max_files", "max_pixels", "max_video_bytes", "queue", "requests", "cameras", "jobs"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1. Got {getattr(self, name)!r} instead.")
        for name in ("upload_seconds", "answer_seconds", "patience", "job_seconds", "keep_seconds"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be more than 0. Got {getattr(self, name)!r} instead.")

"""What a server serves, and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from moue.errors import UsageError, quoted
from moue.runtime.engine import EngineName
from moue.server.addresses import check_host, check_origin, check_proxy, check_root_path

MIB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """What a server serves, and its limits.

    Raises:
        UsageError: when a limit is below 1, a duration is not above 0, the token is empty or not ASCII, no model is
            named, or a host, origin, path or proxy is none.
    """

    models: tuple[str, ...] = ("default",)
    """Names or paths of models that are opened at the start; the first is the default. Requests can name these and the
    installed models, and no paths."""
    preselected: str | None = None
    """The model with which the page begins; the default where None or not installed."""
    detector: str = "centerface"
    """The default detector: "centerface", or "none" where each image is one face."""
    engine: EngineName = "auto"
    """What runs the graphs."""
    threads: int = 0
    """CPU threads of each graph; 0 to choose."""
    token: str | None = field(default=None, repr=False)
    """The token that ``Authorization: Bearer`` must carry; None accepts every client that can reach the server.
    White space around it is ignored: files of secrets end in a line break, which a header cannot hold."""
    local_only: bool = True
    """Whether requests must name this machine, or one of ``allowed_hosts``, as their host. This prevents DNS rebinding:
    a site whose name suddenly means your own machine. Where it is off and there are no ``allowed_hosts``, any host is
    accepted."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that requests may have as their host as well, without ports: those of a reverse proxy in front."""
    allowed_origins: tuple[str, ...] = ()
    """Sites whose pages may use this server (CORS), as ``https://app.example``; ``*`` is all of them, and only without
    a token."""
    root_path: str = ""
    """The path under which a reverse proxy shows this server, as ``/moue``, whether the proxy removes it or not."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed."""
    max_bytes: int = 32 * MIB
    """Of one request with images."""
    max_files: int = 32
    """In one request."""
    max_pixels: int = 50_000_000
    """Of one image, or one frame of a video."""
    max_video_bytes: int = 512 * MIB
    """Of one video."""
    upload_timeout_seconds: float = 30
    """For the images of a request to arrive; between two parts of a video, and before its rate is checked."""
    video_upload_timeout_seconds: float = 3600
    """For a video to arrive."""
    min_upload_rate: int = 16 << 10
    """Bytes a second of a video on average; slower uploads are ended, as they keep others from one of ``max_jobs``."""
    stall_timeout_seconds: float = 60
    """For reading one batch, of four images at most where faces are searched for. After that the server counts as
    stuck: requests, and ``/healthz``, get 503. A request that waits for others has no time limit."""
    max_queue: int = 16
    """Images that may wait to be read, however long they take; above, requests are rejected (429)."""
    max_queue_seconds: float = 5.0
    """More images may wait where reading all of them takes no longer, as measured on this machine."""
    max_cameras: int = 8
    """Cameras at a time."""
    max_jobs: int = 4
    """Videos at a time that are uploading, waiting or being read. The same number of finished ones is kept, the newest.
    """
    job_timeout_seconds: float = 3600
    """For reading one video."""
    retention_seconds: float = 900
    """For which the results of a finished video are kept, unless deleted or ``max_jobs`` newer videos finish."""
    temp_folder: Path | None = None
    """Where uploaded videos lie while they are read; the system's folder for temporary files where None."""

    @property
    def max_image_bytes(self) -> int:
        """Of the images of all requests in memory: what ``max_queue`` of the largest take."""
        return self.max_queue * self.max_bytes

    def __post_init__(self) -> None:
        if not self.models:
            raise UsageError("a server needs at least one model.")
        checks = {"allowed_hosts": check_host, "allowed_origins": check_origin, "trusted_proxies": check_proxy}
        for name, check in checks.items():
            object.__setattr__(self, name, tuple(map(check, getattr(self, name))))
        object.__setattr__(self, "root_path", check_root_path(self.root_path))
        if self.token is not None:
            object.__setattr__(self, "token", self.token.strip())
            if not self.token:
                raise UsageError("the token must not be empty. Leave out --token and MOUE_TOKEN to have one generated.")
            # Clients refuse to send others in a header, or encode them in different ways.
            if not (self.token.isascii() and self.token.isprintable()):
                raise UsageError(
                    "the token must hold printable ASCII characters only, as it is sent in a header. "
                    "Leave out --token and MOUE_TOKEN to have one generated."
                )
            if "*" in self.allowed_origins:
                raise UsageError(
                    "with a token, pages of all sites cannot be allowed: name the sites, as in: "
                    "--allow-origin https://app.example"
                )
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if name.endswith("_seconds"):
                if not value > 0:
                    raise UsageError(f"{name} must be more than 0. Got {quoted(value)} instead.")
            elif name.startswith(("max_", "min_")) and value < 1:
                raise UsageError(f"{name} must be at least 1. Got {quoted(value)} instead.")

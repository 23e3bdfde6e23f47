"""The address of a stream or file on the network, and the name that it has in results: without anything secret."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from moue.errors import UsageError

#: What looks like an address on the web or of another machine.
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
#: Seconds that a server may take to connect, to answer, and to send what comes next.
TIMEOUT = 10.0
#: The schemes that are read.
SCHEMES = ("rtsp", "rtsps", "http", "https")
#: Fields of a query that tell the streams of one camera apart. The values of all others may be secrets.
_HARMLESS = ("camera", "channel", "chn", "fps", "profile", "resolution", "stream", "subtype")
#: A secret in a path, as some cameras have it: /user=admin_password=12345_channel=1
_IN_PATH = re.compile(r"((?:user|username|password|passwd|pwd|pass|token|key|secret|auth)=)[^/&;_]*", re.IGNORECASE)


@dataclass(frozen=True)
class Url:
    """An address that was given as a source.

    Raises:
        UsageError: for one that is malformed or of another scheme; it names no secret.
    """

    text: str = field(repr=False)
    """As it was given, with name and password."""

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise UsageError(f"moue reads local files and {', '.join(SCHEMES)} addresses. Got {self.name} instead.")
        try:
            valid = self.host and (self.port is None or self.port) and not re.search(r"[\x00-\x20\x7f]", self.text)
        except ValueError:
            valid = False
        if not valid:
            raise UsageError(f"{self.name} is no address: {self.scheme}://HOST[:PORT]/PATH is needed.")

    @property
    def scheme(self) -> str:
        """In lower case."""
        return self.text.partition(":")[0].lower()

    @property
    def is_web(self) -> bool:
        """Whether it is one of HTTP."""
        return self.scheme in ("http", "https")

    @property
    def host(self) -> str | None:
        """The host's name or number."""
        return urlsplit(self.text).hostname

    @property
    def port(self) -> int | None:
        """The port, where the address has one."""
        return urlsplit(self.text).port

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password, decoded; None where the address has none."""
        parts = urlsplit(self.text)
        return None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))

    @property
    def without_credentials(self) -> str:
        """The address to ask for, query included."""
        parts = urlsplit(self.text)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()

    @property
    def name(self) -> str:
        """The address as results, file names, remarks and errors show it: see :func:`public_name`."""
        return public_name(self.text)

    @property
    def file_stem(self) -> str:
        """A name for files: host, port and path of :attr:`name`, "camera_8554_live"; it has no dots."""
        return "_".join(
            re.findall(r"[\w-]+", re.sub(r"\.\w{2,4}$", "", self.name.partition("://")[2].partition("?")[0]))
        )


def public_name(address: str) -> str:
    """An address without user and password, and with "…" for the values in its query and for secrets in its path.

    What tells the streams of one camera apart stays: ``rtsp://camera/live?channel=2&token=…``.
    """
    scheme, _, rest = address.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if re.fullmatch(r"(.*@)?([\w.-]*|\[[\da-fA-F:.]*\])(:\d*)?", authority):
        place, _, query = rest.partition("#")[0].partition("?")
    else:
        place, query = rest, ""
    # A password may have a slash or a question mark that should have been encoded: all up to the last @ goes.
    secret, at, place = place.rpartition("@")
    place = f"…@{place}" if at and len(secret) >= len(authority) else _IN_PATH.sub(r"\1…", place)
    shown = [
        f"{key}={value if key.lower() in _HARMLESS else '…'}" if equals else "…"
        for key, equals, value in (field.partition("=") for field in query.split("&"))
    ]
    return f"{scheme.lower()}://{place}" + (f"?{'&'.join(shown)}" if query else "")

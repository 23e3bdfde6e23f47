"""Names under which a server is reached: hosts, origins, the path behind a proxy, the proxies themselves."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from moue.errors import UsageError, quoted

#: What the server has itself at the top, which no prefix of a proxy can be told from.
_OWN_PATHS = frozenset({"v1", "healthz", "metrics", "openapi.json"})
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", re.ASCII)
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+", re.ASCII)


def is_local(host: str) -> bool:
    """Whether a host can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def hostname(host: str) -> str:
    """The name or address in a ``Host`` header, without its port and in lower case; "" where it has none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def origin_host(origin: str) -> str | None:
    """Host and port of an origin; None where it is invalid, as "http://["."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def check_host(host: str) -> str:
    """A name or address that requests may have as their host, in lower case.

    Raises:
        UsageError: where it is none: a URL, or a name with a port.
    """
    name = host.strip().lower()
    if not _HOST.fullmatch(name) and not _is_ip(name.strip("[]")):
        raise UsageError(
            f"an allowed host must be a name without port, as in: moue.example. Got {quoted(host)} instead."
        )
    return name.strip("[]")


def check_origin(origin: str) -> str:
    """An origin as browsers send it: scheme, host and the port where it is not the scheme's own; or "*".

    Raises:
        UsageError: where it has a path, or no scheme.
    """
    if origin == "*":
        return origin
    try:
        url = urlsplit(origin.strip())
        host, port = url.hostname or "", url.port
    except ValueError:
        url, host, port = urlsplit(""), "", None
    known = {"http": 80, "https": 443}
    name = f"[{host}]" if ":" in host else host
    bare = f"{url.scheme}://{name}" + ("" if port in (None, known.get(url.scheme)) else f":{port}")
    if not host or url.scheme not in known or url.path.strip("/") or url.query or url.fragment or url.username:
        raise UsageError(
            f"an allowed origin must be scheme and host, as in: https://app.example. Got {quoted(origin)} instead."
        )
    return bare


def check_root_path(path: str) -> str:
    """The path under which a proxy shows the server, with a slash at the start and none at the end; "" for none.

    Raises:
        UsageError: where it is no path, or one of the server's own.
    """
    bare = path.rstrip("/")
    if bare and not _PATH.fullmatch(bare):
        raise UsageError(f"a root path must be one such as /moue. Got {quoted(path)} instead.")
    first = bare.split("/")[1] if bare else ""
    if first in _OWN_PATHS or first in (".", ".."):
        raise UsageError(f"/{first} is a path of the server itself: choose another root path, as in: /moue")
    return bare


def check_proxy(address: str) -> str:
    """Address or network of a proxy.

    Raises:
        UsageError: where it is neither.
    """
    try:
        return str(ipaddress.ip_network(address.strip(), strict=False))
    except ValueError:
        raise UsageError(
            f"a trusted proxy must be an address or a network, as in: 127.0.0.1 or 172.16.0.0/12. "
            f"Got {quoted(address)} instead."
        ) from None


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

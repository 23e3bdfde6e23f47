"""Asks a web server for a file or a stream: redirects, passwords, certificates, and what its errors mean."""

from __future__ import annotations

import http.client
import ssl
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from moue._version import __version__
from moue.errors import Unreadable
from moue.runtime.network.url import TIMEOUT, Url

#: Why there is no connection to a server that answers too late.
SILENCE = f"the server sent nothing for {TIMEOUT:g} s"


def open_http(url: Url, headers: Mapping[str, str] | None = None) -> Any:
    """The server's response, as :mod:`http.client` has it, its body unread.

    Redirects are followed to other http and https addresses alone, never from https to http; user and password go to no
    host but the one of the address. Certificates are verified against those of the system, or of ``SSL_CERT_FILE``.

    Args:
        url: what to ask for.
        headers: to send with it.

    Raises:
        Unreadable: when there is no such server, or it does not answer with what was asked for.
    """
    request = urllib.request.Request(url.without_credentials, headers={"User-Agent": f"moue/{__version__}"})
    for name, value in (headers or {}).items():
        request.add_header(name, value)
    try:
        return _opener(url).open(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        raise Unreadable(_refusal(error.code, error.reason, url)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreadable(connection_failure(error)) from None


def connection_failure(error: Exception) -> str:
    """Why there is no connection, as a part of a sentence; never with the address."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not trusted ({cause.verify_message.lower()}): set SSL_CERT_FILE to a file "
            "with the certificate, or that of its authority"
        )
    if isinstance(cause, ssl.SSLError):
        return f"no secure connection to the server: {(cause.reason or 'TLS failed').lower().replace('_', ' ')}"
    if isinstance(cause, TimeoutError):
        return SILENCE
    if isinstance(cause, OSError):
        return f"no connection to the server: {(cause.strerror or type(cause).__name__).lower()}"
    return cause if isinstance(cause, str) else "the server does not answer as a web server does"


def _refusal(code: int, reason: str, url: Url) -> str:
    if code in (401, 403):
        return unauthorized(code, url)
    if code in (301, 302, 303, 307, 308):
        return f"the server redirects ({code}) to where moue does not follow: to no web address, or ever again"
    return f"the server answers {code} {reason}".rstrip()


def unauthorized(code: int, url: Url) -> str:
    """What a server's refusal of access means."""
    if url.credentials is None:
        return f"the server asks for a user and a password ({code}): give them as {url.scheme}://USER:PASSWORD@HOST/…"
    return f"the server does not accept this user and password ({code})"


def _opener(url: Url) -> urllib.request.OpenerDirector:
    # Not build_opener, whose openers take ftp: and file: addresses too.
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if url.credentials is not None:
        parts = urlsplit(url.without_credentials)
        passwords.add_password(None, f"{parts.scheme}://{parts.netloc}/", *url.credentials)
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Basic(passwords),
        _Digest(passwords),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


class _Basic(urllib.request.HTTPBasicAuthHandler):
    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """The response to the request with a password; None where that is of no use."""
        # An exception at a scheme of the other handler's would hide the refusal.
        with suppress(ValueError):
            return super().http_error_401(req, fp, code, msg, headers)


class _Digest(urllib.request.HTTPDigestAuthHandler):
    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """As of :class:`_Basic`."""
        with suppress(ValueError, NotImplementedError):
            return super().http_error_401(req, fp, code, msg, headers)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The request to follow a redirect with."""
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise HTTPError("", code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)

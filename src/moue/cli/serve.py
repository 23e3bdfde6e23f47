"""``moue serve``: the web page and the API."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from typing import Any

from moue.cli.numbers import whole
from moue.errors import require
from moue.runtime.engine import ENGINES
from moue.server.addresses import check_host, check_origin, check_proxy, check_root_path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; one that other machines can reach needs a token")
    add("--port", type=whole(0, 65535), default=8000, help="port to listen on, 0 for any (default: 8000)")
    add("--token", help="token that clients must send; generated where --host needs one (or set MOUE_TOKEN)")
    add("--open", action="store_true", help="show the page in a browser once the server is ready")
    add("--certfile", metavar="FILE", help="certificate for HTTPS, as PEM")
    add("--keyfile", metavar="FILE", help="its key, as PEM, where it is not in --certfile")
    add(
        "--model",
        action="append",
        help="a name, an .onnx file or a run folder; may be repeated (default: default; the page begins with ferplus)",
    )
    add("--detector", default="centerface", choices=("centerface", "none"), help="none: each image is one face")
    add("--engine", default="auto", choices=ENGINES, help="what runs the graphs, a GPU's among them")
    add("--threads", type=whole(0), default=0, help="CPU threads of each graph (default: all)")
    add(
        "--queue",
        type=whole(1),
        default=16,
        metavar="N",
        help="photos that may wait, however slow the machine (default: 16)",
    )
    several: dict[str, Any] = {"action": "append", "default": []}
    add(
        "--allow-host",
        type=check_host,
        metavar="NAME",
        **several,
        help="a name that a proxy in front serves this under; may be repeated",
    )
    add(
        "--allow-origin",
        type=check_origin,
        metavar="URL",
        **several,
        help="a site whose pages may use this server; may be repeated",
    )
    add(
        "--root-path",
        type=check_root_path,
        metavar="PATH",
        default="",
        help="the path under which a proxy in front shows this, as /moue",
    )
    add(
        "--trust-proxy",
        type=check_proxy,
        metavar="ADDRESS",
        **several,
        help="a proxy whose X-Forwarded-* is believed; may be repeated",
    )
    add("--max-pixels", type=whole(1), default=50_000_000, help="refuse larger images (default: 50000000)")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    for module in ("fastapi", "uvicorn", "python_multipart", "websockets", "prometheus_client"):
        require(module, "serve")
    from moue.runtime.weights import RECOMMENDED
    from moue.server.run import serve
    from moue.server.settings import Settings

    settings = Settings(
        models=tuple(args.model or ["default"]),
        preselected=None if args.model else RECOMMENDED,
        detector=args.detector,
        engine=args.engine,
        threads=args.threads,
        token=os.environ.get("MOUE_TOKEN") if args.token is None else args.token,
        allowed_hosts=tuple(args.allow_host),
        allowed_origins=tuple(args.allow_origin),
        root_path=args.root_path,
        trusted_proxies=tuple(args.trust_proxy),
        max_queue=args.queue,
        max_pixels=args.max_pixels,
    )
    # A running server handles Ctrl-C itself; one that is still starting is interrupted.
    with suppress(KeyboardInterrupt):
        serve(
            settings,
            host=args.host,
            port=args.port,
            certfile=args.certfile,
            keyfile=args.keyfile,
            open_browser=args.open,
            log=_log,
        )
    _log("stopped")
    return 0


def _log(line: str) -> None:
    sys.stderr.write(f"moue: {line}\n")
    sys.stderr.flush()

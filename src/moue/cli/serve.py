"""``moue serve``: the web page and the API."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress

from moue.errors import require


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; one that other machines can reach needs a token")
    add("--port", type=int, default=8000, help="port to listen on, 0 for any (default: 8000)")
    add("--token", help="token that clients must send; generated where --host needs one (or set MOUE_TOKEN)")
    add("--certfile", metavar="FILE", help="certificate for HTTPS, as PEM")
    add("--keyfile", metavar="FILE", help="its key, as PEM, where it is not in --certfile")
    add("--model", action="append", help="a name, an .onnx file or a run folder; may be repeated (default: default)")
    add("--detector", default="centerface", choices=("centerface", "none"), help="none: each image is one face")
    add("--engine", default="auto", choices=("auto", "onnxruntime", "openvino"), help="what runs the graphs")
    add("--threads", type=int, default=0, help="CPU threads of each graph (default: all)")
    add(
        "--queue",
        type=int,
        default=16,
        metavar="N",
        help="photos that may wait, however slow the machine (default: 16)",
    )
    add("--max-pixels", type=int, default=50_000_000, help="refuse larger images (default: 50000000)")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    for module in ("fastapi", "uvicorn", "python_multipart", "websockets", "prometheus_client"):
        require(module, "serve")
    from moue.server.run import serve
    from moue.server.settings import Settings

    settings = Settings(
        models=tuple(args.model or ["default"]),
        detector=args.detector,
        engine=args.engine,
        threads=args.threads,
        token=os.environ.get("MOUE_TOKEN") if args.token is None else args.token,
        max_queue=args.queue,
        max_pixels=args.max_pixels,
    )
    # A running server handles Ctrl-C itself; one that is still starting is interrupted.
    with suppress(KeyboardInterrupt):
        serve(settings, host=args.host, port=args.port, certfile=args.certfile, keyfile=args.keyfile, log=_log)
    _log("stopped")
    return 0


def _log(line: str) -> None:
    sys.stderr.write(f"moue: {line}\n")
    sys.stderr.flush()

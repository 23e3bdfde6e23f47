"""The `moue` command: the table of subcommands, and the only place where errors become exit codes.

Each subcommand is a module ``moue.cli.<name>`` with ``configure(parser)`` and ``run(args) -> int | None``; it parses,
calls one library function and prints. Only the module of the given subcommand is imported.
"""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence

from moue._version import __version__
from moue.errors import MoueError

#: Subcommand to its line of help; "data info" is in ``moue.cli.data``.
COMMANDS = {
    "predict": "read faces in photos, folders, videos or a camera",
    "data": "import, inspect or synthesize a data set",
    "networks": "list the networks that can be trained",
    "models": "list the trained models",
    "train": "train a network from a recipe",
    "evaluate": "score a model on a data set",
    "compare": "train missing runs, evaluate all models, write one page",
    "ensemble": "score every average of some models on held-out rows",
    "explain": "show which parts of a face a prediction depends on",
    "export": "turn a run into an ONNX model",
    "serve": "start a web page and an API that read faces",
}

DEBUG = "show the traceback of an error"

OK, USAGE_ERROR, PARTIAL, INTERRUPTED = 0, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 all inputs read, 2 usage error or unusable data, 3 some inputs could not be read, 130
        interrupted.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    # Closed streams (`moue … >&-`) become ones that discard what is written.
    sys.stdout, sys.stderr = sys.stdout or open(os.devnull, "w"), sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    # Pipes are UTF-8 everywhere. A file name that is not valid text is shown as an escape instead of ending the run.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    # SIGTERM ends a run as Ctrl-C does: finally-blocks run and files are closed.
    if hasattr(signal, "SIGTERM"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    # What Pillow writes about damaged images beside its exceptions, which are results here.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    debug = "--debug" in argv
    try:
        parser = _parser(argv)
        args = parser.parse_args(argv)
        if not getattr(args, "command", None):
            parser.print_help()
            return USAGE_ERROR
        return importlib.import_module(f"moue.cli.{args.command}").run(args) or OK
    except KeyboardInterrupt as interrupt:
        _print_error("; ".join(["interrupted", "completed output is intact", *map(str, interrupt.args)]))
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, a closed pager) ended first: not an error, and the flush at exit must not raise it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (MoueError, OSError, MemoryError) as error:
        if debug:
            raise
        _print_error(_message(error))
        return USAGE_ERROR


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moue", description="Facial expression recognition: train it, compare it, ship it."
    )
    parser.add_argument("--version", action="version", version=f"moue {__version__}")
    parser.add_argument("--debug", action="store_true", help=DEBUG)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    # The subcommand is the first word. Only its module is imported, so that --help stays quick.
    given = next((a for a in argv if not a.startswith("-")), None)
    for name, line in COMMANDS.items():
        sub = commands.add_parser(name, help=line, description=line[0].upper() + line[1:] + ".")
        if name == given:
            importlib.import_module(f"moue.cli.{name}").configure(sub)
        # No default, which would override a --debug before the subcommand.
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=DEBUG)
    return parser


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if isinstance(error, MemoryError):
        return "out of memory. Take a smaller batch or fewer inputs at a time."
    return str(error)


def _print_error(message: str) -> None:
    sys.stderr.write(f"moue: {message}\n")


if __name__ == "__main__":
    sys.exit(main())

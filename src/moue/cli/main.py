"""The `moue` command: the table of subcommands, and the only place where errors become exit codes.

Each subcommand is a module ``moue.cli.<name>`` with ``configure(parser)`` and ``run(args) -> int | None``; it parses,
calls one library function and prints. Only the module of the given subcommand is imported.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from moue._version import __version__
from moue.cli import streams
from moue.errors import MoueError, UnknownName, UsageError, quoted, shortened

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

#: Subcommand to its line of help; "data info" is in ``moue.cli.data``.
COMMANDS = {
    "predict": "read faces in photos, folders, videos or a camera",
    "score": "read faces in archives: folders, tar shards, Parquet, lists, over many processes",
    "timeline": "tabulate what people in films showed, by person, by condition and around events",
    "data": "import, inspect or synthesize a data set",
    "networks": "list the networks that can be trained",
    "models": "list the trained models",
    "doctor": "check this installation, and say what to type for what is missing",
    "train": "train a network from a recipe",
    "cross-validate": "train a recipe once a fold, score each row by the run that held it out",
    "search": "find settings of a recipe within a budget of minutes",
    "evaluate": "score a model on a data set",
    "compare": "train missing runs, evaluate all models, write one page",
    "ensemble": "rank, vote, stack, bag, boost or join models",
    "report": "write a report over trained models: data, networks, scores, errors, limits",
    "audit": "compare how a model reads the faces of several groups of people",
    "explain": "show which parts of a face a prediction depends on",
    "export": "turn a run into an ONNX model, or a torch.export program",
    "bench": "time reading on this machine, beside another package",
    "serve": "start a web page and an API that read faces",
    "completion": "print a script that completes these commands in your shell",
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
    streams.prepare()
    # SIGTERM ends a run as Ctrl-C does: finally-blocks run and files are closed.
    if hasattr(signal, "SIGTERM"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    # So does a terminal that is closed, unless nohup has it ignored. A server has an answer to SIGTERM alone.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda number, frame: signal.raise_signal(signal.SIGTERM))
    # What Pillow writes about damaged images beside its exceptions, which are results here.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.formatwarning = _remark
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    try:
        code = _run(argv)
    except SystemExit as end:  # argparse's, after a help text or a usage error.
        raise SystemExit(_with_output(int(end.code or OK))) from None
    return _with_output(code)


def _run(argv: Sequence[str]) -> int:
    try:
        parser = _parser(argv)
        args = parser.parse_args(argv)
        if not getattr(args, "command", None):
            parser.print_help()
            return USAGE_ERROR
        if args.command != "train" and _launched() > 1:
            raise UsageError(f"{args.command} runs in one process: type it without torchrun, which is for moue train")
        try:
            code: int = _module(args.command).run(args) or OK
        except UnknownName as error:
            option = _typed_as(error.name, parser, args)
            raise UsageError(f"{option}: {error}") if option else error from None
        return code
    except KeyboardInterrupt as interrupt:
        _print_error("; ".join(["interrupted", "completed output is intact", *map(str, interrupt.args)]))
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, a closed pager) ended first, which is no error.
        streams.lost_output()
        return OK
    except (MoueError, OSError, MemoryError) as error:
        if "--debug" in argv:
            raise
        _print_error(_message(error))
        return USAGE_ERROR


def _launched() -> int:
    """How many processes `torchrun` started; 1 where it did not start this one."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def _module(command: str) -> Any:
    return importlib.import_module(f"moue.cli.{command.replace('-', '_')}")


def _with_output(code: int) -> int:
    """The exit code, when all that was printed is written; 2 where it cannot be and nothing else went wrong."""
    error = streams.lost_output()
    if error is None or isinstance(error, BrokenPipeError) or code not in (OK, PARTIAL):
        return code
    _print_error(_message(error))
    return USAGE_ERROR


def _remark(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning of moue's as the other remarks on stderr; those of other packages with where they come from."""
    own = Path(filename).is_relative_to(Path(__file__).parent.parent)
    return f"moue: {message}\n" if own else f"{filename}:{lineno}: {category.__name__}: {message}\n"


class _Parser(argparse.ArgumentParser):
    """Its errors are one sentence like all of moue's, without the usage; it reports that its help cannot be written."""

    def error(self, message: str) -> NoReturn:
        message = _of_option(message).rstrip(".")
        _print_error(f"{message}{'' if message.endswith('?') else '.'} Type {self.prog} --help for all options.")
        self.exit(USAGE_ERROR)

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        # A variable of the shell that is not set. As a path it would be the working directory.
        if arg_string == "" != action.default and not isinstance(action, argparse._SubParsersAction):
            raise argparse.ArgumentError(action, "must not be empty")
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            # Of what a type raises, argparse only says that the value is invalid.
            if isinstance(error.__context__, UsageError):
                message = str(error.__context__).lstrip()
                raise UsageError(_of_option(str(argparse.ArgumentError(action, message)))) from None
            raise

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            near = difflib.get_close_matches(str(value), choices, n=1)
            hint = f". Did you mean {near[0]}?" if near else ""
            must = f"must be one of {', '.join(choices)}. Got {quoted(str(value))} instead{hint}"
            raise argparse.ArgumentError(action, must)

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        (file or sys.stdout).write(self.format_help())

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        # argparse hands what a command does not know to the main parser, which knows nothing about the command.
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            near = difflib.get_close_matches(unknown[0].split("=")[0], options, n=1, cutoff=0.7)
            hint = f". Did you mean {near[0]}?" if near else ""
            self.error(f"unrecognized arguments: {shortened(' '.join(unknown))}{hint}")
        return namespace, unknown


def _typed_as(name: str, parser: argparse.ArgumentParser, args: argparse.Namespace) -> str:
    """The option that a name was typed for, alone or in a list; "" for an argument, or where it may be several."""
    found = []
    for action in parser._actions:
        value = getattr(args, action.dest, None)
        if isinstance(action, argparse._SubParsersAction):
            return _typed_as(name, action.choices[str(value)], args)
        words = value if isinstance(value, list) else [value]
        if value != action.default and any(isinstance(w, str) and name in re.split("[,=]", w) for w in words):
            found.append(action.option_strings[-1] if action.option_strings else "")
    return found[0] if len(found) == 1 else ""


def _of_option(message: str) -> str:
    """What argparse says of an option, as a sentence that begins with its name."""
    return message.removeprefix("argument ").replace(": must ", " must ", 1)


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="moue", description="Facial expression recognition: train it, compare it, ship it.")
    parser.add_argument("--version", action="version", version=f"moue {__version__}")
    parser.add_argument("--debug", action="store_true", help=DEBUG)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    # The subcommand is the first word. Only its module is imported, so that --help stays quick.
    given = next((a for a in argv if not a.startswith("-")), None)
    for name, line in COMMANDS.items():
        sub = commands.add_parser(name, help=line, description=line[0].upper() + line[1:] + ".")
        if name == given:
            _module(name).configure(sub)
        # No default, which would override a --debug before the subcommand.
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=DEBUG)
    return parser


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of one command, with its options."""
    [subparsers] = [a for a in _parser([command])._actions if isinstance(a, argparse._SubParsersAction)]
    parser: argparse.ArgumentParser = subparsers.choices[command]
    return parser


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if isinstance(error, MemoryError):
        return "out of memory. Take a smaller batch or fewer inputs at a time."
    return str(error)


def _print_error(message: str) -> None:
    # Of several processes each says what ended it.
    if _launched() > 1:
        message = f"process {os.environ.get('RANK')}: {message}"
    # Whatever came into it: one line, and not a screen full.
    sys.stderr.write(f"moue: {streams.escaped(shortened(message, 2000))}\n")


if __name__ == "__main__":
    sys.exit(main())

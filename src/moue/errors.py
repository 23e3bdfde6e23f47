"""Every exception that moue raises on purpose.

::

    MoueError
    ├── UsageError            a wrong option, argument or configuration
    │   └── UnknownName       a name that no registry holds; names the nearest ones
    ├── DataError             a data set that cannot be used; names file, row and remedy
    ├── ModelError            a model file that is missing, damaged or of another kind
    │   └── WeightsMissing    published weights that cannot be found or fetched
    ├── TrainingError         a training run that cannot go on (NaN loss, no space left)
    ├── Unreadable            one input (photo, video) that cannot be read
    ├── MissingExtra          an optional dependency; says what to pip install (also an ImportError)
    └── BrokenPackage         a dependency that is installed and cannot be imported (also an ImportError)

A message has one sentence with what was required and what was given and, where a remedy is known, a second one with
what to do. The library raises; the command line alone turns these into exit codes.
"""

from __future__ import annotations

import difflib
import importlib
import reprlib
from collections.abc import Iterable
from types import ModuleType
from typing import Literal

#: How many characters of anything a message quotes.
QUOTED = 80

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 4 * QUOTED
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = 20

#: What became of one input.
Status = Literal["ok", "no_face", "unreadable", "too_large", "skipped", "camera_lost", "busy"]


def shortened(text: object, length: int = QUOTED) -> str:
    """A text on one line, of at most ``length`` characters: of a longer one, its beginning and its end."""
    line = " ".join(str(text).split())
    if len(line) <= length:
        return line
    end = length // 2
    return f"{line[: length - end - 1]}…{line[-end:]}"


def quoted(value: object) -> str:
    """A value as Python writes it, of at most :data:`QUOTED` characters, for a message."""
    try:
        return shortened(_REPR.repr(value))
    except ValueError:  # A whole number of more digits than Python writes.
        return f"a huge {type(value).__name__}"


class MoueError(Exception):
    """The base of all errors that moue raises on purpose."""


class UsageError(MoueError, ValueError):
    """An option, argument or configuration value that cannot be used."""


class UnknownName(UsageError):
    """A name that is not among the known ones.

    Args:
        kind: what the name should be, in words ("network", "recipe", "label set").
        name: the unknown name.
        known: the names that would have worked.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        # Nothing is near to a very long name, and comparing it would take minutes.
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) if len(name) <= QUOTED else []
        shown = [shortened(other) for other in near or known[:40]]
        hint = f"Did you mean {' or '.join(shown)}?" if near else f"Known: {', '.join(shown)}."
        super().__init__(f"there is no {kind} named {quoted(name)}. {hint}")
        self.name = name
        self.nearest = near


class DataError(MoueError, ValueError):
    """A data set, or a row of one, that cannot be used."""


class ModelError(MoueError, ValueError):
    """A trained model that is missing, damaged, or not what its spec says."""


class WeightsMissing(ModelError):
    """Published weights that are needed and cannot be had from here."""


class TrainingError(MoueError, RuntimeError):
    """A training run that cannot go on; its last good checkpoint is kept."""


class Unreadable(MoueError, ValueError):
    """One input that cannot be read as an image or video.

    Args:
        reason: one sentence that names what is wrong.
        status: that of the input's row.
    """

    def __init__(self, reason: str, status: Status = "unreadable") -> None:
        super().__init__(reason)
        self.status = status


class MissingExtra(MoueError, ImportError):
    """A feature whose optional dependency is not installed.

    Args:
        module: the module that could not be imported.
        extra: the extra of moue that brings it; "" for a package that no extra brings.
    """

    def __init__(self, module: str, extra: str) -> None:
        remedy = f"'moue[{extra}]'" if extra else module
        super().__init__(f"this needs the package {module!r}, which is not installed. Type: pip install {remedy}")
        self.extra = extra


class BrokenPackage(MoueError, ImportError):
    """A package that is installed and cannot be imported.

    Args:
        package: its name.
        failure: what its import raised.
    """

    def __init__(self, package: str, failure: Exception) -> None:
        said = shortened(failure, 200).rstrip(".") or type(failure).__name__
        super().__init__(
            f"{package} is installed and does not load: {said}. "
            f"Install it again: pip install --force-reinstall {package}"
        )


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Args:
        module: dotted module name.
        extra: the extra of moue that installs it.

    Raises:
        MissingExtra: when the module, or its top-level package, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A broken installation of an existing package is not a missing extra: show its own error.
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtra(module.split(".")[0], extra) from error

"""Plain values, as a recipe or the command line has them, checked into the dataclasses of a configuration."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from moue.errors import UnknownName, UsageError, quoted
from moue.training.yaml12 import read_yaml


def parse_setting(text: str) -> tuple[str, Any]:
    """A ``section.key=value`` as its path and its value.

    Raises:
        UsageError: for a text without "=", or a value that YAML does not read.
    """
    path, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set takes section.key=value, as in optim.lr=3e-4. Got {quoted(text)} instead.")
    return path.strip(), _scalar(value)


def _scalar(text: str) -> Any:
    try:
        return read_yaml(text)
    except UsageError as error:
        raise UsageError(f"{quoted(text)} is not a value as YAML writes it. Put a text into quotes.") from error


def build(cls: Any, values: Any, where: str) -> Any:
    """A dataclass, and those inside it, of a mapping.

    Args:
        cls: its annotations are what the values must be.
        values: by the fields' names.
        where: the path of the section, with a dot after it; "" at the top.

    Raises:
        UsageError: for a name that is no field (UnknownName), or a value of another type.
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"{where or 'a recipe'} must be a section of keys. Got {quoted(values)} instead.")
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    arguments = {}
    for key, value in values.items():
        if key not in names:
            raise UnknownName("setting", f"{where}{key}", [f"{where}{name}" for name in names])
        hint_type = hints[key]
        if dataclasses.is_dataclass(hint_type):
            arguments[key] = build(hint_type, {} if value is None else value, f"{where}{key}.")
        else:
            arguments[key] = _coerce(value, hint_type, f"{where}{key}")
    return cls(**arguments)


def _coerce(value: Any, kind: Any, where: str) -> Any:
    """Check one value against its annotation; whole numbers pass as floats, nothing else is bent."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _coerce(value, next(k for k in arguments if k is not type(None)), where)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_coerce(v, arguments[0], where) for v in value)
    if kind is float and isinstance(value, str):
        value = _scalar(value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    valid, expected = {
        Literal: (value in arguments, ", ".join(map(repr, arguments))),
        tuple: (False, "a list"),
        dict: (_is_section(value), "a section of keys that are texts"),
        float: (number, "a number"),
        int: (number and (isinstance(value, int) or value.is_integer()), "a whole number"),
        bool: (isinstance(value, bool), "true or false"),
        str: (isinstance(value, str), "a text"),
    }[origin or kind]
    if not valid:
        raise UsageError(f"{where} must be {expected}. Got {quoted(value)} instead.")
    return kind(value) if kind in (float, int) else dict(value) if origin is dict else value


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)

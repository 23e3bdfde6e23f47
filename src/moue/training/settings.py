"""All settings of a training, as `moue train --settings` and docs/settings.md list them: out of the configuration."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import textwrap
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal

from moue.training.config import Config
from moue.training.ranges import ranges_of


@dataclass(frozen=True)
class Setting:
    """One setting."""

    name: str
    """As after ``--set``: "optim.lr"."""
    type: str
    """In words; "or null" where it may be left empty."""
    default: Any
    """As JSON has it."""
    range: str
    """Numbers that it may be; "" for all of its type."""
    meaning: str
    """In Markdown."""


def settings() -> list[Setting]:
    """Every setting, in the order of :class:`moue.training.config.Config`."""
    found = []
    for section, kind in typing.get_type_hints(Config).items():
        hints, ranges, meanings = typing.get_type_hints(kind), ranges_of(kind), _docstrings(kind)
        default = dataclasses.asdict(kind())
        for field in dataclasses.fields(kind):
            value = default[field.name]
            found.append(
                Setting(
                    f"{section}.{field.name}",
                    _words(hints[field.name]),
                    list(value) if isinstance(value, tuple) else value,
                    str(ranges.get(field.name, "")),
                    meanings[field.name],
                )
            )
    return found


def page() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings of a training",
        "",
        "Every key of a recipe, and what `--set` takes: `moue train compact --data SET --out RUN --set optim.lr=3e-4`. "
        "The same list is printed by",
        "",
        "```console",
        "$ moue train --settings",
        "$ moue train compact --settings --format json        # with the values of a recipe",
        "```",
        "",
        "A value is written as in YAML, `null` for none. `--minutes`, `--seed`, `--labels` and `--votes` set "
        "`run.minutes`, `run.seed`, `data.labels` and `data.votes`. This page is made by `python scripts/settings.py` "
        "from the docstrings in `moue.training.config`.",
    ]
    section = ""
    for setting in settings():
        if (name := setting.name.partition(".")[0]) != section:
            section = name
            lines += [
                "",
                f"## {section}",
                "",
                "| setting | type | default | range | meaning |",
                "|---|---|---|---|---|",
            ]
        cells = [f"`{setting.name}`", setting.type, f"`{json.dumps(setting.default)}`", setting.range, setting.meaning]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _docstrings(kind: type) -> dict[str, str]:
    """The text below each field of a dataclass, on one line, as Markdown."""
    [body] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = below.value if isinstance(below, ast.Expr) else None
            assert isinstance(text, ast.Constant), f"{kind.__name__}.{field.target.id} has no docstring"
            words = " ".join(str(text.value).split()).replace("``", "`")
            found[field.target.id] = re.sub(r"\bNone\b", "null", words)
    return found


def _words(kind: Any) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return f"{_words(next(k for k in arguments if k is not type(None)))} or null"
    if origin is Literal:
        return ", ".join(map(str, arguments[:-1])) + f" or {arguments[-1]}"
    if origin is tuple:
        return f"list of {_words(arguments[0])}s"
    words = {bool: "true or false", int: "whole number", float: "number", str: "text", dict: "section"}
    return words[origin or kind]

"""YAML whose numbers are those of version 1.2: PyYAML reads 1.1, where 1e-3, which has no dot, is a text."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from moue.damage import DECODING_ERRORS
from moue.errors import QUOTED, UsageError, require, shortened

#: Version 1.2's numbers with an exponent (10.3.2, "Tag Resolution").
_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+\Z")


#: Of a recipe: many times what one needs, and little enough to be read in a second.
MAX_CHARACTERS, MAX_DEPTH, MAX_NODES = 64 << 10, 16, 2000


def read_yaml(text: str) -> Any:
    """The plain Python value of a YAML text.

    Raises:
        UsageError: when it is none, is larger than the limits above, or has anchors or aliases, with which a few lines
            stand for millions of values; the reason alone, without what was read.
        MissingExtra: without PyYAML.
    """
    yaml = require("yaml", "train")
    try:
        _check_limits(yaml, text)
        return yaml.load(text, Loader=_loader())
    except UsageError:
        raise
    except (yaml.YAMLError, *DECODING_ERRORS) as error:  # ValueError for a date that no calendar has.
        raise UsageError(shortened(error, 2 * QUOTED)) from error


def _check_limits(yaml: Any, text: str) -> None:
    """Refuse what is too large, before any value is built; the events come one by one."""
    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"it is longer than {MAX_CHARACTERS:,} characters")
    depth = nodes = 0
    for event in yaml.parse(text, Loader=_loader()):
        # An alias has the name of its anchor.
        if getattr(event, "anchor", None) is not None:
            raise UsageError(f"line {event.start_mark.line + 1} has an anchor or alias (&, *): write the value out")
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise UsageError(f"line {event.start_mark.line + 1} is nested more than {MAX_DEPTH} deep")
        if nodes > MAX_NODES:
            raise UsageError(f"it holds more than {MAX_NODES:,} values")


@cache
def _loader() -> Any:
    yaml = require("yaml", "train")

    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))  # type: ignore[attr-defined]
    return loader

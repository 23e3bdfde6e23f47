"""YAML whose numbers are those of version 1.2: PyYAML reads 1.1, where 1e-3, which has no dot, is a text."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from moue.errors import UsageError, require

#: Version 1.2's numbers with an exponent (10.3.2, "Tag Resolution").
_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+\Z")


def read_yaml(text: str) -> Any:
    """The plain Python value of a YAML text.

    Raises:
        UsageError: when it is none; the reason alone, without what was read.
        MissingExtra: without PyYAML.
    """
    yaml = require("yaml", "train")
    try:
        return yaml.load(text, Loader=_loader())
    except (yaml.YAMLError, ValueError) as error:  # ValueError for a date that no calendar has.
        raise UsageError(str(error)) from error


@cache
def _loader() -> Any:
    yaml = require("yaml", "train")

    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))  # type: ignore[attr-defined]
    return loader

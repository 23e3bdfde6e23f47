"""Equality by value for results, whose fields may be arrays."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np


class ArrayEquality:
    """A dataclass (made with ``eq=False``) that equals another one of its type where all fields are equal.

    Its hash is that of the hashable fields, so that it can be a key and be in a set.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(a, b) for a, b in zip(_values(self), _values(other), strict=True))

    def __hash__(self) -> int:
        return hash(tuple(value for value in _values(self) if not isinstance(value, (np.ndarray, dict))))


def _values(result: Any) -> list[Any]:
    return [getattr(result, field.name) for field in fields(result)]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        # What is not known, NaN, is equal to itself in two results.
        return np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == np.asarray(b).dtype.kind == "f")
    return bool(a == b)

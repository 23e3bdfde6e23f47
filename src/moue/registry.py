"""Tables of lazily imported objects: ``"googlenet" -> "moue.models.googlenet:GoogLeNet"``.

Listing a registry imports nothing, so that the command line can list the networks without torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from moue.errors import UnknownName


class Registry(Mapping[str, str]):
    """A read-only table of lazily imported objects.

    Args:
        kind: what the entries are, for error messages ("network").
        entries: name to ``"module:attribute"``.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> str:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, name: str) -> Any:
        """Import and return the object of that name.

        Raises:
            UnknownName: when there is none; names the nearest ones.
        """
        if name not in self._entries:
            raise UnknownName(self.kind, name, self._entries)
        module, _, attribute = self._entries[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

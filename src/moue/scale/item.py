"""One input of a unit, not opened yet."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from moue.runtime.inputs.resolve import holds_video
from moue.runtime.inputs.source import Kind, Source

#: Bytes of an input of a shard or of another machine that is held in memory.
MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Item:
    """An input, which is opened before the next one is asked for."""

    name: str
    """What its row calls it; it has no secrets."""
    key: str | None
    """The key that its shard has for it; None for a file."""
    open: Callable[[], AbstractContextManager[Source]]
    """Gives the source for as long as it is read; what cannot be had is an "unreadable" one."""
    ends_shard: bool = False
    """Whether it stands for all that is left of its shard, which cannot be read."""


def failed_item(name: str, why: str, kind: Kind = "unreadable", *, ends_shard: bool = False) -> Item:
    """An input of which only the reason is told why it is not read."""
    return Item(name, None, lambda: nullcontext(Source(name, kind, why)), ends_shard)


def source_of(name: str, content: bytes | None) -> Source:
    """The source of an image or video that is in memory."""
    if content is None:
        return Source(name, "unreadable", "there is no image in this row")
    if len(content) > MAX_BYTES:
        return Source(name, "unreadable", f"it is larger than {MAX_BYTES:,} bytes")
    return Source(name, "video" if holds_video(content) else "image", content=content)

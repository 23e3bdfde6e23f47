"""One input, understood: what it is, what it is called, and where its content is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["image", "video", "camera", "stream", "skipped", "unreadable"]


@dataclass(frozen=True)
class Source:
    """One input, as :func:`moue.runtime.inputs.resolve.resolve` understands it."""

    name: str
    """What results call it: a path; a camera's number; an address without its secrets; the name of an open file; or,
    where there is none, its type, as "<ndarray>", and "<video>" for a video."""
    kind: Kind
    """What to open it as. A "stream" is an address, of which only connecting to it tells what it holds
    (:func:`moue.runtime.network.connect.connected`). "skipped" and "unreadable" are not opened."""
    reason: str | None = None
    """Why it is skipped or unreadable; None for the other kinds."""
    stem: str | None = None
    """What files about an address are called; None for all else, which has a path or a number."""
    content: Any = field(default=None, compare=False, repr=False)
    """Bytes, an open file, a Pillow image, an array or a :class:`moue.runtime.network.url.Url`; None where the name is
    a path or a camera's number."""

    @property
    def data(self) -> Any:
        """What to give to :func:`moue.read_image` or :func:`moue.runtime.video.decode.open_video`."""
        return self.name if self.content is None else self.content

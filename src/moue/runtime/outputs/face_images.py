"""The faces of an input as images beside its rows: ``<stem>.faces/<face>.png``, of a film ``<frame>-<track>.png``."""

from __future__ import annotations

import io
import re
from contextlib import suppress
from pathlib import Path

from PIL import Image

from moue.files import atomic_write
from moue.preprocess import ImageArray
from moue.runtime.results import Faces

#: Of a video, a person's face is saved at most once in that many seconds: two hours would be 200,000 files.
INTERVAL = 1.0
#: What the folder of an input's faces is called, after its stem.
FACES = ".faces"
_NAME = re.compile(r"\d+(-\d+)?\.png")


class FaceImages:
    """Writes the faces of one input.

    Args:
        folder: where they are written; made with the first one. Those of an earlier run are removed.

    Raises:
        OSError: when they cannot be removed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next: dict[int, float] = {}
        self.files: list[Path] = []
        """Those that are written."""
        if folder.is_dir():
            for path in folder.iterdir():
                if _NAME.fullmatch(path.name):
                    path.unlink()
            with suppress(OSError):
                folder.rmdir()

    def add(self, faces: Faces, image: ImageArray) -> None:
        """Write the faces of an image, or those of a frame whose person has none in the last :data:`INTERVAL`.

        Args:
            faces: the result.
            image: where they were found, uint8 ``(H, W, 3)`` RGB.

        Raises:
            OSError: when one cannot be written; nothing of it is left then.
        """
        chosen = {number: str(number + 1) for number in range(len(faces))}
        if faces.timestamp is not None and faces.tracks is not None:
            chosen = {}
            for number, track in enumerate(faces.tracks.tolist()):
                if faces.timestamp >= self._next.get(track, 0.0):
                    # A thousandth earlier: timestamps are rounded.
                    self._next[track] = faces.timestamp + INTERVAL - 1e-3
                    chosen[number] = f"{faces.frame:06d}-{track}"
        if chosen:
            self._folder.mkdir(exist_ok=True)
            crops = faces[list(chosen)].crops(image)
            for name, crop in zip(chosen.values(), crops, strict=True):
                content = io.BytesIO()
                Image.fromarray(crop).save(content, "PNG")
                path = self._folder / f"{name}.png"
                with atomic_write(path) as part:
                    part.write_bytes(content.getvalue())
                self.files.append(path)

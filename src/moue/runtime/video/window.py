"""A live window: annotated images on the screen (OpenCV)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from moue.errors import UsageError, require


class Window(Protocol):
    """Where images are shown."""

    def show(self, image: NDArray[np.uint8]) -> bool:
        """Show one image, uint8 ``(H, W, 3)`` RGB; False when the user closed the window."""
        ...

    def close(self) -> None:
        """Close the window."""
        ...


class ScreenWindow:
    """A window on the screen (OpenCV); q, Esc or its close button ends it.

    Raises:
        MissingExtra: without opencv-python.
    """

    def __init__(self, title: str = "moue") -> None:
        self._cv2 = require("cv2", "camera")
        self._title = title
        self._open = False

    def show(self, image: NDArray[np.uint8]) -> bool:
        """Show one image, uint8 ``(H, W, 3)`` RGB.

        Returns:
            False when q or Esc was pressed or the window was closed.

        Raises:
            UsageError: when this machine has no screen.
        """
        cv2 = self._cv2
        if self._open and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            return False
        try:
            cv2.imshow(self._title, np.ascontiguousarray(image[:, :, ::-1]))
            self._open = True
            return (cv2.waitKey(1) & 0xFF) not in (ord("q"), 27)
        except cv2.error as error:
            raise UsageError("there is no screen to show the window on: turn the window off.") from error

    def close(self) -> None:
        """Close the window."""
        if self._open:
            self._cv2.destroyWindow(self._title)
            self._open = False

"""What the tests of the page send, and how they read what it saves."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Download, FilePayload, Page, Route
from skimage import data
from uploads import encoded


def photo(name: str) -> FilePayload:
    """A small photo of one person."""
    return {"name": name, "mimeType": "image/jpeg", "buffer": encoded(Image.fromarray(data.astronaut()), "JPEG")}


def two_people(name: str = "two.png") -> FilePayload:
    """A photo of two, the second one smaller."""
    image = Image.fromarray(np.hstack([data.astronaut(), np.full_like(data.astronaut(), 200)]))
    image.paste(Image.fromarray(data.astronaut()).resize((400, 400)), (580, 60))
    return {"name": name, "mimeType": "image/png", "buffer": encoded(image)}


def unreadable(name: str) -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": b"no image at all"}


def saved(page: Page, button: str) -> Download:
    with page.expect_download() as download:
        page.click(button)
    return download.value


def saved_rows(page: Page) -> list[dict[str, Any]]:
    """The rows of the JSON file."""
    rows: list[dict[str, Any]] = json.loads(Path(saved(page, "#json").path()).read_text(encoding="utf-8"))
    return rows


def saved_table(page: Page, button: str = "#csv") -> list[dict[str, str]]:
    """The lines of a CSV file."""
    with open(saved(page, button).path(), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class HeldRequests:
    """Holds the page's requests with images, but for the first ones, until they are let go."""

    def __init__(self, page: Page, free: int = 0) -> None:
        self.page, self.free = page, free
        self.held: list[Route] = []
        page.route("**/v1/faces**", self._receive)

    def _receive(self, route: Route) -> None:
        if self.free > 0:
            self.free -= 1
            route.continue_()
        else:
            self.held.append(route)

    def let_go(self) -> None:
        """Let the held requests and all later ones pass."""
        self.free = 1_000_000
        while self.held:
            self.held.pop(0).continue_()

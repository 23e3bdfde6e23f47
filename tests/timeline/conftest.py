"""The films of the timeline tests."""

from __future__ import annotations

import pytest
from films import film

from moue.runtime.results import Faces


@pytest.fixture
def results() -> list[Faces]:
    """Two films: one person smiles from 2 to 4 s, the other comes at 5 s; the third is alone in the second film."""

    def first(t: float) -> dict[int, float]:
        return {1: 0.9 if 2 <= t < 4 else 0.1} | ({2: 0.5} if t >= 5 else {})

    return [*film("films/a.mp4", first), *film("films/sub/b.mp4", lambda t: {1: 0.7})]

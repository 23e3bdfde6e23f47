"""What the tests of `moue score` share."""

from __future__ import annotations

from pathlib import Path

import pytest
from shards import samples, score_here, tar_of

from moue.scale import score as module


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without worker processes."""
    monkeypatch.setattr(module, "score_locally", score_here)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder whose ``in`` holds 20 images in a tar file, and a damaged one."""
    (tmp_path / "in").mkdir()
    tar_of(tmp_path / "in" / "a.tar", samples(20))
    (tmp_path / "in" / "b.jpg").write_bytes(b"\xff\xd8\xffdamaged")
    return tmp_path

"""A set, and a finished comparison on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparisons import TINY, leave_out_figures

from moue.comparison import compare
from moue.data.readers.store import save
from moue.data.readers.synth import synthetic


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("set") / "faces.npz"
    save(synthetic(400, seed=2), path)
    return str(path)


@pytest.fixture
def figures() -> None:
    """For a test that looks at the figures."""


@pytest.fixture(autouse=True)
def _without_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "figures" not in request.fixturenames:
        leave_out_figures(monkeypatch)


@pytest.fixture(scope="session")
def finished(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished comparison."""
    with pytest.MonkeyPatch.context() as patch:
        leave_out_figures(patch)
        out = tmp_path_factory.mktemp("finished")
        compare(["demo/vit"], data=data, out=out, settings=TINY)
    return out

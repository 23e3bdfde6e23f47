"""Comparisons that take seconds."""

from __future__ import annotations

import pytest

TINY = ["optim.epochs=1", "run.threads=1", "data.augment=false", "run.minutes=null", "optim.steps=4"]


def leave_out_figures(patch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all else that these tests do."""
    patch.setattr("moue.report.write.comparison_figures", lambda *_: [])
    patch.setattr("moue.report.write.model_figures", lambda *_: [])

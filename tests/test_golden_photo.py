"""`scripts/check_golden.py`, which `make test-pythons` runs on each Python: it passes here, and sees differences."""

from __future__ import annotations

import copy
import json
import runpy
from pathlib import Path

import pytest

from moue.runtime.weights import BUNDLED

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "check_golden.py"))
RECORDED = json.loads((ROOT / "tests" / "golden" / "photo" / "sample.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("model", BUNDLED)
def test_this_python_gives_the_recorded_results(model: str) -> None:
    assert SCRIPT["differences"](model, RECORDED[model]) == []


def test_it_notices_another_result() -> None:
    for change in ({"label": "sad"}, {"box": [0, 0, 9, 9]}, {"probabilities": {"happy": 0.1}}):
        changed = copy.deepcopy(RECORDED["tiny"]) | change
        assert len(SCRIPT["differences"]("tiny", changed)) == 1

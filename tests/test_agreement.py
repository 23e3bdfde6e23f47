"""`benchmarks/agreement.py` measures how often people agree about a face."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "agreement.py"


def test_agreement_of_two_and_with_the_others() -> None:
    measures = runpy.run_path(str(SCRIPT))
    votes = np.array([[3, 1, 0], [4, 0, 0], [2, 2, 0]])
    # Pairs of a first and a second annotator: (3 × 2) / (4 × 3), all, and 2 × (2 × 1) / (4 × 3).
    assert measures["pair_agreement"](votes) == pytest.approx((1 / 2 + 1 + 1 / 3) / 3)
    # Each of the three agrees with the other two, the one with nobody; all; nobody with two who chose the other answer.
    assert measures["agreement_with_others"](votes) == pytest.approx((3 / 4 + 1 + 0) / 3)


def test_rows_that_are_no_face_do_not_count(tmp_path: Path) -> None:
    table = tmp_path / "votes.csv"
    table.write_text("Usage,Image name,neutral,happiness\nTraining,1.png,5,5\nTraining,,0,0\nTraining,3.png,10,0\n")
    command = [sys.executable, str(SCRIPT), str(table)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert lines[0] == "2 faces"
    # 2 × 20 of 90 ordered pairs agree in the first, all in the other.
    assert lines[3:] == ["two annotators agree in Training: 72.2% of 2 faces"]

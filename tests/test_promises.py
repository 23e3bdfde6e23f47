"""tests/PROMISES.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_tests_that_hold_the_readme_s_promises_exist() -> None:
    text = (ROOT / "tests" / "PROMISES.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines()[4:] if line.startswith("| ")]
    named = [re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row) for row in rows]
    assert all(named), "a promise without a test"
    for file, name in (pair for pairs in named for pair in pairs):
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), (file, name)

"""docs/threat-model.md names the limits that the code has."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from moue.server.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| ([\d,]+)( \w+)? \| `([\w.]+)` \|$", TEXT, re.MULTILINE)
UNITS = {"": 1, "s": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def value_of(name: str) -> float:
    """What the code has for "moue.module.NAME" or "Settings.field"."""
    home, _, attribute = name.rpartition(".")
    return getattr(Settings() if home == "Settings" else importlib.import_module(home), attribute)


@pytest.mark.parametrize(("limit", "number", "unit", "name"), ROWS, ids=[row[3] for row in ROWS])
def test_the_limit_is_that_of_the_code(limit: str, number: str, unit: str, name: str) -> None:
    assert int(number.replace(",", "")) * UNITS[unit.strip()] == value_of(name), limit


def test_every_row_of_the_table_is_compared() -> None:
    table = TEXT.partition("| limit | value | set by |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert len(table.splitlines()) == len(ROWS) > 20


def test_the_server_s_limits_are_all_there() -> None:
    listed = {name.removeprefix("Settings.") for *_, name in ROWS if name.startswith("Settings.")}
    limits = {name for name in vars(Settings()) if name.startswith(("max_", "min_")) or name.endswith("_seconds")}
    # Pixels have their row; seconds of the queue go with --queue.
    assert limits - listed == {"max_pixels", "max_queue_seconds"}


def test_the_tests_that_it_names_exist() -> None:
    folder = ROOT / "tests"
    for name in re.findall(r"`((?:tests/[\w/]*)?test_\w+\.py)`", TEXT):
        assert (ROOT / name).is_file() or list(folder.rglob(name)), name

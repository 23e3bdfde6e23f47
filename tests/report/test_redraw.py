"""`scripts/redraw.py` writes a comparison's page again from the numbers that it keeps."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from moue.report.write import write_comparison
from results import history, made_up

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "redraw.py"


def test_a_page_is_written_again_with_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moue.report.write.comparison_figures", lambda *_: [])
    monkeypatch.setattr("moue.report.write.model_figures", lambda *_: [])
    results = [made_up("a", 2, history=history(4), details={"seed": 0}), made_up("b", 1, seed=1)]
    write_comparison(results, tmp_path, title="Two", provenance={"Date": "2026-01-02"})
    files = {kind: tmp_path / f"comparison.{kind}" for kind in ("html", "md", "json", "csv", "tex")}
    before = {kind: path.read_text(encoding="utf-8") for kind, path in files.items()}
    for kind in ("html", "md"):
        files[kind].unlink()
    runpy.run_path(str(SCRIPT))["main"](tmp_path)
    after = {kind: path.read_text(encoding="utf-8") for kind, path in files.items()}
    assert "Written again" in after["html"]
    for kind, text in before.items():
        lines = [line for line in after[kind].splitlines() if "Written again" not in line]
        missing = [line for line in text.splitlines() if line not in lines and "2026-01-02" not in line]
        assert not missing, f"{kind} lost {missing[:3]}"

"""The audit's page: each part has a place of its own, and nothing empty is shown."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from studies import audit_of

from moue.report.audit import findings, write_audit
from moue.report.canvas import Drawing


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, list[Path]]:
    """Figures are drawn and not rendered."""
    folder = tmp_path_factory.mktemp("audit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moue.report.canvas.saved", lambda figure: Drawing(b"<svg/>", b"png"))
        paths = write_audit(audit_of(), folder, provenance={"Date": "2026-11-26"})
    return (folder / "audit.html").read_text("utf-8"), (folder / "audit.md").read_text("utf-8"), paths


def test_columns_may_be_called_as_other_parts_of_the_page(written: tuple[str, str, list[Path]]) -> None:
    html, markdown, paths = written
    anchors, links = re.findall(r' id="([^"]+)"', html), re.findall(r'href="#([^"]+)"', html)
    assert len(anchors) == len(set(anchors))
    assert set(links) <= set(anchors)
    figures = re.findall(r"\(figures/([\w-]+\.svg)\)", markdown)
    assert len(figures) == len(set(figures)) == html.count("<img")
    assert {path.name for path in paths if path.suffix == ".svg"} == set(figures)


def test_a_class_that_no_face_has_is_left_out_and_named(written: tuple[str, str, list[Path]]) -> None:
    for text in written[:2]:
        assert "none is predicted so: contempt." in text
        assert text.count("contempt") == text.count("predicted so: contempt")
        assert "disgust" in text


def test_names_cannot_break_the_page(written: tuple[str, str, list[Path]]) -> None:
    html, markdown, _ = written
    assert "above <b>" not in html
    assert "# Audit of tiny \\| b on faces" in markdown
    assert "Without an interval: of a single person." in html


@pytest.mark.parametrize(("n", "words"), [(0, "None was tested"), (1, "The only one"), (2, "None of the 2")])
def test_what_is_said_of_gaps_counts_them(n: int, words: str) -> None:
    result = audit_of(120)
    gaps = tuple(replace(gap, p_holm=1.0) for gap in result.audit.gaps[:n])
    texts = {f.title: f.text for f in findings(replace(result, audit=replace(result.audit, gaps=gaps)))}
    assert len(gaps) == n
    assert words in texts["Gaps"]

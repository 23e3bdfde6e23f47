"""The audit on disk: one HTML page that needs nothing but itself, the same as Markdown and JSON, and its figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moue.evaluation.audit import CONDITIONS, FEW_IMAGES, FEW_PERSONS, Audit, CellScore, Column, Gap, GroupScores
from moue.evaluation.audit_model import AuditResult
from moue.files import atomic_write_many
from moue.report import group_plots, plots
from moue.report.figures import Figure
from moue.report.findings import Finding
from moue.report.format import join, p_value, percent, points
from moue.report.render import FOLDER, environment
from moue.report.table import NONE
from moue.report.write import existing_figures, slugs_of

#: What :func:`write_audit` writes beside its figures.
FILES = ("audit.html", "audit.md", "audit.json")

#: Marks a share of few images.
FEW = "†"

#: What an audit cannot say, on each page.
LIMITS = (
    "The groups are those of the file that was given; none was inferred from a face. Who is in none of them is not in "
    "the comparison.",
    "The truth is what someone labeled. Where annotators read the faces of one group differently, a gap may be theirs "
    "and not the model's, and a model that learned from such labels shows none.",
    "A gap that is not significant is not shown to be absent: with few images only large gaps can be found. Look at "
    "the intervals.",
    "A gap is a difference, not its cause: faces of one group may be smaller, darker or more turned. The medians of "
    "the groups say whether they are.",
    "The results hold for people and images like these. Those of posed photos do not carry over to spontaneous faces, "
    "nor those of one camera to another.",
    "Equal recall does not make a use fair. An expression is not a feeling, and a decision about a person must not be "
    "based on it.",
)


class Part(NamedTuple):
    """One column on the page."""

    column: Column
    title: str
    slug: str
    scores: list[list[str]]
    """A row a group: its name and shares."""
    recalls: list[list[str]]
    gaps: list[Gap]
    figures: list[Figure]


def write_audit(result: AuditResult, out: Path | str, *, provenance: Mapping[str, Any] | None = None) -> list[Path]:
    """Write ``audit.html``, ``audit.md``, ``audit.json`` and ``figures/*.svg|png``; all of them, or none.

    Args:
        result: of :func:`moue.evaluation.audit_model.audit_model`.
        out: the folder, made where it is missing. Figures of an older audit that this one does not have are deleted.
        provenance: how it was made, in the order to show.

    Returns:
        The files, the page first.

    Raises:
        MissingExtra: without matplotlib or jinja2.
        OSError: when a file cannot be written.
    """
    out, audit = Path(out), result.audit
    # Numbered: a column may be called as a measure of quality or as another section is.
    parts = [
        _part(column, f"{column.kind}-{i}-{slugs_of([column.name])[column.name]}", result)
        for i, column in enumerate(audit.columns, start=1)
    ]
    context = {
        "title": f"Audit of {result.spec.name} on {result.data}",
        "css": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "result": result,
        "overall": audit.overall,
        "findings": findings(result),
        "group_parts": [part for part in parts if part.column.kind == "groups"],
        "quality_parts": [part for part in parts if part.column.kind == "quality"],
        "quality_figures": [figure for part in parts if part.column.kind == "quality" for figure in part.figures],
        "quality_titles": ["Images", "Uncertain, %", "Right, %", "Mean recall, %", *audit.in_use],
        "score_titles": score_titles(audit.overall),
        "labels": audit.in_use,
        "unused": [name for name in audit.labels if name not in audit.in_use],
        "limits": LIMITS,
        "few": f"{FEW} of fewer than {FEW_IMAGES} images"
        + (f" or {FEW_PERSONS} persons" if audit.overall.persons is not None else ""),
        "single": " Without an interval: of a single person." if audit.overall.persons is not None else "",
        "provenance": dict(provenance or {}),
    }
    templates = environment()
    templates.filters["measure_name"] = measure_name
    html, markdown = (templates.get_template(f"audit.{kind}.j2").render(context) for kind in ("html", "md"))
    contents = {
        out / "audit.html": html.encode(errors="replace"),
        out / "audit.md": markdown.encode(errors="replace"),
        out / "audit.json": (json.dumps(to_dict(result, provenance), indent=2, ensure_ascii=False) + "\n").encode(),
        **{
            out / "figures" / f"{figure.name}.{kind}": content
            for part in parts
            for figure in part.figures
            for kind, content in figure.drawing._asdict().items()
        },
    }
    old = existing_figures(out / "audit.md")
    written = atomic_write_many(contents)
    for path in old.difference(written):
        path.unlink(missing_ok=True)
    return written


def to_dict(result: AuditResult, provenance: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What ``moue audit --format json`` prints, in plain types."""
    return {
        "model": result.spec.name,
        "network": result.spec.network,
        "data": result.data,
        "fingerprint": result.fingerprint,
        "split": result.split,
        "detector": result.detector,
        "images_of_several_faces": result.several,
        "images_without_a_line": result.groups.without,
        "unused_lines": result.groups.unused,
        **result.audit.to_dict(),
        **({} if provenance is None else {"provenance": dict(provenance)}),
    }


def findings(result: AuditResult) -> list[Finding]:
    """The audit in sentences."""
    audit, overall = result.audit, result.audit.overall
    read = overall.n - round(overall.n * (overall.unread.share or 0))
    text = f"{percent(overall.accuracy.share)} of the {read:,} faces are read as they are labeled"
    text += f" ({interval(overall.accuracy)}); the mean recall of the classes is {percent(overall.mean_recall)}."
    if unread := overall.n - read:
        text += f" In {unread:,} of {overall.n:,} images no face was found."
    found = [Finding("All groups", text)]
    significant = [gap for gap in audit.gaps if gap.significant]
    tested = len(audit.gaps)
    if not tested:
        found.append(Finding("Gaps", f"None was tested: no two groups have {FEW_IMAGES} images of a class each."))
    elif not significant:
        text = f"None of the {tested} that were tested is" if tested > 1 else "The only one that was tested is not"
        found.append(Finding("Gaps", f"{text} significant, which does not show that there is none."))
    for gap in sorted(significant, key=lambda gap: -gap.gap)[:8]:
        found.append(Finding(f"{gap.column}: {measure_name(gap)}", gap_sentence(gap)))
    if few := [
        f"{group.group} ({column.name})" for column in audit.columns for group in column.groups if group.accuracy.few
    ]:
        found.append(Finding("Few images", f"There are too few to say much of {join(few)}."))
    return found


def measure_name(gap: Gap) -> str:
    """What differs: "recall of happy"."""
    words = {"accuracy": "accuracy", "mean_recall": "mean recall", "unread": "no face found"}
    return words.get(gap.measure, f"recall of {gap.label}")


def gap_sentence(gap: Gap) -> str:
    """One gap in words."""
    p = p_value(gap.p_holm)
    return (
        f"{percent(gap.high)} for {gap.highest} and {percent(gap.low)} for {gap.lowest}, {points(gap.gap)} apart "
        f"(p {p if p.startswith('<') else f'= {p}'} after Holm's correction)."
    )


def interval(cell: CellScore) -> str:
    """The ends of an interval in percent: "76–85"; a dash where there is none."""
    return NONE if cell.low is None or cell.high is None else f"{100 * cell.low:.0f}–{100 * cell.high:.0f}"


def share_text(cell: CellScore) -> str:
    """A share in percent with its interval and mark: "81 (76–85)"."""
    if cell.share is None:
        return NONE
    ends = "" if cell.low is None else f" ({interval(cell)})"
    return f"{100 * cell.share:.0f}{ends}{FEW if cell.few else ''}"


def score_titles(overall: GroupScores) -> list[str]:
    """The columns of the table of groups, after the group's name."""
    persons = ["Persons"] if overall.persons is not None else []
    medians = [_condition(name, unit=True) for name in overall.medians]
    return ["Images", *persons, "No face, %", "Uncertain, %", "Right, %", "Mean recall, %", *medians]


def score_row(group: GroupScores, names: Sequence[str]) -> list[str]:
    """The cells of one group."""
    persons = [f"{group.persons:,}"] if group.persons is not None else []
    mean = NONE if group.mean_recall is None else f"{100 * group.mean_recall:.0f}"
    shares = [share_text(cell) for cell in (group.unread, group.uncertain, group.accuracy)]
    medians = [f"{group.medians[n]:.{CONDITIONS[n][2]}f}" if n in group.medians else NONE for n in names]
    return [group.group, f"{group.n:,}", *persons, *shares, mean, *medians]


def quality_row(group: GroupScores, labels: Sequence[str]) -> list[str]:
    """The cells of one part of the faces by a measure of quality."""
    mean = NONE if group.mean_recall is None else f"{100 * group.mean_recall:.0f}"
    recalls = [NONE if (c := group.recall[n]).share is None else f"{100 * c.share:.0f}{FEW * c.few}" for n in labels]
    return [group.group, f"{group.n:,}", share_text(group.uncertain), share_text(group.accuracy), mean, *recalls]


def _condition(name: str, unit: bool = False) -> str:
    words, of, _ = CONDITIONS[name]
    return words[0].upper() + words[1:] + (f", {of}" if unit and of else "")


def _part(column: Column, slug: str, result: AuditResult) -> Part:
    audit, names = result.audit, list(result.audit.overall.medians)
    title = _condition(column.name) if column.kind == "quality" else column.name
    return Part(
        column,
        title,
        slug,
        [quality_row(g, audit.in_use) if column.kind == "quality" else score_row(g, names) for g in column.groups],
        [[group.group, *(share_text(group.recall[label]) for label in audit.in_use)] for group in column.groups],
        [gap for gap in audit.gaps if gap.column == column.name and column.kind == "groups"],
        _figures(column, title, slug, audit),
    )


def _figures(column: Column, title: str, slug: str, audit: Audit) -> list[Figure]:
    words = "; ".join(f"{g.group}: {percent(g.accuracy.share)} right" for g in column.groups)
    figures, labels = [], audit.in_use
    kept = np.ix_(*2 * [[audit.labels.index(name) for name in labels]])
    if column.groups:
        caption = f"{title}: predictions that are right, and that are uncertain."
        figures.append(
            Figure(f"{slug}-accuracy", group_plots.accuracies(column.groups, title), caption, f"{caption} {words}")
        )
    if column.kind == "quality":
        return figures
    if 0 < len(column.groups) <= group_plots.MAX_MARKS:
        caption = f"{title}: recall of each class. Hollow: of few images."
        drawing = group_plots.recalls(column.groups, labels)
        figures.append(Figure(f"{slug}-recall", drawing, caption, f"{caption} {words}"))
    for group, own in zip(column.groups, slugs_of([g.group for g in column.groups]).values(), strict=True):
        if group.confusion.any():
            caption = f"{group.group}: percent of each true class, and number of images."
            drawing = plots.confusion(group.confusion[kept], labels, group.group)
            alt = f"Confusion matrix of {group.group}; {percent(group.accuracy.share)} right"
            figures.append(Figure(f"{slug}-{own}-confusion", drawing, caption, alt, folded=True))
    return figures

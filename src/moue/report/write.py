"""The comparison on disk: one self-contained HTML page, and its table as Markdown, CSV and JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moue.errors import UsageError
from moue.evaluation.significance import Pair, compare_pairs
from moue.files import atomic_write_many
from moue.report.card import percent
from moue.report.figures import Figure, of_model, overview
from moue.report.findings import Finding, duration, p_value, verdict
from moue.report.page import page
from moue.report.result import STUDY, Row, recalls
from moue.runtime.outputs.tabular import to_csv

__all__ = ["STUDY", "Row", "significance", "table_rows", "write_comparison"]


def write_comparison(
    rows: Sequence[Row],
    out_dir: Path | str,
    *,
    title: str = "Networks compared",
    provenance: Mapping[str, Any] | None = None,
    pairs: Sequence[Pair] | None = None,
) -> list[Path]:
    """Write the comparison: ``comparison.html``, ``.md``, ``.csv``, ``.json``, and ``figures/*.svg`` for the Markdown.

    All of it is made before the first file is touched, and every file is replaced by a whole one: a failure leaves an
    older page as it was. Figures of an older page that this one does not have are deleted.

    Args:
        rows: in the order of the page; not-run and quoted ones may stand among them.
        out_dir: made where it is missing.
        title: of the page.
        provenance: how it was made, in the order to show: command, machine, versions, seeds, data fingerprint; a
            mapping as a value is shown as its items.
        pairs: tested differences; by default :func:`significance` of the rows.

    Returns:
        The files written, the page first.

    Raises:
        UsageError: when there are no rows, two share a name, or models were evaluated on different images.
        MissingExtra: without matplotlib.
        OSError: when a file cannot be written.
    """
    if not rows:
        raise UsageError("there is nothing to compare: no model ran and none is quoted.")
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"two rows are called {twice!r}. Each model needs a name of its own.")
    pairs = significance(rows) if pairs is None else list(pairs)
    findings = verdict(rows, pairs)
    made = dict(provenance or {})
    slugs = _slugs(names)
    shared = overview(rows)
    own = {row.name: of_model(row, slugs[row.name]) for row in rows if row.ran}
    figures = [*shared, *(figure for some in own.values() for figure in some)]
    out = Path(out_dir)
    contents = {
        out / "comparison.html": page(rows, pairs, findings, shared, own, slugs, title=title, provenance=made).encode(),
        out / "comparison.md": _markdown(rows, pairs, findings, figures, title, made).encode(),
        out / "comparison.csv": to_csv(table_rows(rows)).encode(),
        out / "comparison.json": _json(rows, pairs, findings, title, made).encode(),
        **{out / "figures" / f"{f.name}.svg": f.svg for f in figures},
    }
    old = _drawn(out)
    written = atomic_write_many(contents)
    for path in old.difference(written):
        path.unlink(missing_ok=True)
    return written


def _drawn(out: Path) -> set[Path]:
    """The figures of the comparison that stands in a folder, as its Markdown names them."""
    page = out / "comparison.md"
    names = re.findall(r"\(figures/([\w-]+\.svg)\)", page.read_text("utf-8", "replace")) if page.is_file() else []
    return {out / "figures" / name for name in names}


def significance(rows: Sequence[Row], *, resamples: int = 10_000, seed: int = 0) -> list[Pair]:
    """Test every pair of the rows that ran and have predictions.

    Raises:
        UsageError: when they were not evaluated on the same images.
    """
    correct = {row.name: row.correct for row in rows if row.ran}
    return compare_pairs({n: c for n, c in correct.items() if c is not None}, resamples=resamples, seed=seed)


def table_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The table with plain numbers: fractions of 1, hours, milliseconds; None where there is none."""
    flat = []
    for row in rows:
        e = row.evaluation
        clean = e.deduplicated if e is not None else None
        flat.append(
            {
                "model": row.name,
                "network": row.network,
                "status": "quoted" if row.quoted else row.status,
                "reason": row.reason,
                "split": e and e.split,
                "n": e and e.n,
                "accuracy": row.accuracy,
                "accuracy_se": e and e.accuracy_se,
                "deduplicated_n": clean and clean.n,
                "deduplicated_accuracy": clean and clean.accuracy,
                "deduplicated_accuracy_se": clean and clean.accuracy_se,
                "balanced_accuracy": e and e.balanced_accuracy,
                "macro_f1": e and e.macro_f1,
                "top2": e and e.top2,
                "nll": e and e.nll,
                "ece": e and e.ece,
                "accuracy_at_80": e and e.accuracy_at_80,
                "training_hours": row.hours,
                "core_hours": row.core_hours,
                "epochs": row.epochs,
                "parameters": row.parameters,
                "gflop": row.gflop,
                "latency_ms": row.latency_ms,
                "engine": row.engine,
            }
        )
    return flat


def _markdown(
    rows: Sequence[Row],
    pairs: Sequence[Pair],
    findings: Sequence[Finding],
    figures: Sequence[Figure],
    title: str,
    provenance: Mapping[str, Any],
) -> str:
    lines = [f"# {title}", "", *(f"- **{f.title}.** {f.text}" for f in findings), ""]
    lines += [
        "| Model | Accuracy | Deduplicated accuracy | Balanced accuracy | Training time | Core-hours | Epochs "
        "| Parameters | GFLOP | Latency |",
        "|---|" + "---:|" * 9,
    ]
    for row in rows:
        e = row.evaluation
        clean = e.deduplicated if e is not None else None
        if row.status == "not run":
            score = f"not run: {row.reason}"
        elif e is not None:
            score = f"{percent(e.accuracy)} ± {percent(e.accuracy_se)}"
        else:
            score = f"{percent(row.accuracy, 0)} (quoted)"
        cells = [
            row.name,
            score,
            f"{percent(clean.accuracy)} ± {percent(clean.accuracy_se)}" if clean else "–",
            percent(e.balanced_accuracy if e is not None else None),
            duration(row.hours) if row.hours else "–",
            f"{row.core_hours:.1f}" if row.core_hours else "–",
            f"{row.epochs:g}" if row.epochs else "–",
            f"{row.parameters:,}" if row.parameters else "–",
            f"{row.gflop:.3g}" if row.gflop else "–",
            row.latency or "–",
        ]
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    lines += ["", "± is one standard error. Balanced: the mean of the classes' recalls.", ""]
    if any(row.quoted for row in rows):
        lines[-1:] = ["Quoted rows are a publication's numbers, not measured here.", ""]
    by_class = recalls(rows)
    if by_class:
        classes = list(next(iter(by_class.values())))
        lines += ["## Recall of each class", "", f"| Model | {' | '.join(classes)} |", "|---|" + "---:|" * len(classes)]
        for name, found in by_class.items():
            lines.append(f"| {_cell(name)} | {' | '.join(percent(found[c]) for c in classes)} |")
        lines.append("")
    if pairs:
        lines += ["## Differences", "", "| Pair | Difference, points | 95% interval | p (McNemar, Holm) |"]
        lines += ["|---|---:|---:|---:|"]
        lines += [
            f"| {p.a} – {p.b} | {100 * p.difference:+.1f} | {100 * p.low:+.1f} to {100 * p.high:+.1f} "
            f"| {p_value(p.p_holm).removeprefix('= ')}{' *' if p.significant else ''} |"
            for p in pairs
        ]
        lines += ["", "* significant at 5%.", ""]
    lines += ["## Figures", ""]
    lines += [line for f in figures for line in (f"![{f.caption}](figures/{f.name}.svg)", "", f.caption, "")]
    lines += ["## How it was made", "", *(f"- {key}: {_plain(value)}" for key, value in provenance.items())]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _json(
    rows: Sequence[Row], pairs: Sequence[Pair], findings: Sequence[Finding], title: str, provenance: Mapping[str, Any]
) -> str:
    answer = {
        "title": title,
        "verdict": [f._asdict() for f in findings],
        "rows": [
            {
                **flat,
                "evaluation": None if row.evaluation is None else row.evaluation.to_dict(),
                "history": list(row.history or []),
                "details": row.details,
            }
            for flat, row in zip(table_rows(rows), rows, strict=True)
        ],
        "pairs": [pair.to_dict() for pair in pairs],
        "provenance": provenance,
    }
    return json.dumps(_jsonable(answer), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _jsonable(value: Any) -> Any:
    """Plain JSON types; a number that is not finite (a loss that blew up) is null."""
    if isinstance(value, Mapping):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, bool, int)) else str(value)


def _plain(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)


def _slugs(names: Sequence[str]) -> dict[str, str]:
    """File and anchor names; two models never share one."""
    slugs: dict[str, str] = {}
    for name in names:
        base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"
        slug, n = base, 2
        while slug in slugs.values():
            slug, n = f"{base}-{n}", n + 1
        slugs[name] = slug
    return slugs

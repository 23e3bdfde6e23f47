"""The comparison as text: one HTML page that needs no script and no network, and the same in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moue.errors import require
from moue.evaluation.model_result import ModelResult, recalls_by_model
from moue.evaluation.significance import Pair
from moue.report import format
from moue.report.figures import Figure
from moue.report.findings import Finding, describe_history
from moue.spec import VIEWS

FOLDER = Path(__file__).parent

#: The columns of the table of results after the model's name.
COLUMNS = (
    "Accuracy",
    "Deduplicated accuracy",
    "Balanced accuracy",
    "Training time",
    "Core-hours",
    "Epochs",
    "Parameters",
    "GFLOP",
    "Latency",
)


def render(
    results: Sequence[ModelResult],
    pairs: Sequence[Pair],
    findings: Sequence[Finding],
    shared: Sequence[Figure],
    own: Mapping[str, Sequence[Figure]],
    slugs: Mapping[str, str],
    *,
    title: str,
    provenance: Mapping[str, Any],
) -> tuple[str, str]:
    """The HTML page, and the Markdown.

    Args:
        results: in the order to show.
        pairs: tested differences.
        findings: the verdict.
        shared: figures of all models together.
        own: figures of each evaluated model, by its name.
        slugs: anchor of each model, by its name.
        title: the page's title.
        provenance: how it was made; a mapping as a value is shown as its items.

    Raises:
        MissingExtra: without jinja2.
    """
    evaluated = [result for result in results if result.evaluation is not None]
    diagnoses = {result.name: describe_history(result.history) for result in evaluated}
    context = {
        "title": title,
        "css": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "columns": COLUMNS,
        "views": VIEWS,
        "results": results,
        "evaluated": evaluated,
        "published": {result.name for result in results if result.published is not None},
        "best": max(
            (r.accuracy or 0.0 for r in evaluated if r.evaluation and r.evaluation.above_majority), default=None
        ),
        "baselines": {e.majority_class: e.majority_baseline for r in evaluated if (e := r.evaluation) is not None},
        "splits": list(dict.fromkeys((r.evaluation.split, r.evaluation.n) for r in evaluated if r.evaluation)),
        "diagnoses": {name: text for name, text in diagnoses.items() if text is not None},
        "recalls": recalls_by_model(results),
        "pairs": pairs,
        "findings": findings,
        "shared": shared,
        "own": own,
        "figures": [*shared, *(figure for figures in own.values() for figure in figures)],
        "slugs": slugs,
        "provenance": provenance,
    }
    environment = _environment()
    html, markdown = (environment.get_template(f"comparison.{kind}.j2").render(context) for kind in ("html", "md"))
    return html, markdown


def _environment() -> Any:
    jinja2 = require("jinja2", "report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for function in (
        format.duration,
        format.latency,
        format.number,
        format.p_value,
        format.percent,
        format.signed_points,
        format.with_error,
    ):
        environment.filters[function.__name__] = function
    environment.filters["cell"] = lambda text: text.replace("|", "\\|").replace("\n", " ")
    return environment

"""The comparison on disk: one self-contained HTML page, its tables as Markdown, CSV, JSON and LaTeX, its figures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from moue.errors import UsageError
from moue.evaluation.model_result import ModelResult
from moue.evaluation.ranking import compare_models
from moue.evaluation.seeds import SCORES as SEED_SCORES
from moue.evaluation.seeds import SeedPair, compare_over_seeds, spread
from moue.evaluation.significance import Pair
from moue.files import atomic_write_many
from moue.report.figures import comparison_figures, model_figures
from moue.report.findings import Finding, verdict
from moue.report.latex import latex
from moue.report.render import render
from moue.runtime.outputs.tabular import to_csv


def write_comparison(
    results: Sequence[ModelResult],
    out_dir: Path | str,
    *,
    title: str = "Networks compared",
    provenance: Mapping[str, Any] | None = None,
    pairs: Sequence[Pair] | None = None,
) -> list[Path]:
    """Write the comparison: ``comparison.html``, ``.md``, ``.csv``, ``.json``, ``.tex``, and ``figures/*.svg|png``.

    All content is made before the first file is written, and files are replaced only when all are written: a failure
    leaves an older page as it was. Figures of an older page that this one does not have are deleted.

    Args:
        results: in the order of the page; published ones and models that were not run may be among them.
        out_dir: made where it is missing.
        title: of the page.
        provenance: how it was made, in the order to show: command, machine, versions, seeds, data fingerprint; a
            mapping as a value is shown as its items.
        pairs: tested differences; by default :func:`moue.evaluation.ranking.compare_models` of the results.

    Returns:
        The files written, the page first.

    Raises:
        UsageError: when there are no results, two share a name, models were evaluated on different images, or timed in
            different engines.
        MissingExtra: without matplotlib or jinja2.
        OSError: when a file cannot be written.
    """
    check_results(results)
    pairs = compare_models(results) if pairs is None else list(pairs)
    seed_pairs = compare_over_seeds(results)
    findings = verdict(results, pairs, seed_pairs)
    provenance = dict(provenance or {})
    slugs = slugs_of([result.name for result in results])
    shared = comparison_figures(results)
    own = {result.name: model_figures(result, slugs[result.name]) for result in results}
    html, markdown = render(
        results, pairs, findings, shared, own, slugs, title=title, provenance=provenance, seed_pairs=seed_pairs
    )
    out = Path(out_dir)
    texts = {
        "html": html,
        "md": markdown,
        "csv": to_csv([result.to_row() for result in results]),
        "json": _json(results, pairs, seed_pairs, findings, title, provenance),
        "tex": latex(results, pairs),
    }
    contents = {
        # The name of a folder may hold bytes that are no text.
        **{out / f"comparison.{kind}": text.encode(errors="replace") for kind, text in texts.items()},
        **{
            out / "figures" / f"{figure.name}.{kind}": content
            for figure in (*shared, *(figure for figures in own.values() for figure in figures))
            for kind, content in figure.drawing._asdict().items()
        },
    }
    old = existing_figures(out / "comparison.md")
    written = atomic_write_many(contents)
    for path in old.difference(written):
        path.unlink(missing_ok=True)
    return written


def check_results(results: Sequence[ModelResult]) -> None:
    """Make sure that results can stand on one page.

    Raises:
        UsageError: when there are none, two share a name, or they were timed in different engines.
    """
    if not results:
        raise UsageError("there is nothing to compare: no model ran and none is quoted.")
    names = [result.name for result in results]
    if len(set(names)) < len(names):
        duplicate = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"two models are called {duplicate!r}. Each model needs a name of its own.")
    timed = {(result.engine, result.threads) for result in results if result.latency_ms}
    if len(timed) > 1:
        found = " and ".join(f"{engine} on {threads} threads" for engine, threads in sorted(timed, key=str))
        raise UsageError(f"all models of a page are timed in one engine on as many threads. Got {found} instead.")


def existing_figures(page: Path) -> set[Path]:
    """The figures of an older page, as its Markdown names them."""
    names = re.findall(r"\(figures/([\w-]+\.svg)\)", page.read_text("utf-8", "replace")) if page.is_file() else []
    return {(page.parent / "figures" / name).with_suffix(suffix) for name in names for suffix in (".svg", ".png")}


def _json(
    results: Sequence[ModelResult],
    pairs: Sequence[Pair],
    seed_pairs: Sequence[SeedPair],
    findings: Sequence[Finding],
    title: str,
    provenance: Mapping[str, Any],
) -> str:
    content = {
        "title": title,
        "verdict": [f._asdict() for f in findings],
        **results_content(results, pairs, seed_pairs),
        "provenance": provenance,
    }
    return json.dumps(jsonable(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def results_content(
    results: Sequence[ModelResult], pairs: Sequence[Pair], seed_pairs: Sequence[SeedPair] = ()
) -> dict[str, Any]:
    """The models of a page and their differences."""
    return {
        "rows": [
            {
                **result.to_row(),
                "published": None if result.published is None else asdict(result.published),
                "evaluation": None if result.evaluation is None else result.evaluation.to_dict(),
                "history": result.history,
                "details": result.details,
                "ensemble": None if result.ensemble is None else result.ensemble.to_dict(),
                "seeds": [
                    {"seed": run.details.get("seed"), **run.to_row(), "history": run.history} for run in result.seeds
                ],
                "over_seeds": {
                    score: None if (found := spread(result, score)) is None else {"mean": found.mean, "sd": found.sd}
                    for score in (SEED_SCORES if result.seeds else ())
                },
            }
            for result in results
        ],
        "pairs": [pair.to_dict() for pair in pairs],
        "seed_pairs": [pair.to_dict() for pair in seed_pairs],
    }


def jsonable(value: Any) -> Any:
    """Plain JSON types; a number that is not finite (a loss that diverged) is null."""
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, bool, int)) else str(value)


def slugs_of(names: Sequence[str]) -> dict[str, str]:
    """File and anchor names; unique."""
    slugs: dict[str, str] = {}
    for name in names:
        # A file's name has a limit, and a figure's goes on after this.
        base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "model"
        slug, n = base, 2
        while slug in slugs.values():
            slug, n = f"{base}-{n}", n + 1
        slugs[name] = slug
    return slugs

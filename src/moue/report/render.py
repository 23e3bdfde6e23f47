"""The comparison as text: one HTML page that needs no script and no network, and the same in Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moue.errors import require, shortened
from moue.evaluation.model_result import ModelResult
from moue.evaluation.ranking import winner
from moue.evaluation.seeds import SeedPair
from moue.evaluation.significance import Pair
from moue.report import format
from moue.report.figures import Figure
from moue.report.findings import Finding, describe_history
from moue.report.format import timed_in
from moue.report.image import data_uri
from moue.report.table import member_table, quoted_table, recall_table, results_table, seed_table
from moue.spec import VIEWS

FOLDER = Path(__file__).parent

#: With more models than this, the figures of each one are folded.
UNFOLDED = 4


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
    seed_pairs: Sequence[SeedPair] = (),
    template: str = "comparison",
    further: Mapping[str, Any] | None = None,
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
        seed_pairs: tested differences over seeds.
        template: "comparison", or one that extends it.
        further: what that one shows.

    Raises:
        MissingExtra: without jinja2.
    """
    evaluated = [result for result in results if result.evaluation is not None]
    best = winner(results)
    diagnoses = {result.name: describe_history(result.history) for result in evaluated}
    context = {
        "title": title,
        "css": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "views": VIEWS,
        "unfolded": UNFOLDED,
        "table": results_table(results, pairs),
        "recalls": recall_table(results),
        "quoted": quoted_table(results),
        "sources": list(dict.fromkeys(r.details["source"] for r in results if r.published and "source" in r.details)),
        "timed": timed_in(results),
        "results": results,
        "evaluated": evaluated,
        "best": best,
        "splits": list(dict.fromkeys((r.evaluation.split, r.evaluation.n) for r in evaluated if r.evaluation)),
        "diagnoses": {name: text for name, text in diagnoses.items() if text is not None},
        "pairs": _ordered(pairs, best),
        "seeds": seed_table(results),
        "seed_pairs": seed_pairs,
        "member_tables": {result.name: member_table(result) for result in evaluated},
        "findings": findings,
        "shared": shared,
        "own": own,
        "figures": [*shared, *(figure for figures in own.values() for figure in figures)],
        "slugs": slugs,
        "provenance": provenance,
        **(further or {}),
    }
    templates = environment()
    html, markdown = (templates.get_template(f"{template}.{kind}.j2").render(context) for kind in ("html", "md"))
    return html, markdown


def _ordered(pairs: Sequence[Pair], best: ModelResult | None) -> list[Pair]:
    """Those of the most accurate model before the others, with it as their first."""
    if best is None:
        return list(pairs)
    turned = [pair.swapped() if pair.b == best.name else pair for pair in pairs]
    return sorted(turned, key=lambda pair: pair.a != best.name)


def _options(text: object) -> Any:
    """Text for HTML: what stands in backticks as code, and no line ends inside of an option's name, as "--" and
    "votes"."""
    markup = require("markupsafe", "report")
    escaped = re.sub(r"(?<!\S)--?[a-z][\w-]*", r'<span class="option">\g<0></span>', str(markup.escape(text)))
    return markup.Markup(re.sub("`([^`]+)`", r"<code>\1</code>", escaped))


def environment() -> Any:
    """Jinja's, with the templates of this package and the filters that they use.

    Raises:
        MissingExtra: without jinja2.
    """
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
        format.hundredths,
        format.interval,
        format.number,
        format.p_value,
        format.percent,
        format.signed_points,
        format.with_error,
    ):
        environment.filters[function.__name__] = function
    environment.filters["data_uri"] = data_uri
    environment.filters["options"] = _options
    # A section's heading has the whole name.
    environment.filters["short"] = lambda name: shortened(name, 60)
    environment.filters["cell"] = lambda text: text.replace("|", "\\|").replace("\n", " ")
    return environment

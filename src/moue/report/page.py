"""The comparison as one HTML page that needs nothing but itself: no script, no network, light and dark."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from moue.evaluation.significance import Pair
from moue.report.card import percent
from moue.report.figures import Figure
from moue.report.findings import Finding, duration, p_value, reading
from moue.report.result import Row, recalls
from moue.report.style import CSS
from moue.spec import VIEWS


def page(
    rows: Sequence[Row],
    pairs: Sequence[Pair],
    findings: Sequence[Finding],
    shared: Sequence[Figure],
    own: Mapping[str, Sequence[Figure]],
    slugs: Mapping[str, str],
    *,
    title: str,
    provenance: Mapping[str, Any],
) -> str:
    """The page.

    Args:
        rows: in the order to show.
        pairs: tested differences.
        findings: the verdict.
        shared: figures of all models together.
        own: figures of each model, by its name.
        slugs: anchor of each model, by its name.
        title: the page's title.
        provenance: how it was made.
    """
    ran = [row for row in rows if row.ran]
    links = "".join(f'<a href="#{slugs[row.name]}">{escape(row.name)}</a>' for row in ran)
    parts = [
        f"<header><h1>{escape(title)}</h1>{_subtitle(ran)}</header>",
        f'<nav aria-label="Models">{links}</nav>' if len(ran) > 1 else "",
        _verdict(findings),
        _results(rows, slugs),
        _side_by_side(shared),
        _recalls(rows),
        _differences(pairs),
        *(_model(row, own.get(row.name, ()), slugs[row.name]) for row in ran),
        _provenance(provenance),
    ]
    head = (
        '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<title>{escape(title)}</title>\n<style>{CSS}</style>'
    )
    body = "\n".join(filter(None, parts))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _side_by_side(shared: Sequence[Figure]) -> str:
    figures = "".join(map(_figure, shared))
    return f'<section><h2>Side by side</h2><div class="grid">{figures}</div></section>' if shared else ""


def _subtitle(ran: Sequence[Row]) -> str:
    sets = list(dict.fromkeys((r.evaluation.split, r.evaluation.n) for r in ran if r.evaluation is not None))
    words = "; ".join(f"{n:,} images of {split.replace('_', ' ')}" for split, n in sets)
    count = f"{len(ran)} model{'s' if len(ran) != 1 else ''}"
    return f'<p class="subtitle">{count}, {escape(words)}</p>' if words else ""


def _verdict(findings: Sequence[Finding]) -> str:
    items = "".join(f"<dt>{escape(f.title)}</dt><dd>{escape(f.text)}</dd>" for f in findings)
    return f'<section class="verdict" aria-label="Verdict"><dl>{items}</dl></section>' if items else ""


def _results(rows: Sequence[Row], slugs: Mapping[str, str]) -> str:
    best = max((row.accuracy or 0.0 for row in rows if row.ran), default=None)
    body = "".join(_result(row, slugs[row.name], row.ran and row.accuracy == best) for row in rows)
    head = _heads(
        "Model",
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
    caption = (
        "± is one standard error. Deduplicated: on the images without an exact copy in Training. "
        "Balanced: the mean of the classes' recalls, each counting the same. "
        "Core-hours: training time times the processor cores that it took. GFLOP: for one view of an image. "
        "Latency: for an image with all the views that its accuracy is of, in the engine that it names."
    )
    if any(row.quoted for row in rows):
        caption += " Rows in italics are quoted from a publication: measured elsewhere, and not tested against."
    return f'<section><h2>Results</h2><div class="wide">{_table(caption, head, body)}</div></section>'


def _table(caption: str, head: str, body: str) -> str:
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _heads(first: str, *numbers: str) -> str:
    return f'<th scope="col">{first}</th>' + "".join(f'<th scope="col" class="n">{h}</th>' for h in numbers)


def _result(row: Row, slug: str, best: bool) -> str:
    name = f'<a href="#{slug}">{escape(row.name)}</a>' if row.ran else escape(row.name)
    other = row.network.lower() != row.name.lower() and not row.quoted
    below = f"<small>{escape(row.network)}</small>" if other else ""
    head = f'<th scope="row">{name}{below}</th>'
    if row.status == "not run":
        return f'<tr class="missing">{head}<td colspan="9">not run: {escape(row.reason or "")}</td></tr>'
    e = row.evaluation
    clean = e.deduplicated if e is not None else None
    if e is not None:
        score = f"<strong>{percent(e.accuracy)}</strong> <span>± {100 * e.accuracy_se:.1f}</span>"
    else:
        score = percent(row.accuracy, 0)
    cells = (
        score,
        f"{percent(clean.accuracy)} <span>± {100 * clean.accuracy_se:.1f}</span>" if clean is not None else "–",
        percent(e.balanced_accuracy if e is not None else None),
        duration(row.hours) if row.hours else "–",
        f"{row.core_hours:.1f}" if row.core_hours else "–",
        f"{row.epochs:g}" if row.epochs else "–",
        _count(row.parameters),
        f"{row.gflop:.3g}" if row.gflop else "–",
        row.latency or "–",
    )
    kind = "quoted" if row.quoted else "best" if best else ""
    return f'<tr class="{kind}">{head}' + "".join(f'<td class="n">{c}</td>' for c in cells) + "</tr>"


def _recalls(rows: Sequence[Row]) -> str:
    found = recalls(rows)
    if len(found) < 2:
        return ""
    quoted = {row.name for row in rows if row.quoted}
    body = "".join(
        f'<tr class="{"quoted" if name in quoted else ""}"><th scope="row">{escape(name)}</th>'
        + "".join(f'<td class="n">{percent(value)}</td>' for value in classes.values())
        + "</tr>"
        for name, classes in found.items()
    )
    head = _heads("Model", *map(escape, next(iter(found.values()))))
    caption = "Share of each class's images that a model gets right. A dash: no number is known."
    return f'<section><h2>Recall of each class</h2><div class="wide">{_table(caption, head, body)}</div></section>'


def _differences(pairs: Sequence[Pair]) -> str:
    if not pairs:
        return ""
    body = "".join(map(_difference, pairs))
    head = _heads("Pair", "Difference", "95% interval", "Right alone", "p, bootstrap", "p, McNemar", "p, Holm")
    caption = (
        f"Differences in points of accuracy, on the same {pairs[0].n:,} images. Interval: paired bootstrap. Right "
        "alone: images that one of the two alone gets right. The last p value is McNemar's, corrected for the number "
        "of pairs; the last column goes by it."
    )
    table = _table(caption, head + '<th scope="col">At 5%</th>', body)
    return f'<section><h2>Are the differences real?</h2><div class="wide">{table}</div></section>'


def _difference(pair: Pair) -> str:
    cells = (
        _points(pair.difference),
        f"{_points(pair.low)} to {_points(pair.high)}",
        f"{pair.only_a:,} : {pair.only_b:,}",
        *(escape(p_value(p).removeprefix("= ")) for p in (pair.p_bootstrap, pair.p_mcnemar, pair.p_holm)),
    )
    numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
    word = "<strong>significant</strong>" if pair.significant else "may be luck"
    return f'<tr><th scope="row">{escape(pair.a)} – {escape(pair.b)}</th>{numbers}<td>{word}</td></tr>'


def _model(row: Row, figures: Sequence[Figure], slug: str) -> str:
    e = row.evaluation
    if e is None:
        return ""
    facts = [
        ("Accuracy", f"{percent(e.accuracy)} ± {100 * e.accuracy_se:.1f}"),
        ("Balanced", percent(e.balanced_accuracy)),
        ("Macro F1", percent(e.macro_f1)),
        ("Among top two", percent(e.top2)),
        ("Neg. log-likelihood", f"{e.nll:.3f}"),
        ("Calibration error", percent(e.ece)),
        ("On the surest 80 %", percent(e.accuracy_at_80)),
    ]
    shown = "".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in facts)
    said = reading(row.history or [])
    words = f"<p>{escape(said.text)}</p>" if said is not None else ""
    views = f" Each face was averaged {VIEWS[e.views]}." if e.views > 1 else ""
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="n">{c.n:,}</td><td class="n">{percent(c.precision)}</td>'
        f'<td class="n">{percent(c.recall)}</td><td class="n">{percent(c.f1)}</td></tr>'
        for name, c in e.per_class.items()
    )
    caption = f"Each class of {escape(row.name)}. A dash: there is nothing to divide by.{views}"
    head = _heads("Class", "Images", "Precision", "Recall", "F1")
    table = f'<figure class="tabular">{_table(caption, head, body)}</figure>'
    curves = "".join(_figure(f) for f in figures if f.name.endswith("-curves"))
    others = "".join(_figure(f) for f in figures if not f.name.endswith("-curves"))
    details = "".join(f"<div><dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd></div>" for k, v in row.details.items())
    details = f'<dl class="details">{details}</dl>' if details else ""
    return (
        f'<section class="model" id="{slug}"><h2>{escape(row.name)}</h2><dl class="facts">{shown}</dl>{words}'
        f'<div class="grid">{curves}{others}{table}</div>{details}</section>'
    )


def _figure(figure: Figure) -> str:
    data = base64.b64encode(figure.svg).decode()
    wide = " full" if figure.name.endswith("curves") or figure.name == "recall" else ""
    return (
        f'<figure class="{figure.name.rsplit("-", 1)[-1]}{wide}"><img src="data:image/svg+xml;base64,{data}" '
        f'alt="{escape(figure.alt)}"><figcaption>{escape(figure.caption)}</figcaption></figure>'
    )


def _provenance(provenance: Mapping[str, Any]) -> str:
    if not provenance:
        return ""
    items = "".join(f"<div><dt>{escape(str(k))}</dt><dd>{_value(v)}</dd></div>" for k, v in provenance.items())
    return f'<section><h2>How it was made</h2><dl class="details">{items}</dl></section>'


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{escape(str(k))}&nbsp;{escape(str(v))}" for k, v in value.items())
    text = escape(str(value))
    return f"<code>{text}</code>" if text.startswith("moue ") else text


def _count(n: int | None) -> str:
    if not n:
        return "–"
    return f'<span class="plain" title="{n:,}">{n / 1e6:.2f} M</span>' if n >= 1e6 else f"{n:,}"


def _points(fraction: float) -> str:
    return f"{100 * fraction:+.1f}".replace("-", "−")

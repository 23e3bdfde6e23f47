"""The comparison for a paper: LaTeX tables with booktabs' rules."""

from __future__ import annotations

import re
from collections.abc import Sequence

from moue.evaluation.model_result import ModelResult
from moue.evaluation.ranking import rank, winner
from moue.evaluation.significance import ALPHA, Pair
from moue.report.format import p_value, signed_points, timed_in
from moue.report.table import COSTS, SCORES, Row, Table, recall_table, results_table

_ESCAPED = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"\textquotedbl{}",
    "\0": "{}",
    # After the end of a row, these would be read as its options.
    "[": "{[}",
    "*": "{*}",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "…": r"\ldots{}",
}
#: What pdfLaTeX does not know.
_OTHER_SCRIPTS = re.compile("[^\x00-\u017f]")


def escape(text: str) -> str:
    """Any text as LaTeX that prints it: on one line, special characters escaped."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    # Two of these after one another would be another character: a dash, a quotation mark.
    apart = re.sub("(?<=([-',]))(?=\\1)", "\0", line)
    return "".join(_ESCAPED.get(c, c) for c in apart)


def latex(results: Sequence[ModelResult], pairs: Sequence[Pair]) -> str:
    """The tables of a comparison: scores, costs, recalls, and differences from the most accurate model.

    Args:
        results: in the order to show; models that were not run are named in comments.
        pairs: tested differences.

    Returns:
        A file to ``\\input`` after ``\\usepackage{booktabs}``.
    """
    tables = [_scores(results, pairs), _costs(results), _recalls(results), _differences(results, pairs)]
    body = "\n".join(table for table in tables if table)
    head = [r"% Needs \usepackage[T1]{fontenc} and \usepackage{booktabs}. Made by moue compare."]
    if others := "".join(sorted(set(_OTHER_SCRIPTS.findall(body)))):
        head.append(f"% Needs LuaLaTeX or XeLaTeX, and a font that has {others}")
    head += [f"% Not run: {escape(f'{r.name}: {r.reason}')}" for r in results if r.reason]
    return "\n".join([*head, "", body])


def _scores(results: Sequence[ModelResult], pairs: Sequence[Pair]) -> str:
    table = results_table(results, pairs, SCORES)
    ranked = rank(results)
    if not ranked or ranked[0].evaluation is None:
        return ""
    e = ranked[0].evaluation
    caption = f"Scores on {e.n:,} images ({e.split.replace('_', ' ')}), ± one standard error."
    if e.deduplicated is not None:
        caption += f" Deduplicated: the {e.deduplicated.n:,} images without an exact duplicate in the training set."
    caption += " Balanced accuracy is the mean of the classes' recalls."
    if any(row.worse for row in table.rows):
        caption += (
            " Asterisk: significantly less accurate than the most accurate model (McNemar's test with Holm's "
            f"correction, p < {ALPHA:g})."
        )
    if any(row.result.published is not None for row in table.rows):
        caption += " Italic: quoted from the publication, not measured here."
    caption += " The last row always predicts the most frequent class."
    return _table("scores", caption, "Model", table, winner(results))


def _costs(results: Sequence[ModelResult]) -> str:
    evaluated = [result for result in results if result.evaluation is not None]
    table = results_table(evaluated, [], COSTS)
    if not table.titles:
        return ""
    caption = "Costs."
    if timed := timed_in(results):
        caption += f" Latency: one image with all views that its accuracy is measured with, {timed}."
    return _table("costs", caption, "Model", table)


def _recalls(results: Sequence[ModelResult]) -> str:
    table = recall_table(results)
    return _table("recalls", "Recall of each class, and their mean, in percent.", "Model", table) if table.rows else ""


def _differences(results: Sequence[ModelResult], pairs: Sequence[Pair]) -> str:
    ranked = rank(results)
    best = ranked[0].name if ranked else ""
    tested = [pair if pair.a == best else pair.swapped() for pair in pairs if best in (pair.a, pair.b)]
    if not tested:
        return ""
    by_name = {result.name: result for result in results}
    rows = [
        Row(
            by_name[pair.b],
            [
                signed_points(-pair.difference),
                f"{signed_points(-pair.high)} to {signed_points(-pair.low)}",
                p_value(pair.p_holm),
            ],
        )
        for pair in tested
    ]
    caption = (
        f"Differences of accuracy from {best}, in percentage points, on the same {tested[0].n:,} images: 95% interval "
        "of a paired bootstrap, p value of McNemar's test with Holm's correction."
    )
    return _table("differences", caption, "Model", Table(["Difference", "95% interval", "p"], rows))


def _table(label: str, caption: str, first: str, table: Table, best: ModelResult | None = None) -> str:
    lines = [
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:moue-{label}}}\par\smallskip",
        rf"\begin{{tabular}}{{@{{}}l{'r' * len(table.titles)}@{{}}}}",
        r"\toprule",
        _row([_title(title) for title in (first, *table.titles)]),
        r"\midrule",
        *(_model_row(row, best) for row in table.rows),
        *(_row([escape(cell) for cell in (f"always {name}", *row)]) for name, row in table.baselines.items()),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _model_row(row: Row, best: ModelResult | None) -> str:
    cells = [escape(cell) for cell in (row.result.name, *row.cells)]
    if row.result is best:
        cells[1] = rf"\textbf{{{cells[1]}}}"
    if row.worse:
        # Without width of its own, so that the numbers stay below each other.
        cells[1] += r"\rlap{$^{*}$}"
    if row.result.published is not None:
        cells = [rf"\textit{{{cell}}}" for cell in cells]
    return _row(cells)


def _title(title: str) -> str:
    """A heading, on two lines where it has several words."""
    first, _, rest = title.replace(",\u00a0%", " (%)").replace("\u00a0", " ").partition(" ")
    return rf"\shortstack[r]{{{escape(first)}\\{escape(rest)}}}" if rest else escape(first)


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"

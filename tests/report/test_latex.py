"""The tables for papers: parsed as strictly as LaTeX would."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from moue.evaluation.model_result import ModelResult
from moue.evaluation.ranking import compare_models
from moue.report.latex import escape, latex
from moue.report.published import published_results
from moue.report.write import write_comparison
from results import made_up

GOOD, WEAK = made_up("good_1 & 100%", 3, 1), made_up("weak #2 {$x$} ~^\\frac", 1, 2)
MISSING = ModelResult("gone", "vit", reason="needs 100% of\nit")


def tables(text: str) -> dict[str, list[list[str]]]:
    """Cells of each table by its label; raises where LaTeX would."""
    found = {}
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert body.count(r"\begin{table}") == body.count(r"\end{table}") == body.count(r"\caption{")
    for table in re.findall(r"\\begin\{table\}(.*?)\\end\{table\}", body, re.DOTALL):
        assert braces_balance(table)
        [label] = re.findall(r"\\label\{tab:moue-(\w+)\}", table)
        [(columns, inner)] = re.findall(
            r"\\begin\{tabular\}\{@\{\}(l[lr]*)@\{\}\}\n(.*?)\\end\{tabular\}", table, re.DOTALL
        )
        assert re.fullmatch(r"\\toprule\n[^\n]+ \\\\\n\\midrule\n(?:[^\n]+ \\\\\n)+\\bottomrule\n", inner)
        rows = [line.removesuffix(r" \\") for line in inner.splitlines() if line.endswith(r" \\")]
        found[label] = [re.split(r"(?<!\\) & ", row) for row in rows]
        assert all(len(row) == len(columns) for row in found[label])
    return found


def braces_balance(text: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text.replace(r"\\", "")):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


@settings(deadline=None)
@given(st.text())
def test_any_text_is_escaped_to_one_line_that_prints_it(text: str) -> None:
    line = escape(text)
    assert "\n" not in line
    assert braces_balance(line)
    bare = re.sub(r"\\[&%$#_{}]|\\[a-z]+\{\}|\$\\pm\$|\$-\$|\$\\times\$|\{\}|\{\[\}|\{\*\}", "", line)
    assert not set(bare) & set('&%$#_{}\\~^<>|"`[*'), "nothing special is left"
    assert "--" not in line.replace(escape("–"), "") or "–" in text


def test_escaped_characters() -> None:
    assert escape("a_b & 50% $x$ #1 {q} ~^\\") == (
        r"a\_b \& 50\% \$x\$ \#1 \{q\} \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert escape("71.5 ± 0.8, −3, a–b, x--y, [z]*") == r"71.5 $\pm$ 0.8, $-$3, a--b, x-{}-y, {[}z]{*}"


def test_the_tables_hold_errors_significance_and_all_models() -> None:
    results = [GOOD, WEAK, MISSING, *published_results()]
    text = latex(results, compare_models(results))
    found = tables(text)
    assert found.keys() == {"scores", "costs", "recalls", "differences"}
    assert GOOD.evaluation is not None
    assert WEAK.evaluation is not None
    _, good, weak, *quoted, baseline = found["scores"]
    assert good[0] == r"good\_1 \& 100\%"
    a, se = 100 * GOOD.evaluation.accuracy, 100 * GOOD.evaluation.accuracy_se
    assert good[1] == rf"\textbf{{{a:.1f} $\pm$ {se:.1f}}}"
    assert good[3] == f"{100 * GOOD.evaluation.balanced_accuracy:.1f}"
    assert weak[1].endswith(r"\rlap{$^{*}$}")
    assert [row[1] for row in quoted] == [r"\textit{55}", r"\textit{68}", r"\textit{69}"]
    assert baseline[0] == f"always {GOOD.evaluation.majority_class}"
    assert "McNemar's test" in text
    assert found["differences"][1][1].startswith("$-$")
    assert r"% Not run: gone: needs 100\% of it" in text.splitlines()
    happy = found["recalls"][0].index("happy")
    assert found["recalls"][1][happy] == f"{100 * (GOOD.evaluation.per_class['happy'].recall or 0):.1f}"


def test_a_single_model_and_none_make_a_file_too() -> None:
    assert tables(latex([GOOD], [])).keys() == {"scores", "costs", "recalls"}
    assert tables(latex([MISSING], [])) == {}
    assert "Asterisk" not in latex([GOOD], [])


def test_other_scripts_name_the_engines_that_print_them(tmp_path: Path) -> None:
    rows = [replace(GOOD, name="模型"), WEAK]
    write_comparison(rows, tmp_path)
    text = (tmp_path / "comparison.tex").read_text(encoding="utf-8")
    assert "% Needs LuaLaTeX or XeLaTeX, and a font that has 型模" in text
    assert "LuaLaTeX" not in latex([GOOD], [])
    assert tables(text)["scores"][1][0] == "模型"

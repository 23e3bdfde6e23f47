"""Numbers as text."""

from __future__ import annotations

from collections.abc import Sequence

from moue.evaluation.metrics import Scores
from moue.evaluation.model_result import ModelResult


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as per cent: "71.5%"; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}%}"


def with_error(accuracy: float, standard_error: float) -> str:
    """An accuracy and its standard error, both fractions: "71.5% ± 0.8%"."""
    return f"{accuracy:.1%} ± {standard_error:.1%}"


def majority(scores: Scores) -> str:
    """The majority baseline: "always “happy” gets 25.1%"."""
    return f"always “{scores.majority_class}” gets {scores.majority_baseline:.1%}"


def not_above_majority(scores: Scores) -> str:
    """The remark on a model whose accuracy is not significantly above the majority baseline."""
    return f"Not significantly better than the majority baseline: {majority(scores)}."


def signed_points(fraction: float) -> str:
    """A difference of fractions in percentage points, with its sign: "+1.2", "−0.4"."""
    return f"{100 * fraction:+.1f}".replace("-", "−")


def points(fraction: float) -> str:
    """A difference of fractions in percentage points: "1.2 points"."""
    number = f"{100 * fraction:.1f}".replace("-", "−")
    return f"{number} point{'' if number == '1.0' else 's'}"


def duration(hours: float | None) -> str:
    """Hours in the unit that suits: "38 s", "41 min", "3.5 h"; a dash where there is none."""
    if not hours:
        return "–"
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 1.5 else f"{hours:.1f} h"


def number(value: float | None, spec: str) -> str:
    """A number in a format of Python's; a dash where there is none."""
    return f"{value:{spec}}" if value else "–"


def p_value(p: float) -> str:
    """A p value: "0.031", "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def latency(result: ModelResult) -> str:
    """The time for one image with its engine: "3 ms (torch)"; a dash where it was not measured."""
    if not result.latency_ms:
        return "–"
    return f"{result.latency_ms:.3g} ms" + (f" ({result.engine})" if result.engine else "")


def times(ratio: float) -> str:
    """A ratio: "2.4 times", "10 times"."""
    return f"{ratio:.0f} times" if ratio >= 9.5 else f"{ratio:.1f} times"


def join(names: Sequence[str]) -> str:
    """A list in a sentence: "a, b and c"."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]

"""Numbers as text."""

from __future__ import annotations

from collections.abc import Sequence

from moue.evaluation.metrics import Evaluation, Scores
from moue.evaluation.model_result import ModelResult
from moue.labels import FER2013, FERPLUS


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as percent: "71.5%"; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}%}"


def hundredths(value: float | None, digits: int = 1) -> str:
    """A fraction in percent, without the sign: "71.5"; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def with_error(accuracy: float, standard_error: float) -> str:
    """An accuracy and its standard error, both fractions: "71.5% ± 0.8%"."""
    return f"{accuracy:.1%} ± {standard_error:.1%}"


def majority(scores: Scores) -> str:
    """The majority baseline: "always “happy” gets 25.1%"."""
    return f"always “{scores.majority_class}” gets {scores.majority_baseline:.1%}"


def not_above_majority(scores: Scores) -> str:
    """The remark on a model whose accuracy is not significantly above the majority baseline."""
    return f"Not significantly better than the majority baseline: {majority(scores)}."


def of_other_labels(evaluation: Evaluation) -> str:
    """The remark on a model of FER+'s classes that is scored on FER-2013's labels; "" for others."""
    if evaluation.labels != FERPLUS.labels or evaluation.label_set != FER2013.name:
        return ""
    return (
        "has learned what most of FER+'s ten annotators see. FER-2013's own labels agree with them for two images in "
        "three, so this accuracy says little of it: score it with --labels ferplus --votes fer2013new.csv"
    )


def interval(ends: tuple[float, float] | None, digits: int = 1) -> str:
    """The ends of an interval, both fractions: "70.0–73.0%"; a dash where there is none."""
    return "–" if ends is None else f"{100 * ends[0]:.{digits}f}–{100 * ends[1]:.{digits}f}%"


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


def latency(milliseconds: float | None) -> str:
    """The time for one image: "3 ms"; a dash where it was not measured."""
    return f"{milliseconds:.3g} ms" if milliseconds else "–"


def timed_in(results: Sequence[ModelResult]) -> str:
    """What the latencies were measured in: "in ONNX Runtime on 1 thread"; "" where there are none."""
    timed = next((result for result in results if result.latency_ms), None)
    if timed is None or timed.engine is None:
        return ""
    engine = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}.get(timed.engine, timed.engine)
    return f"in {engine}" + (f" on {timed.threads} thread{'s' if timed.threads != 1 else ''}" if timed.threads else "")


def times(ratio: float) -> str:
    """A ratio: "2.4 times", "10 times"."""
    return f"{ratio:.0f} times" if ratio >= 9.5 else f"{ratio:.1f} times"


def join(names: Sequence[str]) -> str:
    """A list in a sentence: "a, b and c"."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]

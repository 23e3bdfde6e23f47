"""Whether an ensemble helps, in words."""

from __future__ import annotations

from moue.evaluation.gain import Gain
from moue.report.format import p_value, signed_points


def describe_gain(gain: Gain, images: str = "images") -> str:
    """A sentence, without its full stop: whether the ensemble is better than its best member, and by how much.

    Args:
        gain: the two beside each other.
        images: what they were scored on.
    """
    pair, name, best = gain.pair, gain.pair.a, gain.pair.b
    if gain.helps:
        verdict = f"{name} is better than its best member, {best}"
    elif pair.difference > 0:
        verdict = f"{name} is not significantly better than its best member, {best}, which costs less"
    elif pair.difference == 0:
        verdict = f"{name} does not help: its best member, {best}, is right as often, and costs no more"
    else:
        more = "significantly more accurate" if pair.significant else "more accurate, if not significantly"
        verdict = f"{name} does not help: its best member, {best}, is {more}"
    p = p_value(pair.p_mcnemar)
    return (
        f"{verdict} ({gain.accuracy:.1%} and {gain.accuracies[gain.best]:.1%} of {pair.n:,} {images}; "
        f"{signed_points(pair.difference)} points, 95% interval {signed_points(pair.low)} to "
        f"{signed_points(pair.high)}; McNemar's p {p if p.startswith('<') else f'= {p}'})"
        + ("; its weights were fitted on these images, which favors it" if gain.fitted else "")
    )

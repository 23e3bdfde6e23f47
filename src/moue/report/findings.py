"""The comparison in words, made from its numbers alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moue.evaluation.significance import Pair
from moue.report.plots import series
from moue.report.result import Row


class Finding(NamedTuple):
    """One point of the verdict."""

    title: str
    text: str


def verdict(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[Finding]:
    """What the numbers say: the best, whether its lead is luck, costs, the hardest class, the quoted numbers."""
    ran = [row for row in rows if row.ran]
    findings = []
    if ran:
        ranked = sorted(ran, key=lambda row: -_accuracy(row))
        findings += [_best(ranked[0]), *_lead(ranked, pairs), *_costs(ranked, pairs), *_hardest(ran), *_fitting(ran)]
        quoted = [row for row in rows if row.quoted]
        findings += [*_quoted(ranked, quoted), *_remarks(ranked, quoted)]
    missing = [row for row in rows if row.status == "not run"]
    if missing:
        reasons = (f"{row.name}: {row.reason}".removesuffix(".") + "." for row in missing)
        findings.append(Finding("Not run", " ".join(reasons)))
    return findings


class Reading(NamedTuple):
    """What a run's curves say."""

    kind: Literal["over-fits", "memorizes", "unfinished", "settled"]
    text: str


def reading(history: Sequence[Mapping[str, Any]]) -> Reading | None:
    """What a run's curves say of over- and under-fitting; None without an accuracy on both parts.

    A validation loss that ends more than 5% above its lowest point is over-fitting; without that, a gap of more than 10
    points between training and validation is memorizing; a best validation accuracy in the last tenth is unfinished.
    The loss is read as medians over a fifth of the epochs: at a constant rate it wavers, and one bad epoch says little.
    """
    epochs, held = series(history, "validation_accuracy")
    _, train = series(history, "train_accuracy")
    if not len(held) or not len(train):
        return None
    gap = float(train[-1] - held[-1])
    loss_epochs, loss = series(history, "validation_loss")
    loss_epochs, loss = _steadied(loss_epochs, len(epochs) // 5 | 1), _steadied(loss, len(epochs) // 5 | 1)
    rise = float(loss[-1] / loss.min() - 1) if len(loss) and loss.min() > 0 else 0.0
    text = (
        f"In the last epoch it gets {train[-1]:.1%} of its training images right and {held[-1]:.1%} of those held"
        f" out, a gap of {_points(gap)}."
    )
    if rise > 0.05:
        at = int(loss_epochs[int(loss.argmin())])
        text += f" Its validation loss was lowest around epoch {at} and ended {rise:.0%} above: it over-fits."
        return Reading("over-fits", text)
    if gap > 0.10:
        text += " It learns its training images by heart, without harm to its validation loss so far."
        return Reading("memorizes", text)
    if len(held) >= 3 and int(held.argmax()) >= len(held) - max(1, len(held) // 10):
        which = f"number {int(epochs[int(held.argmax())])} of {int(epochs[-1])}"
        return Reading("unfinished", f"{text} Its best epoch was {which}: more training may still help.")
    return Reading("settled", f"{text} It neither over-fits nor climbs any more.")


def duration(hours: float) -> str:
    """Hours as people say them: "38 s", "41 min", "3.5 h"."""
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 1.5 else f"{hours:.1f} h"


def p_value(p: float) -> str:
    """A p value with its sign: "= 0.031", "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def find_pair(pairs: Sequence[Pair], a: str, b: str) -> Pair | None:
    """The pair of two models, whichever comes first."""
    return next((pair for pair in pairs if {pair.a, pair.b} == {a, b}), None)


def _accuracy(row: Row) -> float:
    assert row.evaluation is not None  # of rows that ran alone
    return row.evaluation.accuracy


def _best(best: Row) -> Finding:
    e = best.evaluation
    assert e is not None
    text = f"{best.name} gets {e.accuracy:.1%} ± {e.accuracy_se:.1%} of the {e.n:,} images right"
    if e.deduplicated is not None and e.deduplicated.n < e.n:
        clean = e.deduplicated
        text += (
            f", and {clean.accuracy:.1%} ± {clean.accuracy_se:.1%} of the {clean.n:,} without an exact duplicate "
            "in Training"
        )
    return Finding("Most accurate", text + ".")


def _lead(ranked: Sequence[Row], pairs: Sequence[Pair]) -> list[Finding]:
    if len(ranked) < 2:
        return []
    best, second = ranked[:2]
    lead = _accuracy(best) - _accuracy(second)
    pair = find_pair(pairs, best.name, second.name)
    if pair is None:
        return [Finding("The lead", f"It is {_points(lead)} ahead of {second.name}; the difference was not tested.")]
    low, high = (pair.low, pair.high) if pair.a == best.name else (-pair.high, -pair.low)
    numbers = f"(95% interval {_signed(low)} to {_signed(high)}; p {p_value(pair.p_holm)} after Holm's correction)"
    if lead == 0:
        return [Finding("The lead", f"None: {second.name} gets as many right {numbers}.")]
    if pair.significant:
        text = f"{_points(lead)} ahead of {second.name}, more than luck explains {numbers}."
    else:
        text = f"{_points(lead)} ahead of {second.name}, which may be luck: it is not significant {numbers}."
    return [Finding("The lead", text)]


def _costs(ranked: Sequence[Row], pairs: Sequence[Pair]) -> list[Finding]:
    best, findings = ranked[0], []
    timed = [row for row in ranked if row.hours]
    if len(timed) > 1:
        fastest = min(timed, key=lambda row: row.hours or math.inf)
        text = f"{fastest.name}, in {duration(fastest.hours or 0)}"
        if fastest is best:
            text += ", and it is the most accurate, too."
        elif best.hours:
            lost = _accuracy(best) - _accuracy(fastest)
            ratio = _times(best.hours / (fastest.hours or 1))
            text += f"; {best.name} took {ratio} as long, for {_points(lost)} of accuracy."
        else:
            text += "."
        findings.append(Finding("Fastest to train", text))
        # Equal, as far as these images can tell, and cheaper: that is the better bargain.
        equal = [row for row in timed if row is not best and _as_good(row, best, pairs)]
        if best.hours and fastest is not best:
            cheap = min([*equal, best], key=lambda row: row.hours or math.inf)
            if cheap is best:
                words = f"{best.name}: no model that trains faster comes so close that the difference could be luck."
            else:
                words = (
                    f"{cheap.name}: not significantly worse than {best.name}, and trained in "
                    f"{duration(cheap.hours or 0)} instead of {duration(best.hours)}."
                )
            findings.append(Finding("Best trade-off", words))
    served = [row for row in ranked if row.latency_ms]
    if len(served) > 1:
        quick = min(served, key=lambda row: row.latency_ms or math.inf)
        text = f"{quick.name}, at {quick.latency} an image"
        if quick is not best and best.latency_ms:
            text += f"; {best.name} takes {best.latency}"
        findings.append(Finding("Fastest to answer", text + "."))
    return findings


def _as_good(row: Row, best: Row, pairs: Sequence[Pair]) -> bool:
    pair = find_pair(pairs, row.name, best.name)
    return pair is not None and not pair.significant


def _hardest(ran: Sequence[Row]) -> list[Finding]:
    evaluations = [row.evaluation for row in ran if row.evaluation is not None]
    labels = evaluations[0].labels
    if any(e.labels != labels for e in evaluations):
        return []
    total = np.sum([e.confusion for e in evaluations], axis=0)
    there = np.flatnonzero(total.sum(1))
    if len(there) < 2:
        return []
    recall = total.diagonal()[there] / total.sum(1)[there]
    worst, easiest = there[recall.argmin()], there[recall.argmax()]
    others = total[worst].copy()
    others[worst] = 0
    text = f"{labels[worst]}: {recall.min():.0%} of its images are recognized"
    text += f", averaged over the {len(ran)} models" if len(ran) > 1 else ""
    if others.any():
        text += f"; most often it is taken for {labels[int(others.argmax())]}"
    return [Finding("Hardest class", f"{text}. The easiest is {labels[easiest]} with {recall.max():.0%}.")]


def _steadied(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Medians of so many neighbors."""
    if not len(values):
        return values
    medians: NDArray[np.float64] = np.median(
        np.lib.stride_tricks.sliding_window_view(values, min(window, len(values))), axis=1
    )
    return medians


def _fitting(ran: Sequence[Row]) -> list[Finding]:
    kinds = {row.name: seen.kind for row in ran if (seen := reading(row.history or [])) is not None}
    if not kinds:
        return []
    over = [name for name, kind in kinds.items() if kind == "over-fits"]
    heart = [name for name, kind in kinds.items() if kind == "memorizes"]
    open_ = [name for name, kind in kinds.items() if kind == "unfinished"]
    words = []
    if over:
        words.append(f"{_list(over)}: the loss on the part held out rose again.")
    if heart:
        words.append(f"{_list(heart)}: the training part is learned far better than the part held out.")
    if open_:
        words.append(f"{_list(open_)}: still climbing when the training ended.")
    return [Finding("Over- and under-fitting", " ".join(words) or "The curves show neither.")]


def _quoted(ranked: Sequence[Row], quoted: Sequence[Row]) -> list[Finding]:
    sentences = []
    for row in quoted:
        mine = _like(row, ranked)
        if mine is not None and row.quoted_accuracy is not None:
            difference = _accuracy(mine) - row.quoted_accuracy
            side = "above" if difference >= 0 else "below"
            text = (
                f"{mine.name} is {_points(abs(difference))} {side} the {row.quoted_accuracy:.0%} quoted for {row.name}"
            )
            if mine.hours and row.hours:
                text += f", after {duration(mine.hours)} instead of {duration(row.hours)}"
            sentences.append(text + ".")
    if not sentences:
        return []
    sentences.append("Quoted numbers come from other machines and runs.")
    return [Finding("Beside the quoted numbers", " ".join(sentences))]


def _remarks(ranked: Sequence[Row], quoted: Sequence[Row]) -> list[Finding]:
    """What each publication says of single classes and of its curves, beside the best model of the same family."""
    findings = []
    for row in quoted:
        mine = _like(row, ranked)
        if row.remarks is None or mine is None or mine.evaluation is None:
            continue
        said, classes = row.remarks, mine.evaluation.per_class
        own = {name: c.recall for name, c in classes.items() if c.recall is not None}
        if not own or not {*said.hardest, *said.easiest} <= own.keys():
            continue
        order = [f"{c} ({own[c]:.0%})" for c in sorted(own, key=own.__getitem__)]
        words = [
            f"Hardest there: {_list(said.hardest)}; here: {_list(order[: len(said.hardest)])}.",
            f"Easiest there: {_list(said.easiest)}; here: {_list(order[: -len(said.easiest) - 1 : -1])}.",
        ]
        if said.recalls:
            pairs = [f"{c} {there:.0%} there, {own[c]:.0%} here" for c, there in said.recalls.items() if c in own]
            words.append(f"Recalls: {'; '.join(pairs)}.")
        seen = reading(mine.history or [])
        if said.over_fits is not None and seen is not None:
            theirs = "over-fitting" if said.over_fits else "no over-fitting"
            ours = {"over-fits": "it over-fits", "memorizes": "it learns its training images by heart"}
            words.append(f"Read from the curves there: {theirs}; here: {ours.get(seen.kind, 'none')}.")
        findings.append(Finding(f"{mine.name} beside {row.name}", " ".join(words)))
    return findings


def _like(quoted: Row, ranked: Sequence[Row]) -> Row | None:
    """The best model of the family of a quoted one."""
    return next((row for row in ranked if row.network.split("-")[0] == quoted.network), None)


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f} point{'' if round(100 * fraction, 1) == 1 else 's'}".replace("-", "−")


def _signed(fraction: float) -> str:
    return f"{100 * fraction:+.1f}".replace("-", "−")


def _times(ratio: float) -> str:
    return f"{ratio:.0f} times" if ratio >= 9.5 else f"{ratio:.1f} times"


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]

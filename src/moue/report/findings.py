"""The comparison in words: sentences around the numbers of :mod:`moue.evaluation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from moue.evaluation.curves import MIN_EPOCHS, CurveDiagnosis, History, diagnose_curves, series
from moue.evaluation.model_result import ModelResult
from moue.evaluation.ranking import (
    accuracy_difference,
    best_trade_off,
    cheapest,
    class_difficulty,
    counterpart,
    find_lead,
    rank,
)
from moue.evaluation.seeds import SeedPair, spread
from moue.evaluation.significance import Pair
from moue.report.format import (
    duration,
    join,
    latency,
    majority,
    of_other_labels,
    p_value,
    percent,
    points,
    signed_points,
    times,
    with_error,
)
from moue.report.gain import describe_gain


class Finding(NamedTuple):
    """One point of the verdict."""

    title: str
    text: str


def verdict(
    results: Sequence[ModelResult], pairs: Sequence[Pair], seed_pairs: Sequence[SeedPair] = ()
) -> list[Finding]:
    """What the numbers say: the best model and its lead, the spread over seeds, what ensembles gain, costs, the hardest
    class, the published numbers.

    Args:
        results: all models of the comparison.
        pairs: tested differences, see :func:`moue.evaluation.ranking.compare_models`.
        seed_pairs: tested differences over seeds, see :func:`moue.evaluation.seeds.compare_over_seeds`.
    """
    findings = []
    if ranked := rank(results):
        evaluated = [result for result in results if result.evaluation is not None]
        published = [result for result in results if result.published is not None]
        above = [r for r in ranked if r.evaluation is not None and r.evaluation.above_majority]
        # Below the baseline there is no winner, whose lead and cost would matter.
        winner = [_most_accurate(ranked[0]), *_lead(ranked, pairs), *_training_time(ranked, pairs)]
        findings = [
            *(winner if above else [_none_accurate(ranked[0])]),
            *_over_seeds(results, seed_pairs),
            *_ensembles(evaluated),
            *_not_above(ranked, above),
            *_other_labels(evaluated),
            *_latency(ranked),
            *_hardest_class(evaluated),
            *_overfitting(evaluated),
            *_published_accuracies(ranked, published),
            *_published_claims(ranked, published),
        ]
    missing = [f"{r.name}: {r.reason}".removesuffix(".") + "." for r in results if r.reason]
    return [*findings, Finding("Not run", " ".join(missing))] if missing else findings


def describe_curves(diagnosis: CurveDiagnosis) -> str:
    """What a run's curves say, in two or three sentences."""
    d = diagnosis
    rise = f"{d.loss_rise:.0%} above: it overfits" if d.loss_rise < 9 else "more than ten times as high: it diverged"
    conclusion = {
        "overfitting": f"Its validation loss was lowest around epoch {d.lowest_loss_epoch} and ended {rise}.",
        "memorizing": "It memorizes its training images, so far without a rise of its validation loss.",
        "unfinished": f"Its best epoch was number {d.best_epoch} of {d.last_epoch}: more training may still help.",
        "converged": "It shows neither overfitting nor further improvement.",
    }
    return (
        f"In the last epoch its accuracy is {d.train_accuracy:.1%} on the training images and "
        f"{d.validation_accuracy:.1%} on the validation images, a gap of {points(d.gap)}. {conclusion[d.kind]}"
    )


def describe_history(history: History) -> str | None:
    """What a run's curves say, or that they are too short to say anything; None without curves."""
    diagnosis = diagnose_curves(history)
    if diagnosis is not None:
        return describe_curves(diagnosis)
    n = len(series(history, "validation_accuracy")[0])
    return f"{n} epochs are too few to tell overfitting from underfitting." if 1 < n < MIN_EPOCHS else None


def _most_accurate(best: ModelResult) -> Finding:
    e = best.evaluation
    assert e is not None  # Ranked models were evaluated.
    text = f"{best.name} gets {with_error(e.accuracy, e.accuracy_se)} of the {e.n:,} images right"
    if (d := e.deduplicated) is not None and d.n < e.n:
        text += f", and {with_error(d.accuracy, d.accuracy_se)} of the {d.n:,} without an exact duplicate in Training"
    return Finding("Most accurate", text + ".")


def _none_accurate(best: ModelResult) -> Finding:
    e = best.evaluation
    assert e is not None  # Ranked models were evaluated.
    accuracy = with_error(e.accuracy, e.accuracy_se)
    text = f"None. The first, {best.name}, gets {accuracy} of the {e.n:,} images right, and {majority(e)}."
    return Finding("Most accurate", f"{text} That is not significantly better than the majority baseline.")


def _not_above(ranked: Sequence[ModelResult], above: Sequence[ModelResult]) -> list[Finding]:
    """The models that are no better than the majority baseline, where others are."""
    others = [r for r in ranked if r not in above]
    if not above or not others or (e := others[0].evaluation) is None:
        return []
    names = join([r.name for r in others])
    return [Finding("Not above the majority baseline", f"{names}, at least not significantly: {majority(e)}.")]


def _other_labels(evaluated: Sequence[ModelResult]) -> list[Finding]:
    """The models that are scored on labels which they were not trained for."""
    texts = {r.name: text for r in evaluated if r.evaluation is not None and (text := of_other_labels(r.evaluation))}
    return (
        [Finding("Scored on other labels", " ".join(f"{name} {text}." for name, text in texts.items()))]
        if texts
        else []
    )


def _lead(ranked: Sequence[ModelResult], pairs: Sequence[Pair]) -> list[Finding]:
    lead = find_lead(ranked, pairs)
    if lead is None:
        return []
    other, ahead, pair = lead.second.name, points(lead.difference), lead.pair
    if pair is None:
        return [Finding("The lead", f"It is {ahead} ahead of {other}; the difference was not tested.")]
    p = p_value(pair.p_holm)
    test = (
        f"(95% interval {signed_points(pair.low)} to {signed_points(pair.high)}; "
        f"p {p if p.startswith('<') else f'= {p}'} after Holm's correction"
        + (f" for all {len(pairs)} pairs)" if len(pairs) > 1 else ")")
    )
    if lead.difference == 0:
        text = f"None: {other} gets as many right {test}."
    else:
        text = f"{ahead} ahead of {other}; the difference is {'' if pair.significant else 'not '}significant {test}."
    return [Finding("The lead", text)]


def _over_seeds(results: Sequence[ModelResult], pairs: Sequence[SeedPair]) -> list[Finding]:
    found = [(result, over) for result in results if (over := spread(result, "accuracy")) is not None]
    if not found:
        return []
    found.sort(key=lambda item: -item[1].mean)
    names = [f"{r.name} {with_error(over.mean, over.sd)} ({len(over.values)})" for r, over in found]
    text = f"Mean accuracy ± standard deviation, and number of seeds: {join(names)}."
    if len(found) > 1:
        first, second = found[0][0].name, found[1][0].name
        pair = next((pair for pair in pairs if {pair.a, pair.b} == {first, second}), None)
        if pair is not None:
            p = p_value(pair.p_holm)
            text += (
                f" The lead of {first} over {second}, {points(abs(pair.difference))}, is "
                f"{'' if pair.significant else 'not '}significant (p {p if p.startswith('<') else f'= {p}'}: seeds and "
                "images are both taken for random)."
            )
    return [Finding("Over seeds", f"{text} All else here is of each recipe's first seed.")]


def _ensembles(evaluated: Sequence[ModelResult]) -> list[Finding]:
    texts = [f"{describe_gain(r.ensemble.gain)}." for r in evaluated if r.ensemble and r.ensemble.gain]
    return [Finding("Ensembles", " ".join(texts))] if texts else []


def _training_time(ranked: Sequence[ModelResult], pairs: Sequence[Pair]) -> list[Finding]:
    best, fastest = ranked[0], cheapest(ranked, "hours")
    if fastest is None:
        return []
    text = f"{fastest.name}, in {duration(fastest.hours)}"
    if fastest is best:
        return [Finding("Fastest to train", f"{text}, and it is the most accurate, too.")]
    if not best.hours or not fastest.hours:
        return [Finding("Fastest to train", f"{text}.")]
    ratio = times(best.hours / fastest.hours)
    lost = points(accuracy_difference(best, fastest))
    choice = best_trade_off(ranked, pairs)
    if choice is best:
        reason = "no model that trains faster comes without a significant loss of accuracy."
    else:
        reason = (
            f"not significantly worse than {best.name}, and trained in {duration(choice.hours)} instead of "
            f"{duration(best.hours)}."
        )
    return [
        Finding("Fastest to train", f"{text}; {best.name} took {ratio} as long, for {lost} of accuracy."),
        Finding("Best trade-off", f"{choice.name}: {reason}"),
    ]


def _latency(ranked: Sequence[ModelResult]) -> list[Finding]:
    best, fastest = ranked[0], cheapest(ranked, "latency_ms")
    if fastest is None:
        return []
    text = f"{fastest.name}, at {latency(fastest.latency_ms)} an image"
    if fastest is not best and best.latency_ms:
        text += f"; {best.name} takes {latency(best.latency_ms)}"
    return [Finding("Lowest latency", text + ".")]


def _hardest_class(evaluated: Sequence[ModelResult]) -> list[Finding]:
    found = class_difficulty(evaluated)
    if found is None:
        return []
    text = f"{found.hardest}: {percent(found.hardest_recall, 0)} of its images are recognized"
    if len(evaluated) > 1:
        text += f", averaged over the {len(evaluated)} models"
    if found.confused_with is not None:
        text += f"; most often it is predicted as {found.confused_with}"
    easiest = f"The easiest is {found.easiest} with {percent(found.easiest_recall, 0)}."
    return [Finding("Hardest class", f"{text}. {easiest}")]


def _overfitting(evaluated: Sequence[ModelResult]) -> list[Finding]:
    by_kind: dict[str, list[str]] = {}
    for result in evaluated:
        if (diagnosis := diagnose_curves(result.history)) is not None:
            by_kind.setdefault(diagnosis.kind, []).append(result.name)
    if not by_kind:
        return []
    words = {
        "overfitting": "the validation loss rose again.",
        "memorizing": "the training accuracy is far above the validation accuracy.",
        "unfinished": "still improving when the training ended.",
    }
    texts = [f"{join(by_kind[kind])}: {text}" for kind, text in words.items() if kind in by_kind]
    return [Finding("Overfitting and underfitting", " ".join(texts) or "The curves show neither.")]


def _published_accuracies(ranked: Sequence[ModelResult], published: Sequence[ModelResult]) -> list[Finding]:
    sentences = []
    for result in published:
        own = counterpart(result, ranked)
        if own is None:
            continue
        difference = accuracy_difference(own, result)
        network = f" (network {own.network})" if own.network not in (own.name, result.network) else ""
        text = (
            f"{own.name}{network} is {points(abs(difference))} {'above' if difference >= 0 else 'below'} the "
            f"{percent(result.accuracy, 0)} quoted for {result.name}"
        )
        if own.hours and result.hours:
            text += f", after {duration(own.hours)} instead of {duration(result.hours)}"
        sentences.append(text + ".")
    if not sentences:
        return []
    return [Finding("Quoted numbers", " ".join([*sentences, "They are for FER-2013, from other machines and runs."]))]


def _published_claims(ranked: Sequence[ModelResult], published: Sequence[ModelResult]) -> list[Finding]:
    """What each publication says of single classes and of its curves, beside the best model of the same family."""
    findings = []
    for result in published:
        own = counterpart(result, ranked)
        if own is None or own.evaluation is None or result.published is None:
            continue
        claims = result.published
        recalls = {name: c.recall for name, c in own.evaluation.per_class.items() if c.recall is not None}
        if not recalls or not {*claims.hardest, *claims.easiest} <= recalls.keys():
            continue
        order = [f"{name} ({recalls[name]:.0%})" for name in sorted(recalls, key=recalls.__getitem__)]
        sentences = [
            f"{word} there: {join(theirs)}; here: {join(ours[: len(theirs)])}."
            for word, theirs, ours in (("Hardest", claims.hardest, order), ("Easiest", claims.easiest, order[::-1]))
            if theirs
        ]
        pairs = [f"{c} {there:.0%} there, {recalls[c]:.0%} here" for c, there in claims.recalls.items() if c in recalls]
        if pairs:
            sentences.append(f"Recalls: {'; '.join(pairs)}.")
        diagnosis = diagnose_curves(own.history)
        if claims.overfits is not None and diagnosis is not None:
            there = "overfitting" if claims.overfits else "no overfitting"
            here = {"overfitting": "it overfits", "memorizing": "it memorizes its training images"}
            sentences.append(f"Read from the curves there: {there}; here: {here.get(diagnosis.kind, 'none')}.")
        if sentences:
            findings.append(Finding(f"{own.name} beside {result.name}", " ".join(sentences)))
    return findings

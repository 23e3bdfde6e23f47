"""The tables of a comparison as text cells: the page, the Markdown and the LaTeX show the same ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from moue.evaluation.metrics import Scores
from moue.evaluation.model_result import ModelResult, recalls_by_model
from moue.evaluation.ranking import counterpart, find_pair, rank
from moue.evaluation.seeds import spread
from moue.evaluation.significance import Pair
from moue.report.format import duration, hundredths, number

#: What stands where there is no value.
NONE = "–"


class Column(NamedTuple):
    """A column after the model's name."""

    title: str
    cell: Callable[[ModelResult], str]


class Row(NamedTuple):
    """One model."""

    result: ModelResult
    cells: list[str]
    worse: bool = False
    """Whether it is significantly less accurate than the most accurate."""


class Table(NamedTuple):
    """Rows of text."""

    titles: list[str]
    rows: list[Row]
    baselines: Mapping[str, list[str]] = {}
    """Cells of the majority baseline, by its class: one, or several where the models know different classes."""


def _scores(score: Callable[[Scores], str]) -> Callable[[ModelResult], str]:
    return lambda result: score(result.evaluation) if result.evaluation is not None else NONE


def _with_error(scores: Scores | None) -> str:
    return NONE if scores is None else f"{hundredths(scores.accuracy)} ± {hundredths(scores.accuracy_se)}"


def _accuracy(result: ModelResult) -> str:
    return hundredths(result.accuracy, 0) if result.evaluation is None else _with_error(result.evaluation)


def _parameters(result: ModelResult) -> str:
    n = result.parameters or 0
    return f"{n / 1e6:.2f} M" if n >= 1e6 else number(n, ",")


def _over_seeds(score: str) -> Callable[[ModelResult], str]:
    def cell(result: ModelResult) -> str:
        found = spread(result, score)
        return NONE if found is None else f"{hundredths(found.mean)} ± {hundredths(found.sd)}"

    return cell


#: How good the models are.
SCORES = (
    Column("Accuracy, %", _accuracy),
    Column("Mean over seeds ± sd, %", _over_seeds("accuracy")),
    Column("Deduplicated, %", lambda r: NONE if r.evaluation is None else _with_error(r.evaluation.deduplicated)),
    Column("Balanced accuracy, %", _scores(lambda e: hundredths(e.balanced_accuracy))),
    Column("Macro F1, %", _scores(lambda e: hundredths(e.macro_f1))),
    Column("Calibration error, %", _scores(lambda e: hundredths(e.ece))),
)

#: The scores of recipes over their seeds.
SEED_SCORES = (
    Column("Seeds", lambda r: ", ".join(str(run.details.get("seed", NONE)) for run in r.seeds)),
    Column("Accuracy of each, %", lambda r: ", ".join(hundredths(run.accuracy) for run in r.seeds)),
    Column("Accuracy, %", _over_seeds("accuracy")),
    Column("Deduplicated, %", _over_seeds("deduplicated_accuracy")),
    Column("Balanced accuracy, %", _over_seeds("balanced_accuracy")),
    Column("Macro F1, %", _over_seeds("macro_f1")),
    Column("Calibration error, %", _over_seeds("ece")),
)

#: What they cost.
COSTS = (
    Column("Training time", lambda r: duration(r.hours)),
    Column("Core-hours", lambda r: number(r.core_hours, ".1f" if (r.core_hours or 0) >= 0.1 else ".2g")),
    Column("Epochs", lambda r: number(r.epochs, "g")),
    Column("Parameters", _parameters),
    Column("GFLOP", lambda r: number(r.gflop, ".3g")),
    Column("Latency, ms", lambda r: number(r.latency_ms, ".3g")),
)


def results_table(
    results: Sequence[ModelResult], pairs: Sequence[Pair], columns: Sequence[Column] = (*SCORES, *COSTS)
) -> Table:
    """The models that were evaluated or quoted; a column without any value is left out."""
    shown = [result for result in results if result.accuracy is not None]
    kept = [column for column in columns if any(column.cell(result) != NONE for result in shown)]
    best = next(iter(rank(results)), None)
    rows = []
    for result in shown:
        pair = find_pair(pairs, best.name, result.name) if best is not None and best is not result else None
        worse = pair is not None and pair.significant and pair.difference > 0
        rows.append(Row(result, [column.cell(result) for column in kept], worse))
    evaluations = [result.evaluation for result in shown if result.evaluation is not None]
    blank = [NONE] * (len(kept) - 1)
    baselines = {e.majority_class: [hundredths(e.majority_baseline), *blank] for e in evaluations}
    return Table([column.title for column in kept], rows, baselines if kept and kept[0] is SCORES[0] else {})


def seed_table(results: Sequence[ModelResult]) -> Table:
    """The recipes with several seeds: mean ± standard deviation of their scores."""
    shown = [result for result in results if len(result.seeds) > 1]
    kept = [column for column in SEED_SCORES if any(column.cell(result) != NONE for result in shown)]
    return Table([column.title for column in kept], [Row(r, [column.cell(r) for column in kept]) for r in shown])


def member_table(result: ModelResult) -> Table:
    """The members of an ensemble; a column without any value is left out. Rows have the ensemble's own result."""
    found = result.ensemble
    if found is None:
        return Table([], [])
    titles, cells = ["Network", "Weight", "Accuracy, %", "Balanced accuracy, %"], []
    for i, member in enumerate(found.members):
        gain = found.gain
        scores = [None, None] if gain is None else [gain.accuracies[i], gain.balanced_accuracies[i]]
        cells.append([member.network or NONE, number(member.weight, ".3f"), *map(hundredths, scores)])
    kept = [i for i in range(len(titles)) if any(row[i] != NONE for row in cells)]
    return Table([titles[i] for i in kept], [Row(result, [row[i] for i in kept]) for row in cells])


def recall_table(results: Sequence[ModelResult]) -> Table:
    """The recall of each class, in percent, and their mean; without rows where the models know different classes."""
    recalls = recalls_by_model(results)
    # A class that no image has would be a column of dashes.
    shown = [
        name for name in next(iter(recalls.values()), {}) if any(own[name] is not None for own in recalls.values())
    ]
    by_name = {result.name: result for result in results}
    rows = []
    for name, classes in recalls.items():
        e = by_name[name].evaluation
        mean = NONE if e is None else hundredths(e.balanced_accuracy)
        rows.append(Row(by_name[name], [*(hundredths(classes[label]) for label in shown), mean]))
    return Table([*shown, "Mean"], rows)


def quoted_table(results: Sequence[ModelResult]) -> Table:
    """What each publication really used, and below it the model of this comparison that its number is set beside."""
    ranked, rows = rank(results), []
    for result in results:
        if result.published is None:
            continue
        claims, own = result.published, counterpart(result, ranked)
        network = claims.network + (_epochs(result) if claims.network else "")
        theirs = [_accuracy(result), network, claims.split, claims.selection, duration(result.hours)]
        rows.append(Row(result, [text or "not known" for text in theirs]))
        if own is not None and own.evaluation is not None:
            split, chosen = own.evaluation.split.replace("_", " "), str(own.details.get("selection", ""))
            rows.append(Row(own, [_accuracy(own), _network(own), split, chosen or "not known", duration(own.hours)]))
    return Table(["Accuracy, %", "Network", "Scored on", "Epoch chosen", "Training time"], rows)


def _network(result: ModelResult) -> str:
    """The network that a model really is: "resnet50v2-small, 6.49 M parameters, 25 epochs"."""
    size = f", {_parameters(result)} parameters" if result.parameters else ""
    return result.network + size + _epochs(result)


def _epochs(result: ModelResult) -> str:
    return f", {result.epochs:g} epoch{'s' if result.epochs != 1 else ''}" if result.epochs else ""

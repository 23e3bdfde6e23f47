"""Compare models on one data set: train what has no run yet, evaluate all on the same rows, write one page."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moue.comparison_entries import (
    RECIPE_PREFIX,
    Entry,
    PlannedRun,
    Predicted,
    Reader,
    default_labels,
    display_names,
    require_distinct_names,
    require_distinct_runs,
    require_page_writable,
    resolve,
    validated,
    with_seeds,
)
from moue.data.loading import AS_IT_IS, FER2013_OR_OWN, ReadingOptions, chose_own_classes
from moue.data.table import ImageTable, LeftOut
from moue.ensembles.inside import member_logits
from moue.errors import DataError, MissingExtra, MoueError, UsageError, WeightsMissing, require, shortened
from moue.evaluation.ensemble_result import ensemble_result
from moue.evaluation.evaluate_model import rows_of
from moue.evaluation.latency import latencies
from moue.evaluation.metrics import Evaluation
from moue.evaluation.model_result import ModelResult
from moue.evaluation.saved_predictions import load_predictions
from moue.evaluation.scoring import score, truth_of
from moue.export.cost import gflop_of, open_exported
from moue.files import require_run_directory
from moue.progress import ProgressFactory, no_progress
from moue.report.published import published_results
from moue.report.write import write_comparison
from moue.run_folder import CONFIG
from moue.runtime.engine import Engine, EngineName
from moue.runtime.results import Predictions
from moue.runtime.weights import find_model
from moue.spec import Color, ModelSpec
from moue.trained.open import open_any
from moue.training import machine
from moue.training.config import Config
from moue.training.run_folder import Run

if TYPE_CHECKING:
    from moue.training.progress import ProgressCallback

#: The study's three networks, in its order.
STUDY_RECIPES = ("study/googlenet", "study/resnet50v2", "study/vit")

#: What all models of a page are timed in: the engine of the base install, on one thread, which other programs disturb
#: least and which compares between machines.
ENGINE: EngineName = "onnxruntime"
THREADS = 1


def compare(
    names: Sequence[str] = (),
    *,
    data: str,
    out: Path,
    minutes: float | None = None,
    split: str | None = None,
    settings: Sequence[str] = (),
    reading: ReadingOptions = AS_IT_IS,
    seed: int | None = None,
    seeds: int = 1,
    left_out: Callable[[Iterable[LeftOut]], None] | None = None,
    quote: bool = False,
    title: str | None = None,
    progress: ProgressFactory = no_progress,
    log: Callable[[str], None] = lambda text: None,
    training_progress: Callable[[str], ProgressCallback] | None = None,
    command: str = "",
) -> list[ModelResult]:
    """Compare networks on one data set.

    Args:
        names: recipes (trained into ``out/runs/`` unless their run is there; an interrupted one is resumed), run
            folders, models, or files of predictions (:func:`moue.evaluation.saved_predictions.load_predictions`); by
            default the study's three recipes. The name of a trained model is the model: ``./NAME`` is the run and
            ``recipe:NAME`` the recipe of that name.
        data: any source that :func:`moue.data.loading.load` reads.
        out: where the page, its table and the runs go.
        minutes: time budget of each training.
        split: the rows to evaluate on; by default "public_test", and "test" where the data have no such rows.
        settings: changes of every recipe, as ``optim.lr=3e-4``.
        reading: how the data is read. Its label set is by default that of a written set, else the one that suits all
            models, see :func:`moue.trained.open.labels_of`, and FER-2013's where they differ.
        seed: of every training; by default the recipe's.
        seeds: how often each recipe is trained, 1 to 20, with seeds counted up from there; ``minutes`` are of each. The
            result of a recipe is that of its first seed, with all of them as ``seeds``.
        left_out: called with the rows that ``reading.skip_bad`` skips.
        quote: show the study's published numbers, too; they are always shown with its recipes.
        title: the page's title; by default the names and the data set.
        progress: makes a progress line, called with what is done and its unit.
        log: called with a line of text before and after each model.
        training_progress: makes the progress callback of a training from its name.
        command: the command line, for the page.

    Returns:
        The models of the page. One whose weights or packages are missing has a ``reason`` instead of scores.

    Raises:
        UsageError: for a name that is no recipe, run or model, two recipes that would share a run folder, two models
            that would be shown under one name, a recipe that cannot be trained on these labels and votes, an ``out``
            that is a file or where the page would replace an input, or a run in it of another data set or with other
            settings; before anything is trained.
    """
    names = list(names) or list(STUDY_RECIPES)
    _require_seeds(seeds)
    require_run_directory(out)
    if len(set(names)) < len(names):
        raise UsageError(f"each network is compared once. Got {', '.join(names)} instead.")
    changes = {"run.minutes": minutes, "run.seed": seed, "data.votes": reading.votes}
    changes = {name: value for name, value in changes.items() if value is not None}
    entries = [entry for name in names for entry in with_seeds(resolve(name, out, settings, changes), seeds)]
    require_distinct_runs(entries)
    require_distinct_names(entries)
    require_page_writable(entries, data, reading.votes, out)
    fallback = default_labels(entries, reading.votes is not None)

    @functools.cache
    def read(size: int, color: Color) -> ImageTable:
        with progress("reading", "rows") as report:
            return reading.load(data, fallback=fallback, size=size, color=color, progress=report)

    table = read(48, "gray")
    if reading.labels is None and fallback == FER2013_OR_OWN and chose_own_classes(table, data):
        log(f"the classes are the folders' own ({shortened(', '.join(table.label_set.labels))})")
    if left_out is not None:
        left_out(table.left_out)
    split = split or ("public_test" if (table.split == "public_test").any() else "test")
    if split not in ("train", "validation"):
        rows_of(table, split)  # Fails now, not after hours, where the set has no such rows.
    if seeds > 1 and not any(isinstance(entry, PlannedRun) for entry in entries):
        raise UsageError("only recipes are trained with several seeds: leave --seeds out, or name a recipe.")
    asked = [*settings, *changes, *(["run.seed"] if seeds > 1 else [])]
    entries = [validated(entry, read, asked) if isinstance(entry, PlannedRun) else entry for entry in entries]
    results, n = train_and_score(entries, read, split, log, training_progress)
    entries, results = _grouped(entries, results)
    log("timing the models, and drawing the page")
    results = _timed(entries, results, log)
    if quote or any(name.removeprefix(RECIPE_PREFIX).startswith("study/") for name in names):
        results += published_results()
    about = machine.describe()
    write_comparison(
        results,
        out,
        title=title or _title([result.name for result in results if result.published is None], table.name),
        provenance={
            "Command": command,
            "Data": f"{table.name}, {len(table):,} rows, fingerprint {table.fingerprint}",
            "Evaluated on": f"{split}, {n:,} rows",
            "Machine": about["processor"],
            "Versions": about["versions"],
            "Commit": machine.commit(about),
            "Seeds": _seeds(results),
            "Date": time.strftime("%Y-%m-%d"),
        },
    )
    return results


def train_and_score(
    entries: Sequence[Entry],
    read: Reader,
    split: str,
    log: Callable[[str], None],
    training_progress: Callable[[str], ProgressCallback] | None,
) -> tuple[list[ModelResult], int]:
    """A result for each entry, and the number of rows that all were scored on."""
    shown = display_names([entry.name for entry in entries])
    results: list[ModelResult] = []
    scored: list[str] = []
    for entry in entries:
        name, display_name = entry.name, shown[entry.name]
        log(f"{name}: {'training' if isinstance(entry, PlannedRun) else 'evaluating'}")
        try:
            if isinstance(entry, PlannedRun):
                _train(entry, read, training_progress)
            result, images = _score(entry, read, split)
            if scored and images != scored:
                first = next(r.name for r in results if r.evaluation is not None)
                raise DataError(
                    f"its {split} part is not that of {first}: runs with the same data.validation, "
                    "data.duplicates, data.split_seed and data.fold hold out the same rows"
                )
        except MoueError as error:
            # Reported in its place; the other models keep their results.
            network = entry.config.model.network if isinstance(entry, PlannedRun) else name
            result = ModelResult(display_name, network, reason=_reason(error))
            log(f"{name}: not run: {result.reason}")
        else:
            result, scored = replace(result, name=display_name), images
            if remarks := result.details.get("remarks"):
                log(f"{name}: {remarks}")
            log(f"{name}: {result.accuracy:.1%} of {len(scored):,} rows of {split}")
        results.append(result)
    return results, len(scored)


def _seeds(results: Sequence[ModelResult]) -> str:
    """The seeds of all runs: "0, 1, 2, 0, 1, 2"."""
    runs = [run for result in results for run in result.seeds or [result]]
    return ", ".join(str(run.details["seed"]) for run in runs if "seed" in run.details) or "none trained here"


def _require_seeds(seeds: int) -> None:
    if not 1 <= seeds <= 20:
        raise UsageError(f"seeds must be between 1 and 20. Got {seeds} instead.")
    if seeds > 1:
        require("scipy", "train")  # Of the test of differences over seeds; missed now, and not after hours.


def _grouped(entries: Sequence[Entry], results: Sequence[ModelResult]) -> tuple[list[Entry], list[ModelResult]]:
    """One entry and result a name: of a recipe with several seeds the first that was trained, with the others in it."""
    groups: dict[str, list[tuple[Entry, ModelResult]]] = {}
    for entry, result in zip(entries, results, strict=True):
        first = entry.further_seed_of if isinstance(entry, PlannedRun) else ""
        groups.setdefault(first or entry.name, []).append((entry, result))
    found = []
    for group in groups.values():
        name = group[0][1].name
        done = [(entry, result) for entry, result in group if result.evaluation is not None]
        entry, result = done[0] if done else group[0]
        if len(group) > 1 and done:
            missing = [f"{r.name} was not run: {r.reason}" for _, r in group if r.evaluation is None]
            remarks = [*filter(None, [result.details.get("remarks")]), *missing]
            details = {**result.details, **({"remarks": "; ".join(remarks)} if remarks else {})}
            result = replace(result, details=details, seeds=tuple(r for _, r in done))
        found.append((entry, replace(result, name=name)))
    return [entry for entry, _ in found], [result for _, result in found]


def _train(entry: PlannedRun, read: Reader, training_progress: Callable[[str], ProgressCallback] | None) -> None:
    """Train a recipe, resume its run, or do nothing where that is finished."""
    require("lightning", "train")
    from moue.training.loop import fit

    config, folder = entry.config, Path(entry.model)
    table = read(config.model.size, config.model.color)
    callback = training_progress(entry.name) if training_progress is not None else None
    fit(config, table, folder, resume=Run(folder).exists, progress=callback, recipe=entry.recipe)


def _score(entry: Entry, read: Reader, split: str) -> tuple[ModelResult, list[str]]:
    """A model's result, and the names of the images that it was scored on."""
    if isinstance(entry, Predicted):
        return _score_predictions(Path(entry.model), read, split)
    model = open_any(entry.model)
    spec, trained = model.spec, model.spec.trained
    part, reference = rows_of(read(spec.size, spec.color), split, entry.model)
    evaluation, predictions = score(model, part, reference=reference, split=split)
    history = spec.history
    details: dict[str, Any] = {key: trained[key] for key in ("seed", "machine") if key in trained}
    if isinstance(entry.model, Path):
        run = Run(entry.model)
        # A run of an older version has its curves only in its folder.
        history = history or run.history()
        details |= {"selection": _selection(trained, run.config()), "settings": _changed_settings(run.config())}
        details |= _trained_when(run)
    elif trained.get("epoch_kept"):
        details["selection"] = _selection(trained)
    if remarks := trained.get("remarks"):
        details["remarks"] = "; ".join(remarks)
    ensemble = None
    if "ensemble" in trained:
        own = member_logits(find_model(entry.model).path, spec, part.images) if isinstance(entry.model, str) else None
        ensemble = ensemble_result(spec, predictions, own, truth_of(part, spec), part)
    result = _result(entry.name, spec, evaluation, predictions, part, details, history=history)
    return replace(result, gflop=gflop_of(entry.model, len(spec.labels)), ensemble=ensemble), list(part.source)


def _score_predictions(path: Path, read: Reader, split: str) -> tuple[ModelResult, list[str]]:
    """As :func:`_score`, of a file of predictions."""
    part, reference = rows_of(read(48, "gray"), split)
    found = load_predictions(path, part, reference=reference, split=split)
    trained = found.spec.trained
    details: dict[str, Any] = {key: trained[key] for key in ("seed", "machine") if key in trained}
    if trained.get("epoch_kept"):
        details["selection"] = _selection(trained)
    details["remarks"] = f"its predictions were read from {path.name}"
    result = _result(path.stem, found.spec, found.evaluation, found.predictions, part, details)
    return result, list(part.source)


def _result(
    name: str,
    spec: ModelSpec,
    evaluation: Evaluation,
    predictions: Predictions,
    part: ImageTable,
    details: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]] | None = None,
) -> ModelResult:
    """A result, with what the spec says of the training; its curves, unless others are given."""
    trained = spec.trained
    return ModelResult(
        name,
        spec.network,
        evaluation=evaluation,
        predictions=predictions,
        truth=truth_of(part, spec),
        history=history or spec.history or (),
        hours=trained.get("hours"),
        core_hours=trained.get("core_hours"),
        epochs=trained.get("epochs"),
        parameters=spec.parameters,
        details=details,
    )


def _timed(entries: Sequence[Entry], results: Sequence[ModelResult], log: Callable[[str], None]) -> list[ModelResult]:
    """The results with the latencies of those that were scored, all in the same engine; None where that cannot be."""
    engines: dict[str, Engine] = {}
    for entry, result in zip(entries, results, strict=True):
        if result.evaluation is not None and not isinstance(entry, Predicted):
            try:
                engines[result.name] = open_exported(entry.model, engine=ENGINE, threads=THREADS)
            except MoueError as error:
                log(f"{entry.name}: not timed: {error}")
    timed = dict(zip(engines, latencies(list(engines.values())), strict=True))
    return [
        replace(r, latency_ms=timed[r.name], engine=ENGINE, threads=THREADS) if r.name in timed else r for r in results
    ]


def _selection(trained: Mapping[str, Any], config: Config | None = None) -> str:
    """Which epoch's weights a model has, and why: "epoch 17 of 20, the best on the validation rows"."""
    kept = f"epoch {trained.get('epoch_kept')} of {trained.get('epochs')}"
    held_out = trained.get("data", {}).get("validation", config and config.data.validation)
    if held_out == 0:
        return f"{kept}, the last: no rows were held out to choose one by"
    if held_out is None or config is None:
        return kept
    return f"{kept}, the {'best on the validation rows' if config.optim.keep == 'best' else 'last'}"


def _trained_when(run: Run) -> dict[str, Any]:
    """When a run was trained and with which versions, and what trains it again."""
    record = run.record()
    about = record.get("machine", {})
    found = {
        "training date": str(record.get("begun", ""))[:10],
        "versions": about.get("versions"),
        "commit": machine.commit(about) if about.get("git") else None,
        "training command": f"moue train {run.folder.name}/{CONFIG} --data SET -o again",
    }
    return {key: value for key, value in found.items() if value}


def _changed_settings(config: Config) -> str:
    """The settings of a configuration that differ from the defaults."""
    default = Config().to_dict()
    return ", ".join(
        f"{section}.{key}={value}"
        for section, values in config.to_dict().items()
        for key, value in values.items()
        if value != default[section][key]
    )


def _reason(error: MoueError) -> str:
    if isinstance(error, WeightsMissing):
        return f"needs published weights: {error}"
    return str(error).removeprefix("this ") if isinstance(error, MissingExtra) else str(error)


def _title(names: Sequence[str], data: str) -> str:
    """Names the models where they are few."""
    return f"{', '.join(names) if len(names) <= 4 else f'{len(names)} models'} on {data}"

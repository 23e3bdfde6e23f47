"""Compare models on one data set: train what has no run yet, evaluate all on the same rows, write one page."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moue.data.loading import AS_IT_IS, OWN, ReadingOptions, source_files
from moue.data.table import ImageTable, LeftOut
from moue.errors import DataError, MissingExtra, MoueError, UnknownName, UsageError, WeightsMissing, require, shortened
from moue.evaluation.evaluate_model import rows_of
from moue.evaluation.latency import latencies
from moue.evaluation.model_result import ModelResult
from moue.evaluation.scoring import score, truth_of
from moue.export.cost import gflop_of, open_exported
from moue.files import require_directory, require_no_overwrite
from moue.labels import FER2013
from moue.progress import ProgressFactory, no_progress
from moue.report.published import published_results
from moue.report.write import write_comparison
from moue.runtime.engine import Engine, EngineName
from moue.runtime.weights import EXTRA, files_of, list_models
from moue.spec import Color
from moue.trained.open import labels_of, open_any, spec_of
from moue.training import machine
from moue.training.config import Config
from moue.training.recipe import load_recipe, recipes, resolve_init
from moue.training.run_folder import Run

if TYPE_CHECKING:
    from moue.training.progress import ProgressCallback

#: The study's three networks, in its order.
STUDY_RECIPES = ("study/googlenet", "study/resnet50v2", "study/vit")

#: What all models of a page are timed in: the engine of the base install, on one thread, which other programs disturb
#: least and which compares between machines.
ENGINE: EngineName = "onnxruntime"
THREADS = 1

#: Before the name of a recipe that a trained model has, too.
RECIPE_PREFIX = "recipe:"

#: Reads the data set in a model's size and color.
Reader = Callable[[int, Color], ImageTable]


@dataclass(frozen=True)
class Entry:
    """A model to compare."""

    name: str
    """As it was typed."""
    model: str | Path
    """What to open: the path of a run folder, or the name or file of a model as a string."""


@dataclass(frozen=True)
class PlannedRun(Entry):
    """A recipe to train into the run folder ``model``, or to take from there."""

    recipe: Config
    """As it is shipped or written."""
    config: Config
    """With the settings of this comparison."""


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
            folders, or models; by default the study's three recipes. The name of a trained model is the model:
            ``./NAME`` is the run and ``recipe:NAME`` the recipe of that name.
        data: any source that :func:`moue.data.loading.load` reads.
        out: where the page, its table and the runs go.
        minutes: time budget of each training.
        split: the rows to evaluate on; by default "public_test", and "test" where the data have no such rows.
        settings: changes of every recipe, as ``optim.lr=3e-4``.
        reading: how the data is read. Its label set is by default that of a written set, else the one that suits all
            models, see :func:`moue.trained.open.labels_of`, and FER-2013's where they differ.
        seed: of every training.
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
        UsageError: for a name that is no recipe, run or model, two recipes that would share a run folder, a recipe
            that cannot be trained on these labels and votes, an ``out`` that is a file or where the page would replace
            an input, or a run in it of another data set or with other settings; before anything is trained.
    """
    names = list(names) or list(STUDY_RECIPES)
    require_directory(out)
    if len(set(names)) < len(names):
        raise UsageError(f"each network is compared once. Got {', '.join(names)} instead.")
    changes = {"run.minutes": minutes, "run.seed": seed, "data.votes": reading.votes}
    changes = {name: value for name, value in changes.items() if value is not None}
    entries = [_resolve(name, out, settings, changes) for name in names]
    _require_distinct_runs(entries)
    _require_no_overwrite(entries, data, reading.votes, out)
    fallback = _default_labels(entries, reading.votes is not None)

    @functools.cache
    def read(size: int, color: Color) -> ImageTable:
        with progress("reading", "rows") as report:
            return reading.load(data, fallback=fallback, size=size, color=color, progress=report)

    table = read(48, "gray")
    if left_out is not None:
        left_out(table.left_out)
    split = split or ("public_test" if (table.split == "public_test").any() else "test")
    if split not in ("train", "validation"):
        rows_of(table, split)  # Fails now, not after hours, where the set has no such rows.
    asked = [*settings, *changes]
    entries = [_validated(entry, read, asked) if isinstance(entry, PlannedRun) else entry for entry in entries]
    results, n = _train_and_score(entries, read, split, log, training_progress)
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
            "Commit": (about["git"] or {}).get("commit", "an installed package"),
            "Seeds": ", ".join(str(r.details["seed"]) for r in results if "seed" in r.details) or "none trained here",
            "Date": time.strftime("%Y-%m-%d"),
        },
    )
    return results


def _resolve(name: str, out: Path, settings: Sequence[str], changes: Mapping[str, Any]) -> Entry:
    """What a name stands for: a recipe to train, a run folder, or a model.

    A trained model takes precedence over a run folder of its name, which is ``./NAME``, and over the recipe that made
    it, which is ``recipe:NAME``.
    """
    shipped, models = recipes(), [m["name"] for m in list_models()]
    if name in models or (name in EXTRA and name not in shipped):
        return Entry(name, name)
    if Run(Path(name)).exists:
        return Entry(name, Path(name))
    if Path(name).suffix == ".onnx":
        return Entry(name, name)
    recipe_name = name.removeprefix(RECIPE_PREFIX)
    if recipe_name not in shipped and Path(recipe_name).suffix not in (".yaml", ".yml"):
        raise UnknownName("recipe, run or model", recipe_name, {*shipped, *models})
    recipe = load_recipe(recipe_name)
    folder = Path(recipe_name).with_suffix("").as_posix().strip("/.").replace("/", "-")
    return PlannedRun(name, out / "runs" / folder, recipe, recipe.override(settings, changes))


def _require_distinct_runs(entries: Sequence[Entry]) -> None:
    """Refuse two recipes that would share a run folder: the second would show the weights of the first."""
    by_folder: dict[str | Path, str] = {}
    for entry in entries:
        if isinstance(entry, PlannedRun) and (other := by_folder.setdefault(entry.model, entry.name)) != entry.name:
            raise UsageError(
                f"each recipe needs a run of its own. Got {other} and {entry.name}, whose runs would both be "
                f"{entry.model}: compare one of them, or rename its file."
            )


def _require_no_overwrite(entries: Sequence[Entry], data: str, votes: str | Path | None, out: Path) -> None:
    """Refuse a page that would replace the data or a model."""
    inputs = source_files(data, votes)
    for entry in entries:
        # A model that cannot be opened becomes a result with the reason.
        with suppress(MoueError):
            inputs += files_of(entry.model) if isinstance(entry.model, str) else []
    require_no_overwrite((out / f"comparison.{kind}" for kind in ("html", "md", "csv", "json", "tex")), inputs)


def _default_labels(entries: Sequence[Entry], votes: bool) -> str:
    """The label set that suits all entries, and FER-2013's where they differ."""
    label_sets = set()
    for entry in entries:
        # A model that cannot be opened becomes a result with the reason.
        with suppress(MoueError):
            if not isinstance(entry, PlannedRun):
                label_sets.add(labels_of(entry.model, votes))
            elif entry.recipe.data.labels or entry.config.optim.votes_weight > 0:
                label_sets.add(entry.recipe.data.labels or FER2013.name)
    return label_sets.pop() if len(label_sets) == 1 else FER2013.name


def _validated(entry: PlannedRun, read: Reader, asked: Sequence[str]) -> PlannedRun:
    """The entry with the configuration of its existing run, if there is one.

    Raises:
        UsageError: for what would otherwise end the training after hours.
    """
    name, run = entry.name, Run(Path(entry.model))
    table = read(entry.config.model.size, entry.config.model.color)
    labels = table.label_set.name
    if entry.recipe.data.labels not in (labels, OWN, None):
        raise UsageError(
            f"the recipe {name} is for the labels {entry.recipe.data.labels}, and these data have {labels}. "
            f"Type: --labels {entry.recipe.data.labels}"
        )
    config = entry.config.override(changes={"data.labels": labels})
    if run.exists:
        data = run.record().get("data", {})
        if data.get("fingerprint") != table.fingerprint:
            raise UsageError(
                f"{run.folder} holds a run on other data ({shortened(data.get('name'))}). Choose another --out."
            )
        return replace(entry, config=run.resume_config(entry.recipe, config, asked))
    if config.optim.votes_weight > 0 and table.votes is None:
        raise UsageError(
            f"the recipe {name} learns from FER+'s votes beside FER-2013's labels. Type --votes fer2013new.csv, or "
            "leave them out with --set optim.votes_weight=0"
        )
    try:
        config = resolve_init(config)
    except MoueError as error:
        raise UsageError(f"the recipe {name} starts from {config.model.init}: {error}") from error
    for teacher in config.optim.teachers:
        try:
            spec_of(teacher)
        except MoueError as error:
            raise UsageError(f"the recipe {name} learns from {teacher}, which cannot be opened: {error}") from error
    return replace(entry, config=config)


def _train_and_score(
    entries: Sequence[Entry],
    read: Reader,
    split: str,
    log: Callable[[str], None],
    training_progress: Callable[[str], ProgressCallback] | None,
) -> tuple[list[ModelResult], int]:
    """A result for each entry, and the number of rows that all were scored on."""
    names = [entry.name for entry in entries]
    results: list[ModelResult] = []
    scored: list[str] = []
    for entry in entries:
        name, display_name = entry.name, _display_name(entry.name, names)
        log(f"{name}: {'training' if isinstance(entry, PlannedRun) else 'evaluating'}")
        try:
            if isinstance(entry, PlannedRun):
                _train(entry, read, training_progress)
            result, images = _score(entry, read, split)
            if scored and images != scored:
                first = next(r.name for r in results if r.evaluation is not None)
                raise DataError(
                    f"its {split} part is not that of {first}: runs with the same data.validation, "
                    "data.split_seed and data.fold hold out the same rows"
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
    elif trained.get("epoch_kept"):
        details["selection"] = _selection(trained)
    if remarks := trained.get("remarks"):
        details["remarks"] = "; ".join(remarks)
    result = ModelResult(
        entry.name,
        spec.network,
        evaluation=evaluation,
        predictions=predictions,
        truth=truth_of(part, spec),
        history=history or (),
        hours=trained.get("hours"),
        core_hours=trained.get("core_hours"),
        epochs=trained.get("epochs"),
        parameters=spec.parameters,
        gflop=gflop_of(entry.model, len(spec.labels)),
        details=details,
    )
    return result, list(part.source)


def _timed(entries: Sequence[Entry], results: Sequence[ModelResult], log: Callable[[str], None]) -> list[ModelResult]:
    """The results with the latencies of those that were scored, all in the same engine; None where that cannot be."""
    engines: dict[str, Engine] = {}
    for entry, result in zip(entries, results, strict=True):
        if result.evaluation is not None:
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
    if config is None:
        return kept
    best = config.optim.keep == "best" and config.data.validation > 0
    return f"{kept}, the {'best on the validation rows' if best else 'last'}"


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


def _display_name(name: str, names: Sequence[str]) -> str:
    """The last part of a name where no other one ends the same."""
    last = Path(name).stem if Path(name).suffix in (".yaml", ".yml", ".onnx") else Path(name).name
    return last if sum(Path(n).stem == Path(name).stem for n in names) == 1 else name

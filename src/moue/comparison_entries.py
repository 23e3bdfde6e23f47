"""What a comparison compares: recipes to train, run folders, models, and predictions; checked before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moue.data.loading import FER2013_OR_OWN, OWN, source_files
from moue.data.table import ImageTable
from moue.errors import MoueError, UnknownName, UsageError, require, shortened
from moue.evaluation.saved_predictions import is_predictions
from moue.files import require_no_overwrite
from moue.labels import FER2013
from moue.runtime.weights import EXTRA, files_of, list_models
from moue.spec import Color
from moue.trained.open import labels_of, spec_of
from moue.training.config import Config
from moue.training.recipe import RECIPE_SUFFIXES, load_recipe, recipes, resolve_init
from moue.training.run_folder import Run

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
class Predicted(Entry):
    """The predictions in the file ``model``, in place of what made them."""


@dataclass(frozen=True)
class PlannedRun(Entry):
    """A recipe to train into the run folder ``model``, or to take from there."""

    recipe: Config
    """As it is shipped or written."""
    config: Config
    """With the settings of this comparison."""
    further_seed_of: str = ""
    """The name of the recipe whose second, third … run this is; "" for the first."""


def resolve(name: str, out: Path, settings: Sequence[str], changes: Mapping[str, Any]) -> Entry:
    """What a name stands for: a recipe to train, a run folder, predictions in a file, or a model.

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
    if is_predictions(name):
        if not Path(name).is_file():
            raise UsageError(f"{name} is missing: no such file of predictions.")
        if Path(name).suffix.lower() == ".parquet":
            require("pyarrow", "parquet")
        return Predicted(name, Path(name))
    recipe_name = name.removeprefix(RECIPE_PREFIX)
    if recipe_name not in shipped and Path(recipe_name).suffix not in RECIPE_SUFFIXES:
        raise UnknownName("recipe, run or model", recipe_name, {*shipped, *models})
    recipe = load_recipe(recipe_name)
    folder = Path(recipe_name).with_suffix("").as_posix().strip("/.").replace("/", "-")
    return PlannedRun(name, out / "runs" / folder, recipe, recipe.override(settings, changes))


def with_seeds(entry: Entry, seeds: int) -> list[Entry]:
    """A recipe once for each of ``seeds`` seeds, counted up from its own; other entries as they are.

    The first run has the folder that it has without further seeds, so that a comparison can be repeated with more.
    """
    if not isinstance(entry, PlannedRun):
        return [entry]
    first = entry.config.run.seed
    return [
        entry,
        *(
            replace(
                entry,
                name=f"{entry.name}, seed {seed}",
                model=Path(f"{entry.model}-seed-{seed}"),
                config=entry.config.override(changes={"run.seed": seed}),
                further_seed_of=entry.name,
            )
            for seed in range(first + 1, first + seeds)
        ),
    ]


def require_distinct_runs(entries: Sequence[Entry]) -> None:
    """Refuse two recipes that would share a run folder: the second would show the weights of the first."""
    by_folder: dict[str | Path, str] = {}
    for entry in entries:
        if isinstance(entry, PlannedRun) and (other := by_folder.setdefault(entry.model, entry.name)) != entry.name:
            raise UsageError(
                f"each recipe needs a run of its own. Got {other} and {entry.name}, whose runs would both be "
                f"{entry.model}: compare one of them, or rename its file."
            )


def require_distinct_names(entries: Sequence[Entry]) -> None:
    """Refuse two models that a page would show under one name."""
    by_name: dict[str, str] = {}
    for name, shown in display_names([entry.name for entry in entries]).items():
        if (other := by_name.setdefault(shown, name)) != name:
            raise UsageError(
                f"each model needs a name of its own on the page. Got {other} and {name}, which would both be {shown}: "
                "rename one of them."
            )


def display_names(names: Sequence[str]) -> dict[str, str]:
    """What each name is shown as: its last part where no other one's is the same, else all of it."""
    short = {name: _last_part(name) for name in names}
    times = Counter(short.values())
    return {name: part if times[part] == 1 else name for name, part in short.items()}


def _last_part(name: str) -> str:
    """Of a file without its suffix; a folder's may have dots."""
    is_file = Path(name).suffix in (*RECIPE_SUFFIXES, ".onnx") or is_predictions(name)
    return Path(name).stem if is_file else Path(name).name


def require_page_writable(entries: Sequence[Entry], data: str, votes: str | Path | None, out: Path) -> None:
    """Refuse a page that would replace the data or a model."""
    inputs = source_files(data, votes)
    for entry in entries:
        if isinstance(entry, Predicted):
            inputs.append(Path(entry.model))
        # A model that cannot be opened becomes a result with the reason.
        with suppress(MoueError):
            inputs += files_of(entry.model) if isinstance(entry.model, str) else []
    require_no_overwrite((out / f"comparison.{kind}" for kind in ("html", "md", "csv", "json", "tex")), inputs)


def default_labels(entries: Sequence[Entry], votes: bool) -> str:
    """The label set that suits all entries, and FER-2013's where they differ. Recipes that are for none learn the
    classes of a folder where these are others.
    """
    label_sets = set()
    for entry in entries:
        if isinstance(entry, Predicted):
            continue
        # A model that cannot be opened becomes a result with the reason.
        with suppress(MoueError):
            if not isinstance(entry, PlannedRun):
                label_sets.add(labels_of(entry.model, votes))
            elif entry.recipe.data.labels or entry.config.needs_votes:
                label_sets.add(entry.recipe.data.labels or FER2013.name)
    if not label_sets:
        return FER2013_OR_OWN
    return label_sets.pop() if len(label_sets) == 1 else FER2013.name


def validated(entry: PlannedRun, read: Reader, asked: Sequence[str]) -> PlannedRun:
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
    if config.needs_votes and table.votes is None:
        raise UsageError(
            f"the recipe {name} uses FER+'s votes beside FER-2013's labels. Type --votes fer2013new.csv, or leave them "
            f"out with --set {config.needs_votes}"
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

"""`moue compare`: train what has no run yet, evaluate all on the same rows, write one page."""

from __future__ import annotations

import functools
import shlex
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from moue.data.loading import load, source_files
from moue.data.table import ImageTable, LeftOut
from moue.errors import DataError, MissingExtra, MoueError, UnknownName, UsageError, WeightsMissing, require
from moue.evaluation.evaluate_model import rows_of
from moue.evaluation.scoring import score, truth_of
from moue.files import require_directory, require_no_overwrite
from moue.progress import ProgressFactory, no_progress
from moue.report.write import STUDY, Row, write_comparison
from moue.runtime.engine import Engine
from moue.runtime.weights import EXTRA, files_of, find_model, list_models
from moue.spec import Color
from moue.trained.open import Model, labels_of, open_any, spec_of
from moue.training import machine
from moue.training.config import Config, DataConfig
from moue.training.recipe import load_recipe, recipes
from moue.training.run_folder import Run
from moue.tta import averaged

if TYPE_CHECKING:
    from moue.training.progress import ProgressCallback

#: The study's three networks, in its order.
THREE = ("study/googlenet", "study/resnet50v2", "study/vit")

#: Before a recipe's name, where a trained model bears the same.
RECIPE = "recipe:"


class Plan(NamedTuple):
    """A recipe to train."""

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
    labels: str | None = None,
    votes: str | None = None,
    seed: int | None = None,
    skip_bad: bool = False,
    left_out: Callable[[Iterable[LeftOut]], None] | None = None,
    quote: bool = False,
    progress: ProgressFactory = no_progress,
    log: Callable[[str], None] | None = None,
    watch: Callable[[str], ProgressCallback] | None = None,
    command: str = "",
) -> list[Row]:
    """Compare networks on one data set.

    Args:
        names: recipes (trained into ``out/runs/`` unless a run of theirs is there; an interrupted one is taken up), run
            folders, or models; by default the study's three recipes. The name of a trained model is the model:
            ``./NAME`` is the run and ``recipe:NAME`` the recipe of that name.
        data: any source that :func:`moue.data.loading.load` reads.
        out: where the page, its table and the runs go.
        minutes: time for each training.
        split: the rows to evaluate on; by default "public_test", and "test" where the data have no such rows.
        settings: changes of every recipe, as ``optim.lr=3e-4``.
        labels: the label set; by default that of a written set, else the one that suits all that is compared, see
            :func:`moue.trained.open.labels_of`, and FER-2013's where they differ.
        votes: FER+'s votes, for its labels.
        seed: of every training.
        skip_bad: go on without rows that cannot be used.
        left_out: called with those.
        quote: set the study's own numbers beside; its recipes bring them along unasked.
        progress: makes a progress line, called with what is done and its unit.
        log: called with a line of text at each turn.
        watch: makes a training's watcher out of its name.
        command: the command line, for the page.

    Returns:
        The rows of the page. A recipe whose weights or packages cannot be had is a row "not run: needs …".

    Raises:
        UsageError: for a name that is no recipe, run or model, two recipes whose runs would be one, a recipe that
            cannot be trained on these labels and votes, an ``out`` that is a file or where the page would replace what
            is compared, or a run in it of another data set or with other settings; before anything is trained.
    """
    names = list(names) or list(THREE)
    say = log or (lambda text: None)
    require_directory(out)
    if len(set(names)) < len(names):
        raise UsageError(f"each network is compared once. Got {', '.join(names)} instead.")
    changes = {"run.minutes": minutes, "run.seed": seed, "data.votes": votes}
    given = {name: value for name, value in changes.items() if value is not None}
    plans = {name: _plan(name, settings, given) for name in names}
    _need_own_runs((name for name, plan in plans.items() if isinstance(plan, Plan)), out)
    inputs = [*source_files(data), *([Path(votes)] if votes is not None else [])]
    for plan in plans.values():
        # What cannot be opened is a row that says why.
        with suppress(MoueError):
            inputs += files_of(plan) if isinstance(plan, str) else []
    require_no_overwrite((out / f"comparison.{kind}" for kind in ("html", "md", "csv", "json")), inputs)
    suiting = _suiting(plans.values(), votes)

    @functools.cache
    def read(size: int, color: Color) -> ImageTable:
        with progress("reading", "rows") as report:
            return load(
                data,
                labels=labels,
                fallback=suiting,
                votes=votes,
                size=size,
                color=color,
                skip_bad=skip_bad,
                progress=report,
            )

    table = read(48, "gray")
    if left_out is not None:
        left_out(table.left_out)
    if split is None:
        split = "public_test" if (table.split == "public_test").any() else "test"
    if split not in ("train", "validation"):
        rows_of(table, split)  # That there are none is said now, not after hours.
    for name, plan in plans.items():
        if isinstance(plan, Plan):
            table_of = read(plan.config.model.size, plan.config.model.color)
            plans[name] = _checked(name, plan, table_of, _run_of(name, out), [*settings, *given])
    rows: list[Row] = []
    scored: list[str] = []
    first = ""
    for name, plan in plans.items():
        say(f"{name}: {'training' if isinstance(plan, Plan) else 'reading'}")
        try:
            row, images = _row(name, plan, read, split, out, watch)
            if scored and images != scored:
                raise DataError(
                    f"its {split} part is not that of {first}: runs with the same data.validation, "
                    "data.split_seed and data.fold hold out the same rows"
                )
            scored = images
        except MoueError as error:
            # Never a stand-in: what could not be had is said in the row's place, and the others keep theirs.
            network = plan.config.model.network if isinstance(plan, Plan) else name
            reason = _why_not(error)
            row = Row(_short(name, names), network, status="not run", reason=reason)
            say(f"{name}: not run: {reason}")
        else:
            row = replace(row, name=_short(name, names))
            first = first or row.name
            say(f"{name}: {row.accuracy:.1%} of {len(scored):,} rows of {split}")
        rows.append(row)
    if quote or any(name.removeprefix(RECIPE).startswith("study/") for name in names):
        rows += STUDY
    about = machine.describe()
    write_comparison(
        rows,
        out,
        title=f"{', '.join(_short(n, names) for n in names)} on {table.name}",
        provenance={
            "Command": command,
            "Data": f"{table.name}, {len(table):,} rows, fingerprint {table.fingerprint}",
            "Evaluated on": f"{split}, {len(scored):,} rows",
            "Machine": about["processor"],
            "Versions": about["versions"],
            "Commit": (about["git"] or {}).get("commit", "an installed package"),
            "Seeds": ", ".join(str(r.details["seed"]) for r in rows if "seed" in r.details) or "none trained here",
            "Date": time.strftime("%Y-%m-%d"),
        },
    )
    return rows


def command_line(arguments: Sequence[str]) -> str:
    """The command as a reader would type it."""
    return "moue " + " ".join(map(shlex.quote, arguments))


def _plan(name: str, settings: Sequence[str], given: Mapping[str, Any]) -> Plan | Run | str:
    """What to do for a name: train a recipe, read a run folder, or open a model.

    A trained model goes before a run of its name, which ``./NAME`` asks for, and before the recipe that made it, which
    ``recipe:NAME`` asks for.
    """
    shipped, models = recipes(), [m["name"] for m in list_models()]
    if name in models or (name in EXTRA and name not in shipped):
        return name
    if Run(Path(name)).exists:
        return Run(Path(name))
    if Path(name).suffix == ".onnx":
        return name
    name = name.removeprefix(RECIPE)
    if name not in shipped and Path(name).suffix not in (".yaml", ".yml"):
        raise UnknownName("recipe, run or model", name, {*shipped, *models})
    recipe = load_recipe(name)
    return Plan(recipe, recipe.override(settings, given))


def _suiting(plans: Iterable[Plan | Run | str], votes: str | None) -> str:
    """The label set that suits all that is compared, and FER-2013's where they differ."""
    wanted = set()
    for plan in plans:
        # What cannot be opened is a row that says why.
        with suppress(MoueError):
            if not isinstance(plan, Plan):
                wanted.add(labels_of(plan.folder if isinstance(plan, Run) else plan, votes is not None))
            elif plan.recipe.data.labels != DataConfig.labels or plan.config.optim.votes_weight > 0:
                wanted.add(plan.recipe.data.labels)
    return wanted.pop() if len(wanted) == 1 else DataConfig.labels


def _run_of(name: str, out: Path) -> Run:
    """Where a recipe's run stands."""
    inside = Path(name.removeprefix(RECIPE)).with_suffix("").as_posix().strip("/.").replace("/", "-")
    return Run(out / "runs" / inside)


def _need_own_runs(recipes: Iterable[str], out: Path) -> None:
    """Refuse two recipes whose runs would be one: the second would show what the first has learned."""
    by_folder: dict[Path, str] = {}
    for name in recipes:
        folder = _run_of(name, out).folder
        other = by_folder.setdefault(folder, name)
        if other != name:
            raise UsageError(
                f"each recipe needs a run of its own. Got {other} and {name}, whose runs would both be {folder}: "
                "compare one of them, or rename its file."
            )


def _checked(name: str, plan: Plan, table: ImageTable, run: Run, asked: Sequence[str]) -> Plan:
    """The plan, with the configuration of the run that is there; refuses now what would else end it after hours."""
    labels = table.label_set.name
    if plan.recipe.data.labels not in (labels, DataConfig.labels):
        raise UsageError(
            f"the recipe {name} is for the labels {plan.recipe.data.labels}, and these data have {labels}. "
            f"Type: --labels {plan.recipe.data.labels}"
        )
    config = plan.config.override(changes={"data.labels": labels})
    if run.exists:
        if run.record()["data"]["fingerprint"] != table.fingerprint:
            raise UsageError(
                f"{run.folder} holds a run on other data ({run.record()['data']['name']}). Choose another --out."
            )
        return plan._replace(config=run.resume_config(plan.recipe, config, asked))
    if config.optim.votes_weight > 0 and table.votes is None:
        raise UsageError(
            f"the recipe {name} learns from FER+'s votes beside FER-2013's labels. Type --votes fer2013new.csv, or "
            "leave them out with --set optim.votes_weight=0"
        )
    if config.model.init and not Run(Path(config.model.init)).finished:
        raise UsageError(f"the recipe {name} needs the finished run {config.model.init}, and there is none.")
    for teacher in config.optim.teachers:
        try:
            spec_of(teacher)
        except MoueError as error:
            raise UsageError(f"the recipe {name} learns from {teacher}, which cannot be had: {error}") from error
    return plan._replace(config=config)


def _row(
    name: str,
    plan: Plan | Run | str,
    read: Callable[[int, Color], ImageTable],
    split: str,
    out: Path,
    watch: Callable[[str], ProgressCallback] | None,
) -> tuple[Row, list[str]]:
    """A model's row, and the names of the images that it was scored on."""
    if isinstance(plan, Plan):
        require("lightning", "train")
        from moue.training.loop import fit

        recipe, config = plan
        run, table = _run_of(name, out), read(config.model.size, config.model.color)
        watcher = watch(name) if watch else None
        plan = fit(config, table, run.folder, resume=run.exists, progress=watcher, recipe=recipe)
    model = open_any(plan.folder if isinstance(plan, Run) else plan)
    table = read(model.spec.size, model.spec.color)
    part, reference = rows_of(table, split, plan.folder if isinstance(plan, Run) else plan)
    evaluation, predictions = score(model, part, reference=reference, split=split)
    row: dict[str, Any] = {
        "name": name,
        "network": model.spec.network,
        "evaluation": evaluation,
        "predictions": predictions,
        "truth": truth_of(part, model.spec),
        "parameters": model.spec.parameters,
        "latency_ms": latency(model),
        "engine": model.graph.engine if isinstance(model, Engine) else "torch",
    }
    trained = model.spec.trained
    row |= {key: trained.get(key) for key in ("hours", "core_hours", "epochs")}
    row["history"] = model.spec.history
    row["details"] = {k: trained[k] for k in ("seed", "machine") if k in trained}
    if isinstance(plan, Run):
        config = plan.config()
        # A run of an older version has its curves in its folder alone.
        row["history"] = row["history"] or plan.history()
        row["gflop"] = _gflop(plan, len(model.spec.labels))
        row["details"] |= {"epoch kept": trained.get("epoch_kept"), "settings": _settings(config)}
    elif find_spec("onnx") is not None:
        from moue.export.flops import gflop

        row["gflop"] = gflop(find_model(plan).path)
    return Row(**row), list(part.source)


def latency(model: Model, repeats: int = 20) -> float:
    """Milliseconds for one image with the model's own views, as it is scored: the median of some calls, warmed up."""
    spec = model.spec
    image = np.random.default_rng(0).integers(0, 256, (1, spec.channels, spec.size, spec.size), dtype=np.uint8)
    taken = []
    for _ in range(repeats + 3):
        began = time.perf_counter()
        averaged(model.logits, image, spec.views, spec.views)
        taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken[3:])


def _settings(config: Config) -> str:
    """What a configuration sets, leaving out what is as it is by default."""
    plain, default = config.to_dict(), Config().to_dict()
    changed = [
        f"{section}.{key}={value}"
        for section, values in plain.items()
        for key, value in values.items()
        if value != default[section][key]
    ]
    return ", ".join(changed)


def _gflop(run: Run, num_classes: int) -> float | None:
    """The arithmetic of a run's network; None without torch, which counts it, or where it cannot be built from here."""
    if find_spec("torch") is None:
        return None
    from moue.models.summary import describe

    # A finished run's score is not to be lost for want of this number.
    with suppress(MoueError):
        model = run.config().model
        # What the run keeps builds its network without the source of its weights, which may be gone by now.
        options = {**model.options, **run.record().get("rebuild", {})}
        return float(describe(model.network, num_classes, **options)["gflop"])
    return None


def _why_not(error: MoueError) -> str:
    if isinstance(error, WeightsMissing):
        return f"needs published weights: {error}"
    return str(error).removeprefix("this ") if isinstance(error, MissingExtra) else str(error)


def _short(name: str, names: Sequence[str]) -> str:
    """The last part of a name where no other one ends the same."""
    last = Path(name).stem if Path(name).suffix in (".yaml", ".yml", ".onnx") else Path(name).name
    return last if sum(Path(n).stem == Path(name).stem for n in names) == 1 else name

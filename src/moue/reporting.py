"""A report over trained models: scores them on one data set, looks into them, and writes the page."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from moue.comparison import train_and_score
from moue.comparison_entries import Entry, default_labels, require_distinct_names
from moue.data.info import describe
from moue.data.loading import AS_IT_IS, ReadingOptions, source_files
from moue.data.readers.fer2013_csv import is_fer2013
from moue.data.readers.synth import is_synthetic
from moue.data.table import ImageTable, LeftOut
from moue.errors import MoueError, UnknownName, UsageError
from moue.evaluation.evaluate_model import rows_of
from moue.evaluation.hard_images import hardest, most_confused
from moue.evaluation.label_agreement import accuracy_by_agreement, label_agreement
from moue.evaluation.model_result import ModelResult
from moue.evaluation.ranking import rank
from moue.evaluation.robustness import Robustness
from moue.evaluation.scoring import truth_of
from moue.evaluation.scoring_robustness import score_robustness
from moue.explain.explainer import Explainer
from moue.explain.panel import overlay
from moue.files import require_directory, require_no_overwrite
from moue.labels import FERPLUS
from moue.preprocess import to_inputs
from moue.progress import ProgressFactory, no_progress
from moue.report.format import join
from moue.report.study import (
    DRAWN,
    FER2013_STATEMENT,
    FERPLUS_STATEMENT,
    FILES,
    NO_STATEMENT,
    ExplainedImage,
    Study,
    write_report,
)
from moue.runtime.validation import check_number
from moue.runtime.weights import files_of
from moue.spec import Color, ModelSpec
from moue.trained.network import architecture_of
from moue.trained.open import open_any, run_of, spec_of
from moue.training import machine

#: How many of the hardest images are shown, of how many confusions, and how many images of each.
HARDEST, CONFUSIONS, OF_EACH = 16, 3, 8


def report(
    names: Sequence[str],
    *,
    data: str,
    out: Path,
    split: str | None = None,
    reading: ReadingOptions = AS_IT_IS,
    explain: int = 1,
    robustness: bool = False,
    robustness_sample: int | None = None,
    seed: int = 0,
    title: str | None = None,
    left_out: Callable[[Iterable[LeftOut]], None] | None = None,
    progress: ProgressFactory = no_progress,
    log: Callable[[str], None] = lambda text: None,
    command: str = "",
) -> list[ModelResult]:
    """Report on trained models.

    What needs a package that is not installed (the networks' blocks and augmentation need torch) is left out, and the
    page says so.

    Args:
        names: run folders, ``.onnx`` files with their ``.json``, and names of ``moue models``.
        data: any source that :func:`moue.data.loading.load` reads.
        out: where the page and its figures go.
        split: the rows to evaluate on; by default "public_test", and "test" where the data have no such rows.
        reading: how the data is read; its ``votes`` show how far labels agree with FER+'s annotators.
        explain: how many images of each class to explain, for the most accurate model; 0 for none.
        robustness: score the models on corrupted images, too, which takes 65 times as long as the evaluation. A model
            that has its robustness on record is shown with it otherwise.
        robustness_sample: how many images, drawn by class, to corrupt; by default all.
        seed: of the choice of images.
        title: the page's title; by default the models and the data set.
        left_out: called with the rows that ``reading.skip_bad`` skips.
        progress: makes a progress line for each step.
        log: called with a line of text for each model.
        command: the command line, for the page.

    Returns:
        The models of the page; one that cannot be opened has a ``reason`` instead of scores.

    Raises:
        UsageError: for no model, a name that is given twice or is none, or an ``out`` that would replace an input.
        DataError: for data that cannot be used, or lacks the split.
    """
    entries = _entries(names)
    require_directory(out)
    check_number("explain", explain, 0, 100, integer=True)
    if robustness_sample is not None:
        check_number("robustness_sample", robustness_sample, 1, 10**9, integer=True)
    _require_no_overwrite(entries, data, reading, out)
    fallback = default_labels(entries, reading.votes is not None)

    @functools.cache
    def read(size: int, color: Color) -> ImageTable:
        with progress("reading", "rows") as step:
            return reading.load(data, fallback=fallback, size=size, color=color, progress=step)

    table = read(48, "gray")
    if left_out is not None:
        left_out(table.left_out)
    split = split or ("public_test" if (table.split == "public_test").any() else "test")
    results, n = train_and_score(entries, read, split, log, None)
    opened = [(entry, result) for entry, result in zip(entries, results, strict=True) if result.evaluation is not None]
    study = Study(table, table.take(np.zeros(0, np.int64)), describe(table), _statement(table, data))
    if opened:
        first = opened[0][0].model
        spec = spec_of(first)
        # In the size and color that it was trained with, as what it held out are rows of that table.
        part, _ = rows_of(read(spec.size, spec.color), split, first)
        study = replace(study, part=part)
        study = _with_errors(study, [result for _, result in opened])
        study = _with_networks(study, opened)
        if explain:
            study = _with_explanations(study, opened, read, split, explain, seed, progress)
        measured = robustness or robustness_sample is not None
        measure = functools.partial(score_robustness, sample=robustness_sample) if measured else None
        study = _with_robustness(study, opened, read, split, measure, progress)
    specs = {result.name: spec_of(entry.model) for entry, result in opened}
    results = [replace(r, details={**r.details, **_origin(specs[r.name])}) if r.name in specs else r for r in results]
    about = machine.describe()
    write_report(
        results,
        study,
        out,
        title=title or f"Facial expression recognition on {table.name}",
        provenance={
            "Command": command,
            "Data": f"{table.name}, {len(table):,} rows, fingerprint {table.fingerprint}",
            "Evaluated on": f"{split}, {n:,} rows",
            "Models": {result.name: specs[result.name].sha256[:12] or "run folder" for _, result in opened},
            "Machine": about["processor"],
            "Versions": about["versions"],
            "Commit": machine.commit(about),
            "Date": time.strftime("%Y-%m-%d"),
        },
    )
    return results


def _entries(names: Sequence[str]) -> list[Entry]:
    if not names:
        raise UsageError("a report needs a model: a run folder, an .onnx file or a name of `moue models`.")
    if len(set(names)) < len(names):
        raise UsageError(f"each model is reported once. Got {', '.join(names)} instead.")
    entries = [Entry(name, name if (run := run_of(name)) is None else run) for name in names]
    require_distinct_names(entries)
    for entry in entries:
        try:
            spec_of(entry.model)
        except UnknownName:
            raise
        except MoueError:
            continue  # Why it cannot be opened stands in its place on the page.
    return entries


def _statement(table: ImageTable, data: str) -> str:
    """Where the images come from, as far as that is known."""
    if is_synthetic(data):
        return DRAWN
    if not is_fer2013(table):
        return NO_STATEMENT
    return FERPLUS_STATEMENT if table.label_set == FERPLUS else FER2013_STATEMENT


def _require_no_overwrite(entries: Sequence[Entry], data: str, reading: ReadingOptions, out: Path) -> None:
    inputs = source_files(data, reading.votes)
    for entry in entries:
        with suppress(MoueError):
            inputs += files_of(entry.model)
    require_no_overwrite((out / name for name in FILES), inputs)


def _with_errors(study: Study, results: Sequence[ModelResult]) -> Study:
    """Hardest images, confusions, and label noise."""
    ranked, agreement = rank(results), label_agreement(study.part)
    by_agreement = {}
    if agreement is not None:
        by_agreement = {
            result.name: accuracy_by_agreement(result.correct, agreement)
            for result in results
            if result.correct is not None
        }
    absent = (
        [] if agreement is not None else ["Label noise is not shown: it needs FER+'s votes beside FER-2013's labels."]
    )
    return replace(
        study,
        hardest=hardest(ranked, HARDEST),
        confused=most_confused(ranked, CONFUSIONS, OF_EACH),
        agreement=agreement,
        accuracy_by_agreement=by_agreement,
        absent=[*study.absent, *absent],
    )


def _with_networks(study: Study, opened: Sequence[tuple[Entry, ModelResult]]) -> Study:
    """The blocks of the networks, and augmented images, where torch is installed."""
    if find_spec("torch") is None:
        text = (
            "The networks' blocks and augmented images are not shown: they need torch. Type: pip install 'moue[train]'"
        )
        return replace(study, absent=[*study.absent, text])
    from moue.training.augment import preview

    found, absent = {}, list(study.absent)
    for entry, result in opened:
        try:
            found[result.name] = _architecture(entry.model)
        except MoueError as error:
            absent.append(f"The blocks of {result.name} are not shown: {error}")
    return replace(study, architectures=found, absent=absent, augment=preview)


def _architecture(model: str | Path) -> Any:
    """The blocks of a model's network, which has as many weights as its spec says.

    Raises:
        MoueError: where the network is not known, or cannot be built.
    """
    from moue.models.blocks import architecture

    spec = spec_of(model)
    if members := spec.trained.get("members"):
        raise UsageError(f"it combines {len(members)} networks. Report on them by their names.")
    try:
        name, options = architecture_of(model)
    except MoueError:
        # Without its weights for torch: the network of that name with its default options, if it is that one.
        name, options = spec.network, {}
    found = architecture(name, len(spec.labels), **options)
    if spec.parameters and found.parameters != spec.parameters:
        raise UsageError(
            f"its file does not say with which options {spec.network} was built. Install its weights for torch (pip "
            "install 'moue[models]'), or give the folder of its run."
        )
    return found


def _with_explanations(
    study: Study,
    opened: Sequence[tuple[Entry, ModelResult]],
    read: Callable[[int, Color], ImageTable],
    split: str,
    per_class: int,
    seed: int,
    progress: ProgressFactory,
) -> Study:
    """Heatmaps of correctly classified images, by occlusion, which works with any model."""
    best = rank([result for _, result in opened])[0]
    model = next(entry.model for entry, result in opened if result is best)
    explainer = Explainer(model)
    spec = explainer.spec
    part, _ = rows_of(read(spec.size, spec.color), split, model)
    truth, correct = truth_of(part, spec), best.correct
    assert correct is not None
    rng, chosen = np.random.default_rng(seed), []
    for k in range(len(spec.labels)):
        chosen += rng.permutation(np.flatnonzero(correct & (truth == k)))[:per_class].tolist()
    explained = []
    with progress("explaining", "images") as step:
        for done, row in enumerate(chosen, start=1):
            image = to_inputs(part.images[row][None], spec.size, spec.color)[0]
            found = explainer.explain(image, spec.labels[truth[row]])
            painted = overlay(image, found.heatmap)
            explained.append(ExplainedImage(image, painted, found.label, found.probability, found.remark is None))
            step(done, len(chosen))
    return replace(study, explained=explained, explained_model=best.name)


def _with_robustness(
    study: Study,
    opened: Sequence[tuple[Entry, ModelResult]],
    read: Callable[[int, Color], ImageTable],
    split: str,
    measure: Callable[..., Robustness] | None,
    progress: ProgressFactory,
) -> Study:
    """The robustness that is measured now, or the one that a model has on record."""
    found: dict[str, Robustness] = {}
    recorded: dict[str, str] = {}
    absent = list(study.absent)
    for entry, result in opened:
        if measure is not None:
            model = open_any(entry.model)
            part, _ = rows_of(read(model.spec.size, model.spec.color), split, entry.model)
            with progress(f"corrupting for {result.name}", "images") as step:
                found[result.name] = measure(model, part, progress=step)
        elif record := spec_of(entry.model).robustness:
            found[result.name] = Robustness.from_record(record)
            recorded[result.name] = str(record.get("split", "test"))
    if missing := [result.name for _, result in opened if result.name not in found]:
        absent.append(
            f"How {join(missing)} would read corrupted images was not measured. Add --robustness, which takes 65 times "
            "as long, or --robustness-sample 300."
        )
    return replace(study, robustness=found, robustness_recorded=recorded, absent=absent)


def _origin(spec: ModelSpec) -> Mapping[str, Any]:
    """What a model's file says of its training, for the page."""
    data, trained = spec.trained.get("data", {}), spec.trained
    rows = {}
    if data:
        held_out = data.get("validation") or 0
        rows["trained on"] = f"{data.get('name')}, {data.get('train') or 0:,} images, {held_out:,} held out"
    for key in ("init", "teachers"):
        if value := trained.get(key):
            rows["started from" if key == "init" else "learned from"] = value if key == "init" else ", ".join(value)
    if trained.get("moue"):
        rows["trained with"] = f"moue {trained['moue']}"
    return {**rows, **({"license": spec.license} if spec.license else {})}

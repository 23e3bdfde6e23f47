"""The report on disk: a comparison's page with the data, the networks, the errors and the limits around it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.data.table import ImageTable
from moue.evaluation.hard_images import ConfusedPair, HardImage
from moue.evaluation.label_agreement import LabelAgreement
from moue.evaluation.model_result import ModelResult
from moue.evaluation.ranking import compare_models
from moue.evaluation.robustness import Robustness
from moue.files import atomic_write_many
from moue.labels import FERPLUS
from moue.report import charts
from moue.report.diagram import block_diagram
from moue.report.figures import Figure, comparison_figures, model_figures
from moue.report.findings import verdict
from moue.report.format import percent
from moue.report.image_grid import Tile, image_grid
from moue.report.plots import robustness_by_severity
from moue.report.render import render
from moue.report.write import check_results, existing_figures, jsonable, results_content, slugs_of

#: What :func:`write_report` writes beside its figures.
FILES = ("report.html", "report.md", "report.json")

#: What a report cannot say, on each page.
LIMITS = (
    "A model names the expression that a face shows to onlookers, not what a person feels. Do not decide about a "
    "person by it.",
    "The scores hold for images like these: other cameras, light, ages and cultures need images of their own. "
    "`moue audit` compares groups of people in them.",
    "Labels are what annotators saw, and they disagree. A model that has learned one way of labeling scores lower on "
    "another without reading faces worse.",
    "The intervals are of these images alone. No model was trained again for this page: another seed, or other "
    "training images, would change its scores, too. `moue compare --seeds` measures by how much.",
    "Scores hold for images that chose nothing. Where these images also chose a model, an epoch or a setting, the "
    "scores are too high, and nothing here can tell.",
)

#: Where the images come from.
_FER2013 = (
    "FER-2013 (Goodfellow et al., 2013) was collected by searching the web for words of emotions. {labels} The images "
    "belong to their owners and were published for research. Whether the persons in them agreed is not known, and "
    "neither are their age, sex, skin and culture: nothing here says for whom a model works."
)
FER2013_STATEMENT = _FER2013.format(
    labels="A label comes from that search and not from someone who judged the face; people removed some wrong ones."
)
FERPLUS_STATEMENT = _FER2013.format(
    labels="The labels are those of FER+ (Barsoum et al., 2016), for which ten people named the expression of each "
    "image."
)
DRAWN = "A program drew these faces and chose their labels: what a model scores on them says nothing about photos."
NO_STATEMENT = (
    "The data do not say where these images come from, who labeled them, who may use them, whether the persons in "
    "them agreed, and who these are. A reader needs to know: say it beside this report."
)


@dataclass(frozen=True)
class ExplainedImage:
    """An image, and what its prediction depends on."""

    image: NDArray[np.uint8]
    """uint8 ``(C, S, S)``."""
    heatmap: NDArray[np.uint8]
    """uint8 ``(S, S, 3)``: the image under its heatmap."""
    label: str
    probability: float
    faithful: bool
    """Whether deleting what the heatmap marks lowers the probability faster than deleting at random."""


@dataclass(frozen=True)
class Study:
    """What a report shows beside the models' results. What could not be had is empty."""

    table: ImageTable
    """The whole data set."""
    part: ImageTable
    """The rows that all models were evaluated on."""
    description: Mapping[str, Any]
    """Of :func:`moue.data.info.describe`."""
    statement: str = NO_STATEMENT
    """Where the images come from."""
    augment: charts.Augment | None = None
    architectures: Mapping[str, Any] = field(default_factory=dict)
    """By the names of the models that have it: :class:`moue.models.blocks.Architecture`."""
    hardest: Sequence[HardImage] = ()
    confused: Sequence[ConfusedPair] = ()
    agreement: LabelAgreement | None = None
    accuracy_by_agreement: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """By model: on the images whose label most annotators share, and on the others."""
    explained: Sequence[ExplainedImage] = ()
    explained_model: str = ""
    robustness: Mapping[str, Robustness] = field(default_factory=dict)
    """By model."""
    robustness_recorded: Mapping[str, str] = field(default_factory=dict)
    """The split of those that were not measured for this report but taken from a model's file, by model."""
    absent: Sequence[str] = ()
    """What is not in the report, and what to type for it, as sentences."""


def write_report(
    results: Sequence[ModelResult],
    study: Study,
    out: Path | str,
    *,
    title: str,
    provenance: Mapping[str, Any],
) -> list[Path]:
    """Write ``report.html``, ``report.md``, ``report.json`` and ``figures/*.svg|png``; all of them, or none.

    The same results give the same bytes, but for the date in ``provenance``.

    Args:
        results: of the models, in the order to show.
        study: what is shown around them.
        out: the folder, made where it is missing. Figures of an older report that this one does not have are deleted.
        title: of the page.
        provenance: how it was made, in the order to show.

    Returns:
        The files, the page first.

    Raises:
        UsageError: as :func:`moue.report.write.write_comparison`.
        MissingExtra: without matplotlib or jinja2.
        OSError: when a file cannot be written.
    """
    check_results(results)
    out = Path(out)
    pairs = compare_models(results)
    slugs = slugs_of([result.name for result in results])
    shared = comparison_figures(results)
    own = {result.name: model_figures(result, slugs[result.name]) for result in results}
    sections = _sections(study)
    further = {
        "study": study,
        "sections": sections,
        "limits": LIMITS,
        "agreement_titles": [*FERPLUS.labels, "no majority"],
        "networks": _networks(study),
        "description": study.description,
        "corruptions": list(dict.fromkeys(n for found in study.robustness.values() for n in found.by_corruption())),
    }
    findings = verdict(results, pairs)
    html, markdown = render(
        results,
        pairs,
        findings,
        shared,
        own,
        slugs,
        title=title,
        provenance=provenance,
        template="report",
        further=further,
    )
    content = {
        "title": title,
        "verdict": [finding._asdict() for finding in findings],
        **_content(study),
        **_without_times(results_content(results, pairs)),
        "absent": list(study.absent),
        "provenance": provenance,
    }
    figures = [*shared, *_flat(own.values()), *_flat(sections.values())]
    contents = {
        out / "report.html": html.encode(errors="replace"),
        out / "report.md": markdown.encode(errors="replace"),
        out / "report.json": (json.dumps(jsonable(content), indent=2, ensure_ascii=False) + "\n").encode(
            errors="replace"
        ),
        **{
            out / "figures" / f"{figure.name}.{kind}": drawn
            for figure in figures
            for kind, drawn in figure.drawing._asdict().items()
        },
    }
    old = existing_figures(out / "report.md")
    written = atomic_write_many(contents)
    for path in old.difference(written):
        path.unlink(missing_ok=True)
    return written


def _flat(groups: Any) -> list[Figure]:
    return [figure for figures in groups for figure in figures]


def _sections(study: Study) -> dict[str, list[Figure]]:
    """The figures around the results, by section."""
    return {
        "data": _data_figures(study),
        "methods": _diagrams(study),
        "errors": _error_figures(study),
        "explanations": _explanations(study),
        "robustness": _robustness(study),
    }


def _data_figures(study: Study) -> list[Figure]:
    captions = {
        "classes_bar": "Images of each class and split.",
        "classes_pie": "Shares of the classes; the numbers are those of the key.",
        "samples": "Images of each class, drawn at random.",
        "augmented": "Augmentation, as training does it by default: the first image of a row is as it is.",
    }
    splits = study.description["splits"]
    counts = "; ".join(f"{s}: " + ", ".join(f"{n} {name}" for name, n in c.items()) for s, c in splits.items())
    return [
        Figure(
            f"data-{name.replace('_', '-')}",
            drawing,
            captions[name],
            f"{captions[name]} {counts}" if name.startswith("classes") else captions[name],
            kind="photos" if name in ("samples", "augmented") else "plot",
        )
        for name, drawing in charts.drawings(study.table, study.augment).items()
    ]


def _networks(study: Study) -> list[dict[str, Any]]:
    """Each distinct network once, with the models that have it."""
    found: list[dict[str, Any]] = []
    for model, architecture in study.architectures.items():
        same = next((entry for entry in found if entry["architecture"] == architecture), None)
        if same is not None:
            same["models"].append(model)
        else:
            known = any(entry["architecture"].network == architecture.network for entry in found)
            found.append({"architecture": architecture, "models": [model], "known": known})
    slugs = slugs_of([f"network-{i}-{entry['architecture'].network}" for i, entry in enumerate(found, start=1)])
    return [entry | {"slug": slug} for entry, slug in zip(found, slugs.values(), strict=True)]


def _diagrams(study: Study) -> list[Figure]:
    figures = []
    for entry in _networks(study):
        network = entry["architecture"]
        steps = " → ".join(block.name for block in network.blocks)
        caption = f"{network.network}, block by block; the darker, the more of its weights are there."
        drawing = block_diagram(network)
        figures.append(Figure(entry["slug"], drawing, caption, f"Blocks of {network.network}: {steps}"))
    return figures


def _error_figures(study: Study) -> list[Figure]:
    figures = []
    if study.hardest:
        caption = "The images whose label the models find least probable, the hardest first."
        tiles = [_tile(study, image) for image in study.hardest]
        words = "; ".join(f"{image.truth} predicted as {image.predicted}" for image in study.hardest)
        drawing = image_grid(tiles, "Hardest images")
        figures.append(Figure("errors-hardest", drawing, caption, f"{caption} {words}", kind="photos"))
    for i, pair in enumerate(study.confused, start=1):
        caption = (
            f"{pair.truth} predicted as {pair.predicted}: {percent(pair.share)} of the class ({pair.n:,}); the most "
            "confident predictions first."
        )
        title = f"{pair.truth} → {pair.predicted}"
        drawing = image_grid([_tile(study, image) for image in pair.images], title)
        figures.append(Figure(f"errors-confused-{i}", drawing, caption, caption, kind="photos"))
    return figures


def _tile(study: Study, image: HardImage) -> Tile:
    lines = (image.truth, f"{image.predicted} {min(image.probability, 0.99):.0%}", study.part.source[image.row])
    return Tile(study.part.images[image.row], (lines[0], lines[1], lines[2][-20:]))


def _explanations(study: Study) -> list[Figure]:
    if not study.explained:
        return []
    tiles = []
    for e in study.explained:
        tiles.append(Tile(e.image, (e.label, f"{min(e.probability, 0.99):.0%}")))
        tiles.append(Tile(e.heatmap, ("its evidence", "" if e.faithful else "not faithful")))
    caption = (
        f"What {study.explained_model} goes by: correctly classified images, and beside each what lowers the "
        "probability of its class when it is covered (orange) or raises it (blue). A heatmap that is called not "
        "faithful is no better than a random one."
    )
    words = ", ".join(e.label for e in study.explained)
    drawing = image_grid(tiles, "Evidence for the predicted class")
    return [Figure("explanations", drawing, caption, f"{caption} Shown: {words}", kind="photos")]


def _robustness(study: Study) -> list[Figure]:
    if not study.robustness:
        return []
    caption = "Accuracy over the severity of a corruption, averaged over all; 0 is the images as they are."
    words = "; ".join(
        f"{name}: mean corruption error {percent(found.mean_corruption_error)}"
        for name, found in study.robustness.items()
    )
    return [Figure("robustness", robustness_by_severity(study.robustness), caption, f"{caption} {words}")]


def _content(study: Study) -> dict[str, Any]:
    """The study for JSON."""
    source = study.part.source
    return {
        "data": {**study.description, "statement": study.statement},
        "networks": [{"models": entry["models"], **entry["architecture"].to_dict()} for entry in _networks(study)],
        "hardest": [{**image._asdict(), "source": source[image.row]} for image in study.hardest],
        "most_confused": [
            {**pair._asdict(), "images": [{**image._asdict(), "source": source[image.row]} for image in pair.images]}
            for pair in study.confused
        ],
        "label_agreement": study.agreement and study.agreement.to_dict(),
        "accuracy_by_agreement": {
            name: {"agreeing": a, "others": b} for name, (a, b) in study.accuracy_by_agreement.items()
        },
        "explanations": [
            {"label": e.label, "probability": round(e.probability, 5), "faithful": e.faithful} for e in study.explained
        ],
        "robustness": {
            name: {**found.to_dict(), "recorded_on": study.robustness_recorded.get(name)}
            for name, found in study.robustness.items()
        },
    }


def _without_times(content: dict[str, Any]) -> dict[str, Any]:
    """Without how long the evaluation took, which differs from one run to the next."""
    for row in content["rows"]:
        if row["evaluation"]:
            row["evaluation"].pop("seconds", None)
    return content

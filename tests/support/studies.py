"""Made-up reports and audits, for pages that no model is run for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moue.data.info import describe
from moue.data.readers.synth import synthetic
from moue.evaluation.audit import AuditedImages, audit
from moue.evaluation.audit_model import AuditResult
from moue.evaluation.group_file import Groups
from moue.evaluation.hard_images import hardest, most_confused
from moue.evaluation.label_agreement import accuracy_by_agreement, label_agreement
from moue.evaluation.model_result import ModelResult
from moue.evaluation.robustness import CorruptedScore, Robustness
from moue.labels import FERPLUS
from moue.models.blocks import architecture
from moue.report.study import DRAWN, ExplainedImage, Study
from moue.spec import ModelSpec


def robust(accuracy: float, corruptions: tuple[str, ...] = ("blur", "noise")) -> Robustness:
    scores = [
        CorruptedScore(name, s, 1.0, accuracy - s / 10, 0.5, 0.1, s / 10, None if s == 5 else 0.8)
        for name in corruptions
        for s in range(1, 6)
    ]
    return Robustness(90, CorruptedScore(None, 0, None, accuracy, 0.5, 0.1, 0.1, 0.9), tuple(scores))


def study_of(results: list[ModelResult]) -> Study:
    """All sections, over the models "a <b>" and "b"."""
    table = synthetic(600, 2)
    votes = np.eye(8, dtype=np.float32)[np.random.default_rng(0).integers(0, 8, 600)]
    table = replace(table, votes=votes)
    agreement = label_agreement(table)
    assert agreement is not None
    heatmap = np.full((192, 192, 3), 200, np.uint8)
    return Study(
        table,
        table,
        describe(table),
        statement=DRAWN,
        augment=lambda images: 255 - images,
        architectures={"a <b>": architecture("compact", 7), "b": architecture("compact", 7)},
        hardest=hardest(results, 9),
        confused=most_confused(results, 2, 3),
        agreement=agreement,
        accuracy_by_agreement={
            result.name: accuracy_by_agreement(result.correct, agreement)
            for result in results
            if result.correct is not None
        },
        explained=[ExplainedImage(table.images[0], heatmap, "happy", 0.7, False)],
        explained_model="a <b>",
        robustness={"a <b>": robust(0.8), "b": robust(0.7)},
        absent=["This is absent: type that."],
    )


def audit_of(n: int = 240) -> AuditResult:
    """Groups that intersect, one of two images, photos without a face, and columns that are called as other parts of
    the page are. No face shows contempt; all that show disgust are read wrong, all happy ones right.
    """
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 7, n)
    predicted = np.where(rng.random(n) < 0.6, truth, rng.integers(0, 7, n))
    happy, disgust = FERPLUS.labels.index("happy"), FERPLUS.labels.index("disgust")
    predicted[truth == happy], predicted[truth == disgust] = happy, 0
    predicted[:4] = -1
    brightness = rng.random(n)
    images = AuditedImages(FERPLUS.labels, truth, predicted, rng.random(n) < 0.2, {"brightness": brightness})
    age = rng.choice(["18-29", "30 and above <b>"], n)
    age[4:6], age[6:9] = "under 18", ""
    limits = rng.choice(["b", "b-c"], n)
    columns = {"age": age.tolist(), "limits": limits.tolist(), "brightness": rng.choice(["day", "night"], n).tolist()}
    columns["age × limits"] = [f"{a} × {b}" if a else "" for a, b in zip(age, limits, strict=True)]
    persons = np.arange(n) // 2
    spec = ModelSpec(name="tiny | b", network="compact", labels=FERPLUS.labels, size=48)
    found = audit(images, columns, persons, resamples=199)
    return AuditResult(found, spec, "faces", "0" * 32, None, "centerface", Groups(columns, persons, 1, 3), 2, {})

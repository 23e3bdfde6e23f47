"""Learning from finished runs and other models."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import SMALL
from torch import Tensor

from moue.data.readers.synth import synthetic
from moue.data.table import ImageTable
from moue.errors import UsageError
from moue.export import export
from moue.labels import LabelSet
from moue.models.base import Network
from moue.models.load import load_run
from moue.runtime import weights
from moue.runtime.weights import find_model
from moue.trained.network import open_network
from moue.trained.split_of import split_of
from moue.training import checkpoints, teachers
from moue.training.batch import Batch
from moue.training.loop import fit
from moue.training.progress import Status
from moue.training.provenance import BEGUN, LICENSE, PUBLISHED, TAUGHT, of_teacher
from moue.training.tasks import DistillationTask, TaskOutput
from moue.training.teachers import teacher_mask


def test_a_student_learns_from_teachers_and_does_not_carry_them(table: ImageTable, tmp_path: Path) -> None:
    teacher = fit(
        SMALL.override(["optim.name=muon", "optim.lr=0.1", "data.augment=false"]), table, tmp_path / "teacher"
    )
    learn = ["optim.epochs=1", "optim.name=muon", "optim.lr=0.1", "data.augment=false", "optim.teacher_weight=1"]
    taught = SMALL.override([*learn, f"optim.teachers=[{teacher.folder}]"])
    wrong = replace(table, labels=np.roll(table.labels, 1))
    student = fit(taught, wrong, tmp_path / "student")
    sizes = [(tmp_path / n / "checkpoints" / "last.safetensors").stat().st_size for n in ("teacher", "student")]
    assert sizes[1] < sizes[0] * 1.05
    test = synthetic(400, seed=5)
    predicted = [load_run(r.folder).logits(test.images).argmax(1) for r in (teacher, student)]
    agree = float((predicted[0] == predicted[1]).mean())
    assert agree > 0.4, "it learned from the labels alone, which say nothing"
    # The same as a model without its run: one graph, no torch weights.
    export(teacher.folder, tmp_path / "teacher.onnx")
    alone = fit(taught.override([f"optim.teachers=[{tmp_path / 'teacher.onnx'}]"]), wrong, tmp_path / "alone")
    again = load_run(alone.folder).logits(test.images).argmax(1)
    assert float((again == predicted[0]).mean()) > 0.4
    assert alone.spec().trained["teachers"] == ["teacher.onnx"]
    two = LabelSet("folders", ("smile", "none"))
    own = ImageTable(table.images, (table.labels == 3).astype(np.int64), table.split, table.source, two)
    with pytest.raises(UsageError, match="smile, none"):
        fit(taught, own, tmp_path / "other")


def test_a_member_of_full_teaches_and_its_license_binds_the_student(table: ImageTable, tmp_path: Path) -> None:
    # Weight 1: nothing but the member can teach that.
    settings = ["optim.epochs=4", "optim.teacher_weight=1", "data.augment=false", "optim.teachers=[full/mobile]"]
    run = fit(SMALL.override(settings), table, tmp_path / "run")
    spec = run.spec()
    assert "taught by a model that was begun with the face network of HSE_FaceRec_tf" in spec.license
    assert not any(clause.startswith("begun with") for clause in spec.license.split("; "))
    assert spec.trained["teachers"] == ["mobile"]
    images = synthetic(100, seed=5).images
    taught, teacher = (
        torch.from_numpy(model.logits(images)).div(2).softmax(1).mean(0)
        for model in (load_run(run.folder), open_network("full/mobile"))
    )
    assert torch.dist(taught, teacher) < 0.75 * torch.dist(torch.full((7,), 1 / 7), teacher)


def test_a_student_was_not_begun_with_what_its_teacher_was_begun_with() -> None:
    face, other = PUBLISHED.values()
    taught = [TAUGHT + clause.removeprefix(BEGUN) for clause in (face, other)]
    assert of_teacher(f"{LICENSE}; {face}; {other}") == "; ".join([LICENSE, *taught])
    assert of_teacher(f"own; {face}; {other}", [f"MIT; {face}"]) == f"own; {taught[1]}", (
        "its own start is not said twice"
    )
    assert of_teacher(taught[0]) == taught[0], "a student may teach, too"
    assert of_teacher("") == ""


def test_each_image_is_taught_by_the_teachers_that_held_it_out(table: ImageTable, tmp_path: Path) -> None:
    short = ["optim.epochs=1", "optim.steps=2"]
    halves = [
        fit(SMALL.override([*short, "data.validation=0.5", f"data.fold={fold}"]), table, tmp_path / f"{fold}")
        for fold in (0, 1)
    ]
    splits = [run.split(table) for run in halves]
    assert not set(splits[0].validation) & set(splits[1].validation)
    # A teacher without its run, too: its spec says which rows those were.
    export(halves[1].folder, tmp_path / "1.onnx")
    names = [str(halves[0].folder), str(tmp_path / "1.onnx")]
    again = split_of(names[1], table)
    assert again is not None
    assert (again.validation == splits[1].validation).all()
    mask = teacher_mask(names, table, splits[0].train)
    assert mask[:, 1].all()
    assert not mask[:, 0].any()
    taught = [*short, "optim.teacher_weight=1", "optim.teachers_out_of_fold=true"]
    student = fit(SMALL.override([*taught, f"optim.teachers=[{', '.join(names)}]"]), table, tmp_path / "student")
    assert student.finished
    with pytest.raises(UsageError, match=r"held out by no teacher\. Train one for each part"):
        fit(SMALL.override([*taught, f"optim.teachers=[{names[0]}, {names[0]}]"]), table, tmp_path / "half")
    with pytest.raises(UsageError, match="nothing says which rows"):
        fit(SMALL.override([*taught, f"optim.teachers=[{names[0]}, tiny]"]), table, tmp_path / "unknown")
    assert not (tmp_path / "half").exists()
    assert not (tmp_path / "unknown").exists()
    with pytest.raises(UsageError, match="needs two teachers or more"):
        SMALL.override([*taught, f"optim.teachers=[{names[0]}]"])


def test_teachers_see_the_views_before_they_are_damaged_and_the_damage_is_another_in_each_epoch(
    table: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = fit(SMALL.override(["optim.epochs=1", "optim.steps=1"]), table, tmp_path / "teacher")
    student, asked = list[Tensor](), list[Tensor]()
    learn, ask = DistillationTask.__call__, DistillationTask.teacher_probs

    def seen(self: DistillationTask, network: Network, batch: Batch, *rest: Any) -> TaskOutput:
        student.append(batch.images)
        return learn(self, network, batch, *rest)

    def seen_by_teacher(self: DistillationTask, images: Tensor, mask: Tensor | None = None) -> Tensor:
        asked.append(images)
        return ask(self, images, mask)

    monkeypatch.setattr(DistillationTask, "__call__", seen)
    monkeypatch.setattr(DistillationTask, "teacher_probs", seen_by_teacher)

    def views(*settings: str) -> tuple[list[Tensor], list[Tensor]]:
        student.clear()
        asked.clear()
        config = SMALL.override(["optim.epochs=2", "optim.steps=1", f"optim.teachers=[{teacher.folder}]", *settings])
        fit(config, table, tmp_path / "-".join(settings))
        return list(student), list(asked)

    plain, _ = views("optim.teacher_views=1")
    damage = "data.random_erasing=0.9", "data.degradation=0.5", "data.gamma=1"
    damaged, shown = views("optim.teacher_views=1", *damage)
    assert len(shown) == 1
    assert torch.equal(shown[0], plain[0])
    assert torch.equal(plain[0], plain[1])
    for a, b in [(damaged[0], plain[0]), (damaged[1], plain[1]), (damaged[0], damaged[1])]:
        assert (a - b).abs().mean() > 5
    late, _ = views("optim.teacher_views=1", *damage[1:], "data.degradation_from=0.5")
    assert torch.equal(late[0], plain[0])
    assert (late[1] - plain[1]).abs().mean() > 5
    mixed, shown = views("optim.mixup=0.3", *damage)
    assert len(shown) == 2
    assert not torch.equal(shown[0], mixed[0])


def test_a_resumed_run_asks_its_teachers_for_views_alone_that_it_has_not_seen(
    table: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = fit(SMALL.override(["optim.epochs=1", "optim.steps=1"]), table, tmp_path / "teacher")
    settings = ["optim.epochs=4", "optim.steps=2", "optim.teacher_views=3", f"optim.teachers=[{teacher.folder}]"]
    config, asked = SMALL.override([*settings, "data.augment=false"]), list[int]()
    ask = DistillationTask.teacher_probs

    def counted(self: DistillationTask, images: Tensor, mask: Tensor | None = None) -> Tensor:
        asked.append(len(images))
        return ask(self, images, mask)

    monkeypatch.setattr(DistillationTask, "teacher_probs", counted)
    whole = fit(config, table, tmp_path / "whole")
    assert len(asked) == 3 * 2
    kept = Path("checkpoints") / "teachers.safetensors"
    assert not (tmp_path / "whole" / kept).exists()

    def stop(status: Status) -> None:
        if status.epoch == 3 and not status.ended:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, table, tmp_path / "broken", progress=stop)

    def resume(name: str) -> tuple[int, bool]:
        """How many batches the teachers saw, and whether the weights are those of the run that was not broken."""
        asked.clear()
        run = fit(config, table, tmp_path / name, resume=True)
        assert not (run.folder / kept).exists()
        a, b = (load_file(r.folder / "weights.safetensors") for r in (whole, run))
        return len(asked), all(torch.equal(a[key], b[key]) for key in a)

    for name in ("damaged", "other"):
        shutil.copytree(tmp_path / "broken", tmp_path / name)
    assert resume("broken") == (2, True)
    # Damaged, or of something else: computed again.
    (tmp_path / "damaged" / kept).write_bytes(b"x")
    state: dict[str, Any] = checkpoints.load(tmp_path / "other" / kept)
    state["probabilities"] = {seed: probs * 0 for seed, probs in state["probabilities"].items()}
    checkpoints.save({**state, "origin": {**state["origin"], "teachers": ["0"]}}, tmp_path / "other" / kept)
    assert resume("damaged") == resume("other") == (4, True)


@pytest.mark.parametrize("name", ["tiny", "full"])
def test_a_shipped_model_teaches_in_torch_as_it_does_in_its_engine(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.from_numpy(synthetic(10, seed=2).images).float()
    asked: list[str] = []

    def on_the_cpu(own: str, device: str) -> Any:
        asked.append(device)
        return open_network(own, "cpu")

    monkeypatch.setattr(teachers, "open_network", on_the_cpu)
    labels = find_model(name).spec.labels
    [engine], [network] = (teachers.open_teachers([name], labels, device) for device in ("cpu", "cuda"))
    assert set(asked) == {"cuda"}, "a GPU does not wait for the CPU"
    with torch.no_grad():
        assert (network(images) - engine(images)).abs().max() < 2e-3


def test_a_model_without_weights_for_torch_teaches_in_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert teachers.in_torch("tiny-int8", "cpu") is None
    monkeypatch.setattr(weights, "models_folder", lambda: None)
    assert teachers.in_torch("tiny", "cpu") is None

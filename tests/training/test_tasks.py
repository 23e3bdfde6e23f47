"""The loss: equal to the textbook's where it is the textbook's, and each option changes what it should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from moue.models import create
from moue.models.base import InputSpec, Network
from moue.training.batch import Batch
from moue.training.config import OptimConfig
from moue.training.optimizers import build, schedule
from moue.training.tasks import AUXILIARY, ClassificationTask, DistillationTask, VotesTask, draw_mixup, mixup


class WithAux(Network):
    """Gives logits and two auxiliary ones, all fixed."""

    def __init__(self, logits: Tensor, auxiliary: list[Tensor]) -> None:
        super().__init__(InputSpec(), logits.shape[1])
        self.outputs = (logits, auxiliary)

    def forward_with_aux(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.outputs


def batch_of(labels: Tensor, images: Tensor | None = None, **fields: Tensor) -> Batch:
    images = torch.zeros(len(labels), 1, 48, 48) if images is None else images
    return Batch(images, labels, F.one_hot(labels, 7).float(), **fields)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(32, 7), torch.randint(0, 7, (32,))


def test_half_the_precision_leaves_class_weights_and_their_sum_as_they_are(batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    task = ClassificationTask(OptimConfig(), torch.tensor([1.0268, 9.4066, 1.0013, 0.5684, 0.8491, 1.2934, 0.826]))
    exact = task.loss(logits, batch_of(labels))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(task.loss(logits, batch_of(labels)), exact)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_plain_and_weighted_loss_equal_torchs(batch: tuple[Tensor, Tensor], smoothing: float) -> None:
    logits, labels = batch
    config = OptimConfig(label_smoothing=smoothing)
    ours = ClassificationTask(config).loss(logits, batch_of(labels))
    assert float(ours) == pytest.approx(float(F.cross_entropy(logits, labels, label_smoothing=smoothing)), abs=1e-6)
    weights = np.linspace(0.5, 2, 7).astype(np.float32)
    if not smoothing:
        ours = ClassificationTask(config, torch.from_numpy(weights)).loss(logits, batch_of(labels))
        assert float(ours) == pytest.approx(
            float(F.cross_entropy(logits, labels, weight=torch.from_numpy(weights))), abs=1e-6
        )


def test_logit_adjustment_adds_the_log_frequencies_to_the_logits_of_the_loss_alone(
    batch: tuple[Tensor, Tensor],
) -> None:
    logits, labels = batch
    frequencies = torch.tensor([0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17])
    task = ClassificationTask(OptimConfig(logit_adjustment=0.5), class_frequencies=frequencies)
    output = task(WithAux(logits, []), batch_of(labels), torch.Generator())
    expected = F.cross_entropy(logits + 0.5 * frequencies.log(), labels)
    assert float(output.loss) == pytest.approx(float(expected), abs=1e-6)
    assert torch.equal(output.logits, logits)


def test_auxiliary_losses_count_with_their_weight(batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    network = WithAux(logits, [logits * 2, logits * -1])
    output = ClassificationTask(OptimConfig())(network, batch_of(labels), torch.Generator())
    expected = F.cross_entropy(logits, labels) + AUXILIARY * (
        F.cross_entropy(logits * 2, labels) + F.cross_entropy(-logits, labels)
    )
    assert float(output.loss) == pytest.approx(float(expected), abs=1e-5)
    assert torch.equal(output.logits, logits)


def test_votes_are_learned_with_the_labels_and_rows_without_votes_do_not_count() -> None:
    torch.manual_seed(1)
    logits, labels = torch.randn(6, 15), torch.arange(6)
    votes = torch.softmax(torch.randn(6, 8), 1)
    votes[4:] = 0
    task = VotesTask(OptimConfig(votes_weight=0.5))
    output = task(WithAux(logits, []), batch_of(labels, votes=votes), torch.Generator())
    expected = F.cross_entropy(logits[:, :7], labels) + 0.5 * F.cross_entropy(logits[:4, 7:], votes[:4])
    assert float(output.loss) == pytest.approx(float(expected), abs=1e-5)
    assert torch.equal(output.logits, logits[:, :7])
    alone = task(WithAux(logits, []), batch_of(labels, votes=torch.zeros(6, 8)), torch.Generator())
    assert float(alone.loss) == pytest.approx(float(F.cross_entropy(logits[:, :7], labels)), abs=1e-5)


class Seen(WithAux):
    """Keeps the images that it was shown."""

    def forward(self, pixels: Tensor) -> Tensor:
        self.pixels = pixels
        return self.outputs[0]


def test_a_student_like_its_teacher_has_nothing_to_learn_and_both_see_the_same_view(
    batch: tuple[Tensor, Tensor],
) -> None:
    logits, labels = batch
    config = OptimConfig(teacher_weight=1.0, teacher_temperature=3.0)
    images = torch.rand(32, 1, 48, 48) * 255

    def loss(student: Tensor, teachers: list[Tensor], images: Tensor = images) -> tuple[float, list[Seen]]:
        networks = [Seen(t, []) for t in teachers]
        task = DistillationTask(ClassificationTask(config), networks, config)
        mixed = mixup(batch_of(labels, images), *draw_mixup(32, 0.3, torch.Generator().manual_seed(2)))
        output = task(WithAux(student, []), mixed, torch.Generator().manual_seed(2))
        return float(output.loss), networks

    assert loss(logits, [logits])[0] == pytest.approx(0, abs=1e-5)
    other = torch.randn(32, 7)
    soft = [F.softmax(t / 3, 1) for t in (logits, other)]
    student = F.log_softmax(other / 3, 1)
    expected = 9 * F.kl_div(student, (soft[0] + soft[1]) / 2, reduction="batchmean")
    got, networks = loss(other, [logits, other])
    assert got == pytest.approx(float(expected), abs=1e-5)
    shown = mixup(batch_of(labels, images), *draw_mixup(32, 0.3, torch.Generator().manual_seed(2)))
    assert torch.equal(networks[1].pixels, shown.images)
    _, [small] = loss(other, [logits], torch.rand(32, 1, 32, 32))
    assert small.pixels.shape == (32, 1, 48, 48), "a teacher sees the size that it was trained for"


def test_a_small_student_does_not_blur_what_its_teachers_see(batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    config = OptimConfig()
    student, teacher = Seen(logits, []), Seen(logits, [])
    student.forward_with_aux = lambda pixels: (student(pixels), [])  # type: ignore[method-assign]
    images = torch.rand(32, 1, 48, 48) * 255
    DistillationTask(ClassificationTask(config), [teacher], config)(
        student, batch_of(labels, images), torch.Generator(), 32
    )
    assert student.pixels.shape == (32, 1, 32, 32)
    assert torch.equal(teacher.pixels, images)


def test_teacher_probabilities_are_computed_once_for_views_that_come_again(batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    images = torch.rand(32, 1, 48, 48) * 255

    def calls(config: OptimConfig) -> int:
        shown: list[Tensor] = []
        teacher = Seen(logits, [])
        teacher.register_forward_hook(lambda module, inputs, output: shown.append(inputs[0]))
        task = DistillationTask(ClassificationTask(config), [teacher], config)
        losses = [
            float(task(WithAux(-logits, []), batch_of(labels, images), torch.Generator().manual_seed(s)).loss)
            for s in (1, 2, 1, 2)
        ]
        assert losses[:2] == losses[2:]
        assert losses[0] > 0
        return len(shown)

    assert calls(OptimConfig(teacher_views=2)) == 2
    assert calls(OptimConfig()) == 4


def test_teachers_that_were_asked_before_a_step_are_not_asked_in_it(batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    config, generator = OptimConfig(teacher_temperature=3.0), torch.Generator()
    images = torch.rand(32, 1, 48, 48) * 255
    task = DistillationTask(ClassificationTask(config), [Seen(logits, [])], config)
    asked = task(WithAux(-logits, []), batch_of(labels, images), generator).loss
    probs = F.softmax(logits / 3, 1)
    silent = DistillationTask(ClassificationTask(config), [], config)
    given = silent(WithAux(-logits, []), batch_of(labels, images, teacher_probs=probs), generator).loss
    torch.testing.assert_close(given, asked)


def test_out_of_fold_an_image_is_taught_by_those_alone_that_held_it_out(batch: tuple[Tensor, Tensor]) -> None:
    class PerImage(Seen):
        """Its logits stand in the images themselves, so that they follow the rows."""

        def forward(self, pixels: Tensor) -> Tensor:
            self.pixels = pixels
            return pixels[:, 0, 0, :7] * self.outputs[0][0, 0]

    logits, labels = batch
    images, mask = torch.rand(32, 1, 48, 48) * 3, torch.zeros(32, 2)
    mask[:20, 0] = mask[20:, 1] = 1
    one, other = (PerImage(torch.full((1, 7), sign), []) for sign in (1.0, -1.0))
    config = OptimConfig(
        teachers=("a", "b"), teachers_out_of_fold=True, teacher_weight=1, teacher_temperature=1, votes_weight=0.5
    )
    student = torch.cat([logits, torch.zeros(32, 8)], 1)
    task = DistillationTask(VotesTask(config), [one, other], config)
    batch_with_mask = batch_of(labels, images, votes=torch.zeros(32, 8), teacher_mask=mask)
    got = task(WithAux(student, []), batch_with_mask, torch.Generator())
    shown = images[:, 0, 0, :7]
    expected = F.softmax(torch.cat([shown[:20], -shown[20:]]), 1)
    assert float(got.loss) == pytest.approx(
        float(F.kl_div(F.log_softmax(logits, 1), expected, reduction="batchmean")), abs=1e-5
    )
    assert torch.equal(one.pixels, images[:20]), "a teacher does not see what it may not teach"
    assert torch.equal(other.pixels, images[20:])


def test_a_gray_teacher_teaches_a_student_of_colors(batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    teacher = Seen(logits, [])
    images = torch.rand(32, 3, 48, 48) * 255
    task = DistillationTask(ClassificationTask(OptimConfig()), [teacher], OptimConfig())
    task(WithAux(logits, []), batch_of(labels, images), torch.Generator())
    luma = 0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2]
    assert torch.allclose(teacher.pixels[:, 0], luma, atol=1e-3)


def test_mixup_mixes_images_and_targets_alike() -> None:
    images = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 4, 4)
    batch = Batch(images, torch.arange(8), torch.eye(8), votes=2 * torch.eye(8), teacher_mask=3 * torch.eye(8))
    mixed = mixup(batch, *draw_mixup(8, 0.4, torch.Generator().manual_seed(3)))
    soft = mixed.targets
    assert torch.allclose(soft.sum(1), torch.ones(8))
    assert torch.allclose(mixed.images[:, 0, 0, 0], soft @ torch.arange(8.0), atol=1e-5)
    assert not torch.equal(soft, batch.targets)
    assert mixed.votes is not None
    assert mixed.teacher_mask is not None
    assert torch.allclose(mixed.votes, 2 * soft)
    assert torch.allclose(mixed.teacher_mask, 3 * soft)


@pytest.mark.parametrize("name", ["vit", "googlenet", "vit-compact"])
def test_layer_decay_reaches_into_what_holds_the_layers(name: str) -> None:
    small: dict[str, dict[str, object]] = {"googlenet": {"width": 0.125}, "vit-compact": {"dim": 24, "heads": 2}}
    options = small.get(name, {})
    if name == "vit":
        shape = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
        options = {"architecture": {"model_type": "vit", **shape}, "pretrained": False, "trainable_layers": -1}
    network = create(name, 7, **options)
    optim = build(network, OptimConfig(name="adamw", lr=1.0, layer_decay=0.5))
    rates = [group["lr"] for group in optim.param_groups]
    assert len(set(rates)) >= 5
    assert max(rates) == 1.0
    assert sum(len(g["params"]) for g in optim.param_groups) == len(list(network.parameters()))


@pytest.mark.parametrize("name", ["constant", "cosine", "linear", "onecycle"])
def test_schedules_peak_at_one_and_end_near_zero(name: str) -> None:
    config = OptimConfig(schedule=name, warmup=0.2)  # type: ignore[arg-type]
    factors = [schedule(config, 100)(s) for s in range(100)]
    assert max(factors) == pytest.approx(1.0, abs=0.06)
    assert factors[0] < 0.1
    assert factors[-1] == (1.0 if name == "constant" else pytest.approx(0.0, abs=0.02))
    assert factors[:20] == sorted(factors[:20])


def test_decay_spares_norms_and_biases_and_layers_get_their_rates() -> None:
    network = create("compact", 7)
    groups = build(network, OptimConfig(name="sgd", weight_decay=0.1)).param_groups
    for group in groups:
        for p in group["params"]:
            assert (p.ndim > 1) == (group["weight_decay"] == 0.1)
    assert sum(len(g["params"]) for g in groups) == len(list(network.parameters()))
    layered = build(network, OptimConfig(name="adamw", lr=1.0, layer_decay=0.5)).param_groups
    assert sum(len(g["params"]) for g in layered) == len(list(network.parameters()))
    rate = {id(p): g["lr"] for g in layered for p in g["params"]}
    assert rate[id(network.classifier.weight)] == 1.0  # type: ignore[union-attr]
    stem = next(network.features.parameters())  # type: ignore[union-attr]
    assert rate[id(stem)] < 0.1

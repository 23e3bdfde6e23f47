"""What the steps of a run see: a process's part of each batch, augmented and mixed, or behind frozen layers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from moue.models.base import Network
from moue.models.devices import put
from moue.training.augment import Augment
from moue.training.batch import Batch
from moue.training.features import FeatureCache, view_name
from moue.training.prepare import Plan
from moue.training.processes import Part, part_of
from moue.training.sampler import augmentation_epoch, seed_anew
from moue.training.tasks import DistillationTask, draw_mixup, mixup
from moue.training.teacher_cache import TeacherCache


class Views:
    """The batches of a training.

    Args:
        plan: whose rows they are of.
        features: what its network's frozen layers give, where that is cached.
        teachers: what its teachers give, where that is cached.
        autocast: makes the context that the network runs in.
    """

    def __init__(
        self,
        plan: Plan,
        features: FeatureCache | None,
        teachers: TeacherCache | None,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.plan, self.features, self.teachers, self.autocast = plan, features, teachers, autocast
        self.augment = Augment(plan.config.data)
        self.gentle = Augment(replace(plan.config.data, gamma=0.0, degradation=0.0))
        self.own = len(part_of(plan.config.optim.batch_size).rows)

    def batch(
        self,
        epoch: int,
        step: int,
        rows: Tensor,
        flips: Tensor,
        part: Part,
        generator: torch.Generator,
        mixed: bool,
        degraded: bool,
    ) -> Batch:
        """This process's part of a batch.

        Args:
            epoch, step: from 0.
            rows, flips: of the whole batch, as :func:`~moue.training.sampler.draw_epoch` gives them.
            part: which of them are this process's.
            generator: of the step.
            mixed: whether images, or in their place features, are mixed, with others of the whole batch.
            degraded: whether images may be degraded, and their gray-level curves changed.

        Returns:
            Images, or in their place features ``(N, T, D)``.
        """
        own = part.rows
        if mixed:
            drawn = generator if self.features is None else seed_anew(self.plan.config, epoch, step)
            share, others = draw_mixup(part.total, self.plan.config.optim.mixup, drawn)
            if not part.whole:
                # The images that the own ones are mixed with may be another process's.
                own, others = torch.cat([own, others[own]]), torch.arange(len(own), 2 * len(own))
        batch = self.plan.train.take(put(rows[own], self.plan.device))
        whole = Part(part.total, own)
        augment = self.augment if degraded else self.gentle
        augmented = partial(augment, batch.images, generator, flips[own], whole)
        if self.features is None:
            if self.plan.config.optim.teachers and augment.damages:
                view = augment.view(batch.images, generator, flips[own], whole)
                damaged = augment.damage(view, seed_anew(self.plan.config, epoch, step), whole)
                batch = replace(batch, images=damaged, teacher_images=view)
            else:
                batch = replace(batch, images=augmented())
            return self._taught(mixup(batch, share, others) if mixed else batch, generator)
        name = view_name(augmentation_epoch(self.plan.config, epoch))
        tokens = self.features.get(name, step * self.own, len(own), lambda: self._frozen(augmented()))
        batch = replace(batch, images=tokens.to(self.plan.device).float())
        return mixup(batch, share, others) if mixed else batch

    def _taught(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The batch with what the teachers say of it, where there are any, and without what they alone need."""
        task = self.plan.task
        if not isinstance(task, DistillationTask):
            return batch
        with self.autocast():
            probs = task.cached_teacher_probs(batch, generator)
        return replace(batch, teacher_probs=probs, teacher_images=None, teacher_mask=None)

    def validation(self, network: Network, images: Tensor, first: int) -> Tensor:
        """Logits of some of this process's validation images, ``first`` of which come before them."""
        if self.features is None:
            return network(images)  # type: ignore[no-any-return]
        tokens = self.features.get("validation", first, len(images), lambda: self._frozen(images))
        return network(tokens.to(self.plan.device).float())  # type: ignore[no-any-return]

    def flush(self) -> None:
        """Write down what is cached so far."""
        for cache in (self.features, self.teachers):
            if cache is not None:
                cache.flush()

    def close(self) -> None:
        """Remove what is cached for this run alone."""
        self.flush()
        if self.features is not None and self.plan.config.run.features is None:
            self.features.delete()
        if self.teachers is not None:
            self.teachers.delete()

    def _frozen(self, images: Tensor) -> Tensor:
        """What the frozen layers give for images, in evaluation mode."""
        network = self.plan.network
        training = network.training
        network.eval()
        with torch.no_grad(), self.autocast():
            features = network.forward_frozen(images)
        network.train(training)
        return features

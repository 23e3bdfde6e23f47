"""The progress of a run: what the loop measures, and what it reports to a callback."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from moue.training import processes
from moue.training.processes import Part
from moue.training.tasks import TaskOutput


@dataclass(frozen=True)
class Status:
    """What a run reports while it trains."""

    epoch: int
    """From 1."""
    epochs: int
    step: int
    """From 1."""
    steps: int
    """Steps of an epoch."""
    loss: float
    """Running mean over the epoch."""
    accuracy: float
    """Running mean over the epoch, on augmented images."""
    images_per_second: float
    seconds_left: float
    validation_accuracy: float | None = None
    """Set on the last status of an epoch."""
    validation_loss: float | None = None
    ended: bool = False
    """Whether the epoch is over and validated."""


#: Called every ten steps, and at the end of each epoch.
ProgressCallback = Callable[[Status], None]


class Meter:
    """Loss, accuracy and speed of an epoch, and the time that is left.

    Args:
        first: the epoch that is trained first, from 0.
        epochs: of the whole run.
        steps: of an epoch.
        device: where the losses are.
    """

    def __init__(self, first: int, epochs: int, steps: int, device: torch.device) -> None:
        self.first, self.epochs, self.steps = first, epochs, steps
        self.totals = torch.zeros(3, device=device)
        """Sums over the epoch, of this process: of losses, of hits, of images."""
        self.run_began = self.epoch_began = time.monotonic()

    def start_epoch(self) -> None:
        """Reset the sums and the epoch's clock."""
        self.totals.zero_()
        self.epoch_began = time.monotonic()

    def add(self, output: TaskOutput, labels: Tensor, part: Part) -> None:
        """Count one step, of which ``labels`` are of this process's part."""
        hits = (output.logits.argmax(1) == labels).sum().float() * part.weight
        n = torch.full_like(hits, len(labels) * part.weight)
        loss = output.loss.detach().float() * (part.total / processes.count())
        self.totals += torch.stack([loss, hits, n])

    @property
    def seconds(self) -> float:
        """Since the epoch began."""
        return time.monotonic() - self.epoch_began

    @property
    def run_seconds(self) -> float:
        """Since the first epoch began."""
        return time.monotonic() - self.run_began

    def status(self, epoch: int, step: int) -> Status:
        """Where the run is after a step, both counted from 0; to be asked for in all processes at once."""
        loss, hits, n = processes.summed(self.totals).tolist()
        done = (epoch - self.first) * self.steps + step + 1
        left = (self.epochs - self.first) * self.steps - done
        return Status(
            epoch=epoch + 1,
            epochs=self.epochs,
            step=step + 1,
            steps=self.steps,
            loss=loss / n,
            accuracy=hits / n,
            images_per_second=n / max(self.seconds, 1e-9),
            seconds_left=self.run_seconds / done * left,
        )

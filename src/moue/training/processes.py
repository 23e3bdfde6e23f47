"""The processes that train one network together: those of a `torchrun` or of a cluster's job, or this one alone.

Each has all of the data, a replica of the network, and a part of each batch. What they draw, and what a loss is divided
by, belongs to the whole batch, so that the number of processes does not change what is trained.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from moue.errors import DataError, ModelError, MoueError, TrainingError, UsageError, quoted
from moue.models import devices

T = TypeVar("T")

#: Errors that are raised again as what they are in the processes that did not meet them.
_KINDS = (UsageError, DataError, ModelError, TrainingError)


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if count() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that writes files and reports."""
    return rank() == 0


def launched() -> int:
    """How many processes `torchrun` started; 1 where it did not start this one."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the other processes that `torchrun` started, if it started this one, and leave them at the end.

    Args:
        device: the configuration's ``run.device``. GPUs talk over NCCL, CPUs over gloo.

    Raises:
        UsageError: for a device on which several processes cannot train.
        TrainingError: when another process ends first.
    """
    if launched() == 1 or dist.is_initialized():
        with explain_lost_process():
            yield
        return
    own = device_of(device, launched())
    if own.type == "cuda":
        torch.cuda.set_device(own)
    with explain_lost_process():
        dist.init_process_group("cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo")
        try:
            yield
        finally:
            dist.destroy_process_group()


def device_of(name: str, processes: int | None = None) -> torch.device:
    """The device of a configuration's ``run.device`` for this process: of several on a machine, each has its own GPU.

    Raises:
        UsageError: as :func:`moue.models.devices.choose`; for a device on which several processes cannot train.
    """
    chosen = devices.choose(name)
    if (count() if processes is None else processes) == 1 or chosen.type == "cpu":
        return chosen
    local, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if chosen.type != "cuda" or ":" in name:
        raise UsageError(
            f"several processes train on CPUs, or on one GPU each. Got run.device={quoted(name)} instead. Type: --set "
            "run.device=cpu, or --set run.device=cuda"
        )
    if local >= gpus:
        raise UsageError(
            f"this machine has {gpus} GPU{'s' * (gpus != 1)} and more processes. Type: torchrun --nproc-per-node {gpus}"
        )
    return torch.device("cuda", local)


@contextmanager
def explain_lost_process() -> Iterator[None]:
    """What torch raises when another process has ended, as a `TrainingError` that says how to go on."""
    try:
        yield
    except RuntimeError as error:
        # Gloo's errors have no class of their own.
        text = f"{type(error).__name__} {error}".lower()
        if type(error).__module__.startswith("moue.") or not any(name in text for name in ("dist", "gloo", "nccl")):
            raise
        raise TrainingError(
            "another process of this training has ended; what it said, if anything, is above or in its log. The last "
            "checkpoint is kept: the same command with --resume resumes the run, with any number of processes."
        ) from error


def from_first(compute: Callable[[], T]) -> T:
    """What the first process computes, in all of them; an error of moue's is raised in all of them, too."""
    if count() == 1:
        return compute()
    box: list[Any] = [None, None, None]
    if is_first():
        try:
            box[0] = compute()
        except MoueError as error:
            box[1:] = next((kind for kind in _KINDS if isinstance(error, kind)), TrainingError), str(error)
    dist.broadcast_object_list(box, src=0)
    if box[1] is not None:
        raise box[1](box[2])
    value: T = box[0]
    return value


def require_equal(value: str, what: str) -> None:
    """Raise a `DataError` in all processes unless they have the same value, as a checksum of the data."""
    if count() == 1:
        return
    values: list[Any] = [None] * count()
    dist.all_gather_object(values, value)
    if other := [i for i, v in enumerate(values) if v != values[0]]:
        raise DataError(
            f"all processes must have the same {what}; process {other[0]} has another than process 0. Give the same "
            "options, and the same files, on each machine."
        )


def wait() -> None:
    """Wait until all processes are here."""
    if count() > 1:
        dist.barrier()


def summed(values: Tensor) -> Tensor:
    """The sum of a tensor over the processes, without a gradient."""
    if count() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def mean(value: Tensor) -> Tensor:
    """The mean of a tensor over the processes, without a gradient.

    A loss that is a sum over this process's images, divided by the mean of their number, has as mean over the
    processes, which is how gradients are averaged, the loss of the whole batch.
    """
    return summed(value) / count() if count() > 1 else value


@dataclass(frozen=True)
class Part:
    """Some rows of a batch."""

    total: int
    """Rows of the whole batch."""
    rows: Tensor
    """Which of them these are: int64 positions, on the CPU."""

    @property
    def whole(self) -> bool:
        """Whether these are all rows, in their order."""
        return len(self.rows) == self.total

    @property
    def weight(self) -> float:
        """How much each row counts in sums over the processes: less than 1 where all have the whole batch."""
        return 1 / count() if self.whole else 1.0


def part_of(total: int) -> Part:
    """This process's part of a batch of that many rows.

    Of a batch with fewer than two rows for each process, as an epoch's last may be, all have all rows: batch
    normalization needs two.
    """
    return Part(total, torch.arange(total) if total < 2 * count() else torch.arange(*own_rows(total)))


def own_rows(total: int) -> tuple[int, int]:
    """Where this process's share of so many rows begins and ends."""
    return total * rank() // count(), total * (rank() + 1) // count()

"""A step of the loop: loss, gradients, the optimizer's step and the average's.

Small networks on a GPU wait for the CPU, which needs longer to launch a step's thousand kernels than the GPU needs to
run them. So there a step is captured once as a CUDA graph, and then launched as one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor

from moue.training import processes
from moue.training.batch import Batch
from moue.training.ema import EMA
from moue.training.prepare import Plan
from moue.training.tasks import ClassificationTask, DistillationTask, TaskOutput, VotesTask

#: Steps of a kind that run before one is captured: they fill the optimizer's state and load kernels.
WARM_UP = 3


class Step:
    """One step after another, kernel by kernel.

    Args:
        plan: its task and device.
        network, optimizer: as Fabric set them up.
        ema: follows the network.
        fabric: for autocast and gradients.
    """

    def __init__(self, plan: Plan, network: Any, optimizer: Any, ema: EMA, fabric: Fabric) -> None:
        self.plan, self.network, self.optimizer, self.ema, self.fabric = plan, network, optimizer, ema, fabric

    def __call__(self, batch: Batch, generator: torch.Generator, size: int, number: int) -> TaskOutput:
        """Train on a batch.

        Args:
            batch: this process's part, with what teachers say of it.
            generator: of the step.
            size: the side that the network sees its images at.
            number: of the step, from 1.
        """
        self.ema.weigh(number)
        return self._run(batch, generator, size)

    def _run(self, batch: Batch, generator: torch.Generator, size: int) -> TaskOutput:
        with self.fabric.autocast():
            output = self.plan.task(self.network, batch, generator, size)
        self.optimizer.zero_grad()
        self.fabric.backward(output.loss)
        if (most := self.plan.config.optim.grad_clip) > 0:
            # A norm that is not finite shows in the loss, which the loop checks.
            self.fabric.clip_gradients(self.network, self.optimizer, max_norm=most, error_if_nonfinite=False)
        self.optimizer.step()
        self.ema.update(self.network)
        return output


@dataclass(frozen=True)
class _Graph:
    """A captured step: what it reads, and what it gives."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    rates: list[Tensor]
    output: TaskOutput


class CapturedStep(Step):
    """The same as CUDA graphs: one for each shape of a batch, size, choice of trained weights and mode.

    The tensors that it gives are overwritten by the next step.
    """

    def __init__(self, plan: Plan, network: Any, optimizer: Any, ema: EMA, fabric: Fabric) -> None:
        super().__init__(plan, network, optimizer, ema, fabric)
        self.graphs: dict[Any, _Graph] = {}
        self.seen: Counter[Any] = Counter()
        self.stream: Any = torch.cuda.Stream(plan.device)  # type: ignore[no-untyped-call]
        self.failed: dict[Any, str] = {}
        """Why steps of a kind could not be captured: they run kernel by kernel."""

    def __call__(self, batch: Batch, generator: torch.Generator, size: int, number: int) -> TaskOutput:
        """See :class:`Step`."""
        self.ema.weigh(number)
        shapes = tuple((name, value.shape, value.dtype) for name, value in _tensors(batch).items())
        trained = sum(p.requires_grad for p in self.network.parameters())
        # Where the last layer is all that is ever trained, frozen epochs differ in the mode alone.
        kind = (shapes, size, trained, self.plan.network.training)
        self.seen[kind] += 1
        if kind not in self.graphs:
            # An epoch's last batch, where it is smaller, comes too seldom.
            due = len(batch) == self.plan.config.optim.batch_size and self.seen[kind] > WARM_UP
            if not due or kind in self.failed:
                return self._alone(batch, generator, size)
            try:
                self.graphs[kind] = self._capture(batch, generator, size)
            except RuntimeError as error:
                self.failed[kind] = str(error)
                return self._alone(batch, generator, size)
        graph = self.graphs[kind]
        for name, value in _tensors(batch).items():
            getattr(graph.batch, name).copy_(value)
        for group, rate in zip(self.optimizer.param_groups, graph.rates, strict=True):
            rate.fill_(group["lr"])
        graph.graph.replay()
        return graph.output

    def _alone(self, batch: Batch, generator: torch.Generator, size: int) -> TaskOutput:
        """Kernel by kernel, on the stream that captures, which torch asks for."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            output = self._run(batch, generator, size)
        torch.cuda.current_stream().wait_stream(self.stream)
        return output

    def _capture(self, batch: Batch, generator: torch.Generator, size: int) -> _Graph:
        """Record a step, without running it."""
        own = replace(batch, **{name: value.clone() for name, value in _tensors(batch).items()})
        groups = self.optimizer.param_groups
        # Numbers would be recorded as they are now.
        numbers = [group["lr"] for group in groups]
        rates = [torch.tensor(rate, device=self.plan.device) for rate in numbers]
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad()
        try:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate
            with torch.cuda.graph(graph, stream=self.stream):
                output = self._run(own, generator, size)
        finally:
            for group, number in zip(groups, numbers, strict=True):
                group["lr"] = number
        return _Graph(graph, own, rates, TaskOutput(output.loss.detach(), output.logits.detach()))


def build(plan: Plan, network: Any, optimizer: Any, ema: EMA, fabric: Fabric) -> Step:
    """Steps for a plan's device; a task of the user's own may do what a graph cannot hold."""
    known = type(plan.task) in (ClassificationTask, VotesTask, DistillationTask)
    kind = CapturedStep if plan.device.type == "cuda" and processes.count() == 1 and known else Step
    return kind(plan, network, optimizer, ema, fabric)


def _tensors(batch: Batch) -> dict[str, Tensor]:
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return {name: value for name, value in values.items() if value is not None}

"""Lightning's Fabric for one process of a training, whatever started it."""

from __future__ import annotations

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.fabric.strategies import DDPStrategy

from moue.models.devices import Precision
from moue.silence import silenced
from moue.training import processes


class _Environment(LightningEnvironment):  # type: ignore[misc]
    """The processes that have joined, each as a machine with one device. Lightning would take whatever a cluster's
    scheduler has set in the environment.
    """

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return processes.rank()


def launch(device: torch.device, precision: Precision, *, may_freeze: bool) -> Fabric:
    """Fabric on a device; with several processes their gradients are averaged.

    Args:
        device: this process's.
        precision: "bf16" or "fp32".
        may_freeze: whether some steps leave weights without gradients that others give one.
    """
    several = DDPStrategy(find_unused_parameters=may_freeze) if processes.count() > 1 else None
    with silenced():  # Lightning announces devices and precision; the run's record has them.
        fabric = Fabric(
            accelerator=device.type,
            devices=1 if device.index is None else [device.index],
            num_nodes=processes.count(),
            strategy=several or "auto",
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            plugins=[_Environment()],
        )
        fabric.launch()
    return fabric

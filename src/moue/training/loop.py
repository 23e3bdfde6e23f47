"""The one training loop: `fit(config, table, folder)` makes a run folder, and resumes an interrupted one.

The whole data set lies on the device as uint8, so there are no loader workers: the loop counts steps, and each step
takes its rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from moue.data.table import ImageTable
from moue.errors import TrainingError
from moue.models import devices
from moue.models.base import Network
from moue.silence import silenced
from moue.training import checkpoints, machine, optimizers
from moue.training.augment import Augment
from moue.training.config import Config
from moue.training.ema import EMA
from moue.training.memory import explain_out_of_memory
from moue.training.prepare import Plan, prepare, replan
from moue.training.progress import Meter, ProgressCallback
from moue.training.run_folder import Run, rank
from moue.training.sampler import draw_epoch, seed_step
from moue.training.tasks import Task, mixup
from moue.training.warm_start import first_outputs, freeze


def fit(
    config: Config,
    table: ImageTable,
    folder: Path | str,
    *,
    resume: bool = False,
    progress: ProgressCallback | None = None,
    task: Task | None = None,
    recipe: Config | None = None,
    sample_weights: NDArray[np.floating] | None = None,
) -> Run:
    """Train one network: :func:`~moue.training.prepare.prepare`, then :func:`train`.

    Args:
        config, table, folder, resume, task, recipe, sample_weights: as of :func:`~moue.training.prepare.prepare`; with
            ``resume`` a finished run is returned as it is.
        progress: called every ten steps and at the end of each epoch with a :class:`~moue.training.progress.Status`.

    Returns:
        The finished run.

    Raises:
        UsageError, DataError: as :func:`~moue.training.prepare.prepare`.
        TrainingError: as :func:`train`.
    """
    run = Run(Path(folder))
    if resume and run.finished:
        run.split(table)  # Refuses another data set.
        return run
    plan = prepare(config, table, folder, resume=resume, task=task, recipe=recipe, sample_weights=sample_weights)
    return train(plan, progress)


def train(plan: Plan, progress: ProgressCallback | None = None) -> Run:
    """Train what was planned, from the run's last checkpoint on where it has one.

    Args:
        plan: whose networks are trained in place.
        progress: as of :func:`fit`.

    Returns:
        The finished run.

    Raises:
        TrainingError: when the loss is no longer finite, memory does not suffice, a checkpoint cannot be written (the
            last good one is kept), or the checkpoint was written by version 0.1.0.
    """
    run, config, optim, network = plan.run, plan.config, plan.config.optim, plan.network
    report: ProgressCallback = progress or (lambda status: None)
    with (
        devices.cpu_threads(config.run.threads),
        explain_out_of_memory(optim.batch_size),
        run.tensorboard() as log_curves,
    ):
        if not run.exists:
            about = {**machine.describe(), **devices.describe(plan.device)}
            run.begin(config, plan.split, plan.table, plan.kept, about, plan.precision, plan.recipe, plan.requested)
        with silenced():  # Lightning announces devices and precision; the run's record has them.
            fabric = Fabric(
                accelerator=plan.device.type,
                devices=1 if plan.device.index is None else [plan.device.index],
                precision="bf16-mixed" if plan.precision == "bf16" else "32-true",
                # A run is one process, whatever a cluster's scheduler has set in the environment.
                plugins=[LightningEnvironment()],
            )
            fabric.launch()
        augment, labels = Augment(config.data), plan.train.labels.cpu().numpy()
        trainable = [p for p in plan.network.parameters() if p.requires_grad]
        ema = EMA(network, optim.ema)
        network, optimizer = fabric.setup(network, optimizers.build(network, optim, plan.head))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: plan.schedule(step))
        state = {"network": network, "ema": ema, "optimizer": optimizer, "scheduler": scheduler}
        first = checkpoints.resume(run.checkpoint("last"), state)
        best = run.checkpoint("best")
        # Read again at the end; damage is found now, and not after hours.
        run.history()
        if best.exists():
            checkpoints.weights(best, ema.network.state_dict())
        meter = Meter(first, optim.epochs, plan.steps, plan.device)

        epoch = first
        while epoch < optim.epochs and not run.stalled(optim.patience, epoch):
            rows, flips = draw_epoch(config, labels, len(plan.table.label_set), epoch)
            size = optim.size_in(epoch, config.data.random_crop or network.input.size)
            freeze(plan.network, trainable, plan.head, frozen=epoch < optim.frozen_epochs)
            meter.start_epoch()
            for step in range(plan.steps):
                drawn = slice(step * optim.batch_size, (step + 1) * optim.batch_size)
                generator = seed_step(config, epoch, step)
                batch = plan.train.take(rows[drawn].to(plan.device))
                batch = replace(batch, images=augment(batch.images, generator, flips[drawn]))
                if optim.mixes_in(epoch):
                    batch = mixup(batch, optim.mixup, generator)
                with fabric.autocast():
                    output = plan.task(network, batch, generator, size)
                optimizer.zero_grad()
                fabric.backward(output.loss)
                if optim.grad_clip > 0:
                    # A norm that is not finite shows in the loss, which is checked below.
                    fabric.clip_gradients(network, optimizer, max_norm=optim.grad_clip, error_if_nonfinite=False)
                optimizer.step()
                lr = max(scheduler.get_last_lr())
                scheduler.step()
                ema.update(network, epoch * plan.steps + step + 1)
                meter.add(output, batch.labels)
                if step % 10 == 9 or step == plan.steps - 1:
                    _require_finite(meter.totals, epoch, optim.lr)
                    report(meter.status(epoch, step))

            with fabric.autocast():
                loss, accuracy = _validate(ema.network, plan)
            _require_finite([*network.state_dict().values(), torch.tensor(loss or 0.0)], epoch, optim.lr)
            status = meter.status(epoch, step)
            report(replace(status, validation_loss=loss, validation_accuracy=accuracy, ended=True))
            row = {
                "epoch": epoch + 1,
                "train_loss": status.loss,
                "train_accuracy": status.accuracy,
                "validation_loss": loss,
                "validation_accuracy": accuracy,
                "lr": lr,
                "seconds": meter.seconds,
                "images_per_second": status.images_per_second,
                # A run may be resumed with another number of them; on other devices cores are not what does the work.
                "threads": torch.get_num_threads() if plan.device.type == "cpu" else None,
            }
            run.log(row)
            log_curves(row)
            if accuracy is not None and rank(row) > run.best_rank(before=epoch + 1):
                checkpoints.save({"network": ema.network.state_dict(), "epoch": epoch + 1}, best)
            if epoch == optim.frozen_epochs:
                # The first epoch that trains all weights.
                plan = replan(plan, epoch + 1, meter.run_seconds, meter.seconds)
                config, optim = plan.config, plan.config.optim
                meter.epochs = optim.epochs
            epoch += 1
            checkpoints.save_state(run.checkpoint("last"), epoch, state)

        if optim.keep == "best" and best.exists():
            ema.network.load_state_dict(checkpoints.weights(best, ema.network.state_dict()))
        run.finish(
            first_outputs(ema.network.state_dict(), plan.kept),
            plan.table.label_set.labels,
            plan.network,
            _calibration(ema.network, plan),
            plan.train.targets.mean(dim=0).tolist(),
            devices.peak_memory(plan.device),
        )
    return run


def _validate(network: Network, plan: Plan) -> tuple[float | None, float | None]:
    """Loss and accuracy of the validation part, where there is one."""
    if plan.validation is None:
        return None, None
    logits, labels = _logits(network, plan.validation.images, plan).float(), plan.validation.labels
    return float(F.cross_entropy(logits, labels)), float((logits.argmax(1) == labels).float().mean())


def _calibration(network: Network, plan: Plan) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Logits (mean of face and mirror image) and labels of the validation part."""
    if plan.validation is None:
        return None
    images = plan.validation.images
    logits = 0.5 * (_logits(network, images, plan) + _logits(network, images.flip(3), plan))
    return logits.float().cpu().numpy(), plan.validation.labels.cpu().numpy()


def _logits(network: Network, images: Tensor, plan: Plan) -> Tensor:
    """Logits ``(N, K)`` of the labels, in evaluation mode."""
    # A CPU fetches the pages of large maps from the system at each layer, which costs more than the layer.
    batch_size = 64 if plan.device.type == "cpu" else 512
    network.eval()
    with torch.inference_mode():
        parts = [network(part)[:, : len(plan.table.label_set)] for part in torch.split(images, batch_size)]
    return torch.cat(parts)


def _require_finite(values: Iterable[Tensor], epoch: int, lr: float) -> None:
    """Raise a `TrainingError` unless all values are finite."""
    if not all(bool(value.isfinite().all()) for value in values if value.is_floating_point()):
        raise TrainingError(
            f"the loss is no longer finite in epoch {epoch + 1}; the last good checkpoint is kept."
            f" Try a lower rate, in another folder: --set optim.lr={lr / 3:.1g}"
        )

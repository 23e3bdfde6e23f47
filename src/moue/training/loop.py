"""The one training loop: `fit(config, table, folder)` makes a run folder, and resumes an interrupted one.

The whole data set lies on the device as uint8, so there are no loader workers: the loop counts steps, and each step
takes its rows. With several processes (:mod:`moue.training.processes`) each takes its part of these, and the first one
alone writes the folder and reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from moue.data.table import ImageTable
from moue.errors import TrainingError
from moue.models import devices
from moue.models.base import Network
from moue.training import checkpoints, machine, optimizers, processes, steps
from moue.training.config import Config
from moue.training.ema import EMA
from moue.training.fabric import launch
from moue.training.features import open_features
from moue.training.memory import explain_out_of_memory
from moue.training.prepare import Plan, prepare, replan
from moue.training.processes import part_of
from moue.training.progress import Meter, ProgressCallback, Status
from moue.training.run_folder import Run, rank
from moue.training.sampler import draw_epoch, seed_step
from moue.training.tasks import Task
from moue.training.teacher_cache import open_teacher_cache
from moue.training.views import Views
from moue.training.warm_start import average, first_outputs, freeze
from moue.training.whole_batch import share_batches


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
    announce: Callable[[str], None] | None = None,
) -> Run:
    """Train one network: :func:`~moue.training.prepare.prepare`, then :func:`train`.

    Args:
        config: all settings, as of :func:`~moue.training.recipe.load_recipe`.
        table: the data set; its "train" rows are trained on, less a validation part.
        folder: of the run; must be empty, or hold a run of these settings to ``resume``.
        resume: whether to go on with the run in the folder; a finished one is returned as it is.
        progress: called every ten steps and at the end of each epoch with a :class:`~moue.training.progress.Status`.
        announce: called with a remark before the first step where files of gigabytes are to be written.
        task: see :func:`~moue.training.prepare.prepare`.
        recipe: see there.
        sample_weights: see there.

    Returns:
        The finished run.

    Raises:
        UsageError, DataError: as :func:`~moue.training.prepare.prepare`.
        TrainingError: as :func:`train`.
    """
    run = Run(Path(folder))
    with processes.joined(config.run.device):
        # The split refuses another data set.
        if processes.from_first(lambda: resume and run.finished and run.split(table) is not None):
            return run
        plan = prepare(config, table, folder, resume=resume, task=task, recipe=recipe, sample_weights=sample_weights)
        return train(plan, progress, announce)


def train(plan: Plan, progress: ProgressCallback | None = None, announce: Callable[[str], None] | None = None) -> Run:
    """Train what was planned, from the run's last checkpoint on where it has one.

    Args:
        plan: whose networks are trained in place.
        progress, announce: as of :func:`fit`.

    Returns:
        The finished run.

    Raises:
        TrainingError: when the loss is no longer finite, memory does not suffice, a checkpoint cannot be written (the
            last good one is kept), or the checkpoint was written by version 0.1.0.
    """
    run, config, optim, network = plan.run, plan.config, plan.config.optim, plan.network
    first = processes.is_first()
    report: ProgressCallback = (progress if first else None) or (lambda status: None)
    with (
        devices.cpu_threads(config.run.threads),
        devices.tuned(plan.device),
        explain_out_of_memory(optim.batch_size),
        run.tensorboard() as log_curves,
    ):
        if first and not run.exists:
            about = {**machine.describe(), **devices.describe(plan.device), "processes": processes.count()}
            run.begin(config, plan.split, plan.table, plan.kept, about, plan.precision, plan.recipe, plan.requested)
        labels = plan.train.labels.cpu().numpy()
        trainable = [p for p in plan.network.parameters() if p.requires_grad]
        ema = EMA(network, optim.ema)
        shared = share_batches(network)
        fabric = launch(plan.device, plan.precision, may_freeze=optim.frozen_epochs > 0)
        network, optimizer = fabric.setup(network, optimizers.build(network, optim, plan.head))
        network.mark_forward_method("forward_with_aux")
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: plan.schedule(step))
        state = {"network": network, "ema": ema, "optimizer": optimizer, "scheduler": scheduler}
        epoch = began = checkpoints.resume(run.checkpoint("last"), state)
        optimizers.suit(optimizer, plan.device)
        best = run.checkpoint("best")
        # Read again at the end; damage is found now, and not after hours.
        _best_weights(best, ema)
        views = Views(plan, open_features(plan, announce), open_teacher_cache(plan), fabric.autocast)
        take_step = steps.build(plan, network, optimizer, ema, fabric)
        meter = Meter(began, optim.epochs, plan.steps, plan.device)

        while epoch < optim.epochs and not _stalled(run, optim.patience, epoch):
            rows, flips = draw_epoch(config, labels, len(plan.table.label_set), epoch)
            size = optim.size_in(epoch, config.data.random_crop or network.input.size)
            freeze(plan.network, trainable, plan.head, frozen=epoch < optim.frozen_epochs)
            meter.start_epoch()
            for step in range(plan.steps):
                drawn = slice(step * optim.batch_size, (step + 1) * optim.batch_size)
                generator = seed_step(config, epoch, step)
                part = part_of(len(rows[drawn]))
                mixed, degraded = optim.mixes_in(epoch), config.degrades_in(epoch)
                batch = views.batch(epoch, step, rows[drawn], flips[drawn], part, generator, mixed, degraded)
                shared.part = part
                output = take_step(batch, generator, size, epoch * plan.steps + step + 1)
                lr = float(max(scheduler.get_last_lr()))
                scheduler.step()
                meter.add(output, batch.labels, part)
                if step % 10 == 9 or step == plan.steps - 1:
                    status = meter.status(epoch, step)
                    _require_finite([torch.tensor(status.loss)], epoch, optim.lr)
                    report(status)

            with fabric.autocast():
                loss, accuracy = _validate(ema.network, views)
            _require_finite([*network.state_dict().values(), torch.tensor(loss or 0.0)], epoch, optim.lr)
            status = meter.status(epoch, step)
            report(replace(status, validation_loss=loss, validation_accuracy=accuracy, ended=True))
            if first:
                row = _row(status, loss, accuracy, lr, meter.seconds, plan.device)
                run.log(row)
                log_curves(row)
                if accuracy is not None and rank(row) > run.best_rank(before=epoch + 1):
                    checkpoints.save({"network": ema.network.state_dict(), "epoch": epoch + 1}, best)
            if epoch == optim.frozen_epochs:
                # The first epoch that trains all weights.
                spent, took = processes.from_first(lambda: (meter.run_seconds, meter.seconds))
                plan = replan(plan, epoch + 1, spent, took)
                config, optim = plan.config, plan.config.optim
                meter.epochs = optim.epochs
            epoch += 1
            if first:
                checkpoints.save_state(run.checkpoint("last"), epoch, state)
            # After the checkpoint, so that no epoch is lost where a cache cannot be written.
            views.flush()

        _finish(plan, ema, best, views)
    return run


def _finish(plan: Plan, ema: EMA, best: Path, views: Views) -> None:
    """Write what the run keeps."""
    if plan.config.optim.keep == "best" and (kept := _best_weights(best, ema)) is not None:
        ema.network.load_state_dict(kept)
    if plan.start is not None:
        model = plan.config.model
        average(ema.network, plan.start, model, plan.table.label_set.labels, model.init_share)
    calibration = _calibration(ema.network, views)
    if processes.is_first():
        plan.run.finish(
            first_outputs(ema.network.state_dict(), plan.kept),
            plan.table.label_set.labels,
            plan.network,
            calibration,
            plan.train.targets.mean(dim=0).tolist(),
            devices.peak_memory(plan.device),
        )
    processes.wait()
    views.close()


def _stalled(run: Run, patience: int | None, epochs: int) -> bool:
    """Whether the run stops early; also reads its history, so that damage is found before an epoch, and not after."""
    return processes.from_first(lambda: run.history() is not None and run.stalled(patience, epochs))


def _row(
    status: Status, loss: float | None, accuracy: float | None, lr: float, seconds: float, device: torch.device
) -> dict[str, Any]:
    """An epoch's row of the history."""
    return {
        "epoch": status.epoch,
        "train_loss": status.loss,
        "train_accuracy": status.accuracy,
        "validation_loss": loss,
        "validation_accuracy": accuracy,
        "lr": lr,
        "seconds": seconds,
        "images_per_second": status.images_per_second,
        # Of all processes. A run may be resumed with another number; on other devices cores are not what does the work.
        "threads": torch.get_num_threads() * processes.count() if device.type == "cpu" else None,
    }


def _best_weights(best: Path, ema: EMA) -> dict[str, Tensor] | None:
    """The weights that the run kept as its best so far, where there are some."""
    return processes.from_first(lambda: checkpoints.weights(best, ema.network.state_dict()) if best.exists() else None)


def _validate(network: Network, views: Views) -> tuple[float | None, float | None]:
    """Loss and accuracy of the validation part, where there is one."""
    validation = views.plan.validation
    if validation is None:
        return None, None
    logits = _logits(network, validation.images, views.plan, views.validation)
    return float(F.cross_entropy(logits, validation.labels)), float(
        (logits.argmax(1) == validation.labels).float().mean()
    )


def _calibration(network: Network, views: Views) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Logits (mean of face and mirror image) and labels of the validation part."""
    validation, plan = views.plan.validation, views.plan
    if validation is None:
        return None
    mirrored = _logits(network, validation.images.flip(3), plan, lambda network, images, first: network(images))
    logits = 0.5 * (_logits(network, validation.images, plan, views.validation) + mirrored)
    return logits.cpu().numpy(), validation.labels.cpu().numpy()


def _logits(network: Network, images: Tensor, plan: Plan, forward: Callable[[Network, Tensor, int], Tensor]) -> Tensor:
    """Logits ``(N, K)`` of the labels, in evaluation mode; each process computes a part of them.

    ``forward`` takes some images, and how many of this process's come before them.
    """
    classes = len(plan.table.label_set)
    first, last = processes.own_rows(len(images))
    # A CPU fetches the pages of large maps from the system at each layer, which costs more than the layer.
    batch_size = 64 if plan.device.type == "cpu" else 512
    network.eval()
    with torch.inference_mode():
        parts = [
            forward(network, images[at : min(at + batch_size, last)], at - first)[:, :classes].float()
            for at in range(first, last, batch_size)
        ]
    logits = torch.cat([images.new_zeros(0, classes, dtype=torch.float32), *parts])
    return processes.summed(F.pad(logits, (0, 0, first, len(images) - last)))


def _require_finite(values: Iterable[Tensor], epoch: int, lr: float) -> None:
    """Raise a `TrainingError` unless all values are finite."""
    if not all(bool(value.isfinite().all()) for value in values if value.is_floating_point()):
        raise TrainingError(
            f"the loss is no longer finite in epoch {epoch + 1}; the last good checkpoint is kept."
            f" Try a lower rate, in another folder: --set optim.lr={lr / 3:.1g}"
        )

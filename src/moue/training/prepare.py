"""A training is planned, then run: `prepare` checks and builds all that a run needs before its first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moue.data.balance import bootstrap, class_weights
from moue.data.label_noise import noisy_labels, relabel
from moue.data.splits import Duplicates, Split, copy_groups
from moue.data.table import ImageTable
from moue.errors import DataError, UsageError
from moue.files import require_run_directory
from moue.labels import FERPLUS
from moue.models import create, devices, options_of
from moue.models.base import Network
from moue.models.load import TorchModel, without_weights
from moue.spec import channels_of
from moue.trained.network import network_spec, open_network
from moue.training import optimizers, processes, tasks
from moue.training.backbones import load_backbones
from moue.training.batch import Batch
from moue.training.budget import Budget, measure
from moue.training.config import Config
from moue.training.memory import explain_out_of_memory
from moue.training.recipe import resolve_init
from moue.training.run_folder import Run
from moue.training.sampler import steps_per_epoch
from moue.training.split import configured_split, require_validation
from moue.training.tasks import Task
from moue.training.teachers import teacher_mask
from moue.training.unseen import unseen_split
from moue.training.warm_start import heads_of, warm_start


@dataclass(frozen=True)
class Plan:
    """All that :func:`moue.training.loop.train` needs."""

    config: Config
    """Resolved: its epochs fit the time budget, its labels are the table's."""
    run: Run
    """The folder to write. Where it holds a run, that run is resumed."""
    table: ImageTable
    split: Split
    train: Batch
    """The training rows, on the device."""
    validation: Batch | None
    """The validation rows, on the device; None where none are held out."""
    network: Network
    """The network to train, on the device, with the votes' outputs behind the labels' where votes are learned."""
    kept: Network
    """The network that the run keeps, for its shape: the same without the votes' outputs."""
    start: TorchModel | None
    """What the kept weights are averaged with in the end, where they are."""
    head: set[str]
    """The names of the weights of the last layer."""
    task: Task
    steps: int
    """Steps of an epoch."""
    schedule: Callable[[int], float]
    """The factor on the peak learning rate at each step of the run."""
    budget: Budget | None
    """The time budget, where this call timed it."""
    device: torch.device
    precision: devices.Precision
    recipe: Config | None
    """What the configuration was made from."""
    requested: Config
    """The configuration before a time budget set its epochs."""


def prepare(
    config: Config,
    table: ImageTable,
    folder: Path | str,
    *,
    resume: bool = False,
    task: Task | None = None,
    recipe: Config | None = None,
    sample_weights: NDArray[np.floating] | None = None,
) -> Plan:
    """Plan a training; nothing is written yet.

    Args:
        config: the run's configuration. A run that is resumed takes device and threads from here, and all else from
            what it was started with.
        table: the data set; its "train" rows are trained on, but for the validation part that is cut from them.
        folder: the run folder to write.
        resume: resume the run in ``folder``, if there is one.
        task: what to train on; by default what the configuration says.
        recipe: what ``config`` was made from, kept so that the run can be resumed with that one alone.
        sample_weights: ``(N,)`` how much each row of the table counts in the loss, above 0; only their ratios matter.

    Raises:
        UsageError: when the folder holds a run already and ``resume`` is not set, or the network cannot be built or fed
            as the configuration says, or ``optim.patience`` is set and no row can be held out.
        DataError: for a class without training rows, or a run on other data.
        TrainingError: when a time budget is given and memory does not suffice.
    """
    run = Run(Path(folder))
    processes.require_equal(table.fingerprint, "data")
    # The first process alone needs the folder.
    new, rebuild, config, split = processes.from_first(lambda: _begin(run, config, table, resume))
    if config.optim.batch_size < 2 * processes.count():
        raise UsageError(
            f"optim.batch_size is {config.optim.batch_size}, for all {processes.count()} processes together, and each "
            f"needs two images. Type: --set optim.batch_size={2 * processes.count()}"
        )
    device = processes.device_of(config.run.device)
    network, kept = _networks(config, table, rebuild)
    # Opened now, as the end of a training is too late to find that it is gone.
    start = open_network(config.model.init) if config.model.init is not None and config.model.init_share else None
    precision = processes.from_first(lambda: devices.precision(config.run.precision, device, network))
    if config.optim.cached_views and network.frozen_shape is None:
        raise UsageError(
            "optim.cached_views is for a network whose first layers are frozen: vit, unless model.options."
            "trainable_layers is -1, and concat with model.options.frozen. Type: --set optim.cached_views=0"
        )
    if config.optim.cached_views and config.optim.mixup and processes.count() > 1:
        raise UsageError(
            "optim.mixup mixes images of the whole batch, and each process caches the features of its own alone. Train "
            "in one process, or type: --set optim.mixup=0"
        )
    train, validation = _rows(config, table, split, network, device, sample_weights)
    labels, classes = train.labels.cpu().numpy(), len(table.label_set)
    absent = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if len(absent):
        names = ", ".join(table.label_set.labels[i] for i in absent)
        raise DataError(
            f"{table.name or 'the data set'} has no training rows of the class {names}. Add some, or, for class "
            "folders of your own, type --labels folders."
        )
    if task is None:
        weights = class_weights(labels, classes) if config.data.class_weights else None
        frequencies = train.targets.mean(dim=0).cpu().numpy()
        task = tasks.build(config.optim, table.label_set.labels, weights, frequencies, device, config.run.threads)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if rebuild is None and config.model.init is None:
        network.start_from(train.images[:256])
    requested, budget = config, None
    # The saved configuration of a run is the resolved one: its epochs must not be fitted to the clock again.
    if new:
        with devices.cpu_threads(config.run.threads), explain_out_of_memory(config.optim.batch_size):
            steps = steps_per_epoch(config, labels)
            timed = measure(config, network, task, train, validation, steps, precision)
            budget = processes.from_first(lambda: timed)
        if budget is not None:
            config = replace(config, optim=budget.fit(config.optim))
    steps = steps_per_epoch(config, labels)
    return Plan(
        config=config,
        run=run,
        table=table,
        split=split,
        train=train,
        validation=validation,
        network=network,
        kept=kept,
        start=start,
        head=heads_of(network, config.model)
        | {name for name, _ in network.named_parameters() if name.partition(".")[0] in network.fresh},
        task=task,
        steps=steps,
        schedule=optimizers.schedule(config.optim, steps * config.optim.epochs),
        budget=budget,
        device=device,
        precision=precision,
        recipe=recipe,
        requested=requested,
    )


def replan(plan: Plan, done: int, spent: float, took: float) -> Plan:
    """The plan with as many epochs as its time budget allows, now that an epoch is measured; saved in the run.

    Args:
        plan: as it is without a budget, and where not even one epoch fitted.
        done: epochs that were trained.
        spent: seconds of all of these.
        took: seconds of the last of them.
    """
    optim = plan.config.optim
    if plan.budget is None or optim.steps != plan.requested.optim.steps:
        return plan
    config = replace(plan.config, optim=plan.budget.refit(optim, plan.requested.optim.epochs, done, spent, took))
    if processes.is_first():
        plan.run.save_config(config)
    return replace(plan, config=config, schedule=optimizers.schedule(config.optim, plan.steps * config.optim.epochs))


def _begin(
    run: Run, config: Config, table: ImageTable, resume: bool
) -> tuple[bool, dict[str, Any] | None, Config, Split]:
    """Whether the run is new, the options that build the network of its checkpoint where it has one, the resolved
    configuration, and the split.
    """
    require_run_directory(run.folder)
    if not run.exists:
        config = resolve_init(replace(config, data=replace(config.data, labels=table.label_set.name)))
        split = _split(config, table)
        if config.optim.patience is not None:
            require_validation(
                split,
                table,
                "optim.patience watches the accuracy on rows that are held out",
                "Set data.validation higher, leave optim.patience out",
            )
        return True, None, config, split
    if not resume:
        raise UsageError(f"{run.folder} holds a run already. Type --resume to resume it, or choose another folder.")
    saved = run.config()
    config = replace(saved, run=replace(saved.run, device=config.run.device, threads=config.run.threads))
    rebuild = run.record().get("rebuild", {}) if run.checkpoint("last").exists() else None
    return False, rebuild, config, run.split(table)


def _networks(config: Config, table: ImageTable, rebuild: dict[str, Any] | None) -> tuple[Network, Network]:
    """The network to train, with first weights, and the one that the run keeps, for its shape."""
    labels, votes = table.label_set.labels, config.optim.votes_weight > 0
    if config.needs_votes and table.votes is None:
        raise UsageError(
            f"{config.needs_votes.partition('=')[0]} needs FER+'s votes and FER-2013's labels: type --votes "
            f"fer2013new.csv, or for other data --set {config.needs_votes}"
        )
    model = config.model
    torch.manual_seed(config.run.seed)
    init = None if model.init is None or rebuild is not None else open_network(model.init)
    options: dict[str, Any] = {**model.options}
    # With a checkpoint or a run to start from, published weights are not needed, and may be gone by now.
    if rebuild is not None:
        options |= {**without_weights(model.network), **rebuild}
    elif init is not None and init.spec.network == model.network:
        options |= {**without_weights(model.network), **init.network.rebuild}
    # A published head has its own order of classes.
    if "labels" in options_of(model.network):
        options = {"labels": labels, **options}
    network = create(model.network, len(labels) + votes * len(FERPLUS), **options)
    if init is not None:
        warm_start(network, init, model, labels)
    elif model.backbones and rebuild is None:
        load_backbones(network, model.backbones)
    for size in {network.input.size, config.data.random_crop or network.input.size, *config.optim.progressive_sizes}:
        _require_size(network, size)
    if not votes:
        return network, network
    same = {**model.options, **without_weights(model.network), **network.rebuild}
    return network, create(model.network, len(labels), **same)


def _split(config: Config, table: ImageTable) -> Split:
    """The rows to train on and those to hold out, none of which a backbone was trained on."""
    data, backbones = config.data, config.model.backbones
    if not backbones:
        return configured_split(table, data)
    split = unseen_split([(name, network_spec(name)) for name in backbones], table, data)
    if data.validation and not len(split.validation):
        raise UsageError(
            f"the models of model.backbones ({', '.join(backbones)}) held out no row of {table.name or 'this set'} in "
            "common to validate on. Give others, or do without a validation score: --set data.validation=0"
        )
    if data.fold and split.fold != data.fold:
        raise UsageError(
            f"what the models of model.backbones held out is held out, fold {split.fold}: another data.fold, as "
            f"{data.fold}, would be validated on rows that they were trained on."
        )
    return split


def bootstrap_rows(
    table: ImageTable, rows: NDArray[np.int64], seed: int, duplicates: Duplicates = "exact"
) -> NDArray[np.int64]:
    """The rows, of some of a table, that a run with ``data.bootstrap`` and that seed trains on; copies together.

    Args:
        table: the data set.
        rows: int64 ``(N,)``: those of the training part.
        seed: the run's.
        duplicates: what counts as a copy, the run's ``data.duplicates``.
    """
    groups = copy_groups(table.take(rows), duplicates)
    return rows[bootstrap(table.labels[rows], np.random.default_rng([seed, 3]), groups)]


def _rows(
    config: Config,
    table: ImageTable,
    split: Split,
    network: Network,
    device: torch.device,
    sample_weights: NDArray[np.floating] | None,
) -> tuple[Batch, Batch | None]:
    """The training rows, with whatever the task needs of them, and the validation rows."""
    data, rows = config.data, split.train
    if data.bootstrap:
        rows = bootstrap_rows(table, rows, config.run.seed, data.duplicates)
    cleaned, labels = table, data.noisy_labels
    if labels != "keep":
        noisy = noisy_labels(table, data.noisy_agreement)
        if labels == "weight":
            ones = np.ones(len(table)) if sample_weights is None else sample_weights
            sample_weights = np.where(noisy, data.noisy_weight, 1) * ones
        else:
            cleaned, kept = relabel(table, noisy) if labels == "relabel" else (table, ~noisy)
            rows = rows[kept[rows]]
    train = Batch.of(cleaned, rows, network.input, device, votes=config.optim.votes_weight > 0)
    if sample_weights is not None:
        weights = sample_weights[rows] / sample_weights[rows].mean()
        train = replace(train, weights=torch.from_numpy(weights.astype(np.float32)).to(device))
    if config.optim.teachers_out_of_fold:
        mask = teacher_mask(config.optim.teachers, table, rows)
        train = replace(train, teacher_mask=torch.from_numpy(mask).to(device))
    return train, Batch.of(table, split.validation, network.input, device) if len(split.validation) else None


def _require_size(network: Network, size: int) -> None:
    """Run a network on two blank images of a size, so that one that it cannot take is an error before any training."""
    training, spec = network.training, network.input
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(2, channels_of(spec.color), size, size))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"the network cannot take images of {size}×{size} pixels: {reason}") from error
    finally:
        network.train(training)

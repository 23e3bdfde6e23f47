"""The one training loop: `fit(config, table, folder)` makes a run folder, and takes an interrupted one up again.

The whole data set lies on the device as uint8, so there are no loader workers: the loop counts steps, and each step
picks its rows. Every random number of a step comes from (seed, epoch, step), which is why a run that was killed at any
moment ends with the same weights as an unbroken one.
"""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from numpy.typing import NDArray

from moue.data.balance import bootstrap, class_weights
from moue.data.splits import stratified_split
from moue.data.table import ImageTable
from moue.errors import DataError, TrainingError, UsageError
from moue.labels import FERPLUS
from moue.models import create, options_of
from moue.models.base import Network
from moue.models.load import load_run, without_weights
from moue.spec import channels_of
from moue.training import devices, machine
from moue.training.budget import fit_to_time
from moue.training.checkpoints import SafeCheckpointIO
from moue.training.config import Config
from moue.training.learner import Keeper, Learner, Watch
from moue.training.rows import Rows
from moue.training.run_folder import Run
from moue.training.tasks import Task
from moue.training.tasks import build as build_task
from moue.training.teachers import held_out
from moue.training.warm_start import first_outputs, warm_start


@contextmanager
def _own_threads() -> Iterator[None]:
    """Torch's number of threads is the process's: what a run sets is undone, or the next one would find it."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


@_own_threads()
def fit(
    config: Config,
    table: ImageTable,
    folder: Path | str,
    *,
    resume: bool = False,
    watch: Watch | None = None,
    task: Task | None = None,
    recipe: Config | None = None,
) -> Run:
    """Train one network.

    Args:
        config: the run's configuration; what is resolved (epochs that fit ``run.minutes``, the table's labels) is
            saved with the run. A run that goes on takes device and threads from here, and all else from what it was
            begun with.
        table: the data set; its "train" rows are trained on, but for the validation part that is cut from them.
        folder: the run folder to write.
        resume: take up what ``folder`` holds, if anything; a finished run is returned as it is.
        watch: called now and then with a :class:`Status`.
        task: what to train on; by default cross-entropy on the labels.
        recipe: what ``config`` was made from, kept so that the run can go on with that one alone.

    Returns:
        The finished run.

    Raises:
        UsageError: when the folder holds a run already and ``resume`` is not set, or the network cannot be built or fed
            as the configuration says.
        DataError: for a class without training rows, or a run on other data.
        TrainingError: when the loss is no longer finite or a checkpoint cannot be written; the last good one is kept.
    """
    run = Run(Path(folder))
    if run.exists and not resume:
        raise UsageError(f"{folder} holds a run already. Type --resume to go on with it, or choose another folder.")
    if run.exists:
        # The saved configuration is the resolved one: its epochs must not be fitted to the clock again.
        saved = run.config()
        config = replace(saved, run=replace(saved.run, device=config.run.device, threads=config.run.threads))
        split = run.split(table)
        if run.finished:
            return run
    device = devices.choose(config.run.device)
    precision = devices.precision(config.run.precision, device)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    if not run.exists:
        config = replace(config, data=replace(config.data, labels=table.label_set.name))
        split = stratified_split(table, config.data.validation, config.data.split_seed, config.data.fold)
    torch.manual_seed(config.run.seed)
    classes, second = len(table.label_set), config.optim.votes_weight > 0
    if second and table.votes is None:
        raise UsageError("optim.votes_weight needs FER+'s votes beside FER-2013's labels: type --votes fer2013new.csv.")
    going_on = run.exists and run.checkpoint("last").exists()
    init = None if config.model.init is None or going_on else load_run(config.model.init, device="cpu")
    # With a checkpoint or a run to start from, published weights would be fetched for nothing, and may be gone by now.
    known: dict[str, Any] = {}
    if going_on:
        known = {**without_weights(config.model.network), **run.record().get("rebuild", {})}
    elif init is not None and init.spec.network == config.model.network:
        known = {**without_weights(config.model.network), **init.network.rebuild}
    # A published head has an order of its own.
    order = {"labels": table.label_set.labels} if "labels" in options_of(config.model.network) else {}
    network = create(
        config.model.network, classes + second * len(FERPLUS), **{**order, **config.model.options, **known}
    )
    if init is not None:
        warm_start(network, init, config.model, table.label_set.labels)
    for size in {network.input.size, *config.optim.progressive_sizes}:
        _feed(network, size)
    drawn = split.train
    if config.data.bootstrap:
        drawn = drawn[bootstrap(table.labels[drawn], np.random.default_rng([config.run.seed, 3]))]
    train = Rows.of(table, drawn, network.input, device, votes=second)
    if config.optim.teachers_out_of_fold:
        train = train.beside(held_out(config.optim.teachers, table, drawn))
    validation = Rows.of(table, split.validation, network.input, device) if len(split.validation) else None
    absent = np.flatnonzero(np.bincount(train.labels.cpu().numpy(), minlength=classes) == 0)
    if len(absent):
        names = ", ".join(table.label_set.labels[i] for i in absent)
        raise DataError(
            f"{table.name or 'the data set'} has no training rows of the class {names}. Add some, or, for class "
            "folders of your own, type --labels folders."
        )
    weights = class_weights(train.labels.cpu().numpy(), classes) if config.data.class_weights else None
    if task is None:
        task = build_task(config.optim, table.label_set.labels, weights, str(device), config.run.threads)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = Learner(config, network, task, train, validation, watch, classes)
    module.to(device)
    # What the run keeps: the same network without the second head.
    rebuild = {**config.model.options, **without_weights(config.model.network), **network.rebuild}
    plain = create(config.model.network, classes, **rebuild) if second else network
    if not run.exists:
        asked = config
        with _memory(config):
            config = fit_to_time(config, network, module.task, train, validation, module.steps, precision)
        module.config = config
    _quiet()
    trainer = pl.Trainer(
        max_epochs=config.optim.epochs,
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=1 if device.index is None else [device.index],
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        logger=run.tensorboard(),
        callbacks=[Keeper(run)],
        # A run is one process, whatever a cluster's scheduler has set in the environment.
        plugins=[SafeCheckpointIO(), LightningEnvironment()],
        gradient_clip_val=config.optim.grad_clip or None,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=True,
        use_distributed_sampler=False,
        log_every_n_steps=10**9,
    )
    if not run.exists:
        about = {**machine.describe(), **devices.describe(device)}
        run.begin(config, split, table, plain, about, precision, recipe, asked)
    last = run.checkpoint("last")
    with warnings.catch_warnings(), _interruptible(), _memory(config):
        # Lightning advises loader workers and known lengths; there is no loader here.
        warnings.simplefilter("ignore")
        trainer.fit(
            module,
            train_dataloaders=range(module.steps),
            val_dataloaders=None if validation is None else range(1),
            ckpt_path=str(last) if going_on else None,
        )
    # Lightning leaves the weights on the CPU.
    module.to(device)
    run.finish(
        first_outputs(module.kept(run), plain),
        table.label_set.labels,
        devices.peak_memory(device),
        _calibration(module),
        (network.input.size, network.input.color),
        network.rebuild,
    )
    return run


def _feed(network: Network, size: int) -> None:
    """Two blank images through a network, which says now what would else end a run in its first step or its last."""
    training, spec = network.training, network.input
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(2, channels_of(spec.color), size, size))
    except RuntimeError as error:
        said = str(error).splitlines()[0]
        raise UsageError(f"the network cannot take images of {size}×{size} pixels: {said}") from error
    finally:
        network.train(training)


def _calibration(module: Learner) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Logits (mean of face and mirror image) and labels of the validation part, under the kept weights."""
    if module.validation is None:
        return None
    network, images = module.kept_network, module.validation.images
    logits = 0.5 * (module.logits(network, images) + module.logits(network, images.flip(3)))
    return logits.float().cpu().numpy(), module.validation.labels.cpu().numpy()


@contextmanager
def _memory(config: Config) -> Iterator[None]:
    """Torch's own errors of too little memory as a sentence."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and "allocate memory" not in str(error):
            raise
        # A run that was begun keeps its settings, and 2 is the smallest batch.
        smaller = config.optim.batch_size // 2
        remedy = f"Try smaller ones, in another folder: --set optim.batch_size={smaller}"
        raise TrainingError(
            f"there is not enough memory for batches of {config.optim.batch_size}. "
            + (remedy if smaller > 1 else "Take a smaller network.")
        ) from error


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl+C as Python's own exception: Lightning leaves the interpreter instead, deaf to it from then on."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as left:
        if main:
            signal.signal(signal.SIGINT, before)
        if isinstance(left.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


def _quiet() -> None:
    """Lightning announces devices and tips on every start; the run's own record says what matters."""
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)

"""The one training loop: `fit(config, table, folder)` makes a run folder, and takes an interrupted one up again.

The whole data set lies on the device as uint8, so there are no loader workers: the loop counts steps, and each step
picks its rows. Every random number of a step comes from (seed, epoch, step), which is why a run that was killed at any
moment ends with the same weights as an unbroken one.
"""

from __future__ import annotations

import copy
import logging
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from moue.data.balance import class_weights, oversample
from moue.data.splits import stratified_split
from moue.data.table import ImageTable
from moue.errors import DataError, TrainingError, UsageError
from moue.expressions import FERPLUS
from moue.models import create
from moue.models.base import Network
from moue.models.load import load_run, without_weights
from moue.training import checkpoint, devices, machine, optimiser
from moue.training.augment import Augment
from moue.training.budget import fit_to_time
from moue.training.checkpoint import SafeCheckpointIO
from moue.training.config import Config
from moue.training.rows import Rows
from moue.training.run import Run
from moue.training.start import first_outputs, start_from
from moue.training.tasks import Task
from moue.training.tasks import build as build_task


@dataclass(frozen=True)
class Status:
    """What a run tells while it trains."""

    epoch: int
    epochs: int
    step: int
    steps: int
    """Steps of an epoch."""
    loss: float
    """Running mean over the epoch."""
    accuracy: float
    """Running mean over the epoch, on augmented pictures."""
    images_per_second: float
    seconds_left: float
    validation_accuracy: float | None = None
    """Set on the last status of an epoch."""
    validation_loss: float | None = None
    ended: bool = False
    """Whether the epoch is over and validated."""


Watch = Callable[[Status], None]


def fit(
    config: Config,
    table: ImageTable,
    folder: Path | str,
    *,
    resume: bool = False,
    watch: Watch | None = None,
    task: Task | None = None,
) -> Run:
    """Train one network.

    Args:
        config: the run's configuration; what is resolved (epochs that fit ``run.minutes``) is saved with the run. A
            run that goes on takes device and threads from here, and all else from what it was begun with.
        table: the data set; its "train" rows are trained on, but for the validation part that is cut from them.
        folder: the run folder to write.
        resume: take up what ``folder`` holds, if anything; a finished run is returned as it is.
        watch: called now and then with a :class:`Status`.
        task: what to train on; by default cross-entropy on the labels.

    Returns:
        The finished run.

    Raises:
        UsageError: when the folder holds a run already and ``resume`` is not set, or the network cannot be built or fed
            as the configuration says.
        DataError: for a class without training rows.
        TrainingError: when the loss is no longer finite or a checkpoint cannot be written; the last good one is kept.
    """
    run = Run(Path(folder))
    if run.exists and not resume:
        raise UsageError(f"{folder} holds a run already. Type --resume to go on with it, or choose another folder.")
    if run.exists:
        # The saved configuration is the resolved one: its epochs must not be fitted to the clock again.
        saved = run.config()
        config = replace(saved, run=replace(saved.run, device=config.run.device, threads=config.run.threads))
        if run.finished:
            return run
    device = devices.choose(config.run.device)
    precision = devices.precision(config.run.precision, device)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    if run.exists:
        split = run.split(table)
    else:
        split = stratified_split(table, config.data.validation, config.data.split_seed)
    torch.manual_seed(config.run.seed)
    classes, second = len(table.label_set), config.optim.votes > 0
    if second and table.votes is None:
        raise UsageError("optim.votes needs FER+'s votes beside FER-2013's labels: type --votes fer2013new.csv.")
    going_on = run.exists and run.checkpoint("last").exists()
    init = None if config.model.init is None or going_on else load_run(config.model.init, device="cpu")
    # With a checkpoint or a run to start from, published weights would be fetched for nothing, and may be gone by now.
    known: dict[str, Any] = {}
    if going_on:
        known = {**without_weights(config.model.network), **run.record().get("rebuild", {})}
    elif init is not None and init.spec.network == config.model.network:
        known = {**without_weights(config.model.network), **init.network.rebuild}
    network = create(config.model.network, classes + second * len(FERPLUS), **{**config.model.options, **known})
    if init is not None:
        start_from(network, init, str(config.model.init))
    for size in {network.input.size, *config.optim.sizes}:
        _feed(network, size)
    train = Rows.of(table, split.train, network.input, device, votes=second)
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
        task = build_task(config.optim, table.label_set.labels, weights, str(device))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = _Module(config, network, task, train, validation, watch, classes)
    module.to(device)
    # What the run keeps: the same network without the second head.
    rebuild = {**config.model.options, **without_weights(config.model.network), **network.rebuild}
    plain = create(config.model.network, classes, **rebuild) if second else network
    if not run.exists:
        module.config = config = fit_to_time(config, network, module.task, train, validation, module.steps, precision)
        run.begin(config, split, table, plain, {**machine.describe(), **devices.describe(device)}, precision)
    _quiet()
    trainer = pl.Trainer(
        max_epochs=config.optim.epochs,
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=1 if device.index is None else [device.index],
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        logger=run.tensorboard(),
        callbacks=[_Keeper(run)],
        plugins=[SafeCheckpointIO()],
        gradient_clip_val=config.optim.clip or None,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=True,
        use_distributed_sampler=False,
        log_every_n_steps=10**9,
    )
    last = run.checkpoint("last")
    with warnings.catch_warnings(), _interruptible():
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
        (network.input.size, network.input.colour),
        network.rebuild,
    )
    return run


def _feed(network: Network, size: int) -> None:
    """Two blank pictures through a network, which says now what would else end a run in its first step or its last."""
    training, spec = network.training, network.input
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(2, 1 if spec.colour == "grey" else 3, size, size))
    except RuntimeError as error:
        said = str(error).splitlines()[0]
        raise UsageError(f"the network cannot take pictures of {size}×{size} pixels: {said}") from error
    finally:
        network.train(training)


def _calibration(module: _Module) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Logits (mean of face and mirror image) and labels of the validation part, under the kept weights."""
    if module.validation is None:
        return None
    network, images = module.kept_network, module.validation.images
    logits = 0.5 * (module.logits(network, images) + module.logits(network, images.flip(3)))
    return logits.float().cpu().numpy(), module.validation.labels.cpu().numpy()


class _Module(pl.LightningModule):
    """The network, its task and its rows, in the shape that Lightning drives."""

    def __init__(
        self,
        config: Config,
        network: Network,
        task: Task,
        train: Rows,
        validation: Rows | None,
        watch: Watch | None,
        classes: int,
    ) -> None:
        super().__init__()
        self.config, self.task, self.train_rows, self.validation, self.watch = config, task, train, validation, watch
        self.network, self.classes = network, classes
        self.average = copy.deepcopy(network).requires_grad_(False).eval() if config.optim.ema > 0 else None
        self.augment = Augment(config.data)
        self.order: np.ndarray = np.zeros(0, np.int64)
        self.flipped: Tensor | None = None
        self.totals = torch.zeros(3)
        self.report: dict[str, float] = {}
        self.validated: tuple[float, float] | None = None
        self.first_epoch: int | None = None
        self.began = self.epoch_began = time.monotonic()

    @property
    def rows_per_epoch(self) -> int:
        if not self.config.data.oversample:
            return len(self.train_rows.labels)
        counts = torch.bincount(self.train_rows.labels)
        return int(counts.max()) * len(counts)

    @property
    def steps(self) -> int:
        """Steps of an epoch; the last batch may be smaller, but never a single row, which batch norm cannot take."""
        n, batch = self.rows_per_epoch, self.config.optim.batch
        full = n // batch + (n % batch > 1)
        return max(1, min(full, self.config.optim.steps or full))

    @property
    def kept_network(self) -> Network:
        return self.network if self.average is None else self.average

    def kept(self, run: Run) -> dict[str, Tensor]:
        """The weights that the run keeps: of its last epoch or of its best on validation, averaged where they were."""
        if self.config.optim.keep == "best" and self.validation is not None and run.checkpoint("best").exists():
            state = checkpoint.load(run.checkpoint("best"))["network"]
            self.kept_network.load_state_dict(state)
        return {k: v.detach().cpu().contiguous() for k, v in self.kept_network.state_dict().items()}

    # What Lightning calls, in the order of a run.

    def configure_optimizers(self) -> Any:
        optim = optimiser.build(self.network, self.config.optim)
        factor = optimiser.schedule(self.config.optim, self.steps * self.config.optim.epochs)
        rates = torch.optim.lr_scheduler.LambdaLR(optim, factor)
        return {"optimizer": optim, "lr_scheduler": {"scheduler": rates, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        seed = [self.config.run.seed, self.current_epoch]
        draw = np.random.default_rng(seed)
        labels = self.train_rows.labels.cpu().numpy()
        if self.config.data.oversample:
            rows = oversample(labels, self.classes, draw)
            self.order = draw.permutation(rows)
        else:
            self.order = draw.permutation(len(labels))
        # Alternating flips: a coin a picture on even epochs, its other side on the odd one that follows, so that both
        # sides are seen in every pair of epochs (Jordan, "94% on CIFAR-10 in 3.29 seconds", 2024).
        coin = np.random.default_rng([self.config.run.seed, self.current_epoch // 2, 1]).random(len(labels)) < 0.5
        self.flipped = torch.from_numpy(coin ^ bool(self.current_epoch % 2))
        self.totals.zero_()
        self.validated = None
        self.epoch_began = time.monotonic()
        if self.first_epoch is None:
            self.first_epoch, self.began = self.current_epoch, self.epoch_began

    def training_step(self, batch: Any, step: int) -> Tensor:
        generator = self._seed(self.current_epoch, step)
        optim = self.config.optim
        rows = torch.from_numpy(self.order[step * optim.batch : (step + 1) * optim.batch])
        on = rows.to(self.train_rows.images.device)
        assert self.flipped is not None
        images = self.augment(self.train_rows.images[on], generator, self.flipped[rows])
        size = self._size(self.current_epoch)
        answer = self.task(self.network, images, self.train_rows.targets[on], generator, size)
        hits = (answer["logits"].argmax(1) == self.train_rows.labels[on]).sum()
        self.totals += torch.stack(
            [answer["loss"].detach().float() * len(on), hits.float(), hits.new_tensor(len(on)).float()]
        ).cpu()
        return answer["loss"]

    def on_train_batch_end(self, outputs: Any, batch: Any, step: int) -> None:
        if self.average is not None:
            self._update_average()
        if step % 10 == 9 or step == self.steps - 1:
            if not math.isfinite(float(self.totals[0])):
                self._diverged()
            self._tell(step)

    def validation_step(self, batch: Any, step: int) -> None:
        assert self.validation is not None
        logits = self.logits(self.kept_network, self.validation.images).float()
        loss = F.cross_entropy(logits, self.validation.labels)
        accuracy = (logits.argmax(1) == self.validation.labels).float().mean()
        self.validated = (float(loss), float(accuracy))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["callbacks"] = {}

    # Parts of the above.

    def logits(self, network: Network, images: Tensor, batch: int = 512) -> Tensor:
        """Logits ``(N, K)`` of the labels, in evaluation mode."""
        training = network.training
        network.eval()
        try:
            with torch.inference_mode():
                return torch.cat([network(part)[:, : self.classes] for part in torch.split(images, batch)])
        finally:
            network.train(training)

    def _seed(self, epoch: int, step: int) -> torch.Generator:
        """A generator for one step; also seeds torch's global one, which dropout draws from."""
        seed = int(np.random.SeedSequence([self.config.run.seed, epoch, step]).generate_state(1, np.uint64)[0] >> 1)
        torch.manual_seed(seed)
        return torch.Generator().manual_seed(seed)

    def _size(self, epoch: int) -> int:
        """The side that an epoch's pictures are scaled to."""
        sizes, epochs = self.config.optim.sizes or (self.train_rows.images.shape[-1],), self.config.optim.epochs
        # Counted from the end: where there are fewer epochs than sizes, it is the last ones that are trained at.
        return sizes[len(sizes) - 1 - min(len(sizes) - 1, (epochs - 1 - epoch) * len(sizes) // epochs)]

    def check_finite(self) -> None:
        """Raise a `TrainingError` before weights that have blown up are kept."""
        finite = self.validated is None or math.isfinite(self.validated[0])
        values = [v for v in self.network.state_dict().values() if v.is_floating_point()]
        if not finite or not all(bool(v.isfinite().all()) for v in values):
            self._diverged()

    def _diverged(self) -> None:
        raise TrainingError(
            f"the loss is no longer finite in epoch {self.current_epoch + 1}; the last good checkpoint is kept."
            f" Try a lower rate, in another folder: --set optim.lr={self.config.optim.lr / 3:.1g}"
        )

    def _update_average(self) -> None:
        assert self.average is not None
        step = self.global_step
        # Early on the average would hold on to random weights: let it follow faster.
        decay = min(self.config.optim.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, now in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - decay)
                else:
                    mean.copy_(now)

    def _tell(self, step: int, validated: bool = False) -> None:
        loss, hits, n = self.totals.tolist()
        now = time.monotonic()
        assert self.first_epoch is not None
        done = (self.current_epoch - self.first_epoch) * self.steps + step + 1
        left = (self.config.optim.epochs - self.first_epoch) * self.steps - done
        self.report = {"loss": loss / n, "accuracy": hits / n, "rate": n / max(now - self.epoch_began, 1e-9)}
        if self.watch is None:
            return
        self.watch(
            Status(
                epoch=self.current_epoch + 1,
                epochs=self.config.optim.epochs,
                step=step + 1,
                steps=self.steps,
                loss=self.report["loss"],
                accuracy=self.report["accuracy"],
                images_per_second=self.report["rate"],
                seconds_left=(now - self.began) / done * left,
                validation_loss=self.validated[0] if validated and self.validated else None,
                validation_accuracy=self.validated[1] if validated and self.validated else None,
                ended=validated,
            )
        )


class _Keeper(Checkpoint):
    """After each epoch: the history's row, then the checkpoints; last, and best on validation."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_train_epoch_end(self, trainer: pl.Trainer, module: _Module) -> None:
        module.check_finite()
        loss, accuracy = module.validated or (None, None)
        module._tell(module.steps - 1, validated=True)
        row = {
            "epoch": trainer.current_epoch + 1,
            "train_loss": module.report["loss"],
            "train_accuracy": module.report["accuracy"],
            "validation_loss": loss,
            "validation_accuracy": accuracy,
            "lr": float(trainer.optimizers[0].param_groups[-1]["lr"]),
            "seconds": time.monotonic() - module.epoch_began,
            "images_per_second": module.report["rate"],
        }
        best = max((r["validation_accuracy"] or 0.0 for r in self.run.history()[: trainer.current_epoch]), default=0.0)
        self.run.log(row)
        if trainer.logger is not None:
            trainer.logger.log_metrics(
                {k: v for k, v in row.items() if v is not None and k != "epoch"}, step=row["epoch"]
            )
        if accuracy is not None and accuracy > best:
            checkpoint.save(
                {"network": module.kept_network.state_dict(), "epoch": row["epoch"]}, self.run.checkpoint("best")
            )
        trainer.save_checkpoint(self.run.checkpoint("last"))


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

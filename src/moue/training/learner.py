"""What Lightning drives: the network, its task and its rows as one module, and the keeper of its checkpoints."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor
from torch.nn import functional as F

from moue.data.balance import oversample, repeats
from moue.errors import TrainingError
from moue.models.base import Network
from moue.training import checkpoints, optimizers
from moue.training.augment import Augment
from moue.training.config import Config
from moue.training.rows import Rows
from moue.training.run_folder import Run
from moue.training.tasks import Task


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
    """Running mean over the epoch, on augmented images."""
    images_per_second: float
    seconds_left: float
    validation_accuracy: float | None = None
    """Set on the last status of an epoch."""
    validation_loss: float | None = None
    ended: bool = False
    """Whether the epoch is over and validated."""


Watch = Callable[[Status], None]


class Learner(pl.LightningModule):
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
        self.rate = config.optim.lr
        self.validated: tuple[float, float] | None = None
        self.first_epoch: int | None = None
        self.began = self.epoch_began = time.monotonic()

    @property
    def rows_per_epoch(self) -> int:
        """Rows drawn in an epoch; with oversampling, as many of each class as the largest has."""
        if not self.config.data.oversample:
            return len(self.train_rows.labels)
        counts = torch.bincount(self.train_rows.labels)
        return int(counts.max()) * len(counts)

    @property
    def steps(self) -> int:
        """Steps of an epoch; the last batch may be smaller, but never a single row, which batch norm cannot take."""
        n, batch = self.rows_per_epoch, self.config.optim.batch_size
        full = n // batch + (n % batch > 1)
        return max(1, min(full, self.config.optim.steps or full))

    @property
    def turn(self) -> int:
        """What an epoch's views are drawn from: its number, or that of the epoch whose views come again."""
        views = self.config.optim.teacher_views if self.config.optim.teachers else 0
        epoch: int = self.current_epoch
        return epoch % views if views else epoch

    @property
    def kept_network(self) -> Network:
        """The network that is validated and kept: the average, where there is one."""
        return self.network if self.average is None else self.average

    def kept(self, run: Run) -> dict[str, Tensor]:
        """The weights that the run keeps: of its last epoch or of its best on validation, averaged where they were."""
        if self.config.optim.keep == "best" and self.validation is not None and run.checkpoint("best").exists():
            state = checkpoints.load(run.checkpoint("best"))["network"]
            self.kept_network.load_state_dict(state)
        return {k: v.detach().cpu().contiguous() for k, v in self.kept_network.state_dict().items()}

    # What Lightning calls, in the order of a run.

    def configure_optimizers(self) -> Any:
        """The optimizer, and its rate a step."""
        optim = optimizers.build(self.network, self.config.optim)
        factor = optimizers.schedule(self.config.optim, self.steps * self.config.optim.epochs)
        rates = torch.optim.lr_scheduler.LambdaLR(optim, factor)
        return {"optimizer": optim, "lr_scheduler": {"scheduler": rates, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Draw the epoch's order and flips from the seed and the epoch's turn."""
        seed, turn = self.config.run.seed, self.turn
        draw = np.random.default_rng([seed, turn])
        labels = self.train_rows.labels.cpu().numpy()
        if self.config.data.oversample:
            self.order = oversample(labels, self.classes, draw)
        else:
            self.order = draw.permutation(len(labels))
        # Alternating flips: a coin an image on even epochs, its other side on the odd one that follows, so that both
        # sides are seen in every pair of epochs (Jordan, "94% on CIFAR-10 in 3.29 seconds", 2024). Repeats within an
        # epoch turn it, too.
        coin = np.random.default_rng([seed, turn // 2, 1]).random(len(labels)) < 0.5
        turns = turn + repeats(self.order)
        self.flipped = torch.from_numpy(coin[self.order] ^ (turns % 2 == 1))
        self.totals.zero_()
        self.validated = None
        self.epoch_began = time.monotonic()
        if self.first_epoch is None:
            self.first_epoch, self.began = self.current_epoch, self.epoch_began

    def training_step(self, batch: Any, step: int) -> Tensor:
        """The loss of the step's rows; what Lightning calls a batch is its number alone."""
        generator = self._seed(step)
        optim = self.config.optim
        drawn = slice(step * optim.batch_size, (step + 1) * optim.batch_size)
        rows = torch.from_numpy(self.order[drawn])
        on = rows.to(self.train_rows.images.device)
        assert self.flipped is not None
        # Places of pixels need more than bfloat16's eight bits.
        with torch.autocast(on.device.type, enabled=False):
            images = self.augment(self.train_rows.images[on], generator, self.flipped[drawn])
        size = optim.size_in(self.current_epoch, images.shape[-1])
        self.rate = max(group["lr"] for group in self.trainer.optimizers[0].param_groups)
        answer = self.task(self.network, images, self.train_rows.targets[on], generator, size)
        hits = (answer["logits"].argmax(1) == self.train_rows.labels[on]).sum()
        self.totals += torch.stack(
            [answer["loss"].detach().float() * len(on), hits.float(), hits.new_tensor(len(on)).float()]
        ).cpu()
        return answer["loss"]

    def on_train_batch_end(self, outputs: Any, batch: Any, step: int) -> None:
        """Let the average follow; every ten steps, check the loss and tell."""
        if self.average is not None:
            self._update_average()
        if step % 10 == 9 or step == self.steps - 1:
            if not math.isfinite(float(self.totals[0])):
                self._diverged()
            self.tell(step)

    def validation_step(self, batch: Any, step: int) -> None:
        """Loss and accuracy of the whole validation part."""
        assert self.validation is not None
        logits = self.logits(self.kept_network, self.validation.images).float()
        loss = F.cross_entropy(logits, self.validation.labels)
        accuracy = (logits.argmax(1) == self.validation.labels).float().mean()
        self.validated = (float(loss), float(accuracy))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what Lightning's callbacks would add: the run folder has it."""
        checkpoint["callbacks"] = {}

    # Parts of the above.

    def logits(self, network: Network, images: Tensor) -> Tensor:
        """Logits ``(N, K)`` of the labels, in evaluation mode."""
        # A processor fetches the pages of large maps from the system at each layer, which costs more than the layer.
        batch = 64 if images.device.type == "cpu" else 512
        training = network.training
        network.eval()
        try:
            with torch.inference_mode():
                return torch.cat([network(part)[:, : self.classes] for part in torch.split(images, batch)])
        finally:
            network.train(training)

    def _seed(self, step: int) -> torch.Generator:
        """A generator of one step's views; also seeds torch's global one, which dropout draws from."""
        views, rest = (
            int(np.random.SeedSequence([self.config.run.seed, epoch, step]).generate_state(1, np.uint64)[0] >> 1)
            for epoch in (self.turn, self.current_epoch)
        )
        torch.manual_seed(rest)
        return torch.Generator().manual_seed(views)

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

    def tell(self, step: int, validated: bool = False) -> None:
        """Bring the report up to date, and give the watcher a status."""
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


class Keeper(Checkpoint):
    """After each epoch: the history's row, then the checkpoints; last, and best on validation."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Learner) -> None:
        """Refuse weights that have blown up; log; save."""
        module.check_finite()
        loss, accuracy = module.validated or (None, None)
        module.tell(module.steps - 1, validated=True)
        row = {
            "epoch": trainer.current_epoch + 1,
            "train_loss": module.report["loss"],
            "train_accuracy": module.report["accuracy"],
            "validation_loss": loss,
            "validation_accuracy": accuracy,
            "lr": module.rate,
            "seconds": time.monotonic() - module.epoch_began,
            "images_per_second": module.report["rate"],
            # A run may go on with another number of them; on other devices cores are not what does the work.
            "threads": torch.get_num_threads() if module.device.type == "cpu" else None,
        }
        best = max((r["validation_accuracy"] or 0.0 for r in self.run.history()[: trainer.current_epoch]), default=0.0)
        self.run.log(row)
        if trainer.logger is not None:
            trainer.logger.log_metrics(
                {k: v for k, v in row.items() if v is not None and k != "epoch"}, step=row["epoch"]
            )
        if accuracy is not None and accuracy > best:
            checkpoints.save(
                {"network": module.kept_network.state_dict(), "epoch": row["epoch"]}, self.run.checkpoint("best")
            )
        trainer.save_checkpoint(self.run.checkpoint("last"))

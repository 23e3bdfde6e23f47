"""A run folder: what a training run leaves behind, and all that is needed to resume it.

Its files are named in :mod:`moue.run_folder`; next to them are ``checkpoints/`` (last.safetensors, best.safetensors:
everything a resumed run needs) and, where tensorboard is installed, ``tensorboard/``.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moue._version import __version__
from moue.damage import decoding, read_json
from moue.data.splits import Split
from moue.data.table import ImageTable
from moue.errors import DataError, TrainingError, UsageError, shortened
from moue.evaluation.calibration import calibrate
from moue.evaluation.metrics import scores
from moue.files import atomic_write
from moue.labels import FER2013
from moue.renames import current_settings
from moue.run_folder import CONFIG, HISTORY, RECORD, SPEC, SPLIT, WEIGHTS, is_run
from moue.runtime.results import Predictions, softmax
from moue.spec import ModelSpec
from moue.training.config import MAY_DIFFER, Config
from moue.training.provenance import (
    LICENSE,
    curves_of,
    data_record,
    license_of,
    machine_of,
    noise_of,
    origin_of,
    record_of,
)
from moue.training.remarks import remarks

if TYPE_CHECKING:
    from torch import Tensor

    from moue.models.base import Network

#: What can be done where a run's files are damaged: those that it cannot be resumed without, and its curves.
_RESTORE = "Restore it from a copy, or train again in another folder."
_WITHOUT_HISTORY = (
    "Restore it from a copy, or delete it: the run goes on without its curves so far, and its best epoch is chosen "
    "among those to come."
)

#: Types of what is read again of a record.
_RECORD: dict[str, type] = {
    "status": str,
    "license": str,
    "parameters": int,
    "data": dict,
    "machine": dict,
    "rebuild": dict,
    "members": list,
    "recipe": dict,
    "asked": dict,
}


def rank(epoch: Mapping[str, Any]) -> tuple[float, float]:
    """What the best epoch has most of: accuracy on validation, and of equal ones, as small parts have, the lower loss.

    Args:
        epoch: its row of the history.
    """
    loss = epoch.get("validation_loss")
    return epoch["validation_accuracy"] or 0.0, -math.inf if loss is None else -loss


@dataclass(frozen=True)
class Run:
    """A run folder, whether it exists yet or not."""

    folder: Path

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return (self.folder / CONFIG).exists()

    @property
    def finished(self) -> bool:
        """Whether the run ended."""
        return self.exists and self.record().get("status") == "finished" and is_run(self.folder)

    def checkpoint(self, name: str) -> Path:
        """Path of the checkpoint "last" or "best"."""
        return self.folder / "checkpoints" / f"{name}.safetensors"

    def config(self) -> Config:
        """The resolved configuration."""
        return self._config_of(self._json(CONFIG), CONFIG)

    def record(self) -> dict[str, Any]:
        """What run.json holds.

        Raises:
            UsageError: when it is damaged, or a part of it is of another type.
        """
        values = {key: value for key, value in self._json(RECORD).items() if value is not None}
        for key, kind in _RECORD.items():
            if not isinstance(values.get(key, kind()), kind) and not (
                key in ("recipe", "asked") and values[key] is None
            ):
                raise self._damaged(RECORD, f"{key} is a {type(values[key]).__name__}")
        return values

    def spec(self) -> ModelSpec:
        """The spec of the kept weights."""
        return ModelSpec.load(self.folder / SPEC)

    def split(self, table: ImageTable) -> Split:
        """The run's split of ``table``.

        Raises:
            DataError: when the run was trained on another data set.
        """
        if self.record().get("data", {}).get("fingerprint") != table.fingerprint:
            raise DataError(
                f"{self.folder} was trained on another data set ({self.record().get('data', {}).get('name')}); "
                "give that one with --data to resume the run."
            )
        return Split.load(self.folder / SPLIT)

    def resume_config(self, recipe: Config, requested: Config, settings: Iterable[str]) -> Config:
        """The configuration with which a run is resumed, or taken as finished.

        It is the run's own, except for what may differ (:data:`~moue.training.config.MAY_DIFFER`) and is given by name.

        Args:
            recipe: as it is now, without any settings.
            requested: the recipe with all settings.
            settings: those that are given by name, as "optim.lr" or "optim.lr=0.1".

        Raises:
            UsageError: when the recipe, or one of the settings, is not that of the run; names both values.
        """
        saved, free = self.config(), MAY_DIFFER
        others = f"--resume may change {', '.join(free[:-1])} and {free[-1]} alone"
        # Before a time budget set the epochs.
        record = self.record()
        original = self._config_of(record.get("asked") or saved.to_dict(), RECORD)
        named = [s.partition("=")[0].strip() for s in settings]
        network = [] if requested.model.network == "init" else ["model.network"]
        for name in (*network, *named):
            if name not in free and requested.get(name) not in (saved.get(name), original.get(name)):
                raise UsageError(
                    f"{self.folder} holds a run with {name}={shortened(saved.get(name))}, not "
                    f"{shortened(requested.get(name))}; {others}. Leave that setting out to take the run as it is, or "
                    "choose another folder."
                )
        # A run that was started from Python has no recipe.
        started = self._config_of(record.get("recipe") or recipe.to_dict(), RECORD)
        if recipe.data.labels is None and started.data.labels == FER2013.name:
            # Version 0.1.0 wrote this where a recipe says nothing.
            started = started.override(changes={"data.labels": None})
        for name in (f"{section}.{key}" for section, keys in recipe.to_dict().items() for key in keys):
            if name not in free and recipe.get(name) != started.get(name):
                raise UsageError(
                    f"{self.folder} was started from a recipe with {name}={shortened(started.get(name))}, not "
                    f"{shortened(recipe.get(name))}; {others}. Give the recipe as it was, or choose another folder."
                )
        return saved.override(changes={name: requested.get(name) for name in named if name in free})

    def history(self) -> list[dict[str, Any]]:
        """One dictionary an epoch: epoch, losses, accuracies, lr, seconds, images_per_second, threads."""
        path = self.folder / HISTORY
        if not path.exists():
            return []
        with (
            decoding(path, lambda why: self._damaged(HISTORY, why, _WITHOUT_HISTORY)),
            open(path, newline="", encoding="utf-8") as file,
        ):
            reader = csv.DictReader(file, strict=True)
            rows = [{key: float(value) if value else None for key, value in row.items()} for row in reader]
            history: list[dict[str, Any]] = [{**row, "epoch": int(row["epoch"] or 0)} for row in rows]
            if not {"train_loss", "validation_accuracy", "seconds"} <= {*(reader.fieldnames or ())}:
                raise ValueError("it lacks columns")
            if [row["epoch"] for row in history] != sorted({row["epoch"] for row in history}):
                raise ValueError("its epochs are not in order")
        return history

    def best_accuracy(self, before: int) -> float:
        """The best accuracy on validation of the epochs before that one, which counts from 1; 0 where there is none."""
        return self.best_rank(before)[0]

    def best_rank(self, before: int) -> tuple[float, float]:
        """:func:`rank` of the best epoch before that one, which counts from 1; that of nothing where there is none."""
        return max((rank(row) for row in self.history() if row["epoch"] < before), default=(0.0, -math.inf))

    def stalled(self, patience: int | None, epochs: int) -> bool:
        """Whether the last ``patience`` of so many epochs have not improved the accuracy on validation."""
        if patience is None or epochs <= patience:
            return False
        return self.best_accuracy(before=epochs + 1) <= self.best_accuracy(before=epochs + 1 - patience)

    def begin(
        self,
        config: Config,
        split: Split,
        table: ImageTable,
        network: Network,
        machine: Mapping[str, Any],
        precision: str,
        recipe: Config | None = None,
        requested: Config | None = None,
    ) -> None:
        """Write what is known before the first step.

        ``recipe`` and ``requested``, the configuration before a time budget set its epochs, are for
        :meth:`resume_config`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        split.save(self.folder / SPLIT)
        record = {
            "status": "running",
            "network": config.model.network,
            "parameters": sum(p.numel() for p in network.inference_parameters()),
            "precision": precision,
            "seed": config.run.seed,
            "recipe": recipe and recipe.to_dict(),
            "asked": requested and requested.to_dict(),
            "license": license_of(config, table),
            "data": {**data_record(table, split), **noise_of(config, table, split.train)},
            "machine": dict(machine),
            "rebuild": network.rebuild,
            "members": record_of(config.model.backbones),
            "begun": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        self._write(RECORD, record)
        # Last: its presence says that a run was started.
        self.save_config(config)

    def save_config(self, config: Config) -> None:
        """Write the resolved configuration."""
        self._write(CONFIG, config.to_dict())

    def log(self, row: Mapping[str, Any]) -> None:
        """Add an epoch to the history; a row of the same or a later epoch, left by a killed run, is replaced."""
        rows = [r for r in self.history() if r["epoch"] < row["epoch"]] + [dict(row)]
        path = self.folder / HISTORY
        try:
            with atomic_write(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=list(row))
                writer.writeheader()
                writer.writerows(rows)
        except OSError as error:
            raise TrainingError(
                f"{path} cannot be written: {error.strerror}. The last good checkpoint is kept."
            ) from error

    def finish(
        self,
        weights: Mapping[str, Tensor],
        labels: tuple[str, ...],
        network: Network,
        validation: tuple[np.ndarray, np.ndarray] | None,
        class_frequencies: Sequence[float],
        peak_memory: Mapping[str, float],
    ) -> None:
        """Write the kept weights, their spec with its temperature, and the end of the record.

        Args:
            weights: those of the network that is kept.
            labels: its classes.
            network: the one that was trained, for its input and for the options that build it again.
            validation: logits ``(N, K)`` and labels ``(N,)`` of the validation part, or None.
            class_frequencies: share of each class among the training rows, as their targets say.
            peak_memory: in GB, by what used it.
        """
        from moue.models.load import save_weights

        config, record, history = self.config(), self.record(), self.history()
        save_weights(weights, self.folder / WEIGHTS, network.rebuild)
        seconds = sum(float(r["seconds"] or 0) for r in history)
        # Unknown for the whole where one epoch, of an older version or on another device, does not say.
        known = all(r.get("threads") for r in history)
        cores = sum(float(r["seconds"] or 0) * float(r["threads"]) for r in history) if known else 0
        epochs = epoch = history[-1]["epoch"] if history else config.optim.epochs
        if config.optim.keep == "best" and history and self.checkpoint("best").exists():
            epoch = max(history, key=rank)["epoch"]
        spec = ModelSpec(
            name=self.folder.name,
            network=config.model.network,
            labels=labels,
            size=network.input.size,
            color=network.input.color,
            crop_size=config.data.random_crop if config.data.augment else 0,
            views=2,
            license=record.get("license", LICENSE),
            parameters=record.get("parameters", 0),
            class_frequencies=tuple(round(share, 6) for share in class_frequencies),
            trained={
                "epochs": epochs,
                "epoch_kept": epoch,
                "hours": round(seconds / 3600, 4),
                **({"core_hours": round(cores / 3600, 4)} if cores else {}),
                "seed": config.run.seed,
                **origin_of(config),
                **({"ensemble": "concat", "members": record["members"]} if record.get("members") else {}),
                "machine": machine_of(record),
                "data": record.get("data", {}),
                "moue": __version__,
                "curves": curves_of(history),
            },
        )
        held_out, remark = None, ""
        if validation is not None:
            logits, truth = validation
            temperature, uncertain_below, remark = calibrate(logits, truth)
            held_out = scores(Predictions(softmax(logits, temperature), labels), truth)
            spec = spec.replace(
                temperature=temperature,
                uncertain_below=uncertain_below,
                scores={
                    "validation": held_out.accuracy,
                    "validation_se": held_out.accuracy_se,
                    "validation_majority_baseline": held_out.majority_baseline,
                },
            )
        most = (record.get("asked") or {}).get("optim", {}).get("epochs")
        if noted := [*remarks(config, history, held_out, most), *filter(None, [remark])]:
            spec = spec.replace(trained={**spec.trained, "remarks": noted})
        spec.save(self.folder / SPEC)
        record |= {"status": "finished", "seconds": seconds, "peak_memory_gb": dict(peak_memory), "epoch_kept": epoch}
        record["ended"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._write(RECORD, record)

    @contextmanager
    def tensorboard(self) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Gives a function that logs a row of the history for TensorBoard too, where that is installed."""
        if importlib.util.find_spec("tensorboard") is None:
            yield lambda row: None
            return
        from torch.utils.tensorboard import SummaryWriter

        writers: list[SummaryWriter] = []  # The first row opens one, hence the folder.

        def log(row: Mapping[str, Any]) -> None:
            if not writers:
                writers.append(SummaryWriter(self.folder / "tensorboard"))
            for name, value in row.items():
                if value is not None and name != "epoch":
                    writers[0].add_scalar(name, value, row["epoch"])

        try:
            yield log
        finally:
            for writer in writers:
                writer.close()

    def _config_of(self, values: Mapping[str, Any], name: str) -> Config:
        """The configuration that a file of the run holds."""
        try:
            return Config.from_dict(current_settings(values))
        except UsageError as error:
            raise self._damaged(name, str(error).rstrip(".")) from error

    def _damaged(self, name: str, why: str, remedy: str = _RESTORE) -> UsageError:
        """The error for a file of the run that cannot be used."""
        return UsageError(f"{self.folder / name} is damaged, or of another version ({why}). {remedy}")

    def _json(self, name: str) -> dict[str, Any]:
        try:
            return read_json(self.folder / name, lambda why: self._damaged(name, why))
        except FileNotFoundError:
            raise UsageError(f"{self.folder} is not a run folder: it has no {name}.") from None

    def _write(self, name: str, values: Any) -> None:
        with atomic_write(self.folder / name) as part:
            part.write_text(json.dumps(values, indent=2, default=str) + "\n", encoding="utf-8")

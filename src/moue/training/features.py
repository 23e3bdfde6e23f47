"""What a network's frozen layers give for some augmented views of each image, on disk: later epochs train the rest.

A file a view, bf16 and memory-mapped, in the order in which the epochs draw their rows. A cache belongs to its weights,
data and settings; one of others is refused. It is filled from the first step on, and a killed run goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moue.damage import read_json
from moue.errors import TrainingError, UsageError
from moue.files import atomic_write
from moue.models.base import Network
from moue.training import processes
from moue.training.prepare import Plan
from moue.training.processes import own_rows, part_of

#: Its record: what it was made from, and how many rows each file has.
RECORD = "features.json"

#: Batches between two writes of the record, which a killed run repeats at most.
INTERVAL = 20


class FeatureCache:
    """Features of ``views`` views of each row, and of further sets of rows, by name.

    Args:
        folder: where the files are.
        origin: what they depend on, as plain values.
        shape: of one row's features.
        rows: by file name, how many rows it gets at most.

    Raises:
        UsageError: when the folder holds a cache of another origin, or its disk has not enough space.
    """

    def __init__(self, folder: Path, origin: dict[str, Any], shape: tuple[int, ...], rows: dict[str, int]) -> None:
        self.folder, self.origin, self.shape, self.rows = folder, origin, shape, rows
        self.done = self._open()
        self._maps: dict[str, np.memmap[Any, np.dtype[np.int16]]] = {}
        self._pending = 0
        folder.mkdir(parents=True, exist_ok=True)
        missing = self.bytes - sum(self._size(name) for name in rows if self._is_reserved(name))
        if missing > (free := shutil.disk_usage(folder).free):
            raise UsageError(
                f"the frozen layers' features take {self.bytes / 1e9:.1f} GB, and the disk of {folder} has "
                f"{free / 1e9:.1f} GB free. Take fewer views, as in --set optim.cached_views=1, or another disk: --set "
                "run.features=FOLDER"
            )

    @property
    def bytes(self) -> int:
        """Its size on disk when it is full."""
        return sum(self.rows.values()) * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return 2 * math.prod(self.shape)

    def get(self, name: str, first: int, n: int, compute: Callable[[], Tensor]) -> Tensor:
        """Features of ``n`` rows of a file from ``first`` on; those that it lacks are computed, and kept.

        Rows are asked for in order.

        Args:
            name: of the file.
            first: row.
            n: number of rows.
            compute: gives the features ``(n, …)``, on any device.

        Returns:
            bfloat16 ``(n, …)``, on the CPU; rounded alike whether they were computed or read.

        Raises:
            TrainingError: when they cannot be written.
        """
        stored = self._map(name)
        if first + n <= self.done[name]:
            return torch.from_numpy(stored[first : first + n].copy()).view(torch.bfloat16)
        values = compute().detach().to("cpu", torch.bfloat16).contiguous()
        stored[first : first + n] = values.view(torch.int16).numpy()
        if first == self.done[name]:
            self.done[name] += n
        self._pending += 1
        if self._pending >= INTERVAL:
            self.flush()
        return values

    def flush(self) -> None:
        """Write down how far the files are."""
        if self._pending:
            for stored in self._maps.values():
                stored.flush()
            with atomic_write(self.folder / RECORD) as part:
                part.write_text(json.dumps({"origin": self.origin, "rows": self.done}), encoding="utf-8")
            self._pending = 0

    def delete(self) -> None:
        """Remove it from the disk."""
        self._maps.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _size(self, name: str) -> int:
        return self.rows[name] * self._row_bytes

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.bf16"

    def _is_reserved(self, name: str) -> bool:
        return self._path(name).exists() and self._path(name).stat().st_size == self._size(name)

    def _map(self, name: str) -> np.memmap[Any, np.dtype[np.int16]]:
        if name not in self._maps:
            path = self._path(name)
            if not self._is_reserved(name):
                self.done[name] = 0
                try:
                    _reserve(path, self._size(name))
                except OSError as error:
                    path.unlink(missing_ok=True)
                    raise TrainingError(f"{path} cannot be written: {error.strerror}") from error
            self._maps[name] = np.memmap(path, np.int16, "r+", shape=(self.rows[name], *self.shape))
        return self._maps[name]

    def _open(self) -> dict[str, int]:
        """Rows that each file has."""
        path = self.folder / RECORD
        if not path.exists():
            return dict.fromkeys(self.rows, 0)
        remedy = f"Delete that folder, or choose another one: --set run.features=FOLDER. Got {self.folder}."
        record = read_json(path, lambda why: UsageError(f"the cache {path} is damaged ({why}). {remedy}"))
        origin, done = record.get("origin"), record.get("rows")
        if not isinstance(origin, dict) or not isinstance(done, dict):
            raise UsageError(f"the cache {path} is damaged. {remedy}")
        wrong = [key for key in self.origin if origin.get(key) != json.loads(json.dumps(self.origin[key]))]
        if wrong:
            raise UsageError(f"the cached features were made with other {' and '.join(wrong)}. {remedy}")
        return {name: int(done.get(name, 0)) for name in self.rows}


def _reserve(path: Path, size: int) -> None:
    """Take the space now: a disk that is full later would end a write to mapped memory with a signal."""
    with open(path, "wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


def open_features(plan: Plan, announce: Callable[[str], None] | None) -> FeatureCache | None:
    """The cache of a planned training; None without ``optim.cached_views``.

    Args:
        plan: the training, its network with the weights that it begins with.
        announce: called with what the cache takes on disk.

    Raises:
        UsageError: as :class:`FeatureCache`.
    """
    config, shape = plan.config, plan.network.frozen_shape
    if not config.optim.cached_views or shape is None:
        return None
    own, validation = len(part_of(config.optim.batch_size).rows), len(plan.split.validation)
    rows = {view_name(i): plan.steps * own for i in range(config.optim.cached_views)}
    if validation:
        first, last = own_rows(validation)
        rows["validation"] = last - first
    origin = {"weights": _checksum_of_frozen(plan.network), **origin_of_views(plan)}
    folder = Path(config.run.features or plan.run.folder / "features")
    if processes.count() > 1:
        folder = folder / str(processes.rank())
    cache = FeatureCache(folder, origin, shape, rows)
    if announce is not None and processes.is_first():
        each = " for each process" if processes.count() > 1 else ""
        announce(f"the frozen layers' features take {cache.bytes / 1e6:,.0f} MB{each}, in {folder}")
    return cache


def origin_of_views(plan: Plan) -> dict[str, Any]:
    """What the views of a planned training depend on, and the rounding of what is computed of them: plain values."""
    config = plan.config
    drawn = {"seed": config.run.seed, "batch_size": config.optim.batch_size, "steps": plan.steps}
    return {
        "data": plan.table.fingerprint,
        "rows": checksum([plan.split.train, plan.split.validation]),
        "augmentation and settings": {**dataclasses.asdict(config.data), **drawn},
        "precision": plan.precision,
        "processes": processes.count(),
    }


def view_name(view: int) -> str:
    """The file of a view."""
    return f"view-{view}"


def _checksum_of_frozen(network: Network) -> str:
    frozen = sorted((name, p) for name, p in network.named_parameters() if not p.requires_grad)
    return checksum(value.detach().cpu().contiguous().view(-1).numpy() for _, value in frozen)


def checksum(parts: Iterable[NDArray[Any]]) -> str:
    """Of the bytes of arrays."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(np.ascontiguousarray(part).view(np.uint8).data)
    return digest.hexdigest()

"""The teachers of a distillation: finished runs, in torch, or trained models without their runs, as ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moue.data.table import ImageTable
from moue.errors import MissingExtra, UsageError
from moue.models.base import Network
from moue.models.load import load_run
from moue.runtime.engine import Engine, open_model
from moue.runtime.weights import TORCH, is_known
from moue.spec import Color, ModelSpec
from moue.trained.network import open_network
from moue.trained.open import run_of, spec_of
from moue.trained.split_of import split_of
from moue.trained.teacher import is_member, teacher_spec


class Images(Protocol):
    """The images that a teacher takes."""

    @property
    def size(self) -> int:
        """Side in pixels."""

    @property
    def color(self) -> Color:
        """Gray or RGB."""


class Teacher(Protocol):
    """Gives logits that a student learns from."""

    @property
    def input(self) -> Images:
        """Of the images that it takes."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Float images ``(N, C, size, size)``, 0..255, to logits ``(N, K)`` on the same device."""


@dataclass(frozen=True)
class OnnxTeacher:
    """A trained model without its run: a name of ``moue models`` or an ONNX file. It runs on the CPU."""

    engine: Engine

    @property
    def input(self) -> ModelSpec:
        """See :class:`Teacher`."""
        return self.engine.spec

    def __call__(self, images: Tensor, /) -> Tensor:
        """See :class:`Teacher`; its graph takes whole gray values, as images have them."""
        pixels = images.clamp(0, 255).round().to(torch.uint8).cpu().numpy()
        return torch.from_numpy(self.engine.logits(pixels, batch_size=len(pixels))).to(images.device)


@dataclass(frozen=True)
class TorchTeacher:
    """A shipped model in torch: one network, or the members of an ensemble, whose logits add up to its own."""

    networks: list[tuple[Network, float]]
    """Each with the factor on its logits."""
    input: ModelSpec
    """See :class:`Teacher`."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """See :class:`Teacher`."""
        parts = [factor * network(images) for network, factor in self.networks]
        return torch.stack(parts).sum(0)


def in_torch(name: str, device: str) -> TorchTeacher | None:
    """A shipped model as a teacher in torch; None where there are no weights for that.

    Args:
        name: of ``moue models``, or the path of an ONNX file.
        device: where it is to be.
    """
    if not is_known(name):
        return None
    spec = spec_of(name)
    members = spec.trained.get("members", []) if spec.network == "ensemble" else []
    # A member may be a shipped model itself.
    names = [own if (own := f"{name}/{m['name']}") in TORCH else m["name"] for m in members]
    factors = {own: m["weight"] / m["temperature"] for own, m in zip(names, members, strict=True)} or {name: 1.0}
    if not factors.keys() <= set(TORCH):
        return None
    try:
        return TorchTeacher([(open_network(own, device).network, factor) for own, factor in factors.items()], spec)
    except MissingExtra:
        return None


def open_teachers(names: Sequence[str], labels: tuple[str, ...], device: str, threads: int = 0) -> list[Teacher]:
    """Teachers, ready to give logits.

    Args:
        names: names of ``moue models`` or of `full`'s members, run folders, or ONNX files with their specs; a model
            goes before a run of the same name, see :func:`moue.trained.open.run_of`.
        labels: which they must have.
        device: where the runs among them are to be; on a GPU also shipped models, as far as ``moue-models`` has their
            weights for torch.
        threads: CPU threads of the others, which are ONNX models; 0 lets their engine choose.

    Raises:
        UnknownName, ModelError, MissingExtra: as :func:`moue.trained.open.open_any`.
        UsageError: when a teacher has other labels.
    """
    for name in names:
        own = teacher_spec(name).labels
        if own != labels:
            raise UsageError(
                f"a teacher must have the data's labels: {', '.join(labels)}. {name} has {', '.join(own)} instead. "
                "To learn from the labels alone: --set optim.teachers=[]"
            )
    return [_open(name, device, threads) for name in names]


def _open(name: str, device: str, threads: int) -> Teacher:
    if is_member(name):
        return open_network(name, device).network
    if run_of(name):
        return load_run(name, device).network
    # On the CPU its engine is faster; a GPU would wait for it.
    if torch.device(device).type != "cpu" and (teacher := in_torch(name, device)) is not None:
        return teacher
    return OnnxTeacher(open_model(name, threads=threads, optimize_for="throughput"))


def teacher_mask(names: Sequence[str], table: ImageTable, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Which teachers held out which rows, hence may teach them.

    Args:
        names: as of :func:`open_teachers`.
        table: the whole set, as it is trained on.
        rows: positions in it, ``(N,)``.

    Returns:
        float32 ``(N, len(names))`` of 0 and 1; at least one 1 in each row.

    Raises:
        DataError: when a teacher's run was trained on another set.
        UsageError: when nothing says which rows a teacher held out, or when there are rows that none did.
    """
    mask = np.zeros((len(rows), len(names)), np.float32)
    for i, name in enumerate(names):
        split = split_of(name, table)
        if split is None:
            raise UsageError(
                f"nothing says which rows of {table.name or 'this set'} the teacher {name} was trained on. "
                "For optim.teachers_out_of_fold give finished runs."
            )
        mask[:, i] = np.isin(rows, split.validation)
    if missing := int((mask.sum(1) == 0).sum()):
        raise UsageError(
            f"optim.teachers_out_of_fold: {missing} of {len(rows)} training rows were held out by no teacher. "
            "Train one for each part, as with --set data.validation=0.2 and --set data.fold=0, 1, 2, 3 and 4."
        )
    return mask

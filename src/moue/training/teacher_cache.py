"""What the teachers give for the views that come again, in the run folder: a resumed run computes it for new ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from moue.errors import TrainingError
from moue.run_folder import WEIGHTS
from moue.spec import file_sha256
from moue.trained.open import run_of
from moue.trained.teacher import teacher_spec
from moue.training import checkpoints, processes
from moue.training.augment import DAMAGE
from moue.training.features import checksum, origin_of_views
from moue.training.prepare import Plan
from moue.training.tasks import DistillationTask


class TeacherCache:
    """A task's cached probabilities, written beside its checkpoints; a file of another origin, or a damaged one, is
    passed over, and replaced.

    Args:
        path: the file.
        origin: what the probabilities depend on, as plain values.
        probs: those of the task, by the seed of a step; here are put those of the file.
        device: where they are used.
    """

    def __init__(self, path: Path, origin: dict[str, Any], probs: dict[int, Tensor], device: str = "cpu") -> None:
        self.path, self.origin, self._probs = path, origin, probs
        # Of steps that were timed for a time budget.
        probs.clear()
        probs.update(self._read(device))
        self._written = len(probs)

    def flush(self) -> None:
        """Write what was added.

        Raises:
            TrainingError: when it cannot be written.
        """
        if len(self._probs) > self._written:
            checkpoints.save({"origin": self.origin, "probabilities": self._probs}, self.path)
            self._written = len(self._probs)

    def delete(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def _read(self, device: str) -> dict[int, Tensor]:
        try:
            state = checkpoints.load(self.path, device) if self.path.exists() else {}
        except TrainingError:
            return {}
        return dict(state["probabilities"]) if state.get("origin") == self.origin else {}


def open_teacher_cache(plan: Plan) -> TeacherCache | None:
    """The cache of a planned training; None for one without teachers, or without ``optim.teacher_views``."""
    optim, task, mask = plan.config.optim, plan.task, plan.train.teacher_mask
    if not optim.teacher_views or not isinstance(task, DistillationTask):
        return None
    views = origin_of_views(plan)
    # Teachers see the views before they are damaged.
    for name in DAMAGE:
        del views["augmentation and settings"][name]
    origin = {
        **views,
        "teachers": [_sha256(name) for name in optim.teachers],
        "mask": None if mask is None else checksum([mask.cpu().numpy()]),
        "temperature": optim.teacher_temperature,
        "mixup": optim.mixup,
    }
    name = "teachers" if processes.count() == 1 else f"teachers-{processes.rank()}"
    return TeacherCache(plan.run.checkpoint(name), origin, task.cache, str(plan.device))


def _sha256(name: str) -> str:
    run = run_of(name)
    return teacher_spec(name).sha256 if run is None else file_sha256(run / WEIGHTS)

"""The engine "ray": Ray Data, with actors that keep their model open, on this machine or a cluster."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Generator, Iterable
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

from moue.errors import MoueError
from moue.scale.cluster import connect
from moue.scale.part import Tally
from moue.scale.plan import read_unit
from moue.scale.storage import Storage
from moue.scale.worker import Job, Scorer
from moue.telemetry import import_ray

#: Bytes of the object store of a cluster on this machine: units and tallies are small, images never go through it.
OBJECT_STORE = 100 << 20


class Actor:
    """What Ray starts on a processor's core: reads its units from the data set's plan, where all machines see it."""

    def __init__(self, job: Job) -> None:
        # One that is killed leaves what it had fetched.
        folder = _scratch(job)
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(folder)
        self._storage, self._scorer = Storage(job.dataset), Scorer(job)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Score a batch of units, each given by its number and the place of its line."""
        results: list[bytes] = []
        for offset in batch["offset"]:
            try:
                results.append(self._scorer.score(read_unit(self._storage, int(offset))).to_json())
            except MoueError as error:
                # As a value, because Ray would try again for ever.
                return {"unit": [-1], "tally": [str(error).encode()]}
        return {"unit": [int(unit) for unit in batch["unit"]], "tally": results}


def score_on_ray(job: Job, units: Iterable[tuple[int, int]], workers: int) -> Generator[tuple[int, Tally], None, None]:
    """Score units with Ray Data, which has no more of them under way than there are actors for.

    An actor that dies is started again, and its unit with it.

    Args:
        job: what the actors do.
        units: the number of each unit and the byte at which its line in the plan begins.
        workers: how many actors, of a core each.

    Yields:
        The number of each unit and what it had, as they are completed.

    Raises:
        MissingExtra: without Ray.
        MoueError: when the data set cannot be written, or the cluster does not work.
    """
    ray, data = import_ray(), import_ray("data")
    rows = [{"unit": unit, "offset": offset} for unit, offset in units]
    if not rows:
        return
    workers = min(workers, len(rows))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, _scratch(job), ignore_errors=True)
        # Stdout is for the results; Ray prints on it what it has to say about actors that died.
        stack.enter_context(redirect_stdout(sys.stderr))
        if not ray.is_initialized():
            connect(ray, address="local", num_cpus=workers, include_dashboard=False, object_store_memory=OBJECT_STORE)
        stack.callback(ray.shutdown)
        yield from _scored(ray, data, job, rows, workers)


def _scratch(job: Job) -> Path:
    """A run's temporary files on a machine."""
    return Path(tempfile.gettempdir()) / f"moue-{job.run}"


def _scored(
    ray: Any, data: Any, job: Job, rows: list[dict[str, int]], workers: int
) -> Generator[tuple[int, Tally], None, None]:
    try:
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        # The order of the parts is in their names.
        context.execution_options.preserve_order = False
        scored = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Actor, fn_constructor_args=(job,), batch_size=1, compute=data.ActorPoolStrategy(size=workers), num_cpus=1
        )
        for row in scored.iter_rows():
            if row["unit"] < 0:
                raise MoueError(row["tally"].decode())
            yield row["unit"], Tally.from_json(row["tally"])
    except ray.exceptions.RayError as error:
        raise MoueError(f"the Ray cluster ended the run: {error}. The same command goes on.") from error

"""Training on a Ray cluster: Ray Train starts a process for each worker, and these train as those of torchrun do."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moue.errors import MoueError, TrainingError, UsageError, shortened
from moue.scale.cluster import connect
from moue.telemetry import import_ray

if TYPE_CHECKING:
    from moue.data.table import ImageTable
    from moue.training.config import Config
    from moue.training.progress import ProgressCallback
    from moue.training.run_folder import Run


def fit_on_ray(
    config: Config,
    table: ImageTable,
    folder: Path,
    *,
    workers: int | None = None,
    resume: bool = False,
    progress: ProgressCallback | None = None,
    recipe: Config | None = None,
) -> Run:
    """:func:`moue.training.loop.fit` in the workers of a cluster: that of ``RAY_ADDRESS``, or one that runs on this
    machine, or else a local one that ends with the training. The data travel to them from here.

    Args:
        config, table, folder, resume, recipe, progress: as of :func:`moue.training.loop.fit`. The folder must be on
            storage that all machines share.
        workers: how many; by default the cluster's GPUs, or its CPUs by ``run.threads`` (at least one) each.

    Returns:
        The finished run.

    Raises:
        UsageError: when the cluster has too little, or a worker cannot write the folder.
        TrainingError: when a worker ends or cannot go on; the last checkpoint is kept.
        MissingExtra: without Ray.
    """
    import_ray("train.torch")
    from moue.training.run_folder import Run

    folder = folder.absolute()
    # Each worker checks that it sees this place, and Ray leaves its state there.
    place, name = folder.parent, f".{folder.name}-{secrets.token_hex(4)}"
    place.mkdir(parents=True, exist_ok=True)
    with _cluster() as ray:
        count, needs = _share(ray.cluster_resources(), config, workers)
        train = ray.train
        job = {"config": config.to_dict(), "folder": str(folder), "resume": resume}
        job |= {"recipe": recipe and recipe.to_dict(), "table": ray.put(table)}
        try:
            with _relayed(progress) as reports:
                train.torch.TorchTrainer(
                    _work,
                    train_loop_config={**job, "reports": reports},
                    scaling_config=train.ScalingConfig(
                        num_workers=count, use_gpu="GPU" in needs, resources_per_worker=needs
                    ),
                    run_config=train.RunConfig(name=name, storage_path=str(place)),
                    torch_config=train.torch.TorchConfig(backend="cpu:gloo,cuda:nccl" if "GPU" in needs else "gloo"),
                ).fit()
        except (RuntimeError, train.TrainingFailedError) as error:
            raise _explained(error, folder) from error
        finally:
            shutil.rmtree(place / name, ignore_errors=True)
    return Run(folder)


def _work(job: dict[str, Any]) -> None:
    """One worker's part of a training."""
    ray = import_ray()
    from moue.training.config import Config
    from moue.training.loop import fit

    recipe, reports = job["recipe"], job["reports"]
    try:
        fit(
            Config.from_dict(job["config"]),
            ray.get(job["table"]),
            job["folder"],
            resume=job["resume"],
            progress=None if reports is None else reports.put,
            recipe=recipe and Config.from_dict(recipe),
        )
    except MoueError as error:
        # One that can be sent, whatever its own arguments are.
        raise TrainingError(str(error)) from None


@contextmanager
def _cluster() -> Iterator[Any]:
    """Ray, connected; a connection of the caller's is left as it is."""
    ray = import_ray("train.torch") and import_ray()
    if ray.is_initialized():
        yield ray
        return
    # Ray Train counts its own uses, too.
    os.environ.setdefault("RAY_TRAIN_USAGE_STATS_ENABLED", "0")
    connect(ray)
    try:
        yield ray
    finally:
        ray.shutdown()


def _share(cluster: dict[str, float], config: Config, workers: int | None) -> tuple[int, dict[str, float]]:
    """How many workers, and what each takes of the cluster."""
    cpus, gpus = int(cluster.get("CPU", 0)), int(cluster.get("GPU", 0))
    threads = max(1, config.run.threads)
    use_gpus = gpus > 0 and config.run.device != "cpu"
    most = gpus if use_gpus else cpus // threads
    count = workers or max(1, min(most, config.optim.batch_size // 2))
    if count > most:
        has = f"{gpus} GPU{'s' * (gpus != 1)}" if use_gpus else f"{cpus} CPU{'s' * (cpus != 1)} for {threads} each"
        raise UsageError(f"{count} workers need more than the cluster has: {has}. Type: --workers {max(1, most)}")
    return count, {"CPU": 1, "GPU": 1} if use_gpus else {"CPU": threads}


@contextmanager
def _relayed(progress: ProgressCallback | None) -> Iterator[Any]:
    """A queue, for the first worker, whose items are given to a callback here; None without one."""
    if progress is None:
        yield None
        return
    queue = import_ray("util.queue").Queue(actor_options={"num_cpus": 0})

    def relay() -> None:
        while (status := queue.get()) is not None:
            progress(status)

    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield queue
    finally:
        queue.put(None)
        thread.join()
        queue.shutdown()


def _explained(error: Exception, folder: Path) -> MoueError:
    """What ended a job, as a sentence: the first worker's own error, if it is one of moue's."""
    failures = getattr(error, "worker_failures", {})
    causes = [getattr(cause, "_base_exc", cause) for _, cause in sorted(failures.items())]
    if own := [cause for cause in causes if isinstance(cause, MoueError)]:
        return own[0]
    text = str(getattr(error, "controller_failure", None) or next(iter(causes), error))
    if "storage" in text:
        return UsageError(f"not all workers can write {folder}: give a folder on storage that all machines share")
    return TrainingError(
        f"a worker of the training has ended ({shortened(text, 200)}). The last checkpoint is kept: the same command "
        "with --resume resumes the run, with any number of workers"
    )

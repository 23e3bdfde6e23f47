"""Training on a Ray cluster, a local one of two workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small import SMALL

from moue.cli.main import main
from moue.data.readers.synth import synthetic
from moue.errors import MoueError, TrainingError, UsageError
from moue.scale.training import _explained, _share
from moue.training.loop import fit
from moue.training.run_folder import Run

ROOT = Path(__file__).resolve().parents[2]

SETTINGS = ["optim.name=sgd", "optim.lr=0.002", "optim.epochs=2", "optim.steps=3", "model.options={widths: [8, 16]}"]

#: Trains on a cluster of two CPUs, then resumes a run whose second worker is killed in its second epoch.
CLUSTER = """
import os, signal, sys
from pathlib import Path
from moue.data.readers.synth import synthetic
from moue.errors import TrainingError
from moue.scale import training
from moue.telemetry import import_ray
from moue.training.config import Config

ray = import_ray()
ray.init(num_cpus=2, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
config, folder = Config.from_dict(eval(sys.argv[1])), Path(sys.argv[2])
table = synthetic(300, seed=1)
reports = []
run = training.fit_on_ray(config, table, folder / "two", workers=2, progress=reports.append, recipe=config)
assert run.finished and run.record()["machine"]["processes"] == 2, run.record()
assert [r.epoch for r in reports if r.ended] == [1, 2], reports

work = training._work

def dying(job):
    from moue.training import loop
    drawn = loop.seed_step
    def seed_step(config, epoch, step):
        if os.environ["RANK"] == "1" and epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return drawn(config, epoch, step)
    loop.seed_step = seed_step
    work(job)

training._work = dying
try:
    training.fit_on_ray(config, table, folder / "broken", workers=2)
except TrainingError as error:
    assert "--resume" in str(error), error
else:
    raise AssertionError("a worker was killed, and nothing said so")
training._work = work
assert training.fit_on_ray(config, table, folder / "broken", workers=1, resume=True).finished
assert not [path for path in folder.iterdir() if path.name.startswith(".")], "Ray's state is left behind"
"""


@pytest.mark.cluster
def test_two_workers_train_what_one_process_does_and_a_killed_one_is_told(tmp_path: Path) -> None:
    config = SMALL.override(SETTINGS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    command = [sys.executable, "-c", CLUSTER, repr(config.to_dict()), str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr[-3000:]
    one = fit(config, synthetic(300, seed=1), tmp_path / "one")
    for name in ("two", "broken"):
        weights, others = (load_file(run.folder / "weights.safetensors") for run in (one, Run(tmp_path / name)))
        for key, value in weights.items():
            assert torch.allclose(value, others[key], atol=1e-4, rtol=1e-3), (name, key)


def test_workers_take_the_gpus_or_the_cpus() -> None:
    config = SMALL.override(["run.threads=4", "optim.batch_size=6"])
    assert _share({"CPU": 16.0, "GPU": 2.0}, config, None) == (2, {"CPU": 1, "GPU": 1})
    assert _share({"CPU": 64.0}, config, None) == (3, {"CPU": 4}), "two images for each"
    assert _share({"CPU": 16.0, "GPU": 2.0}, config.override(["run.device=cpu"]), 2) == (2, {"CPU": 4})
    with pytest.raises(UsageError, match=r"5 workers need more than the cluster has: 16 CPUs for 4 each\. .*workers 4"):
        _share({"CPU": 16.0}, config, 5)


def test_what_ended_a_job_is_a_sentence() -> None:
    def failed(**parts: object) -> MoueError:
        error = RuntimeError("many lines of a traceback")
        error.__dict__.update(parts)
        return _explained(error, Path("/runs/a"))

    wrapped = type("Wrapped", (Exception,), {"_base_exc": TrainingError("the loss is no longer finite")})()
    assert str(failed(worker_failures={1: RuntimeError("died"), 0: wrapped})) == "the loss is no longer finite"
    assert "(died). The last checkpoint is kept" in str(failed(worker_failures={1: RuntimeError("died")}))
    assert "storage that all machines share" in str(failed(controller_failure=OSError("no cluster storage")))


def test_workers_without_a_cluster_are_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "compact", "--data", "synth", "--out", str(tmp_path / "run"), "--workers", "2"]) == 2
    assert "goes with --ray. Got 2 alone. For several processes on this machine: torchrun" in capsys.readouterr().err

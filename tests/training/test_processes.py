"""Several processes train the same network as one: two over gloo, as `torchrun` starts them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small import SMALL

from moue.cli.main import main
from moue.data.readers.synth import synthetic
from moue.errors import TrainingError, UsageError
from moue.training import checkpoints, processes
from moue.training.augment import Augment
from moue.training.config import Config, DataConfig
from moue.training.loop import fit
from moue.training.processes import Part
from moue.training.progress import Status

ROOT = Path(__file__).resolve().parents[2]

#: 182 training rows: the last of six batches has two, which both processes take whole.
ROWS, SEED = 227, 3

#: Small rates, as rounding grows with every step.
STEADY = ["optim.name=sgd", "optim.lr=0.002", "optim.batch_size=36", "optim.epochs=2", "data.validation=0.2"]

CASES = {
    # Batch normalization, dropout, all of augmentation, mixed pairs of different processes, an average of weights.
    "convolutions": [
        *STEADY,
        "model.options={widths: [8, 16], blocks: [1], dropout: 0.3}",
        "optim.mixup=0.3",
        "data.degradation=0.5",
        "data.random_erasing=0.5",
        "data.class_weights=true",
        "optim.grad_clip=1",
        "optim.keep=best",
        "optim.frozen_epochs=1",
    ],
    "transformer": [
        *STEADY,
        "model.network=vit-compact",
        "model.options={dim: 24, depth: 2, heads: 2, drop_path: 0.3}",
        "optim.name=muon",
        "optim.epochs=1",
        "optim.steps=3",
    ],
    "resumed": [*STEADY, "model.options={widths: [8, 16], blocks: [1]}", "optim.ema=0"],
}

#: One of two processes: trains the cases, of which the last was begun by one process alone.
WORKER = """
import sys
from pathlib import Path
from moue.data.readers.synth import synthetic
from moue.errors import DataError
from moue.training import checkpoints, processes
from moue.training.config import Config
from moue.training.loop import fit
from moue.training.run_folder import Run

folder, rows, seed, cases = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), eval(sys.argv[4])
with processes.joined("cpu"):
    assert processes.count() == 2
    reports = []
    if processes.rank() == 1:
        def refused(*args, **more):
            raise AssertionError("the second process writes")
        checkpoints.save = Run._write = Run.log = refused
    for name, config in cases.items():
        fit(Config.from_dict(config), synthetic(rows, seed=seed), folder / name, resume=True, progress=reports.append)
    assert bool(reports) == processes.is_first()
    try:
        processes.require_equal(str(processes.rank()), "data")
    except DataError as error:
        assert "process 1 has another" in str(error)
    else:
        raise AssertionError("other data in each process")
    try:
        processes.from_first(lambda: 1 / 0 if processes.rank() else Config().override(["optim.rate=1"]))
    except ValueError as error:
        assert "optim.rate" in str(error)
    else:
        raise AssertionError("an error of the first process alone")
"""

#: The second process dies in the second epoch.
DYING = """
import os, signal, sys
from moue.cli.main import main
from moue.training import loop

drawn = loop.seed_step

def seed_step(config, epoch, step):
    if os.environ["RANK"] == "1" and (epoch, step) == (1, 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return drawn(config, epoch, step)

loop.seed_step = seed_step
sys.exit(main(sys.argv[1:]))
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", **more}


def two(script: str, *arguments: str) -> list[subprocess.CompletedProcess[str]]:
    """Run a script in two processes that find each other as torchrun's do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            env=environment(RANK=rank, LOCAL_RANK=rank, **shared),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    outputs = [process.communicate() for process in started]
    return [
        subprocess.CompletedProcess(p.args, p.returncode, *output) for p, output in zip(started, outputs, strict=True)
    ]


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    """To rounding: batch norm, dropout, views, pairs and losses are those of the whole batch; one process writes."""
    table = synthetic(ROWS, seed=SEED)
    configs = {name: SMALL.override(settings) for name, settings in CASES.items()}

    def stop(status: Status) -> None:
        if status.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(configs["resumed"], table, tmp_path / "two" / "resumed", progress=stop)
    cases = {name: config.to_dict() for name, config in configs.items()}
    for ended in two(WORKER, str(tmp_path / "two"), str(ROWS), str(SEED), repr(cases)):
        assert ended.returncode == 0, ended.stderr
    for name, config in configs.items():
        one = fit(config, table, tmp_path / "one" / name)
        weights, others = (load_file(tmp_path / n / name / "weights.safetensors") for n in ("one", "two"))
        for key, value in weights.items():
            assert torch.allclose(value, others[key], atol=1e-4, rtol=1e-3), (name, key)
        assert config.optim.epochs == len(one.history())
        for a, b in zip(one.history(), type(one)(tmp_path / "two" / name).history(), strict=True):
            assert a["train_loss"] == pytest.approx(b["train_loss"], abs=1e-4), name
            assert a["validation_loss"] == pytest.approx(b["validation_loss"], abs=1e-4), name
            assert a["train_accuracy"] == pytest.approx(b["train_accuracy"], abs=0.012), name
            assert a["validation_accuracy"] == pytest.approx(b["validation_accuracy"], abs=0.023), name
        assert one.spec().temperature == pytest.approx(type(one)(tmp_path / "two" / name).spec().temperature, rel=1e-3)
    record = json.loads((tmp_path / "two" / "convolutions" / "run.json").read_text())
    assert record["machine"]["processes"] == 2


def test_a_killed_process_ends_the_job_with_a_checkpoint_and_a_sentence(tmp_path: Path) -> None:
    settings = [
        "model.options={widths: [8, 16], blocks: [1]}",
        "optim.epochs=2",
        "optim.steps=4",
        "optim.batch_size=16",
    ]
    sets = [word for setting in settings for word in ("--set", setting)]
    command = ["train", "compact", "--data", "synth:200:1", "--out", str(tmp_path / "run"), *sets]
    script = tmp_path / "dying.py"
    script.write_text(DYING)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(script)]
    ended = subprocess.run(
        [*torchrun, *command],
        env=environment(MOUE_CACHE=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
    )
    assert ended.returncode != 0
    # Either it lost the connection, or torchrun asked it to end.
    [sentence] = [line for line in ended.stderr.splitlines() if line.startswith("moue: process 0:")]
    assert "--resume resumes the run" in sentence
    assert checkpoints.load(tmp_path / "run" / "checkpoints" / "last.safetensors")["epoch"] == 1
    assert main([*command, "--resume"]) == 0
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 3


def test_a_part_of_a_batch_looks_as_within_the_whole() -> None:
    images = torch.from_numpy(synthetic(24, seed=0).images).view(24, 1, 48, 48)
    augment = Augment(DataConfig(degradation=0.8, random_erasing=0.5, gamma=0.5, scale_up=0.3))
    flips = torch.arange(24) % 3 == 0
    whole = augment(images, torch.Generator().manual_seed(1), flips)
    assert not torch.equal(whole, images.float())
    for rows in (torch.arange(12), torch.arange(12, 24), torch.tensor([23, 0, 5, 5])):
        part = augment(images[rows], torch.Generator().manual_seed(1), flips[rows], Part(24, rows))
        assert torch.allclose(part, whole[rows], atol=1e-3)


def test_parts_are_all_of_a_batch_and_small_batches_go_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "count", lambda: 3)

    def parts(total: int) -> list[Part]:
        found = []
        for i in range(3):
            monkeypatch.setattr(processes, "rank", lambda i=i: i)
            found.append(processes.part_of(total))
        return found

    assert torch.cat([part.rows for part in parts(8)]).tolist() == list(range(8))
    assert min(len(part.rows) for part in parts(7)) == 2
    assert [part.rows.tolist() for part in parts(5)] == 3 * [list(range(5))]
    for total in (5, 8):
        assert sum(part.weight * len(part.rows) for part in parts(total)) == pytest.approx(total)


def test_errors_of_several_processes_say_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert processes.device_of("auto", 2) == torch.device("cuda", 1)
    assert processes.device_of("cpu", 2) == torch.device("cpu")
    with pytest.raises(UsageError, match=r"one GPU each\. Got run\.device='cuda:0'.*--set run\.device=cuda"):
        processes.device_of("cuda:0", 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UsageError, match="--nproc-per-node 2"):
        processes.device_of("auto", 3)
    with (
        pytest.raises(
            TrainingError, match=r"another process of this training has ended.*--resume.*any number of processes\.$"
        ),
        processes.explain_lost_process(),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]")
    with pytest.raises(RuntimeError, match="shapes"), processes.explain_lost_process():
        raise RuntimeError("shapes do not fit")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(["networks"]) == 2
    assert capsys.readouterr().err.startswith("moue: process 1: networks runs in one process: type it without torchrun")


def test_batches_too_small_for_the_processes_begin_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "count", lambda: 40)
    monkeypatch.setattr(processes, "from_first", lambda compute: compute())
    monkeypatch.setattr(processes, "require_equal", lambda value, what: None)
    config = Config().override(["optim.batch_size=64"])
    with pytest.raises(UsageError, match=r"optim\.batch_size is 64, for all 40 processes.*--set optim\.batch_size=80"):
        fit(config, synthetic(100, seed=0), tmp_path / "run")
    assert not (tmp_path / "run").exists()

"""`moue train` on the command line: words for what is wrong, a line for what is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sets import broken, folder_of, jpeg, simple_csv

from moue.cli.main import main
from moue.cli.train import TrainingProgress
from moue.data.readers.synth import synthetic
from moue.data.table import ImageTable
from moue.models.base import Network
from moue.models.load import load_run
from moue.training import loop, tasks
from moue.training.batch import Batch
from moue.training.config import Config, RunConfig
from moue.training.recipe import recipes
from moue.training.run_folder import Run
from moue.training.tasks import ClassificationTask

QUICK = [
    "--set",
    "optim.epochs=1",
    "--set",
    "optim.steps=2",
    "--set",
    "run.threads=1",
    "--set",
    "model.options={widths: [8, 16]}",
]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOUE_CACHE", str(tmp_path / "cache"))


def test_a_run_says_where_it_is_and_shows_its_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["train", "compact", "--data", "synth:200:0", "--out", str(out), *QUICK, "--seed", "3"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{out}: compact, 1 epoch in")
    assert "on validation" in printed.out
    assert "epoch 1/1" in printed.err
    assert main(["train", "compact", "--data", "synth:200:0", "--out", str(out), *QUICK]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(["train", "compact", "--data", "synth:200:0", "--out", str(out), "--resume"]) == 0


def test_an_interrupted_run_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", "compact", "--data", "synth:200:0", "--out", str(tmp_path / "run"), *QUICK]

    def stop(self: TrainingProgress, status: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "__call__", stop)
        assert main(command) == 130
    assert "the same command with --resume resumes the run" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0


def test_going_on_with_other_settings_is_refused_and_with_none_just_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "compact", "--data", "synth:200:0", "--out", str(tmp_path / "run"), "--resume"]
    assert main([*command, *QUICK]) == 0
    assert "holds no run yet" in capsys.readouterr().err
    for change, words in ((["--set", "optim.lr=0.5"], "optim.lr=0.1, not 0.5"), (["--seed", "5"], "run.seed=0, not 5")):
        assert main([*command, *change]) == 2
        assert words in capsys.readouterr().err
    assert main([*command, "--set", "run.threads=2"]) == 0


def test_going_on_with_another_recipe_or_other_data_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("model: {network: compact}\noptim: {lr: 0.01}\n")
    rest = ["--out", str(tmp_path / "run"), "--resume"]
    assert main(["train", str(own), "--data", "synth:200:0", *rest, *QUICK]) == 0
    assert main(["train", str(own), "--data", "synth:200:0", *rest]) == 0
    capsys.readouterr()
    assert main(["train", str(own), "--data", "synth:200:1", *rest]) == 2
    assert "another data set" in capsys.readouterr().err
    own.write_text("model: {network: compact}\noptim: {lr: 0.02}\n")
    assert main(["train", str(own), "--data", "synth:200:0", *rest]) == 2
    assert "started from a recipe with optim.lr=0.01, not 0.02" in capsys.readouterr().err


def test_folders_of_other_classes_are_trained_on_and_a_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces = folder_of(tmp_path / "f", {f"{c}/{i}.jpg": jpeg(i) for c in ("dull", "keen") for i in range(10)})
    command = ["train", "compact", "--data", str(faces), "--out", str(tmp_path / "run"), *QUICK]
    assert main(command) == 0
    assert "the classes are the folders' own (dull, keen)" in capsys.readouterr().err
    assert Run(tmp_path / "run").spec().labels == ("dull", "keen")
    assert main([*command, "--resume"]) == 0


def test_a_written_set_brings_its_labels_along(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = folder_of(tmp_path / "f", {f"{c}/{i}.jpg": jpeg(i) for c in ("dull", "keen") for i in range(10)})
    own = str(tmp_path / "own.npz")
    assert main(["data", "import", str(faces), "--labels", "folders", "-o", own]) == 0
    command = ["train", "compact", "--data", own, "--out", str(tmp_path / "run"), *QUICK]
    assert main(command) == 0
    assert Run(tmp_path / "run").config().data.labels == "folders"
    assert Run(tmp_path / "run").spec().labels == ("dull", "keen")
    assert main([*command, "--resume"]) == 0
    capsys.readouterr()
    for typed in (["--labels", "fer2013"], ["--set", "data.labels=fer2013"]):
        assert main([*command, "--out", str(tmp_path / "other"), *typed]) == 2
        assert "has folders labels" in capsys.readouterr().err
    evaluated = ["evaluate", str(tmp_path / "run"), "--data", own, "--split", "validation", "--format", "json"]
    assert main(evaluated) == 0
    assert main([*evaluated, "--labels", "fer2013"]) == 2


def test_going_on_keeps_threads_and_device_unless_others_are_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", "compact", "--data", "synth:200:0", "--out", str(tmp_path / "run")]
    assert main([*command, *QUICK, "--set", "run.device=cpu"]) == 0
    trained: list[RunConfig] = []

    def fit(config: Config, table: ImageTable, folder: Path, **options: object) -> Run:
        trained.append(config.run)
        return Run(folder)

    monkeypatch.setattr(loop, "fit", fit)
    assert main([*command, "--resume"]) == 0
    assert main([*command, "--resume", "--set", "run.threads=2"]) == 0
    assert [(run.threads, run.device) for run in trained] == [(1, "cpu"), (2, "cpu")]


def test_what_helps_against_too_little_memory_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Small(ClassificationTask):
        """Stands for a machine that has room for 16 images at a time."""

        def __call__(self, network: Network, batch: Batch, *rest: Any) -> Any:
            if len(batch) > 16:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return super().__call__(network, batch, *rest)

    monkeypatch.setattr(tasks, "build", lambda optim, *_: Small(optim))
    command = ["train", "compact", "--data", "synth:200:0", *QUICK]
    assert main([*command, "--out", str(tmp_path / "run"), "--set", "optim.batch_size=32"]) == 2
    told = capsys.readouterr().err
    assert "not enough memory for batches of 32" in told
    assert "in another folder" in told
    assert main([*command, "--out", str(tmp_path / "other"), *told.split(": ")[-1].split()]) == 0
    assert Run(tmp_path / "other").config().optim.batch_size == 16


def test_rows_that_could_not_be_read_change_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data := tmp_path / "bad.csv").write_text(broken(simple_csv(70), 4, "3,", "9,"))
    command = ["train", "compact", "--data", str(data), "--out", str(tmp_path / "run"), *QUICK]
    assert main(command) == 2
    assert main([*command, "--skip-bad"]) == 3
    assert f"moue: left out {data}, row 4: " in capsys.readouterr().err
    assert main([*command, "--skip-bad", "--resume"]) == 3


def test_a_file_where_the_run_should_go_is_refused_before_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out := tmp_path / "run").write_text("mine")
    assert main(["train", "compact", "--data", "absent.csv", "--out", str(out)]) == 2
    assert f"{out} is a file" in capsys.readouterr().err


def test_the_help_lists_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    lines = capsys.readouterr().out.partition("recipes:\n")[2].splitlines()
    assert [line.split()[0] for line in lines] == list(recipes())
    assert all(len(line.split()) > 5 for line in lines)


def test_the_settings_are_listed_with_a_recipes_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--settings", "--format", "json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() == {f"{section}.{key}" for section, keys in Config().to_dict().items() for key in keys}
    assert rows["optim.lr"] == {
        "name": "optim.lr",
        "type": "number",
        "default": 0.001,
        "range": "above 0",
        "meaning": "Peak learning rate.",
    }
    assert rows["optim.progressive_sizes"]["type"] == "list of whole numbers"
    assert rows["run.minutes"]["type"] == "number or null"
    assert main(["train", "compact", "--settings", "--set", "optim.epochs=3", "--format", "json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["optim.epochs"]["value"], rows["optim.progressive_sizes"]["value"]) == (3, [40, 48])
    assert main(["train", "--settings"]) == 0
    text = capsys.readouterr().out
    assert "optim.lr  number, above 0 (default 0.001)\n    Peak learning rate.\n" in text
    assert max(map(len, text.splitlines())) <= 100
    # Without it, all that a training needs is asked for.
    with pytest.raises(SystemExit):
        main(["train"])
    assert "RECIPE, --data, -o/--out" in capsys.readouterr().err


def test_the_result_is_a_row_with_the_majority_baseline_and_remarks_are_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "compact", "--data", "synth:200:0", "--out", str(tmp_path / "run"), *QUICK]
    assert main([*command, "--format", "json"]) == 0
    printed = capsys.readouterr()
    [row] = json.loads(printed.out)
    assert (row["run"], row["network"], row["epochs"], row["epoch_kept"]) == (str(tmp_path / "run"), "compact", 1, 1)
    assert 0 < row["majority_baseline"] < 1
    for remark in row["remarks"].split("; "):
        assert f"moue: {remark}" in printed.err
    assert "its temperature stays 1" in row["remarks"]
    assert main([*command, "--resume"]) == 0
    assert f"majority baseline {row['majority_baseline']:.1%}" in capsys.readouterr().out


def test_epochs_are_shown_without_a_part_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "compact", "--data", "synth:200:0", "--out", str(tmp_path / "run"), *QUICK]
    assert main([*command, "--set", "data.validation=0"]) == 0
    assert "epoch 1/1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compactt", "--data", "synth:200:0"], "Did you mean compact"),
        (["compact", "--data", "absent.csv"], "absent.csv"),
        (["compact", "--data", "synth:200:0", "--set", "optim.epoch=3"], "optim.epochs"),
        (["compact", "--data", "synth:200:0", "--set", "model.options={wide: 3}"], "wide"),
        (["compact", "--data", "synth:200:0", "--minutes", "0"], "above 0"),
        (["compact", "--data", "synth:200:0", "--set", "run.device=cuda:9"], "cuda"),
        (["compact", "--data", "synth:200:0", "--set", "run.device=cpu:0"], "--set run.device=cpu\n"),
        (["compact", "--data", "synth:200:0", "--set", "model.init=2024-02-30"], "Put a text into quotes"),
        (["compact", "--data", "synth:200:0", "--set", "optim="], "optim is a section"),
        (["googlenet", "--data", "synth:200:0"], "or for other data --set optim.votes_weight=0"),
    ],
)
def test_wrong_use_is_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments, "--out", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert not (tmp_path / "run" / "config.json").exists()


def test_finetune_goes_on_from_a_shipped_model_with_folders_of_any_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = synthetic(700, seed=6)
    kinds = {"smiling": "happy", "amazed": "surprise", "plain": "neutral"}
    for kind, label in kinds.items():
        (tmp_path / "mine" / kind).mkdir(parents=True)
        for i in np.flatnonzero(drawn.labels == drawn.label_set.index(label))[:24]:
            Image.fromarray(drawn.images[i, 0]).save(tmp_path / "mine" / kind / f"{i}.png")
    settings = ["--set", "model.init=tiny", "--set", "run.precision=fp32", "--set", "run.threads=1"]
    settings += ["--seed", "0"]
    command = ["train", "finetune", "--data", str(tmp_path / "mine"), "--out"]
    assert main([*command, str(tmp_path / "run"), *settings]) == 0
    capsys.readouterr()
    new = [
        "--set",
        "model.init=null",
        "--set",
        "model.network=compact",
        "--set",
        "model.options={widths: [32, 96, 184]}",
    ]
    assert main([*command, str(tmp_path / "new"), *settings, *new]) == 0
    run, scratch = Run(tmp_path / "run"), Run(tmp_path / "new")
    assert run.spec().labels == ("amazed", "plain", "smiling")
    of_kind = [np.flatnonzero(drawn.labels == drawn.label_set.index(kinds[kind])) for kind in run.spec().labels]
    held_out = [drawn.take(rows[24:64]) for rows in of_kind]
    right = [
        np.mean([(load_run(r.folder, "cpu").logits(t.images).argmax(1) == i).mean() for i, t in enumerate(held_out)])
        for r in (run, scratch)
    ]
    assert right[0] > 0.6
    assert right[0] > right[1] + 0.2
    # The same command goes on from it, or takes it as it is.
    assert main([*command, str(tmp_path / "run"), *settings, "--resume"]) == 0

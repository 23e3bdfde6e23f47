"""Whatever is wrong with a run's files, resuming or opening it goes on or is one sentence that names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from damage import damaged, survives
from small import SMALL

from moue.cli.main import main
from moue.data.table import ImageTable
from moue.errors import MoueError, TrainingError, UsageError
from moue.models.load import load_run
from moue.models.tensors import save_file
from moue.trained.open import labels_of, open_any
from moue.training import checkpoints
from moue.training.loop import fit
from moue.training.progress import Status
from moue.training.run_folder import Run

CONFIG = SMALL.override(["optim.steps=2", "optim.keep=best", "optim.epochs=4"])
LAST, BEST = "checkpoints/last.safetensors", "checkpoints/best.safetensors"


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def unfinished(table: ImageTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended after two of four epochs."""

    def stop(status: Status) -> None:
        if status.epoch == 3:
            raise Stop

    folder = tmp_path_factory.mktemp("runs") / "unfinished"
    with pytest.raises(Stop):
        fit(CONFIG, table, folder, progress=stop, recipe=CONFIG)
    return folder


@pytest.fixture(scope="module")
def finished(unfinished: Path, table: ImageTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    shutil.copytree(unfinished, folder)
    assert fit(CONFIG, table, folder, resume=True).finished
    return folder


def state_of(run: Run, table: ImageTable) -> None:
    """All that is read of an unfinished run before its first step."""
    assert isinstance(run.finished, bool)
    run.resume_config(CONFIG, CONFIG, ["optim.lr", "run.threads"])
    run.split(table)
    run.history()
    run.best_accuracy(before=3)


@pytest.mark.parametrize("name", ["config.json", "run.json", "split.json", "history.csv"])
def test_damaged_texts_of_a_run(unfinished: Path, table: ImageTable, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(unfinished, tmp_path / "run")
    outcomes = set()
    for data in damaged((unfinished / name).read_bytes(), 120):
        (folder / name).write_bytes(data)
        outcomes.add(survives(lambda: state_of(Run(folder), table), str(folder), words=700))
    assert False in outcomes


@pytest.mark.parametrize("wrong", ["null", "[]", "3", '"text"', "1e999", "{}", "NaN", "-1", "[{}]"])
@pytest.mark.parametrize("name", ["config.json", "run.json"])
def test_values_of_another_type(unfinished: Path, table: ImageTable, tmp_path: Path, name: str, wrong: str) -> None:
    """Of each key, and of each key below it."""
    folder = shutil.copytree(unfinished, tmp_path / "run")
    values = json.loads((folder / name).read_text())
    changed = [{**values, key: "WRONG"} for key in values]
    changed += [
        {**values, key: {**value, below: "WRONG"}}
        for key, value in values.items()
        if isinstance(value, dict)
        for below in value
    ]
    for content in changed:
        (folder / name).write_text(json.dumps(content).replace('"WRONG"', wrong))
        survives(lambda: state_of(Run(folder), table), str(folder), words=700)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("epoch,train_loss\n1,0.5\n", "lacks columns"),
        ("epoch,train_loss,validation_accuracy,seconds\none,0.5,0.5,1\n", "history.csv is damaged"),
        ("epoch,train_loss,validation_accuracy,seconds\nnan,0.5,0.5,1\n", "history.csv is damaged"),
        ("epoch,train_loss,validation_accuracy,seconds\n2,1,1,1\n1,1,1,1\n", "not in order"),
        ("epoch,train_loss,validation_accuracy,seconds\n1,1,1,1,9,9\n", "history.csv is damaged"),
        ("\0" * 300, "history.csv is damaged"),
    ],
)
def test_a_damaged_history_says_what_can_be_done(unfinished: Path, tmp_path: Path, content: str, words: str) -> None:
    folder = shutil.copytree(unfinished, tmp_path / "run")
    (folder / "history.csv").write_text(content)
    with pytest.raises(UsageError, match=rf"{words}.*Restore it from a copy, or delete it"):
        Run(folder).history()


def test_without_its_history_a_run_goes_on(unfinished: Path, table: ImageTable, tmp_path: Path) -> None:
    folder = shutil.copytree(unfinished, tmp_path / "run")
    (folder / "history.csv").unlink()
    run = fit(CONFIG, table, folder, resume=True)
    assert [row["epoch"] for row in run.history()] == [3, 4]
    assert run.spec().trained["epoch_kept"] in (3, 4)


def test_damaged_checkpoints_are_one_sentence(unfinished: Path, tmp_path: Path) -> None:
    path, outcomes = tmp_path / "last.safetensors", set()
    whole = (unfinished / LAST).read_bytes()
    header = int.from_bytes(whole[:8], "little") + 8
    for number, data in enumerate(damaged(whole[:header], 100)):
        path.write_bytes(data + (whole[header:] if number % 2 else b""))
        outcomes.add(survives(lambda: checkpoints.load(path), str(path)))
    assert False in outcomes
    for data in (b"", b"{}", whole[:-1], whole[: len(whole) // 2], whole + b"more"):
        path.write_bytes(data)
        with pytest.raises(TrainingError, match=r"the checkpoint .*last\.safetensors is damaged"):
            checkpoints.load(path)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [(LAST, "delete it: the same command then starts the run again"), (BEST, "the run then keeps its last epoch")],
)
@pytest.mark.parametrize("damage", ["cut", "other weights", "nan", "types", "deep"])
def test_resuming_with_a_damaged_checkpoint_names_it_and_following_the_advice_works(
    unfinished: Path, table: ImageTable, tmp_path: Path, name: str, remedy: str, damage: str
) -> None:
    folder = shutil.copytree(unfinished, tmp_path / "run")
    path = folder / name
    state = checkpoints.load(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "nan":
        next(iter(state["network"].values())).view(-1)[0] = float("nan")
        checkpoints.save(state, path)
    elif damage == "deep":
        save_file({}, path, {"tree": "[" * 100_000})
    elif damage == "other weights":
        checkpoints.save({**state, "network": {"a": next(iter(state["network"].values()))}}, path)
    else:
        checkpoints.save({**state, "epoch": "three", "network": [1]}, path)
    with pytest.raises(TrainingError, match=remedy) as caught:
        fit(CONFIG, table, folder, resume=True)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).replace(str(path), "")) < 300
    path.unlink()
    run = fit(CONFIG, table, folder, resume=True)
    assert run.finished
    assert run.history()[-1]["epoch"] == 4


def test_damaged_files_of_a_finished_run_are_one_sentence(finished: Path, table: ImageTable, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    expected = load_run(folder, "cpu").logits(table.images[:2])
    weights = (finished / "weights.safetensors").read_bytes()
    header = int.from_bytes(weights[:8], "little") + 8
    for name, wholes in {
        "config.json": damaged((finished / "config.json").read_bytes(), 60),
        "spec.json": damaged((finished / "spec.json").read_bytes(), 60),
        "weights.safetensors": (data + weights[header:] for data in damaged(weights[:header], 60)),
    }.items():
        for data in wholes:
            (folder / name).write_bytes(data)
            survives(lambda: labels_of(folder), str(folder), words=700)
            survives(lambda: open_any(folder), str(folder), words=700)
        shutil.copy(finished / name, folder / name)
    assert np.array_equal(load_run(folder, "cpu").logits(table.images[:2]), expected)


@pytest.mark.parametrize("name", ["config.json", "run.json", "split.json", "history.csv", LAST])
def test_the_command_exits_with_2_and_names_the_file(
    unfinished: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(unfinished, tmp_path / "run")
    recipe = tmp_path / "small.json.yaml"
    recipe.write_text(json.dumps(CONFIG.to_dict()))
    command = ["train", str(recipe), "--data", "synth:900:1", "--out", str(folder), "--resume"]
    (folder / name).write_bytes((folder / name).read_bytes()[:-30] + b'"\0{')
    assert main(command) == 2
    error = capsys.readouterr().err
    assert str(folder / name) in error
    assert error.count("\n") == 1


def test_resume_says_which_settings_may_differ(unfinished: Path) -> None:
    requested = CONFIG.override(["optim.lr=0.5", "run.threads=2"])
    with pytest.raises(
        UsageError, match=r"optim\.lr=0\.003, not 0\.5; --resume may change run\.device, run\.threads and"
    ):
        Run(unfinished).resume_config(CONFIG, requested, ["optim.lr=0.5"])
    with pytest.raises(UsageError, match=r"started from a recipe with optim\.lr.*may change run\.device"):
        Run(unfinished).resume_config(CONFIG.override(["optim.lr=0.5"]), CONFIG, [])
    assert Run(unfinished).resume_config(CONFIG, requested, ["run.threads=2"]).run.threads == 2
    capable: Callable[[], object] = Run(unfinished).config
    with pytest.raises(MoueError):
        Run(unfinished / "absent").config()
    assert capable()

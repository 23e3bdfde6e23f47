"""An option that cannot be used is named as it is typed, whatever the library calls it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moue.cli import main as cli
from moue.data.readers import store
from moue.data.readers.synth import synthetic

#: Options that take any text, a file, or what only the data can refuse: test_a_name_that_is_looked_up_late has these.
FREE = {"--data", "--votes", "--events", "--title", "--name", "--token", "--host", "--certfile", "--keyfile", "--out"}
FREE |= {"--image-column", "--key-column"}  # Their errors name the Parquet file and its columns.
LATE = {"--set", "--model", "--recipe", "--classifier", "--label", "--columns", "--cross", "--classes"}
LATE |= {"--label-pattern", "--split"}  # That of moue export.


def options() -> Iterator[tuple[str, argparse.Action]]:
    """Every option that takes a value, with its command."""

    def walk(parser: argparse.ArgumentParser, path: str) -> Iterator[tuple[str, argparse.Action]]:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, sub in action.choices.items():
                    yield from walk(sub, f"{path} {name}")
            elif action.option_strings and action.nargs != 0:
                yield path, action

    for command in cli.COMMANDS:
        yield from walk(cli.parser_of(command), command)


def is_checked(action: argparse.Action) -> bool:
    """Whether the parser checks its value."""
    return action.choices is not None or action.type not in (None, Path)


CHECKED = [(command, action) for command, action in options() if is_checked(action)]


@pytest.mark.parametrize("value", ["-1", "no such"])
@pytest.mark.parametrize(("command", "action"), CHECKED, ids=[f"{c} {a.option_strings[-1]}" for c, a in CHECKED])
def test_a_bad_value_is_refused_by_the_name_of_its_option(
    command: str, action: argparse.Action, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    option = action.option_strings[-1]
    try:
        code = cli.main([*command.split(), f"{option}={value}"])
    except SystemExit as end:  # argparse's own errors, as of choices.
        code = int(end.code or 0)
    assert code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"moue: {'/'.join(action.option_strings)}")
    assert f"Got {value}" in err or f"Got {value!r}" in err


def test_every_other_option_is_known_to_be_looked_up_late() -> None:
    others = {a.option_strings[-1] for _, a in options() if not is_checked(a) and a.type is not Path}
    assert others == FREE | LATE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("options")
    store.save(synthetic(30), path / "set.npz")
    Image.fromarray(np.full((48, 48), 128, np.uint8)).save(path / "photo.png")
    (path / "groups.csv").write_text("row,group\n0,a\n1,b\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "line",
    [
        "predict photo.png --model nosuch",
        "evaluate tiny --data set.npz --split train --classes nosuch",
        "data info set.npz --label-pattern nosuch",
        "explain photo.png --model tiny --label nosuch",
        "audit set.npz --groups groups.csv --model tiny --columns nosuch",
        "audit set.npz --groups groups.csv --model tiny --cross group,nosuch",
        "train default --data set.npz --out run --set nosuch",
        "train default --data set.npz --out run --set optim.nosuch=1",
        "search default --data set.npz --out run --minutes 1 --set nosuch=1,2",
        "ensemble concat tiny default --data set.npz --out run --recipe nosuch",
        "ensemble hybrid tiny --data set.npz --out file.onnx --classifier nosuch",
        "ensemble hybrid tiny --data set.npz --out file.onnx --set nosuch=1",
    ],
)
def test_a_name_that_is_looked_up_late(
    line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    words = line.split()
    assert cli.main(words) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith(f"moue: {words[-2]}")
    assert "nosuch" in err


@pytest.mark.parametrize(
    "line",
    [
        "evaluate nosuch --data set.npz --split train",
        "train nosuch --data set.npz --out nosuch",  # A folder's name is no reason to name --out.
        "predict photo.png --model nosuch --out nosuch",  # May be either.
    ],
)
def test_an_argument_without_an_option_gets_no_option_s_name(
    line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert cli.main(line.split()) == 2
    assert capsys.readouterr().err.startswith("moue: there is no ")


@pytest.mark.parametrize("command", ["export", "ensemble vote"])
def test_weights_for_other_models_than_are_given(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command.split(), "tiny", "default", "-o", "file.onnx", "--weights", "1,2,3"]) == 2
    assert capsys.readouterr().err.startswith("moue: --weights takes one for each of the 2 models. Got 3 instead.")


@pytest.mark.parametrize(
    "command", ["evaluate tiny --data absent", "score absent --out out", "ensemble rank tiny --data absent", "networks"]
)
def test_a_terminal_takes_no_binary_results_which_is_said_before_the_work(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert cli.main([*command.split(), "--format", "parquet"]) == 2
    assert "--format: parquet is binary: send it to a file" in capsys.readouterr().err

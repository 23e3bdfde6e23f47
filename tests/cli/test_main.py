"""The table of commands: exit codes, one sentence for an error, a traceback only with --debug."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import moue
from moue.cli import main as cli
from moue.errors import DataError, MissingExtra

Run = Callable[[argparse.Namespace], "int | None"]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """Puts a command named `probe` into the table, whose work is the given function."""

    def put(run: Run) -> None:
        monkeypatch.setitem(cli.COMMANDS, "probe", "a command of this test")
        monkeypatch.setitem(sys.modules, "moue.cli.probe", SimpleNamespace(configure=lambda parser: None, run=run))

    return put


def raising(error: BaseException) -> Run:
    def run(args: argparse.Namespace) -> int:
        raise error

    return run


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_the_return_value_of_a_command_is_the_exit_code(
    command: Callable[[Run], None], returned: int | None, code: int
) -> None:
    command(lambda args: returned)
    assert cli.main(["probe"]) == code


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (DataError("set.csv, row 7: 2,303 pixels. A row needs 2,304."), "row 7: 2,303 pixels. A row needs 2,304."),
        (MissingExtra("torch", "train"), "pip install 'moue[train]'"),
        (FileNotFoundError(2, "No such file or directory", "set.csv"), "set.csv: No such file or directory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (MemoryError(), "out of memory"),
    ],
)
def test_an_error_is_one_sentence_on_stderr(
    command: Callable[[Run], None], capsys: pytest.CaptureFixture[str], error: Exception, sentence: str
) -> None:
    command(raising(error))
    assert cli.main(["probe"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("moue: ")
    assert sentence in err
    assert err.count("\n") == 1


def test_debug_shows_the_traceback(command: Callable[[Run], None]) -> None:
    command(raising(DataError("no rows")))
    with pytest.raises(DataError, match="no rows"):
        cli.main(["probe", "--debug"])


def test_a_bug_in_moue_is_not_hidden(command: Callable[[Run], None]) -> None:
    command(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["probe"])


def test_an_interrupted_command_ends_with_130(
    command: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(KeyboardInterrupt()))
    assert cli.main(["probe"]) == 130
    assert capsys.readouterr().err == "moue: interrupted; completed output is intact\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"moue {moue.__version__}\n"


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    out = capsys.readouterr().out
    for name, line in cli.COMMANDS.items():
        assert name in out
        assert line in " ".join(out.split())


def parsers(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The name of every command and subcommand."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield (*path, name)
                yield from parsers(sub, (*path, name))


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [(name,), *(p for p in parsers(cli._parser([name])) if p[0] == name and len(p) > 1)]
    for path in words:
        with pytest.raises(SystemExit) as end:
            cli.main([*path, "--help"])
        assert end.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: moue {' '.join(path)}")


@pytest.mark.parametrize(
    "command",
    [
        "train",
        "evaluate",
        "compare",
        "cross-validate",
        "ensemble rank",
        "ensemble vote",
        "ensemble stack",
        "ensemble bag",
        "ensemble boost",
        "export",
        "explain",
        "data info",
        "data import",
    ],
)
def test_every_command_that_reads_a_data_set_can_name_its_classes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main([*command.split(), "--help"])
    out = capsys.readouterr().out
    assert all(option in out for option in ("--labels", "--votes", "--classes", "--label-pattern", "--skip-bad"))


@pytest.mark.parametrize("module", ["moue", "moue.cli.main"])
def test_both_modules_run_the_command(module: str) -> None:
    done = shell([sys.executable, "-m", module, "predict", "absent.png"])
    assert (done.returncode, done.stderr) == (2, "moue: absent.png: no such file or folder.\n")


@pytest.mark.parametrize("arguments", [["pedict", "a.jpg"], ["--color"], ["networks", "--no-such-option"], ["predict"]])
def test_a_usage_error_exits_2_without_a_traceback(arguments: list[str]) -> None:
    done = shell([sys.executable, "-m", "moue", *arguments])
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("moue: ")
    assert done.stderr.endswith(" --help for all options.\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pedict", "a.jpg"], "Got 'pedict' instead. Did you mean predict? Type moue --help"),
        (["predict", ""], "SOURCE must not be empty. Type moue predict --help"),
        (["predict", "a.jpg", "--out", ""], "-o/--out must not be empty. Type moue predict --help"),
        (["predict", "a.jpg", "--out="], "-o/--out must not be empty. Type moue predict --help"),
        (["predict", "a.jpg", "--every", ""], "--every must not be empty. Type moue predict --help"),
        (["train", "finetune", "--data", "mine", "--out", ""], "-o/--out must not be empty. Type moue train --help"),
        (["data", "info", ""], "SET must not be empty. Type moue data info --help"),
        (["predict", "a.jpg", "--views", "3"], "--views must be one of 1, 2, 6, 10. Got '3' instead. Type"),
        (["data", "inf", "a"], "ACTION must be one of info, import, synth. Got 'inf' instead. Did you mean info? Type"),
        (["data", "import", "a"], "the following arguments are required: -o/--out. Type moue data import --help"),
    ],
)
def test_a_wrong_value_is_one_sentence(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert len(printed) < 400


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "a.jpg", "--fps", "x"], "--fps must be a number above 0. Got 'x' instead."),
        (["predict", "a.jpg", "--every", "1.5"], "--every must be a whole number from 1. Got '1.5' instead."),
        (["predict", "a.jpg", "--views", "9" * 5000], "--views must be a whole number from 1. Got '99"),
        (["data", "synth", "--seed", "-1", "-o", "{}/s.npz"], "--seed must be a whole number from 0"),
        (["data", "synth", "--n", "20", "-o", "{}"], "{}: "),
        (["networks", "compact", "--classes", "-1"], "--classes must be a whole number from 1"),
        (["predict", "{}/circle", "--detector", "none", "--out", "{}/out"], "circle"),
    ],
)
def test_unusable_values_are_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert cli.main([a.format(tmp_path) for a in arguments]) in (2, 3)
    printed = capsys.readouterr()
    assert words.format(tmp_path) in printed.out + printed.err
    assert ".part" not in printed.err
    assert len(printed.err) < 400


def test_closed_output_and_debug_before_the_command(tmp_path: Path) -> None:
    done = shell(["sh", "-c", f"{sys.executable} -m moue models --no-speed >&-"])
    assert (done.returncode, done.stderr) == (0, "")
    done = shell([sys.executable, "-m", "moue", "--debug", "predict", str(tmp_path / "absent.png")])
    assert "Traceback" in done.stderr


def test_a_reader_that_ends_early_is_no_error() -> None:
    done = shell(["sh", "-c", f"({sys.executable} -m moue models --no-speed --format json; echo code $? >&2) | true"])
    assert "code 0" in done.stderr
    assert "Broken" not in done.stderr
    assert "Traceback" not in done.stderr


def shell(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    source = str(Path(moue.__file__).parent.parent)
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(arguments, capture_output=True, text=True, env=env, timeout=120)


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "a.jpg"],
        ["train", "compact", "--data", "synth"],
        ["compare", "--data", "synth"],
        ["explain", "a.jpg"],
        ["export", "run"],
        ["data", "info", "synth"],
        ["data", "import", "synth"],
        ["data", "synth"],
    ],
    ids=" ".join,
)
def test_every_output_can_be_named_by_both_spellings(words: list[str]) -> None:
    for option in ("-o", "--out"):
        assert str(cli._parser(words).parse_args([*words, option, "there"]).out) == "there"

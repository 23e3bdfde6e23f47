"""Standard streams that are full or closed: the exit code is that of what was done, and nothing is a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import moue
from moue.cli import main as cli


def codes(commands: list[str], redirection: str, folder: Path, unbuffered: str = "") -> tuple[list[int], str]:
    """The exit codes of commands whose streams go elsewhere, and what they print where they can.

    Args:
        commands: what comes after `moue`.
        redirection: as a shell has it.
        folder: to run in.
        unbuffered: "1" writes at once, as many containers ask for.
    """
    lines = [f'"{sys.executable}" -m moue {command} {redirection}; echo $? >> codes' for command in commands]
    source = str(Path(moue.__file__).parent.parent)
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
    env = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": unbuffered}
    (folder / "codes").write_text("")
    done = subprocess.run(
        ["sh", "-c", "\n".join(lines)], capture_output=True, text=True, cwd=folder, env=env, timeout=300
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stdout + done.stderr
    return [int(code) for code in (folder / "codes").read_text().split()], done.stdout + done.stderr


#: A command that prints results, one that is refused, and one that reads what it can.
COMMANDS = ["data info synth:50", "data info absent.csv", "predict --detector none no_image.png"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("redirection", "expected", "words"),
    [
        (">/dev/full", [2, 2, 2], "moue: standard output: No space left on device"),
        ("2>/dev/full", [0, 2, 3], "50 images"),
        (">&-", [0, 2, 3], "absent.csv does not exist"),
        ("2>&-", [0, 2, 3], "50 images"),
        (">/dev/full 2>/dev/full", [2, 2, 2], ""),
        ("<&- >&- 2>&-", [0, 2, 3], ""),
    ],
)
def test_the_exit_code_says_what_was_done(
    tmp_path: Path, redirection: str, expected: list[int], words: str, unbuffered: str
) -> None:
    (tmp_path / "no_image.png").write_bytes(b"no image")
    found, printed = codes(COMMANDS, redirection, tmp_path, unbuffered)
    assert found == expected
    assert words in printed


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_of_any_kind_that_cannot_be_written_is_an_error(tmp_path: Path, unbuffered: str) -> None:
    commands = ["--version", "--help", "completion bash", "networks --format parquet"]
    found, printed = codes(commands, ">/dev/full", tmp_path, unbuffered)
    assert found == [2] * len(commands)
    assert printed.splitlines() == ["moue: standard output: No space left on device"] * len(commands)


def test_every_command_ends_so(tmp_path: Path) -> None:
    names = sorted(cli.COMMANDS)
    assert codes([f"{name} --help" for name in names], ">/dev/full 2>&-", tmp_path)[0] == [2] * len(names)
    assert codes([f"{name} --no-such-option" for name in names], ">&- 2>/dev/full", tmp_path)[0] == [2] * len(names)


def test_a_closed_stream_is_not_the_file_that_is_opened_next(tmp_path: Path) -> None:
    """What libraries print to a descriptor must not end in a result."""
    script = "import os; from moue.cli.main import main; main(['data', 'synth', '-o', 'a.npz', '--n', '20']); "
    script += "file = open('next', 'w'); os.write(1, b'printed'); os.write(2, b'printed'); file.close()"
    subprocess.run(["sh", "-c", f'"{sys.executable}" -c "{script}" >&- 2>&-'], cwd=tmp_path, timeout=100, check=True)
    assert (tmp_path / "next").read_text() == ""
    assert cli.main(["data", "info", str(tmp_path / "a.npz")]) == 0


def test_an_error_is_one_short_line_whatever_is_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a\nb\x1b[2J", "x" * 100_000):
        assert cli.main(["data", "info", name]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "\x1b" not in error
        assert len(error) < 2100


INTERRUPTED = """
import signal, sys
from moue.cli import streams

def interrupt(number, frame):
    raise KeyboardInterrupt

streams.prepare()
signal.signal(signal.SIGALRM, interrupt)
line = interrupts = 0
while interrupts < 400:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005)
        while True:
            line += 1
            sys.stdout.write(f"{line}\\n")
            sys.stdout.flush()
    except KeyboardInterrupt:
        interrupts += 1
"""


def test_an_interrupt_writes_no_line_twice() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120)
    assert not done.stderr
    lines = [int(line) for line in done.stdout.split()]
    assert len(lines) > 400
    assert len(set(lines)) == len(lines)

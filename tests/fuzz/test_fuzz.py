"""The harness notices what it is there for, and each kind of input gets through it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from moue.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]


def fuzz(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, table and messages of a run."""
    command = [sys.executable, "-m", "tests.fuzz", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of faults that inputs for the harness alone leave, and the table."""
    out = tmp_path_factory.mktemp("faults")
    code, table, _ = fuzz("--kinds", "harness", "--inputs", "20", "--seconds", "0.5", "--seed", "1", "--out", out)
    assert code == 1
    return out, table


def test_every_way_to_fail_is_noticed_and_counted(faulty: tuple[Path, str]) -> None:
    out, table = faulty
    expected = {
        b"raise": "KeyError", b"crash": "the process ended with -6", b"hang": "no answer", b"memory": "MemoryError",
        b"status": "without a status", b"stderr": "a decoder speaks",
    }  # fmt: skip
    found = {(folder / "input").read_bytes(): (folder / "fault.txt").read_text() for folder in out.iterdir()}
    assert found.keys() == expected.keys()
    for word, text in expected.items():
        assert text in found[word]
    inputs, read, refused, faults = map(int, re.search(r"harness +(\d+) +(\d+) +(\d+) +(\d+)", table).groups())  # type: ignore[union-attr]
    assert inputs == read + refused + faults == 20
    assert read
    assert faults >= len(expected)


def test_a_kept_input_fails_again(faulty: tuple[Path, str]) -> None:
    kept = next(f for f in sorted(faulty[0].iterdir()) if (f / "input").read_bytes() == b"raise")
    code, shown, _ = fuzz("--replay", kept)
    assert code == 1
    assert "KeyError" in shown


def test_every_kind_survives_a_few_inputs(tmp_path: Path) -> None:
    code, table, messages = fuzz("--inputs", "3", "--seed", "0", "--out", tmp_path / "faults")
    assert code == 0, messages
    assert re.search(r"^all +33 ", table, re.MULTILINE), table


def test_a_seed_makes_the_same_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from tests.fuzz.arguments import words
    from tests.fuzz.mutate import mutated

    whole = bytes(range(256)) * 4
    made = [[mutated(whole, [b"other"], np.random.default_rng([seed, 7])) for seed in range(50)] for _ in range(2)]
    assert made[0] == made[1]
    assert len(set(made[0])) == 50
    lines = [words(np.random.default_rng(seed)) for seed in range(300)]
    # All commands but those that do not end.
    assert {line[0] for line in lines if line} & {*COMMANDS} == {*COMMANDS} - {"serve", "train", "compare"}

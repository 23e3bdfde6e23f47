"""`moue completion` in a real bash."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from moue.cli import completion
from moue.cli.main import COMMANDS, main
from moue.training.recipe import recipes


@pytest.fixture(scope="module")
def script() -> str:
    found = list(completion.commands())
    return completion._bash(found)


def complete(script: str, *words: str) -> set[str]:
    """What bash offers for the last of the words."""
    ask = 'eval "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _moue; printf "%s\\n" "${COMPREPLY[@]}"'
    bash = shutil.which("bash")
    assert bash, "the tests need bash"
    done = subprocess.run([bash, "-c", ask, "bash", script, *words], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["moue", ""], set(COMMANDS)),
        (["moue", "pre"], {"predict"}),
        (["moue", "data", ""], {"info", "import", "synth"}),
        (["moue", "predict", "--form"], {"--format"}),
        (["moue", "predict", "photo.jpg", "--format", "js"], {"json", "jsonl"}),
        (["moue", "predict", "--model", "fer"], {"ferplus", "ferplus-int8"}),
        (["moue", "train", "study/g"], {"study/googlenet"}),
        (["moue", "compare", "ful"], {"full"} | {name for name in recipes() if name.startswith("ful")}),
        (["moue", "report", "run", "fer"], {"ferplus", "ferplus-int8"}),
        (["moue", "export", "fer"], {"ferplus", "ferplus-int8"}),
        (["moue", "ensemble", "vote", "fer"], {"ferplus", "ferplus-int8"}),
        (["moue", "ensemble", "rank", "fer"], {"ferplus", "ferplus-int8"}),
        (["moue", "ensemble", "concat", "--recipe", "conc"], {"concat"}),
        (["moue", "data", "info", "--labels", "f"], {"fer2013", "ferplus", "folders"}),
        # A file: the shell's own completion is next.
        (["moue", "predict", "--out", ""], set()),
        (["moue", "train", "mine.yam"], set()),
    ],
)
def test_bash_offers(script: str, typed: list[str], offered: set[str]) -> None:
    assert complete(script, *typed) == offered


def test_zsh_takes_no_colon_before_a_letter_for_a_length(script: str) -> None:
    # zsh runs the same function through bashcompinit, and takes ${words[@]:1:COUNT-1} for a modifier, as in ${path:t}.
    assert re.findall(r"\$\{[^}]*:[A-Za-z][^}]*\}", script) == []
    zsh = shutil.which("zsh")
    if zsh:  # Where it is installed, it completes.
        ask = (
            'emulate sh; eval "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _moue; print -l "${COMPREPLY[@]}"'
        )
        head = "autoload -U +X compinit bashcompinit && compinit -D -u && bashcompinit; "
        words = ["moue", "predict", "--model", "fer"]
        done = subprocess.run(
            [zsh, "-fc", head + ask, "zsh", script, *words], capture_output=True, text=True, timeout=60
        )
        assert done.stderr == ""
        assert {"ferplus", "ferplus-int8"} <= set(done.stdout.split())  # zsh itself leaves out what does not begin so.


def test_it_knows_every_command_and_option(script: str) -> None:
    for command in completion.commands():
        assert complete(script, "moue", *command.words, "--") == set(command.options)
    assert complete(script, "moue", "train", "") == set(recipes())


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_has_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert completion.INSTALL[shell] in out
    assert all(command in out for command in COMMANDS)
    assert "%(" not in out


def test_another_shell_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["completion", "csh"])
    assert "Got 'csh' instead" in capsys.readouterr().err

"""The container's files: what can be checked of them without building an image, which `make docker-test` does."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from uploads import running

from moue.cli.main import _parser
from moue.server.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, continuations joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line.strip() for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def last(name: str) -> str:
    return [value for instruction, value in instructions() if instruction == name][-1]


def sent_to_the_builder(path: str) -> bool:
    """Whether .dockerignore lets a path through: the last rule that matches it, or a folder of it, decides."""
    sent = True
    for rule in (ROOT / ".dockerignore").read_text(encoding="utf-8").split():
        pattern = rule.removeprefix("!")
        parts = path.split("/")
        folders = ["/".join(parts[: i + 1]) for i in range(len(parts))]
        names = parts if pattern.startswith("**/") else folders
        if any(fnmatch(name, pattern.removeprefix("**/")) for name in names):
            sent = rule.startswith("!")
    return sent


def test_what_is_copied_exists_and_is_sent_to_the_builder() -> None:
    copied = [
        p for name, value in instructions() if name == "COPY" and "--from" not in value for p in value.split()[:-1]
    ]
    assert {"pyproject.toml", "src"} <= set(copied)
    for path in copied:
        assert (ROOT / path).exists(), path
        assert sent_to_the_builder(path), path
    assert sent_to_the_builder("src/moue/runtime/assets/default.onnx")
    assert not any(map(sent_to_the_builder, (".git", "tests", "src/moue/__pycache__", ".venv", "build")))


def test_what_building_needs_is_copied() -> None:
    copied = " ".join(value for name, value in instructions() if name == "COPY").split()
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for file in (*re.findall(r'^(?:readme|path) = "([^"/]+)"$', text, re.MULTILINE), "LICENSE", "constraints.txt"):
        assert file in copied, file
    extra = re.search(r"^ARG EXTRAS=(\w+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert extra is not None
    assert re.search(rf"^{extra[1]} = \[", text, re.MULTILINE)


def test_it_runs_without_root_and_with_options_that_exist() -> None:
    user = last("USER").partition(":")[0]
    assert user.isdecimal()
    assert int(user) > 0
    program, *arguments = json.loads(last("ENTRYPOINT"))
    assert program == "moue"
    parsed = _parser(arguments).parse_args([*arguments, "--queue", "32"])
    # Others reach a container's port only where it listens on all addresses.
    assert (parsed.host, parsed.port, parsed.queue) == ("0.0.0.0", int(last("EXPOSE")), 32)


@pytest.fixture(scope="module")
def health_check() -> list[str]:
    """The command of the health check; the port is that of a test."""
    command = json.loads(last("HEALTHCHECK").partition(" CMD ")[2])
    assert command[0] == "python"
    return [sys.executable, *command[1:]]


def is_healthy(command: list[str], port: int) -> bool:
    words = [word.replace(last("EXPOSE"), str(port)) for word in command]
    # A proxy of the container's environment must not be asked.
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
    return subprocess.run(words, env=environment, capture_output=True, check=False, timeout=60).returncode == 0


def test_the_health_check_tells_a_server_from_none_and_from_a_stuck_one(
    tiny_onnx: Path, tmp_path: Path, health_check: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "local_only": False,
        "token": "x",
        "root_path": "/moue",
        "allowed_hosts": ("a.example",),
    }
    with running(Settings((str(tiny_onnx),), "none", temp_folder=tmp_path, **settings)) as port:
        assert is_healthy(health_check, port)
        monkeypatch.setattr("moue.server.batcher.Batcher._seconds_until_stalled", lambda self: 0.0)
        assert not is_healthy(health_check, port)
    assert not is_healthy(health_check, port)


def test_the_compose_file_is_one_of_this_image() -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["moue"]
    arguments = [*json.loads(last("ENTRYPOINT"))[1:], *service["command"]]
    _parser(arguments).parse_args(arguments)
    assert service["ports"] == [f"127.0.0.1:8000:{last('EXPOSE')}"]
    assert service["read_only"] is True
    # Without a token of its own the server would print one that changes at each start.
    assert "MOUE_TOKEN" in service["environment"]


def test_commands_in_the_docs_use_options_of_the_image() -> None:
    page = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ docker run ((?:.*\\\n)*.*)$", page, re.MULTILINE)
    assert commands
    for command in commands:
        words = shlex.split(command.replace("\\\n", " "), comments=True)
        arguments = [*json.loads(last("ENTRYPOINT"))[1:], *words[words.index("moue") + 1 :]]
        _parser(arguments).parse_args(arguments)

"""Starts and times processes: workers that stay, and whole commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from moue.errors import MoueError, shortened

#: Starts a command and prints what it took. The system's peak of a child's memory is no less than that of the process
#: which started it, so that a bare Python does, whose few megabytes are the least that can be told.
_LAUNCHER = """
import json, os, sys, time
start = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(json.dumps({
    "code": os.waitstatus_to_exitcode(status), "wall": time.perf_counter() - start,
    "cpu": usage.ru_utime + usage.ru_stime, "megabytes": usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3),
}), file=sys.stderr)
"""


class BenchError(MoueError):
    """What was timed failed, or gave a wrong result."""


def run(command: list[str], name: str) -> tuple[str, dict[str, float]]:
    """Run a command to its end.

    Args:
        command: a program by its whole path, and its arguments.
        name: what errors call it.

    Returns:
        What it printed on stdout; ``wall`` and ``cpu`` seconds, and the ``megabytes`` that it held at most.

    Raises:
        BenchError: when it fails.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command], capture_output=True, text=True, check=False
    )
    lines = done.stderr.splitlines() or [""]
    try:
        usage: dict[str, float] = json.loads(lines[-1])
    except ValueError:
        raise BenchError(f"{name} cannot be started: {shortened(lines[-1], 300)}") from None
    if code := usage.pop("code"):
        raise BenchError(f"{name} ended with {code:g}: {shortened(' '.join(lines[-4:-1]), 300)}")
    return done.stdout, usage


@dataclass
class Worker:
    """A process that does tasks; used in a ``with`` block."""

    name: str
    """What errors call it."""
    command: list[str]
    threads: int = 0
    """Of its libraries; 0 for their own choice."""
    _process: subprocess.Popen[str] = field(init=False, repr=False)
    _errors: Any = field(init=False, repr=False)

    def __enter__(self) -> Worker:
        environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
        if self.threads:
            environment |= {f"{library}_NUM_THREADS": str(self.threads) for library in ("OMP", "OPENBLAS", "MKL")}
        # A file, not a pipe: nobody reads it unless something fails.
        self._errors = tempfile.TemporaryFile("w+", errors="replace")
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()
        self._errors.close()

    def ask(self, task: str, **arguments: Any) -> Any:
        """The worker's answer to a task; see :mod:`moue.bench.protocol`.

        Raises:
            BenchError: when the task fails, or the worker has ended.
        """
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines()
            raise BenchError(f"{self.name} has ended: {shortened(' '.join(said[-2:]) or 'without a word', 400)}")
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise BenchError(f"{self.name}, {task}: {shortened(answer['error'], 400)}")
        return answer


def moue_worker(model: str, engine: str, threads: int) -> Worker:
    """A worker of :mod:`moue.bench.moue_worker`."""
    command = [sys.executable, "-m", "moue.bench.moue_worker", model, engine, str(threads)]
    return Worker(f"moue ({model}, {engine})", command, threads)


def fer_worker(python: str | Path, threads: int) -> Worker:
    """A worker of :mod:`moue.bench.fer_worker`, in the environment of that Python."""
    script = Path(__file__).parent / "fer_worker.py"
    return Worker("fer", [str(python), str(script), str(threads)], threads)

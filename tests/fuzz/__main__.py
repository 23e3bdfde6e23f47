"""Throws hostile inputs at every public entry point, for a bounded time, and keeps those that break it.

::

    python -m tests.fuzz --minutes 10 --seed 1
    python -m tests.fuzz --replay build/fuzz/images-1-42

Each input has bounded memory and time in a child process. A crash, a hang, an exception other than moue's own, a result
without a status or a reason, a long message and output on the standard streams are faults. The same seed makes the same
inputs, in the same order of each kind. The exit code is 1 when there are faults.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from tests.fuzz.targets import TARGETS, kinds

ROOT = Path(__file__).parents[2]
#: Seconds until a worker has an input ready: for the first one of a kind, modules are loaded and valid inputs made.
START = 180.0
#: How many faults of a kind with the same last line are kept.
ALIKE = 3


class Child:
    """A worker, started anew after an input that ended it."""

    def __init__(self, memory: int, seconds: float) -> None:
        self._limits = (str(memory), str(seconds))
        self._process: subprocess.Popen[str] | None = None
        # Four times as long by the clock as by the processor: others may use the machine.
        self._seconds = 4 * seconds
        self.folder = Path(tempfile.mkdtemp(prefix="moue-fuzz-"))

    def ask(self, kind: str, *which: Any) -> tuple[dict[str, Any], float]:
        """What became of an input, and the seconds that it took."""
        if self._process is None:
            self._start()
        line, started, limit = json.dumps([kind, *which]), time.monotonic(), START
        try:
            self._send(line)
            if self._answers.get(timeout=START):
                started, limit = time.monotonic(), self._seconds
                if answer := self._answers.get(timeout=limit):
                    return json.loads(answer), time.monotonic() - started
        except queue.Empty:
            self.close(wait=0)
            reason = f"no answer in {limit:.0f} s"
        else:
            reason = f"the process ended with {self.close(wait=10)}"
        printed = self.folder / "printed"
        text = printed.read_text(errors="replace")[-2000:] if printed.exists() else ""
        return {"outcome": "fault", "fault": f"{text}\n{reason}"}, time.monotonic() - started

    def _send(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # It ended; the answer says so.
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _start(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "MOUE_CACHE": str(self.folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz.worker", *self._limits],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=self.folder, env=environment,
        )  # fmt: skip
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_pass_on, args=(self._process.stdout, self._answers), daemon=True).start()

    def close(self, wait: float = 0) -> int:
        """End the worker, after so many seconds in which it may do so by itself; its exit code."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(wait)
        process.kill()
        return process.wait()


def _pass_on(lines: Any, answers: queue.Queue[str]) -> None:
    for line in lines:
        answers.put(line)
    answers.put("")


def main() -> int:
    """Run; 1 when there are faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="for all kinds together (default: 10)")
    parser.add_argument("--inputs", type=int, default=sys.maxsize, help="at most that many of each kind")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other inputs (default: 0)")
    parser.add_argument("--kinds", nargs="+", choices=TARGETS, default=list(kinds()), metavar="KIND", help="only these")
    parser.add_argument("--memory", type=int, default=1024, help="MiB that an input may take (default: 1024)")
    parser.add_argument("--seconds", type=float, default=20, help="processor time that an input may take (default: 20)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "fuzz", help="where faults are kept (build/fuzz)")
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="try one kept input again")
    args = parser.parse_args()
    child = Child(args.memory, args.seconds)
    try:
        return _replay(child, args.replay) if args.replay else _run(child, args)
    finally:
        child.close()
        shutil.rmtree(child.folder, ignore_errors=True)


def _replay(child: Child, folder: Path) -> int:
    answer, _ = child.ask(folder.name.rsplit("-", 2)[0].replace("_", " "), str((folder / "input").absolute()))
    print(answer["fault"] or answer["outcome"])
    return int(bool(answer["fault"]))


def _run(child: Child, args: argparse.Namespace) -> int:
    spent: dict[str, float] = dict.fromkeys(args.kinds, 0.0)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    kept: Counter[tuple[str, str]] = Counter()
    end = time.monotonic() + 60 * args.minutes
    while time.monotonic() < end:
        # The kind that has had the least time so far, so that slow ones do not take all of it.
        kind = min((k for k in spent if sum(counts[k].values()) < args.inputs), key=lambda k: spent[k], default=None)
        if kind is None:
            break
        number = sum(counts[kind].values())
        answer, seconds = child.ask(kind, args.seed, number)
        spent[kind] += seconds
        counts[kind]["fault" if answer["fault"] else answer["outcome"]] += 1
        if answer["fault"]:
            alike = (kind, answer["fault"].strip().splitlines()[-1][:60])
            kept[alike] += 1
            if kept[alike] <= ALIKE:
                _keep(child, args.out / f"{kind.replace(' ', '_')}-{args.seed}-{number}", answer["fault"])
    _print_table(counts, spent)
    return int(any(count["fault"] for count in counts.values()))


def _keep(child: Child, folder: Path, fault: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("input", "name", "printed"):
        if (child.folder / name).exists():
            shutil.copy(child.folder / name, folder / name)
    (folder / "fault.txt").write_text(fault, errors="backslashreplace")
    print(f"{folder}: {fault.strip().splitlines()[-1][:150]}", file=sys.stderr, flush=True)


def _print_table(counts: dict[str, Counter[str]], spent: dict[str, float]) -> None:
    print(f"{'kind':<12}{'inputs':>8}{'read':>8}{'refused':>9}{'faults':>8}{'seconds':>9}")
    whole: Counter[str] = Counter()
    for kind, count in counts.items():
        _print_row(kind, count, spent[kind])
        whole += count
    _print_row("all", whole, sum(spent.values()))


def _print_row(kind: str, count: Counter[str], seconds: float) -> None:
    columns = (sum(count.values()), count["read"], count["refused"], count["fault"])
    print(f"{kind:<12}{columns[0]:>8}{columns[1]:>8}{columns[2]:>9}{columns[3]:>8}{seconds:>9.0f}")


if __name__ == "__main__":
    sys.exit(main())

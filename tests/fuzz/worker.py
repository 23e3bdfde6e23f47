"""The child process: makes inputs, tries them one by one, and says what became of each.

It reads a line of JSON an input, ``[kind, seed, number]`` or ``[kind, path]``, and writes two: "ready", and the answer.
The input lies in ``input`` before it is tried, so that it is there when this process is not.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
import traceback
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from moue.errors import MoueError
from tests.fuzz.targets import READ, REFUSED, SPEAKING, TARGETS, Fault, make_input, model

#: The longest message of an error.
LONGEST = 2100


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    captured = os.open("printed", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(captured, 1)
    os.dup2(captured, 2)
    sys.stdout = open(1, "w", closefd=False, buffering=1, errors="backslashreplace")  # noqa: SIM115 - for good
    sys.stderr = open(2, "w", closefd=False, buffering=1, errors="backslashreplace")  # noqa: SIM115
    warnings.simplefilter("ignore")
    memory, seconds = int(sys.argv[1]) << 20, float(sys.argv[2])
    for line in sys.stdin:
        kind, *which = json.loads(line)
        name, data = _prepare(kind, *which)
        print("ready", file=answers, flush=True)
        print(json.dumps(_one(kind, name, data, memory, seconds)), file=answers, flush=True)


#: The kinds of which an input was tried.
_WARM = {"harness"}


def _prepare(kind: str, *which: Any) -> tuple[str, bytes]:
    """An input, once all is loaded that its kind needs, which is not its own time and memory."""
    name, data = _input(kind, *which)
    Path("input").write_bytes(data)
    Path("name").write_text(name)
    model()
    if kind not in _WARM:
        _WARM.add(kind)
        _try(kind, *make_input(kind, np.random.default_rng(0)))
    return name, data


def _one(kind: str, name: str, data: bytes, memory: int, seconds: float) -> dict[str, Any]:
    started = time.process_time()
    os.ftruncate(1, 0)
    os.lseek(1, 0, os.SEEK_SET)
    before = _address_space()
    resource.setrlimit(resource.RLIMIT_AS, (before + memory, resource.RLIM_INFINITY))
    try:
        outcome, fault = _try(kind, name, data)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    used = time.process_time() - started
    fault = fault or _printed(kind) or (f"took {used:.0f} s" if used > seconds else "")
    return {"outcome": outcome, "fault": fault}


def _input(kind: str, *which: Any) -> tuple[str, bytes]:
    if isinstance(which[0], str):
        path = Path(which[0])
        return path.with_name("name").read_text(), path.read_bytes()
    seed, number = which
    return make_input(kind, np.random.default_rng([seed, zlib.crc32(kind.encode()), number]))


def _try(kind: str, name: str, data: bytes) -> tuple[str, str]:
    """What became of an input, and the fault."""
    folder = Path("folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        return TARGETS[kind](name, data, folder.absolute()), ""
    except MoueError as error:
        message = str(error)
    except Fault as fault:
        return "fault", str(fault)
    except BaseException:
        return "fault", traceback.format_exc()
    if len(message) > LONGEST or "\n" in message:
        return "fault", f"a message of {len(message)} characters or of several lines: {message[:300]}"
    if "out of memory" in message:
        return "fault", message
    return REFUSED if message else READ, "" if message else "an error without a message"


def _printed(kind: str) -> str:
    """What went to the standard streams and must not."""
    sys.stderr.flush()
    size = os.fstat(1).st_size
    text = os.pread(1, min(size, 4000), 0).decode(errors="replace")
    if "Traceback" in text:
        return text
    return "" if kind in SPEAKING or not size else f"printed: {text[:1000]}"


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main()

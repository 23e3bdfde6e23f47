"""What a worker of the benchmark does: it reads a line of JSON a task, does it for some seconds, and writes a line.

Nothing but the standard library is imported, and nothing of moue: workers of other packages run this file, too.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

#: Does some of a task's work once and returns (things read, things with a face); raises where a result is wrong.
Work = Callable[[], "tuple[int, int]"]


def timed(work: Work, seconds: float) -> dict[str, Any]:
    """Do some work until ``seconds`` are over, at least once.

    Returns:
        ``items`` and ``found`` in all, ``wall`` and ``cpu`` seconds; the latter of all threads of this process.
    """
    items = found = 0
    wall, cpu = time.perf_counter(), time.process_time()
    while not items or time.perf_counter() - wall < seconds:
        more, with_face = work()
        items, found = items + more, found + with_face
    return {
        "items": items,
        "found": found,
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
    }


def serve(make: Callable[[dict[str, Any]], Work], answers: Mapping[str, Callable[[dict[str, Any]], Any]]) -> None:
    """Answer the tasks that come on stdin, until it ends.

    Args:
        make: a task to its work; called once for each task, and the work is done once before it is timed.
        answers: by name, tasks that are not timed.
    """
    # What packages print goes to stderr: stdout is for the answers.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    works: dict[str, Work] = {}
    for line in sys.stdin:
        task = json.loads(line)
        try:
            if task["task"] in answers:
                answer = answers[task["task"]](task)
            else:
                key = json.dumps({name: value for name, value in task.items() if name != "seconds"}, sort_keys=True)
                if key not in works:
                    works[key] = make(task)
                    works[key]()
                answer = timed(works[key], task["seconds"])
        except Exception as error:  # Of whatever package: the other side names worker and task.
            answer = {"error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps(answer) + "\n")
        out.flush()


def installed(task: dict[str, Any]) -> dict[str, Any]:
    """What a distribution and all that it requires take on disk.

    Args:
        task: ``distribution``, its name.

    Returns:
        ``megabytes``, and ``versions`` of all of them by name. Extras, and files that installers write, as bytecode,
        do not count.
    """
    import importlib.metadata
    import platform
    import re

    def key(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    versions: dict[str, str] = {}
    size, waiting = 0, [task["distribution"]]
    while waiting:
        name = waiting.pop()
        if key(name) in versions:
            continue
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # Required on another system or Python.
        versions[key(name)] = found.version
        for file in found.files or ():
            path = Path(str(found.locate_file(file)))
            if path.suffix != ".pyc" and path.is_file():
                size += path.stat().st_size
        for requirement in found.requires or ():
            if not re.search(r";.*\bextra\s*==", requirement):
                waiting.append(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
    return {"megabytes": size / 1e6, "versions": {**versions, "python": platform.python_version()}}

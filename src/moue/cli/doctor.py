"""`moue doctor`: what this installation can do, and what to type for what is missing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from moue.cli.main import OK, PARTIAL
from moue.cli.output import add_format, write


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue doctor`."""
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Print one row a part of the installation; the problems on stderr, too.

    Returns:
        3 where a part of the base install does not work, else 0: an extra that is not installed is no problem.
    """
    from moue.doctor import diagnose

    found = diagnose()
    write(list(rows(found)), args.format, found)
    if args.format == "table" and not found["problems"]:
        sys.stderr.write("moue: reading faces works here. What is not ok is optional\n")
    for problem in found["problems"]:
        sys.stderr.write(f"moue: {problem}\n")
    return PARTIAL if found["problems"] else OK


def rows(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The diagnosis as rows: ``part``, ``name``, ``ok`` and a ``remark``."""

    def row(part: str, name: str, ok: bool, remark: str | None) -> dict[str, Any]:
        return {"part": part, "name": name, "ok": ok, "remark": remark}

    yield row("moue", found["version"], True, f"Python {found['python']}, {found['system']}")
    for package, version in found["packages"].items():
        if version:
            yield row("package", package, True, version)
    for name in found["engines"]:
        yield row("engine", name, True, f"{found['threads']} threads" if name == "onnxruntime" else None)
    for other in found["other_engines"]:
        yield row("engine", other["name"], False, other["remark"])
    for model in found["models"]:
        yield row("model", model["name"], model["ok"], model["remark"])
    yield row("camera", "camera", found["camera"]["ok"], found["camera"]["remark"])
    cache = found["cache"]
    yield row("cache", cache["path"], cache["ok"], f"{cache['megabytes']} MB" if cache["ok"] else "cannot be written")
    yield row("telemetry", "telemetry", found["telemetry"] == "off", found["telemetry"])
    for extra in found["extras"]:
        remark = extra["about"] if extra["ok"] else f"{extra['about']}. Type: {extra['install']}"
        yield row("extra", extra["name"], extra["ok"], remark)

"""What this installation can do: packages, engines, models, camera, cache, and what to type for what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from moue._version import __version__
from moue.cache import cache_dir
from moue.errors import MoueError, shortened
from moue.runtime.detect import CenterFace
from moue.runtime.engine import ENGINES, EngineName, choose_engine, open_graph, open_model
from moue.runtime.graph import core_limit
from moue.runtime.weights import find_model, list_models
from moue.telemetry import OPT_OUT

#: What each extra is for. Those of the developers are left out.
EXTRAS = {
    "fast": "OpenVINO, the faster engine for folders and videos",
    "camera": "the live window of a camera",
    "heif": "photos from phones (HEIC)",
    "parquet": "results as Parquet",
    "report": "figures and pages",
    "train": "training, evaluation of runs, export",
    "serve": "the web page and the HTTP API",
    "scale": "scoring archives and training on a cluster",
    "models": "the larger models, and the weights for fine-tuning",
}

_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:\[[\w,.-]+\])?\s*(?:>=([\d.]+))?[^;]*(?:;.*extra == ['\"](\w+)['\"])?")


def diagnose() -> dict[str, Any]:
    """Look at everything that reading, serving and training need here; loads neither torch nor any other extra but
    OpenVINO.

    Returns:
        ``version``, ``python``, ``system``; ``packages``: name to version, or None; ``engines``: those that run a
        model here; ``other_engines``: ``[{name, remark}]``; ``threads`` of the CPU; ``camera``: ``{ok, remark}``;
        ``cache``: ``{path, ok, megabytes}``; ``models``: ``[{name, ok, remark}]``, the face detector with them;
        ``extras``: ``[{name, about, ok, missing, install}]``; ``telemetry``: "off", or which variable the user set;
        ``problems``: a sentence for each part of the base install that does not work. An extra that is not installed
        is no problem.
    """
    base, extras = requirements()
    engines, other_engines = _engines()
    models = list(_models())
    cache = _cache()
    known = (base, *(extras.get(name, {}) for name in EXTRAS))
    packages = {name: _version_of(name) for needs in known for name in needs}
    problems = [
        *(f"{name} {found or 'is not installed'}. Type: pip install moue" for name, found in _lacking(base).items()),
        *(f"the model {model['name']} cannot be used: {model['remark']}" for model in models if not model["ok"]),
        *([] if cache["ok"] else [f"the cache folder {cache['path']} cannot be written: set MOUE_CACHE to another."]),
    ]
    return {
        "version": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": packages,
        "engines": engines,
        "other_engines": other_engines,
        "threads": core_limit() or os.cpu_count() or 1,
        "camera": _camera(),
        "cache": cache,
        "models": models,
        "extras": [_extra(name, extras.get(name, {})) for name in EXTRAS],
        "telemetry": _telemetry(),
        "problems": problems,
    }


def requirements() -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """What the installed moue says that it needs: package to lowest version, for the base install and by extra."""
    base: dict[str, str] = {}
    extras: dict[str, dict[str, str]] = {}
    try:
        lines = importlib.metadata.requires("moue") or []
    except importlib.metadata.PackageNotFoundError:  # A source tree on the path.
        lines = []
    for line in lines:
        if (found := _REQUIREMENT.match(line)) and found[1] != "moue":
            (extras.setdefault(found[3], {}) if found[3] else base)[found[1]] = found[2] or ""
    return base, extras


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", re.split(r"[a-z+]", version)[0])]


def _lacking(needs: dict[str, str]) -> dict[str, str]:
    """The packages that are not installed ("") or too old (a sentence)."""
    lacking = {}
    for name, lowest in needs.items():
        version = _version_of(name)
        if version is None:
            lacking[name] = ""
        elif _numbers(version) < _numbers(lowest):
            lacking[name] = f"{version} is too old: {lowest} or later is needed"
    return lacking


def _extra(name: str, needs: dict[str, str]) -> dict[str, Any]:
    lacking = _lacking(needs)
    return {
        "name": name,
        "about": EXTRAS[name],
        "ok": not lacking,
        "missing": [f"{package} {found}".strip() for package, found in lacking.items()],
        "install": f"pip install {'--upgrade ' if any(lacking.values()) else ''}'moue[{name}]'" if lacking else None,
    }


def _engines() -> tuple[list[str], list[dict[str, str]]]:
    """The engines that run the smallest model here, and why the others do not."""
    works, others = [], []
    for name in ENGINES:
        if name == "auto":
            continue
        try:
            open_graph(find_model("tiny").path, engine=cast(EngineName, choose_engine(cast(EngineName, name))))
        except MoueError as error:
            others.append({"name": name, "remark": str(error)})
        else:
            works.append(name)
    return works, others


def _models() -> Iterator[dict[str, Any]]:
    """The face detector and every installed model: whether its file is intact and gives probabilities."""
    for name in ("centerface", *(model["name"] for model in list_models())):
        remark = None
        try:
            if name == "centerface":
                CenterFace(64, engine="onnxruntime").detect(np.zeros((64, 64, 3), np.uint8))
            else:
                engine = open_model(name, engine="onnxruntime")
                spec = engine.spec
                engine.predict(np.zeros((1, spec.channels, spec.size, spec.size), np.uint8))
        except (MoueError, OSError, MemoryError) as error:
            remark = shortened(error, 400) or type(error).__name__
        yield {"name": name, "ok": remark is None, "remark": remark}


def _camera() -> dict[str, Any]:
    """Whether a camera can be read. It is not opened: that would switch its light on."""
    if _version_of("opencv-python") is None and _version_of("opencv-python-headless") is None:
        return {"ok": False, "remark": "OpenCV is not installed. Type: pip install 'moue[camera]'"}
    if platform.system() == "Linux":
        devices = sorted(str(path) for path in Path("/dev").glob("video*"))
        return {"ok": bool(devices), "remark": ", ".join(devices) or "this machine has no /dev/video*"}
    return {"ok": True, "remark": "not opened here; try: moue predict 0"}


def _cache() -> dict[str, Any]:
    path, megabytes = "", 0.0
    try:
        folder = cache_dir()
        path = str(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
        megabytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    except OSError as error:
        return {"path": path or str(error.filename), "ok": False, "megabytes": None}
    return {"path": path, "ok": True, "megabytes": round(megabytes, 1)}


def _telemetry() -> str:
    # A value that the user has set is kept (moue.telemetry).
    changed = [f"{name}={os.environ.get(name, '')}" for name, off in OPT_OUT.items() if os.environ.get(name) != off]
    return f"set by you: {', '.join(changed)}" if changed else "off"

"""Lets moue and a peer take turns at the same tasks, round after round, and compares them within each round.

What else a machine does slows all of a round's turns alike, and ratios are taken within rounds. Beside wall time stands
the processor time of all threads, which other programs disturb less.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from moue.bench.inputs import Inputs, make_inputs
from moue.bench.processes import BenchError, Worker, fer_worker, moue_worker, run
from moue.errors import UsageError
from moue.runtime.engine import EngineName, choose_engine
from moue.runtime.validation import check_number
from moue.runtime.weights import find_model
from moue.training.machine import describe

Kind = Literal["faces", "photos", "frames"]

#: Quicker options that are measured beside the default ones: the film with every so many frames searched as a whole,
#: the photos searched at so many pixels.
DETECT_EVERY, LONG_SIDE = 8, 640

#: Units of a task, for tables.
UNITS: dict[str, str] = {"faces": "cropped faces", "photos": "photos", "frames": "film frames"}

#: A process that is run once: its memory is what is asked for, and it takes long.
FILM_PROCESS = "read the film"

_FER_FILM = """
import sys, cv2
from fer.fer import FER
film, reader, found = cv2.VideoCapture(sys.argv[1]), FER(), []
while (read := film.read())[0]:
    found.append(bool(reader.detect_emotions(read[1])))
assert any(found), "fer found no face"
"""

_FER_COLD = """
import sys, cv2
from fer.fer import FER
found = FER().detect_emotions(cv2.imread(sys.argv[1]))
assert len(found) == 1, found
print("[" + repr(len(found)) + "]")
"""


@dataclass(frozen=True)
class BenchOptions:
    """What is measured.

    Raises:
        UsageError: for a number out of its range.
        MoueError: for a model that cannot be opened.
    """

    models: Sequence[str] = ("default", "tiny")
    """Names or paths of models; whole photos and frames are read with the first."""
    peer: Path | None = None
    """The Python of an environment that has the package `fer`."""
    data: str | None = None
    """FER-2013, for the accuracy on PublicTest."""
    engines: Sequence[str] = ()
    """Engines of the CPU; all that are installed where left out."""
    batches: Sequence[int] = (1, 16, 64)
    """How many cropped faces are classified at once."""
    threads: Sequence[int] = (1, 0)
    """For cropped faces; 0 for the engine's own choice. Photos and frames are read with the last of them."""
    rounds: int = 5
    """How often each task has its turn."""
    seconds: float = 1.0
    """Of a turn, at least."""
    photos: int = 40
    """How many mixed photos there are."""
    frames: int = 150
    """Of the film."""

    def __post_init__(self) -> None:
        for name, value in (("rounds", self.rounds), ("photos", self.photos), ("frames", self.frames)):
            check_number(name, value, 1, integer=True)
        check_number("seconds", self.seconds, 0)
        for engine in self.engines:
            choose_engine(cast("EngineName", engine))
        for batch in self.batches:
            check_number("batch", batch, 1, integer=True)
        for threads in self.threads:
            check_number("threads", threads, 0, integer=True)
        for model in self.models:
            find_model(model)
        if self.peer is not None and not self.peer.is_file():
            raise UsageError(f"{self.peer} is no program: name the Python of an environment that has fer.")


@dataclass
class _Reader:
    """A worker, and what it took for each task in each round."""

    model: str
    engine: str
    threads: int
    worker: Worker
    pipeline: bool
    """Whether it reads photos and frames, too."""
    gflop: float | None = None
    """Billions of operations of one face."""


def measure(options: BenchOptions, progress: Callable[[str], object] = lambda _: None) -> dict[str, Any]:
    """Measure everything.

    Args:
        options: what.
        progress: called with a line before each part.

    Returns:
        Plain types: ``machine``, ``settings``, ``peak_gflops`` by threads, ``ratios`` (the best first lines of a
        report), ``speeds``, ``processes``, ``installed`` and ``accuracy``: rows.

    Raises:
        BenchError: when something that was timed failed, or gave a wrong result.
    """
    report: dict[str, Any] = {"machine": describe(), "settings": _settings(options)}
    with tempfile.TemporaryDirectory(prefix="moue-bench-") as folder, ExitStack() as stack:
        inputs = make_inputs(Path(folder), options.photos, options.frames)
        progress("cold starts")
        report["processes"] = _processes(options, inputs)
        readers = [_opened(stack, reader) for reader in _readers(options)]
        report["peak_gflops"] = {
            str(r.threads): round(r.worker.ask("peak", seconds=1), 1) for r in readers[: len(options.threads)]
        }
        report["speeds"] = _speeds(options, inputs, readers, report["peak_gflops"], progress)
        progress("installed packages")
        report["installed"] = _installed(readers)
        if options.data is not None:
            progress("accuracy on PublicTest")
            report["accuracy"] = _accuracy(options, readers, Path(folder))
    report["ratios"] = _ratios(report)
    return report


def _settings(options: BenchOptions) -> dict[str, Any]:
    names = ("models", "batches", "threads", "rounds", "seconds", "photos", "frames")
    values = {name: getattr(options, name) for name in names}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _readers(options: BenchOptions) -> list[_Reader]:
    engines = options.engines or [name for name in ("openvino", "onnxruntime") if importlib.util.find_spec(name)]
    readers = [
        _Reader(
            model,
            engine,
            threads,
            moue_worker(model, engine, threads),
            model == options.models[0] and threads == options.threads[-1],
            _gflop(model),
        )
        for model in options.models
        for engine in engines
        for threads in options.threads
    ]
    if options.peer is not None:
        for threads in options.threads:
            worker = fer_worker(options.peer, threads)
            readers.append(_Reader("fer", "tensorflow", threads, worker, threads == options.threads[-1]))
    return readers


def _opened(stack: ExitStack, reader: _Reader) -> _Reader:
    stack.enter_context(reader.worker)
    if reader.model != "fer":
        reader.gflop = reader.gflop and reader.gflop * reader.worker.ask("engine")["views"]
    return reader


def _gflop(model: str) -> float | None:
    """Billions of operations of one view; None where the package that counts them is not installed."""
    if importlib.util.find_spec("onnx") is None:
        return None
    from moue.export.flops import gflop

    return gflop(find_model(model).path)


def _name(kind: Kind, arguments: Mapping[str, Any]) -> str:
    options = arguments.get("options", {})
    return UNITS[kind] + "".join(f", --{name.replace('_', '-')} {value}" for name, value in options.items())


def _tasks(options: BenchOptions, inputs: Inputs) -> list[tuple[Kind, dict[str, Any]]]:
    tasks: list[tuple[Kind, dict[str, Any]]] = [("faces", {"batch": batch}) for batch in options.batches]
    photos = {"paths": inputs.photos, "faces": inputs.faces}
    tasks += [("photos", photos), ("photos", {**photos, "options": {"long_side": LONG_SIDE}})]
    film = {"path": inputs.film, "frames": inputs.frames}
    tasks += [("frames", film), ("frames", {**film, "options": {"detect_every": DETECT_EVERY}})]
    return tasks


def _speeds(
    options: BenchOptions,
    inputs: Inputs,
    readers: Sequence[_Reader],
    peaks: dict[str, float],
    progress: Callable[[str], object],
) -> list[dict[str, Any]]:
    """A row a task and reader; the peer's are the last ones of each task."""
    tasks = _tasks(options, inputs)
    taken: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for turn in range(options.rounds):
        progress(f"round {turn + 1} of {options.rounds}")
        for t, (kind, arguments) in enumerate(tasks):
            for r, reader in enumerate(readers):
                if kind == "faces" or reader.pipeline:
                    answer = reader.worker.ask(kind, seconds=options.seconds, **arguments)
                    taken.setdefault((t, r), []).append(answer)
    rows = []
    for (t, r), turns in taken.items():
        kind, arguments = tasks[t]
        reader = readers[r]
        peers = [p for p, other in enumerate(readers) if other.model == "fer" and other.threads == reader.threads]
        rate = statistics.median(turn["items"] / turn["wall"] for turn in turns)
        row: dict[str, Any] = {
            "task": _name(kind, arguments),
            "at_once": arguments.get("batch"),
            "reader": reader.model,
            "engine": reader.engine,
            "threads": reader.threads or "all",
            "per_second": _rounded(rate),
            "per_cpu_second": _rounded(statistics.median(turn["items"] / turn["cpu"] for turn in turns)),
            "share_with_face": round(sum(turn["found"] for turn in turns) / sum(turn["items"] for turn in turns), 3),
            "gflops": round(rate * reader.gflop, 1) if reader.gflop and kind == "faces" else None,
        }
        row["gflops_over_peak"] = row["gflops"] and round(row["gflops"] / peaks[str(reader.threads)], 2)
        row |= _times(turns, taken[t, peers[0]]) if peers else {}
        rows.append(row)
    return rows


def _times(turns: Sequence[dict[str, Any]], peer: Sequence[dict[str, Any]]) -> dict[str, float]:
    """How many times the peer's speed: the median of the rounds, the least and the most; and by processor time."""
    pairs = list(zip(turns, peer, strict=True))
    wall = [a["items"] / a["wall"] * b["wall"] / b["items"] for a, b in pairs]
    cpu = [a["items"] / a["cpu"] * b["cpu"] / b["items"] for a, b in pairs]
    return {
        "times": _rounded(statistics.median(wall)),
        "least": _rounded(min(wall)),
        "most": _rounded(max(wall)),
        "cpu_times": _rounded(statistics.median(cpu)),
    }


def _rounded(value: float) -> float:
    """To three digits that count."""
    return float(f"{value:.3g}")


def _processes(options: BenchOptions, inputs: Inputs) -> list[dict[str, Any]]:
    """Whole processes, taking turns; the first turn, which fills the file system's cache, does not count."""
    moue = [os.path.realpath(sys.executable) if sys.prefix == sys.base_prefix else sys.executable]
    predict = [*moue, "-m", "moue", "predict", "--model", options.models[0]]
    commands: dict[tuple[str, str], list[str]] = {
        ("python", "moue"): [*moue, "-c", "pass"],
        ("import", "moue"): [*moue, "-c", "import moue"],
        ("read one photo", "moue"): [*predict, inputs.photo, "--format", "json"],
        (FILM_PROCESS, "moue"): [*predict, inputs.film, "--format", "jsonl"],
    }
    if options.peer is not None:
        peer = str(options.peer)
        commands |= {
            ("python", "fer"): [peer, "-c", "pass"],
            ("import", "fer"): [peer, "-c", "import fer.fer"],
            ("read one photo", "fer"): [peer, "-c", _FER_COLD, inputs.photo],
            (FILM_PROCESS, "fer"): [peer, "-c", _FER_FILM, inputs.film],
        }
    taken: dict[tuple[str, str], list[dict[str, float]]] = {key: [] for key in commands}
    for turn in range(options.rounds + 1):
        for key, command in commands.items():
            if key[0] == FILM_PROCESS and turn != 1:
                continue
            out, usage = run(command, " ".join(key))
            if key == ("read one photo", "moue"):
                _check_prediction(out)
            if key == (FILM_PROCESS, "moue"):
                _check_film(out, inputs.frames)
            if turn:
                taken[key].append(usage)
    rows = []
    for (what, reader), turns in taken.items():
        row: dict[str, Any] = {"process": what, "reader": reader}
        row |= {name: round(statistics.median(turn[name] for turn in turns), 3) for name in ("wall", "cpu")}
        row["megabytes"] = round(statistics.median(turn["megabytes"] for turn in turns))
        if reader == "moue" and (peer_turns := taken.get((what, "fer"))):
            for name in ("wall", "cpu", "megabytes"):
                pairs = zip(peer_turns, turns, strict=True)
                row[f"{name}_times"] = _rounded(statistics.median(b[name] / a[name] for b, a in pairs))
        rows.append(row)
    return rows


def _check_prediction(out: str) -> None:
    """One photo, one face, with a label."""
    try:
        [row] = json.loads(out)
        [face] = row["faces"]
        right = row["status"] == "ok" and face["label"] in face["probabilities"]
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        raise BenchError(f"moue predict must print the one face of the photo. Got {out[:200]!r} instead.")


def _check_film(out: str, frames: int) -> None:
    """A row a frame, each with one face."""
    rows = [json.loads(line) for line in out.splitlines()]
    if len(rows) != frames or any(len(row["faces"]) != 1 for row in rows):
        raise BenchError(f"moue predict must print one face for each of {frames} frames. Got {len(rows)} rows instead.")


def _installed(readers: Sequence[_Reader]) -> list[dict[str, Any]]:
    ours = readers[0].worker.ask("installed", distribution="moue")
    rows = [{"reader": "moue", "megabytes": round(ours["megabytes"] + _editable(), 1), "versions": ours["versions"]}]
    if readers[-1].model == "fer":
        peer = readers[-1].worker.ask("installed", distribution="fer")
        rows.append({"reader": "fer", "megabytes": round(peer["megabytes"], 1), "versions": peer["versions"]})
        rows[0]["share"] = round(rows[0]["megabytes"] / rows[1]["megabytes"], 3)
    return rows


def _editable() -> float:
    """Megabytes of moue's own files where it is installed from a checkout, whose record does not list them."""
    import importlib.metadata

    package = Path(__file__).parent.parent
    with_files = importlib.metadata.distribution("moue").files or []
    if any(file.name == "errors.py" for file in with_files):
        return 0.0
    files = (p for p in package.rglob("*") if p.is_file() and p.suffix != ".pyc")
    return sum(file.stat().st_size for file in files) / 1e6


def _accuracy(options: BenchOptions, readers: Sequence[_Reader], folder: Path) -> list[dict[str, Any]]:
    import numpy as np

    from moue import data
    from moue.evaluation.evaluate_model import evaluate_model

    assert options.data is not None
    rows: list[dict[str, Any]] = []
    for model in options.models:
        result = evaluate_model(model, options.data, "public_test")
        rows.append({"reader": model, "accuracy": round(result.accuracy, 5), "n": result.n})
    if readers[-1].model == "fer":
        table = data.load(options.data, labels="fer2013")
        part, path = table.part("public_test"), folder / "faces.npz"
        np.savez(path, images=part.images[:, 0], labels=part.labels, names=np.array(table.label_set.labels))
        peer = readers[-1].worker.ask("accuracy", path=str(path))
        rows.append({"reader": "fer", "accuracy": round(peer["accuracy"], 5), "n": peer["n"]})
    return rows


def _ratios(report: dict[str, Any]) -> list[dict[str, Any]]:
    """What a reader wants to know first: how many times as good as the peer; empty without one."""
    ratios = []
    for row in report["processes"]:
        if row["process"] == "read one photo" and "wall_times" in row:
            times = {"times": row["wall_times"], "cpu_times": row["cpu_times"]}
            ratios.append({"what": "one photo from a cold start", "reader": "moue", "engine": "onnxruntime", **times})
    last = report["settings"]["batches"][-1]
    for row in report["speeds"]:
        if "times" in row and row["reader"] != "fer" and row["threads"] == _last_threads(report):
            if row["at_once"] not in (None, last):
                continue
            names = ("reader", "engine", "times", "least", "most", "cpu_times")
            ratios.append({"what": f"{row['task']} per second", **{name: row[name] for name in names}})
    for row in report["installed"]:
        if "share" in row:
            ratios.append(
                {"what": "size on disk, the peer's over moue's", "reader": "moue", "times": _rounded(1 / row["share"])}
            )
    return ratios


def _last_threads(report: dict[str, Any]) -> int | str:
    return report["settings"]["threads"][-1] or "all"

"""What is tried: a maker of inputs and the public entry point that takes them, for each kind of input.

A target gets an input's name and bytes and an empty folder. It returns what became of the input in a word, and raises
:class:`moue.errors.MoueError` where the input is refused. Anything else that it raises is a fault.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

import numpy as np

from moue.errors import Status
from moue.spec import ModelSpec, file_sha256
from tests.fuzz import requests
from tests.fuzz.arguments import words
from tests.fuzz.corpus import CORPORA, Corpus, csv_text, picture
from tests.fuzz.mutate import Rng, mutated

READ, REFUSED = "read", "refused"
STATUSES = frozenset(get_args(Status))
Target = Callable[[str, bytes, Path], str]


class Fault(Exception):
    """A result that must not be."""


@functools.cache
def corpus(kind: str) -> Corpus:
    """The valid inputs of a kind, made once a process."""
    return CORPORA[kind]()


def make_input(kind: str, rng: Rng) -> tuple[str, bytes]:
    """An input: the name of what it began as, and its bytes."""
    if kind == "arguments":
        return "line.json", json.dumps(words(rng)).encode()
    if kind == "requests":
        name, data = make_input(("images", "videos", "texts")[int(rng.integers(3))], rng)
        return requests.make(name, data, rng)
    if kind == "harness":
        return "word", _WORDS[int(rng.integers(len(_WORDS)))]
    found = corpus(kind)
    names = sorted(found)
    name = names[int(rng.integers(len(names)))]
    return name, mutated(found[name], list(found.values()), rng)


@functools.cache
def model(folder: Path = Path("model")) -> Path:
    """A small model of one layer with its spec, in the working folder."""
    folder.mkdir(exist_ok=True)
    path = folder.absolute() / "small.onnx"
    path.write_bytes(corpus("models")["small"])
    spec = json.loads(corpus("specs")["spec"])
    ModelSpec.from_dict({**spec, "sha256": file_sha256(path)}).save(path.with_suffix(".json"))
    return path


@functools.cache
def _recognizer() -> Any:
    from moue.runtime.recognizer import Recognizer

    return Recognizer(model(), "none", engine="onnxruntime", threads=1)


def _outcome(results: Any) -> str:
    """Of all images or frames; each must have a status, and what is not read a reason."""
    results = results if isinstance(results, list) else [results]
    for faces in results:
        if faces.status not in STATUSES:
            raise Fault(f"a result with the status {faces.status!r}")
        if not faces.readable and not faces.reason:
            raise Fault(f"a result without a reason: {faces.status}")
        if faces.reason and len(faces.reason) > 500:
            raise Fault(f"a reason of {len(faces.reason)} characters")
        if "out of memory" in (faces.reason or ""):
            raise Fault(faces.reason)
        if not np.isfinite(faces.predictions.probabilities).all():
            raise Fault("probabilities that are no numbers")
    return READ if any(faces.readable for faces in results) else REFUSED


def _images(name: str, data: bytes, folder: Path) -> str:
    path = folder / "photo"
    path.write_bytes(data)
    whole, file = _recognizer().read(data), _recognizer().read(path)
    if _outcome(whole) != _outcome(file):
        raise Fault("its bytes and its file are not alike")
    return _outcome(whole)


def _videos(name: str, data: bytes, folder: Path) -> str:
    """Read from memory, and as a file with an annotated copy."""
    from moue.cli.main import main

    outcome = _outcome(_recognizer().read(data))
    path = folder / "film"
    path.write_bytes(data)
    _code(main(["predict", str(path), *_SMALL, "--out", str(folder / "out"), "--format", "jsonl"]))
    return outcome


def _texts(name: str, data: bytes, folder: Path) -> str:
    """Whatever a text names, nothing is read."""
    picture(48).save(folder / "photo.png")
    (folder / "film.mp4").write_bytes(corpus("videos")["mp4"])
    for suffix in ("", ".mp4", ".png"):
        path = folder / f"text{suffix}"
        path.write_bytes(data)
        if _outcome(_recognizer().read(path)) == READ:
            raise Fault("a text is read as a photo or a film")
    if _outcome(_recognizer().read(data)) == READ:
        raise Fault("a text is read as a photo or a film")
    return REFUSED


def _data_sets(name: str, data: bytes, folder: Path) -> str:
    from moue.data.loading import load

    path = folder / f"set{''.join(Path(name).suffixes)}"
    path.write_bytes(data)
    # Rows are refused one by one; what is left over, with its list, is the set.
    table = load(path, cache=False, skip_bad=len(data) % 2 == 0)
    if len(table.images) != len(table.labels) or table.images.dtype != np.uint8:
        raise Fault("images and labels are not alike")
    return READ


def _votes(name: str, data: bytes, folder: Path) -> str:
    from moue.data.loading import load

    (folder / "set.csv").write_bytes(csv_text())
    (folder / "votes.csv").write_bytes(data)
    load(folder / "set.csv", labels="ferplus", votes=folder / "votes.csv", cache=False)
    return READ


def _models(name: str, data: bytes, folder: Path) -> str:
    """With a spec whose hash fits, or none would get beyond it."""
    from moue.runtime.engine import open_model

    path = folder / "small.onnx"
    path.write_bytes(data)
    picture(48).save(folder / "photo.png")
    spec = json.loads(corpus("specs")["spec"])
    ModelSpec.from_dict({**spec, "sha256": file_sha256(path)}).save(path.with_suffix(".json"))
    engine = open_model(path, engine=("onnxruntime", "openvino")[len(data) % 2], threads=1)
    engine.predict(np.zeros((2, 1, 48, 48), np.uint8))
    return READ


def _specs(name: str, data: bytes, folder: Path) -> str:
    (folder / "spec.json").write_bytes(data)
    ModelSpec.load(folder / "spec.json")
    return READ


def _recipes(name: str, data: bytes, folder: Path) -> str:
    from moue.training.recipe import load_recipe

    path = folder / "recipe.yaml"
    path.write_bytes(data)
    load_recipe(str(path))
    return READ


def _runs(name: str, data: bytes, folder: Path) -> str:
    """A run of which one file is damaged, resumed up to its first step and opened."""
    from moue.data.readers.synth import synthetic
    from moue.trained.open import open_any
    from moue.training import checkpoints
    from moue.training.run_folder import Run

    root = folder / "run"
    for file, whole in corpus("runs").items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(data if file == name else whole)
    if "checkpoints" in name:
        checkpoints.load(root / name)
        return READ
    run = Run(root)
    config = run.config()
    run.record()
    run.spec()
    run.split(synthetic(140, seed=1))
    run.resume_config(config, config, [])
    run.history()
    run.best_accuracy(before=2)
    open_any(root).logits(np.zeros((2, 1, 48, 48), np.uint8))
    return READ


def _requests(name: str, data: bytes, folder: Path) -> str:
    return READ if requests.send(name, data, model()) < 300 else REFUSED


_SMALL = ("--model", "model/small.onnx", "--detector", "none", "--engine", "onnxruntime", "--threads", "1")


def _arguments(name: str, data: bytes, folder: Path) -> str:
    from moue.cli.main import main

    model()
    try:
        return _code(main(json.loads(data)))
    except SystemExit as end:
        return _code(int(end.code or 0))


def _code(code: int) -> str:
    if code not in (0, 2, 3):
        raise Fault(f"the exit code {code}")
    return READ if code == 0 else REFUSED


#: What the harness must notice; not among the kinds of a run.
_WORDS = (b"fine", b"raise", b"crash", b"hang", b"memory", b"status", b"stderr")


def _harness(name: str, data: bytes, folder: Path) -> str:
    import os
    import sys

    if data == b"raise":
        raise KeyError("an error that is not moue's own")
    if data == b"crash":
        os.abort()
    if data == b"hang":
        for _ in itertools.count():
            pass
    if data == b"memory":
        bytearray(1 << 34)
    if data == b"stderr":
        sys.stderr.write("a decoder speaks\n")
    if data == b"status":
        raise Fault("a result without a status")
    return READ


TARGETS: dict[str, Target] = {
    "images": _images,
    "videos": _videos,
    "texts": _texts,
    "data sets": _data_sets,
    "votes": _votes,
    "models": _models,
    "specs": _specs,
    "recipes": _recipes,
    "runs": _runs,
    "requests": _requests,
    "arguments": _arguments,
    "harness": _harness,
}
#: Whose own output on stderr is right: commands.
SPEAKING = frozenset({"videos", "arguments"})


def kinds() -> Iterable[str]:
    """All that a run tries."""
    return [kind for kind in TARGETS if kind != "harness"]

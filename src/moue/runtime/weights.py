"""Finds trained models in the wheel, in ``moue-models``, in a run folder or at a path, and checks their hashes."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from moue.errors import MissingExtra, ModelError, UnknownName, UsageError, quoted
from moue.run_folder import EXPORTED, RUN_FILES, SPEC
from moue.spec import ModelSpec, file_sha256

#: Models that the wheel carries, the default first; the last three are the others, multiplied in 8 bits.
BUNDLED = ("default", "tiny", "ferplus", "default-int8", "tiny-int8", "ferplus-int8")

#: Models that the second distribution, ``moue-models``, carries.
EXTRA = ("full", "googlenet", "resnet50v2", "vit")

#: Models whose weights ``moue-models`` carries for torch, too, to train on from them; the last two are the members of
#: ``full`` beside ``default``.
TORCH = (
    *("default", "tiny", "ferplus"),
    *("googlenet", "resnet50v2", "vit"),
    *("full/mobile", "full/votes"),
)

#: The model for real use: it has learned what most people see in a face.
RECOMMENDED = "ferplus"

#: What each shipped model is for, in a line.
ABOUT = {
    "ferplus": "Recommended for real use: eight expressions, as most of ten people named them.",
    "default": "Seven expressions, as FER-2013 labels them.",
    "tiny": "The fastest and smallest, a little less accurate.",
    "ferplus-int8": "ferplus in 8-bit arithmetic, for processors with VNNI: as accurate.",
    "default-int8": "default in 8-bit arithmetic, for processors with VNNI: nearly as accurate.",
    "tiny-int8": "tiny in 8-bit arithmetic: the fastest.",
    "full": "The most accurate on FER-2013; slower.",
    "googlenet": "GoogLeNet, one of the three networks of the 2023 study that moue repeats.",
    "resnet50v2": "ResNet50V2, one of the three networks of the 2023 study that moue repeats.",
    "vit": "Vision Transformer, one of the three networks of the 2023 study that moue repeats.",
}

ASSETS = Path(__file__).parent / "assets"


class ModelFile(NamedTuple):
    """A model's graph and spec."""

    path: Path
    """The ``.onnx`` file."""
    spec: ModelSpec


def is_known(name: object) -> bool:
    """Whether this is the name of a shipped model, which has precedence over a file or folder of that name.

    ``./default``, or a ``Path``, is always the file or folder.
    """
    return isinstance(name, str) and name in (*BUNDLED, *EXTRA)


def find_model(name: str | Path) -> ModelFile:
    """The file of a trained model, its hash checked against its spec.

    Args:
        name: a name of ``moue models``, the path of an ``.onnx`` with its ``.json``, or a run folder that holds an
            exported ``model.onnx``. A known name has precedence over a file, see :func:`is_known`.

    Raises:
        UnknownName: when it is neither a known name nor a path.
        UsageError: when it is neither a string nor a path.
        ModelError: when the model is missing, damaged or changed, or its spec is missing.
        MissingExtra: for a model of ``moue-models``, when that is not installed.
    """
    return verify(_locate(name))


def verify(path: Path) -> ModelFile:
    """A model file with the spec beside it, its hash checked.

    Raises:
        ModelError: when the spec is missing, names no hash, or the file has another one.
    """
    spec = ModelSpec.load(path.with_suffix(".json"))
    if not spec.sha256:
        raise ModelError(f"{path.with_suffix('.json')} names no sha256. Write both with: moue export RUN -o {path}")
    found = file_sha256(path)
    if found != spec.sha256:
        raise ModelError(
            f"{path} is damaged or was changed: its sha256 must be {spec.sha256[:12]}…. Got {found[:12]}… instead."
        )
    return ModelFile(path, spec)


def find_torch_weights(name: str) -> ModelFile:
    """The file of a shipped model's weights for torch, its hash checked against its spec.

    Args:
        name: one of :data:`TORCH`.

    Raises:
        UnknownName: when it is none of them.
        UsageError: for an ensemble.
        ModelError: when the file is missing, damaged or changed.
        MissingExtra: when ``moue-models`` is not installed.
    """
    if name == "full":
        members = ", ".join(member for member in TORCH if member.startswith("full/"))
        raise UsageError(f"full is an ensemble. Take one of its members: {members}.")
    if name not in TORCH:
        raise UnknownName("model with weights for torch", name, TORCH)
    folder = models_folder()
    if folder is None:
        raise MissingExtra("moue-models", "models")
    path = folder / "torch" / f"{name}.safetensors"
    if not path.is_file():
        raise ModelError(
            f"the installed moue-models has no weights for torch of {quoted(name)}. Look for a later version: "
            "pip install --upgrade moue-models"
        )
    return verify(path)


def files_of(name: str | Path) -> list[Path]:
    """The files that a model consists of, which no output may overwrite.

    Args:
        name: as for :func:`find_model`, or a run folder.

    Raises:
        UnknownName, UsageError, ModelError, MissingExtra: as :func:`find_model`; nothing is opened.
    """
    if not is_known(name) and Path(name).is_dir():
        return [Path(name) / file for file in RUN_FILES]
    path = _locate(name)
    return [path, path.with_suffix(".json")]


def version_of(name: str | Path) -> tuple[object, ...]:
    """What is another one once the files of a model are others; empty for a shipped model. Nothing is opened.

    Args:
        name: as for :func:`find_model`; a path counts from the working directory of now.

    Raises:
        UnknownName, UsageError, ModelError: as :func:`find_model`.
    """
    if is_known(name):
        return ()
    path = _locate(name)
    states = [file.stat() for file in (path, path.with_suffix(".json")) if file.is_file()]
    return str(path.absolute()), *((state.st_ino, state.st_size, state.st_mtime_ns) for state in states)


def list_models(folders: Iterable[str | Path] = ()) -> list[dict[str, Any]]:
    """Every trained model of this installation, and those in some folders.

    Args:
        folders: searched three levels deep for ``.onnx`` files with a ``.json`` beside them.

    Returns:
        One row per model: ``name``, ``origin`` ("bundled", "moue-models" or "local"), ``path``, ``megabytes``,
        ``about`` (a line of :data:`ABOUT`, or None), ``network``, ``labels`` (list), ``size`` and ``color`` of its
        input, ``parameters``, ``views`` (how many it averages), ``license``, ``scores`` (fractions of 1), ``remark``:
        why it cannot be used, or None. Hashes are only checked when a model is opened.

    Raises:
        UsageError: when one of the folders is not a folder.
    """
    rows = []
    for origin, path in _installed_and_in(folders):
        row: dict[str, Any] = {
            "name": str(path) if origin == "local" else path.stem,
            "origin": origin,
            "path": str(path),
            "megabytes": round(path.stat().st_size / 1e6, 3),
            "about": None if origin == "local" else ABOUT[path.stem],
        }
        try:
            spec = ModelSpec.load(path.with_suffix(".json")).to_dict()
            remark = None
        except ModelError as error:
            spec, remark = {"labels": [], "scores": {}}, str(error)
        columns = ("network", "labels", "size", "color", "parameters", "views", "license", "scores")
        row |= {k: spec.get(k) for k in columns}
        rows.append(row | {"remark": remark})
    return rows


def models_folder() -> Path | None:
    """The folder of the models that ``moue-models`` brings; None where that is not installed."""
    try:
        return Path(importlib.import_module("moue_models").folder())
    except ModuleNotFoundError as error:
        if error.name != "moue_models":
            raise
        return None


def _no_model(folder: Path) -> str:
    """What a folder without an exported model holds, and what to type."""
    models = sorted([*folder.glob("*.onnx"), *(spec.parent for spec in folder.glob(f"*/{SPEC}"))])
    if models and not (folder / SPEC).is_file():  # Of moue ensemble, cross-validate or compare.
        one = next((model for model in models if model.is_file()), models[0])
        return f"{folder} is not a run, but holds {'a model' if len(models) == 1 else 'models'}: give {one}"
    return (
        f"{folder} holds no {EXPORTED}. If it is a run, type: moue export {folder}, and then the same again; or: "
        f"moue export {folder} -o my.onnx, and --model my.onnx"
    )


def _locate(name: str | Path) -> Path:
    if not isinstance(name, (str, os.PathLike)) or name == "":
        raise UsageError(f"a model must be a name or a path. Got {quoted(name)} instead.")
    if name in BUNDLED:
        path = ASSETS / f"{name}.onnx"
        if not path.is_file():
            has = ", ".join(n for n in BUNDLED if (ASSETS / f"{n}.onnx").is_file()) or "none"
            raise ModelError(
                f"this installation lacks the bundled model {quoted(name)}; it has {has}. Install moue again."
            )
        return path
    if name in EXTRA:
        folder = models_folder()
        if folder is None:
            raise MissingExtra("moue-models", "models")
        path = folder / f"{name}.onnx"
        if not path.is_file():
            has = ", ".join(n for n in EXTRA if (folder / f"{n}.onnx").is_file()) or "none"
            raise ModelError(
                f"the installed moue-models has no {quoted(name)} yet; it has {has}. Take one that `moue models` "
                "lists, or look for a later version: pip install --upgrade moue-models"
            )
        return path
    path = Path(name)
    if path.is_dir():
        if (path / EXPORTED).is_file():
            return path / EXPORTED
        raise ModelError(_no_model(path))
    if path.is_file():
        if path.suffix != ".onnx":
            remedy = " A .pt2 is for torch.export.load: export its run as .onnx, too." if path.suffix == ".pt2" else ""
            raise ModelError(f"a model file must end in .onnx. Got {path} instead.{remedy}")
        return path
    if path.suffix == ".onnx" or path.name != str(name):
        raise ModelError(f"{path} is missing: no such model file or run folder.")
    raise UnknownName("model", str(name), [path.stem for _, path in _installed_and_in(())])


def _installed_and_in(folders: Iterable[str | Path]) -> Iterator[tuple[str, Path]]:
    for name in BUNDLED:
        if (ASSETS / f"{name}.onnx").is_file():
            yield "bundled", ASSETS / f"{name}.onnx"
    if (extra := models_folder()) is not None:
        for name in EXTRA:
            if (extra / f"{name}.onnx").is_file():
                yield "moue-models", extra / f"{name}.onnx"
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder. Name folders to search for models.")
        for pattern in ("*.onnx", "*/*.onnx", "*/*/*.onnx"):
            for path in sorted(folder.glob(pattern)):
                if path.with_suffix(".json").is_file():
                    yield "local", path

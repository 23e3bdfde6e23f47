"""What a data set was made of and with: a restart with anything else is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from moue.errors import UsageError, quoted, shortened
from moue.runtime.options import RecognizerOptions, VideoOptions
from moue.runtime.outputs.journal import settings_of
from moue.runtime.outputs.mirror import absolute
from moue.runtime.validation import check_choice, check_number
from moue.scale.filesystem import is_address, shown
from moue.scale.parquet_shard import ParquetColumns
from moue.scale.plan import PLAN
from moue.scale.storage import ANOTHER, Storage
from moue.spec import ModelSpec

Engine = Literal["local", "ray"]
ENGINES: tuple[str, ...] = get_args(Engine)

#: Inputs of a part at most.
PART_INPUTS = 512
#: Seconds without a result at an input.
TIMEOUT = 300.0
MAX_TIMEOUT = 86400
#: Where the header is.
HEADER = "_progress/run.json"

#: The options of settings that are not named as these.
OPTIONS = {"image": "--image-column", "key": "--key-column", "uncertain_below": "--uncertain"}


@dataclass(frozen=True)
class ScoreOptions:
    """How archives are scored.

    Raises:
        UsageError: for a value out of its range.
    """

    engine: Engine = "local"
    """"local": processes of this machine; "ray": Ray Data, on the cluster that ``RAY_ADDRESS`` names or on this
    machine."""
    workers: int = 0
    """Processes or actors, of a thread each; 0 for one a core."""
    part_inputs: int = PART_INPUTS
    """Inputs of a part at most."""
    timeout: float = TIMEOUT
    """Seconds without a result, of the image or of the film's next frames, after which an input is given up; 0 for no
    limit."""
    columns: ParquetColumns = field(default_factory=ParquetColumns)
    """Which columns of Parquet files are read."""

    def __post_init__(self) -> None:
        check_choice("engine", self.engine, ENGINES)
        check_number("workers", self.workers, 0, integer=True)
        check_number("part_inputs", self.part_inputs, 1, integer=True)
        check_number("timeout", self.timeout, 0, MAX_TIMEOUT)


@dataclass(frozen=True)
class Header:
    """What decides about the rows of a data set."""

    model: str
    sources: list[str]
    settings: dict[str, Any]

    @classmethod
    def of(
        cls,
        sources: Iterable[str],
        spec: ModelSpec,
        options: RecognizerOptions,
        video: VideoOptions,
        scoring: ScoreOptions,
    ) -> Header:
        """That of a run; engine, workers and the time limit do not count."""
        names = [shown(name) if is_address(name) else absolute(name) for name in sources]
        settings = settings_of(spec, options, video, scoring.columns) | {"part_inputs": scoring.part_inputs}
        # As it comes back from the file.
        values = json.loads(json.dumps(settings, default=repr))
        return cls(spec.name, names, values)


def require_own(storage: Storage) -> None:
    """Refuse a folder that holds other files and no data set; nothing is written.

    Raises:
        UsageError: when it does.
    """
    if storage.exists(HEADER):
        return
    others = sorted(name for name in storage.names() if not name.startswith(("_progress", ".")))
    if others:
        raise UsageError(f"{storage.place} holds other files, such as {others[0]}: name a new folder.")


def require_same(storage: Storage, header: Header) -> None:
    """Refuse to go on with a data set of another header. A new one, or one without a plan, gets this one.

    Raises:
        UsageError: says what is different.
    """
    content = storage.read(HEADER)
    if content is None or not storage.exists(PLAN):
        storage.write(HEADER, json.dumps(asdict(header), indent=2).encode() + b"\n")
        return
    with storage.decoding(HEADER, ANOTHER):
        there = Header(**json.loads(content))
    if there != header:
        raise UsageError(f"{storage.place} {_difference(there, header)} Name another folder, or type the same command.")


def _difference(there: Header, asked: Header) -> str:
    if there.sources != asked.sources:
        return f"has scores of {_listed(there.sources)}. This command asks for {_listed(asked.sources)}."
    if there.model != asked.model:
        return f"was scored by the model {quoted(there.model)}. This command asks for {quoted(asked.model)}."
    names = [name for name in asked.settings if asked.settings[name] != there.settings.get(name)]
    if any(name.startswith("spec.") for name in names) or not names:
        return f"was scored by another version of the model {quoted(there.model)}."
    before, now = (", ".join(_said(name, values.settings.get(name)) for name in names) for values in (there, asked))
    return f"was made with {before}. This command asks for {now}."


def _said(name: str, value: Any) -> str:
    """A setting as it is typed."""
    option = OPTIONS.get(name) or f"--{name.replace('_', '-')}"
    if value is None or value is False:
        return f"no {option}"
    if value is True:
        return option
    return f"{option} {int(value) if type(value) is float and value.is_integer() else value}"


def _listed(names: Sequence[str]) -> str:
    return shortened(", ".join(names), 200)

"""Search over a recipe's settings within a budget of minutes: random draws and successive halving.

After Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", 2016.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moue.damage import decoding, read_json
from moue.data.table import ImageTable
from moue.errors import DataError, TrainingError, UsageError, quoted, require
from moue.files import atomic_write, require_run_directory
from moue.training.config import Config
from moue.training.run_folder import Run
from moue.training.split import configured_split, require_validation
from moue.training.yaml12 import read_yaml

if TYPE_CHECKING:
    from moue.training.progress import ProgressCallback

#: In the folder of a search.
STATE, BEST = "search.json", "best.yaml"

#: One trial in so many goes on to the next rung; where that is a whole number of them, each has so many times the
#: minutes, as all rungs take the same time.
HALVING = 3

#: What a search cannot vary: which rows its trials are compared on, and the minutes that each of them has.
FIXED = ("data.validation", "data.fold", "data.split_seed", "data.duplicates", "run.minutes")

#: Intervals of numbers above 0 whose ends differ by this factor are drawn from on a logarithmic scale.
LOGARITHMIC = 10


@dataclass(frozen=True)
class Interval:
    """Numbers between two ends, both included."""

    low: float
    high: float
    whole: bool
    """Whether they are whole numbers."""

    def draw(self, rng: np.random.Generator) -> float | int:
        """One of them at random."""
        # Half a unit beyond both ends, so that these are no rarer than the whole numbers between them.
        half = 0.5 if self.whole else 0.0
        if self.low > 0 and self.high >= LOGARITHMIC * self.low:
            value = math.exp(rng.uniform(math.log(self.low - half), math.log(self.high + half)))
        else:
            value = rng.uniform(self.low - half, self.high + half)
        # Four digits say all that a search can find out.
        rounded = round(value) if self.whole else float(f"{value:.4g}")
        return min(max(rounded, self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """A few values."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """One of them at random."""
        return self.values[int(rng.integers(len(self.values)))]


@dataclass(frozen=True)
class Trial:
    """One training of a search."""

    number: int
    rung: int
    """From 0; each has fewer trials than the one before it, and as many minutes in all."""
    minutes: float
    settings: dict[str, Any]
    run: Path
    accuracy: float | None
    """On the validation part; None where the training failed."""
    reason: str
    """Why it failed; "" where it did not."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {**vars(self), "run": str(self.run)}


def parse_space(texts: Sequence[str]) -> tuple[dict[str, Interval | Choice], list[str]]:
    """What is searched, from the texts after ``--set``, and the settings that are fixed.

    Args:
        texts: ``k=LOW..HIGH`` for an interval, ``k=A,B,C`` for a choice, ``k=V`` for a fixed setting.

    Raises:
        UsageError: for a text that is none of them, an interval whose ends are not two numbers in their order, or
            ``run.minutes``, which a search sets.
    """
    space: dict[str, Interval | Choice] = {}
    fixed = []
    for text in texts:
        name, equals, value = text.partition("=")
        if name.strip() == "run.minutes":
            raise UsageError(
                f"a search gives each training its share of --minutes: leave {quoted(text)} out, and give --minutes."
            )
        # In a path, ".." is the folder above.
        if ".." in value and not {"/", "\\"} & set(value) and not value.startswith(("..", "'", '"')):
            space[name] = _interval(text, *value.split("..", 1))
        elif equals and len(choices := _choices(text, value)) > 1:
            space[name] = Choice(choices)
        else:
            fixed.append(text)
    return space, fixed


def _interval(text: str, low: str, high: str) -> Interval:
    ends = [read_yaml(end) for end in (low, high)]
    if not all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in ends) or ends[0] >= ends[1]:
        raise UsageError(f"an interval is k=LOW..HIGH with two numbers, the lower first. Got {quoted(text)} instead.")
    return Interval(ends[0], ends[1], whole=all(isinstance(end, int) for end in ends))


def _choices(text: str, value: str) -> tuple[Any, ...]:
    if value.startswith("[") and value.endswith("]") and value.count("[") == 1:
        return (read_yaml(value),)  # One list, as of optim.progressive_sizes.
    try:
        return tuple(read_yaml(f"[{value}]"))
    except UsageError as error:
        raise UsageError(f"{quoted(text)} is not a setting: {error}") from error


def search(
    config: Config,
    table: ImageTable,
    out: Path,
    space: Mapping[str, Interval | Choice],
    minutes: float,
    *,
    trials: int = 9,
    seed: int = 0,
    progress: Callable[[str], ProgressCallback] | None = None,
    log: Callable[[str], None] = lambda text: None,
) -> list[Trial]:
    """Train many short runs, the best third of them (rounded down) longer, and so on, and keep the best settings as a
    recipe.

    All runs hold out the same rows. The score of the best of many looks better than it is: score its run on other rows.

    Args:
        config: the recipe with its fixed settings.
        table: the data set.
        out: gets the runs ``rung-0/trial-0`` …, ``search.json`` and ``best.yaml``.
        space: what to draw for each trial, by setting.
        minutes: of all trainings together; a resumed search trains what is left.
        trials: how many settings are drawn, 2 to 1,000; fewer where ``space`` has no more.
        seed: of the draws.
        progress: makes the progress callback of a training from its name.
        log: called with a line of text after each trial.

    Returns:
        All trials, the best of the last rung first.

    Raises:
        UsageError: for an empty space, one with a setting of :data:`FIXED`, a setting that does not exist or cannot
            have such values, a recipe that holds out no rows, or an ``out`` with another search.
        TrainingError: where every training of a rung failed.
    """
    if not space:
        raise UsageError("a search needs something to search: --set optim.lr=1e-4..1e-2, or --set optim.name=adam,sgd")
    if not 2 <= trials <= 1000:
        raise UsageError(f"trials must be between 2 and 1,000. Got {quoted(trials)} instead.")
    if not 0 < minutes < math.inf:
        raise UsageError(f"minutes must be above 0. Got {quoted(minutes)} instead.")
    if fixed := [name for name in space if name in FIXED]:
        raise UsageError(
            f"a search compares its trials on the same rows, each after its share of the minutes: it cannot "
            f"vary {fixed[0]}. Give that one value, or leave it out."
        )
    if not config.data.validation and not (table.split == "validation").any():
        raise UsageError("a search compares runs on the rows that they hold out: data.validation must be above 0.")
    why = "a search compares runs on the rows that they hold out"
    require_validation(configured_split(table, config.data), table, why, "Set data.validation higher")
    require_run_directory(out)
    rng = np.random.default_rng(seed)
    drawn = _draw(space, trials, rng)
    for settings in drawn:
        config.override(changes=settings)  # A mistake in any is an error before the first training.
    _require_same_search(out, config, table, space, minutes, trials, seed, drawn)
    if len(drawn) < trials:
        log(f"what is searched has {len(drawn)} different settings: {len(drawn)} trials instead of {trials}")
    sizes = rung_sizes(len(drawn))
    # Each rung takes the same time in all.
    share = minutes / len(sizes)
    alive = list(range(len(drawn)))
    found: list[Trial] = []
    for rung, size in enumerate(sizes):
        alive = alive[:size]
        ended = [
            _train(config, table, out, rung, share / size, number, drawn[number], progress, log) for number in alive
        ]
        ended.sort(key=lambda trial: -1.0 if trial.accuracy is None else trial.accuracy, reverse=True)
        if ended[0].accuracy is None:
            raise TrainingError(f"every training failed; the first because {ended[0].reason}")
        alive = [trial.number for trial in ended]
        found = [*ended, *found]
        _write_best(out / BEST, config, found[0])
    return found


def _draw(space: Mapping[str, Interval | Choice], trials: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Different settings for each trial; fewer where a hundred draws a trial find no more."""
    drawn: list[dict[str, Any]] = []
    for _ in range(100 * trials):
        settings = {name: values.draw(rng) for name, values in space.items()}
        if settings not in drawn:
            drawn.append(settings)
        if len(drawn) == trials:
            break
    return drawn


def rung_sizes(trials: int) -> list[int]:
    """How many trials each rung has: all of them, then the best third, rounded down, until one or two are left."""
    sizes = [trials]
    while sizes[-1] >= HALVING:
        sizes.append(sizes[-1] // HALVING)
    return sizes


def _train(
    config: Config,
    table: ImageTable,
    out: Path,
    rung: int,
    minutes: float,
    number: int,
    settings: dict[str, Any],
    progress: Callable[[str], ProgressCallback] | None,
    log: Callable[[str], None],
) -> Trial:
    from moue.training.loop import fit

    name = f"rung-{rung}/trial-{number}"
    folder = out / name
    accuracy, reason = None, ""
    try:
        callback = progress(name) if progress is not None else None
        fit(
            config.override(changes={**settings, "run.minutes": minutes}), table, folder, resume=True, progress=callback
        )
        accuracy = Run(folder).spec().scores["validation"]
    except (TrainingError, DataError, UsageError) as error:
        # A rate at which the loss diverges is an answer, too.
        reason = str(error)
    shown = ", ".join(f"{key}={value}" for key, value in settings.items())
    log(f"{name}: {shown}: " + (f"{accuracy:.1%}" if accuracy is not None else f"failed: {reason}"))
    return Trial(number, rung, minutes, settings, folder, accuracy, reason)


def _require_same_search(
    out: Path,
    config: Config,
    table: ImageTable,
    space: Mapping[str, Interval | Choice],
    minutes: float,
    trials: int,
    seed: int,
    drawn: Sequence[Mapping[str, Any]],
) -> None:
    """Write what is searched, or compare it with what the folder's search was started with."""
    asked = {
        "recipe": config.to_dict(),
        "data": table.fingerprint,
        "space": {name: repr(values) for name, values in space.items()},
        "minutes": minutes,
        "trials": trials,
        "seed": seed,
        # Of an older version the same seed may have drawn others.
        "settings": drawn,
    }
    asked = json.loads(json.dumps(asked, default=str))
    path = out / STATE
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part:
            part.write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")
        return

    def damaged(why: str) -> UsageError:
        return UsageError(f"{path} is damaged ({why}). Choose another --out.")

    saved = read_json(path, damaged, 1 << 20)
    with decoding(path, damaged):
        # A setting that is newer than the search had its default.
        saved["recipe"] = json.loads(json.dumps(Config.from_dict(dict(saved["recipe"])).to_dict(), default=str))
    if "settings" not in saved and all(isinstance(values, Choice) for values in space.values()):
        # Choices were always drawn so.
        saved["settings"] = asked["settings"]
    if different := [key for key in asked if saved.get(key) != asked[key]]:
        raise UsageError(f"{out} holds another search: its {', '.join(different)} differ. Choose another --out.")


def _write_best(path: Path, config: Config, best: Trial) -> None:
    """The best settings as a recipe: all that differs from the defaults."""
    yaml = require("yaml", "train")
    values, default = config.override(changes=best.settings).to_dict(), Config().to_dict()
    sections = {
        section: {key: list(v) if isinstance(v, tuple) else v for key, v in keys.items() if v != default[section][key]}
        for section, keys in values.items()
    }
    text = (
        f"# Found by a search: trial {best.number} of rung {best.rung}, {best.minutes:.1f} minutes of training.\n"
        f"# {best.accuracy:.1%} on validation, which chose it: other rows will be read worse.\n"
    )
    text += yaml.safe_dump({name: keys for name, keys in sections.items() if keys}, sort_keys=False)
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")

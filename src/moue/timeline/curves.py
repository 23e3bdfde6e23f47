"""Event-locked averages: what people show before and after something happens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from moue.errors import UsageError
from moue.runtime.validation import check_choice, check_number
from moue.timeline.conditions import number
from moue.timeline.events import Event, in_films
from moue.timeline.intervals import mean_over_units
from moue.timeline.observations import Observations
from moue.timeline.table import Table

Unit = Literal["person", "source", "event"]
UNITS: tuple[Unit, ...] = ("person", "source", "event")

#: Between two frames that lie further apart, in seconds, and two and a half times as far as usual, nothing is known.
MAX_GAP = 0.5


@dataclass(frozen=True, eq=False)
class Curves:
    """Mean probabilities around events, with confidence bands."""

    times: NDArray[np.float64]
    """float64 ``(T,)``: seconds from the start of the event, negative before it."""
    conditions: tuple[str, ...]
    labels: tuple[str, ...]
    """The C conditions and the K expressions."""
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    """float64 ``(C, T, K)``: means, and the ends of their intervals; NaN where nothing is known."""
    n: NDArray[np.int64]
    """int64 ``(C, T)``: over how many units the mean is."""
    unit: Unit
    """What the units are: see :func:`event_locked`."""
    events: tuple[int, ...]
    """How many curves, one for each event and person, each condition has."""
    confidence: float
    """Of the intervals."""

    def to_table(self) -> Table:
        """A row a condition, time and expression: ``condition, time, expression, mean, low, high, n``."""
        columns = ("condition", "time", "expression", "mean", "low", "high", "n")
        return Table(columns, tuple(dict(zip(columns, row, strict=True)) for row in self._rows()))

    def to_frame(self) -> Any:
        """:meth:`to_table` as a pandas ``DataFrame``.

        Raises:
            MissingExtra: without pandas.
        """
        return self.to_table().to_frame()

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        for c, condition in enumerate(self.conditions):
            for t, time in enumerate(self.times):
                for k, label in enumerate(self.labels):
                    values = (number(array[c, t, k]) for array in (self.mean, self.low, self.high))
                    yield condition, round(float(time), 6), label, *values, int(self.n[c, t])


def event_locked(
    observations: Observations,
    events: Iterable[Event],
    *,
    before: float = 1.0,
    after: float = 3.0,
    step: float = 0.1,
    baseline: tuple[float, float] | None = None,
    unit: Unit | None = None,
    confidence: float = 0.95,
) -> Curves:
    """Average what people show around the starts of events, by condition.

    For each event, each person in its film gives a curve: probabilities at even steps, interpolated between frames, but
    not where the person was away. Curves are averaged within each unit, then over the units, each of which
    counts the same, with t intervals over the units.

    Args:
        observations: as :func:`moue.timeline.read` gives them, but for ``people.csv``.
        events: whose starts matter; their ends do not.
        before: seconds before the start.
        after: seconds after it.
        step: seconds from one point to the next.
        baseline: seconds from the start, such as ``(-1, 0)``: the mean there is subtracted from each curve. A curve
            without frames there is left out.
        unit: what is independent: "person" (a track of a film), "source" (a film, where all tracks are of one person
            whom a cut or a turned head gave several) or "event" (each event's curve, where there is but one person).
            "person" where left out, and "event" for a single person.
        confidence: of the intervals; see :mod:`moue.timeline.intervals`.

    Raises:
        UnknownName, UsageError: when an event's film is not there, or not the only one of that name; when an event has
            no start; when a number is out of its range; for means of whole films.
    """
    observations.require_timed()
    times = _times(before, after, step)
    window = _window(times, baseline)
    if unit is None:
        unit = "person" if len(observations.people) > 1 else "event"
    check_choice("unit", unit, UNITS)
    of_condition: dict[str, dict[Any, list[NDArray[np.float64]]]] = {}
    rows_of_people = observations.rows_of_people()
    for i, event in enumerate(in_films(events, observations.sources)):
        if not np.isfinite(event.start):
            raise UsageError(
                f"an event needs a start to average around. That of {event.condition} in {event.source} has none."
            )
        units = of_condition.setdefault(event.condition, {})
        for (source, track), rows in zip(observations.people, rows_of_people, strict=True):
            if source != event.source:
                continue
            curve = _curve(observations, rows, event.start + times)
            if window is not None:
                curve = curve - _mean(curve[window])
            if np.isfinite(curve).any():
                key = {"person": (source, track), "source": source, "event": (i, track)}[unit]
                units.setdefault(key, []).append(curve)
    shape = len(of_condition), len(times), len(observations.labels)
    mean, low, high = np.full((3, *shape), np.nan)
    n = np.zeros(shape[:2], np.int64)
    for c, units in enumerate(of_condition.values()):
        averaged = [_mean(np.array(curves)) for curves in units.values()]
        values = np.array(averaged, np.float64).reshape(len(units), *shape[1:])
        found = mean_over_units(values, confidence=confidence, bounds=(0 if window is None else -1, 1))
        mean[c], low[c], high[c], n[c] = found.mean, found.low, found.high, found.n[:, 0]
    counts = tuple(sum(map(len, units.values())) for units in of_condition.values())
    return Curves(times, tuple(of_condition), observations.labels, mean, low, high, n, unit, counts, confidence)


def _times(before: float, after: float, step: float) -> NDArray[np.float64]:
    check_number("before", before, 0)
    check_number("after", after, 0)
    check_number("step", step, 0, exclusive=True)
    if before + after < step:
        raise UsageError(f"before and after must hold a step of {step:g} s. Got {before:g} and {after:g} s instead.")
    # Whole steps from the start, which is a point itself.
    steps: NDArray[np.float64] = np.arange(-int(before / step + 1e-9), int(after / step + 1e-9) + 1, dtype=np.float64)
    return steps * step


def _window(times: NDArray[np.float64], baseline: tuple[float, float] | None) -> NDArray[np.bool_] | None:
    if baseline is None:
        return None
    first, last = baseline
    window = (times >= first - 1e-9) & (times <= last + 1e-9)
    if not window.any():
        raise UsageError(
            f"the baseline must lie within {times[0]:g} and {times[-1]:g} s. Got {first:g} to {last:g} s instead."
        )
    return window


def _curve(observations: Observations, rows: NDArray[np.int64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """A person's probabilities at some times, ``(T, K)``; NaN where they were not seen."""
    times, order = np.unique(observations.start[rows], return_index=True)
    p = observations.probabilities[rows[order]]
    right = np.searchsorted(times, at - 1e-9)
    left = np.searchsorted(times, at + 1e-9, side="right") - 1
    inside = (left >= 0) & (right < len(times))
    left, right = np.clip(left, 0, None), np.clip(right, None, len(times) - 1)
    gap = times[right] - times[left]
    weight = np.divide(at - times[left], gap, out=np.zeros_like(at), where=gap > 0)[:, None]
    curve: NDArray[np.float64] = p[left] * (1 - weight) + p[right] * weight
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    curve[~inside | (gap > max(MAX_GAP, 2.5 * usual))] = np.nan
    return curve


def _mean(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the first axis of what is not NaN; NaN where all is."""
    there = np.isfinite(curves).sum(axis=0)
    total = np.nansum(curves, axis=0)
    mean: NDArray[np.float64] = np.divide(total, there, out=np.full(total.shape, np.nan), where=there > 0)
    return mean

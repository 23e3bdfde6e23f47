"""Means and shares of time by person and by condition."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from moue.runtime.outputs.tabular import probability_columns
from moue.runtime.validation import check_choice
from moue.timeline.events import Event, in_films
from moue.timeline.intervals import Means, mean_over_units
from moue.timeline.observations import Observations
from moue.timeline.table import Table


def by_person(observations: Observations, events: Iterable[Event] | None = None) -> Table:
    """What each person showed, in all or by condition.

    Args:
        observations: as :func:`moue.timeline.read` gives them.
        events: when each condition holds; the whole films where left out.

    Returns:
        A row a person, and with events a row a person and condition in which the person was seen: ``source, track,
        condition`` (with events), ``start, end`` (when first and last seen), ``frames``, ``label`` (the expression with
        the highest mean), the mean of each expression (``happy``), its share of the frames (``happy_share``) and
        ``uncertain_share``: the columns of ``people.csv``.

    Raises:
        UnknownName, UsageError: when an event's film is not there, or not the only one of that name; when events are
            parts of films, and ``observations`` means of whole films.
    """
    named = ("source", "track", *(("condition",) if events is not None else ()), "start", "end", "frames", "label")
    means = probability_columns(
        observations.labels, (*named, "uncertain", *(f"{label}_share" for label in observations.labels))
    )
    columns = (*named, *means, *(f"{name}_share" for name in means), "uncertain_share")
    rows = []
    masks = _masks(observations, events)
    for (source, track), own in zip(observations.people, observations.rows_of_people(), strict=True):
        for condition, there in masks.items():
            if len(chosen := own[there[own]]):
                head = [source, track, *([condition] if events is not None else [])]
                rows.append(dict(zip(columns, [*head, *_statistics(observations, chosen)], strict=True)))
    return Table(columns, tuple(rows))


def by_condition(
    observations: Observations,
    events: Iterable[Event],
    *,
    unit: Literal["person", "source"] = "person",
    confidence: float = 0.95,
) -> Table:
    """What people showed in each condition, on average: each person counts the same, however long they were seen.

    Args:
        observations: as :func:`moue.timeline.read` gives them.
        events: when each condition holds; a frame in several events of a condition counts once, and a frame outside of
            all events not at all.
        unit: what is independent and counts the same: "person" (a track of a film), or "source" (a film, where all
            tracks are of one person whom a cut or a turned head gave several; each track counts by its frames).
        confidence: of the intervals; see :mod:`moue.timeline.intervals`.

    Returns:
        A row a condition and expression: ``condition, expression, people, frames``, the mean probability with its
        interval over people (``mean, mean_low, mean_high``), and the share of time in which the expression is the most
        probable one with its interval (``share, share_low, share_high``). Intervals are None for fewer than two people,
        and all numbers for none.

    Raises:
        UnknownName, UsageError: as :func:`by_person`; when a number is out of its range.
    """
    people = by_person(observations, events := list(events))
    labels, k = observations.labels, len(observations.labels)
    check_choice("unit", unit, ("person", "source"))
    means = list(people.columns)[-2 * k - 1 :]
    rows = []
    for condition in dict.fromkeys(event.condition for event in events):
        own = [row for row in people if row["condition"] == condition]
        values = np.array([[row[name] for name in means[: 2 * k]] for row in own], np.float64).reshape(-1, 2 * k)
        if unit == "source":
            values = _by_film(values, own)
        found = mean_over_units(values, confidence=confidence)
        frames = sum(row["frames"] for row in own)
        for i, label in enumerate(labels):
            head = {"condition": condition, "expression": label, "people": len(values), "frames": frames}
            rows.append(head | _interval("mean", found, i) | _interval("share", found, k + i))
    columns = ("condition", "expression", "people", "frames")
    ends = (f"{name}{end}" for name in ("mean", "share") for end in ("", "_low", "_high"))
    return Table((*columns, *ends), tuple(rows))


def without_people(observations: Observations, events: Iterable[Event]) -> list[Event]:
    """The events in which no person is seen, with the films' own names: outside of the film, or all faces are away.

    Raises:
        UnknownName, UsageError: when an event's film is not there, or not the only one of that name.
    """
    of_film = _rows_of_films(observations)
    return [
        event
        for event in in_films(events, observations.sources)
        if not any(
            ((observations.start[rows] < event.end) & (observations.end[rows] >= event.start)).any()
            for rows in of_film.get(event.source, ())
        )
    ]


def _by_film(values: NDArray[np.float64], people: list[dict[str, Any]]) -> NDArray[np.float64]:
    """The means of each film, ``(F, 2 K)``, of those of its people, ``(P, 2 K)``, by their frames."""
    films = np.array([row["source"] for row in people])
    frames = np.array([row["frames"] for row in people])
    means = [np.average(values[films == film], axis=0, weights=frames[films == film]) for film in dict.fromkeys(films)]
    return np.array(means, np.float64).reshape(-1, values.shape[1])


def _rows_of_films(observations: Observations) -> dict[str, list[NDArray[np.int64]]]:
    """By film: the rows of each of its people."""
    of_film: dict[str, list[NDArray[np.int64]]] = {}
    for (source, _), rows in zip(observations.people, observations.rows_of_people(), strict=True):
        of_film.setdefault(source, []).append(rows)
    return of_film


def _interval(name: str, found: Means, i: int) -> dict[str, float | None]:
    return {f"{name}{end}": number(values[i]) for end, values in zip(("", "_low", "_high"), found[:3], strict=True)}


def number(value: float) -> float | None:
    """A number of a table: rounded, and None for NaN."""
    return round(float(value), 6) if np.isfinite(value) else None


def _masks(observations: Observations, events: Iterable[Event] | None) -> dict[str, NDArray[np.bool_]]:
    """Which rows each condition has."""
    if events is None:
        return {"": np.ones(len(observations), np.bool_)}
    of_film = _rows_of_films(observations)
    masks: dict[str, NDArray[np.bool_]] = {}
    for event in in_films(events, observations.sources):
        mask = masks.setdefault(event.condition, np.zeros(len(observations), np.bool_))
        for rows in of_film.get(event.source, ()):
            start, end = observations.start[rows], observations.end[rows]
            whole = (start >= event.start) & (end < event.end)
            if (~whole & (start < event.end) & (end >= event.start)).any():
                # A person who is seen in the event and outside of it.
                observations.require_timed()
            mask[rows[whole]] = True
    return masks


def _statistics(observations: Observations, rows: NDArray[np.int64]) -> list[Any]:
    frames = observations.frames[rows]
    mean, share, uncertain = (
        np.average(values[rows], axis=0, weights=frames)
        for values in (observations.probabilities, observations.shares, observations.uncertain)
    )
    span = [number(observations.start[rows].min()), number(observations.end[rows].max())]
    label = observations.labels[int(mean.argmax())]
    values = [number(value) for value in (*mean, *share, uncertain)]
    return [*span, int(frames.sum()), label, *values]

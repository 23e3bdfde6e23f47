"""Statistics of films over time: by person, by condition, and around events.

::

    from moue import timeline

    seen = timeline.read("results/")                   # what `moue predict films/ --out results/` wrote
    events = timeline.read_events("events.csv")        # source, start, end, condition
    print(timeline.by_person(seen).to_frame())
    print(timeline.by_condition(seen, events).to_frame())
    curves = timeline.event_locked(seen, events, before=1, after=4)
    timeline.plot_curves(curves, "reactions.png")

The numbers need numpy alone, data frames pandas, and figures the extra ``report``. Probabilities and shares are
fractions of 1, times are seconds of the film.

Intervals are Student's t intervals over independent units, which are people by default: the frames and events of one
person are alike, and averaged first; see :mod:`moue.timeline.intervals`.
"""

from moue.timeline.conditions import by_condition, by_person, without_people
from moue.timeline.curves import Curves, event_locked
from moue.timeline.events import Event, read_events
from moue.timeline.figures import plot_conditions, plot_curves
from moue.timeline.observations import Observations, read
from moue.timeline.table import Table

__all__ = [
    "Curves",
    "Event",
    "Observations",
    "Table",
    "by_condition",
    "by_person",
    "event_locked",
    "plot_conditions",
    "plot_curves",
    "read",
    "read_events",
    "without_people",
]

"""What models are called on a page."""

from __future__ import annotations

import pytest

from moue.comparison_entries import Entry, display_names, require_distinct_names
from moue.errors import UsageError


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["runs/a", "models/b.onnx", "then.csv", "compact"], ["a", "b", "then", "compact"]),
        (["runs/v1.2", "v1.3.onnx"], ["v1.2", "v1.3"]),
        # A folder's name has no suffix, whatever stands behind its dot.
        (["runs/v1.2", "v1.2.onnx"], ["runs/v1.2", "v1.2.onnx"]),
        (["runs/a", "other/a"], ["runs/a", "other/a"]),
        (["recipe:default", "default", "./default"], ["recipe:default", "default", "./default"]),
    ],
)
def test_models_are_shown_by_the_last_part_of_their_name_where_that_is_theirs_alone(
    names: list[str], shown: list[str]
) -> None:
    assert list(display_names(names).values()) == shown
    require_distinct_names([Entry(name, name) for name in names])


def test_two_models_under_one_name_are_refused() -> None:
    # The last is shown without its suffix, which the first keeps, as it would be the second's without it.
    names = ["v.json", "models/v.onnx", "then/v.json.csv"]
    with pytest.raises(UsageError, match=r"Got v\.json and then/v\.json\.csv, which would both be v\.json"):
        require_distinct_names([Entry(name, name) for name in names])

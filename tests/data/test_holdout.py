"""A test part cut from a set that has none: stratified, seeded, without duplicates in what is trained on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sets import table_of

from moue.data import deduplicated, hold_out_test, stratified_split
from moue.errors import DataError, UsageError

ROWS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 6), st.sampled_from(["train", "train", "validation"])),
    min_size=1,
    max_size=120,
)


@settings(deadline=None, max_examples=80)
@given(ROWS, st.floats(0.1, 0.9), st.integers(0, 5))
def test_no_image_of_the_test_part_is_trained_on(rows: list[tuple[int, int, str]], fraction: float, seed: int) -> None:
    digits, labels, splits = zip(*[*rows, *((100 + i, 0, "train") for i in range(10))], strict=True)
    table = table_of(digits, labels, splits)
    before = table.split.tolist()
    cut = hold_out_test(table, fraction, seed)
    assert table.split.tolist() == before
    tested = cut.split == "test"
    assert (cut.images == table.images).all()
    assert (cut.split[~tested] == table.split[~tested]).all()
    assert (table.split[tested] == "train").all()
    assert deduplicated(cut.take(tested), cut.take(~tested)).all()
    counts, held_out = (np.bincount(cut.labels[r], minlength=7) for r in (table.split == "train", tested))
    assert (held_out <= np.rint(counts * fraction)).all()
    assert (held_out[counts > 0] < counts[counts > 0]).all()
    # A run then cuts its validation part from the rest.
    assert not tested[stratified_split(cut).train].any()


def test_each_class_gives_its_share_and_the_seed_determines_the_rows() -> None:
    table = table_of(range(100), [int(i >= 80) for i in range(100)])
    first, again, other = (hold_out_test(table, 0.2, seed).split for seed in (1, 1, 2))
    assert np.bincount(table.labels[first == "test"]).tolist() == [16, 4]
    assert (first == again).all()
    assert (first != other).any()


def test_usage_errors() -> None:
    table = table_of(range(10), [0] * 10)
    for fraction in (0, 1, 20, float("nan")):
        with pytest.raises(UsageError, match="above 0 and below 1"):
            hold_out_test(table, fraction)
    with pytest.raises(UsageError, match="0 or more"):
        hold_out_test(table, seed=-1)
    with pytest.raises(DataError, match="too few images to give"):
        hold_out_test(table_of(range(4), [0, 0, 1, 1]), 0.2)
    with pytest.raises(DataError, match=r"test rows of its own \(public_test\)"):
        hold_out_test(table_of([1, 2], [0, 0], ["train", "public_test"]))
    with pytest.raises(DataError, match="no rows in the split 'train'; it has validation"):
        hold_out_test(table_of([1], [0], "validation"))

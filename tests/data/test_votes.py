"""FER+ votes: the authors' majority rule, soft targets, and the join by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sets import broken, csv_text, faces

from moue.data import load
from moue.data.votes import COLUMNS, majority, vote_shares
from moue.errors import DataError
from moue.labels import FER2013, FERPLUS

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"

#: Votes of ten, and the class that wins.
RULE = [
    ((4, 0, 0, 1, 3, 2, 0, 0, 0, 0), None),  # 4 of the 9 that are left after the single vote: no majority
    ((6, 0, 1, 1, 0, 0, 0, 0, 2, 0), "neutral"),
    ((5, 0, 0, 5, 0, 0, 0, 0, 0, 0), None),  # half is not more than half
    ((1, 1, 1, 1, 1, 1, 1, 2, 1, 0), "contempt"),  # all but two votes are outliers
    ((0, 0, 4, 0, 0, 0, 2, 0, 6, 0), None),  # unknown has half
    ((0, 2, 0, 0, 0, 0, 0, 0, 8, 0), None),  # unknown wins
    ((0, 0, 0, 0, 0, 0, 0, 0, 0, 10), None),  # not a face wins
    ((1, 1, 1, 1, 1, 1, 1, 1, 1, 1), None),  # nothing is left
    ((0, 0, 0, 0, 0, 0, 9, 0, 1, 0), "fear"),
    ((3, 4, 1, 1, 1, 0, 0, 0, 0, 0), "happy"),  # 4 of 7
]


def votes_text(usage: list[str] | None = None) -> str:
    usage = usage or ["Training"] * 8 + ["PublicTest", "PrivateTest"]
    rows = [
        f"{u},fer{i:07d}.png,{','.join(map(str, v))}" for i, (u, (v, _)) in enumerate(zip(usage, RULE, strict=True))
    ]
    return "\n".join([HEADER, *rows]) + "\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A CSV of the first nine rows and votes for ten: the private part is not here."""
    csv, votes = tmp_path / "fer.csv", tmp_path / "votes.csv"
    csv.write_text(csv_text(faces(9), [0] * 9, ["Training"] * 8 + ["PublicTest"]))
    votes.write_text(votes_text())
    return csv, votes


@pytest.mark.parametrize(("votes", "winner"), RULE)
def test_majority(votes: tuple[int, ...], winner: str | None) -> None:
    [label] = majority(np.array([votes]))
    assert label == (-1 if winner is None else FERPLUS.labels.index(winner))


def test_the_vote_columns_are_the_label_set() -> None:
    assert [FERPLUS.index(name) for name in COLUMNS[:8]] == list(range(8))


def test_vote_shares_drop_single_votes_and_what_is_no_expression() -> None:
    shares = vote_shares(np.array([(6, 0, 1, 2, 0, 0, 0, 0, 2, 0), (1,) * 10]))
    assert shares[0].tolist() == [0.75, 0, 0, 0.25, 0, 0, 0, 0]
    assert shares[1].sum() == 0


def test_the_join(files: tuple[Path, Path]) -> None:
    csv, votes = files
    table = load(csv, labels="ferplus", votes=votes)
    assert table.label_set is not None
    assert table.label_set.labels == FERPLUS.labels
    assert list(table.source) == ["row 2", "row 4", "row 9"]
    assert [table.label_set.labels[k] for k in table.labels] == ["neutral", "contempt", "fear"]
    assert table.split.tolist() == ["train", "train", "public_test"]
    assert (table.images.reshape(3, -1) == faces(9)[[1, 3, 8]]).all()
    assert table.targets is not None
    assert np.allclose(table.targets.sum(axis=1), 1)
    assert [row.source for row in table.left_out] == [f"{csv}, row {n}" for n in (1, 3, 5, 6, 7, 8)]
    assert all(row.by_rule for row in table.left_out)


def test_a_row_left_out_does_not_shift_the_votes(files: tuple[Path, Path]) -> None:
    csv, votes = files
    csv.write_text(broken(csv.read_text(), 1, ",0 255 ", ",0 "))
    table = load(csv, labels="ferplus", votes=votes, skip_bad=True)
    assert list(table.source) == ["row 2", "row 4", "row 9"]
    assert [row.by_rule for row in table.left_out] == [False] + [True] * 5


def test_fer2013_labels_keep_their_rows_and_get_votes_beside_them(files: tuple[Path, Path]) -> None:
    table, voted = load(files[0]), load(files[0], votes=files[1])
    assert table.votes is None
    assert voted.targets is None
    assert (voted.labels == table.labels).all()
    assert voted.votes is not None
    assert voted.votes.shape == (9, 8)
    judged = load(files[0], labels="ferplus", votes=files[1])
    assert judged.targets is not None
    rows = [list(voted.source).index(s) for s in judged.source]
    assert np.array_equal(voted.votes[rows], judged.targets)
    again = load(files[0], votes=files[1])
    assert again.votes is not None
    assert np.array_equal(again.votes, voted.votes), "the cache must keep the votes"
    taken = voted.take(np.array([4, 1])).votes
    assert taken is not None
    assert np.array_equal(taken, voted.votes[[4, 1]])


def test_another_order_is_refused(files: tuple[Path, Path]) -> None:
    csv, votes = files
    votes.write_text(votes_text(["Training"] * 4 + ["PublicTest"] + ["Training"] * 5))
    with pytest.raises(DataError, match=r"row 5: Usage differs.*original order"):
        load(csv, labels="ferplus", votes=votes)


def test_rows_removed_within_a_usage_are_refused(tmp_path: Path) -> None:
    n, csv, votes = 300, tmp_path / "fer.csv", tmp_path / "votes.csv"
    labels = np.random.default_rng(0).integers(0, 7, n)
    own = [COLUMNS[FERPLUS.index(FER2013.labels[k])] for k in labels]
    lines = [f"Training,a.png,{','.join('10' if name == column else '0' for column in COLUMNS)}" for name in own]
    votes.write_text("\n".join([HEADER, *lines]) + "\n")
    text = csv_text(faces(n), labels.tolist(), ["Training"] * n)
    csv.write_text(text)
    assert len(load(csv, votes=votes)) == n
    rows = text.splitlines(keepends=True)
    csv.write_text("".join(rows[:11] + rows[12:]))
    for label_set in ("fer2013", "ferplus"):
        with pytest.raises(DataError, match=r"the labels of 200 rows agree .* no row left out"):
            load(csv, labels=label_set, votes=votes)


def test_changed_votes_are_read_again(files: tuple[Path, Path]) -> None:
    csv, votes = files
    load(csv, labels="ferplus", votes=votes)
    votes.write_text(votes_text().replace("fer0000000.png,4,0,0,1,3", "fer0000000.png,8,0,0,1,1"))
    assert len(load(csv, labels="ferplus", votes=votes)) == 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "needs the columns"),
        ("Usage,neutral\nTraining,3\n", "needs the columns happiness"),
        (HEADER + "\n", "has no rows"),
        (HEADER + "\nTraining,a.png,1,2\n", "row 1"),
        (HEADER + "\nTraining,a.png,1,2,x,0,0,0,0,0,0,0\n", "row 1"),
        (HEADER + "\nTraining,a.png,1,2,-4,0,0,0,0,0,0,0\n", "row 1: votes must not be negative"),
        ("\n".join(votes_text().splitlines()[:5]), "has 4 rows"),
    ],
)
def test_a_bad_votes_file(files: tuple[Path, Path], text: str, reason: str) -> None:
    csv, votes = files
    votes.write_text(text)
    with pytest.raises(DataError, match=reason) as caught:
        load(csv, labels="ferplus", votes=votes)
    assert str(votes) in str(caught.value)


def test_a_missing_votes_file(files: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load(files[0], labels="ferplus", votes="nowhere.csv")

from __future__ import annotations

from pathlib import Path

import pytest

from moue.errors import DataError, UnknownName, UsageError
from moue.evaluation.group_file import Groups, read_groups

SOURCES = ["angry/a.jpg", "angry/b.jpg", "happy/a.jpg"]


def groups(tmp_path: Path, text: str, sources: list[str] = SOURCES, root: Path | str = "", **options: object) -> Groups:
    path = tmp_path / "groups.csv"
    path.write_text(text, encoding="utf-8")
    return read_groups(path, **options).of(sources, root)  # type: ignore[arg-type]


def test_lines_find_their_images_by_path_name_or_row(tmp_path: Path) -> None:
    found = groups(tmp_path, "file,light,person\nangry/a.jpg,day,p\nb.jpg,night,q\nhappy/a.jpg,day,p\nelse.jpg,day,r\n")
    assert found.columns == {"light": ["day", "night", "day"]}
    assert found.persons is not None
    assert found.persons.tolist() == [0, 1, 0]
    assert (found.unused, found.without) == (1, 0)
    found = groups(tmp_path, "row;Light\n7;day\n9;\n", ["row 7", "row 8", "row 9"])
    assert found.columns == {"light": ["day", "", ""]}
    assert (found.persons, found.without) == (None, 1)


def test_a_line_may_begin_with_the_folder_and_no_other(tmp_path: Path) -> None:
    text = "file,light\ntest/angry/a.jpg,day\ntrain/angry/a.jpg,night\nset/test/happy/a.jpg,day\n"
    found = groups(tmp_path, text, root=tmp_path / "set" / "test")
    assert found.columns["light"] == ["day", "", "day"]
    assert found.unused == 1


def test_columns_can_be_chosen_and_combined(tmp_path: Path) -> None:
    text = "file\tage\tlight\n" + "".join(
        f"{s}\t{a}\t{b}\n" for s, a, b in zip(SOURCES, "123", ["x", "", "y"], strict=True)
    )
    assert list(groups(tmp_path, text).columns) == ["age", "light"]
    found = groups(tmp_path, text, columns=["Light"], cross=["age", "light"])
    assert found.columns == {"light": ["x", "", "y"], "age × light": ["1 × x", "", "3 × y"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("image,light\na,day\n", "needs a column 'file'"),
        ("file,person\na.jpg,1\n", "no column of groups"),
        ("file,light\na.jpg,day\n", r"line 2: 'a.jpg' may be angry/a.jpg or happy/a.jpg. Write more of the path"),
        ("file,light\nb.jpg,day\nangry/b.jpg,night\n", r"lines 2 and 3: both are of angry/b.jpg. Keep one"),
        (
            "file,light\nc.jpg,day\n",
            "no line names an image of the set. Its first is 'c.jpg', where the set has 'angry",
        ),
        ("file,light\nb.jpg,day\n,night\n", "line 3: file must name an image. Got ''"),
        ("row,light\nx,night\n", "line 2: row must name an image. Got 'x'"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_line_and_remedy(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        groups(tmp_path, text)


def test_a_column_of_single_values_is_no_grouping(tmp_path: Path) -> None:
    sources = [f"a/{i}.jpg" for i in range(50)]
    text = "file,age,light\n" + "".join(f"{s},{i},day\n" for i, s in enumerate(sources))
    with pytest.raises(DataError, match=r"'age' has 50 different values.*--columns"):
        groups(tmp_path, text, sources)
    assert groups(tmp_path, text, sources, columns=["light"]).columns == {"light": ["day"] * 50}


def test_names_and_combinations_are_checked_before_any_image_is_read(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("file,light\na.jpg,day\n", encoding="utf-8")
    with pytest.raises(UnknownName, match="Did you mean light"):
        read_groups(path, columns=["lihgt"])
    with pytest.raises(UsageError, match="two columns or more"):
        read_groups(path, cross=["light"])

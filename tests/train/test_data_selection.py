"""Numbers of pictures, as people write them."""

from itertools import islice
from pathlib import Path

import pytest

from edsr_runtime.errors import EdsrError
from edsr_train.data.selection import ALL, Selection, number_of


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("1-800", ((1, 800),)),
        ("801", ((801, 801),)),
        (" 0801 - 0810 ", ((801, 810),)),
        ("851-900,1-800", ((1, 800), (851, 900))),
        ("1-10,5-20,21,3-4", ((1, 21),)),
        ("7-7,9", ((7, 7), (9, 9))),
    ],
)
def test_ranges_are_sorted_and_joined(text: str, ranges: tuple[tuple[int, int], ...]) -> None:
    assert Selection.parse(text) == Selection(ranges)


def test_all_is_everything() -> None:
    assert Selection.parse(" all") is ALL
    assert 10**12 in ALL


def test_a_selection_is_written_as_it_is_read() -> None:
    for text in ("1-800,851-900", "801", "all"):
        assert str(Selection.parse(text)) == text


@pytest.mark.parametrize("text", ["", "1-", "-5", "abc", "1-2-3", "1,,2", "1-800,", "1..5", "²-5", "9" * 5000])
def test_what_is_no_range_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(EdsrError, match=r"no numbers of pictures: expected such as 801, 1-800, 1-800,851-900 or all"):
        Selection.parse(text)


def test_a_range_that_runs_backwards_is_refused() -> None:
    with pytest.raises(EdsrError, match=r"'1-3,5-3': the range 5-3 runs backwards"):
        Selection.parse("1-3,5-3")


def test_missing_numbers_are_counted_without_going_through_all() -> None:
    count, missing = Selection.parse("1-5,1000-999999999").missing({2, 4, 1001, 7})
    assert count == 5 + 999_999_000 - 3
    assert list(islice(missing, 5)) == [1, 3, 5, 1000, 1002]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("0801.png", 801),
        ("img_012.png", 12),
        ("000001.png", 1),
        ("x4_img7.jpg", 7),
        ("baby.png", None),
        ("1a.png", None),
    ],
)
def test_the_number_is_what_the_name_ends_in(name: str, number: int | None) -> None:
    assert number_of(Path("set2") / name) == number

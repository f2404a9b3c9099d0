"""How texts and numbers are written."""

from lightning_vision.terminal.wording import (
    few,
    figure,
    in_lines,
    listed,
    near,
    nearest_first,
    nfc,
    printable,
    printable_lines,
)


def test_printable() -> None:
    assert printable("Größe 猫 'x' \\") == "Größe 猫 'x' \\"
    assert printable("a\x00b\udc80\u2067c\tx") == r"a\x00b\udc80\u2067c\tx"
    assert printable(3) == "3"


def test_figure() -> None:
    assert [figure(value) for value in (0, 12.0, 0.33333, 1234.5, 98.76543)] == ["0", "12", "0.3333", "1,234", "98.77"]


def test_the_first_of_many_and_how_many_more_there_are() -> None:
    assert few(["a", "b"], 2) == "a, b"
    assert few(iter(["a", "b", "c"]), 1, separator="; ") == "a and 2 more"
    assert few([]) == ""
    assert listed(["a", 2, "c"], 2) == "'a', '2' and 1 more"


def test_a_line_each() -> None:
    assert in_lines(["a", "b"], 2) == "  a\n  b"
    assert in_lines(["a", "b", "c"], 1, margin="") == "a\n... and 2 more"


def test_near_names_ignore_upper_and_lower_case() -> None:
    known = ["MoveToData", "Replay", "EWC", "ewc", "HeadOnly"]
    assert near("ewcc", known) == ["EWC", "ewc"]
    assert near("movetodat", known, most=1) == ["MoveToData"]
    assert near("xyz", known) == []
    assert near("anything", []) == []


def test_all_names_with_the_nearest_first() -> None:
    assert nearest_first("replai", ["EWC", "Replay", "HeadOnly", "EWC"]) == ["Replay", "EWC", "HeadOnly"]


def test_marks_of_direction_and_line_ends_are_escaped() -> None:
    r"""A name with such a mark could look like another name, or end a line of a table."""
    for mark in "\u061c\u200e\u200f\u202e\u2066\u2028\u2029\ufeff\x1b\x07":
        assert mark not in printable(f"a{mark}b") and printable(f"a{mark}b").startswith("a\\")
    assert printable("a\u200db 犬 é") == "a\u200db 犬 é", "joiners belong to scripts and emoji"
    assert printable_lines("a\x1b\nb") == "a\\x1b\nb"


def test_names_are_compared_composed() -> None:
    assert nfc("cafe\u0301") == nfc("caf\u00e9") == "caf\u00e9" and nfc("plain") == "plain"

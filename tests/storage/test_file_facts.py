"""Facts are read from a file once, as long as it stays."""

import os
from pathlib import Path

import pytest
from full_disk import small_files_only

from lightning_vision.errors import DataError
from lightning_vision.storage.file_facts import facts_of_files


class Reader:
    """Reads numbers from files, and counts."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, file: Path) -> list[int]:
        self.seen.append(file.name)
        text = file.read_text()
        if text == "stop":
            raise KeyboardInterrupt
        if not text.isdecimal():
            raise DataError(f"The image {file} cannot be decoded (it is {text}). Repair or remove it.")
        return [int(text)]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    files = {f"sub/{name}": tmp_path / name for name in ("a", "b", "c")}
    for number, file in enumerate(files.values()):
        file.write_text(str(number))
    return files


def test_new_and_changed_files_are_read(files: dict[str, Path], tmp_path: Path) -> None:
    reader, kept = Reader(), tmp_path / "kept.json"

    def ask() -> dict[str, list[int]]:
        facts, reasons = facts_of_files(files, reader, tmp_path, "kept", "reading", workers=2)
        assert reasons == {}
        return facts

    assert ask() == ask() == {"sub/a": [0], "sub/b": [1], "sub/c": [2]}
    assert sorted(reader.seen) == ["a", "b", "c"]
    files["sub/b"].write_text("12")
    stat = files["sub/c"].stat()
    files["sub/c"].write_text("3")
    os.utime(files["sub/c"], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert ask() == {"sub/a": [0], "sub/b": [12], "sub/c": [3]}
    assert sorted(reader.seen[3:]) == ["b", "c"]
    del files["sub/a"]
    ask()
    kept.write_text("{ half")
    ask()
    assert sorted(reader.seen[5:]) == ["b", "c"], "a file that cannot be read is made anew"


def test_reasons_are_short_and_not_kept(files: dict[str, Path], tmp_path: Path) -> None:
    reader = Reader()
    files["sub/b"].write_text("wet")
    files["sub/d"] = tmp_path / "gone"
    for _ in range(2):
        facts, reasons = facts_of_files(files, reader, tmp_path, "kept", "reading", workers=1)
        assert facts == {"sub/a": [0], "sub/c": [2]}
        assert reasons == {"sub/b": "cannot be decoded (it is wet)", "sub/d": "file not found"}
    assert sorted(reader.seen) == ["a", "b", "b", "c", "gone", "gone"]


def test_what_was_found_before_an_interruption_stays(files: dict[str, Path], tmp_path: Path) -> None:
    reader = Reader()
    files["sub/b"].write_text("stop")
    with pytest.raises(KeyboardInterrupt):
        facts_of_files(files, reader, tmp_path, "kept", "reading", workers=1)
    files["sub/b"].write_text("7")
    facts, _ = facts_of_files(files, reader, tmp_path, "kept", "reading", workers=1)
    assert facts == {"sub/a": [0], "sub/b": [7], "sub/c": [2]}
    assert reader.seen.count("a") == 1


def to_the_power(file: Path, exponent: int) -> int:
    return int(pow(int(file.read_text()), exponent))


def test_facts_of_other_settings_are_others(files: dict[str, Path], tmp_path: Path) -> None:
    found = [
        facts_of_files(files, to_the_power, tmp_path, "powers", "reading", workers=1, exponent=exponent)[0]["sub/c"]
        for exponent in (2, 3, 2)
    ]
    assert found == [4, 8, 4] and {file.name for file in tmp_path.glob("powers-*.json")} == {
        "powers-exponent=2.json",
        "powers-exponent=3.json",
    }


def test_what_may_depend_on_more_than_its_settings_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    exponent = 2
    for look in (Reader().__call__, lambda file: int(file.read_text()) ** exponent):
        with pytest.raises(TypeError, match="Use a plain function"):
            facts_of_files(files, look, tmp_path, "powers", "reading", workers=1)


def test_a_full_disk_costs_the_facts_and_not_the_run(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_files_only(10):
        facts, _ = facts_of_files(files, to_the_power, tmp_path, "powers", "reading", workers=1, exponent=2)
    assert facts["sub/c"] == 4 and not list(tmp_path.glob("powers*.json"))
    assert "Facts about files cannot be stored in" in capsys.readouterr().err

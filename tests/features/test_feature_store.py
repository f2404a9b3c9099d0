"""Features on the disk stay valid when processes are killed, files are truncated and disks are full."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from full_disk import small_files_only

from lightning_vision.features.feature_store import FeatureStore, FeatureTable

D = 6
NAMED = {"backbone": "none", "weights": "0"}


def keys(count: int, first: int = 0) -> npt.NDArray[np.uint8]:
    """Different ones (N, 16)."""
    numbers = np.arange(first, first + count, dtype=np.uint64)
    return np.stack([numbers, numbers * 7 + 1], axis=1).view(np.uint8)


def vectors(places: npt.NDArray[np.int64], dimension: int = D) -> npt.NDArray[np.float32]:
    """What belongs at these places (N, D)."""
    return (places[:, None] * 10.0 + np.arange(dimension)).astype(np.float32)


def opened(folder: Path, count: int = 100, **described: str) -> FeatureTable:
    table = FeatureStore(folder, 10**9).open({**NAMED, **described}, D, count)
    assert table is not None
    return table


def filled(folder: Path, count: int = 8) -> FeatureTable:
    table = opened(folder)
    places = table.places(keys(count))
    table.write(places, vectors(places))
    return table


class TestTable:
    def test_what_is_written_is_read_by_others(self, tmp_path: Path) -> None:
        first = opened(tmp_path)
        places = first.places(keys(5))
        assert places.tolist() == [0, 1, 2, 3, 4] and first.missing(places).all()
        first.write(places[1:3], vectors(places[1:3]))
        for table in (first, opened(tmp_path)):
            again = table.places(keys(5))
            assert again.tolist() == places.tolist()
            assert table.missing(again).tolist() == [True, False, False, True, True]
            assert np.array_equal(table.read(again[1:3]), vectors(again[1:3]))

    def test_images_are_found_by_their_content_in_any_order_and_company(self, tmp_path: Path) -> None:
        filled(tmp_path, 8)
        table = opened(tmp_path)
        mixed = np.concatenate([keys(3, first=100), keys(8)[::-1], keys(8)[:2]])
        places = table.places(mixed)
        assert places.tolist() == [8, 9, 10, 7, 6, 5, 4, 3, 2, 1, 0, 0, 1]
        assert table.missing(places).tolist() == [True] * 3 + [False] * 10

    def test_images_that_others_add_meanwhile(self, tmp_path: Path) -> None:
        one, two = opened(tmp_path), opened(tmp_path)
        assert one.places(keys(3)).tolist() == [0, 1, 2]
        assert two.places(keys(3, first=2)).tolist() == [2, 3, 4]
        two.write(np.array([4]), vectors(np.array([4])))
        assert one.places(keys(1, first=4)).tolist() == [4] and not one.missing(np.array([4])).any()

    @pytest.mark.parametrize("left", [0, 1, 75, 8 * 28 - 1])
    def test_a_file_that_was_cut_short_has_lost_what_was_cut(self, left: int, tmp_path: Path) -> None:
        filled(tmp_path, 8).close()
        rows = next(tmp_path.glob("features-*/rows.bin"))
        assert rows.stat().st_size == 8 * 28
        os.truncate(rows, left)
        table = opened(tmp_path)
        places = table.places(keys(8))
        whole = left // 28
        assert table.missing(places).tolist() == [False] * whole + [True] * (8 - whole)
        table.write(places[whole:], vectors(places[whole:]))
        assert np.array_equal(opened(tmp_path).read(places[:0]), vectors(places[:0]))
        assert not table.missing(places).any() and np.array_equal(table.read(places), vectors(places))

    def test_a_row_with_a_wrong_bit_is_not_there(self, tmp_path: Path) -> None:
        filled(tmp_path, 8).close()
        rows = next(tmp_path.glob("features-*/rows.bin"))
        data = bytearray(rows.read_bytes())
        data[3 * 28 + 5] ^= 1
        rows.write_bytes(bytes(data))
        table = opened(tmp_path)
        assert np.flatnonzero(table.missing(table.places(keys(8)))).tolist() == [3]

    def test_a_key_that_was_cut_short_is_no_key(self, tmp_path: Path) -> None:
        filled(tmp_path, 8).close()
        os.truncate(next(tmp_path.glob("features-*/keys.bin")), 7 * 16 + 9)
        table = opened(tmp_path)
        places = table.places(keys(9))
        assert places.tolist() == list(range(9))
        # The eighth image has its place again; the ninth has one that never held anything.
        assert table.missing(places).tolist() == [False] * 8 + [True]

    def test_the_place_of_a_key_that_was_lost_holds_nothing_for_another_image(self, tmp_path: Path) -> None:
        """As after a power failure that took the end of the one file and not of the other."""
        filled(tmp_path, 8).close()
        os.truncate(next(tmp_path.glob("features-*/keys.bin")), 5 * 16)
        table = opened(tmp_path)
        others = table.places(keys(3, first=50))
        assert others.tolist() == [5, 6, 7]
        assert table.missing(others).all() and not table.missing(table.places(keys(5))).any()
        with pytest.raises(LookupError, match="hold no features"):
            table.read(others)

    def test_a_disk_that_is_full(self, tmp_path: Path) -> None:
        table = opened(tmp_path)
        places = table.places(keys(4))
        os.truncate(next(tmp_path.glob("features-*/rows.bin")), 0)  # no room was taken yet
        with small_files_only(2 * 28 + 3), pytest.raises(OSError):
            table.write(places, vectors(places))
        fresh = opened(tmp_path)
        assert fresh.missing(fresh.places(keys(4))).tolist() == [False, False, True, True]

    def test_a_row_that_was_never_written_cannot_be_read(self, tmp_path: Path) -> None:
        """Its place in the file is a hole, which reads as zeros."""
        table = filled(tmp_path, 3)
        places = table.places(keys(5))
        with pytest.raises(LookupError, match=r"the rows '3', '4' hold no features"):
            table.read(places)
        table.write(places[3:], vectors(places[3:]))
        other = opened(tmp_path)
        places = other.places(keys(5))
        assert np.array_equal(other.read(places), vectors(places)), "what others wrote can be, without being asked for"

    def test_a_disk_that_is_too_full_for_the_pace(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        table = filled(tmp_path, 3)
        with small_files_only(2):
            table.pace = 0.25
        assert table.pace == 0 and not table.missing(table.places(keys(3))).any()
        assert "how long features take cannot be stored in" in capsys.readouterr().err

    def test_pace(self, tmp_path: Path) -> None:
        table = opened(tmp_path)
        assert table.pace == 0
        table.pace = 0.25
        assert opened(tmp_path).pace == 0.25


WRITER = """
import sys
from pathlib import Path
import numpy as np
from test_feature_store import keys, opened, vectors
table = opened(Path(sys.argv[1]), count=200_000)
places = table.places(keys(200_000))
print("writing", flush=True)
for start in range(0, 200_000, 10):
    table.write(places[start:start + 10], vectors(places[start:start + 10]))
"""


def test_a_process_that_is_killed_leaves_whole_rows(tmp_path: Path) -> None:
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, env=environment)
    assert writer.stdout is not None and writer.stdout.readline() == b"writing\n"
    time.sleep(0.3)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    table = opened(tmp_path, count=200_000)
    places = table.places(keys(200_000))
    there = places[~table.missing(places)]
    assert 0 < len(there) < 200_000
    assert np.array_equal(table.read(there), vectors(there))


def _fill(folder: Path, seed: int) -> None:
    table = opened(folder)
    order = np.random.default_rng(seed).permutation(2_000)
    places = table.places(keys(2_000)[order])
    for start in range(0, 2_000, 50):
        part = places[start : start + 50]
        lacking = part[table.missing(part)]
        table.write(lacking, vectors(lacking))


def test_two_processes_that_fill_it_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_fill, args=(tmp_path, seed)) for seed in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    table = opened(tmp_path)
    places = table.places(keys(2_000))
    assert sorted(places.tolist()) == list(range(2_000)) and not table.missing(places).any()
    assert np.array_equal(table.read(places), vectors(places))


def _compute_some(folder: Path, told: Connection) -> None:
    """Claims the rows 1 and 2, and computes the second only when it is told to; then it waits to be killed."""
    table = opened(folder)
    places = table.places(keys(4))
    told.send(table.claim(places[1:3]).tolist())
    told.recv()
    table.write(places[2:3], vectors(places[2:3]))
    table.release(places[2:3])
    told.send("written")
    told.recv()


def test_each_row_is_computed_by_one_process_at_a_time_and_by_another_if_that_one_is_killed(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    table = opened(tmp_path)
    places = table.places(keys(4))
    context = multiprocessing.get_context("fork")
    told, theirs = context.Pipe()
    other = context.Process(target=_compute_some, args=(tmp_path, theirs))
    other.start()
    assert told.recv() == [True, True]
    assert table.claim(places).tolist() == [False, False, False, True], "the first one is there"
    table.write(places[3:], vectors(places[3:]))
    table.release(places[3:])
    told.send("write")
    assert told.recv() == "written"
    table.wait(places[2:])
    assert not table.missing(places[2:]).any()
    other.kill()
    table.wait(places)
    other.join()
    assert table.claim(places).tolist() == [False, True, False, False]


class TestStore:
    def test_tables_differ_by_every_part_of_the_description(self, tmp_path: Path) -> None:
        filled(tmp_path)
        other = opened(tmp_path, weights="1")
        assert other.missing(other.places(keys(8))).all()
        assert len(list(tmp_path.glob("features-*/"))) == 2
        told = json.loads((opened(tmp_path).folder / "table.json").read_text())
        assert told == {**NAMED, "dimension": D, "dtype": "float32"}

    def test_a_table_that_says_it_is_another_backbones_is_made_anew(self, tmp_path: Path) -> None:
        folder = filled(tmp_path).folder
        told = folder / "table.json"
        told.write_text(told.read_text().replace('"none"', '"resnet18"'))
        table = opened(tmp_path)
        assert table.folder == folder and table.missing(table.places(keys(8))).all()

    def test_too_many_for_the_limit(self, tmp_path: Path) -> None:
        assert FeatureStore(tmp_path, 27).open(NAMED, D, 1) is None
        assert FeatureStore(tmp_path, 28).open(NAMED, D, 1) is not None

    def test_those_not_used_for_longest_make_room(self, tmp_path: Path) -> None:
        tables = {weights: opened(tmp_path, weights=weights) for weights in "abc"}
        for number, table in enumerate(tables.values()):
            places = table.places(keys(4_000))
            table.write(places, vectors(places))
            os.utime(table.folder / "table.json", ns=(number, number))
        tables["a"].close()
        tables["c"].close()
        taken = sum(path.stat().st_blocks * 512 for path in tmp_path.glob("features-*/*"))
        store = FeatureStore(tmp_path, taken)

        def left() -> set[str]:
            return {json.loads(path.read_text())["weights"] for path in tmp_path.glob("features-*/table.json")}

        assert store.open({**NAMED, "weights": "d"}, D, 2_000) is not None
        assert left() == {"b", "c", "d"}, "a is the oldest, and no one has it open"
        assert store.open({**NAMED, "weights": "e"}, D, 10_000) is not None
        assert left() == {"b", "d", "e"}, "b is older than c, but in use"
        assert not tables["b"].missing(tables["b"].places(keys(4_000))).any()

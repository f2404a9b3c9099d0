import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from codecarbon import OfflineEmissionsTracker
from command_line import fit

from lightning_vision.errors import ConfigError
from lightning_vision.results.schema import read_results
from lightning_vision.tracking.energy import EnergyMeter, Usage, detect_hardware

ROOT = Path(__file__).parents[2]


def read_rows(path: Path) -> pd.DataFrame:
    """The rows of a file, with each number as it was written: pandas' own way may miss the last digit."""
    return pd.read_csv(path, float_precision="round_trip")


def work(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(range(1000))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_row_for_each_task_not_cumulative(tmp_path: Path) -> None:
    with EnergyMeter(tmp_path / "run") as meter:
        with meter.task("experience 0: learning") as first:
            work(0.4)
        with meter.task("experience 0: evaluation") as second:
            work(0.2)
        rows = read_rows(tmp_path / "run" / "emissions.csv")  # while the meter is open
    assert rows["task_name"].tolist() == ["experience 0: learning", "experience 0: evaluation"]
    for row, task, seconds in zip(rows.to_dict("records"), (first, second), (0.4, 0.2), strict=True):
        assert task.seconds == pytest.approx(seconds, abs=0.5)
        assert row["duration"] == pytest.approx(task.seconds, abs=0.3)
        assert task.energy_kwh is not None and task.energy_kwh > 0
        assert row["energy_consumed"] == task.energy_kwh
        assert row["cpu_energy"] + row["ram_energy"] + row["gpu_energy"] == pytest.approx(task.energy_kwh, rel=1e-6)
        assert row["emissions"] == task.co2eq_kg
        assert row["cpu_power"] * row["duration"] / 3.6e6 == pytest.approx(row["cpu_energy"], rel=0.1)
        assert (row["country_iso_code"], row["country_name"]) == ("FRA", "France")
        assert meter.grid_gco2_per_kwh is not None
        assert row["emissions"] == pytest.approx(row["energy_consumed"] * meter.grid_gco2_per_kwh / 1000, rel=1e-6)
    assert meter.grid_gco2_per_kwh == pytest.approx(56.039)


def test_the_columns_are_codecarbons(tmp_path: Path) -> None:
    from dataclasses import fields

    from codecarbon.output_methods.emissions_data import EmissionsData, TaskEmissionsData

    with EnergyMeter(tmp_path) as meter, meter.task("a"):
        pass
    columns = list(read_rows(tmp_path / "emissions.csv").columns)
    assert columns == ["task_name", *(field.name for field in fields(EmissionsData))]
    assert {field.name for field in fields(TaskEmissionsData)} <= set(columns)


def test_an_error_in_the_block_ends_the_task_and_keeps_its_row(tmp_path: Path) -> None:
    with EnergyMeter(tmp_path) as meter:
        with pytest.raises(ZeroDivisionError), meter.task("broken") as broken:
            work(0.05)
            raise ZeroDivisionError
        with meter.task("after"):
            pass
    assert broken.energy_kwh is not None
    assert read_rows(tmp_path / "emissions.csv")["task_name"].tolist() == ["broken", "after"]


def test_tasks_do_not_nest(tmp_path: Path) -> None:
    with (
        EnergyMeter(tmp_path, enabled=False) as meter,
        meter.task("outer"),
        pytest.raises(RuntimeError, match="'inner', found 'outer'"),
        meter.task("inner"),
    ):
        pass


def test_a_block_aside_is_not_the_open_tasks(tmp_path: Path) -> None:
    with EnergyMeter(tmp_path) as meter:
        with meter.task("outer") as outer:
            work(0.1)
            with pytest.raises(ZeroDivisionError), meter.aside("inner") as inner:
                work(0.3)
                print(1 / 0)
            work(0.1)
        with meter.task("after"):
            pass
    rows = read_rows(tmp_path / "emissions.csv")
    assert rows["task_name"].tolist() == ["outer", "inner", "outer", "after"]
    assert inner.seconds >= 0.3 and outer.seconds == pytest.approx(rows["duration"][[0, 2]].sum(), abs=0.3)
    assert outer.energy_kwh == pytest.approx(rows["energy_consumed"][[0, 2]].sum())
    assert inner.energy_kwh == pytest.approx(rows["energy_consumed"][1])


def test_laps_add_up_to_the_task(tmp_path: Path) -> None:
    with EnergyMeter(tmp_path) as meter:
        meter.lap()  # outside a task: nothing
        with meter.task("long") as task:
            work(0.2)
            meter.lap()
            at_lap = task.used
            work(0.1)
    rows = read_rows(tmp_path / "emissions.csv")
    assert rows["task_name"].tolist() == ["long", "long"]
    assert at_lap.seconds == pytest.approx(0.2, abs=0.3)
    assert task.seconds == pytest.approx(0.3, abs=0.5)
    assert rows["energy_consumed"].iloc[0] == at_lap.energy_kwh
    assert rows["energy_consumed"].sum() == pytest.approx(task.energy_kwh)
    assert rows["emissions"].sum() == pytest.approx(task.co2eq_kg)


def test_laps_are_taken_by_themselves(tmp_path: Path) -> None:
    with EnergyMeter(tmp_path, lap_seconds=0.2) as meter, meter.task("long") as task:
        work(0.7)
    rows = read_rows(tmp_path / "emissions.csv")
    assert 2 <= len(rows) <= 6
    assert rows["energy_consumed"].sum() == pytest.approx(task.energy_kwh)
    assert rows["duration"].sum() == pytest.approx(task.seconds, abs=0.5)


def test_a_resumed_task_starts_from_earlier_sums(tmp_path: Path) -> None:
    earlier = Usage(10.0, 0.5, 0.25)
    with EnergyMeter(tmp_path) as meter, meter.task("resumed", earlier) as task:
        work(0.05)
    row = read_rows(tmp_path / "emissions.csv").iloc[0]
    assert 10.05 <= task.seconds < 12
    assert task.energy_kwh == 0.5 + row["energy_consumed"]
    assert task.co2eq_kg == 0.25 + row["emissions"]


def test_a_second_process_appends(tmp_path: Path) -> None:
    for name in ("before", "after"):
        with EnergyMeter(tmp_path) as meter, meter.task(name):
            pass
    assert read_rows(tmp_path / "emissions.csv")["task_name"].tolist() == ["before", "after"]


@pytest.mark.parametrize("options", [{"enabled": False}, {"local_rank": 1}])
def test_who_does_not_measure_takes_the_time_only(tmp_path: Path, options: dict[str, int]) -> None:
    before = set(threading.enumerate())
    with EnergyMeter(tmp_path, **options) as meter:  # type: ignore[arg-type]
        with meter.task("quiet") as task:
            work(0.05)
            meter.lap()
        assert set(threading.enumerate()) <= before  # another test's may end meanwhile
    assert task.seconds >= 0.05
    assert task.energy_kwh is None and task.co2eq_kg is None
    assert list(tmp_path.iterdir()) == []


def test_energy_off_says_nothing_about_the_grid(tmp_path: Path) -> None:
    meter = EnergyMeter(tmp_path, country="nowhere", enabled=False)
    assert (meter.mode, meter.grid_gco2_per_kwh) == (None, None)


def test_another_node_has_a_file_of_its_own(tmp_path: Path) -> None:
    with EnergyMeter(tmp_path, node_rank=1) as meter, meter.task("a"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["emissions.node1.csv"]


def test_a_sum_is_known_if_all_of_it_was_measured() -> None:
    assert Usage(1.0, None, None) + Usage(2.0, 0.5, 0.25) == Usage(3.0, None, None)
    assert Usage(2.0, 0.5, 0.25) + Usage(1.0) == Usage(3.0, None, None)
    assert Usage() + Usage(2.0, 0.5, 0.25) + Usage() == Usage(2.0, 0.5, 0.25), "nothing took no energy"
    assert Usage(1.0) + Usage(1.0) == Usage(2.0, None, None)
    assert Usage(1.0, 0.5, 0.1) + Usage(1.0, 0.25, 0.1) == Usage(2.0, 0.75, 0.2)


def test_fifty_tasks_leave_nothing_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    with EnergyMeter(tmp_path) as meter:
        with meter.task("first"):
            pass
        threads, files, began = threading.active_count(), open_files(), time.perf_counter()
        for number in range(50):
            with meter.task(f"task {number}"):
                meter.lap()
        assert (time.perf_counter() - began) / 50 < 0.1
        wait_for_threads(threads)
        assert open_files() <= files
        assert meter._tracker is not None and len(meter._tracker._tasks) == 0
    wait_for_threads(before)
    assert open_files() <= files
    assert len(read_rows(tmp_path / "emissions.csv")) == 101
    assert [path.name for path in tmp_path.iterdir()] == ["emissions.csv"]


def wait_for_threads(at_most: int) -> None:
    end = time.monotonic() + 2
    while threading.active_count() > at_most and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= at_most, threading.enumerate()


def test_the_tracker_starts_before_the_first_task(tmp_path: Path) -> None:
    with EnergyMeter(tmp_path) as meter:
        began = time.perf_counter()
        with meter.task("first"):
            pass
        assert time.perf_counter() - began < 0.5


def test_mode_is_estimated_without_a_power_counter(tmp_path: Path) -> None:
    with EnergyMeter(tmp_path) as meter:
        rapl = any(os.access(path, os.R_OK) for path in Path("/sys/class/powercap").glob("intel-rapl*/energy_uj"))
        graphics = any(Path("/dev").glob("nvidia[0-9]*"))
        assert meter.mode == ("measured" if rapl or graphics else "estimated"), meter.counters


def test_mode_is_measured_with_a_counter() -> None:
    from codecarbon.external import hardware
    from codecarbon.external.ram import RAM

    from lightning_vision.tracking.energy import _power_counters

    class Tracker:
        _hardware = (RAM(), hardware.CPU(output_dir=".", mode="constant", model="x", tdp=10))

    assert _power_counters(Tracker()) == ()  # type: ignore[arg-type]
    Tracker._hardware[1]._mode = "intel_rapl"
    assert _power_counters(Tracker()) == ("intel_rapl",)  # type: ignore[arg-type]
    assert {"CPU", "GPU", "AppleSiliconChip"} <= vars(hardware).keys(), "the names that it looks for"


def test_declared_power_scales_the_processors_energy(tmp_path: Path) -> None:
    for watts in (10.0, 1000.0):
        with EnergyMeter(tmp_path, power_watts=watts) as meter, meter.task(f"{watts} W"):
            work(0.3)
    rows = read_rows(tmp_path / "emissions.csv")
    for watts, power in zip((10.0, 1000.0), rows["cpu_power"], strict=True):
        assert 0.1 * watts * 0.9 <= power <= watts * 1.1  # from idle to full load


@pytest.mark.parametrize("watts", [0.0, -5.0, float("nan")])
def test_a_power_that_is_none(tmp_path: Path, watts: float) -> None:
    with pytest.raises(ConfigError, match="above 0 W"):
        EnergyMeter(tmp_path, power_watts=watts)


def test_an_unknown_country_is_found_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="FRA"):
        EnergyMeter(tmp_path / "run", country="FRX")
    assert list(tmp_path.iterdir()) == []


def test_a_codecarbon_that_fails_does_not_end_the_run(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    meter = EnergyMeter(blocked)  # no directory: the tracker cannot start
    with pytest.warns(UserWarning, match="no longer measured"), meter.task("a") as task:
        work(0.01)
    assert task.seconds > 0 and task.energy_kwh is None
    assert meter.failure.startswith("CodeCarbon failed (")
    meter.close()


@pytest.mark.filterwarnings("ignore:Energy is no longer measured")
def test_a_run_says_from_where_its_energy_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = OfflineEmissionsTracker.start_task

    def begin_until_the_first_increment(tracker: OfflineEmissionsTracker, name: str) -> None:
        if name.startswith("experience 1"):
            raise OSError("the counter is gone")
        begin(tracker, name)

    monkeypatch.setattr(OfflineEmissionsTracker, "start_task", begin_until_the_first_increment)
    results = read_results(fit(tmp_path, "run", "--energy.enabled=true") / "results.json")
    note = (
        "experience 1: energy is not measured from here on, because CodeCarbon failed (OSError: the counter is gone)."
    )
    assert [text for text in results.notes if "energy" in text] == [note]
    kwh = [record.energy_kwh for record in results.experiences]
    assert kwh[0] is not None and kwh[0] > 0 and kwh[1:] == [None, None]
    assert results.without_energy == 2
    shown = " ".join(capsys.readouterr().out.split())
    _, _, end = shown.partition("The energy of 2 experiences is not known and is not in the total.")
    assert note in end, "a note of the summary too"


@pytest.mark.filterwarnings("ignore:Energy is no longer measured")
def test_a_failure_within_a_task_leaves_no_figure_of_a_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EnergyMeter(tmp_path / "run") as meter, meter.task("a") as task:
        work(0.1)
        meter.lap()
        assert task.energy_kwh is not None and task.energy_kwh > 0
        monkeypatch.setattr(OfflineEmissionsTracker, "stop_task", lambda tracker: None)
        work(0.1)
    assert task.energy_kwh is None and task.co2eq_kg is None
    assert task.seconds == pytest.approx(0.2, abs=0.15)


def run_child(code: str, directory: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


CHILD = """
import socket, sys, time
from pathlib import Path
def no_network(*_): raise SystemExit("the network was asked")
socket.getaddrinfo = no_network
from lightning_vision.tracking.energy import EnergyMeter
assert "codecarbon" not in sys.modules
with EnergyMeter(Path("run")) as meter:
    for number in range(3):
        with meter.task(f"task {number}"):
            time.sleep(0.05)
    with meter.task("killed"):
        time.sleep(0.05)
        meter.lap()
        Path("ready").touch()
        time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 60)
"""


def test_kill_9_keeps_every_row_and_runs_at_once_do_not_meet(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    directories = [tmp_path / "one", tmp_path / "two"]
    children = []
    for directory in directories:
        directory.mkdir()
        home = {"HOME": str(directory), "TMPDIR": str(temporary)}
        # Settings of the user's that would send data or write elsewhere.
        (directory / ".codecarbon.config").write_text(
            "[codecarbon]\nemissions_endpoint=http://127.0.0.1:9\nelectricitymaps_api_token=x\nregion=california\n"
            "save_to_api=true\nallow_multiple_runs=false\noutput_dir=/nowhere\n"
        )
        children.append(run_child(CHILD, directory, **home))
    for directory, child in zip(directories, children, strict=True):
        end = time.monotonic() + 60
        while not (directory / "ready").exists() and child.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        output, errors = child.communicate(timeout=30)
        assert (directory / "ready").exists(), errors
        assert (output, errors) == ("", "")
        rows = read_rows(directory / "run" / "emissions.csv")
        assert rows["task_name"].tolist() == ["task 0", "task 1", "task 2", "killed"]
        assert (rows["energy_consumed"] > 0).all()
        assert sorted(path.name for path in directory.iterdir()) == [".codecarbon.config", "ready", "run"]
        assert [path.name for path in (directory / "run").iterdir()] == ["emissions.csv"]
    assert list(temporary.iterdir()) == []


def test_the_hardware_is_found_once_for_all_meters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a second; processes that are forked later know it too."""
    from codecarbon.core import hardware_cache
    from codecarbon.core.resource_tracker import ResourceTracker

    searched: list[object] = []
    search = ResourceTracker._run_full_hardware_setup

    def counted(tracker: ResourceTracker) -> None:
        searched.append(tracker)
        search(tracker)

    monkeypatch.setattr(ResourceTracker, "_run_full_hardware_setup", counted)
    hardware_cache._plans.clear()
    before = threading.active_count()
    detect_hardware()
    assert len(searched) == 1 and threading.active_count() == before, "no thread, which a fork would lose"
    with EnergyMeter(tmp_path) as meter, meter.task("a run"):
        pass
    assert len(searched) == 1

"""Seconds, kWh and CO2 equivalents of each task of a run, measured with CodeCarbon offline."""

import os
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, Self

from lightning_vision.errors import ConfigError, TrainingError
from lightning_vision.storage.csv_log import RowFile
from lightning_vision.tracking.country import carbon_intensity, check_country

if TYPE_CHECKING:
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.output_methods.emissions_data import EmissionsData

JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Usage:
    """Time and energy. None means not measured, and the sum of a time with and one without a measurement is not known."""

    seconds: float = 0.0
    energy_kwh: float | None = None
    co2eq_kg: float | None = None

    def __add__(self, other: "Usage") -> "Usage":
        """The sum of both, for instance over tasks or over nodes."""
        return Usage(
            self.seconds + other.seconds,
            _sum([each.energy_kwh for each in (self, other) if each.seconds or each.energy_kwh is not None]),
            _sum([each.co2eq_kg for each in (self, other) if each.seconds or each.co2eq_kg is not None]),
        )


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


class Task:
    """A task under measurement. During the block its figures are those up to the last lap.

    Args:
        name: Value of the column `task_name` in emissions.csv.
        earlier: What the task had taken before the process was killed and resumed.
    """

    def __init__(self, name: str, earlier: Usage) -> None:
        self.name = name
        self.used = earlier

    @property
    def seconds(self) -> float:
        """Wall-clock time."""
        return self.used.seconds

    @property
    def energy_kwh(self) -> float | None:
        """Energy; None if this process does not measure it."""
        return self.used.energy_kwh

    @property
    def co2eq_kg(self) -> float | None:
        """Emissions; None if this process does not measure them."""
        return self.used.co2eq_kg


class EnergyMeter:
    """Measure tasks one after the other, and write a row for each to emissions.csv.

    One CodeCarbon tracker is used for the whole process. It is offline, measures the whole machine, and writes no
    files. emissions.csv has CodeCarbon's columns with `task_name` before them; energy, emissions, duration and power
    are those of the row. A task that lasts longer than `lap_seconds`, or in which `lap` is called, has several rows,
    which add up to the total.

    Only local rank 0 of a node measures, because a second tracker would count the node twice: `emissions.csv` on node
    0, `emissions.node1.csv` and so on for others. Other ranks measure only the time. If CodeCarbon fails, a warning is
    printed and the run continues without figures of energy.

    Args:
        run_directory: Folder of emissions.csv; it is created if necessary.
        country: A 3-letter ISO code or an English name, see `check_country`.
        power_watts: The power of all processors of the machine at full load. Their power is then computed as
            power_watts * (0.1 + 0.9 * load^3), instead of from CodeCarbon's table (or 4 W per thread) or a power
            counter. Memory (a constant) and graphics cards are added as before.
        enabled: If False, nothing is loaded and only the time is measured.
        local_rank: Rank of this process on its node.
        node_rank: Number of the node.
        lap_seconds: Interval of automatic laps. CodeCarbon reads the processor's energy counter (RAPL) only at the end
            of a task, and the counter overflows about every 20 minutes at full load.

    Raises:
        ConfigError: The country is unknown or the power is not positive.
    """

    def __init__(
        self,
        run_directory: Path,
        country: str = "FRA",
        power_watts: float | None = None,
        enabled: bool = True,
        local_rank: int = 0,
        node_rank: int = 0,
        lap_seconds: float = 300.0,
    ) -> None:
        if power_watts is not None and not power_watts > 0:
            raise ConfigError(f"Expected a power above 0 W or null (no declared power), found {power_watts}.")
        self.country = check_country(country) if enabled else country
        self.enabled = enabled
        self._directory = run_directory
        self._power_watts = power_watts
        self.measures_node = enabled and local_rank == 0
        """Whether this process is the one of its node that is to measure."""
        self._measures = self.measures_node
        self._rows = RowFile(run_directory / ("emissions.csv" if node_rank == 0 else f"emissions.node{node_rank}.csv"))
        self._lap_seconds = lap_seconds
        self._tracker: OfflineEmissionsTracker | None = None
        self._counters: tuple[str, ...] = ()
        self._task: Task | None = None
        self._began = 0.0  # time.perf_counter() at the start of the present lap
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._lapper: threading.Thread | None = None
        self._late_error: TrainingError | None = None
        self._failure = ""

    @property
    def counters(self) -> tuple[str, ...]:
        """The power counters that CodeCarbon reads, for instance ("intel_rapl", "gpu"); empty before `start`."""
        return self._counters

    @property
    def mode(self) -> Literal["measured", "estimated"] | None:
        """`measured` if any power counter is read, otherwise `estimated`. None if energy is not measured."""
        if not self.enabled:
            return None
        return "measured" if self._counters else "estimated"

    @property
    def failure(self) -> str:
        """Why energy is no longer measured; empty while it is, and if it never was to be."""
        return self._failure

    @cached_property
    def grid_gco2_per_kwh(self) -> float | None:
        """Grams of CO2 equivalent per kWh of the country's electricity. None if energy is not measured."""
        return carbon_intensity(self.country) if self.enabled else None

    def start(self) -> None:
        """Load CodeCarbon and find power counters (1 to 2 s) once, outside of any task."""
        if self._tracker is not None or not self._measures:
            return
        from codecarbon import OfflineEmissionsTracker
        from codecarbon.external.logger import set_logger_level

        level = os.environ.get("CODECARBON_LOG_LEVEL", "error")
        set_logger_level(level)  # the constructor speaks before it sets the level that it is given
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            # What could come from a .codecarbon.config or the environment and would send data, ask the network, or
            # compute with another place than `country`, is set here.
            tracker = OfflineEmissionsTracker(
                country_iso_code=self.country,
                region=None,
                country_2letter_iso_code=None,
                cloud_provider=None,
                cloud_region=None,
                force_carbon_intensity_g_co2e_kwh=None,
                electricitymaps_api_token="",
                emissions_endpoint=None,
                output_methods=[],
                output_handlers=[],
                output_dir=str(self._directory),
                tracking_mode="machine",
                force_cpu_power=self._power_watts,
                allow_multiple_runs=True,  # no lock file in the temporary directory
                api_call_interval=-1,
                log_level=level,
            )
            tracker.get_detected_hardware()  # raises if the constructor, which hides its errors, did not finish
            self._counters = _power_counters(tracker)
        except Exception as error:
            self._give_up(error)
            return
        self._tracker = tracker
        self._closing.clear()
        self._lapper = threading.Thread(target=self._lap_regularly, name="energy-laps", daemon=True)
        self._lapper.start()

    @contextmanager
    def task(self, name: str, earlier: Usage | None = None) -> Iterator[Task]:
        """Measure the block; if it raises an error, the row is written too. Blocks within it are measured by `aside`.

        Args:
            name: Written to the column `task_name`.
            earlier: What the task had taken before the process was killed and resumed; added to the task's figures, not
                to the rows.

        Raises:
            RuntimeError: Another task is open.
            TrainingError: The row cannot be written.
        """
        if self._task is not None:
            raise RuntimeError(f"Expected no open task at the start of {name!r}, found {self._task.name!r}.")
        self.start()
        task = Task(name, earlier or Usage())
        with self._lock:
            self._task = task
            self._begin()
        try:
            yield task
        finally:
            with self._lock:
                self._task = None
                self._end(task)
        if self._late_error is not None:
            raise self._late_error

    @contextmanager
    def aside(self, name: str) -> Iterator[Task]:
        """Measure a block in the midst of the open task as a task of its own, whose figures are not the open task's.

        Args:
            name: Written to the column `task_name`.

        Raises:
            TrainingError: A row cannot be written.
        """
        inner = Task(name, Usage())
        with self._lock:
            outer = self._task
            if outer is not None:
                self._end(outer)
            self._task = inner
            self._begin()
        try:
            yield inner
        finally:
            with self._lock:
                self._end(inner)
                self._task = outer
                self._begin()

    def lap(self) -> None:
        """Write a row for the open task up to now and continue, so that a kill loses only later figures.

        Call it when a checkpoint is saved. Outside of a task it has no effect.
        """
        with self._lock:
            if self._task is not None:
                self._end(self._task)
                self._begin()

    def since_lap(self) -> float:
        """Seconds since the open task or its last lap began; 0 outside a task."""
        return time.perf_counter() - self._began if self._task is not None else 0.0

    def close(self) -> None:
        """Stops the tracker and its threads."""
        self._closing.set()
        if self._lapper is not None and self._lapper is not threading.current_thread():
            self._lapper.join()
            self._lapper = None
        with self._lock:
            self.lap()
            if self._tracker is not None:
                self._tracker.stop()
                self._tracker = None

    def __enter__(self) -> Self:
        """Starts the meter."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the meter."""
        self.close()

    def _begin(self) -> None:
        if self._tracker is not None and self._task is not None:
            try:
                self._tracker.start_task(self._task.name)
            except Exception as error:
                self._give_up(error)
        self._began = time.perf_counter()

    def _end(self, task: Task) -> None:
        seconds = time.perf_counter() - self._began
        data: EmissionsData | None = None
        if self._tracker is not None:
            try:
                data = self._tracker.stop_task()
                self._tracker._tasks.clear()  # finished tasks are kept for a file that is not written: memory
                if data is None:
                    raise RuntimeError(f"no data for the task {task.name!r}")
            except Exception as error:
                self._give_up(error)
        if data is None:
            task.used += Usage(seconds)
            return
        task.used += Usage(seconds, data.energy_consumed, data.emissions)
        row: dict[str, object] = {"task_name": task.name, **data.values}
        for part in ("cpu", "gpu", "ram"):
            # CodeCarbon's figures are averages since the tracker began, not the task's.
            row[f"{part}_power"] = row[f"{part}_energy"] * JOULES_PER_KWH / seconds if seconds > 0 else 0.0  # type: ignore[operator]
        self._rows.append(row)

    def _lap_regularly(self) -> None:
        while not self._closing.wait(self._lap_seconds):
            try:
                self.lap()
            except TrainingError as error:  # a thread's error would be lost: the end of the task raises it
                self._late_error = error
                return

    def _give_up(self, error: Exception) -> None:
        self._measures, self._tracker = False, None
        self._failure = f"CodeCarbon failed ({type(error).__name__}: {error})"
        warnings.warn(
            f"Energy is no longer measured, because {self._failure}. The run continues without figures of energy.",
            stacklevel=3,
        )


def detect_hardware() -> None:
    """Let CodeCarbon find the power counters of this machine, which takes a second. It remembers them, also in forked processes."""
    with TemporaryDirectory() as folder:
        meter = EnergyMeter(Path(folder))
        meter.start()
        meter.close()


def _power_counters(tracker: "OfflineEmissionsTracker") -> tuple[str, ...]:
    # CodeCarbon has no public name for it; RAM and the modes cpu_load and constant are estimates. Classes by name, because not
    # every version has all of them.
    counters = []
    for part in tracker._hardware:
        kind = type(part).__name__
        if kind == "CPU" and part._mode in ("intel_rapl", "intel_power_gadget", "windows_emi"):
            counters.append(part._mode)
        elif kind in ("GPU", "AppleSiliconChip", "Raspberry"):
            counters.append(kind.lower())
    return tuple(dict.fromkeys(counters))

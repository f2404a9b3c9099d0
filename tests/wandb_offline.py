"""Reads what an offline W&B run left on disk: a LevelDB-format log of `wandb_internal_pb2.Record`."""

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE_HEADER = 7  # bytes: ":W&B", a magic number, a version
BLOCK = 32768  # bytes; a record never starts in the last 6 of a block
RECORD_HEADER = 7  # bytes: checksum, length, type
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class OfflineRun:
    """The content of one offline run."""

    name: str = ""
    group: str = ""
    job_type: str = ""
    run_id: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    axes: dict[str, str] = field(default_factory=dict)  # metric name or glob -> name of its x axis
    artifacts: dict[str, list[str]] = field(default_factory=dict)  # name -> files in it
    directory: Path = Path()
    ended: bool = False  # by `finish`, not by a kill


def offline_runs(run_directory: Path) -> list[Path]:
    """The `.wandb` files below a run directory, oldest first."""
    return sorted(run_directory.glob("wandb/*run-*/run-*.wandb"), key=lambda path: path.stat().st_ctime_ns)


def payloads(data: bytes) -> Iterator[bytes]:
    """Each whole record of a LevelDB log; ends at the first torn one."""
    position, parts = FILE_HEADER, b""
    while position + RECORD_HEADER <= len(data):
        if BLOCK - position % BLOCK < RECORD_HEADER:
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += RECORD_HEADER
        if kind not in (FULL, FIRST, MIDDLE, LAST) or position + length > len(data):
            return
        parts = (
            data[position : position + length] if kind in (FULL, FIRST) else parts + data[position : position + length]
        )
        position += length
        if kind in (FULL, LAST):
            yield parts


def _assign(target: dict[str, Any], items: Any) -> None:
    for item in items:
        *parents, last = list(item.nested_key) or [item.key]
        inner = target
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = json.loads(item.value_json)


def read_offline_run(path: Path, killed: bool = False) -> OfflineRun:
    """Reads a `.wandb` file, or the newest one below a run directory.

    W&B's own process writes the last rows some milliseconds after `finish` has returned: waits for the end of the run,
    5 s at most, unless it was killed.
    """
    if path.is_dir():
        path = offline_runs(path)[-1]
    give_up = time.monotonic() + (0 if killed else 5)
    while True:
        run = _read(path)
        if run.ended or time.monotonic() >= give_up:
            return run
        time.sleep(0.01)


def _read(path: Path) -> OfflineRun:
    from wandb.proto import wandb_internal_pb2

    run = OfflineRun(directory=path.parent)
    for payload in payloads(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(payload)  # type: ignore[attr-defined,unused-ignore]
        match record.WhichOneof("record_type"):
            case "run":
                run.run_id, run.name = record.run.run_id, record.run.display_name
                run.group, run.job_type = record.run.run_group, record.run.job_type
                _assign(run.config, record.run.config.update)
            case "config":
                _assign(run.config, record.config.update)
            case "history":
                row: dict[str, Any] = {}
                _assign(row, record.history.item)
                run.history.append(row)
            case "summary":
                _assign(run.summary, record.summary.update)
            case "files":
                run.files += [item.path for item in record.files.files]
            case "metric":
                run.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
            case "exit":
                run.ended = True
            case "artifact":
                run.artifacts[record.artifact.name] = [entry.path for entry in record.artifact.manifest.contents]
    return run

"""What processes tell each other, in a group of two and alone."""

import multiprocessing
from pathlib import Path
from typing import Any

import torch

from lightning_vision.data.process_group import (
    equal_on_processes,
    gather_from_processes,
    in_group,
    leave_group,
    sum_over_processes,
    wait_for_processes,
)
from lightning_vision.results.predictions import in_stream_order

ROOT = Path(__file__).parents[2]


def told(rank: int, size: int) -> dict[str, Any]:
    """What a process is told by all functions."""
    own = torch.arange(rank, 5, size)[:, None].repeat(1, 2)  # its stripe of five rows: unequal parts
    value = torch.tensor([1.0, rank])
    wait_for_processes()
    return {
        "in_group": in_group(),
        "sum": sum_over_processes(value).tolist(),
        "given": value.tolist(),
        "gathered": [part[:, 0].tolist() for part in gather_from_processes(own)],
        "none": [len(part) for part in gather_from_processes(own[:rank])],
        "order": in_stream_order(own, 5)[:, 0].tolist(),
        "equal": (equal_on_processes(torch.ones(2)), equal_on_processes(value)),
    }


def in_group_of_two(rank: int, store: Path) -> dict[str, Any]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    found = told(rank, 2)
    leave_group()
    return {**found, "left": not in_group()}


def test_two_processes(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        first, second = pool.starmap(in_group_of_two, [(rank, tmp_path / "store") for rank in range(2)], chunksize=1)
    assert first == {
        "in_group": True,
        "sum": [2, 1],
        "given": [1, 0],
        "gathered": [[0, 2, 4], [1, 3]],
        "none": [0, 1],
        "order": [0, 1, 2, 3, 4],
        "equal": (True, False),
        "left": True,
    }
    assert second == {**first, "given": [1, 1]}


def test_alone() -> None:
    leave_group()
    assert told(0, 1) == {
        "in_group": False,
        "sum": [1, 0],
        "given": [1, 0],
        "gathered": [[0, 1, 2, 3, 4]],
        "none": [0],
        "order": [0, 1, 2, 3, 4],
        "equal": (True, True),
    }


def test_one_module_alone_asks_for_the_group() -> None:
    packages = ("lightning_vision", "strategies", "datamodules")
    sources = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    asking = [path.name for path in sources if "distributed.is_initialized()" in path.read_text(encoding="utf-8")]
    assert asking == ["process_group.py"]

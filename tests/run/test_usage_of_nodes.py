"""Energy over the nodes of a run, in two real processes."""

import multiprocessing
from pathlib import Path

import pytest
import torch

from lightning_vision.data.process_group import leave_group
from lightning_vision.run.usage_of_nodes import usage_of_nodes
from lightning_vision.tracking.energy import EnergyMeter, Usage


def of_both(rank: int, store: Path, local_rank: int, used: Usage) -> Usage:
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    meter = EnergyMeter(store.parent, local_rank=local_rank, node_rank=rank - local_rank)
    found = usage_of_nodes(used, meter, torch.device("cpu"))
    leave_group()
    return found


@pytest.mark.parametrize(
    ("local_rank", "second", "energy"),
    [
        (0, Usage(9.0, 0.25, 0.125), (0.75, 0.375)),  # of another node
        (1, Usage(9.0), (0.5, 0.25)),  # of the same node, which the first process measures
        (0, Usage(9.0), (None, None)),  # of another node, which could not measure
    ],
    ids=["two nodes", "one node", "a node without"],
)
def test_energy_is_known_if_all_nodes_measured_it(
    tmp_path: Path, local_rank: int, second: Usage, energy: tuple[float | None, float | None]
) -> None:
    given = [(0, tmp_path / "store", 0, Usage(2.0, 0.5, 0.25)), (1, tmp_path / "store", local_rank, second)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.starmap(of_both, given, chunksize=1)
    assert found == [Usage(2.0, *energy), Usage(9.0, *energy)], "the time is each process's own"


def test_without_a_group_it_is_the_process_s_own(tmp_path: Path) -> None:
    used = Usage(2.0, 0.5, 0.25)
    assert usage_of_nodes(used, EnergyMeter(tmp_path), torch.device("cpu")) == used

"""The sums of an epoch: equal after a resume, and added without waiting for the device."""

import pytest
import torch

from lightning_vision.learning.checkpoint_identity import SUMMANDS, add_up_sums, share_out_sums
from lightning_vision.learning.training_figures import StepMean

KEY = "train_loss.mean_value"


def checkpoint(*summands: float) -> dict[str, dict[str, torch.Tensor]]:
    """What rank 0 writes in the middle of an epoch."""
    each = torch.tensor(summands)
    return {"state_dict": {KEY: each.sum(), "other": torch.tensor(5.0)}, SUMMANDS: {KEY: each}}


def test_each_process_continues_its_own_sum() -> None:
    """From 2 ** 24 on, float32 loses a 1: with the sums on rank 0 two more steps of rank 1 would change nothing."""
    sums = []
    for rank in range(2):
        found = checkpoint(2.0**24, 0.0)
        share_out_sums(found, rank, 2)
        sums.append(found["state_dict"][KEY])
        assert found["state_dict"]["other"] == 5
    for _ in range(2):
        sums[1] = sums[1] + 1
    assert sums[0] + sums[1] == 2**24 + 2


@pytest.mark.parametrize("processes", [1, 3])
def test_another_number_of_processes_continues_the_whole_sum(processes: int) -> None:
    for rank in range(processes):
        found = checkpoint(3.0, 4.0)
        share_out_sums(found, rank, processes)
        assert found["state_dict"][KEY] == (0 if rank else 7)


def test_checkpoints_of_earlier_versions_hold_the_whole_sum() -> None:
    for rank in range(2):
        found = checkpoint(3.0, 4.0)
        del found[SUMMANDS]
        share_out_sums(found, rank, 2)
        assert found["state_dict"][KEY] == (0 if rank else 7)


def test_one_process_is_its_own_sum() -> None:
    state = {KEY: torch.tensor(3.0), "other": torch.tensor(5.0)}
    summands = add_up_sums(state)
    assert [state[KEY].item(), state["other"].item()] == [3, 5]
    assert {key: each.tolist() for key, each in summands.items()} == {KEY: [3.0]}


def test_a_mean_over_steps_is_weighted() -> None:
    mean = StepMean()
    mean.update(torch.tensor(2.0), 3)
    mean.update(torch.tensor(6.0), 1)
    mean.update(torch.tensor([3.0, 5.0]))
    assert mean.compute() == pytest.approx((2 * 3 + 6 + 3 + 5) / 6)
    mean.reset()
    mean.update(torch.tensor(4.0), 2)
    assert mean.compute() == 4


def test_a_mean_over_steps_reads_nothing_from_the_device() -> None:
    """A tensor on the device meta has no values: who asks for one, as MeanMetric does, fails."""
    mean = StepMean().to("meta")
    mean.update(torch.ones((), device="meta"), 3)
    mean.update(torch.ones(5, device="meta"))
    assert mean.compute().device.type == "meta"

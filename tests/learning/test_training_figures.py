"""The sums of an epoch: equal after a resume, and added without waiting for the device. Losses that are not finite."""

import math
from unittest.mock import Mock

import pytest
import torch

from lightning_vision.errors import TrainingError
from lightning_vision.learning.checkpoint_identity import SUMMANDS, add_up_sums, share_out_sums
from lightning_vision.learning.training_figures import UNCHECKED, StepMean, TrainingFigures

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


def figures_of(*losses: float, device: str = "cpu") -> TrainingFigures:
    """Figures with one loss for each batch."""
    figures = TrainingFigures({}, lambda batch: f"batch {batch}")
    for number, loss in enumerate(losses):
        figures.begin_batch()
        figures.add(Mock(), {"label": torch.zeros(2)}, number, torch.tensor(loss, device=device), 0)  # type: ignore[typeddict-item]
    return figures


def test_on_a_cpu_a_loss_is_checked_before_the_next_batch() -> None:
    with pytest.raises(TrainingError, match="The loss is nan in batch 1"):
        figures_of(1.0, math.nan, 1.0)


def test_elsewhere_losses_are_checked_together() -> None:
    """Nothing can be read from a tensor on the device meta: who tries it fails."""
    figures = figures_of(*[1.0] * UNCHECKED, device="meta")
    with pytest.raises(RuntimeError, match="meta"):
        figures.begin_batch()


def test_the_first_of_losses_that_are_checked_together_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingFigures, "begin_batch", lambda figures: None)
    figures = figures_of(1.0, 2.0, math.inf, math.nan, 1.0)
    with pytest.raises(TrainingError, match="The loss is inf in batch 2"):
        figures.check_loss()
    figures.check_loss()  # each is checked once

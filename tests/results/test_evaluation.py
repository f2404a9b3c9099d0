"""What one evaluation pass leaves behind."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_vision.data.batch import Batch
from lightning_vision.results.predictions import Collector, Predictions, in_stream_order, predict_within_task


def batch(index: list[int], label: list[int], valid: list[bool] | None = None) -> Batch:
    return Batch(
        image=torch.zeros(len(index), 3, 1, 1),
        label=torch.tensor(label),
        index=torch.tensor(index),
        experience=torch.zeros(len(index), dtype=torch.int64),
        valid=torch.tensor(valid or [True] * len(index)),
    )


def no_mask(logits: Tensor) -> Tensor:
    return logits


def test_each_image_once_in_the_order_of_the_table() -> None:
    collector = Collector()
    logits = torch.eye(3)
    collector.add(batch([7, 2, 9], [0, 1, 1], [True, True, False]), logits, no_mask)
    collector.add(batch([4], [2]), logits[:1], no_mask)
    found = collector.result(torch.device("cpu"))
    assert found.index.tolist() == [2, 4, 7]
    assert found.label.tolist() == [1, 2, 0]
    assert found.predicted.tolist() == [[1, 0, 0]]
    assert found.variants == ("",) and found.probability is None
    assert found.confidence[0] == pytest.approx([np.e / (np.e + 2)] * 3)
    assert found.accuracy().tolist() == [pytest.approx(2 / 3)]
    assert found.accuracy(np.array([True, True, False])).tolist() == [0.5]


def test_variants_and_probabilities() -> None:
    collector = Collector(keep_probability=True)
    one, two = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    collector.add(batch([3, 1], [0, 1]), {"a": one, "b": two}, no_mask)
    found = collector.result(torch.device("cpu"))
    assert found.variants == ("a", "b")
    assert found.predicted.tolist() == [[1, 0], [1, 1]]
    assert found.accuracy().tolist() == [1.0, 0.5]
    assert found.probability is not None and found.probability.shape == (2, 2, 2)
    assert found.probability[0, 1] == pytest.approx(one[0].softmax(0).numpy())
    only = found.one("b")
    assert only.variants == ("b",) and only.predicted.tolist() == [[1, 1]] and only.accuracy().tolist() == [0.5]
    assert only.probability is not None and only.probability.shape == (1, 2, 2)


def test_probabilities_at_a_temperature_of_scores_that_are_far_apart() -> None:
    collector = Collector(keep_probability=True, temperature=500)
    collector.add(batch([0], [0]), torch.tensor([[0.0, -500.0, -torch.inf]]), no_mask)
    found = collector.result(torch.device("cpu"))
    assert found.confidence.tolist() == [[1.0]]
    assert found.probability is not None
    assert found.probability[0, 0] == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0])


def test_the_mask_takes_unseen_classes_out_of_the_confidence() -> None:
    collector = Collector()
    collector.add(
        batch([0], [0]),
        torch.tensor([[1.0, 5.0, 1.0]]),
        lambda x: x.masked_fill(torch.tensor([0, 1, 0]).bool(), -torch.inf),
    )
    found = collector.result(torch.device("cpu"))
    assert found.predicted.tolist() == [[0]] and found.confidence.tolist() == [[0.5]]


def test_half_precision_logits_are_judged_in_float32() -> None:
    collector = Collector()
    collector.add(batch([0], [1]), torch.tensor([[1.0, 1.0625]], dtype=torch.bfloat16), no_mask)
    found = collector.result(torch.device("cpu"))
    assert found.confidence.dtype == np.float32
    assert found.confidence[0, 0] == pytest.approx(1 / (1 + np.exp(-0.0625)), rel=1e-6)


class TestWithinTask:
    """Classes 0 and 2 are of experience 0, classes 1 and 3 of experience 1."""

    TASKS = torch.tensor([0, 1, 0, 1])
    LOGITS = torch.tensor([[1.0, 9.0, 3.0, 2.0], [1.0, 9.0, 3.0, 2.0], [8.0, -5.0, 3.0, -4.0]])

    def test_the_best_class_of_the_images_own_experience(self) -> None:
        logits = torch.stack([self.LOGITS, -self.LOGITS], dim=1)
        found = predict_within_task(logits, torch.tensor([0, 1, 1]), self.TASKS)
        assert found.tolist() == [[2, 0], [1, 3], [3, 1]]

    def test_probabilities_too_small_for_float32_still_have_an_order(self) -> None:
        found = predict_within_task(torch.tensor([[[0.0, 500.0, 1.0, 0.0]]]), torch.tensor([0]), self.TASKS)
        assert found.tolist() == [[2]]

    def test_it_is_collected_beside_the_prediction(self) -> None:
        collector = Collector(task_of_class=self.TASKS)
        collector.add(batch([5, 3, 4], [0, 1, 1], [True, True, False]), {"a": self.LOGITS, "b": -self.LOGITS}, no_mask)
        found = collector.result(torch.device("cpu"))
        assert found.index.tolist() == [3, 5] and found.predicted.tolist() == [[1, 1], [0, 0]]
        assert found.task_predicted is not None and found.task_predicted.tolist() == [[1, 2], [3, 0]]
        only = found.one("b").task_predicted
        assert only is not None and only.tolist() == [[3, 0]]
        empty = Collector(task_of_class=self.TASKS).result(torch.device("cpu"))
        assert empty.task_predicted is not None and empty.task_predicted.shape == (1, 0)


def test_nothing_to_evaluate() -> None:
    found = Collector().result(torch.device("cpu"))
    assert len(found.index) == 0 and np.isnan(found.accuracy()).all()
    some = Predictions(np.arange(2), np.zeros(2, int), np.zeros((1, 2), int), np.ones((1, 2), np.float32), ("",))
    assert np.isnan(some.accuracy(np.zeros(2, bool))).all()


def test_one_process_is_in_stream_order_already() -> None:
    values = torch.randn(4, 2)
    assert in_stream_order(values, 4) is values

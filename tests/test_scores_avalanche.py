"""The scores against Avalanche's on one stream: its own training, its own metrics, our figures from its predictions."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from lightning_vision.results import scores

DOMAINS, CLASSES, SAMPLES = 3, 3, 60


def rotated_blobs(domain: int, seed: int) -> tuple[Tensor, Tensor]:
    """(N, 2) points around one centre a class, turned by 50 degrees more in each domain, and their (N,) labels."""
    labels = torch.arange(SAMPLES) % CLASSES
    angle = labels * (2 * torch.pi / CLASSES) + domain * torch.pi * 50 / 180
    points = torch.stack([angle.cos(), angle.sin()], dim=1)
    return points + 0.5 * torch.randn(points.shape, generator=torch.Generator().manual_seed(seed)), labels


@pytest.mark.filterwarnings("ignore")
def test_equal_to_avalanche() -> None:
    # Imported here: it takes some 9 s, and collecting the tests should not.
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_taskaware_classification_dataset
    from avalanche.evaluation import metrics
    from avalanche.training import Naive
    from avalanche.training.plugins import EvaluationPlugin, SupervisedPlugin

    # By evaluation and test part: labels and predicted classes of each batch.
    predictions: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)

    class Recorder(SupervisedPlugin):  # type: ignore[misc]
        """Keeps what the strategy predicts."""

        evaluation = -1

        def before_eval(self, strategy: Any, **_: Any) -> None:
            self.evaluation += 1

        def after_eval_iteration(self, strategy: Any, **_: Any) -> None:
            part = strategy.experience.current_experience
            predictions[self.evaluation, part].append((strategy.mb_y, strategy.mb_output.argmax(dim=1)))

    def parts(first_seed: int) -> list[Any]:
        sets = [TensorDataset(*rotated_blobs(domain, first_seed + domain)) for domain in range(DOMAINS)]
        for data in sets:
            data.targets = data.tensors[1]  # type: ignore[attr-defined]
        return [as_taskaware_classification_dataset(data) for data in sets]

    torch.manual_seed(0)
    model = nn.Linear(2, CLASSES)
    plugin = EvaluationPlugin(
        metrics.accuracy_metrics(experience=True, stream=True),
        metrics.forgetting_metrics(experience=True, stream=True),
        metrics.bwt_metrics(stream=True),
        metrics.forward_transfer_metrics(stream=True),
        loggers=[],
    )
    # eval_every=0 evaluates before and after each experience: forward transfer asks for it.
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.3),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=20,
        train_epochs=5,
        eval_mb_size=25,
        eval_every=0,
        plugins=[Recorder()],
        evaluator=plugin,
    )
    benchmark = benchmark_from_datasets(train=parts(0), test=parts(100))
    theirs: list[dict[str, float]] = []
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[benchmark.test_stream])
        theirs.append(dict(plugin.get_last_metrics()))

    def accuracies(evaluation: int) -> list[float | None]:
        row: list[float | None] = []
        for part in range(DOMAINS):
            labels, predicted = (
                torch.cat(batches).numpy() for batches in zip(*predictions[evaluation, part], strict=True)
            )
            row.append(scores.accuracy(scores.confusion_matrix(labels, predicted, CLASSES)))
        return row

    chance = np.array(accuracies(0), dtype=np.float64)
    matrix = np.array([accuracies(2 * t + 1) for t in range(DOMAINS)], dtype=np.float64)
    for t, figures in enumerate(theirs):
        so_far = matrix[: t + 1]
        cells = [figures[f"Top1_Acc_Exp/eval_phase/test_stream/Exp{part:03}"] for part in range(DOMAINS)]
        np.testing.assert_allclose(matrix[t], cells, rtol=1e-12)
        # Avalanche says 0 at T = 1, where nothing could be forgotten yet.
        transfer = scores.backward_transfer(so_far) if t else 0
        assert transfer == pytest.approx(figures["StreamBWT/eval_phase/test_stream"])
        assert transfer == pytest.approx(-figures["StreamForgetting/eval_phase/test_stream"])
    last = theirs[-1]
    # All test parts are of one size, so the mean over parts is the mean over images.
    assert scores.average_accuracy(matrix) == pytest.approx(last["Top1_Acc_Stream/eval_phase/test_stream"])
    assert scores.forward_transfer(matrix, chance) == pytest.approx(
        last["StreamForwardTransfer/eval_phase/test_stream"]
    )

    # On this stream each domain is known best when it was just learned, so first minus last is best minus last.
    assert (matrix[:-1, :-1].max(axis=0) == np.diag(matrix)[:-1]).all()
    assert scores.forgetting(matrix) == pytest.approx(last["StreamForgetting/eval_phase/test_stream"])
    assert scores.backward_transfer(matrix) != 0


@pytest.mark.filterwarnings("ignore")
def test_forgetting_is_best_minus_last_where_avalanche_takes_the_first() -> None:
    from avalanche.evaluation.metrics import Forgetting

    matrix = np.array([[0.6, 0.1, 0.1], [0.9, 0.5, 0.1], [0.4, 0.7, 0.8]])  # part 0 was best after experience 1
    theirs = Forgetting()
    for part in range(2):
        theirs.update(part, matrix[part, part], initial=True)
        theirs.update(part, matrix[-1, part])
    first_minus_last = np.mean(list(theirs.result().values()))
    assert first_minus_last == pytest.approx(((0.6 - 0.4) + (0.5 - 0.7)) / 2)
    assert scores.backward_transfer(matrix) == pytest.approx(-first_minus_last)
    assert scores.forgetting(matrix) == pytest.approx(((0.9 - 0.4) + (0.5 - 0.7)) / 2)

"""FullFineTune: everything learns, the backbone at a rate of its own if one is given."""

from pathlib import Path

import torch
from command_line import changed, fit, weights_of
from torch import nn

from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.network import Network
from lightning_vision.results.schema import read_results
from strategies import FullFineTune


def test_groups() -> None:
    facts = BackboneFacts("none", 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    network = Network(nn.Linear(2, 3), facts, 4)
    assert list(FullFineTune().parameters_to_train(network)) == list(network.parameters())
    optimizer = torch.optim.SGD(FullFineTune(backbone_lr=1e-4).parameters_to_train(network), lr=0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-4, 0.1]
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2]


def test_everything_learns(tmp_path: Path) -> None:
    run = fit(tmp_path, "full", "--model.strategy=FullFineTune", "--keep_checkpoints=all")
    base, end = weights_of(run, 0), weights_of(run)
    still = {name for name in base if name.startswith("network.")} - changed(base, end)
    assert still == {"network.seen"}
    results = read_results(run / "results.json")
    assert {e.trainable_parameters for e in results.experiences} == {results.network.total_parameters}


def test_a_backbone_rate_of_0_leaves_its_weights(tmp_path: Path) -> None:
    """Batch norm's statistics move all the same: they are not trained but measured."""
    options = ["--model.strategy=FullFineTune", "--model.strategy.backbone_lr=0", "--keep_checkpoints=all"]
    sgd = ["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=0.1"]
    run = fit(tmp_path, "slow", *options, *sgd)
    moved = changed(weights_of(run, 0), weights_of(run))
    assert {"network.head.weight", "network.head.bias"} < moved
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert all(name.startswith("network.head.") or name.endswith(statistics) for name in moved)

"""HeadOnly: the backbone stays bit-identical, batch norm's statistics included."""

from pathlib import Path

import pytest
from command_line import changed, fit, weights_of

from lightning_vision.results.schema import read_results


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With dropout in the backbone, which would move the features if the backbone were in training mode."""
    options = ["--model.strategy=HeadOnly", "--trainer.max_epochs=3", "--keep_checkpoints=all", "--model.drop_rate=0.5"]
    return fit(tmp_path_factory.mktemp("head"), "only", *options)


def test_the_head_alone_learns(run: Path) -> None:
    base = weights_of(run, 0)
    assert any("running_var" in name for name in base), "a backbone without batch norm would prove little"
    for t in (1, 2):
        assert changed(base, weights_of(run, t)) == {"network.head.weight", "network.head.bias"}


def test_trainable_parameters_are_the_heads(run: Path) -> None:
    results = read_results(run / "results.json")
    head = 96 * 4 + 4
    assert [e.trainable_parameters for e in results.experiences] == [results.network.total_parameters, head, head]

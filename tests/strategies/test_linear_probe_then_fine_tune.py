"""LinearProbeThenFineTune: the first stage is HeadOnly bit for bit, the second trains everything."""

from pathlib import Path

import pytest
import torch
from command_line import fit, weights_of
from tiny_network import tiny_batch, tiny_experience, tiny_network

from lightning_vision.errors import ConfigError
from lightning_vision.results.schema import read_results
from strategies.linear_probe_then_fine_tune import LinearProbeThenFineTune


def test_the_stages() -> None:
    network, strategy = tiny_network(), LinearProbeThenFineTune()
    assert strategy.stages(tiny_experience(1, tiny_batch([0]))) == ("probe", "fine-tune")
    strategy.stage = "probe"
    assert list(strategy.parameters_to_train(network)) == list(network.head.parameters())
    strategy.stage = "fine-tune"
    assert list(strategy.parameters_to_train(network)) == list(network.parameters())


def test_a_learning_rate_of_the_second_stage_alone() -> None:
    network, strategy = tiny_network(), LinearProbeThenFineTune(fine_tune_lr=1e-4)
    for stage, lr in (("probe", 0.1), ("fine-tune", 1e-4)):
        strategy.stage = stage
        optimizer = torch.optim.SGD(strategy.parameters_to_train(network), lr=0.1)
        assert [group["lr"] for group in optimizer.param_groups] == [lr]


@pytest.mark.parametrize("lr", [-0.1, float("nan")])
def test_an_impossible_learning_rate(lr: float) -> None:
    with pytest.raises(ConfigError, match="expected fine_tune_lr >= 0 or null, found"):
        LinearProbeThenFineTune(lr)


def test_the_first_stage_is_head_only_bit_for_bit(tmp_path: Path) -> None:
    """The second has a rate of 0 here, and a backbone without batch norm: what is left is what the first stage made."""
    options = [
        "--model.backbone=test_vit",
        "--data.stream.experiences=2",
        "--trainer.max_epochs=3",
        "--data.batch_size=8",
    ]
    two = "--model.strategy=strategies.linear_probe_then_fine_tune.LinearProbeThenFineTune"
    both = fit(tmp_path, "both", *options, two, "--model.strategy.fine_tune_lr=0", "--keep_checkpoints=all")
    base = f"--model.base_checkpoint={both / 'checkpoints' / 'experience=0000.ckpt'}"
    alone = fit(tmp_path, "alone", *options, "--model.strategy=HeadOnly", base)
    found, wanted = weights_of(both), weights_of(alone)
    assert all(torch.equal(found[name], value) for name, value in wanted.items() if name.startswith("network."))
    assert not torch.equal(found["network.head.weight"], weights_of(both, 0)["network.head.weight"])
    results = read_results(both / "results.json")
    assert [e.epochs for e in results.experiences] == [3, 6]
    assert results.experiences[1].trainable_parameters == results.network.total_parameters

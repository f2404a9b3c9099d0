"""What each part of a stage trains, and what it leaves bit for bit."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from command_line import fit, start
from lightning.pytorch import Callback, LightningModule, Trainer
from tiny_network import tiny_network
from torch import nn

from lightning_vision.errors import ConfigError
from lightning_vision.learning.backbones import build_backbone
from lightning_vision.learning.network import Network
from lightning_vision.learning.stage import Stage
from lightning_vision.recipes import GradualUnfreezing
from lightning_vision.results.schema import read_results
from strategies import FullFineTune, HeadOnly

UNFREEZING = "--trainer.callbacks=lightning_vision.recipes.GradualUnfreezing"


@pytest.fixture(scope="module")
def network() -> Network:
    module, facts = build_backbone("resnet18", pretrained=False, image_size=32)
    return Network(module, facts, 4)


def names(network: Network, groups: list[dict[str, Any]]) -> set[str]:
    """The blocks that are trained: "layer3", "conv1", "head", ..."""
    trained = {parameter for group in groups for parameter in group["params"]}
    return {
        name.split(".")[name.startswith("backbone.")]
        for name, parameter in network.named_parameters()
        if parameter in trained
    }


def test_parts_reach_further_down_one_after_the_other(network: Network) -> None:
    recipe = GradualUnfreezing(4)
    planned = recipe.stages(FullFineTune(), [Stage()], 10)
    assert [(stage.part, stage.epochs) for stage in planned] == [
        ("unfreezing 1 of 4", 2),
        ("unfreezing 2 of 4", 2),
        ("unfreezing 3 of 4", 3),
        ("unfreezing 4 of 4", 3),
    ]
    groups = [{"params": list(network.parameters())}]
    trained = [names(network, recipe.parameters_to_train(network, stage, groups)) for stage in planned]
    # Five groups: four stages and the stem. Thirds of five, rounded up: 0, 2, 4, 5.
    assert trained == [
        {"head"},
        {"head", "layer4", "layer3"},
        {"head", "layer4", "layer3", "layer2", "layer1"},
        {"head", "layer4", "layer3", "layer2", "layer1", "conv1", "bn1"},
    ]


def test_each_stage_is_cut_and_keeps_what_others_made_of_it() -> None:
    stages = [Stage("probe", epochs=4), Stage("tune", part="fix", augment=False), Stage("none", epochs=0)]
    planned = GradualUnfreezing(2).stages(FullFineTune(), stages, 7)
    assert planned == [
        Stage("probe", "unfreezing 1 of 2", 2),
        Stage("probe", "unfreezing 2 of 2", 2),
        Stage("tune", "fix, unfreezing 1 of 2", 3, augment=False),
        Stage("tune", "fix, unfreezing 2 of 2", 4, augment=False),
        stages[2],
    ]
    given = GradualUnfreezing(2, epochs=[1, 5]).stages(FullFineTune(), stages[:1], 7)
    assert [stage.epochs for stage in given] == [1, 5]
    assert GradualUnfreezing().stages(HeadOnly(), stages, 2) == stages, "a learner of the head alone is left as it is"


def test_nothing_is_trained_that_the_learner_does_not_train(network: Network) -> None:
    layer4 = list(network.backbone.get_submodule("layer4").parameters())
    asked: list[dict[str, Any]] = [{"params": layer4, "lr": 0.1}, {"params": list(network.head.parameters())}]
    recipe = GradualUnfreezing(4)
    first, *_, last = recipe.stages(FullFineTune(), [Stage()], 4)
    assert recipe.parameters_to_train(network, first, asked) == asked[1:]
    assert recipe.parameters_to_train(network, last, asked) == asked
    assert recipe.parameters_to_train(network, Stage("", "fix"), asked) is asked, "a stage of another recipe"
    with pytest.raises(
        ConfigError,
        match="part 1 of 4 has nothing to train, because the learning strategy trains neither the head nor the last 0 layer groups",
    ):
        recipe.parameters_to_train(network, first, asked[:1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"parts": 1}, "GradualUnfreezing.parts: expected at least 2, found 1"),
        ({"parts": 2, "epochs": [1, 2, 3]}, r"expected 2 numbers, at least 1 for each part, found \[1, 2, 3\]"),
        ({"parts": 2, "epochs": [0, 2]}, r"at least 1 for each part, found \[0, 2\]"),
    ],
)
def test_impossible_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        GradualUnfreezing(**options)


def test_a_backbone_without_groups_and_too_few_epochs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tiny = tiny_network()
    with pytest.raises(ConfigError, match="The layers of none cannot be grouped"):
        GradualUnfreezing(2).parameters_to_train(
            tiny, Stage("", "unfreezing 1 of 2"), [{"params": [nn.Parameter(torch.zeros(1))]}]
        )
    assert start(tmp_path, "run", UNFREEZING, "--trainer.max_epochs=3") == 2
    assert "GradualUnfreezing: 3 epoch(s) cannot be divided into 4 parts." in capsys.readouterr().err


class Witness(Callback):
    """Writes down which blocks each stage's training moved, parameters and statistics."""

    moved: ClassVar[list[set[str]]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.before = {name: value.clone() for name, value in pl_module.state_dict().items()}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        state = pl_module.state_dict()
        changed = [
            name for name in state if name.startswith("network.") and not torch.equal(state[name], self.before[name])
        ]
        self.moved.append({name.removeprefix("network.").removeprefix("backbone.").split(".")[0] for name in changed})


def test_a_run_keeps_frozen_layers_and_their_statistics_until_their_turn(tmp_path: Path) -> None:
    Witness.moved.clear()
    options = ("--trainer.callbacks.parts=3", "--trainer.max_epochs=3", "--data.stream=Joint")
    run = fit(tmp_path, "run", UNFREEZING, *options, "--trainer.callbacks+=test_gradual_unfreezing.Witness")
    first, second, third = Witness.moved
    assert first == {"head"}
    assert {"head", "layer4"} <= second and not second & {"conv1", "bn1", "layer1"}
    assert {"head", "layer4", "layer1", "conv1", "bn1"} <= third
    record = read_results(run / "results.json").experiences[0]
    assert record.epochs == 3
    assert record.trainable_parameters == read_results(run / "results.json").network.total_parameters

"""Learning rates by the distance from the head: timm's own groups, computed by hand, and in a run."""

from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import timm
from command_line import fit
from lightning.pytorch import Callback, LightningModule, Trainer
from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]
from tiny_network import tiny_network

from lightning_vision.errors import ConfigError
from lightning_vision.learning.backbones import build_backbone
from lightning_vision.learning.network import Network
from lightning_vision.learning.stage import Stage
from lightning_vision.recipes import LayerDecay
from lightning_vision.recipes.layer_groups import distances_from_head

FAMILIES = (
    "test_resnet",
    "test_vit",
    "test_efficientnet",
    "test_convnext",
    "test_byobnet",
    "test_mambaout",
    "test_nfnet",
)


def network_of(name: str, size: int = 32) -> Network:
    module, facts = build_backbone(name, pretrained=False, image_size=size)
    return Network(module, facts, 4)


def rates(network: Network, groups: list[dict[str, Any]]) -> dict[str, float]:
    """The factor of each parameter, by name."""
    factor = {parameter: group["lr_scale"] for group in groups for parameter in group["params"]}
    return {name: factor[parameter] for name, parameter in network.named_parameters() if parameter in factor}


def test_each_block_of_a_resnet_by_hand() -> None:
    network = network_of("resnet18")
    groups = LayerDecay(0.5).parameters_to_train(network, Stage(), [{"params": list(network.parameters())}])
    found = rates(network, groups)
    assert found["head.weight"] == found["head.bias"] == 1
    # Eight blocks, two in each of four stages, and the stem below them.
    expected = {f"backbone.layer{s}.{b}": 0.5 ** (10 - 2 * s - b) for s in range(1, 5) for b in (0, 1)}
    expected |= {"backbone.conv1": 0.5**9, "backbone.bn1": 0.5**9}
    for name, factor in found.items():
        if name.startswith("backbone."):
            assert factor == next(value for start, value in expected.items() if name.startswith(start)), name
    assert len(found) == len(list(network.parameters()))
    assert [group["lr_scale"] for group in groups] == [0.5**away for away in range(10)], "the head's group comes first"


@pytest.mark.parametrize("name", FAMILIES)
def test_the_factors_are_timms(name: str) -> None:
    options: dict[str, Any] = {"img_size": 32} if "vit" in name else {}
    whole: Any = timm.create_model(name, num_classes=4, **options)
    of = {
        parameter: group["lr_scale"]
        for group in param_groups_layer_decay(whole, layer_decay=0.7)
        for parameter in group["params"]
    }
    classifier = whole.pretrained_cfg["classifier"]
    expected = {key: of[parameter] for key, parameter in whole.named_parameters() if not key.startswith(classifier)}
    network = network_of(name)
    groups = LayerDecay(0.7).parameters_to_train(network, Stage(), [{"params": list(network.parameters())}])
    found = {key.removeprefix("backbone."): value for key, value in rates(network, groups).items()}
    assert found.pop("head.weight") == found.pop("head.bias") == 1
    assert found == pytest.approx(expected)
    assert len(set(found.values())) > 2


def test_groups_of_a_strategy_keep_their_options_and_nothing_is_added() -> None:
    network = network_of("test_resnet")
    stem = distances_from_head(network)
    asked: list[dict[str, Any]] = [
        {"params": list(network.backbone.get_submodule("layer4").parameters()), "lr": 0.2, "weight_decay": 0.0},
        {"params": list(network.head.parameters()), "lr_scale": 0.5},
    ]
    groups = LayerDecay(0.5).parameters_to_train(network, Stage(), asked)
    assert sum(len(group["params"]) for group in groups) == sum(len(group["params"]) for group in asked)
    assert [(g.get("lr"), g.get("weight_decay"), g["lr_scale"]) for g in groups] == [
        *[(0.2, 0.0, 0.5**away) for away in sorted({stem[p] for p in asked[0]["params"]})],
        (None, None, 0.5),
    ]
    assert "lr_scale" not in asked[0], "what the strategy returned is not changed"


def test_a_backbone_that_timm_cannot_group_is_named() -> None:
    with pytest.raises(ConfigError, match="The layers of none cannot be grouped: expected a timm backbone"):
        distances_from_head(tiny_network())


def test_resnext101_is_grouped() -> None:
    from timm.models.resnet import Bottleneck, ResNet

    # As lightning_vision.learning.backbones builds it, but narrow: 829 million parameters take a while.
    narrow = ResNet(cast(Any, Bottleneck), layers=(3, 4, 23, 3), cardinality=1, base_width=1, num_classes=0)
    network = Network(narrow, network_of("test_resnet").facts, 4)
    distances = distances_from_head(network)
    assert max(distances.values()) == 3 + 4 + 23 + 3 + 1
    assert min(distances.values()) == 1


@pytest.mark.parametrize("decay", [0.0, -0.5, 1.5])
def test_an_impossible_decay(decay: float) -> None:
    with pytest.raises(ConfigError, match=r"LayerDecay.decay: expected a number above 0 and at most 1"):
        LayerDecay(decay)


class Witness(Callback):
    """Writes down the learning rate of each group at the start of training."""

    rates: ClassVar[list[list[float]]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])


def test_a_run_has_these_rates_and_says_where_there_is_nothing_to_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Witness.rates.clear()
    fit(
        tmp_path,
        "run",
        "--trainer.callbacks=lightning_vision.recipes.LayerDecay",
        "--trainer.callbacks.decay=0.5",
        "--trainer.callbacks+=test_layer_decay.Witness",
        "--model.strategy=HeadOnly",
        "--model.base_optimizer=SGD",
        "--model.base_optimizer.lr=0.5",
        "--model.optimizer=SGD",
        "--model.optimizer.lr=0.25",
        "--data.stream.experiences=2",
    )
    base, increment = Witness.rates
    assert base == [0.5 * 0.5**away for away in range(len(base))] and len(base) > 3
    assert increment == [0.25]
    assert (
        "LayerDecay had no effect in experience 1: HeadOnly trains nothing of the backbone." in capsys.readouterr().out
    )

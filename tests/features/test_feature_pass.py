"""A pass through the backbone: the usual features, by the fastest way, and the backbone as it was."""

import json
import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_vision.features import fastest_way, feature_pass
from lightning_vision.features.fastest_way import Sample, Way
from lightning_vision.features.feature_pass import FeaturePass
from lightning_vision.learning.backbones import build_backbone
from lightning_vision.learning.network import Network

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    backbone, facts = build_backbone("test_resnet", pretrained=False, image_size=32)
    network = Network(backbone, facts, 3)
    for module in network.modules():  # running statistics that are not those of a new layer
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    return network


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(256, (37, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def make(network: Network, folder: Path, mixed: bool = False) -> FeaturePass:
    def context() -> torch.autocast | nullcontext[None]:
        return torch.autocast("cpu", torch.bfloat16) if mixed else nullcontext()

    folder.mkdir(exist_ok=True)
    return FeaturePass(network, CPU, context, folder / "feature_pass.json", channels_last=False)


@pytest.mark.parametrize("way", [Way(32, False), Way(4, True), Way(7, True), Way(64, False)])
def test_features_are_those_of_the_usual_pass(way: Way, network: Network, images: Tensor, tmp_path: Path) -> None:
    network.train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    strides = [parameter.stride() for parameter in network.parameters()]
    before, passing = network.backbone_images, make(network, tmp_path)
    passing.way = way
    with passing.in_format():
        found = passing.compute(images)
    assert network.backbone_images - before == 37
    assert all(module.training for module in network.modules()), "training mode is as it was"
    assert [parameter.stride() for parameter in network.parameters()] == strides
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    network.eval()
    with torch.no_grad():
        usual = network.backbone(network.normalise(images))
    torch.testing.assert_close(found, usual, rtol=1e-4, atol=1e-4)
    assert found.dtype == torch.float32 and found.shape == (37, network.facts.num_features)


def test_features_do_not_depend_on_how_many_come_at_once(network: Network, images: Tensor, tmp_path: Path) -> None:
    """To the last bit, or what a run finds would depend on what another has computed before it."""
    passing = make(network, tmp_path)
    passing.way = Way(8, True)
    with passing.in_format():
        whole = passing.compute(images)
        assert torch.equal(whole, torch.cat([passing.compute(images[:5]), passing.compute(images[5:])]))
        assert torch.equal(whole[[30, 3, 17]], passing.compute(images[[30, 3, 17]]))


class Clock:
    """Seconds an image of each way, in place of a measurement; every call is written down."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Way] = []
        monkeypatch.setattr(FeaturePass, "_sample", lambda _, images, way: self.sample(way))

    def sample(self, way: Way) -> Sample:
        self.asked.append(way)
        seconds = {4: 0.5, 8: 0.6}.get(way.micro_batch, 1.0) * (1.0 if way.channels_last else 1.5)
        return Sample(seconds, seconds)


def test_the_fastest_way_is_measured_once_a_machine_and_backbone(
    network: Network, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest_way, "MOST_SECONDS", 1000.0)  # no time passes, and none is expected to be left
    clock = Clock(monkeypatch)
    first = make(network, tmp_path)
    first.tune(images[:32], 2, "32-true")
    assert set(clock.asked) == {Way(8, False)} and first.way == Way(8, False), "2 s are not worth it"
    clock.asked.clear()
    first.tune(images[:32], 10_000, "32-true")
    assert first.way == Way(4, True)
    clock.asked.clear()
    first.tune(images[:32], 10_000, "32-true")
    again = make(network, tmp_path)
    again.tune(images[:32], 10_000, "32-true")
    assert again.way == Way(4, True) and not clock.asked
    again.tune(images[:32], 10_000, "bf16-mixed")
    assert clock.asked
    kept = {"micro_batch": 32, "channels_last": False, "seconds": 0.5}
    for unreadable in ("{", json.dumps({again._key: kept})):
        (tmp_path / "feature_pass.json").write_text(unreadable)
        clock.asked.clear()
        make(network, tmp_path).tune(images[:32], 10_000, "bf16-mixed")
        assert clock.asked, "what cannot be read is measured anew, and so is what an earlier version measured"


def test_a_process_waits_for_another_that_measures_the_same(
    network: Network, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    first, second = make(network, tmp_path), make(network, tmp_path)
    second.tune(images[:32], 2, "32-true")  # 2 s are not worth it: nothing is stored
    clock.asked.clear()
    first._key = second._key
    waiting = threading.Thread(target=second.tune, args=(images[:32], 10_000, "32-true"))
    with first._measuring():
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive() and not clock.asked
        first._write({"micro_batch": 16, "channels_last": True, "own_seconds": 0.25})
    waiting.join()
    assert second.way == Way(16, True) and not clock.asked


def test_rounds_that_disagree_are_not_kept(
    network: Network, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    monkeypatch.setattr(fastest_way, "MOST_SECONDS", 1000.0)

    def sample(*_: object) -> Sample:
        seconds = draw.uniform(0.1, 0.15)
        return Sample(seconds, seconds)

    monkeypatch.setattr(FeaturePass, "_sample", sample)
    agreed = []
    for number in range(10):
        make(network, tmp_path / str(number)).tune(images[:32], 10_000, "32-true")
        agreed.append((tmp_path / str(number) / "feature_pass.json").is_file())
    assert not all(agreed)


def test_a_pass_far_from_what_was_promised_is_measured_again(
    network: Network, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest_way, "MOST_SECONDS", 1000.0)
    clock = Clock(monkeypatch)
    passing = make(network, tmp_path)
    passing.tune(images[:32], 10_000, "32-true")
    kept = json.loads((tmp_path / "feature_pass.json").read_text())
    assert [entry["own_seconds"] for entry in kept.values()] == [0.5]
    with passing.in_format():
        passing.compute(images)
        passing.check_pace()
        assert json.loads((tmp_path / "feature_pass.json").read_text()) == kept, "37 images tell nothing"
        for _ in range(8):
            passing.compute(images)
    passing.check_pace()
    assert json.loads((tmp_path / "feature_pass.json").read_text()) == {}, "these images take less than 0.5 s each"
    clock.asked.clear()
    make(network, tmp_path).tune(images[:32], 10_000, "32-true")
    assert clock.asked


def test_tuning_really_measures(
    network: Network, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_pass, "WORTH_TUNING_SECONDS", 0.0)
    passing = make(network, tmp_path)
    passing.tune(images[:32], 10_000, "32-true")
    assert passing.way.micro_batch in (4, 8, 16, 32)
    assert passing._promised > 0


def test_mixed_precision_is_compared(network: Network, images: Tensor, tmp_path: Path) -> None:
    assert make(network, tmp_path).cosine_to_full_precision(images) is None
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cosine = make(network, tmp_path, mixed=True).cosine_to_full_precision(images)
    assert cosine is not None and 0.99 < cosine < 1
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items()), (
        "and nothing is learned"
    )

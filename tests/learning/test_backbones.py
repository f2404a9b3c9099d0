"""Backbones: timm by name, those that timm lacks, local weights, and what is said when one cannot be had."""

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from lightning_vision.errors import ConfigError
from lightning_vision.learning import backbones
from lightning_vision.learning.backbones import RESNEXT, build_backbone

TINY = "test_resnet"
SMALL: dict[str, Any] = {"layers": (1, 1, 1, 1), "cardinality": 4, "base_width": 4}


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without network: no connection can be made, no proxy is named, nothing was fetched before."""

    def refuse(*_: object, **__: object) -> socket.socket:
        raise OSError("Network is unreachable")

    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # read once, when it was imported
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_features_and_facts() -> None:
    model, facts = build_backbone(TINY, pretrained=False, image_size=32)
    assert facts.name == TINY and model(torch.zeros(2, 3, 32, 32)).shape == (2, facts.num_features)
    published = timm.get_pretrained_cfg(TINY)
    assert published is not None and (facts.mean, facts.std) == (published.mean, published.std)
    assert model.training, "measuring D leaves the module as it was made"


def test_the_width_of_features_is_measured() -> None:
    """timm's num_features is the width before a last hidden layer that mobilenetv3 has."""
    model, facts = build_backbone("mobilenetv3_small_050", pretrained=False, image_size=32)
    assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, facts.num_features)
    assert facts.num_features == 1024 and model.num_features == 288


@pytest.mark.parametrize(
    ("name", "width", "parameters"), [("cifar_resnet18", 512, 11_168_832), ("slim_resnet18", 160, 1_093_140)]
)
def test_the_resnets_for_cifar_keep_positions(name: str, width: int, parameters: int) -> None:
    """The counts are those of the published networks without their last layer of ten classes."""
    model, facts = build_backbone(name, pretrained=False, image_size=32)
    assert facts.num_features == width and sum(p.numel() for p in model.parameters()) == parameters
    images, positions = torch.zeros(2, 3, 32, 32), torch.nn.Sequential(*list(model.children())[:-2])
    assert positions(images).shape == (2, width, 4, 4) and model(images).shape == (2, width)


def test_a_resnet_for_cifar_takes_local_weights_and_nothing_that_it_has_not(tmp_path: Path) -> None:
    model, _ = build_backbone("slim_resnet18", pretrained=False, image_size=32)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    again, _ = build_backbone("slim_resnet18", pretrained=True, weights=tmp_path / "weights.safetensors", image_size=32)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    with pytest.raises(ConfigError, match="slim_resnet18 has no published weights"):
        build_backbone("slim_resnet18", pretrained=True, image_size=32)
    with pytest.raises(ConfigError, match=r"slim_resnet18 has no dropout: set model.drop_rate"):
        build_backbone("slim_resnet18", pretrained=False, image_size=32, drop_rate=0.1)


def test_dropout_options_arrive() -> None:
    model, _ = build_backbone(TINY, pretrained=False, image_size=32, drop_rate=0.3, drop_path_rate=0.2)
    assert model.drop_rate == 0.3
    assert any("DropPath" in type(module).__name__ for module in model.modules())


def test_a_backbone_of_fixed_size_is_built_for_the_images() -> None:
    model, facts = build_backbone("test_vit", pretrained=False, image_size=64)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, facts.num_features)


def test_an_unknown_name_lists_the_near_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"Unknown backbone 'resnet_18': expected a timm model name.*Similar names: .*resnet18"
    ):
        build_backbone("resnet_18", pretrained=False, image_size=32)
    with pytest.raises(ConfigError, match="Similar names: resnext101_32x48d"):
        build_backbone("resnext101_32x48", pretrained=False, image_size=32)


def test_images_that_are_too_small_or_odd_for_a_backbone() -> None:
    with pytest.raises(
        ConfigError, match=r"test_vit cannot take images of 33 pixels|cannot be built with these options"
    ):
        build_backbone("test_vit", pretrained=False, image_size=33)


def test_an_option_that_a_backbone_lacks_is_named() -> None:
    with pytest.raises(ConfigError, match=r"The backbone vgg11 cannot be built with these options: .*drop_path_rate"):
        build_backbone("vgg11", pretrained=False, image_size=32, drop_path_rate=0.1)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_local_weights(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    source = timm.create_model(TINY, num_classes=7)
    path = tmp_path / f"weights.{kind}"
    if kind == "safetensors":
        save_file(source.state_dict(), path)
    else:
        torch.save(source.state_dict(), path)
    model, _ = build_backbone(TINY, pretrained=False, weights=path, image_size=32)
    for name, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name


def test_weights_that_are_not_there_or_of_another_backbone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.backbone_weights names '.*none.pth', which is not a file"):
        build_backbone(TINY, pretrained=False, weights=tmp_path / "none.pth", image_size=32)
    other = tmp_path / "other.pth"
    torch.save(timm.create_model("test_efficientnet").state_dict(), other)
    with pytest.raises(
        ConfigError, match=r"The weights in .*other.pth could not be loaded into test_resnet: .*size mismatch"
    ):
        build_backbone(TINY, pretrained=False, weights=other, image_size=32)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights"])
def test_a_damaged_weight_file(ending: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RESNEXT, "small", SMALL)
    path = tmp_path / f"damaged.{ending}"
    path.write_bytes(content)
    for name in (TINY, "small"):
        with pytest.raises(
            ConfigError, match=rf"The weights in .*damaged.{ending} could not be loaded into {name}: \w+"
        ):
            build_backbone(name, pretrained=False, weights=path, image_size=32)


def test_weights_that_hold_code_are_refused(tmp_path: Path) -> None:
    path, trace = tmp_path / "code.pth", tmp_path / "it ran"

    class Code:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(trace),)

    torch.save({"conv1.weight": Code()}, path)
    with pytest.raises(ConfigError, match=r"could not be loaded into test_resnet"):
        build_backbone(TINY, pretrained=False, weights=path, image_size=32)
    assert not trace.exists()


@pytest.mark.usefixtures("no_hub")
def test_without_network_pretrained_weights_are_given_up_soon() -> None:
    """The hub's own retries take most of a minute."""
    started = time.monotonic()
    with pytest.raises(
        ConfigError, match=r"pretrained weights of resnet18.* could not be fetched .*model.backbone_weights"
    ):
        build_backbone("resnet18", pretrained=True, image_size=32)
    assert time.monotonic() - started < 10
    import huggingface_hub.constants

    assert not huggingface_hub.constants.HF_HUB_OFFLINE, "the library is left as it was"


def test_a_backbone_without_published_weights() -> None:
    with pytest.raises(
        ConfigError, match=r"timm has no pretrained weights for resnetv2_152\. Set model\.pretrained: false"
    ):
        build_backbone("resnetv2_152", pretrained=True, image_size=32)


def test_resnext_32x48d_is_the_published_architecture() -> None:
    """829 M parameters are counted on the meta device, where they take no memory."""
    with torch.device("meta"):
        model = backbones._build_resnext("resnext101_32x48d", False, None, 0.0)
    assert RESNEXT["resnext101_32x48d"]["layers"] == (3, 4, 23, 3)
    assert model.layer1[0].conv2.groups == 32 and model.layer1[0].conv2.out_channels == 32 * 48
    # arXiv 1805.00932, table 6: 829 M with the classifier of 1,000 classes.
    assert sum(p.numel() for p in model.parameters()) + 2048 * 1000 + 1000 == pytest.approx(829e6, rel=1e-3)
    assert model.num_features == 2048


def test_a_resnext_learns_from_its_local_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same code on a smaller member of the family: the full one takes 3.3 GB."""
    monkeypatch.setitem(RESNEXT, "small", SMALL)
    with pytest.raises(ConfigError, match=r"small has no weights to download.*model.backbone_weights"):
        build_backbone("small", pretrained=True, image_size=32)
    torch.manual_seed(2)
    model, facts = build_backbone("small", pretrained=False, image_size=32)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, facts.num_features) == (2, 2048)
    path = tmp_path / "wsl.pth"
    torch.save({**model.state_dict(), "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, path)
    again, _ = build_backbone("small", pretrained=True, weights=path, image_size=32)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    torch.save({"fc.bias": torch.zeros(3)}, path)
    with pytest.raises(ConfigError, match=r"The weights in .*wsl.pth could not be loaded into small: .*Missing key"):
        build_backbone("small", pretrained=False, weights=path, image_size=32)

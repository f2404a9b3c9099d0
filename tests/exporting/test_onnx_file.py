"""ONNX files of all families of backbones, read by ONNX Runtime."""

import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from loaded_run import classifier
from torch import Tensor, nn

from lightning_vision.deployed.model_file import DeployedModel
from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.exporting import onnx_file
from lightning_vision.exporting.check import check_equal, compare
from lightning_vision.exporting.classifier_module import ClassifierModule
from lightning_vision.exporting.description import Description
from lightning_vision.exporting.formats import Onnx
from lightning_vision.exporting.onnx_file import check_opset, make_onnx, write_onnx
from lightning_vision.exporting.quantize import quantize
from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.network import Network

HALF = (0.5, 0.5, 0.5)
NAMES = ["red", "green", "blue", "grey"]
# A few blocks of each family, by its constructor's options or by how many of its stages are kept: the fewer, the quicker.
FAMILIES: dict[str, dict[str, Any] | int] = {
    "resnet18": {"layers": (1, 1, 0, 0), "channels": (8, 16, 16, 16)},
    "resnext50_32x4d": {"layers": (1, 1, 0, 0), "channels": (64, 64, 64, 64)},
    "mobilenetv2_035": 3,
    "mobilenetv3_small_050": 2,
    "efficientnet_b0": 2,
    "tf_efficientnetv2_b0": 4,
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)},
    "vit_tiny_patch16_224": {"img_size": 32, "depth": 1, "embed_dim": 48},
    "swin_tiny_patch4_window7_224": {"img_size": 32, "depths": (2,), "embed_dim": 24, "num_heads": (2,)},
}
SIDE = 32


def description(module: ClassifierModule, **other: Any) -> Description:
    made = Description(
        class_names=NAMES,
        seen=[True, False, True, True],
        image_size=SIDE,
        preprocessing=[{"op": "resize", "height": SIDE, "width": SIDE}],
        mean=[0.5] * 3,
        std=[0.5] * 3,
        temperature=1.5,
        threshold=0.4,
        backbone="test_resnet",
        strategy="lightning_vision.learning.strategy.Strategy",
        num_features=module.num_features,
        linear_head=module.linear_head,
        opset=18,
        quantized=False,
    )
    return replace(made, **other)


def images(count: int, seed: int = 0) -> Any:
    """Fields of colour with noise."""
    generator = np.random.default_rng(seed)
    fields = generator.integers(0, 256, (count, 3, 2, 2)).repeat(SIDE // 2, axis=2).repeat(SIDE // 2, axis=3)
    return (0.8 * fields + 0.2 * generator.integers(0, 256, (count, 3, SIDE, SIDE))).astype(np.uint8)


def shallow(name: str) -> nn.Module:
    """A network of a family with few blocks."""
    size = FAMILIES[name]
    if isinstance(size, dict):
        built: nn.Module = timm.create_model(name, num_classes=0, **size)
        return built
    made: Any = timm.create_model(name, num_classes=0)
    made.blocks = nn.Sequential(*(stage[:1] for stage in made.blocks[:size]))
    for tail in ("conv_head", "bn2", "norm_head"):
        setattr(made, tail, nn.Identity())
    return cast(nn.Module, made)


def with_backbone(backbone: nn.Module) -> ContinualClassifier:
    """A classifier whose logits differ between images: with equal logits any export would agree."""
    model = classifier(image_size=SIDE)
    with torch.no_grad():
        features = backbone.eval()((torch.from_numpy(images(16)) / 127.5) - 1)
    model.network = Network(backbone, BackboneFacts("tried", features.shape[1], HALF, HALF), len(NAMES))
    model.network.see([0, 2, 3])
    classifying = model.network.classifier
    spread = features.std(dim=0).mean().item()
    classifying.weight.data = torch.randn(classifying.weight.shape) / spread / features.shape[1] ** 0.5
    classifying.bias.data = -features.mean(dim=0) @ classifying.weight.data.T
    return model.eval()


@pytest.fixture(scope="module")
def small() -> tuple[ContinualClassifier, ClassifierModule, Any]:
    """A classifier, what is exported of it, and its ONNX model."""
    torch.manual_seed(0)
    model = with_backbone(timm.create_model("test_resnet", num_classes=0))
    module = ClassifierModule(model)
    return model, module, make_onnx(module, SIDE, 18)


@pytest.fixture
def written(small: tuple[ContinualClassifier, ClassifierModule, Any], tmp_path: Path) -> Path:
    """A file."""
    write_onnx(small[2], description(small[1]), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gives_what_pytorch_gives(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = with_backbone(shallow(name))
    module = ClassifierModule(model)
    file = Onnx(18)
    file.write(module, description(module), tmp_path / "m.onnx")
    difference = compare(model, file.open(tmp_path / "m.onnx"), images(16))
    check_equal(difference, "m.onnx")
    assert difference.agreement == 1
    logits = DeployedModel(tmp_path / "m.onnx").predict_batch(images(16)).logits
    assert logits[:, [0, 2, 3]].std(axis=0).min() > 0.05


class TestFile:
    def test_it_is_one_file_that_says_what_it_is(
        self, written: Path, small: tuple[ContinualClassifier, ClassifierModule, Any]
    ) -> None:
        assert [path.name for path in written.parent.iterdir()] == ["m.onnx"]
        proto = onnx.load(written)
        onnx.checker.check_model(proto, full_check=True)
        assert {(item.domain, item.version) for item in proto.opset_import} == {("", 18)}
        facts = json.loads({item.key: item.value for item in proto.metadata_props}["lightning_vision"])
        stated = json.loads(description(small[1]).to_json(facts["digest"]))
        assert facts == stated
        assert facts["schema"] == 1
        assert [facts[key] for key in ("class_names", "seen", "temperature", "threshold")] == [
            NAMES, [True, False, True, True], 1.5, 0.4]  # fmt: skip
        shapes = {
            value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*proto.graph.input, *proto.graph.output)
        }
        assert shapes == {
            "image": ["batch", 3, SIDE, SIDE],
            "logits": ["batch", 4],
            "features": ["batch", 96],
            "head_weight": [4, 96],
            "head_bias": [4],
        }
        assert b".py" not in written.read_bytes()  # where it was made is nobody's business

    def test_the_digest_is_of_the_files_own_bytes(self, written: Path) -> None:
        data = written.read_bytes()
        (stated,) = re.findall(rb'"digest": "([0-9a-f]{64})"', data)
        assert hashlib.sha256(data.replace(stated, b"0" * 64)).hexdigest().encode() == stated

    def test_batches_of_any_size(self, written: Path, small: tuple[ContinualClassifier, ClassifierModule, Any]) -> None:
        session = onnxruntime.InferenceSession(str(written), providers=["CPUExecutionProvider"])
        for count in (1, 2, 13):
            image = images(count, seed=count)
            with torch.no_grad():
                expected = small[1](torch.from_numpy(image))
            for output, value in zip(session.get_outputs(), session.run(None, {"image": image}), strict=True):
                np.testing.assert_allclose(value, expected[output.name].numpy(), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("spoil", ["cut", "altered"])
    def test_a_spoilt_file_is_refused_by_its_reader(self, written: Path, spoil: str) -> None:
        data = bytearray(written.read_bytes())
        data[len(data) // 2] ^= 1
        written.write_bytes(written.read_bytes()[:-100] if spoil == "cut" else data)
        with pytest.raises(CheckpointError, match=r"m\.onnx (was altered or damaged|has no digest)"):
            DeployedModel(written)


class Odd(nn.Module):
    """An operator that ONNX lacks, after a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.bessel = nn.Conv2d(3, 8, SIDE), Bessel()

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.bessel(self.convolution(image).flatten(1))
        return features


class Bessel(nn.Module):
    """The operator."""

    def forward(self, features: Tensor) -> Tensor:
        values: Tensor = torch.special.bessel_j0(features)
        return values


class Chooser(nn.Module):
    """Does another thing for bright images."""

    def forward(self, image: Tensor) -> Tensor:
        means = image.mean(dim=(2, 3))
        return means if means.mean() > 0 else 2 * means


class TestRefusals:
    def test_an_operator_that_onnx_lacks_is_named(self) -> None:
        module = ClassifierModule(with_backbone(Odd()))
        with pytest.raises(
            ConfigError, match=r"ONNX has no operator for \S*bessel_j0, used in the module backbone\.bessel \(.*Bessel"
        ):
            make_onnx(module, SIDE, 18)

    def test_a_network_that_decides_in_python_is_named(self) -> None:
        module = ClassifierModule(with_backbone(nn.Sequential(nn.Identity(), Chooser())))
        with pytest.raises(ConfigError, match=r"cannot export this network .* in the module backbone\.1 \(Chooser\)"):
            make_onnx(module, SIDE, 18)

    def test_more_weights_than_a_file_holds(
        self, small: tuple[ContinualClassifier, ClassifierModule, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(onnx_file, "LARGEST", 1000)
        with pytest.raises(
            ConfigError, match=r"The weights take 0\.0 GB, but an ONNX file can contain at most 2\.1 GB\. Export to pt2"
        ):
            make_onnx(small[1], SIDE, 18)

    @pytest.mark.parametrize("opset", [17, 99])
    def test_an_opset_that_cannot_be_written(self, opset: int) -> None:
        with pytest.raises(ConfigError, match=rf"--opset: expected a number from 18 to \d+, found {opset}"):
            check_opset(opset)


class TestQuantize:
    def test_backbone_in_integers_and_head_in_float(
        self, small: tuple[ContinualClassifier, ClassifierModule, Any], tmp_path: Path
    ) -> None:
        model, module, proto = small
        before = proto.SerializeToString(deterministic=True)
        int8 = quantize(proto, list(images(32, seed=1)))
        assert proto.SerializeToString(deterministic=True) == before
        write_onnx(int8, description(module, quantized=True), tmp_path / "int8.onnx")
        onnx.checker.check_model(onnx.load(tmp_path / "int8.onnx"), full_check=True)
        assert (tmp_path / "int8.onnx").stat().st_size < 0.45 * len(before)
        difference = compare(model, Onnx(18).open(tmp_path / "int8.onnx"), images(64, seed=2))
        assert 0 < difference.mean_probability < 0.05
        assert difference.agreement > 0.9
        exported = DeployedModel(tmp_path / "int8.onnx").exported_head()
        np.testing.assert_array_equal(exported.weight, module.weight.numpy())

    def test_normalisation_and_prediction_are_left_alone(
        self, small: tuple[ContinualClassifier, ClassifierModule, Any]
    ) -> None:
        int8 = quantize(small[2], list(images(2)))
        (gemm,) = [node for node in int8.graph.node if node.op_type == "Gemm"]
        assert gemm.input[0] == "features" or "Quantize" not in gemm.input[0]
        counts = Counter(node.op_type for node in int8.graph.node)
        assert counts["QuantizeLinear"] > 10
        first = next(node for node in int8.graph.node if node.op_type == "QuantizeLinear")
        assert "sub" in first.input[0]  # what the normalised image is called

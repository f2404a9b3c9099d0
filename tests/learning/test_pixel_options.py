"""``model.pixel_mean`` and ``model.pixel_std``: what the network sees is what they say, in training, caches, exports and checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import QUICK, fit, start
from loaded_run import classifier, squares
from refusals import refused
from torch import Tensor

import lightning_vision as lv
from lightning_vision.deployed.model_file import DeployedModel
from lightning_vision.errors import ConfigError
from lightning_vision.exporting.classifier_module import ClassifierModule
from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.learning.pixel_options import PixelOptions
from lightning_vision.results.schema import read_results

RAW = ["--model.pixel_mean=0", "--model.pixel_std=1"]
FACTS = BackboneFacts("any", 4, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def images(count: int = 5) -> Tensor:
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


class TestValues:
    def test_each_takes_the_place_of_the_backbones(self) -> None:
        assert PixelOptions.read(None, None).over(FACTS) == FACTS
        found = PixelOptions.read(0, None).over(FACTS)
        assert (found.mean, found.std) == ((0.0, 0.0, 0.0), FACTS.std)
        found = PixelOptions.read([0.5, 0.4, 0.3], 1).over(FACTS)
        assert (found.mean, found.std) == ((0.5, 0.4, 0.3), (1.0, 1.0, 1.0))

    @pytest.mark.parametrize(
        ("mean", "std", "said"),
        [
            ([0.5, 0.5], None, "pixel_mean: expected one number, or 3 for red, green and blue"),
            ([], None, "pixel_mean: expected one number, or 3"),
            (None, [1.0, 1.0, 1.0, 1.0], "pixel_std: expected one number, or 3"),
            (None, 0, "pixel_std: expected values above 0 and at most 1, found 0"),
            (None, [0.2, 0.0, 0.2], "pixel_std: expected values above 0"),
            (None, -1.0, "pixel_std: expected values above 0"),
            (None, [58.4, 57.1, 57.4], "Divide values of 0 to 255 by 255"),
            ([123.7, 116.3, 103.5], None, "pixel_mean: expected values from 0 to 1"),
            (float("nan"), None, "pixel_mean: expected one number"),
            (None, float("inf"), "pixel_std: expected one number"),
        ],
    )
    def test_what_pixels_cannot_be_normalised_with_is_refused(self, mean: Any, std: Any, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            PixelOptions.read(mean, std)
        with pytest.raises(ConfigError, match=said):
            classifier(pixel_mean=mean, pixel_std=std)


def test_the_network_sees_pixels_from_0_to_1() -> None:
    found = classifier(pixel_mean=0, pixel_std=1).network.normalise(images())
    torch.testing.assert_close(found, images().float() / 255)


def test_values_of_a_channel() -> None:
    found = classifier(pixel_mean=[0.5, 0.25, 0.0], pixel_std=[0.5, 1.0, 0.25]).network.normalise(images())
    plain = images().float() / 255
    expected = torch.stack([(plain[:, 0] - 0.5) / 0.5, plain[:, 1] - 0.25, plain[:, 2] / 0.25], dim=1)
    torch.testing.assert_close(found, expected)


def test_an_export_applies_it() -> None:
    model, usual = classifier(pixel_mean=0, pixel_std=1), classifier()
    for each in (model, usual):
        each.network.see(range(4))
    assert all(map(torch.equal, model.network.backbone.parameters(), usual.network.backbone.parameters()))
    with torch.no_grad():
        found = ClassifierModule(model)(images())["logits"]
        torch.testing.assert_close(found, model(images()), rtol=1e-5, atol=1e-6)
        assert not torch.allclose(found, ClassifierModule(usual)(images())["logits"], atol=1e-3)


class TestRuns:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("pixels")

    @pytest.fixture(scope="class")
    def base(self, folder: Path) -> Path:
        return fit(folder, "base", *RAW, "--data.stream.experiences=1")

    def test_the_checkpoint_says_it(self, base: Path) -> None:
        identity = read_checkpoint(base / "checkpoints" / "experience=0000.ckpt")["lightning_vision"]
        assert (identity["mean"], identity["std"]) == ([0.0] * 3, [1.0] * 3)

    def test_it_is_opened_with_it_and_with_nothing_else(
        self, base: Path, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with torch.no_grad():
            model = lv.open_run(base).classifier()
        assert model.network.facts.mean == (0.0, 0.0, 0.0) and model.network.facts.std == (1.0, 1.0, 1.0)
        more = [f"--model.base_checkpoint={base}", "--model.strategy=HeadOnly"]
        assert start(folder, "next", *RAW, *more) == 0
        capsys.readouterr()
        command = ["fit", *QUICK, f"--trainer.default_root_dir={folder}", "--run_name=other", *more]
        refused(capsys, command, 1, "mean: [0.0, 0.0, 0.0] in the checkpoint, [0.5, 0.5, 0.5] here", "std: [1.0")

    def test_learning_from_the_run_keeps_it(self, base: Path) -> None:
        run = lv.open_run(base).learn(squares(stream=lv.InstanceIncremental(1, 0)), strategy="HeadOnly", name="learned")
        assert run.classifier().network.facts.mean == (0.0, 0.0, 0.0)

    def test_resuming_with_another_is_refused(
        self, base: Path, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["--data.stream.experiences=1", "--ckpt_path=last", "--model.pixel_mean=0.5", "--model.pixel_std=1"]
        command = ["fit", *QUICK, f"--trainer.default_root_dir={folder}", "--run_name=base", *words]
        refused(capsys, command, 1, "model.pixel_mean: 0.0 then, 0.5 now")

    def test_cached_features_are_of_one_normalisation(self, folder: Path, tmp_path: Path) -> None:
        """The same weights of a frozen backbone, from the same seed: the second pair finds none of the first one's features."""
        place = [f"--data.cache_dir={tmp_path}", "--data.views=0", "--model.base_strategy=HeadOnly"]
        weights = tmp_path / "backbone.pt"
        torch.save(classifier().network.backbone.state_dict(), weights)
        place += [f"--model.backbone_weights={weights}", "--model.strategy=HeadOnly"]

        def features(name: str, *more: str) -> Any:
            found = read_results(fit(folder, name, *place, *more) / "results.json").features
            assert found is not None
            return found

        first, again, other = features("usual"), features("usual-again"), features("raw", *RAW)
        assert first.computed > 0 and again.computed == 0
        assert other.computed == first.computed, "features of other pixels must not be served"

    def test_bad_values_are_refused_before_anything_is_written(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for more, words in (
            ("--model.pixel_mean=[0.5, 0.5]", ["model.pixel_mean", "3 for red, green and blue"]),
            ("--model.pixel_std=0", ["model.pixel_std", "above 0"]),
        ):
            command = ["fit", *QUICK, f"--trainer.default_root_dir={tmp_path}", "--run_name=run", more]
            refused(capsys, command, 2, *words)
        assert not list(tmp_path.iterdir())

    def test_an_exported_file_predicts_as_the_run(self, base: Path, tmp_path: Path) -> None:
        pytest.importorskip("onnx")
        run = lv.open_run(base)
        exported = run.export("onnx", output=tmp_path / "model.onnx")
        with torch.no_grad():
            expected = run.classifier()(images())
        found = DeployedModel(exported.path).predict_batch(images().numpy()).logits
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)

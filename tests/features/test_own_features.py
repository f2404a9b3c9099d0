"""A strategy that computes features in its own way is given them everywhere, and they have a table of their own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import fit, start
from tiny_network import tiny_network
from torch import Tensor
from trial_strategies import ClassMeans

from lightning_vision import Experience, Network
from lightning_vision.cli import main
from lightning_vision.errors import ConfigError
from lightning_vision.features.feature_function import FeatureFunction
from lightning_vision.learning.strategy_features import feature_width, features_for
from lightning_vision.results.schema import Features, read_results
from strategies import HeadOnly


class Repeated(ClassMeans):
    """The nearest mean of features beside a multiple of them, which is the nearest mean of the features."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def features(self, network: Network, image: Tensor) -> Tensor:
        v = network.features(image)
        return torch.cat([v, self.factor * v], dim=1)

    def before_experience(self, network: Network, experience: Experience) -> None:
        if self.sums is None:
            super().before_experience(network, experience)
            self.sums = self.sums.repeat(1, 2)

    def predict(self, network: Network, features: Tensor) -> Tensor:
        if self.sums is None:  # the chance level is measured before the first experience
            logits: Tensor = network.head(features[:, : network.facts.num_features])
            return logits
        return super().predict(network, features)


class NoVector(ClassMeans):
    """Gives a map in place of features."""

    def features(self, network: Network, image: Tensor) -> Tensor:
        return image


REPEATED = "--model.strategy=test_own_features.Repeated"
FACTOR = "--model.strategy.factor=1.5"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a base, and of class means on its features; the others use the same feature cache."""
    folder = tmp_path_factory.mktemp("own")
    cache = f"--data.cache_dir={folder / 'cache'}"
    return fit(folder, "means", "--model.strategy=trial_strategies.ClassMeans", cache, "--keep_checkpoints=all")


def from_base(base: Path, name: str, *options: str) -> tuple[Path, Features]:
    given = (
        f"--model.base_checkpoint={base / 'checkpoints' / 'experience=0000.ckpt'}",
        f"--data.cache_dir={base.parent / 'cache'}",
    )
    run = fit(base.parent, name, *given, *options)
    found = read_results(run / "results.json").features
    assert found is not None
    return run, found


@pytest.fixture(scope="module")
def run(base: Path) -> Path:
    return from_base(base, "repeated", REPEATED, FACTOR)[0]


def test_it_is_given_its_own_features_cached_and_in_a_table_of_their_own(base: Path, run: Path) -> None:
    found = read_results(run / "results.json").features
    assert found is not None and found.cached and found.computed > 0
    _, again = from_base(base, "again", REPEATED, FACTOR, "--seed_everything=3")
    assert (again.computed, again.reused) == (0, found.computed + found.reused)
    _, other = from_base(base, "other", REPEATED, "--model.strategy.factor=2")
    assert other.computed == found.computed, "another option, other features"
    _, plain = from_base(base, "plain", "--model.strategy=trial_strategies.ClassMeans")
    assert plain.computed == 0, "the table of the base's features is found as before"
    one, two = (np.load(path / "predictions.npz")["predicted"][-1] for path in (run, base.parent / "plain"))
    assert np.array_equal(one, two)


def test_images_give_what_cached_features_give(base: Path, run: Path) -> None:
    images, found = from_base(base, "images", REPEATED, FACTOR, "--data.feature_cache_gb=0")
    assert not found.cached
    one, two = (np.load(path / "predictions.npz")["confidence"] for path in (run, images))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_test_asks_the_strategy_and_what_follows_the_backbone_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", f"--ckpt_path={run}", "--trust_run"]) == 0
    capsys.readouterr()
    for command in ("export", "explain"):
        assert main([command, f"--ckpt_path={run}", "--trust_run"]) == 2
        said = " ".join("".join(capsys.readouterr()).split())
        assert "Repeated computes the features of an image in its own way, not by one pass through the backbone" in said
        assert f"and {command} follows that pass. Use test or predict" in said
        assert not (run / command).exists()
    for recipe in ("recipes.CamBlur", "explanation.panel.ExplainPanel"):
        options = (REPEATED, f"--trainer.callbacks=lightning_vision.{recipe}", "--model.base_strategy=HeadOnly")
        assert start(run.parent, recipe, *options) == 2
        assert f"{recipe.rpartition('.')[2]} follows that pass" in " ".join("".join(capsys.readouterr()).split())


def test_the_key_of_a_table_names_a_strategy_only_where_it_has_features_of_its_own() -> None:
    network = tiny_network()
    assert FeatureFunction(network, HeadOnly()).described == {} == FeatureFunction(network).described
    described = [FeatureFunction(network, Repeated(*given), 2).described for given in ((), (1.0,), (2.0,))]
    assert described[0] == described[1] != described[2]
    own = described[0]["features"]
    assert (own["class"], own["options"], len(own["code"])) == ("test_own_features.Repeated", {"factor": 1.0}, 64)


def test_the_width_is_measured_and_features_pass_unchanged() -> None:
    network = tiny_network().train()
    d, image = network.facts.num_features, torch.rand(3, 3, 2, 2)
    assert feature_width(Repeated(), network, 2) == 2 * d and network.training and network.backbone_images == 0
    assert feature_width(HeadOnly(), network, 2) == d
    assert features_for(Repeated(), network, image).shape == (3, 2 * d)
    given = torch.rand(3, 2 * d)
    assert features_for(Repeated(), network, given) is given
    with pytest.raises(
        ConfigError, match=r"NoVector.features gives a tensor of shape \(2, 3, 2, 2\) for 2 images; expected"
    ):
        feature_width(NoVector(), network, 2)

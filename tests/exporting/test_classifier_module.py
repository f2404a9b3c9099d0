"""The classifier without its framework."""

from collections.abc import Mapping

import pytest
import torch
from loaded_run import classifier
from torch import Tensor

import strategies
from lightning_vision.errors import ConfigError
from lightning_vision.exporting.classifier_module import UNSEEN, ClassifierModule
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.network import Network


def images(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


def learned(model: ContinualClassifier) -> ContinualClassifier:
    """Two of the classes, in closed form."""
    features = torch.rand(20, model.network.facts.num_features, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(20) % 2
    model.strategy.update(model.network, features, labels)
    if isinstance(model.strategy, strategies.SklearnHead):
        model.strategy.after_experience(model.network, None, [])  # type: ignore[arg-type]  # it looks at neither
    return model


@pytest.mark.parametrize("head_hidden", [0, 7])
def test_a_linear_head_is_given_out(head_hidden: int) -> None:
    model = classifier(head_hidden=head_hidden, head_dropout=0.5)
    model.network.see([0, 2, 3])
    module = ClassifierModule(model)
    assert module.linear_head
    assert module.num_features == (head_hidden or 96)
    with torch.no_grad():
        found, expected = module(images(5)), model(images(5))
    seen = [0, 2, 3]
    torch.testing.assert_close(found["logits"][:, seen], expected[:, seen], rtol=1e-5, atol=1e-6)
    assert (found["logits"][:, 1] == UNSEEN).all()
    by_hand = found["features"] @ found["head_weight"].T + found["head_bias"]
    torch.testing.assert_close(by_hand[:, seen], expected[:, seen], rtol=1e-5, atol=1e-6)


def test_another_prediction_has_no_head() -> None:
    model = learned(classifier(strategies.NearestMean()))
    model.network.see(range(4))
    module = ClassifierModule(model)
    with torch.no_grad():
        found, expected = module(images(3)), model(images(3))
    assert not module.linear_head
    assert found.keys() == {"logits", "features"}
    torch.testing.assert_close(found["logits"][:, :2], expected[:, :2])
    assert torch.isneginf(expected[:, 2:]).all()
    assert (found["logits"][:, 2:] == UNSEEN).all()  # seen by the base, and no image came since


class Two(strategies.HeadOnly):
    """Two variants, of which the second is not the head's."""

    def predict(self, network: Network, features: Tensor) -> Mapping[str, Tensor]:
        logits: Tensor = network.head(features)
        return {"as it is": logits, "doubled": 2 * logits}


@pytest.mark.parametrize(("picked", "factor", "linear"), [("", 1, True), ("as it is", 1, True), ("doubled", 2, False)])
def test_of_several_variants_it_is_the_picked_one(picked: str, factor: int, linear: bool) -> None:
    model = classifier(Two())
    model.network.see(range(4))
    model.picked_variant = picked
    module = ClassifierModule(model)
    assert module.linear_head == linear
    with torch.no_grad():
        expected = factor * model.network(model.network.normalise(images(3)))
        torch.testing.assert_close(module(images(3))["logits"], expected, rtol=1e-5, atol=1e-6)


def test_the_model_stays_as_it_is() -> None:
    model = classifier(channels_last=True)
    model.network.see(range(4))
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    requires_grad = [parameter.requires_grad for parameter in model.parameters()]
    module = ClassifierModule(model)
    module.weight.zero_()
    for parameter in module.parameters():
        parameter.data.zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == requires_grad
    assert model.network.backbone.training
    assert not any(each.training for each in module.modules())


def test_an_estimator_is_no_graph() -> None:
    model = learned(classifier(strategies.SklearnHead("sklearn.naive_bayes.GaussianNB")))
    model.network.see(range(4))
    with pytest.raises(
        ConfigError, match="The prediction of SklearnHead cannot be exported: its logits are not computed from"
    ):
        ClassifierModule(model)

"""The network: counted features, the mask of unseen classes, and a head whose rows follow their names."""

import pytest
import torch
from torch import nn

from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.network import Network, freeze, unfreeze
from lightning_vision.learning.strategy import frozen_children

FACTS = BackboneFacts("none", 12, (0.5, 0.25, 0.5), (0.5, 0.5, 0.25))


def network(classes: int = 3, head_hidden: int = 0, head_dropout: float = 0.0) -> Network:
    torch.manual_seed(1)
    return Network(nn.Flatten(), FACTS, classes, head_hidden=head_hidden, head_dropout=head_dropout)


@pytest.mark.parametrize(("hidden", "dropout", "width"), [(0, 0.0, 12), (0, 0.5, 12), (7, 0.0, 7), (7, 0.5, 7)])
def test_classifier_and_penultimate_make_the_head(hidden: int, dropout: float, width: int) -> None:
    found = network(head_hidden=hidden, head_dropout=dropout).eval()
    v = torch.randn(5, 12)
    assert found.classifier.weight.shape == (3, width)
    assert found.penultimate(v).shape == (5, width)
    assert torch.equal(found.classifier(found.penultimate(v)), found.head(v))
    image = torch.randn(5, 3, 2, 2)
    assert torch.equal(found(image), found.head(found.features(image)))


def test_a_head_that_ends_otherwise_is_named() -> None:
    found = network()
    found.head = nn.Sequential(nn.Linear(12, 3), nn.Softmax(dim=1))
    with pytest.raises(TypeError, match="The head ends in Softmax; expected a linear layer"):
        _ = found.classifier


def test_every_image_through_the_backbone_is_counted() -> None:
    found = network()
    found.features(torch.zeros(5, 3, 2, 2))
    found(torch.zeros(2, 3, 2, 2))
    assert found.backbone_images == 7


def test_images_are_normalised_once() -> None:
    found = network()
    image = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    normal = found.normalise(image)
    torch.testing.assert_close(normal[:, :, 0, 0], torch.tensor([[-1.0, -0.5, -2.0], [1.0, 1.5, 2.0]]))
    assert found.normalise(normal) is normal


def test_unseen_classes_are_never_predicted() -> None:
    found = network()
    logits = torch.tensor([[1.0, 9.0, 2.0]])
    found.see([0, 2])
    assert found.mask_unseen(logits).tolist() == [[1.0, -torch.inf, 2.0]]
    assert logits.tolist() == [[1.0, 9.0, 2.0]], "the raw logits stay"
    assert found.mask_unseen(logits.expand(4, 2, 3)).argmax(dim=-1).tolist() == [[2, 2]] * 4
    found.see([1])
    assert found.state_dict()["seen"].tolist() == [True, True, True]
    found.see([])
    assert found.seen.all()


@pytest.mark.parametrize("hidden", [0, 7])
def test_rows_follow_their_classes_when_the_head_grows(hidden: int) -> None:
    found = network(head_hidden=hidden)
    found.see([0, 1])
    weight, bias = found.classifier.weight.detach().clone(), found.classifier.bias.detach().clone()
    found.rearrange_classes([2, None, 0, 1])
    assert found.num_classes == 4 and found.classifier.out_features == 4
    for row, source in ((0, 2), (2, 0), (3, 1)):
        assert torch.equal(found.classifier.weight[row], weight[source])
        assert torch.equal(found.classifier.bias[row], bias[source])
    assert found.classifier.weight[1].abs().sum() > 0, "a new row starts as a fresh layer's, not as zeros"
    assert found.seen.tolist() == [False, False, True, True]
    assert all(p.requires_grad for p in found.head.parameters())
    assert found(torch.zeros(1, 3, 2, 2)).shape == (1, 4)


def test_freezing_is_parameters_and_running_statistics() -> None:
    block = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False), nn.Dropout())
    found = Network(nn.Sequential(block, nn.Flatten()), FACTS, 3)
    freeze(block)
    assert not any(p.requires_grad for p in block.parameters()) and not any(m.training for m in block.modules())
    found.train()
    for module in frozen_children(found):
        module.eval()
    assert not any(m.training for m in block.modules()), "a batch norm without parameters moves too"
    assert found.head.training
    unfreeze(block)
    assert not list(frozen_children(found))

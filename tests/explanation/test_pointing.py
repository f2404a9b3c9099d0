"""A trained network points at the object; one whose weights were shuffled does not."""

import pytest
import torch
from textured_objects import CHANCE, small_classifier, textured, train

from lightning_vision import ContinualClassifier
from lightning_vision.explanation.maps import class_maps, class_scores
from lightning_vision.explanation.scores import box_cover, pointing_hits, share_inside


@pytest.fixture(scope="module")
def trained() -> ContinualClassifier:
    model = small_classifier()
    train(model)
    return model


def shuffle(model: ContinualClassifier, seed: int) -> None:
    """Every weight stays, in another place of its tensor."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.network.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))


@pytest.mark.parametrize("method", ["GradCAM", "GradCAMpp", "LayerCAM"])
def test_the_pointing_game_is_won(trained: ContinualClassifier, method: str) -> None:
    images, labels, boxes = textured(120, seed=7)
    assert (class_scores(trained, images).argmax(dim=1) == labels).float().mean() > 0.95
    maps = class_maps(trained, images, labels, method)
    assert pointing_hits(maps, boxes).mean() > 0.9
    assert share_inside(maps, box_cover(boxes, 64, 64)).mean() > 2 * CHANCE


def test_shuffled_weights_point_anywhere(trained: ContinualClassifier) -> None:
    images, labels, boxes = textured(120, seed=7)
    found = []
    for seed in range(5):
        model = small_classifier()
        model.load_state_dict(trained.state_dict())
        shuffle(model, seed)
        found.append(float(pointing_hits(class_maps(model.eval(), images, labels), boxes).mean()))
    assert abs(sum(found) / len(found) - CHANCE) < 0.15, found

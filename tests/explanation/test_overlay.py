"""A map over its image."""

import torch

from lightning_vision.explanation.overlay import overlay


def test_the_higher_the_map_the_brighter_and_the_more_coloured() -> None:
    image = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    heat = torch.linspace(0, 1, 8).repeat(8, 1)
    shown = overlay(image, heat)
    assert shown.dtype == torch.uint8 and shown.shape == (3, 8, 8)
    lightness = shown.float().mean(dim=(0, 1))
    assert (lightness.diff() > 0).all()
    assert shown[:, 0, 0].float().std() < 3 < shown[:, 0, 6].float().std()


def test_a_map_without_evidence_leaves_the_dim_grey_image() -> None:
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    shown = overlay(image, torch.zeros(4, 4)).float()
    grey = (image.float() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=0)
    assert (shown - 0.75 * grey).abs().max() < 2

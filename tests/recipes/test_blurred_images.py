"""Images that are blurred under a mask, whole or in part."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from lightning_vision.images.decoding import Region
from lightning_vision.images.image_sources import InMemory, Loaded
from lightning_vision.recipes.blurred_images import BlurredImages, blur, mask_of_region


def noise(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


LEFT_HALF = torch.tensor([[255, 0], [255, 0]], dtype=torch.uint8)


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_a_narrow_blur_is_a_gaussian_filter(sigma: float) -> None:
    image = noise(40, 50)
    expected = gaussian_filter(image.double().numpy(), (0, sigma, sigma), mode="mirror", truncate=3)
    assert np.abs(blur(image, sigma).double().numpy() - expected).max() < 1.5  # rounded twice


def test_a_wide_blur_of_a_small_image_is_near_enough() -> None:
    image = noise(96, 128)
    expected = gaussian_filter(image.double().numpy(), (0, 10, 10), mode="mirror")
    assert np.abs(blur(image, 10.0).double().numpy() - expected).mean() < 2
    assert blur(noise(1, 300), 50.0).shape == (3, 1, 300)


def test_pixels_outside_the_mask_are_not_touched() -> None:
    image = noise(64, 64)
    mask = torch.zeros(32, 32, dtype=torch.uint8)
    mask[8:24, 8:24] = 255
    source = BlurredImages(Loaded(lambda row: image), np.array([3]), mask[None], 0.1)
    assert source.open(2).pixels() is image
    found = source.open(3).pixels()
    changed = (found != image).any(dim=0)
    assert changed[18:46, 18:46].float().mean() > 0.95
    changed[15:49, 15:49] = False  # half a point of the mask around its region
    assert not changed.any()
    assert found[:, 20:44, 20:44].float().std() < 0.2 * image.float().std()
    assert source.annotations(3) == Loaded(lambda row: image).annotations(3)


def test_a_region_has_the_mask_of_its_place() -> None:
    whole = mask_of_region(LEFT_HALF, (40, 80), Region(0, 0, 40, 80), (40, 80))
    # Points of the mask lie at columns 20 and 60; between them it is linear, beyond them constant.
    torch.testing.assert_close(whole[0, [0, 19, 39, 40, 60, 79]], torch.tensor([1.0, 1.0, 0.5125, 0.4875, 0.0, 0.0]))
    part = mask_of_region(LEFT_HALF, (40, 80), Region(10, 30, 20, 40), (20, 40))
    torch.testing.assert_close(part, whole[10:30, 30:70])
    reduced = mask_of_region(LEFT_HALF, (40, 80), Region(0, 0, 40, 80), (20, 40))
    torch.testing.assert_close(reduced, whole.reshape(20, 2, 40, 2).mean(dim=(1, 3)))


def test_a_crop_is_blurred_as_the_image_is() -> None:
    """Except at the border of the crop, outside of which it has no pixels."""
    image, mask = noise(80, 80), torch.full((4, 4), 255, dtype=torch.uint8)
    blurred = BlurredImages(Loaded(lambda row: image), np.array([0]), mask[None], 0.02).open(0)
    whole, part = blurred.pixels(), blurred.pixels(Region(10, 20, 40, 50))
    inner = (slice(None), slice(6, -6), slice(6, -6))
    assert (whole[:, 10:50, 20:70][inner].int() - part[inner].int()).abs().max() <= 1
    assert blurred.size == InMemory(image).size and blurred.on_grid(Region(1, 2, 3, 4), (1, 1)) == Region(1, 2, 3, 4)

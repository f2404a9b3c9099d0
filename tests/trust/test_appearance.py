"""Light, sharpness and border of images made by hand."""

import numpy as np
import pytest
import torch

from lightning_vision.trust.appearance import STATISTICS, appearance, thumbnail_border


def of(image: torch.Tensor) -> dict[str, float]:
    return dict(zip(STATISTICS, appearance(image[None])[0].tolist(), strict=True))


def test_a_plain_image() -> None:
    found = of(torch.tensor([200, 100, 50], dtype=torch.uint8)[:, None, None].expand(3, 16, 16).contiguous())
    assert found["brightness"] == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50, rel=1e-5)
    assert [found[name] for name in ("contrast", "sharpness", "border texture")] == pytest.approx([0, 0, 0], abs=1e-3)
    assert [found[f"border {name}"] for name in ("red", "green", "blue")] == pytest.approx([200, 100, 50])


def test_the_border_is_an_eighth() -> None:
    image = torch.zeros(3, 16, 24, dtype=torch.uint8)
    image[:, 2:14, 3:21] = 255
    found = of(image)
    assert found["border red"] == 0 and found["border texture"] == 0
    assert found["brightness"] == pytest.approx(255 * 12 * 18 / (16 * 24), rel=1e-5)
    image[0, 0, 0] = 160
    assert of(image)["border red"] == pytest.approx(160 / (16 * 24 - 12 * 18))


def test_contrast_and_sharpness_by_hand() -> None:
    board = torch.zeros(3, 8, 8, dtype=torch.uint8)
    board[:, ::2, 1::2] = board[:, 1::2, ::2] = 100
    found = of(board)
    assert found["contrast"] == pytest.approx(50, rel=1e-5)
    # Inside, each cell differs by 100 from its four neighbours: the Laplacian is 400 or -400.
    assert found["sharpness"] == pytest.approx(400, rel=1e-5)


def test_a_blurred_image_is_less_sharp() -> None:
    noise = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(noise.float(), 3, 1, 1).to(torch.uint8)
    sharp, soft = appearance(torch.cat([noise, blurred]))[:, STATISTICS.index("sharpness")]
    assert soft < sharp / 2


def test_in_batches_as_one_by_one() -> None:
    images = torch.randint(256, (5, 3, 20, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    one_by_one = torch.cat([appearance(image[None]) for image in images])
    assert torch.allclose(appearance(images), one_by_one)


def test_the_border_of_a_thumbnail() -> None:
    thumbnail = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    thumbnail[1, 1:-1, 1:-1] = 255
    thumbnail[1, 0, 0] = 7
    found = thumbnail_border(thumbnail)
    assert found.shape == (2, 28 * 3)
    assert found[0].sum() == 0 and found[1].sum() == 21

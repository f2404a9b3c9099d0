"""No more of an image is decoded than the first transform keeps, and the result is as if it were."""

from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from lightning_vision.errors import DataError
from lightning_vision.images import decoding
from lightning_vision.images.apply_transform import transform_annotated, transform_image
from lightning_vision.images.decoding import Region, decode
from lightning_vision.images.image_sources import Annotations, FileImage, InMemory

MEAN_DIFFERENCE = 3.0
"""Of 255 grey levels."""


PHOTOGRAPHS = Path(sklearn.datasets.__file__).parent / "images"
"""Two real ones, 640 x 427, come with scikit-learn."""


def saved(path: Path, name: str, orientation: int) -> Path:
    """A photograph of 635 x 422 pixels, which no reduced scale divides, stored as a camera that was turned does."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(PHOTOGRAPHS / f"{name}.jpg") as opened:
        opened.crop((3, 2, 638, 424)).save(path, quality=95, exif=exif)
    return path


@pytest.fixture
def photographs(tmp_path: Path) -> dict[str, Path]:
    return {"small": saved(tmp_path / "x.jpg", "china", 1), "sideways": saved(tmp_path / "y.jpg", "flower", 6)}


@pytest.fixture
def scales(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """By how much each image was reduced when it was decoded."""
    found: list[int] = []
    decode_jpeg = decoding._decode_jpeg

    def watched(header: decoding.Header, scale: int) -> object:
        found.append(scale)
        return decode_jpeg(header, scale)

    monkeypatch.setattr(decoding, "_decode_jpeg", watched)
    return found


class TestReducedDecoding:
    @pytest.mark.parametrize("name", ["china", "flower"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_random_crops_are_as_from_the_full_image(
        self, name: str, orientation: int, tmp_path: Path, scales: list[int]
    ) -> None:
        path = saved(tmp_path / "x.jpg", name, orientation)
        whole = decode(path)
        used: set[int] = set()
        for seed in range(36):
            size = (36, 64, 96)[seed % 3]
            crop = v2.RandomResizedCrop(size, antialias=True)
            image = FileImage(path)
            scales.clear()
            torch.manual_seed(seed)
            ours = transform_image(v2.Compose([crop, v2.RandomHorizontalFlip(0.0)]), image)
            next_ours = float(torch.rand(1))
            torch.manual_seed(seed)
            drawn = crop.make_params([whole])
            torch.rand(1)  # the flip's
            assert next_ours == float(torch.rand(1)), "the random numbers drawn are the same"
            region = Region(drawn["top"], drawn["left"], drawn["height"], drawn["width"])
            moved = image.on_grid(region, (size, size))
            assert max(abs(a - b) for a, b in zip(region, moved, strict=True)) <= scales[0]
            assert scales[0] > 1 or moved == region
            part = whole[:, moved.top : moved.top + moved.height, moved.left : moved.left + moved.width]
            theirs = v2.functional.resize(part, [size, size], antialias=True)
            assert (ours.float() - theirs.float()).abs().mean() < MEAN_DIFFERENCE
            used |= set(scales)
        assert used == {1, 2, 4, 8}

    @pytest.mark.parametrize("name", ["china", "flower"])
    @pytest.mark.parametrize("size", [32, 44, 53, 64, 88, 90, 128, 177, 213, 300])
    def test_evaluation(self, name: str, size: int, tmp_path: Path, scales: list[int]) -> None:
        path = saved(tmp_path / "x.jpg", name, 1)
        transform = v2.Compose([v2.Resize(size, antialias=True), v2.CenterCrop(size - 8)])
        ours = transform_image(transform, FileImage(path))
        assert scales[0] in [scale for scale in (1, 2, 4, 8) if scale * 1.35 * size <= 422 or scale == 1]
        assert scales[0] > 1 or size > 422 / 2.7
        assert (ours.float() - transform(decode(path)).float()).abs().mean() < MEAN_DIFFERENCE

    @pytest.mark.parametrize("box", [(100, 60, 500, 380), (101, 63, 499, 381), (300, 200, 400, 300)])
    def test_a_box_within_the_image(self, box: tuple[int, ...], scales: list[int]) -> None:
        path = PHOTOGRAPHS / "china.jpg"
        transform = v2.Compose([v2.Resize([64, 64], antialias=True)])
        ours = transform_image(transform, FileImage(path, np.array(box, dtype=np.float32)))
        assert scales == [{400: 2, 398: 2, 100: 1}[box[2] - box[0]]]
        theirs = transform(decode(path)[:, box[1] : box[3], box[0] : box[2]])
        assert (ours.float() - theirs.float()).abs().mean() < MEAN_DIFFERENCE

    @pytest.mark.parametrize("size", [[120, 90], [77], 77])
    def test_the_sizes_are_torchvisions(self, size: list[int] | int, photographs: dict[str, Path]) -> None:
        for path in photographs.values():
            transform = v2.Compose([v2.Resize(size, antialias=True)])
            assert transform_image(transform, FileImage(path)).shape == transform(decode(path)).shape

    def test_other_transforms_see_the_whole_image(self, photographs: dict[str, Path], scales: list[int]) -> None:
        transform = v2.Compose([v2.Grayscale(3), v2.Resize([8, 8], antialias=True)])
        expected = transform(decode(photographs["small"]))
        assert torch.equal(transform_image(transform, FileImage(photographs["small"])), expected)
        assert set(scales) == {1}

    def test_resize_with_rarer_options(self, photographs: dict[str, Path]) -> None:
        transform = v2.Compose([v2.Resize(100, max_size=110, antialias=True)])
        expected = transform(decode(photographs["small"]))
        assert torch.equal(transform_image(transform, FileImage(photographs["small"])), expected)

    def test_images_in_memory(self) -> None:
        pixels = torch.randint(0, 256, (3, 60, 80), dtype=torch.uint8)
        transform = v2.Compose([v2.RandomResizedCrop(20, antialias=True)])
        torch.manual_seed(3)
        made = transform_image(transform, InMemory(pixels))
        torch.manual_seed(3)
        assert torch.equal(made, transform(pixels))


class TestAnnotations:
    """A bright rectangle, its box and its map stay together."""

    def image(self) -> tuple[Tensor, Annotations]:
        pixels = torch.zeros(3, 60, 100, dtype=torch.uint8)
        pixels[:, 10:30, 20:60] = 255
        return pixels, Annotations(np.array([20, 10, 60, 30], dtype=np.float32), pixels[:1].clone())

    @pytest.mark.parametrize(
        "steps",
        [
            [v2.RandomHorizontalFlip(1.0)],
            [v2.RandomVerticalFlip(1.0), v2.Resize([120, 100], antialias=True)],
            [v2.CenterCrop([50, 90])],
            [v2.RandomRotation((90, 90), expand=True)],
        ],
    )
    def test_they_move_alike(self, steps: list[torch.nn.Module]) -> None:
        item = transform_annotated(v2.Compose(steps), *self.image())
        bright = (item["image"][0] > 127).nonzero()
        x1, y1, x2, y2 = (round(float(corner)) for corner in item["box_xyxy"])
        (top, left), (bottom, right) = bright.min(dim=0).values.tolist(), (bright.max(dim=0).values + 1).tolist()
        assert [x1, y1, x2, y2] == pytest.approx([left, top, right, bottom], abs=1)
        assert ((item["saliency"][0] > 127) != (item["image"][0] > 127)).float().mean() < 0.02
        assert type(item["image"]) is Tensor and type(item["box_xyxy"]) is Tensor and type(item["saliency"]) is Tensor

    def test_what_is_cropped_away_or_was_never_there(self) -> None:
        pixels, known = self.image()
        away = transform_annotated(v2.Compose([v2.RandomCrop((60, 30)), v2.Pad(0)]), pixels, Annotations())
        assert away["box_xyxy"].isnan().all() and not away["saliency"].any()
        torch.manual_seed(0)
        boxes = [transform_annotated(v2.RandomCrop((20, 20)), pixels, known)["box_xyxy"] for _ in range(40)]
        assert any(box.isnan().all() for box in boxes) and any(not box.isnan().any() for box in boxes)

    def test_a_map_of_another_size(self) -> None:
        pixels, known = self.image()
        wrong = known._replace(saliency=torch.zeros(1, 60, 50, dtype=torch.uint8))
        with pytest.raises(DataError, match="A saliency map of 50 x 60 pixels does not match its image of 100 x 60"):
            transform_annotated(v2.Identity(), pixels, wrong)

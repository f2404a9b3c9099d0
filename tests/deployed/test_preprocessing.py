"""Pillow alone gives an exported classifier the images that torchvision gave it in training."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from broken_images import write_cut_short, write_turned
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms import v2

from lightning_vision.deployed.preprocessing import Preprocessing, read_preprocessing
from lightning_vision.errors import CheckpointError, DataError
from lightning_vision.images.apply_transform import transform_image
from lightning_vision.images.decoding import decode
from lightning_vision.images.image_sources import FileImage

# Where it has AVX2, torch resizes bytes in whole numbers, as Pillow does; elsewhere in float, and rounds at the end.
MOST, MEAN = (1, 0.02) if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") else (5, 0.25)
"""Grey levels of 255."""
BICUBIC = v2.InterpolationMode.BICUBIC
Step = dict[str, Any]
SHORTER_64: Step = {"op": "resize_shorter", "size": 64}
SHORTER_63: Step = {"op": "resize_shorter", "size": 63}
PAIR: Step = {"op": "resize", "height": 48, "width": 48}
CROP_48: Step = {"op": "center_crop", "size": 48}


def preprocessing(*steps: Step, size: int = 48, **other: Any) -> Preprocessing:
    facts = {"preprocessing": list(steps), "interpolation": "bilinear", "antialias": True, "image_size": size}
    return read_preprocessing(facts | other)


def torchvision_of(*steps: Step, **options: Any) -> v2.Compose:
    made = {
        "resize_shorter": lambda step: v2.Resize(step["size"], antialias=True, **options),
        "resize": lambda step: v2.Resize([step["height"], step["width"]], antialias=True, **options),
        "center_crop": lambda step: v2.CenterCrop(step["size"]),
    }
    return v2.Compose([made[step["op"]](step) for step in steps])


def differences(ours: npt.NDArray[np.uint8], theirs: torch.Tensor) -> npt.NDArray[np.int64]:
    assert ours.shape == theirs.shape and ours.dtype == np.uint8
    return np.asarray(np.abs(ours.astype(np.int64) - theirs.numpy()))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """scikit-learn's two, 640 x 427, whole and in parts whose sides are odd, and one upright."""
    folder = tmp_path_factory.mktemp("photographs")
    china, flower = (Image.fromarray(pixels) for pixels in load_sample_images().images)
    parts = {
        "china": china,
        "flower": flower,
        "odd": china.crop((100, 50, 331, 249)),
        "upright": flower.crop((200, 0, 401, 427)),
        "panorama": china.crop((0, 200, 640, 277)),
        "small": flower.crop((300, 200, 340, 231)),
        "narrow": flower.crop((300, 100, 337, 180)),
    }
    for name, part in parts.items():
        part.save(folder / f"{name}.png")
    return sorted(folder.glob("*.png"))


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        ((SHORTER_64, CROP_48), {}),
        ((SHORTER_63, CROP_48), {}),
        ((PAIR,), {}),
        ((CROP_48,), {}),
        ((CROP_48, PAIR), {}),
        ((SHORTER_64, CROP_48), {"interpolation": BICUBIC}),
    ],
    ids=["shorter-crop", "odd-crop", "pair", "crop", "crop-pair", "bicubic"],
)
def test_pixels_are_torchvisions_within_rounding(
    photographs: list[Path], steps: tuple[Step, ...], options: dict[str, Any]
) -> None:
    ours = preprocessing(*steps, interpolation="bicubic" if options else "bilinear")
    theirs = torchvision_of(*steps, **options)
    found = [differences(ours(path), theirs(decode(path))) for path in photographs]
    assert max(one.max() for one in found) <= MOST
    assert np.mean([one.mean() for one in found]) < MEAN


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize(("width", "height"), [(640, 424), (632, 427), (1600, 1066), (947, 1433)])
def test_large_jpegs_are_read_at_the_scale_of_training(
    tmp_path: Path, width: int, height: int, orientation: int
) -> None:
    """A half, a quarter or an eighth of the size, where the sides allow it, whichever way the camera was held.

    The last is resized to 96 x 64 by its own sides, and would be to 97 x 64 by those of its eighth.
    """
    exif = Image.Exif()
    exif[0x0112] = orientation
    photograph = Image.fromarray(load_sample_images().images[0]).resize((width, height))
    photograph.save(tmp_path / "large.jpg", quality=90, exif=exif)
    steps = (SHORTER_64, CROP_48)
    trained_on = transform_image(torchvision_of(*steps), FileImage(tmp_path / "large.jpg"))
    found = differences(preprocessing(*steps)(tmp_path / "large.jpg"), trained_on)
    assert found.max() <= MOST and found.mean() < MEAN


def test_every_mode_and_orientation_is_read_as_in_training(tmp_path: Path) -> None:
    pixels = load_sample_images().images[1][100:180, 200:300]
    photograph = Image.fromarray(pixels)
    photograph.convert("L").save(tmp_path / "grey.png")
    photograph.quantize(16).save(tmp_path / "palette.png")
    photograph.convert("CMYK").save(tmp_path / "cmyk.jpg")
    photograph.convert("RGBA").rotate(30).save(tmp_path / "transparent.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) << 8).save(tmp_path / "deep.png")
    photograph.convert("L").save(tmp_path / "grey.jpg")
    write_turned(tmp_path / "turned.jpg")
    ours, theirs = preprocessing(SHORTER_64, CROP_48), torchvision_of(SHORTER_64, CROP_48)
    for path in tmp_path.iterdir():
        assert differences(ours(path), theirs(decode(path))).max() <= MOST, path.name


def test_a_file_an_array_and_pillows_image_are_the_same(photographs: list[Path]) -> None:
    prepare = preprocessing(SHORTER_64, CROP_48)
    opened = Image.open(photographs[0])
    from_file = prepare(photographs[0])
    assert (from_file == prepare(opened)).all() and (from_file == prepare(np.asarray(opened))).all()
    assert (from_file == prepare(str(photographs[0]))).all()


def test_refused(tmp_path: Path) -> None:
    write_cut_short(tmp_path / "half.jpg")
    prepare = preprocessing(PAIR)
    with pytest.raises(DataError, match=r"half\.jpg cannot be decoded .*truncated"):
        prepare(tmp_path / "half.jpg")
    with pytest.raises(DataError, match=r"gone\.jpg does not exist any more"):
        prepare(tmp_path / "gone.jpg")
    with pytest.raises(ValueError, match=r"Expected an image as uint8 \(height, width, 3\), found float32 \(4, 4, 3\)"):
        prepare(np.zeros((4, 4, 3), dtype=np.float32))
    Image.new("RGB", (4, 5)).save(tmp_path / "small.png")
    with pytest.raises(DataError, match=r"small\.png comes out .* with 4 x 5 pixels, and the network takes 48 x 48"):
        preprocessing()(tmp_path / "small.png")
    with pytest.raises(CheckpointError, match=r"resizes by 'nearest' with antialias True.*bilinear or bicubic"):
        preprocessing(PAIR, interpolation="nearest")
    with pytest.raises(CheckpointError, match="with antialias False"):
        preprocessing(PAIR, antialias=False)
    for wrong in ({"op": "pad", "size": 3}, {"op": "resize", "size": 3}, {"op": "center_crop", "size": 0}):
        with pytest.raises(CheckpointError, match=r"has the step .*resize \(height, width\)"):
            preprocessing(wrong)

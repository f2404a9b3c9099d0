"""CIFAR-10 as a folder of images that ``datamodules.ImageFolder`` reads, from any of the forms in which people have it."""

import shutil
import tarfile
from pathlib import Path

from PIL import Image
from torchvision.datasets import CIFAR10

SPLITS = ("train", "test")


def image_folder(source: Path, folder: Path, train: int | None = None, test: int | None = None) -> Path:
    """The root of ``{train,test}/<class>/<images>``, written once.

    Args:
        source: cifar-10-batches-py or the folder that it is in, or ``{train,test}/<class>/<images>``; or a tar of either.
        folder: Where images are written.
        train: So many training images of each class, the first ones; None: all.
        test: The same for test images.

    Raises:
        SystemExit: The source is neither.
    """
    root = folder / f"images-{train or 'all'}-{test or 'all'}"
    if root.is_dir():
        return root
    found = _unpacked(source, folder) if source.is_file() else source
    partial = root.with_name(f"{root.name}.partial")  # what was broken off is no root
    shutil.rmtree(partial, ignore_errors=True)
    limits = dict(zip(SPLITS, (train, test), strict=True))
    if batches := next(found.rglob("data_batch_1"), None):
        _write_batches(batches.parent, partial, limits)
    elif images := next((train.parent for train in found.rglob("train") if (train.parent / "test").is_dir()), None):
        _copy_images(images, partial, limits)
    else:
        raise SystemExit(
            f"--cifar10 {source}: expected cifar-10-batches-py, or folders train/<class> and test/<class>, or a tar of either. "
            "CIFAR-10 can be had from https://www.cs.toronto.edu/~kriz/cifar.html (the python version)."
        )
    partial.rename(root)
    return root


def _unpacked(archive: Path, folder: Path) -> Path:
    target = folder / "unpacked"
    if not target.is_dir():
        partial = folder / "unpacked.partial"
        shutil.rmtree(partial, ignore_errors=True)
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
        partial.rename(target)
    return target


def _write_batches(batches: Path, root: Path, limits: dict[str, int | None]) -> None:
    """As PNG, pixel by pixel. The batches are pickles: torchvision opens only what has the published checksums."""
    for split, limit in limits.items():
        data = CIFAR10(str(batches.parent), train=split == "train")
        counts = dict.fromkeys(data.classes, 0)
        for pixels, label in zip(data.data, data.targets, strict=True):
            name = data.classes[label]
            if limit is None or counts[name] < limit:
                file = root / split / name / f"{counts[name]:04d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
                counts[name] += 1


def _copy_images(source: Path, root: Path, limits: dict[str, int | None]) -> None:
    for split, limit in limits.items():
        for name in sorted(path.name for path in (source / split).iterdir() if path.is_dir()):
            (root / split / name).mkdir(parents=True)
            for file in sorted((source / split / name).iterdir())[:limit]:
                shutil.copyfile(file, root / split / name / file.name)

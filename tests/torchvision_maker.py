"""Writes small datasets in the layouts that torchvision reads."""

import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torchvision
from PIL import Image
from scipy.io import savemat

PETS = ("Abyssinian", "Basset Hound")


def drawn(label: int, number: int, side: int = 12) -> npt.NDArray[np.uint8]:
    """An image of its own, (side, side, 3), with the colour of its class."""
    generator = np.random.default_rng((label, number))
    colour = np.array([(40 * label) % 256, (97 * label + 30) % 256, 200 - (15 * label) % 200])
    return (colour + generator.integers(0, 30, (side, side, 3))).clip(0, 255).astype(np.uint8)


def write_mnist(root: Path, train: int = 30, test: int = 10) -> Path:
    """Images of 10 classes in the idx format of MNIST, labels in turn."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, count, start in (("train", train, 0), ("t10k", test, 1000)):
        labels = np.arange(count, dtype=np.uint8) % 10
        pixels = np.stack([drawn(int(label), start + row, 28)[..., 1] for row, label in enumerate(labels)])
        head = struct.pack(">IIII", 2051, count, 28, 28)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
    return root


def write_pets(root: Path, train: int = 6, test: int = 3) -> Path:
    """Image files of two breeds, with the lists of Oxford-IIIT Pet."""
    images, lists = root / "oxford-iiit-pet" / "images", root / "oxford-iiit-pet" / "annotations"
    images.mkdir(parents=True)
    lists.mkdir()
    for name, count, start in (("trainval", train, 1), ("test", test, 100)):
        lines = []
        for label, breed in enumerate(PETS):
            for number in range(start, start + count):
                stem = f"{breed.replace(' ', '_')}_{number}"
                Image.fromarray(drawn(label, number, 40)).save(images / f"{stem}.jpg", quality=95)
                lines.append(f"{stem} {label + 1} 1 1\n")
        (lists / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    return root


def write_eurosat(root: Path) -> Path:
    """Image files in a folder for each of two classes, as EuroSAT is."""
    for label, name in enumerate(("Forest", "River")):
        folder = root / "eurosat" / "2750" / name
        folder.mkdir(parents=True)
        for number in range(6):
            Image.fromarray(drawn(label + 4, number, 40)).save(folder / f"{name}_{number}.jpg")
    return root


def write_svhn(root: Path, patch: pytest.MonkeyPatch) -> Path:
    """Images of the classes 1 to 10, where 10 is the digit 0, with checksums that torchvision expects."""
    root.mkdir(parents=True)
    expected = {}
    for split, count in (("train", 20), ("test", 10)):
        labels = np.arange(count) % 10 + 1
        pixels = np.stack([drawn(int(label), row, 32) for row, label in enumerate(labels)], axis=-1)
        path = root / f"{split}_32x32.mat"
        savemat(path, {"X": pixels, "y": labels[:, None].astype(np.uint8)})
        expected[split] = ["nowhere", path.name, checksum(path)]
    patch.setattr(torchvision.datasets.SVHN, "split_list", expected)
    return root


def write_cifar100(root: Path, patch: pytest.MonkeyPatch, train: int = 3, test: int = 1) -> Path:
    """Images of 100 classes in the pickled files of CIFAR-100, with checksums that torchvision expects."""
    made = torchvision.datasets.CIFAR100
    folder = root / made.base_folder
    folder.mkdir(parents=True)
    for name, count, start in (("train", train, 0), ("test", test, 1000)):
        labels = [label for label in range(100) for _ in range(count)]
        pixels = [drawn(label, start + row, 32).transpose(2, 0, 1).ravel() for row, label in enumerate(labels)]
        (folder / name).write_bytes(pickle.dumps({"data": np.stack(pixels), "fine_labels": labels}))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": CIFAR100}))
    patch.setattr(made, "train_list", [["train", checksum(folder / "train")]])
    patch.setattr(made, "test_list", [["test", checksum(folder / "test")]])
    patch.setattr(made, "meta", {**made.meta, "md5": checksum(folder / "meta")})
    return root


def checksum(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


CIFAR100 = """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest
fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse
mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon
ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table
tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm""".split()  # noqa: SIM905 (a hundred quoted words are hard to read)

"""Small trees in the layouts of the benchmarks of continual learning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from label_maker import draw

SYNSETS = {"n01443537": "goldfish", "n01484850": "great white shark", "n02012849": "crane", "n03126707": "crane"}
"""Two of them have one name, as in ImageNet."""
README = """The ImageNet-R dataset contains renditions of ImageNet classes.

@article{hendrycks2020many,
  title={The Many Faces of Robustness},
}

There are 200 classes we consider. The WordNet ID and a description of each class is as follows.

"""
RENDITIONS = ("art", "cartoon", "misc", "sketch", "tattoo")
PUBLISHED_PREFIX = "data/imagenet-r/"
"""Before the names in the published lists of ImageNet-R."""


def write_imagenet_r(root: Path, synsets: Sequence[str] = tuple(SYNSETS), readme: bool = True) -> Path:
    """ImageNet-R, and in another form ImageNet-A: a folder a class, README.txt, no split; 10 images a class."""
    for kind, synset in enumerate(synsets):
        for number in range(10):
            draw(root / synset / f"{RENDITIONS[number % 5]}_{number // 5}.jpg", kind, number)
    if readme:
        lines = [f"{synset} {name}" for synset, name in SYNSETS.items()]
        (root / "README.txt").write_text(README + "\n".join(lines) + "\n\n", encoding="utf-8")
    return root


def published_test_names(synsets: Sequence[str] = tuple(SYNSETS)) -> list[str]:
    """A fifth of these images, as the published lists name them."""
    return [f"{PUBLISHED_PREFIX}{synset}/{name}_0.jpg" for synset in synsets for name in ("art", "tattoo")]


def write_published_list(file: Path, names: Sequence[str]) -> Path:
    """The form of the published lists: YAML with names and class numbers."""
    lines = ["data:", *(f"- {name}" for name in names), "targets:", *("- 0" for _ in names)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def write_split_imagenet(root: Path) -> Path:
    """ImageNet-R or -A as toolboxes hand it out: train/ and test/, each with a folder a class."""
    for part, first, count in (("train", 0, 8), ("test", 8, 2)):
        for kind, synset in enumerate(SYNSETS):
            for number in range(first, first + count):
                draw(root / part / synset / f"misc_{number}.jpg", kind, number)
    return root


def write_core50(
    root: Path, sessions: Sequence[int] = (1, 2, 3, 4, 7), objects: Sequence[int] = (1, 2, 6), frames: int = 3
) -> Path:
    """CORe50: core50_128x128/s1/o1/C_01_01_000.png, and beside it files that are not read."""
    for session in sessions:
        for thing in objects:
            folder = root / "core50_128x128" / f"s{session}" / f"o{thing}"
            for frame in range(frames):
                name = f"C_{session:02d}_{thing:02d}_{frame:03d}.png"
                draw(folder / name, thing, 100 * session + 10 * thing + frame)
    for name in ("paths.pkl", "labels.pkl", "LUP.pkl"):
        (root / name).write_bytes(b"cos\nsystem\n")  # a pickle that would run a command
    return root


def write_filelists(
    root: Path, run: str = "batches_filelists/NI_inc/run0", sessions: Sequence[int] = (4, 1, 2)
) -> Path:
    """The lists of a run with a batch a session; the test set is sessions 3 and 7."""
    folder = root / run
    folder.mkdir(parents=True)
    images = root / "core50_128x128"

    def write(name: str, chosen: Sequence[int]) -> None:
        files = [file for session in chosen for file in sorted((images / f"s{session}").rglob("*.png"))]
        text = "".join(f"{file.relative_to(images).as_posix()} 0\n" for file in files)
        (folder / name).write_text(text, encoding="utf-8")

    for batch, session in enumerate(sessions):
        write(f"train_batch_{batch:02d}_filelist.txt", [session])
    write("test_filelist.txt", [3, 7])
    return folder


DOMAIN_NET_CLASSES = ("aircraft_carrier", "t-shirt", "umbrella")
CLASS_NUMBERS = {"aircraft_carrier": 0, "t-shirt": 327, "umbrella": 328}


def write_domain_net(
    root: Path, domains: Sequence[str] = ("clipart", "real", "sketch"), lists: str = "", spare: int = 1
) -> Path:
    """DomainNet: clipart/<class>/clipart_001_000001.jpg and clipart_train.txt; ``spare`` images are in no list, as in the cleaned ones."""
    for place, domain in enumerate(domains):
        names: dict[str, list[str]] = {"train": [], "test": []}
        for kind, name in enumerate(DOMAIN_NET_CLASSES):
            for number in range(6 + spare):
                path = f"{domain}/{name}/{domain}_{kind + 1:03d}_{number + 1:06d}.jpg"
                draw(root / path, kind, 100 * place + 10 * kind + number)
                if number < 6:
                    names["train" if number < 4 else "test"].append(f"{path} {CLASS_NUMBERS[name]}")
        for part, lines in names.items():
            file = root / lists / f"{domain}_{part}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def write_all(folder: Path) -> None:
    """The folders that docs/data_benchmarks.md speaks of."""
    write_imagenet_r(folder / "imagenet-r")
    write_published_list(folder / "imagenet-r_test.yaml", published_test_names())
    write_split_imagenet(folder / "imagenet-a")
    write_core50(folder / "core50")
    write_filelists(folder / "core50")
    write_domain_net(folder / "domainnet")

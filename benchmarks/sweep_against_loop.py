"""Move-to-Data with several epsilons: one pass of the program against a run by hand for each.

    python -m benchmarks.sweep_against_loop

By hand is the method as it is usually written: for each epsilon every image alone through the backbone (float32,
contiguous), and the classifier's row moved; then the test set in batches of 32, once. Ours is the whole of ``fit`` with an
empty feature cache, tested after each of two experiences, without the inspection of the data, which all strategies share.
Both decode with the same code, start from the same base and see the images in the same order, so that heads and test
accuracies must be equal up to rounding.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measuring import (
    fit,
    in_turn,
    machine,
    make_images,
    network_of,
    photo_options,
    ratios,
    spread,
    start,
    table,
    timed,
    train_base,
)
from datamodules import ImageFolder
from lightning_vision.data.batch_order import Draw
from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.learning.checkpoints import find_checkpoint, read_checkpoint
from lightning_vision.learning.network import Network

EXPERIENCES = 2
Learned = tuple[float, Tensor]
"""The accuracy on the test set, and the head's weight (C, D) float64."""


def by_hand(network: Network, data: ImageFolder, epsilon: float) -> Learned:
    """Learn all experiences with one epsilon."""
    images = data.image_dataset()

    def prepared(row: int) -> Tensor:
        image: Tensor = images[Draw(row, 0, -1, valid=True, memory=False)]["image"]
        return (image / 255 - network.mean) / network.std

    labels = torch.tensor(data.samples["label"].to_numpy())
    weight = network.classifier.weight.double()
    for experience in data.stream:
        for row in experience.indices.tolist():
            v, j = network.backbone(prepared(row)[None])[0].double(), labels[row]
            weight[j] += epsilon * (weight[j].norm() * v / v.norm() - weight[j])
    network.classifier.weight.copy_(weight)
    correct, rows = 0, torch.as_tensor(data.rows_to_evaluate("test"))
    for begin in range(0, len(rows), 32):
        part = rows[begin : begin + 32]
        logits = network.head(network.backbone(torch.stack([prepared(row) for row in part.tolist()])))
        correct += int((logits.argmax(dim=1) == labels[part]).sum())
    return correct / len(rows), weight


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[1e-4, 1e-3, 1e-2, 1e-1])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_images(folder / "images", options.images)
        checkpoint = train_base(folder, options.backbone, options.size)
        shared, root = photo_options(options.backbone, options.size), f"--data.root={folder / 'images'}"
        data = ImageFolder(
            str(folder / "images"), image_size=options.size, on_leak="warn",
            stream=InstanceIncremental(experiences=EXPERIENCES, base_fraction=0),
        )  # fmt: skip

        def ours(repeat: int) -> tuple[float, list[Learned]]:
            """Seconds, and the results of each epsilon."""
            cache = f"--data.cache_dir={folder / f'cache-{repeat}'}"
            start("data", "--data=ImageFolder", root, cache, f"--output={folder / 'data.html'}")
            seconds, results = timed(
                lambda: fit(
                    folder, f"sweep-{repeat}", *shared, root, cache, "--data.stream=InstanceIncremental",
                    f"--data.stream.experiences={EXPERIENCES}", "--data.stream.base_fraction=0", "--model.strategy=MoveToData",
                    f"--model.strategy.epsilon={options.epsilons}", f"--model.base_checkpoint={checkpoint}",
                )
            )  # fmt: skip
            if results.features is None or not results.features.cached or results.features.reused:
                raise SystemExit(f"the features were not computed once: {results.features}")
            heads = read_checkpoint(find_checkpoint(folder / f"sweep-{repeat}"))["state_dict"]["strategy.heads"]
            accuracies = [results.variants[f"epsilon={e}"].test.accuracy or 0.0 for e in sorted(options.epsilons)]
            return seconds, list(zip(accuracies, heads, strict=True))

        def loops(_: int) -> tuple[float, list[Learned]]:
            """The same by hand."""
            return timed(lambda: [one_loop(epsilon) for epsilon in sorted(options.epsilons)])

        @torch.inference_mode()
        def one_loop(epsilon: float) -> Learned:
            network = network_of(checkpoint, options.backbone, options.size)
            return by_hand(network, data, epsilon)

        found = in_turn({"ours": ours, "loops": loops}, options.repeats)
    seconds = {side: [second for second, _ in pairs] for side, pairs in found.items()}
    accuracy = {side: ", ".join(f"{100 * value:.1f}" for value, _ in pairs[0][1]) for side, pairs in found.items()}
    gap = max(
        float((our - their).abs().max() / their.abs().max())
        for (_, swept), (_, looped) in zip(found["ours"], found["loops"], strict=True)
        for (_, our), (_, their) in zip(swept, looped, strict=True)
    )
    count = len(options.epsilons)
    rows = [
        [f"one pass, {count} epsilons", spread(seconds["ours"], 1), spread(ratios(seconds["loops"], seconds["ours"])), "5", accuracy["ours"]],
        [f"{count} runs by hand", spread(seconds["loops"], 1), "1", "", accuracy["loops"]],
    ]  # fmt: skip
    about = (
        f"{options.backbone} at {options.size} px, {options.images} images, {options.repeats} repeats; heads are equal to "
        f"{gap:.0e}; {machine('timm')}"
    )
    table(about, ["", "seconds: median (extremes)", "ratio", "wanted", "test accuracy, %, by epsilon"], rows)

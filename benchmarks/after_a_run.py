"""``explain`` and ``test --ood_data --calibrate`` of a finished run with a frozen backbone, relative to bare passes.

    python -m benchmarks.after_a_run
    python -m benchmarks.after_a_run --root photos --ood other_photos --weights tf_efficientnet_lite0.safetensors

One run of HeadOnly on 5 experiences, all checkpoints kept. Each command is timed in this process, after the libraries are
imported, and "start-up" is what ``validate`` takes: to build the network, to look at the data and to load the checkpoint,
and less than a second of evaluation. ``explain`` with its default options, ``test`` with all checkpoints.

The bare passes take the images from the project's own loader and use the way through the backbone that the feature pass
chooses. For ``explain``: forward of all test images, then forward and Grad-CAM's gradient of as many images as have maps. For
``test``: forward of the images that no cache holds. That of ``explain`` counts forward of all test images, although their
features are cached.

With ``--processor``, for a machine that other programs use too, the time of the processor counts, of all threads and loader
workers, in place of that on the wall.

Without ``--root``: JPEG of 256 x 256 cut from two photographs, and blotches as images of no class; the weights are random.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.measuring import QUIET, machine, make_images, start, table
from datamodules import ImageFolder
from lightning_vision.array_types import Rows
from lightning_vision.data.batch_order import EvalBatches
from lightning_vision.data.loaders import make_loader
from lightning_vision.data.scenarios import Joint
from lightning_vision.explanation.target_layers import find_target_layer
from lightning_vision.features.cached_images import Images
from lightning_vision.features.feature_pass import AT_ONCE, FeaturePass
from lightning_vision.learning.backbones import build_backbone
from lightning_vision.learning.network import Network
from lightning_vision.trust.image_folder import read_image_folder
from lightning_vision.trust.outputs import FolderImages


def make_blotches(folder: Path, count: int) -> None:
    """JPEG of 256 x 256, no two alike."""
    generator = np.random.default_rng(7)
    folder.mkdir(parents=True)
    for number in range(count):
        blotches = np.kron(generator.normal(0, 60, (8, 8, 3)), np.ones((32, 32, 1)))
        pixels = 128 + blotches + generator.normal(0, 20, blotches.shape)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:05d}.jpg", quality=90)


Clock = Callable[[], float]


class BarePass:
    """A backbone and a loop.

    Args:
        backbone: Name of the backbone; its weights are random.
        size: Side of the images.
        clock: Measures the time.
    """

    def __init__(self, backbone: str, size: int, clock: Clock) -> None:
        self.clock = clock
        module, facts = build_backbone(backbone, pretrained=False, image_size=size)
        self.network, self.size = Network(module, facts, 10).eval(), size
        passing = FeaturePass(self.network, torch.device("cpu"), torch.no_grad, None, channels_last=True)
        images = torch.randint(0, 256, (AT_ONCE, 3, size, size), dtype=torch.uint8)
        passing.tune(images, 1_000_000, "32-true")
        self.way = passing.way
        self.form = torch.channels_last if self.way.channels_last else torch.contiguous_format
        self.network.backbone.to(memory_format=self.form)

    def parts(self, data: Images, rows: Rows) -> Iterator[Tensor]:
        """The micro-batches of rows, one after another."""
        batches = EvalBatches(rows, np.zeros(len(data.samples), dtype=np.int64), 32)
        for batch in make_loader(data.image_dataset(), batches, data.num_workers):
            for part in torch.split(self.network.normalise(batch["image"]), self.way.micro_batch):
                yield part.contiguous(memory_format=self.form)

    def forward(self, data: Images, rows: Rows) -> float:
        """Seconds of the features of all rows."""
        begun = self.clock()
        with torch.inference_mode():
            for part in self.parts(data, rows):
                self.network.backbone(part)
        return self.clock() - begun

    def maps(self, data: Images, rows: Rows) -> float:
        """Seconds of Grad-CAM of the first class for all rows."""
        layer = self.network.backbone.get_submodule(find_target_layer(self.network.backbone, self.size).name)
        kept: list[Tensor] = []
        hook = layer.register_forward_hook(lambda *called: kept.append(called[2]))
        begun = self.clock()
        for part in self.parts(data, rows):
            kept.clear()
            scores = self.network.head(self.network.backbone(part))
            (gradient,) = torch.autograd.grad(scores[:, 0].sum(), kept[0])
            (kept[0] * gradient.mean(dim=(2, 3), keepdim=True)).sum(dim=1).relu().detach()
        hook.remove()
        return self.clock() - begun


def on_the_wall() -> float:
    """The time on the wall."""
    return time.perf_counter()


def of_the_processor() -> float:
    """The time of the processor, of this process and of its workers that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def seconds_of(clock: Clock, *words: str) -> float:
    """Seconds of a command."""
    begun = clock()
    start(*words)
    seconds = clock() - begun
    print(f"{words[0]}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds


def row(name: str, seconds: float, bare: float, factor: float) -> list[str]:
    """The row of a command."""
    limit = factor * bare + 5
    return [name, f"{seconds:.1f}", f"{bare:.1f}", f"{limit:.1f} ({factor} x + 5 s)", f"{seconds / limit:.2f}"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="of the images, in the layout of ImageFolder")
    parser.add_argument("--ood", type=Path, help="images of none of the classes")
    parser.add_argument("--run", type=Path, help="a finished run on these images")
    parser.add_argument("--cache", type=Path, help="its data.cache_dir")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--maps", type=int, default=500)
    parser.add_argument("--processor", action="store_true", help="measure the time of the processor")
    options = parser.parse_args()
    clock = of_the_processor if options.processor else on_the_wall
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root, ood = options.root or folder / "images", options.ood or folder / "ood"
        if options.root is None:
            make_images(root, options.images)
        if options.ood is None:
            make_blotches(ood, options.images // 4)
        run, cache = options.run or folder / "run", f"--data.cache_dir={options.cache or folder / 'cache'}"
        if options.run is None:
            weights = [f"--model.backbone_weights={options.weights}"] if options.weights else []
            start(
                "fit", *QUIET, f"--trainer.default_root_dir={folder}", "--run_name=run", "--keep_checkpoints=all",
                "--data=ImageFolder", f"--data.root={root}", "--data.on_leak=warn", f"--data.image_size={options.size}",
                "--data.stream=InstanceIncremental", "--data.stream.experiences=5", "--data.views=0", cache,
                f"--model.backbone={options.backbone}", "--model.pretrained=false", *weights,
                "--model.strategy=HeadOnly", "--model.base_strategy=HeadOnly", "--trainer.max_epochs=5",
            )  # fmt: skip
        given = [f"--ckpt_path={run}", cache]  # a run's own cache_dir is used only when it is given again
        test = ("test", *given, f"--ood_data={ood}", "--calibrate=true", f"--output={folder / 'trust'}")
        start_up = seconds_of(clock, "validate", *given)
        explaining = seconds_of(
            clock, "explain", *given, f"--measured={options.maps}", f"--output={folder / 'explain'}"
        )
        testing, again = seconds_of(clock, *test), seconds_of(clock, *test)
        bare = BarePass(options.backbone, options.size, clock)
        data = ImageFolder(
            str(root), image_size=options.size, on_leak="warn", stream=Joint(), cache_dir=str(folder / "bare")
        )
        others = read_image_folder(ood, data, "--ood_data")
        unknown = FolderImages(others, data, np.zeros(len(others), dtype=np.int64))
        tests = data.rows_to_evaluate("test")
        explained = bare.forward(data, tests) + bare.maps(data, tests[: options.maps])
        passed = bare.forward(unknown, np.arange(len(others)))
    rows = [
        row("explain", explaining - start_up, explained, 1.5),
        row("test --ood_data --calibrate", testing - start_up, passed, 1.3),
        row("the same again, all features found", again - start_up, passed, 1.3),
    ]
    columns = [
        "command",
        f"seconds{' of the processor' if options.processor else ''} beyond start-up",
        "bare pass",
        "at most",
        "relative to the limit",
    ]
    about = (
        f"after a run: {machine('timm')}; {options.backbone} at {options.size}, {len(data.samples)} images, {len(tests)} of them for "
        f"testing, {options.maps} maps, {len(others)} images of no class; {bare.way}; start-up {start_up:.1f} s"
    )
    table(about, columns, rows)

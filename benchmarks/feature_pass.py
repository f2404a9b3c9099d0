"""Images through a frozen backbone: the program's feature pass against the usual eager one.

    python -m benchmarks.feature_pass
    python -m benchmarks.feature_pass --device cuda --images 2048
    python -m benchmarks.feature_pass --choice --backbone tf_efficientnet_lite0

The usual pass is timm in evaluation mode under ``inference_mode``: float32, contiguous, batches of 32. Ours chooses memory
format and micro-batch by measurement first (not counted: it is done once a machine and backbone), and is taken in float32
and in bfloat16. Images of noise in memory, decoded and uint8, on both sides; the weights are random.

"Difference" is the largest one of a feature between the two float32 passes, relative to its image's largest feature;
"cosine" the smallest between an image's features in bfloat16 and in the usual pass.

With ``--choice`` only the choice is examined, several times without and several times beside processes that keep all cores
busy while it is made: the time that it took, and the time of the chosen way relative to the best of the whole grid, which is
measured afterwards, without them, by the shortest of interleaved rounds.
"""

import argparse
import contextlib
import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import timm
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from benchmarks.measuring import has_bf16, in_turn, machine, ratios, spread, table, timed
from lightning_vision.features.fastest_way import Way
from lightning_vision.features.feature_pass import AT_ONCE, MICRO_BATCHES, FeaturePass, handed_over
from lightning_vision.learning.backbones import build_backbone
from lightning_vision.learning.network import Network

BACKBONES = (("mobilenetv2_100", 224), ("tf_efficientnetv2_b3", 300), ("resnet18", 224))
PRECISIONS = {"float32": ("32-true", 2.0), "bfloat16": ("bf16-mixed", 3.5)}
LONG = 1_000_000
"""Images of a pass that is worth measuring beforehand."""


def work_for_ever() -> None:
    """Keep a core busy with the work of a network."""
    torch.set_num_threads(1)
    network, image = timm.create_model("resnet18").eval(), torch.rand(8, 3, 224, 224)
    with torch.inference_mode():
        while True:
            network(image)


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Processes that work for ever, in the meantime."""
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=work_for_ever, daemon=True) for _ in range(processes)]
    for other in others:
        other.start()
    time.sleep(8 if others else 0)  # they import first
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.join()


def examine_choice(backbone: str, size: int, options: argparse.Namespace) -> list[list[str]]:
    """The rows of one backbone: the choice beside no other process, and beside one for each core."""
    device = torch.device(options.device)
    torch.manual_seed(0)
    module, facts = build_backbone(backbone, pretrained=False, image_size=size)
    network = Network(module, facts, 10).to(device)
    images = torch.randint(0, 256, (max(AT_ONCE, options.images), 3, size, size), dtype=torch.uint8)

    def fresh(folder: str) -> FeaturePass:
        return FeaturePass(network, device, contextlib.nullcontext, Path(folder) / "feature_pass.json", True)

    found: dict[int, list[tuple[float, FeaturePass, bool]]] = {}
    for processes in (0, os.cpu_count() or 1):
        with busy(processes):
            for _ in range(options.repeats):
                with tempfile.TemporaryDirectory() as folder:
                    passing = fresh(folder)
                    seconds, _ = timed(partial(passing.tune, images, LONG, "32-true"))
                    found.setdefault(processes, []).append(
                        (seconds, passing, passing.kept is not None and passing.kept.is_file())
                    )
    grid = [Way(*way) for way in itertools.product(MICRO_BATCHES.get(device.type, (AT_ONCE,)), (True, False))]
    passing, seconds_of = found[0][0][1], {way: list[float]() for way in grid}
    for way in grid * (options.rounds + 1):
        with passing.in_format(way):
            sample = passing._sample(images, way)
        seconds_of[way].append(sample.own if options.processor else sample.wall)
    best = {way: min(times[1:]) for way, times in seconds_of.items()}  # the first warms up
    rows = []
    for processes, tries in found.items():
        ways = ", ".join(
            sorted(
                {
                    f"{'channels-last' if each.way.channels_last else 'contiguous'} {each.way.micro_batch}"
                    for _, each, _ in tries
                }
            )
        )
        rows.append(
            [
                f"{backbone} at {size}, {processes} other processes",
                ways,
                spread([seconds for seconds, _, _ in tries], 1),
                f"{sum(kept for *_, kept in tries)} of {len(tries)}",
                spread([best[each.way] / min(best.values()) for _, each, _ in tries]),
                "1.10",
            ]
        )
    return rows


def clocked(work: Callable[[], Tensor]) -> Callable[[int], tuple[float, Tensor]]:
    """Seconds and features of a pass."""
    return lambda _: timed(work)


def compare(backbone: str, size: int, options: argparse.Namespace) -> list[list[str]]:
    """The rows of one backbone."""
    device = torch.device(options.device)
    torch.manual_seed(0)
    module, facts = build_backbone(backbone, pretrained=False, image_size=size)
    network = Network(module, facts, 10).to(device)
    bare = timm.create_model(backbone, num_classes=0).eval().to(device)
    bare.load_state_dict(module.state_dict())
    images = torch.randint(0, 256, (options.images, 3, size, size), dtype=torch.uint8)

    @torch.inference_mode()
    def usual() -> Tensor:
        features = []
        for start in range(0, len(images), 32):
            image = images[start : start + 32].to(device)
            features.append(bare((image / 255 - network.mean) / network.std).cpu())
        return torch.cat(features)

    def tuned(precision: str, folder: Path) -> FeaturePass:
        mixed = partial(torch.autocast, options.device, torch.bfloat16)
        context = mixed if precision.startswith("bf16") else contextlib.nullcontext
        passing = FeaturePass(network, device, context, folder / "feature_pass.json", channels_last=True)
        passing.tune(images[:AT_ONCE], LONG, precision)
        return passing

    def ours(passing: FeaturePass) -> Tensor:
        with passing.in_format():
            many = handed_over(device)
            return torch.cat([passing.compute(part) for part in torch.split(images, many)])

    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        passes = {name: tuned(PRECISIONS[name][0], Path(temporary)) for name in options.precision}
        usual()  # both are warm: tuning has warmed ours
        works: dict[str, Callable[[], Tensor]] = {"usual": usual}
        works |= {name: partial(ours, passing) for name, passing in passes.items()}
        sides = {name: clocked(work) for name, work in works.items()}
        found = in_turn(sides, options.repeats)
    seconds = {name: [second for second, _ in tries] for name, tries in found.items()}
    wanted = found["usual"][0][1]
    for name, passing in passes.items():
        features = found[name][0][1]
        if name == "float32":
            difference = (features - wanted).abs().amax(dim=1) / wanted.abs().amax(dim=1)
            agreement = f"difference {difference.max():.1e}"
        else:
            agreement = f"cosine {F.cosine_similarity(features, wanted).min():.4f}"
        way = f"{'channels-last' if passing.way.channels_last else 'contiguous'}, {passing.way.micro_batch}"
        rates = [f"{len(images) / sorted(seconds[side])[len(seconds[side]) // 2]:.0f}" for side in (name, "usual")]
        ratio = spread(ratios(seconds["usual"], seconds[name]))
        rows.append([f"{backbone} at {size}, {name}", way, *rates, ratio, f"{PRECISIONS[name][1]}", agreement])
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, help="side of the images, for a quick look")
    parser.add_argument("--backbone", nargs="+", default=[name for name, _ in BACKBONES])
    parser.add_argument("--choice", action="store_true", help="examine only the choice of the way")
    parser.add_argument(
        "--processor", action="store_true", help="compare the grid by the time of the processor, on a busy machine"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of the grid afterwards, with --choice")
    parser.add_argument("--precision", nargs="+", choices=list(PRECISIONS), help="default: what the hardware has")
    options = parser.parse_args()
    options.precision = options.precision or list(PRECISIONS)[: 2 if options.device == "cuda" or has_bf16() else 1]
    sizes = dict(BACKBONES)
    if options.choice:
        rows = [
            row
            for name in options.backbone
            for row in examine_choice(name, options.size or sizes.get(name, 224), options)
        ]
        columns = ["what", "chosen", "seconds of the choice", "kept", "time / best of the grid", "at most"]
        table(f"choice of the way on {options.device}: {machine('timm')}; {options.repeats} repeats", columns, rows)
        raise SystemExit
    rows = [row for name in options.backbone for row in compare(name, options.size or sizes.get(name, 224), options)]
    columns = ["what", "way", "ours, images/s", "usual", "ratio: median (extremes)", "wanted", "agreement, the worst"]
    about = f"feature pass on {options.device}: {machine('timm')}; {options.images} images, {options.repeats} repeats"
    table(about, columns, rows)

"""The exported classifier against PyTorch: size of the file, milliseconds for one image, float32 and int8.

    python -m benchmarks.export [--backbone mobilenetv2_100] [--size 224] [--repeats 5]

Random weights, which take as long as trained ones; int8 is calibrated on 50 cuttings of photographs. Each repeat is the median
of 30 images one by one; the sides take turns, with as many threads as torch has.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.measuring import in_turn, machine, make_images, ratios, spread, table
from lightning_vision.exporting.check import compare, latency_ms, model_logits
from lightning_vision.exporting.classifier_module import ClassifierModule
from lightning_vision.exporting.description import Description
from lightning_vision.exporting.formats import Format, Onnx, Pt2
from lightning_vision.learning.classifier import ContinualClassifier

CALIBRATION, CHECKED = 50, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    names = [f"class {number}" for number in range(10)]
    torch.manual_seed(0)
    model = ContinualClassifier(
        backbone=options.backbone, pretrained=False, class_names=names, image_size=options.size
    ).eval()
    model.network.see(range(10))
    module = ClassifierModule(model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder / "images", CALIBRATION + CHECKED)
        images = np.stack([_image(path, options.size) for path in sorted((folder / "images").rglob("*.jpg"))])
        calibration, checked = images[::2], images[1::2]
        formats: dict[str, Format] = {
            "ONNX float32": Onnx(18),
            "ONNX int8": Onnx(18, list(calibration)),
            "pt2 float32": Pt2(),
        }
        runs: dict[str, Callable[[np.ndarray], object]] = {"PyTorch": lambda batch: model_logits(model, batch)}
        facts = {"PyTorch": (f"{sum(p.nbytes for p in model.parameters()) / 1e6:.1f}", "")}
        for label, made_as in formats.items():
            path = folder / f"{label.split()[-1]}.{'pt2' if isinstance(made_as, Pt2) else 'onnx'}"
            made_as.write(module, _described(model, module, options.size, label), path)
            runs[label] = made_as.open(path)
            difference = compare(model, made_as.open(path), checked)
            facts[label] = (f"{path.stat().st_size / 1e6:.1f}", f"{difference.probability:.1e}")
        sides = {label: (lambda _, run=run: latency_ms(run, checked[0])) for label, run in runs.items()}
        found = in_turn(sides, options.repeats)
    rows = [
        [
            label,
            size,
            error,
            spread(found[label]),
            "" if label == "PyTorch" else spread(ratios(found["PyTorch"], found[label])),
        ]
        for label, (size, error) in facts.items()
    ]
    above = f"{options.backbone} at {options.size}, one image at a time, {torch.get_num_threads()} thread(s); {machine('onnxruntime')}"
    table(above, ["", "MB", "largest difference of a probability", "ms", "times faster"], rows)


def _image(path: Path, size: int) -> np.ndarray:
    """uint8 (3, S, S)."""
    return np.asarray(Image.open(path).resize((size, size))).transpose(2, 0, 1)


def _described(model: ContinualClassifier, module: ClassifierModule, size: int, label: str) -> Description:
    facts = model.network.facts
    return Description(
        class_names=model.class_names,
        seen=[True] * 10,
        image_size=size,
        preprocessing=[{"op": "resize", "height": size, "width": size}],
        mean=list(facts.mean),
        std=list(facts.std),
        temperature=1.0,
        threshold=None,
        backbone=facts.name,
        strategy="lightning_vision.learning.strategy.Strategy",
        num_features=module.num_features,
        linear_head=module.linear_head,
        opset=None if "pt2" in label else 18,
        quantized="int8" in label,
    )


if __name__ == "__main__":
    main()

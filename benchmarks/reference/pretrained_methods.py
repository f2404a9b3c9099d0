"""Published settings of continual learning with a pretrained ViT-B/16, as options of ``lightning-vision fit``.

Numbers are those of the files that ``source`` names, in the repositories' state of November 2026; figures are those of
docs/strategies.md ("Costs and published figures"), and None where none was read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Dataset = Literal["cifar100", "imagenet_r"]
Options = tuple[str, ...]

VIT = "vit_base_patch16_224"
IN21K = f"{VIT}.augreg_in21k"
IN21K_IN1K = f"{VIT}.augreg_in21k_ft_in1k"
"""What timm 0.6 calls vit_base_patch16_224; timm now gives other weights under that name."""
ORIGINAL = f"{VIT}.orig_in21k"
"""The first published weights, imagenet21k/ViT-B_16.npz."""

NONE = ("--model.pixel_mean=0", "--model.pixel_std=1")
"""Pixels in [0, 1] as they are, for weights that were trained with mean and deviation 0.5."""
CIFAR_MEANS = ("--model.pixel_mean=[0.5071,0.4867,0.4408]", "--model.pixel_std=[0.2675,0.2565,0.2761]")
IMAGENET_MEANS = ("--model.pixel_mean=[0.485,0.456,0.406]", "--model.pixel_std=[0.229,0.224,0.225]")

BICUBIC = 3
"""Of the classes of torchvision.transforms, by Pillow's number."""


@dataclass(frozen=True)
class Trial:
    """What may be smaller than published, to try the commands."""

    image_size: int = 224
    epochs: int | None = None
    """Of everything that is trained."""
    projections: int = 10_000
    experiences: int = 10


@dataclass(frozen=True)
class Setting:
    """A method on a dataset."""

    weights: str
    """timm's name with its tag."""
    options: Options
    source: str
    """The file that the numbers are from."""
    last: float | None = None
    """Published accuracy on all classes at the end, in percent."""
    average: float | None = None
    """The mean of the accuracy on the classes seen, over the experiences."""
    pixels: Options = NONE
    """The published normalisation."""
    differs: str = ""


Method = Callable[[Dataset, Trial], Setting]


def component(option: str, name: str, **values: object) -> Options:
    """A class and its arguments: ``--model.strategy=NAME --model.strategy.KEY=VALUE``."""
    return (f"--{option}={name}", *(f"--{option}.{key}={value}" for key, value in values.items()))


def crops(trial: Trial, scale: Sequence[float] = (0.08, 1.0), *, bicubic: bool = False, jitter: bool = False) -> str:
    """Random crops and mirroring in training."""
    form = f', "interpolation": {BICUBIC}' if bicubic else ""
    crop = f'{{"RandomResizedCrop": {{"size": {trial.image_size}, "scale": {list(scale)}{form}}}}}'
    brightness = f', {{"ColorJitter": {{"brightness": {63 / 255:.6f}}}}}' if jitter else ""
    return f'--data.train_transforms=[{crop}, "horizontal_flip"{brightness}]'


def whole(trial: Trial, *, enlarged: bool = True, bicubic: bool = True) -> str:
    """The middle of the image in evaluation: 224 of 256 pixels, or all of the shorter side without ``enlarged``."""
    size = trial.image_size * 256 // 224 if enlarged else trial.image_size
    form = f', "interpolation": {BICUBIC}' if bicubic else ""
    resize = f'{{"Resize": {{"size": {size}{form}}}}}'
    return f'--data.eval_transforms=[{resize}, {{"CenterCrop": {{"size": {trial.image_size}}}}}]'


def trained(trial: Trial, epochs: int, batch_size: int) -> Options:
    """The length of an experience."""
    return (f"--trainer.max_epochs={trial.epochs or epochs}", f"--data.batch_size={batch_size}")


def quarter_cosine(epochs: int) -> Options:
    """CODA-Prompt's schedule."""
    return component("model.lr_scheduler", "benchmarks.reference.schedules.QuarterCosine", epochs=epochs)


def untouched(batch_size: int = 128) -> Options:
    """The backbone as it was pretrained, and no gradient."""
    base = component("model.base_strategy", "HeadOnly")
    return (*base, "--model.base_epochs=0", "--trainer.max_epochs=1", f"--data.batch_size={batch_size}")


def phase_1(
    trial: Trial,
    mode: str,
    *,
    epochs: int = 20,
    lr: float = 0.01,
    batch_size: int = 48,
    decay: float = 5e-4,
    **options: object,
) -> Options:
    """The adaptation to the first experience: SGD with momentum, and a cosine that ends at 0."""
    epochs = trial.epochs or epochs
    words = component("model.base_strategy", "FirstSession", mode=mode)
    if options:
        values = ", ".join(f'"{key}": {str(value).lower()}' for key, value in options.items())
        words += (f"--model.base_strategy.options={{{values}}}",)
    words += component("model.base_optimizer", "torch.optim.SGD", lr=lr, momentum=0.9, weight_decay=decay)
    words += component("model.base_lr_scheduler", "torch.optim.lr_scheduler.CosineAnnealingLR", T_max=epochs)
    return (*words, f"--model.base_epochs={epochs}", "--trainer.max_epochs=1", f"--data.batch_size={batch_size}")


SMALL_CROPS = (0.05, 1.0)
COSINE_HEAD = "phase 1 has a linear head, theirs a cosine head with a learned scale"
RANPAC_FIGURE = "the published figure is the mean over the experiences' test parts"


def by_ranpac(name: str, projections: int | str | None, figures: Mapping[Dataset, float], *, adapts: bool) -> Method:
    """A column of RanPAC's table: ridge regression or class means, with or without phase 1."""

    def setting(dataset: Dataset, trial: Trial) -> Setting:
        cifar = dataset == "cifar100"
        if projections == "means":
            words = component("model.strategy", "SimpleCIL")
        else:
            words = component(
                "model.strategy", "RanPAC", projections="null" if projections is None else trial.projections
            )
        mode = "adapter" if cifar else "scale_shift"
        words += phase_1(trial, mode) if adapts else untouched()
        differs = [*([COSINE_HEAD] if adapts else []), *([RANPAC_FIGURE] if not cifar else [])]
        if projections != "means":
            differs.append("lambda is selected on a fifth of all images so far, theirs on a fifth of the experience's")
        return Setting(
            IN21K if cifar else IN21K_IN1K,
            (*words, crops(trial, SMALL_CROPS), whole(trial, enlarged=not cifar)),
            f"RanPAC/RanPAC args/{'cifar224' if cifar else 'imagenetr'}_publish.csv, {name}",
            last=figures[dataset],
            differs="; ".join(differs) or "nothing known",
        )

    return setting


def aper(mode: str, cifar: Mapping[str, float], imagenet_r: Mapping[str, float], **options: object) -> Method:
    """APER in one of its modes."""

    def setting(dataset: Dataset, trial: Trial) -> Setting:
        own = dict(cifar if dataset == "cifar100" else imagenet_r)
        shape = dict(options)
        if "length" in own:
            shape["length"] = int(own.pop("length"))
        adapted = phase_1(
            trial, mode, epochs=int(own.get("epochs", 20)), lr=own.get("lr", 0.01), batch_size=int(own.get("batch_size", 48)),
            decay=own.get("decay", 5e-4), **shape,
        )  # fmt: skip
        return Setting(
            IN21K_IN1K,
            (*component("model.strategy", "APER"), *adapted, crops(trial, SMALL_CROPS), whole(trial)),
            "LAMDA-CL/LAMDA-PILOT exps/aper_*.json"
            if dataset == "cifar100"
            else "LAMDA-CL/LAMDA-PILOT exps/aper_*_inr.json",
            differs=COSINE_HEAD,
        )

    return setting


def l2p(dataset: Dataset, trial: Trial) -> Setting:
    """L2P: its authors on CIFAR-100, PILOT on ImageNet-R, which the authors do not have."""
    if dataset == "cifar100":
        words = component("model.strategy", "L2P", pool=10, length=10, top_k=4, pull=1.0)
        words += component("model.optimizer", "torch.optim.Adam", lr=0.03 * 128 / 256)
        words += (*trained(trial, 5, 128), "--trainer.gradient_clip_val=1.0", crops(trial), whole(trial, bicubic=False))
        return Setting(
            ORIGINAL, words, "google-research/l2p configs/cifar100_l2p.py, README.md (8 x 16 images)", last=83.83,
            differs="prompts are chosen for each image, theirs for a test batch",
        )  # fmt: skip
    words = component("model.strategy", "L2P", pool=10, length=5, top_k=5, pull=0.1)
    words += component("model.optimizer", "torch.optim.Adam", lr=0.001875)
    words += (*trained(trial, 10, 32), crops(trial, SMALL_CROPS), whole(trial))
    return Setting(
        IN21K_IN1K, words, "LAMDA-CL/LAMDA-PILOT exps/l2p_inr.json",
        differs="prompts are chosen for each image, theirs for a test batch; theirs have a position embedding",
    )  # fmt: skip


def dual_prompt(dataset: Dataset, trial: Trial) -> Setting:
    """DualPrompt as its authors have it."""
    cifar = dataset == "cifar100"
    words = component(
        "model.strategy", "DualPrompt", general_length=5, general_blocks=2, expert_length=5 if cifar else 20, expert_blocks=3,
        pull=1.0,
    )  # fmt: skip
    words += component("model.optimizer", "torch.optim.Adam", lr=(0.03 if cifar else 0.005) * 192 / 256)
    words += (*trained(trial, 5 if cifar else 50, 192), "--trainer.gradient_clip_val=1.0", crops(trial))
    return Setting(
        ORIGINAL,
        (*words, whole(trial, bicubic=False)),
        f"google-research/l2p configs/{'cifar100' if cifar else 'imr'}_dualprompt.py (8 x 24 images)",
        last=86.51 if cifar else None,
        differs="experts are chosen for each image, theirs on CIFAR-100 for a test batch; an experience adds an expert, theirs are "
        "drawn at the start",
    )


def coda_prompt(dataset: Dataset, trial: Trial) -> Setting:
    """CODA-Prompt as its authors have it."""
    cifar, name = dataset == "cifar100", "cifar-100" if dataset == "cifar100" else "imnet-r"
    epochs = trial.epochs or (20 if cifar else 50)
    components = max(100 // trial.experiences, 1)
    words = component("model.strategy", "CODAPrompt", components=components, length=8, blocks=5, orthogonality=0.0)
    words += component("model.optimizer", "torch.optim.Adam", lr=1e-3)
    words += quarter_cosine(epochs)
    evaluated = whole(trial, enlarged=not cifar, bicubic=False)
    return Setting(
        IN21K_IN1K,
        (*words, *trained(trial, epochs, 128), crops(trial), evaluated),
        f"GT-RIPL/CODA-Prompt configs/{name}_prompt.yaml, experiments/{'cifar-100' if cifar else 'imagenet-r'}.sh",
        last=86.25 if cifar else None,
        differs="class order: theirs is drawn by Python's generator, on ImageNet-R from its own numbering; no last batch is dropped; the "
        "weights are those of timm 0.6",
    )


def slca(dataset: Dataset, trial: Trial) -> Setting:
    """SLCA: everything is trained, the backbone at a hundredth of the head's rate."""
    cifar = dataset == "cifar100"
    epochs = trial.epochs or (20 if cifar else 50)
    sgd: dict[str, object] = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
    steps: dict[str, object] = {"milestones": [18 if cifar else 40], "gamma": 0.1}
    words = component("model.strategy", "SLCA", backbone_lr=1e-4, alignment_epochs=5, alignment_lr=0.01, tau=0.1)
    words += component("model.base_strategy", "FullFineTune", backbone_lr=1e-4)
    words += component("model.optimizer", "torch.optim.SGD", **sgd)
    words += component("model.lr_scheduler", "torch.optim.lr_scheduler.MultiStepLR", **steps)
    words += (*trained(trial, epochs, 128), crops(trial, bicubic=True, jitter=cifar), whole(trial))
    return Setting(
        IN21K,
        words,
        f"GengDavid/SLCA exps/slca/ ({'slca_cifar' if cifar else 'slca_imgnetr'}), models/slca.py",
        pixels=CIFAR_MEANS if cifar else IMAGENET_MEANS,
        differs="means of old classes are not shrunk, and weights are not decayed in the alignment",
    )


def sequential_lora(dataset: Dataset, trial: Trial) -> Setting:
    """The baseline of continual LoRA methods, trained as InfLoRA."""
    cifar = dataset == "cifar100"
    epochs = trial.epochs or (20 if cifar else 50)
    words = component("model.strategy", "SequentialLoRA", rank=10, parts="qv")
    words += component("model.optimizer", "torch.optim.Adam", lr=5e-4)
    words += (*quarter_cosine(epochs), *trained(trial, epochs, 128), crops(trial))
    return Setting(
        IN21K,
        (*words, whole(trial, enlarged=not cifar, bicubic=False)),
        f"liangyanshuo/InfLoRA configs/{'cifar100' if cifar else 'mimg10'}_inflora.json, methods/inflora.py: InfLoRA's training",
        differs="a baseline without a published figure; cross entropy is over the classes seen",
    )


METHODS: Mapping[str, Method] = {
    "simplecil": by_ranpac("row 2", "means", {"cifar100": 83.4, "imagenet_r": 61.2}, adapts=False),
    "means-phase-1": by_ranpac("row 5", "means", {"cifar100": 87.8, "imagenet_r": 70.1}, adapts=True),
    "aper-fine-tune": aper(
        "fine_tune",
        {"epochs": 6, "batch_size": 128, "decay": 0.05},
        {"epochs": 5, "batch_size": 144, "decay": 0.005},
    ),
    "aper-adapter": aper("adapter", {}, {"epochs": 10, "lr": 0.05, "batch_size": 16, "decay": 0.005}, width=64),
    "aper-ssf": aper("scale_shift", {}, {}),
    "aper-vpt-deep": aper("tokens", {"length": 5}, {"length": 30, "lr": 0.05, "batch_size": 24}, deep=True),
    "aper-vpt-shallow": aper(
        "tokens", {"length": 5}, {"length": 30, "lr": 0.03, "batch_size": 24, "decay": 0.005}, deep=False
    ),
    "ranpac": by_ranpac("row 7", 10_000, {"cifar100": 92.2, "imagenet_r": 77.9}, adapts=True),
    "ranpac-no-phase-1": by_ranpac("row 4", 10_000, {"cifar100": 89.0, "imagenet_r": 71.8}, adapts=False),
    "ranpac-no-projection": by_ranpac("row 6", None, {"cifar100": 90.6, "imagenet_r": 73.9}, adapts=True),
    "ranpac-neither": by_ranpac("row 3", None, {"cifar100": 87.0, "imagenet_r": 67.6}, adapts=False),
    "l2p": l2p,
    "dualprompt": dual_prompt,
    "coda-prompt": coda_prompt,
    "slca": slca,
    "lora": sequential_lora,
}

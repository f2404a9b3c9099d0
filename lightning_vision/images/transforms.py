"""Transforms of a configuration: presets, torchvision v2 classes, or any module by dotted path."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from torch import nn
from torchvision.transforms import v2

from lightning_vision.errors import ConfigError
from lightning_vision.terminal.wording import near

Transforms = str | Sequence[Any] | None
"""A name, or a list of names, ``{name: options}``, ``{class_path: ..., init_args: ...}`` and modules; None: the default."""

Preset = Callable[..., list[nn.Module]]
BILINEAR = v2.InterpolationMode.BILINEAR


def _resized(image_size: int) -> list[nn.Module]:
    return [v2.Resize([image_size, image_size], antialias=True)]


def _random_resized_crop(image_size: int, size: int | None = None, **options: Any) -> list[nn.Module]:
    return [v2.RandomResizedCrop(size or image_size, antialias=True, **options)]


def _center_crop(image_size: int, ratio: float = 256 / 224) -> list[nn.Module]:
    return [v2.Resize(int(ratio * image_size), antialias=True), v2.CenterCrop(image_size)]


def _quarter_turns(image_size: int, p: float = 0.75) -> list[nn.Module]:
    turns = [v2.RandomRotation((degrees, degrees)) for degrees in (90, 180, 270)]
    return [v2.RandomApply([v2.RandomChoice(turns)], p=p)]


def _rotation(image_size: int, degrees: float = 15.0) -> list[nn.Module]:
    return [v2.RandomRotation(degrees, interpolation=BILINEAR)]


def _zoom(image_size: int, scale: Sequence[float] = (0.8, 1.2)) -> list[nn.Module]:
    return [v2.RandomAffine(degrees=0, scale=list(scale), interpolation=BILINEAR)]


def _contrast(image_size: int, contrast: float = 0.3) -> list[nn.Module]:
    return [v2.ColorJitter(contrast=contrast)]


def _elastic(image_size: int, alpha: float = 50.0, sigma: float = 5.0) -> list[nn.Module]:
    return [v2.ElasticTransform(alpha=alpha, sigma=sigma)]


def _blur(image_size: int, kernel_size: int = 5, p: float = 0.5) -> list[nn.Module]:
    return [v2.RandomApply([v2.GaussianBlur(kernel_size)], p=p)]


def _color_jitter(
    image_size: int, brightness: float = 0.2, contrast: float = 0.2, saturation: float = 0.2, hue: float = 0.02
) -> list[nn.Module]:
    return [v2.ColorJitter(brightness, contrast, saturation, hue)]


def _sharpness(image_size: int, factor: float = 2.0, p: float = 0.5) -> list[nn.Module]:
    return [v2.RandomAdjustSharpness(factor, p=p)]


PRESETS: dict[str, tuple[Preset, str]] = {
    "random_resized_crop": (_random_resized_crop, "a random crop, resized to image_size"),
    "resize": (_resized, "the whole image, resized to image_size x image_size without a crop"),
    "center_crop": (_center_crop, "the shorter side resized to 256/224 of image_size, then a center crop"),
    "fixres_train": (_random_resized_crop, "FixRes (arXiv 1906.06423): random_resized_crop at its own training size "
                                           "(option size)"),
    "fixres_test": (_center_crop, "FixRes: center_crop at image_size, 1.15 to 1.7 times the training size"),
    "horizontal_flip": (lambda image_size, p=0.5: [v2.RandomHorizontalFlip(p)], "random horizontal flip"),
    "vertical_flip": (lambda image_size, p=0.5: [v2.RandomVerticalFlip(p)], "random vertical flip"),
    "rotation_90": (_quarter_turns, "a rotation by 0, 90, 180 or 270 degrees with equal probability"),
    "rotation": (_rotation, "a rotation by at most the given number of degrees"),
    "zoom": (_zoom, "random scaling about the center"),
    "contrast": (_contrast, "random contrast"),
    "elastic": (_elastic, "elastic deformation"),
    "blur": (_blur, "Gaussian blur"),
    "color_jitter": (_color_jitter, "random brightness, contrast, saturation and hue"),
    "sharpness": (_sharpness, "random sharpening"),
    "autocontrast": (lambda image_size, p=0.5: [v2.RandomAutocontrast(p)], "darkest pixel to black, brightest to white"),
    "rand_augment": (lambda image_size, **options: [v2.RandAugment(**options)], "RandAugment (arXiv 1909.13719)"),
    "trivial_augment": (lambda image_size, **options: [v2.TrivialAugmentWide(**options)], "TrivialAugment (arXiv 2103.10158)"),
    "random_erasing": (lambda image_size, **options: [v2.RandomErasing(**options)], "a random rectangle set to black"),
}  # fmt: skip
"""Presets: a function of image_size and options, and its description."""


def composed(
    option: str, asked: list[Any] | str | None, default: Callable[[], list[nn.Module]], image_size: int
) -> v2.Compose:
    """The transforms that an option of the data asks for, or the default ones, as one; see ``build_transforms``."""
    built = build_transforms(asked, image_size, f"data.{option}")
    return v2.Compose(default() if built is None else built)


def build_transforms(asked: Transforms, image_size: int, key: str) -> list[nn.Module] | None:
    """The modules that a configuration names, in order; None if it names none.

    Args:
        asked: See ``Transforms``.
        image_size: Side of the square images, in pixels; presets are given it.
        key: The option's name, for messages.

    Raises:
        ConfigError: A name is not known, or an option is refused.
    """
    if asked is None:
        return None
    listed = [asked] if isinstance(asked, str | nn.Module) else list(asked)
    return [module for item in listed for module in build_one(item, image_size, key)]


def build_one(item: Any, image_size: int, key: str) -> list[nn.Module]:
    """The transforms that one entry of a list stands for."""
    if isinstance(item, nn.Module):
        return [item]
    name, options = name_and_options(item, key)
    try:
        if name in PRESETS:
            return PRESETS[name][0](image_size, **options)
        made = _find_class(name, key)(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {name} does not accept the options {options}: {error}") from error
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{key}: {name} is not a transform: expected a torch.nn.Module.")
    return [made]


def name_and_options(item: Any, key: str) -> tuple[str, dict[str, Any]]:
    """The name and the options that an entry gives."""
    if isinstance(item, str):
        return item, {}
    if isinstance(item, Mapping) or hasattr(item, "as_dict"):
        plain = dict(item if isinstance(item, Mapping) else item.as_dict())
        if set(plain) <= {"class_path", "init_args", "dict_kwargs"} and "class_path" in plain:
            return str(plain["class_path"]), dict(plain.get("init_args") or {})
        if len(plain) == 1:
            (name, options), *_ = plain.items()
            if options is None or isinstance(options, Mapping):
                return str(name), {str(word): value for word, value in (options or {}).items()}
    raise ConfigError(
        f"{key}: expected the name of a transform, or {{name: {{option: value}}}}, found {item!r}. Presets: "
        f"{', '.join(PRESETS)}. Classes of torchvision.transforms.v2 can be used too."
    )


def _find_class(name: str, key: str) -> type:
    if "." in name:
        module, _, short = name.rpartition(".")
        try:
            found = getattr(import_module(module), short)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{key}: {name} cannot be imported: {error}") from error
    else:
        found = getattr(v2, name, None)
    if not inspect.isclass(found):
        known = [*PRESETS, *(word for word in vars(v2) if inspect.isclass(getattr(v2, word)))]
        raise ConfigError(
            f"{key}: there is no transform {name!r}. Similar names: {', '.join(near(name, known)) or 'none'}. Expected "
            f"a preset ({', '.join(PRESETS)}), a class of torchvision.transforms.v2, or a dotted path."
        )
    return found

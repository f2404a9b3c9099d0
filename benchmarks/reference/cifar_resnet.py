"""The ResNet-18 of the literature on CIFAR: a 3 x 3 stem without stride or pooling, so that 32 x 32 become 4 x 4 at the end.

timm's resnet18 is the one for ImageNet. Importing this module makes the two networks known to timm, by the names of their
functions, which can then be given as ``model.backbone``.
"""

from typing import Any

from timm.models import register_model
from torch import nn
from torchvision.models.resnet import BasicBlock

CIFAR10 = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2615)}
"""Of the training images in [0, 1], as in the code of arXiv 2004.07211."""


def make_resnet(width: int) -> nn.Sequential:
    """Images (N, 3, 32, 32) to features (N, 8 width), with PyTorch's own initialisation of each layer."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)]
    inner = width
    for outer in (width, 2 * width, 4 * width, 8 * width):
        stride, shortcut = 1, None
        if outer != inner:
            stride = 2
            shortcut = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
        layers += [BasicBlock(inner, outer, stride, shortcut), BasicBlock(outer, outer)]
        inner = outer
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.pretrained_cfg = CIFAR10  # type: ignore[assignment] # where timm's networks say how images are normalised
    return network


@register_model
def cifar_resnet18(pretrained: bool = False, **_: Any) -> nn.Module:
    """64 channels at first, 11.2 million parameters: as in arXiv 2004.07211 and most work on split CIFAR."""
    return make_resnet(64)


@register_model
def cifar_resnet18_slim(pretrained: bool = False, **_: Any) -> nn.Module:
    """16 channels at first, 0.7 million parameters, for a CPU: 20 as in arXiv 1706.08840 take twice as long there."""
    return make_resnet(16)

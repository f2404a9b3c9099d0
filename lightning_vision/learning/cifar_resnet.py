"""The ResNet-18 of the literature on CIFAR: a 3 x 3 stem without stride or pooling, so that 32 x 32 become 4 x 4 at the end.

timm's resnet18 is the one for ImageNet, which reduces an image of 32 x 32 to a single position.
"""

from __future__ import annotations

from torch import nn

CIFAR_WIDTHS = {"cifar_resnet18": 64, "slim_resnet18": 20}
"""Channels of the first layer by name. 64: 11.2 million parameters, as in arXiv 2004.07211 and most work on split CIFAR. 20: 1.1
million, the reduced ResNet-18 of GEM (arXiv 1706.08840) and of most work on online streams."""

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2615)
"""Of the training images in [0, 1], as in the code of arXiv 2004.07211."""


def make_cifar_resnet(width: int) -> nn.Sequential:
    """Images (N, 3, H, W) to features (N, 8 width), with PyTorch's own initialisation of each layer.

    Args:
        width: Channels of the first layer.
    """
    from torchvision.models.resnet import BasicBlock  # it is imported late for the sake of --help

    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)]
    inner = width
    for outer in (width, 2 * width, 4 * width, 8 * width):
        stride, shortcut = 1, None
        if outer != inner:
            stride = 2
            shortcut = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
        layers += [BasicBlock(inner, outer, stride, shortcut), BasicBlock(outer, outer)]
        inner = outer
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())

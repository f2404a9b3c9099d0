"""The overhead of a graft: a training step of adapters in ViT-S, in batches of 32, against the same adapters written into the blocks.

    python -m benchmarks.graft_step --repeats 7

Both train the same adapters and a head on the same images, with forward, backward and SGD step. The two take turns, and the ratio is
computed pair by pair. Memory is what autograd saves for the backward pass, which a busy machine does not change; on a GPU also
the peak that CUDA reports.
"""

import argparse
import time
from collections.abc import Callable
from types import MethodType
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from benchmarks.measuring import machine
from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.network import Network

BATCH, WIDTH, SCALE, DROPOUT = 32, 64, 0.1, 0.1
Step = Callable[[], None]


class ByHand(nn.Module):
    """The adapter as one would write it into a block."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(dimensions, WIDTH), nn.Linear(WIDTH, dimensions)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """S (max(0, x W_d) W_u)."""
        found: Tensor = self.up(F.dropout(self.down(x).relu(), DROPOUT, self.training))
        return found * SCALE


def block_by_hand(block: Any, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
    """Timm's block with an adapter beside the MLP."""
    x = x + block.drop_path1(block.ls1(block.attn(block.norm1(x), attn_mask=attn_mask, is_causal=is_causal)))
    found: Tensor = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x)))) + block.adapter(x)
    return found


def network(model: str, size: int, by_hand: bool, device: str) -> tuple[nn.Module, list[nn.Parameter]]:
    """A network and what is trained of it."""
    torch.manual_seed(0)
    backbone: Any = timm.create_model(model, num_classes=0, img_size=size)
    half = (0.5, 0.5, 0.5)
    whole = Network(backbone, BackboneFacts(model, backbone.num_features, half, half), 10)
    if by_hand:
        for block in backbone.blocks:
            block.adapter = ByHand(backbone.embed_dim)
            block.forward = MethodType(block_by_hand, block)
        body = [p for block in backbone.blocks for p in block.adapter.parameters()]
    else:
        whole.graft("adapter", "a", width=WIDTH, scale=SCALE, dropout=DROPOUT)
        body = whole.grafted("a")
    whole.requires_grad_(False)
    trained = [*body, *whole.head.parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)
    return whole.to(device).train(), trained


def step_of(whole: nn.Module, trained: list[nn.Parameter], image: Tensor, label: Tensor) -> Step:
    """One training step."""
    optimizer = torch.optim.SGD(trained, lr=0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(whole(image), label).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if image.is_cuda:
            torch.cuda.synchronize()

    return step


def saved_bytes(whole: nn.Module, image: Tensor) -> int:
    """Bytes of the tensors that autograd saves in one forward pass, each storage once."""
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)
        return tensor

    held: list[Tensor] = []  # or an address would be used again
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        whole(image)
    return sum(seen.values())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="Steps of each in a repeat.")
    parser.add_argument("--model", default="vit_small_patch16_224")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    image = torch.randn(BATCH, 3, asked.image_size, asked.image_size, device=asked.device)
    label = torch.arange(BATCH, device=asked.device) % 10
    steps, saved, peak = [], [], []
    for by_hand in (False, True):
        whole, trained = network(asked.model, asked.image_size, by_hand, asked.device)
        saved.append(saved_bytes(whole, image))
        step = step_of(whole, trained, image, label)
        step()
        if image.is_cuda:
            torch.cuda.reset_peak_memory_stats()
            step()
            peak.append(torch.cuda.max_memory_allocated())
        steps.append(step)
    seconds: list[list[float]] = []
    for repeat in range(asked.repeats):
        pair = [0.0, 0.0]
        for which in (0, 1) if repeat % 2 else (1, 0):
            begun = time.perf_counter()
            for _ in range(asked.steps):
                steps[which]()
            pair[which] = (time.perf_counter() - begun) / asked.steps
        seconds.append(pair)
    ratios = [ours / by_hand for ours, by_hand in seconds]
    print(f"{machine('timm')}, {asked.model} at {asked.image_size} px, batches of {BATCH}, {asked.repeats} repeats")
    print("| | seconds a step, median | saved for the backward pass |\n|---|---|---|")
    for name, which in (("a graft", 0), ("by hand", 1)):
        print(f"| {name} | {np.median([pair[which] for pair in seconds]):.3f} | {saved[which] / 1e6:.1f} MB |")
    print(
        f"| ratio | {np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) | {saved[0] / saved[1]:.4f}"
        f"{f', peak on the GPU {peak[0] / peak[1]:.4f}' if peak else ''} |"
    )


if __name__ == "__main__":
    main()

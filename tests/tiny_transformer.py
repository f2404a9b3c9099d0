"""A transformer small enough to compute by hand."""

from collections.abc import Mapping
from typing import Any, cast

import timm
import torch
from tiny_network import HALF
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.network import Network

SIDE, D = 32, 16


def tiny_transformer(depth: int = 5, name: str = "vit_tiny_patch16_224", **options: Any) -> Network:
    """A ViT (or one of its kin) of four patches and a head for four classes, in evaluation mode, in float64."""
    torch.manual_seed(0)
    sizes = {"img_size": SIDE, "patch_size": 16, "embed_dim": D, "depth": depth, "num_heads": 2, **options}
    backbone = timm.create_model(name, pretrained=False, num_classes=0, **sizes)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    network = Network(backbone, BackboneFacts(name, D, HALF, HALF), 4)
    network.see(range(4))
    return network.double().eval()


def by_hand(
    network: Network,
    image: Tensor,
    tokens: Tensor | None = None,
    prefixes: Mapping[int, tuple[Tensor, Tensor]] | None = None,
) -> Tensor:
    """The output tokens (N, P + T, D) of a plain ViT, with tokens (N, L, D) behind the class token, or with keys and values."""
    vit: Any = network.backbone
    x = vit.patch_embed(image).flatten(1, 2) if vit.patch_embed(image).dim() == 4 else vit.patch_embed(image)
    x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], dim=1) + vit.pos_embed
    x = x if tokens is None else torch.cat([x[:, :1], tokens, x[:, 1:]], dim=1)
    for number, block in enumerate(vit.blocks):
        v = block.norm1(x)
        query, key, value = F.linear(v, block.attn.qkv.weight, block.attn.qkv.bias).chunk(3, dim=2)
        keys, values = (prefixes or {}).get(number, (key[:, :0], value[:, :0]))
        key, value = torch.cat([keys, key], dim=1), torch.cat([values, value], dim=1)
        heads = []
        for q, k, w in zip(query.chunk(2, dim=2), key.chunk(2, dim=2), value.chunk(2, dim=2), strict=True):
            heads.append(((q @ k.transpose(1, 2)) / (D // 2) ** 0.5).softmax(dim=2) @ w)
        x = x + block.attn.proj(torch.cat(heads, dim=2))
        x = x + block.mlp(block.norm2(x))
    return cast(Tensor, vit.norm(x))

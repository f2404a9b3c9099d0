"""Training of the head only."""

from __future__ import annotations

from lightning_vision.learning.strategy import Strategy


class HeadOnly(Strategy):
    """Train the head on features of a frozen backbone: L = mean CE(head(f(x)), y), f fixed.

    Also called linear probing (arXiv 1610.01644). The backbone's parameters stay bit-identical, and so do the running
    statistics of its batch norms.
    """

    freezes_backbone = True

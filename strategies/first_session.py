"""First-session adaptation: the backbone is adapted to experience 0 (arXiv 2303.07338)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from torch import nn

from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.grafts import described
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy

KEY = "first"
MODES = ("fine_tune", "adapter", "scale_shift", "tokens", "low_rank")


class FirstSession(Strategy):
    r"""Adapt a pretrained backbone to experience 0 (phase 1 of APER, arXiv 2303.07338, and of RanPAC, arXiv 2307.02251).

    It is a base strategy, for any learning strategy that does not change the backbone afterwards, such as ``NearestMean``, ``RanPAC``
    or ``FeCAM``. With the backbone f of weights \theta, the small modules \phi that a mode sets into it, and the head h:

    .. math:: L(\phi, h) = \text{mean}\, \text{CE}(h(f_{\theta, \phi}(x)), y)

    over the classes seen; \theta does not change, except by ``fine_tune``, which has no \phi and trains \theta. The modes:

    - ``fine_tune``: the whole backbone.
    - ``adapter``: a bottleneck beside the MLP of each block (arXiv 2205.13535). Options ``width`` 64, ``scale`` 0.1, ``dropout`` 0.1.
    - ``scale_shift``: a scale and a shift behind each layer (arXiv 2210.08823); any backbone.
    - ``tokens``: trained tokens in each block (arXiv 2203.12119). Options ``length`` 5, ``deep`` true.
    - ``low_rank``: a low-rank change of weights (arXiv 2106.09685); any backbone. Options ``rank`` 8, ``parts`` qv, ``scale`` 1,
      ``layers``.

    As the learning strategy it trains the same modules in each experience.

    Differences from the papers:
        - The head is the network's linear one. The authors' is a cosine classifier with a learned scale, which is dropped.
        - Scales start at 1 and shifts at 0; the authors draw them around these.

    Args:
        mode: What is adapted.
        options: Of the mode.
        keep_original: With ``fine_tune``, the checkpoint also holds the backbone as it was, for ``APER``.
        keep_statistics: With ``fine_tune``, batch norm uses its running statistics and leaves them as they are. Those of the images of
            experience 0 do not suit the classes to come (figures in docs/strategies.md). A backbone with random weights has none that
            are worth keeping.
    """

    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {"keep_statistics": False}

    def __init__(
        self,
        mode: Literal["fine_tune", "adapter", "scale_shift", "tokens", "low_rank"] = "fine_tune",
        options: Mapping[str, Any] | None = None,
        keep_original: bool = True,
        keep_statistics: bool = True,
    ) -> None:
        super().__init__()
        if mode not in MODES or (mode == "fine_tune" and options):
            raise ConfigError(
                f"FirstSession: expected a mode out of {', '.join(MODES)}, and no options of fine_tune; found {mode!r}, {options}."
            )
        self.mode, self.options, self.keep_original = mode, dict(options or {}), keep_original
        self.keeps_statistics = keep_statistics
        if mode != "fine_tune":
            described(mode, KEY, self.options)

    def check_network(self, network: Network) -> None:
        """Refuse a backbone that cannot take the modules."""
        if self.mode != "fine_tune":
            network.check_graft(self.mode, KEY, **self.options)

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Set the modules into the backbone, or remember it as it is."""
        if self.mode != "fine_tune":
            network.graft(self.mode, KEY, **self.options)
        elif self.keep_original:
            network.keep_original()

    def parameters_to_train(self, network: Network) -> Iterable[nn.Parameter]:
        """The modules, or the backbone, and the head."""
        body = network.backbone.parameters() if self.mode == "fine_tune" else network.grafted(KEY)
        return [*body, *network.head.parameters()]

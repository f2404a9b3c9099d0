"""SimpleCIL: class means of a pretrained backbone as a cosine classifier (arXiv 2303.07338)."""

from __future__ import annotations

from strategies.nearest_mean import NearestMean


class SimpleCIL(NearestMean):
    r"""The nearest class mean by angle, under the name of the baseline for pretrained backbones (SimpleCIL, arXiv 2303.07338).

    It is :class:`strategies.NearestMean` with ``metric: cosine``: mu_c (D,) is the mean of the features v (D,) of class c,

    .. math:: \text{logit}_c = \cos(v, \mu_c) / \tau

    Differences from the paper:
        - The base experience trains the backbone as ``base_strategy`` and ``base_epochs`` say. The paper uses the
          pretrained backbone as it is: ``base_epochs: 0``.
        - A class that is seen again keeps its statistics.

    Args:
        temperature: tau, above 0. It changes probabilities but not predictions.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__("cosine", temperature)

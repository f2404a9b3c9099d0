"""Synaptic intelligence (arXiv 1703.04200)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy


def _weights(network: Network) -> Tensor:
    """All parameters (P,) of backbone and head, as they are."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


class SynapticIntelligence(Strategy):
    r"""Penalise changes of weights by their contribution to the loss (synaptic intelligence, SI, arXiv 1703.04200).

    With \theta (P,) all parameters of backbone and head, while experience t is learned,

    .. math:: \tilde L = CE + c \sum_i \Omega_i (\theta_i - \tilde\theta_i)^2, \qquad
              \omega_i = -\sum_{steps} g_i \, \Delta\theta_i

    and once it is learned

    .. math:: \Omega_i \leftarrow \max\left(0, \Omega_i + \frac{\omega_i}{(\theta_i - \tilde\theta_i)^2 + \xi}\right)

    \tilde\theta (P,) are the weights at the start of the experience, g (P,) is the gradient of CE at a step,
    \Delta\theta (P,) the step of the optimizer, and \omega (P,) the path integral: the contribution of each parameter
    to the decrease of CE. There is no factor 1/2 before c. As in the authors' code, g excludes the gradient of the
    penalty, 2 c \Omega (\theta - \tilde\theta), and \Omega stays at 0 or more.

    The training of the base is observed too, with any base strategy. The path of a base from a checkpoint is unknown,
    so its weights are not penalised, and a message is printed. With gradient accumulation, g is the mean gradient of
    the step. A step that mixed precision skips counts 0. Gradients are taken before clipping.

    Differences from the paper:
        - If the best epoch's weights are restored, \omega is restored too.
        - Running statistics of batch norm are not parameters and follow the new data.

    Args:
        c: Strength of the penalty, 0 or more.
        xi: Bound of the division for parameters that hardly changed; above 0.
    """

    without_base = (
        "which weights are important for it is not known, so the first experience is learned without a penalty"
    )
    follows_base = True
    importance: Tensor  # (P,), Omega; empty before the first experience
    start: Tensor  # (P,), theta tilde
    path: Tensor  # (P,), omega of this experience so far

    def __init__(self, c: float = 0.1, xi: float = 1e-3) -> None:
        super().__init__()
        if not (c >= 0 and xi > 0):
            raise ConfigError(f"SynapticIntelligence: expected c >= 0 and xi > 0, found c = {c} and xi = {xi}.")
        self.c, self.xi = c, xi
        for name in ("importance", "start", "path"):
            self.register_buffer(name, torch.empty(0))

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Begin a new path at the weights as they are."""
        self.start = _weights(network)
        self.path = torch.zeros_like(self.start)
        if not len(self.importance):
            self.importance = torch.zeros_like(self.start)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """CE + c sum Omega (theta - theta tilde)^2."""
        theta = torch.cat([parameter.flatten() for parameter in network.parameters()])
        return super().loss(network, batch) + self.c * (self.importance * (theta - self.start).square()).sum()

    def after_backward(self, network: Network) -> None:
        """Keep where the step begins and the gradient of CE there."""
        self._theta = _weights(network)
        gradients = [p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in network.parameters()]
        self._g = torch.cat(gradients) - 2 * self.c * self.importance * (self._theta - self.start)

    def after_step(self, network: Network) -> None:
        """Update the path integral: omega <- omega - g * step."""
        step = _weights(network) - self._theta
        self.path = self.path - torch.where(step == 0, 0, self._g * step)  # a skipped step's gradient may be infinite

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        """Turn the path integral into importance."""
        moved = _weights(network) - self.start
        self.importance = (self.importance + self.path / (moved.square() + self.xi)).clamp(min=0)

    def notes(self, network: Network) -> list[str]:
        """Say that nothing is held."""
        said = (
            "SynapticIntelligence has observed no training yet (the path of a base checkpoint is unknown), so no "
            "weight is penalised."
        )
        return [] if self.importance.any() else [said]

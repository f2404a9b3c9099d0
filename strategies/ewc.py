"""Elastic weight consolidation (arXiv 1612.00796, online: arXiv 1805.06370)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy


def squared_gradients(network: Network, image: Tensor, label: Tensor) -> Tensor:
    r"""The sum over the samples of their squared gradients, \sum_n (\partial \log p(y_n | x_n) / \partial \theta)^2.

    The gradient of each sample is squared, not that of a batch. p is over the classes seen. Frozen parameters are
    included, and the network does not change.

    Args:
        network: The network in evaluation mode.
        image: (N, 3, H, W), normalised.
        label: (N,)

    Returns:
        (P,), in the order of ``network.parameters()``.
    """
    theta = {name: parameter.detach().requires_grad_() for name, parameter in network.named_parameters()}
    sums = [torch.zeros_like(value) for value in theta.values()]
    # One by one: torch.func.vmap gives each sample its own convolutions, and takes 2.9 times as long for a resnet18 at 32 pixels.
    with torch.enable_grad(), torch.compiler.set_stance("force_eager"):
        for n in range(len(label)):
            logits = functional_call(network, theta, (image[n : n + 1],))
            loss = F.cross_entropy(network.mask_unseen(logits), label[n : n + 1])
            gradients = torch.autograd.grad(loss, list(theta.values()), materialize_grads=True)
            for total, gradient in zip(sums, gradients, strict=True):
                total.addcmul_(gradient, gradient)
    return torch.cat([total.flatten() for total in sums])


def add_penalty(
    importance: Tensor, center: Tensor, constant: Tensor, fisher: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The sum of two quadratic penalties as one.

    .. math:: \sum_i A_i (\theta_i - m_i)^2 + K + \sum_i F_i (\theta_i - \theta^*_i)^2
              = \sum_i A'_i (\theta_i - m'_i)^2 + K'

    for every \theta, with A' = A + F, m' = m + F/A' (\theta^* - m), K' = K + \sum_i A_i F_i / A'_i (\theta^*_i - m_i)^2.

    Args:
        importance: A (P,), 0 or more.
        center: m (P,)
        constant: K ()
        fisher: F (P,), 0 or more.
        weights: \theta^* (P,)

    Returns:
        A', m', K'.
    """
    total, gap = importance + fisher, weights - center
    share = torch.where(total > 0, fisher / total, 0)
    return total, center + share * gap, constant + (importance * share * gap.square()).sum()


class EWC(Strategy):
    r"""Penalise changes of weights that are important for former data (elastic weight consolidation, arXiv 1612.00796).

    While experience t is learned, with \theta (P,) all parameters of backbone and head,

    .. math:: L = CE + \frac{\lambda}{2} \sum_{k<t} \sum_i F^k_i (\theta_i - \theta^{k}_i)^2, \qquad
              F^k_i = \frac{1}{N_k} \sum_{n=1}^{N_k}
                      \left(\frac{\partial \log p_{\theta^k}(y_n | x_n)}{\partial \theta_i}\right)^2

    \theta^k (P,) are the weights after experience k and F^k (P,) is the diagonal of its empirical Fisher information:
    the mean over its N_k samples of the squared gradient of each sample, for its label y, with p over the classes seen,
    in evaluation mode and with the evaluation transform. The factor is lambda/2, as in the paper; Avalanche's
    ``ewc_lambda`` multiplies the same sum without the 1/2.

    - ``separate``: the sum above. A sum of quadratic functions is one quadratic function, so it is stored exactly as
      (P,) importances and a (P,) center for any number of experiences.
    - ``online`` (arXiv 1805.06370): one importance F* <- gamma F* + F^k, around the newest weights.

    A step of plain SGD overshoots, and the loss soon becomes infinite, if learning rate x lambda x A_i exceeds 2. In
    this case reduce the learning rate or lambda, or clip gradients.

    The Fisher information needs a forward and a backward pass for each single sample; ``fisher_samples`` limits them.

    Differences from the papers:
        - The first does not specify the estimate of the Fisher information; here it is the empirical one.
        - It is computed for the base too, also if the base is a given checkpoint.
        - Online: the second paper multiplies F* by gamma once more in the penalty, which is part of lambda here, and
          normalises each F^k, which is not done here.
        - Running statistics of batch norm are not parameters and follow the new data.

    Args:
        ewc_lambda: lambda, 0 or more.
        mode: ``separate`` or ``online``.
        gamma: Weight of the former importance in ``online``, from 0 to 1.
        fisher_samples: Maximum number of samples per experience, the first in the stream's random order. None: all.
    """

    without_base = (
        "which weights are important for it is not known, so the first experience is learned without a penalty"
    )
    importance: Tensor  # (P,), A: the sum of the Fisher diagonals; empty before the first
    center: Tensor  # (P,), m: where the penalty is least
    constant: Tensor  # (), K: the penalty there

    def __init__(
        self,
        ewc_lambda: float = 100.0,
        mode: Literal["separate", "online"] = "separate",
        gamma: float = 1.0,
        fisher_samples: int | None = None,
    ) -> None:
        super().__init__()
        if not ewc_lambda >= 0:
            raise ConfigError(f"EWC: expected ewc_lambda >= 0, found {ewc_lambda}.")
        if mode not in ("separate", "online") or not 0 <= gamma <= 1 or (mode == "separate" and gamma != 1):
            raise ConfigError(
                f"EWC: expected mode separate, or online with 0 <= gamma <= 1; found {mode!r} with gamma {gamma}."
            )
        if fisher_samples is not None and fisher_samples < 1:
            raise ConfigError(f"EWC: expected fisher_samples >= 1 or null, found {fisher_samples}.")
        self.ewc_lambda, self.mode, self.gamma, self.fisher_samples = ewc_lambda, mode, gamma, fisher_samples
        for name in ("importance", "center"):
            self.register_buffer(name, torch.empty(0))
        self.register_buffer("constant", torch.zeros(()))

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """CE + lambda/2 sum A (theta - m)^2 + lambda/2 K."""
        loss = super().loss(network, batch)
        if not len(self.importance):
            return loss
        theta = torch.cat([parameter.flatten() for parameter in network.parameters()])
        penalty = (self.importance * (theta - self.center).square()).sum() + self.constant
        return loss + self.ewc_lambda / 2 * penalty

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        """Add the penalty of this experience to the former penalties."""
        theta = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
        fisher = torch.zeros_like(theta)
        rows = torch.as_tensor(experience.indices[: self.fisher_samples].copy(), device=theta.device)
        for batch in batches:
            chosen = torch.isin(batch["index"], rows)
            fisher += squared_gradients(network, network.inputs(batch)[chosen], batch["label"][chosen])
        fisher = self.reduce(fisher) / len(rows)
        if not len(self.importance):
            self.importance, self.center = torch.zeros_like(theta), theta
        if self.mode == "online":
            self.importance, self.center = self.gamma * self.importance + fisher, theta
        else:
            self.importance, self.center, self.constant = add_penalty(
                self.importance, self.center, self.constant, fisher, theta
            )

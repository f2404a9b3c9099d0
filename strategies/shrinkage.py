"""How strongly a covariance is shrunk, found from the training data alone."""

from __future__ import annotations

import torch
from torch import Tensor

RATIOS = tuple(10 ** (quarter / 4) for quarter in range(-20, 9))
"""Candidates of the ridge in units of the mean variance, 1e-5 to 100, four a decade."""
TOLERANCE = 1e-3


def oas(covariance: Tensor, count: int) -> Tensor:
    r"""The oracle approximating shrinkage estimate of a covariance (Chen et al. 2010, arXiv 0907.4698).

    .. math:: \hat\Sigma = (1-\rho) S + \rho \nu I, \quad \nu = \operatorname{tr}(S) / D, \quad
        \rho = \min\left(1, \frac{a + \nu^2}{(n+1)(a - \nu^2/D)}\right), \quad a = \operatorname{tr}(S^2) / D^2

    This is scikit-learn's form, which leaves out the terms of the paper that shrink as 1/D.

    Args:
        covariance: S (D, D), about a known mean, divided by n.
        count: n, the samples it was computed from.
    """
    d = len(covariance)
    nu, a = covariance.diagonal().mean(), covariance.square().mean()
    spread = (count + 1) * (a - nu.square() / d)
    rho = ((a + nu.square()) / spread).clamp(max=1.0) if spread > 0 else torch.ones_like(nu)
    eye = torch.eye(d, dtype=covariance.dtype, device=covariance.device)
    return (1 - rho) * covariance + rho * nu * eye


def pick_shrinkage(scatter: Tensor, sums: Tensor, counts: Tensor) -> float:
    r"""The shrinkage of a linear discriminant that generalised cross-validation picks (Golub, Heath and Wahba, 1979).

    With the covariance shrunk to (1 - rho) Sigma + rho nu I, nu the mean variance, the discriminant separates the classes
    along the same directions as ridge regression, with intercept, of the one-hot labels on the features with the penalty
    lambda = n nu rho / (1 - rho). What that regression would err by on samples it was not fitted to, leaving out one after
    the other, is estimated from its residuals and its degrees of freedom:

    .. math:: \operatorname{GCV}(\lambda) = \frac{\lVert Y - \hat Y_\lambda \rVert^2 / n}{(1 - \operatorname{df}_\lambda / n)^2},
        \quad \operatorname{df}_\lambda = 1 + \sum_i \frac{l_i}{l_i + \lambda}

    l_i are the eigenvalues of the total scatter, within and between the classes. It needs the sums of the samples and none of
    them, no part held out, and gives the same for features in any unit.

    Args:
        scatter: (D, D) float64, within the classes.
        sums: (C, D) float64, of each class's samples.
        counts: (C,) int64.

    Returns:
        rho, between 1e-5 and 0.99: of the candidates within a thousandth of the least GCV the largest. Where it hardly
        depends on rho, rounding must not pick.
    """
    n = int(counts.sum())
    centred = sums / counts.clamp(min=1)[:, None] - sums.sum(dim=0) / n
    between = centred * counts[:, None]  # (C, D), sum of y (v - m), the one-hot labels being centred too
    l, u = torch.linalg.eigh(scatter + between.T @ centred)  # noqa: E741 - the docstring's
    l, q = l.clamp(min=0.0), (between @ u).square().sum(dim=0)  # (D,)  # noqa: E741
    ridge = scatter.diagonal().mean() * torch.tensor(RATIOS, dtype=scatter.dtype, device=scatter.device)[:, None]
    # Of the least squares fit and what the ridge adds to it: differences would be lost to rounding where it fits all labels.
    real = l > len(l) * torch.finfo(l.dtype).eps * l.max()
    l, q = l[real], q[real]  # noqa: E741
    labels = (counts * (1 - counts / n)).sum()  # squared length of the centred labels
    unexplained = labels - (q / l).sum()
    unexplained = torch.where(unexplained > 1e-9 * labels, unexplained, 0.0)
    residual = unexplained + (q / l * (ridge / (l + ridge)).square()).sum(dim=1)
    left = max(n - 1 - len(l), 0) + (ridge / (l + ridge)).sum(dim=1)  # degrees of freedom
    gcv = residual / left.square()
    picked = RATIOS[int((gcv <= (1 + TOLERANCE) * gcv.min()).nonzero().max())]
    return picked / (1 + picked)

"""The two-way analysis of variance behind the report: the variance of a mean over seeds and images, both random samples.

The model is that of multi-reader multi-case studies with seeds for readers and images for cases (Dorfman, Berbaum and Metz,
Receiver operating characteristic rating analysis, Investigative Radiology 27 (1992)): value = mean + seed + image + rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TwoWay:
    """The mean squares of a table of S seeds and N cases, and the variance of its mean."""

    n_seeds: int
    n_cases: int
    seeds: float | None
    """MS_s; None with one seed."""
    cases: float | None
    """MS_i; None with one case."""
    rest: float | None
    """MS_r; None with one seed or one case."""

    @property
    def variance(self) -> float | None:
        """The variance of the mean, v / (S N); None with one case: the spread of cases is not known.

        v = MS_s + max(MS_i - MS_r, 0), and MS_i with one seed.
        """
        v = self._sum
        return None if v is None else v / (self.n_seeds * self.n_cases)

    @property
    def degrees_of_freedom(self) -> float | None:
        """Satterthwaite's, v^2 / (MS_s^2 / (S-1) + MS_i^2 / (N-1) + MS_r^2 / ((S-1)(N-1))); None if nothing varies.

        Hillis (Statistics in Medicine 26, 2007) keeps the first term alone. With all three it is finite if seeds change
        nothing, and valid for a few groups as cases. At least 1: if MS_i is below MS_r and seeds nearly agree, it would otherwise
        be close to 0, and the interval infinite.
        """
        v = self._sum
        if not v or self.cases is None:
            return None
        below = (self.cases / v) ** 2 / (self.n_cases - 1)
        if self._seeds is not None and self.rest is not None:
            below += (self._seeds / v) ** 2 / (self.n_seeds - 1)
            below += (self.rest / v) ** 2 / ((self.n_seeds - 1) * (self.n_cases - 1))
        return max(1 / below, 1.0)

    @property
    def components(self) -> dict[str, float | None]:
        """The variances ``seeds``, ``images`` (of a case) and ``rest``, none below 0; None where one is not known.

        With one seed, ``images`` includes the rest.
        """
        if self.cases is None:
            return {"seeds": None, "images": None, "rest": None}
        if self.seeds is None or self.rest is None:
            return {"seeds": None, "images": self.cases, "rest": None}
        return {
            "seeds": max(self.seeds - self.rest, 0.0) / self.n_cases,
            "images": max(self.cases - self.rest, 0.0) / self.n_seeds,
            "rest": self.rest,
        }

    @property
    def _seeds(self) -> float | None:
        """MS_s, or MS_r if MS_s is 0 although seeds change images: equal accuracies are then a coincidence.

        The expectation of MS_s is at least that of MS_r.
        """
        return self.seeds or self.rest

    @property
    def _sum(self) -> float | None:
        """The v of ``variance``, and MS_i alone with one seed."""
        if self.cases is None or self._seeds is None or self.rest is None:
            return self.cases
        return self._seeds + max(self.cases - self.rest, 0.0)


def two_way(values: npt.NDArray[np.number] | npt.NDArray[np.bool_]) -> TwoWay:
    """The mean squares of a table.

    Args:
        values: (S, N): one row per seed, one column per case.

    Raises:
        ValueError: If it is not such a table, or empty.
    """
    if values.ndim != 2 or not values.size:
        raise ValueError(
            f"Expected a table of seeds and cases, (S, N) with S and N at least 1, but got the shape {values.shape}."
        )
    s, n = values.shape
    x = values - values.mean()
    total = float(np.square(x).sum())
    by_seed, by_case = x.mean(axis=1), x.mean(axis=0)
    of_seeds, of_cases = n * float(np.square(by_seed).sum()), s * float(np.square(by_case).sum())
    nothing = 1e-12 * total  # rounding errors of equal numbers
    of_seeds, of_cases, of_rest = (
        part if part > nothing else 0.0 for part in (of_seeds, of_cases, total - of_seeds - of_cases)
    )
    return TwoWay(
        s,
        n,
        of_seeds / (s - 1) if s > 1 else None,
        of_cases / (n - 1) if n > 1 else None,
        of_rest / ((s - 1) * (n - 1)) if s > 1 and n > 1 else None,
    )


def by_case(values: npt.NDArray[np.number] | npt.NDArray[np.bool_], groups: npt.ArrayLike | None) -> Values:
    """The values of each case: those of the images, or pseudovalues of groups of images.

    The mean over images is a ratio of two sums over groups, for groups are of unequal size. The pseudovalue of group g is that
    of the jackknife, R + (G - 1) (sum_g - R n_g) / (N - n_g) with R the seed's mean; with groups of one size it is the mean of
    the group. The mean of each row is kept.

    Args:
        values: (S, N): one row per seed, one column per image.
        groups: (N,) a label for each image; None: each image is a case of its own.

    Returns:
        (S, N) or (S, G).

    Raises:
        ValueError: If there is not one label for each image.
    """
    if groups is None:
        return values.astype(np.float64)
    labels = np.asarray(groups)
    if labels.shape != values.shape[1:]:
        raise ValueError(
            f"Expected a group for each of the {values.shape[1]} images, but got the shape {labels.shape}."
        )
    _, index, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    mean = values.mean(axis=1, keepdims=True)
    if len(sizes) == 1:
        return np.array(mean, dtype=np.float64)
    sums = np.stack([np.bincount(index, weights=row) for row in values])
    influence = (len(sizes) - 1) * (sums - mean * sizes) / (values.shape[1] - sizes)
    return np.array(mean + influence - influence.mean(axis=1, keepdims=True), dtype=np.float64)

"""Jackknife pseudovalues per image of figures that are not means over images: N F - (N - 1) F without image i.

Their mean is the figure (less its bias of first order), and they spread like independent values of the images, so that methods
for a mean over images apply to the figure: ``figure_interval``. Each equals the result of leaving out every image one
by one, computed in one pass.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.integer]
Pseudovalues = npt.NDArray[np.float64]


def macro_f1_pseudovalues(label: Labels, predicted: Labels, classes: int) -> Pseudovalues:
    """Pseudovalues of macro F1, the mean of F1 = 2 right / (support + predicted) over the classes with support.

    Without an image of class a that is predicted as b, only the F1 of a and b change; without the last image of a class the mean
    is over one class less.

    Args:
        label: (N,) true classes.
        predicted: (S, N) predicted classes, one row a seed.
        classes: C; all labels are below.

    Returns:
        (S, N). With a single image it is the figure itself.
    """
    n = len(label)
    support = np.bincount(label, minlength=classes)
    kept = int((support > 0).sum()) - (support[label] == 1)  # (N,) classes that are left in the mean
    found = np.empty(predicted.shape)
    for s, given in enumerate(predicted):
        right = np.bincount(label[label == given], minlength=classes)
        both = support + np.bincount(given, minlength=classes)
        f1 = np.divide(2.0 * right, both, out=np.zeros(classes), where=both > 0)
        total = float(f1[support > 0].sum())
        hit = label == given
        own = _ratio(2.0 * (right[label] - hit), both[label] - 1 - hit)
        other = _ratio(2.0 * right[given], both[given] - 1)
        without = total - f1[label] + own * (support[label] > 1)
        without += np.where(hit | (support[given] == 0), 0.0, other - f1[given])
        figure = total / max(1, int((support > 0).sum()))
        left_out = np.divide(without, kept, out=np.full(n, figure), where=kept > 0)
        found[s] = n * figure - (n - 1) * left_out
    return found


def forgetting_pseudovalues(
    correct: npt.NDArray[np.bool_], part: Labels, experiences: int, seen_only: bool
) -> Pseudovalues:
    """Pseudovalues of forgetting, the mean over i < T-1 of (max over t < T-1 of R[t, i]) - R[T-1, i].

    An image changes only the accuracies R[t, i] of its own part. The maximum is not smooth: if two of R[t, i] are nearly equal,
    one image can change which is the largest, and the jackknife is then too wide or too narrow by their difference.

    Args:
        correct: (T, N): whether image i is classified correctly after experience t, of one run.
        part: (N,) the experience whose test part each image is in; it may differ by seed. Negative: in none.
        experiences: T.
        seen_only: Whether R[t, i] is defined for i <= t alone, as in the class-incremental scenario.

    Returns:
        (N,); all 0 at T = 1, where there is no forgetting. Of the only image in the parts of i < T-1, forgetting itself.
    """
    n, last = len(part), experiences - 1
    terms: dict[int, float] = {}
    left_out: list[tuple[npt.NDArray[np.bool_], int, Pseudovalues | None]] = []
    for i in range(last):
        inside = part == i
        size = int(inside.sum())
        if not size:
            continue
        hits = correct[:, inside]  # (T, n_i)
        sums = hits.sum(axis=1)
        first = i if seen_only else 0
        terms[i] = float((sums[first:last].max() - sums[last]) / size)
        if size > 1:
            rest = sums[:, None] - hits
            left_out.append((inside, i, (rest[first:last].max(axis=0) - rest[last]) / (size - 1)))
        else:
            left_out.append((inside, i, None))
    if not terms:
        return np.zeros(n)
    total, k = sum(terms.values()), len(terms)
    found = np.full(n, total / k)
    for inside, i, values in left_out:
        if values is not None:
            found[inside] = n * total / k - (n - 1) * (total - terms[i] + values) / k
        elif k > 1:
            found[inside] = n * total / k - (n - 1) * (total - terms[i]) / (k - 1)
    return found


def learning_values(correct: npt.NDArray[np.bool_], part: Labels) -> Pseudovalues:
    """Values per image whose mean is the learning accuracy, the mean over i of R[i, i].

    Args:
        correct: (T, N): whether image i is classified correctly after experience t, of one run.
        part: (N,) the experience whose test part each image is in. Negative: in none.

    Returns:
        (N,) N / (K n_i) for a correct image of a part of n_i images, with K parts that have images; 0 for the others.
    """
    found = np.zeros(len(part))
    parts = [i for i in range(len(correct)) if (part == i).any()]
    for i in parts:
        inside = part == i
        found[inside] = correct[i, inside] * len(part) / (len(parts) * inside.sum())
    return found


def incremental_values(correct: npt.NDArray[np.bool_], part: Labels) -> Pseudovalues:
    """Values per image whose mean is the average incremental accuracy, the mean over t of the mean over i <= t of R[t, i].

    Args:
        correct: (T, N): whether image i is classified correctly after experience t, of one run.
        part: (N,) the experience whose test part each image is in. Negative: in none.

    Returns:
        (N,), 0 for an image that is in no part.
    """
    experiences, n = correct.shape
    sizes = np.bincount(part[(part >= 0) & (part < experiences)], minlength=experiences)
    parts = np.cumsum(sizes > 0)  # (T,) with images, up to each experience
    found = np.zeros(n)
    for t in np.flatnonzero(parts):
        inside = (part >= 0) & (part <= t)
        found[inside] += correct[t, inside] * n / (np.count_nonzero(parts) * parts[t] * sizes[part[inside]])
    return found


def _ratio(above: Pseudovalues, below: Labels) -> Pseudovalues:
    return np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
